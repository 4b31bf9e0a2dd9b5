"""Values as text: JSON always, and never anything that a terminal obeys."""

from __future__ import annotations

import json
import math
from datetime import date, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.cli._render import age, plain, printable, short, to_json

JSON: Any = st.none() | st.booleans() | st.integers() | st.text()
VALUES: Any = st.recursive(
    JSON | st.floats() | st.binary() | st.decimals() | st.uuids() | st.datetimes(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner),
    max_leaves=20,
)


@given(VALUES, st.sampled_from([None, 2]))
def test_every_value_is_json_without_control_characters(value: object, indent: int | None) -> None:
    text = to_json(value, indent=indent)
    assert all(character.isprintable() or (indent and character == "\n") for character in text)
    json.loads(text)


@given(st.recursive(JSON, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20))
def test_what_json_has_comes_back(value: object) -> None:
    assert json.loads(to_json(value)) == value


def test_what_json_lacks_is_told_by_text() -> None:
    value = {"d": date(2026, 1, 2), "t": time(1, 2), "l": timedelta(seconds=1.5), "s": frozenset({"b", "a"}), (1, 2): 1}
    assert plain(value) == {
        "d": "2026-01-02",
        "t": "01:02:00",
        "l": 1.5,
        "s": ["a", "b"],
        "[1, 2]": 1,
    }


def test_a_long_value_is_cut() -> None:
    assert short("x" * 300, 10) == '"xxxxxxxx…'
    assert short([1, 2]) == "[1, 2]"


@pytest.mark.parametrize("indent", [None, 2])
def test_what_json_need_not_escape_is_escaped(indent: int | None) -> None:
    assert to_json(["\x7f"], indent=indent).split() == (['["\\u007f"]'] if indent is None else ["[", '"\\u007f"', "]"])


def test_what_a_terminal_obeys_is_shown_instead() -> None:
    assert printable("a\x1b[2J\x9b\u202e\U000e0001ä") == "a\\u001b[2J\\u009b\\u202e\\udb40\\udc01ä"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (12.4, "12s"), (99, "99s"), (180, "3m"), (7200, "2h"), (864_000, "10d"), (math.inf, "-")],
)
def test_an_age_is_short(seconds: float, text: str) -> None:
    assert age(seconds) == text
