"""The verdict finds every broken promise: books that are right, and the same books with one thing wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parasync.cli.demo._contract import KEYS
from parasync.cli.demo._records import Ended, Place, Record, Row, Said, Shown, Written, read
from parasync.cli.demo._verdict import Books, Fault, Life, judge

TICK_S = 0.1
SERVER, OWNER, SCHEMA = Fault(2.0, 3.0), Fault(4.0, 5.0), Fault(7.0, 8.0)
END_S = 10.0
LOAD, FIRST = KEYS[0], KEYS[1]


def value_of(key: str, number: int, major: int) -> dict[str, Any]:
    if key == LOAD:
        return {"tick": number}
    if major == 1:
        return {"pid": number, "name": "x", "cpu_percent": 1.0, "memory_mb": 2}
    return {"pid": number, "name": "x", "usage": {"cpu_percent": 1.0, "memory_mb": 2}}


def history() -> list[Written]:
    """One version of each object a tick, but for the time in which there is no authority."""
    rows: list[Written] = []
    for tick in range(int(END_S / TICK_S)):
        at_s = tick * TICK_S
        if OWNER.began_s <= at_s < OWNER.over_s:
            continue
        epoch = 1 if at_s < OWNER.began_s else 2
        for key in KEYS:
            sequence = 1 + sum(row.key == key and row.place[0] == epoch for row in rows)
            major = 2 if key != LOAD and at_s >= SCHEMA.began_s else 1
            rows.append(Written(at_s, key, (epoch, sequence), major, value_of(key, tick, major)))
    return rows


def life_of(copy: str, code: str, written: list[Written], from_s: float, to_s: float) -> Life:
    """What a replica books that does everything right."""
    rows: list[Row] = []
    for key in KEYS:
        place: Place | None = None
        steps = 0
        for tick in range(int(from_s / TICK_S), int(to_s / TICK_S)):
            at_s = tick * TICK_S
            cut_off = SERVER.began_s <= at_s < SERVER.over_s
            lonely = OWNER.began_s <= at_s < OWNER.over_s
            newest = max((row for row in written if row.key == key and row.at_s <= at_s), key=lambda row: row.place)
            skewed = code == "old" and newest.major == 2
            if not cut_off and not skewed and newest.place != place:
                skipped = None if place is None or place[0] != newest.place[0] else newest.place[1] - place[1] - 1
                shown = value_of(key, newest.value["pid"], 2) if code == "new" and key != LOAD else newest.value
                rows.append(Shown(at_s, key, newest.place, 0 if place is None else skipped, shown))
                place = newest.place
                steps += 1
            status = "stale" if cut_off or lonely else "skew" if skewed else "ok"
            rows.append(Said(at_s + 0.01, key, place, status))
        last = [row.status for row in rows if isinstance(row, Said)][-1]
        rows.append(Ended(to_s, key, place, last, steps, steps if key == LOAD else 0))
    return Life(copy, code, rows)


def good() -> Books:
    written = history()
    lives = [
        life_of("1", "new", written, 0, END_S),
        life_of("2", "new", written, 0, END_S),
        life_of("3", "old", written, 0, SCHEMA.over_s),
        life_of("3", "new", written, SCHEMA.over_s + TICK_S, END_S),
    ]
    return Books(written, lives, {"server": SERVER, "owner": OWNER, "schema": SCHEMA})


def broken(books: Books) -> list[str]:
    return [finding.promise for finding in judge(books) if not finding.kept]


def test_books_that_are_right_break_nothing() -> None:
    findings = judge(good())
    assert [finding for finding in findings if not finding.kept] == []
    assert len(findings) == 11
    assert all(not finding.checked.startswith("0 ") for finding in findings)


def test_empty_books_prove_nothing() -> None:
    findings = judge(Books())
    assert [finding.promise for finding in findings if finding.kept] == []


Change = Callable[[Any], Any]


def every(kind: type, which: Callable[[Any], bool], change: Change, life: int = 0) -> Callable[[Books], None]:
    """Change the rows of one life that fit."""

    def sabotage(books: Books) -> None:
        rows = books.lives[life].rows
        changed = [change(row) if isinstance(row, kind) and which(row) else row for row in rows]
        assert changed != rows, "the sabotage changes nothing"
        books.lives[life].rows[:] = [row for row in changed if row is not None]

    return sabotage


def swap_steps(books: Books) -> None:
    rows = books.lives[1].rows
    first, second = [index for index, row in enumerate(rows) if isinstance(row, Shown) and row.key == LOAD][5:7]
    rows[first], rows[second] = rows[second], rows[first]


def step_at(key: str, sequence: int) -> Callable[[Shown], bool]:
    return lambda row: row.key == key and row.place == (1, sequence)


def during(fault: Fault, key: str) -> Callable[[Said], bool]:
    return lambda row: row.key == key and fault.began_s <= row.at_s <= fault.over_s


SABOTAGES: dict[str, tuple[Callable[[Books], None], str]] = {
    "two steps in the wrong order": (swap_steps, "never backwards"),
    "the same version twice": (
        every(Shown, step_at(LOAD, 5), lambda row: row._replace(place=(1, 4), value={"tick": 3}, skipped=0)),
        "never backwards",
    ),
    "a version that nobody wrote": (every(Shown, step_at(LOAD, 5), lambda row: row._replace(place=(0, 5))), "never invented"),
    "another value": (every(Shown, step_at(LOAD, 5), lambda row: row._replace(value={"tick": 99})), "never invented"),
    "a value of the other schema": (
        every(Shown, step_at(FIRST, 5), lambda row: row._replace(value=value_of(FIRST, row.value["pid"], 1))),
        "never invented",
    ),
    "the old code shows the new schema": (
        every(Said, lambda row: row.key == FIRST and row.at_s > 7.5, lambda row: row._replace(place=(2, 22)), life=2),
        "SKEW keeps",
    ),
    "a skip that is not reported": (
        every(Shown, lambda row: row.key == LOAD and (row.skipped or 0) > 0, lambda row: row._replace(skipped=0)),
        "what was skipped",
    ),
    "a skip that was none": (every(Shown, step_at(LOAD, 5), lambda row: row._replace(skipped=3)), "what was skipped"),
    "a count across two lives": (
        every(Shown, lambda row: row.skipped is None, lambda row: row._replace(skipped=0)),
        "what was skipped",
    ),
    "OK without a proof": (
        every(Said, lambda row: row.key == LOAD and row.at_s > 8, lambda row: row._replace(place=(2, 1))),
        "OK is said only",
    ),
    "OK with nothing to show": (
        every(Said, lambda row: row.key == LOAD and row.at_s > 8, lambda row: row._replace(place=None)),
        "OK is said only",
    ),
    "OK although the server is dead": (
        every(Said, during(SERVER, FIRST), lambda row: row._replace(status="ok")),
        "says STALE while the server is dead",
    ),
    "only busy although nobody owns it": (
        every(Said, during(OWNER, FIRST), lambda row: row._replace(status="refetching")),
        "says STALE while nobody owns",
    ),
    "a value that is taken away": (
        every(Said, during(OWNER, LOAD), lambda row: row._replace(place=None)),
        "a value that was there",
    ),
    "a deletion": (every(Shown, step_at(LOAD, 5), lambda row: row._replace(value=None)), "a value that was there"),
    "no SKEW": (
        every(Said, lambda row: row.status == "skew", lambda row: row._replace(status="stale"), life=2),
        "SKEW keeps",
    ),
    "one that does not go on": (
        every(Said, during(SCHEMA, FIRST), lambda row: row._replace(place=(2, 20))),
        "SKEW keeps",
    ),
    "a step that a listener missed": (
        every(Ended, lambda row: row.key == LOAD, lambda row: row._replace(applied=row.applied + 1)),
        "a raising listener",
    ),
    "a listener that did not raise": (
        every(Ended, lambda row: row.key == LOAD, lambda row: row._replace(handler_errors=0)),
        "a raising listener",
    ),
    "one that ends a version behind": (
        every(Ended, lambda row: row.key == FIRST, lambda row: row._replace(place=(row.place[0], row.place[1] - 1))),
        "all show the last version",
    ),
    "one that ends unsure": (
        every(Ended, lambda row: row.key == FIRST, lambda row: row._replace(status="stale")),
        "all show the last version",
    ),
    "one that never was sure of the last": (
        every(Said, lambda row: row.key == FIRST and row.at_s > 9.8, lambda row: row._replace(status="refetching")),
        "all show the last version",
    ),
    "one that ends without a word": (
        every(Ended, lambda row: row.key == FIRST, lambda row: None),
        "all show the last version",
    ),
    "a process that is missing": (lambda books: books.lives.pop(1) and None, "all show the last version"),
    "something too late": (lambda books: books.troubles.append("late"), "everything happened in time"),
    "a fault that never was": (lambda books: books.faults.pop("owner") and None, "everything happened in time"),
    "an authority that never died": (
        lambda books: books.written.__setitem__(slice(None), [row for row in books.written if row.place[0] == 2]),
        "everything happened in time",
    ),
    "nobody with the old code": (
        lambda books: books.lives.__setitem__(2, books.lives[2].__class__("3", "new", [])),
        "SKEW keeps",
    ),
}


@pytest.mark.parametrize("name", SABOTAGES)
def test_each_sabotage_breaks_its_promise(name: str) -> None:
    sabotage, promise = SABOTAGES[name]
    books = good()
    sabotage(books)
    found = broken(books)
    assert any(each.startswith(promise) for each in found), found
    assert all(finding.wrong for finding in judge(books) if not finding.kept)


def test_a_record_survives_the_end_of_its_process(tmp_path: Path) -> None:
    path = tmp_path / "owner-1.jsonl"
    rows: list[Row] = [
        Written(1.0, LOAD, (1, 1), 1, {"tick": 1}),
        Shown(1.0, LOAD, (1, 1), None, {"tick": 1}),
        Said(1.0, LOAD, None, "stale"),
        Ended(1.0, LOAD, (1, 1), "ok", 1, 1),
    ]
    with Record(path) as record:
        for row in rows:
            record.add(row)
            assert read(path)[-1] == row, "it is outside of the process at once"
    with path.open("a") as file:
        file.write('["written", 2.0, "lo')
    assert read(path) == rows
    assert read(tmp_path / "none") == []


def test_the_books_are_found_by_their_names(tmp_path: Path) -> None:
    for number in (1, 2):
        with Record(tmp_path / f"owner-{number}.jsonl") as record:
            record.add(Written(1.0, LOAD, (number, 1), 1, None))
    with Record(tmp_path / "copier-3-2-new.jsonl") as record:
        record.add(Said(1.0, LOAD, None, "stale"))
    books = Books()
    books.read(tmp_path)
    assert [row.place for row in books.written] == [(1, 1), (2, 1)]
    assert [(life.copy, life.code, len(life.rows)) for life in books.lives] == [("3", "new", 1)]
    assert books.newest()[LOAD].place == (2, 1)
