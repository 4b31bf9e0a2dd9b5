"""The chart of a simulation: every step is shown or counted, nothing is too wide, and nothing is obeyed by who shows it."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.testing.simulation._chart import NAME_COLUMNS_MAX, ROWS_MAX, WIDTH, mermaid_chart, text_chart
from parasync.testing.simulation._course import Step

KINDS: Any = ["message", "lost", "note", "fault", "violation"]
PLAIN_NAMES = st.sampled_from(["authority 1", "reader 1", "reader 2", "store"])
ODD_NAMES = st.one_of(st.text(max_size=40), st.integers(0, 60).map("process {}".format))
LEFT_OUT = re.compile(r"(\d+) steps left out")


def steps(names: st.SearchStrategy[str], **size: int) -> st.SearchStrategy[list[Step]]:
    made = st.builds(
        Step, at_s=st.floats(0, 1e7), kind=st.sampled_from(KINDS), source=names, target=names, text=st.text(max_size=200)
    )
    return st.lists(made, **size).map(lambda found: sorted(found, key=lambda step: step.at_s))


EVERY = st.one_of(steps(PLAIN_NAMES, max_size=40), steps(ODD_NAMES, max_size=60))


def columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in line)


@given(EVERY, st.integers(60, 200), st.integers(0, 30), st.booleans())
def test_each_step_is_shown_or_counted_and_no_line_is_too_wide(
    found: list[Step], width: int, rows_max: int, only_ascii: bool
) -> None:
    chart = text_chart(found, width=width, rows_max=rows_max, only_ascii=only_ascii)
    lines = chart.splitlines()
    assert all(columns(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)
    assert chart.isascii() or not only_ascii
    head = next(number for number, line in enumerate(lines) if re.match("      time(?:  |$)", line))
    # What a text of a step says about itself stands behind its time.
    rows = [(re.match(r" *(\d+\.\d{3} s|[:⋮])", line), line) for line in lines[head + 1 :]]
    shown = sum(begin is not None and begin[1].endswith("s") for begin, _ in rows)
    gaps = [LEFT_OUT.search(line) for begin, line in rows if begin is None or not begin[1].endswith("s")]
    assert shown + sum(int(gap[1]) for gap in gaps if gap) == len(found)
    assert all(gaps)
    assert rows_max == 0 or shown <= 2 * rows_max + 1


@given(EVERY, st.integers(0, 30))
def test_mermaid_gets_one_statement_a_line(found: list[Step], rows_max: int) -> None:
    lines = mermaid_chart(found, rows_max=rows_max).splitlines()
    assert lines[0] == "sequenceDiagram"
    name = r"p\d+"
    # Nothing of what follows the colon ends a statement, begins a comment, or is HTML.
    text = r"(?:[^#;<>&%{}$\n]|#\d+;)*"
    arrow = re.compile(rf"{name}(?:->>|-x){name}: {text}")
    note = re.compile(rf"Note over {name}(?:,{name})?: {text}")
    other = re.compile(rf"participant {name} as (?:[^#;<>&%:\n]|#\d+;)*|rect rgb\(255, 205, 205\)|end")
    bodies = [line.removeprefix("    ") for line in lines[1:]]
    assert [body for body in bodies if not (arrow.fullmatch(body) or note.fullmatch(body) or other.fullmatch(body))] == []
    timed = re.compile(rf"(?:{name}|Note over {name}(?:,{name})?)(?:(?:->>|-x){name})?: \d+\.\d{{3}} s ")
    counted = re.compile(rf"Note over {name}(?:,{name})?: (\d+) steps left out")
    shown = sum(1 for body in bodies if timed.match(body))
    assert shown + sum(int(gap[1]) for body in bodies if (gap := counted.match(body))) == len(found)
    assert bodies.count("end") == sum(body.startswith("rect") for body in bodies)


COURSE = [
    Step(0.0, "note", "owner", "owner", "wrote 5.1"),
    Step(0.102, "message", "owner", "reader", "5.1 = Box(1)"),
    Step(0.104, "lost", "owner", "third", "5.1 = Box(1)"),
    Step(1.5, "fault", "reader", "reader", "cancelled"),
    Step(2.0, "message", "third", "owner", "ask"),
    Step(2.25, "lost", "third", "reader", "ask"),
    Step(3.0, "fault", "owner", "third", "no connection"),
    Step(12.0, "violation", "reader", "reader", "P1: from 5.2 back to 5.1"),
]


def test_it_looks_like_this() -> None:
    assert text_chart(COURSE) == (
        "      time  owner    reader    third\n"
        "   0.000 s  •        │         │  wrote 5.1\n"
        "   0.102 s  ├───────►│         │  5.1 = Box(1)\n"
        "   0.104 s  ├╌╌╌╌╌╌╌╳│         │  lost: 5.1 = Box(1)\n"
        "   1.500 s  │        ◆         │  fault: cancelled\n"
        "   2.000 s  │◄───────┼─────────┤  ask\n"
        "   2.250 s  │        │    ╳╌╌╌╌┤  lost: ask\n"
        "   3.000 s  ◆────────┼─────────◆  fault: no connection\n"
        "  12.000 s  │        █         │  BROKEN: P1: from 5.2 back to 5.1"
    )
    assert text_chart(COURSE, only_ascii=True) == (
        "      time  owner    reader    third\n"
        "   0.000 s  *        |         |  wrote 5.1\n"
        "   0.102 s  +------->|         |  5.1 = Box(1)\n"
        "   0.104 s  +-------x|         |  lost: 5.1 = Box(1)\n"
        "   1.500 s  |        !         |  fault: cancelled\n"
        "   2.000 s  |<-------+---------+  ask\n"
        "   2.250 s  |        |    x----+  lost: ask\n"
        "   3.000 s  !--------+---------!  fault: no connection\n"
        "  12.000 s  |        #         |  BROKEN: P1: from 5.2 back to 5.1"
    )


def test_mermaid_gets_this() -> None:
    assert mermaid_chart(COURSE[1:3] + COURSE[-1:]) == (
        "sequenceDiagram\n"
        "    participant p1 as owner\n"
        "    participant p2 as reader\n"
        "    participant p3 as third\n"
        "    p1->>p2: 0.102 s 5.1 = Box(1)\n"
        "    p1-xp3: 0.104 s lost: 5.1 = Box(1)\n"
        "    rect rgb(255, 205, 205)\n"
        "    Note over p2: 12.000 s BROKEN: P1: from 5.2 back to 5.1\n"
        "    end"
    )


def test_what_came_long_before_a_broken_promise_is_counted() -> None:
    quiet = [Step(number / 10, "message", "owner", "reader", f"version {number}") for number in range(1000)]
    chart = text_chart([*quiet[:900], COURSE[-1], *quiet[900:]])
    assert len(chart.splitlines()) <= ROWS_MAX + 3
    assert re.search(r"^ +⋮  ⋮ +⋮  8\d\d steps left out, 8\d\.\d00 s: 8\d\d messages$", chart, re.MULTILINE)
    assert "version 899" in chart
    assert "BROKEN" in chart
    assert len(text_chart(quiet, rows_max=0).splitlines()) == 1001


@pytest.mark.parametrize("count", [2, 12, 30])
def test_where_names_have_no_room_they_are_numbered_and_then_told_in_each_line(count: int) -> None:
    long = [f"{'a long name' * 3} {number}" for number in range(count)]
    assert len(long[0]) > NAME_COLUMNS_MAX
    chart = text_chart([Step(0.5, "message", source, target, "hello") for source, target in pairwise(long)])
    lines = chart.splitlines()
    if count < 30:
        assert lines[0].startswith("1 a long name")
        assert re.search(r"^   0\.500 s  ├─+►│", chart, re.MULTILINE)
    else:
        assert lines[:2] == ["      time", f"   0.500 s  {long[0]} ─► {long[1]}: hello"]
    assert all(len(line) <= WIDTH for line in lines)


def test_names_stand_on_two_lines_where_one_has_no_room() -> None:
    names = [f"authority {number}" for number in (1, 2, 10, 11, 12, 13)]
    chart = text_chart([Step(0.5, "message", source, target, "hello") for source, target in pairwise(names)])
    assert chart.splitlines()[:3] == [
        "            authority 1   authority 10  authority 12",
        "      time         authority 2   authority 11  authority 13",
        "   0.500 s  ├─────►│      │      │      │      │  hello",
    ]


def test_of_nothing_there_is_an_empty_chart() -> None:
    assert text_chart([]) == "      time"
    assert mermaid_chart([]) == "sequenceDiagram"
