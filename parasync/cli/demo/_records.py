"""The books of the demonstration: what was written, what was shown and what was said, each by the process that did it.

A record is a file of one JSON array a line, the first item of which tells its kind. Times are seconds on the monotonic clock,
which the processes of one machine share.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias

Plain: TypeAlias = Any
"""A value as JSON has it."""
Place: TypeAlias = tuple[int, int]
"""Epoch and sequence."""


class Written(NamedTuple):
    """A version that the authority stored, before it was published."""

    at_s: float
    key: str
    place: Place
    major: int
    value: Plain


class Shown(NamedTuple):
    """A step of a replica: what it shows from now on."""

    at_s: float
    key: str
    place: Place
    skipped: int | None
    value: Plain


class Said(NamedTuple):
    """What a replica said of itself; `at_s` is just before it was asked, `place` is None where it showed nothing."""

    at_s: float
    key: str
    place: Place | None
    status: str


class Ended(NamedTuple):
    """What a replica counted and showed when it was told to end."""

    at_s: float
    key: str
    place: Place | None
    status: str
    applied: int
    handler_errors: int


Row: TypeAlias = Written | Shown | Said | Ended
_KINDS: Final[dict[str, type[Row]]] = {"written": Written, "shown": Shown, "said": Said, "ended": Ended}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


class Record:
    """A file to which one process adds rows; each is out of the process when `add` returns, whatever happens to it then."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def add(self, row: Row) -> None:
        """Add one row."""
        self._file.write(json.dumps([_NAMES[type(row)], *row]) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def now_s() -> float:
    """The clock of the books."""
    return time.monotonic()


def read(path: Path) -> list[Row]:
    """All rows of a record; a last line that was cut off, because its process was killed over it, is left out."""
    return list(_rows(path.read_text(encoding="utf-8").split("\n")[:-1])) if path.exists() else []


def _rows(lines: Iterable[str]) -> Iterable[Row]:
    for line in lines:
        name, *items = json.loads(line)
        if items[2] is not None:
            items[2] = tuple(items[2])
        yield _KINDS[name](*items)
