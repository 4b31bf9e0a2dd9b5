"""The verdict: every promise, checked from the books alone.

Nothing here is shared with the code that keeps the promises, nor with what was on the screen. A promise of which nothing was
seen is not kept: each one also counts what it was checked on.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

import attrs

from parasync.cli.demo._contract import KEYS, STALE_AFTER_S
from parasync.cli.demo._records import Ended, Place, Plain, Row, Said, Shown, Written, read

COPIES: Final = ("1", "2", "3")


class Fault(NamedTuple):
    """When a fault began, and when its cause was over."""

    began_s: float
    over_s: float


@attrs.frozen
class Life:
    """The book of one replica process: which replica it is, whether its code is `old` or `new`, and its rows."""

    copy: str
    code: str
    rows: list[Row]

    def of(self, kind: type[Any], key: str | None = None) -> list[Any]:
        """The rows of one kind, of one key or of all."""
        return [row for row in self.rows if isinstance(row, kind) and (key is None or row.key == key)]


@attrs.define
class Books:
    """Everything that was booked in one run.

    Args:
        written: every version, in the order in which the authority's processes stored them.
        lives: the replica processes.
        faults: by name: `server`, `owner`, `schema`.
        troubles: what did not happen in time, or ended by itself.
    """

    written: list[Written] = attrs.Factory(list)
    lives: list[Life] = attrs.Factory(list)
    faults: dict[str, Fault] = attrs.Factory(dict)
    troubles: list[str] = attrs.Factory(list)

    def read(self, folder: Path) -> None:
        """Read the records of all processes."""
        self.written = [row for path in sorted(folder.glob("owner-*.jsonl")) for row in read(path) if isinstance(row, Written)]
        for path in sorted(folder.glob("copier-*.jsonl")):
            _, copy, _, code = path.stem.split("-")
            self.lives.append(Life(copy, code, read(path)))

    def newest(self) -> dict[str, Written]:
        """The newest version of each object."""
        return {row.key: row for row in sorted(self.written, key=lambda row: row.place)}


class Finding(NamedTuple):
    """One promise: whether it was kept, on how much it was checked, and the first thing that was wrong."""

    promise: str
    kept: bool
    checked: str
    wrong: str = ""


Wrongs: TypeAlias = Iterator[str | None]
"""One item for each thing that was checked: None where it is right, else what is wrong."""


def judge(books: Books) -> list[Finding]:
    """Check every promise."""
    return [
        _finding("never backwards", "steps", _backwards(books)),
        _finding("never invented: shown as it was written", "steps", _invented(books)),
        _finding("what was skipped is reported", "steps", _skips(books)),
        _finding("OK is said only with a fresh proof", "samples", _honesty(books)),
        _finding("says STALE while the server is dead", "replicas", _said_in(books, "server", {"stale"})),
        _finding("says STALE while nobody owns the objects", "replicas", _said_in(books, "owner", {"stale"})),
        _finding("a value that was there stays there", "samples", _emptied(books)),
        _finding("SKEW keeps the last good value, others go on", "samples", _skew(books)),
        _finding("a raising listener keeps nothing from the next", "steps", _neighbours(books)),
        _finding("all show the last version in the end", "replicas", _converged(books)),
        _finding("everything happened in time", "faults", _in_time(books)),
    ]


def _finding(promise: str, unit: str, wrongs: Wrongs) -> Finding:
    count = 0
    first = ""
    for wrong in wrongs:
        count += 1
        first = first or wrong or ""
    if not count:
        first = "nothing was seen that would show it"
    return Finding(promise, not first, f"{count:,} {unit}", first)


def _backwards(books: Books) -> Wrongs:
    for life in books.lives:
        for key in KEYS:
            steps = life.of(Shown, key)
            for before, after in pairwise(steps):
                right = after.place > before.place
                yield None if right else f"replica {life.copy}, {key}: from {before.place} to {after.place}"


def _invented(books: Books) -> Wrongs:
    written = {(row.key, row.place): row for row in books.written}
    for life in books.lives:
        for step in life.of(Shown):
            source = written.get((step.key, step.place))
            if source is None:
                yield f"replica {life.copy}, {step.key}: {step.place} was never written"
            elif step.value != _as_read_by(life.code, source):
                yield f"replica {life.copy}, {step.key}: {step.place} was written with another value"
            else:
                yield None


def _as_read_by(code: str, row: Written) -> Plain:
    """What a replica must make of a version: the old code takes no major 2, the new one reshapes major 1."""
    value = row.value
    if not row.key.startswith("process:"):
        return value
    if code == "old":
        return value if row.major == 1 else "a replica of the old code must not show this"
    if row.major == 2:
        return value
    kept = {name: value[name] for name in ("pid", "name")}
    return {**kept, "usage": {name: value[name] for name in value if name not in kept}}


def _skips(books: Books) -> Wrongs:
    for life in books.lives:
        for key in KEYS:
            steps = life.of(Shown, key)
            for before, after in pairwise(steps):
                same_life = before.place[0] == after.place[0]
                skipped = after.place[1] - before.place[1] - 1 if same_life else None
                right = after.skipped == skipped
                yield None if right else f"replica {life.copy}, {key}: said {after.skipped}, it was {skipped}"


def _honesty(books: Books) -> Wrongs:
    """Whoever says OK has a proof that is young enough: it shows at least what had been written before that proof."""
    for life in books.lives:
        for key in KEYS:
            written = sorted((row.at_s, row.place) for row in books.written if row.key == key)
            newest: Place | None = None
            index = 0
            for said in life.of(Said, key):
                while index < len(written) and written[index][0] < said.at_s - STALE_AFTER_S:
                    newest = max(newest or (0, 0), written[index][1])
                    index += 1
                if said.status == "ok" and newest is not None:
                    right = said.place is not None and said.place >= newest
                    yield None if right else f"replica {life.copy}, {key}: OK at {said.place}, {newest} was long written"


def _said_in(books: Books, fault: str, statuses: set[str]) -> Wrongs:
    if fault not in books.faults:
        return
    began_s, over_s = books.faults[fault]
    for copy in COPIES:
        for key in KEYS:
            said = {row.status for row in _samples(books, copy, key) if began_s <= row.at_s <= over_s}
            yield None if said & statuses else f"replica {copy}, {key}: it only said {sorted(said)}"


def _emptied(books: Books) -> Wrongs:
    for life in books.lives:
        for key in KEYS:
            had = False
            for row in life.of(Said, key):
                if had or row.place is not None:
                    had = True
                    yield None if row.place is not None else f"replica {life.copy}, {key}: it showed nothing any more"
        for step in life.of(Shown):
            if step.value is None:
                yield f"replica {life.copy}, {step.key}: it showed a deletion that nobody made"


def _skew(books: Books) -> Wrongs:
    """The one of the old code says SKEW of all processes and stays where it is; the others show the new schema meanwhile."""
    if "schema" not in books.faults:
        return
    began_s, over_s = books.faults["schema"]
    majors = {(row.key, row.place): row.major for row in books.written}
    for life in books.lives:
        for key in KEYS:
            if not key.startswith("process:"):
                continue
            samples = [row for row in life.of(Said, key) if began_s <= row.at_s <= over_s]
            if life.code == "old":
                skewed = [row for row in samples if row.status == "skew"]
                yield None if skewed else f"replica {life.copy}, {key}: it never said SKEW"
                for row in skewed:
                    kept = row.place == skewed[0].place and majors.get((key, row.place or (0, 0))) == 1
                    yield None if kept else f"replica {life.copy}, {key}: it moved to {row.place} while it said SKEW"
            elif samples:
                went_on = any(majors.get((key, row.place or (0, 0))) == 2 for row in samples)
                yield None if went_on else f"replica {life.copy}, {key}: it did not go on to the new schema"
    if not any(life.code == "old" for life in books.lives):
        yield "no replica had the old code"


def _neighbours(books: Books) -> Wrongs:
    for life in books.lives:
        for ended in life.of(Ended):
            steps = len(life.of(Shown, ended.key))
            if ended.key == KEYS[0] and ended.handler_errors < steps:
                yield f"replica {life.copy}, {ended.key}: the listener raised {ended.handler_errors} times in {steps} steps"
            for step in range(max(steps, ended.applied)):
                yield None if step < min(steps, ended.applied) else f"replica {life.copy}, {ended.key}: a step was not heard of"


def _converged(books: Books) -> Wrongs:
    """Each replica ends at the newest version, and has said OK of it; that it just asks again, as it always does, is fine."""
    newest = books.newest()
    for copy in COPIES:
        last = {row.key: row for life in books.lives if life.copy == copy for row in life.of(Ended)}
        for key in KEYS:
            row, truth = last.get(key), newest.get(key)
            if row is None or truth is None:
                yield f"replica {copy}, {key}: it has no end"
                continue
            sure = any(said.place == truth.place and said.status == "ok" for said in _samples(books, copy, key))
            right = sure and row.place == truth.place and row.status in ("ok", "refetching")
            said = f"{row.status.upper()} at {row.place}{'' if sure else ', never OK'}"
            yield None if right else f"replica {copy}, {key}: {said}, the last is {truth.place}"


def _in_time(books: Books) -> Wrongs:
    yield from books.troubles
    for fault in books.faults:
        yield None if fault in ("server", "owner", "schema") else f"{fault} is not in the plot"
    for expected in ("server", "owner", "schema"):
        if expected not in books.faults:
            yield f"the fault {expected!r} never happened"
    lives = len({row.place[0] for row in books.written if row.key == KEYS[0]})
    yield None if lives >= 2 else f"the authority had {lives} lives, expected at least 2"


def _samples(books: Books, copy: str, key: str) -> list[Said]:
    return [row for life in books.lives if life.copy == copy for row in life.of(Said, key)]

