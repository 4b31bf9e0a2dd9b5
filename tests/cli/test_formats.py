"""Files that are read exactly, or not at all; and what is wrong with them, to the line."""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.cli._formats import FILE_BYTES_MAX, Loaded, Problem, dump, parse, read_file
from parasync.codec import DEPTH_MAX
from parasync.errors import RefusedError

READ = [
    (b'{"a": [1, 2.5, null, true]}', ".json", {"a": [1, 2.5, None, True]}),
    (b"\xef\xbb\xbf[1]", ".JSON", [1]),
    (b"null", ".json", None),
    (b'{"a": {"b": 1}, "c": {"b": 1}}', ".json", {"a": {"b": 1}, "c": {"b": 1}}),
    (b"a = 2026-11-21\n[b]\nc = 'x'", ".toml", {"a": date(2026, 11, 21), "b": {"c": "x"}}),
    (b"", ".toml", {}),
    (b"a: 1\nb: [x, 2026-11-21 10:00:00]", ".yaml", {"a": 1, "b": ["x", datetime.fromisoformat("2026-11-21 10:00")]}),
    (b"base: &base {a: 1}\nmore:\n  <<: *base\n  a: 2\n", ".yml", {"base": {"a": 1}, "more": {"a": 2}}),
    (b"null", ".yaml", None),
]

WRONG = [
    (b"", ".json", 1, 1, "Expecting value"),
    (b'{"a":\n 1 x}', ".json", 2, 4, "Expecting ',' delimiter"),
    (b'{"a": 1}\n{}', ".json", 2, 1, "Extra data"),
    (b'{"a": "\xff"}', ".json", 1, 8, "byte 0xff is not UTF-8"),
    ('{"ä":\n"é'.encode() + b"\xc3", ".json", 2, 4, "byte 0xc3 is not UTF-8"),
    (b'{"a": 1,\n "b": {"x": "}", "y": [{"x": 1}], "x": 2}}', ".json", 2, 35, "a name stands twice"),
    (b'{"a": 1, "\\u0061": 2}', ".json", 1, 10, "a name stands twice"),
    (b'["NaN",\n NaN]', ".json", 2, 2, "NaN is not JSON"),
    (b'{"a": -Infinity}', ".json", 1, 7, "-Infinity is not JSON"),
    (b"[1,\n 1e999]", ".json", 2, 2, "too large for a float"),
    (b"[1,\n " + b"9" * 5000 + b"]", ".json", 2, 2, "too many digits"),
    (b"[" * 100_000, ".json", 1, 0, "nested too deeply"),
    (b"a = 1\nb = ", ".toml", 2, 5, "Invalid value"),
    (b"a = 1\na = 2\n", ".toml", 2, 6, "Cannot overwrite a value"),
    (b'a = 1\nb = """', ".toml", 2, 8, "Unterminated string"),
    (b"a = " + b"9" * 5000, ".toml", 1, 0, "too many digits"),
    (b"a = " + b"[" * 5000, ".toml", 1, 0, "nested too deeply"),
    (b"", ".yaml", 1, 0, "the file is empty"),
    (b"# nothing\n", ".yaml", 1, 0, "the file is empty"),
    (b"a: 1\nb: [1,", ".yaml", 3, 1, "did not find expected node content"),
    (b"a: 1\nb:\n  c: 1\n  c: 2\n", ".yaml", 4, 3, "a key stands twice"),
    (b"a: b: c", ".yaml", 1, 5, "mapping values are not allowed"),
    (b"a\n---\nb", ".yaml", 2, 1, "expected a single document"),
    (b"a: 2026-13-45", ".yaml", 1, 4, "a value that cannot be read"),
    (b"a: " + b"9" * 5000, ".yaml", 1, 4, "a value that cannot be read"),
    (b"a: !!python/object/apply:os.system [ls]", ".yaml", 1, 4, "could not determine a constructor"),
    (b"? [1]\n: 2", ".yaml", 1, 3, "unhashable key"),
    (b"a: \x00", ".yaml", 1, 4, "control characters are not allowed"),
    (b"a: &x [*x]", ".yaml", 1, 4, "an alias that refers to itself"),
    (b"[" * 100_000, ".yaml", 1, DEPTH_MAX + 1, "nested more than"),
]


@pytest.mark.parametrize(("data", "suffix", "value"), READ)
def test_what_is_right_is_read(data: bytes, suffix: str, value: object) -> None:
    assert parse(data, suffix) == Loaded(value)


@pytest.mark.parametrize(("data", "suffix", "line", "column", "text"), WRONG, ids=lambda part: repr(part)[:20])
def test_what_is_wrong_says_where(data: bytes, suffix: str, line: int, column: int, text: str) -> None:
    found = parse(data, suffix)
    assert isinstance(found, Problem)
    assert text in found.text
    assert (found.line, found.column) == (line, column)


def test_aliases_that_explode_are_refused_before_they_do() -> None:
    rows = [b"a0: &a0 [" + b"1," * 10 + b"]"]
    rows += [b"a%d: &a%d [%s]" % (level, level, b",".join([b"*a%d" % (level - 1)] * 10)) for level in range(1, 30)]
    found = parse(b"\n".join(rows), ".yaml")
    assert isinstance(found, Problem)
    assert found.text == "more than 100,000 elements"
    assert found.line == 5


def test_aliases_that_do_not_are_taken() -> None:
    assert parse(b"a: &l [1, 2]\nb: *l\nc: [*l, *l]", ".yaml") == Loaded({"a": [1, 2], "b": [1, 2], "c": [[1, 2], [1, 2]]})


@given(st.binary(max_size=200), st.sampled_from([".json", ".toml", ".yaml", ".yml"]))
def test_no_bytes_make_it_fail(data: bytes, suffix: str) -> None:
    assert isinstance(parse(data, suffix), Loaded | Problem)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
PLAIN: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN, st.sampled_from([".json", ".toml", ".yaml"]))
def test_what_is_written_reads_back_exactly_or_is_refused(value: object, suffix: str) -> None:
    try:
        data = dump(value, suffix)
    except RefusedError:
        assert suffix != ".json", "JSON holds all of these"
    else:
        assert parse(data, suffix) == Loaded(value)


@pytest.mark.parametrize(
    ("value", "suffix"),
    [
        ([1], ".toml"),
        ({"a": None}, ".toml"),
        (float("nan"), ".json"),
        (float("nan"), ".yaml"),
        (b"x", ".json"),
        ((1,), ".json"),
        ((1,), ".yaml"),
        ({1: 2}, ".json"),
        (date(2026, 1, 1), ".json"),
        ("\ud800", ".json"),
        ("\ud800", ".yaml"),
        (object(), ".yaml"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(value: object, suffix: str) -> None:
    with pytest.raises(RefusedError, match=f"a {suffix} file cannot hold exactly"):
        dump(value, suffix)


def test_a_problem_is_shown_as_editors_understand_it() -> None:
    assert Problem(3, 7, "x").at("a/b.json") == "a/b.json:3:7: x"
    assert Problem(3, 0, "x").at("b.json") == "b.json:3: x"
    assert Problem(0, 0, "x").at("b.json") == "b.json: x"


def test_files_that_are_none_or_too_long(tmp_path: Path) -> None:
    big = tmp_path / "big.json"
    big.write_bytes(b"1" * (FILE_BYTES_MAX + 1))
    assert read_file(big) == Problem(0, 0, "longer than 4,194,304 bytes")
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    assert read_file(pipe) == Problem(0, 0, "not a regular file")
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "gone.json")
