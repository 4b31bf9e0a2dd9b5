"""Steps through a recording: the rules themselves take each input again, and what they make of it is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from parasync.errors import ParasyncError, RecordingError
from parasync.protocol import Asked, Outcome, Reader, Replica, Status, age_of, reason_of, status_of
from parasync.runtime._records import (
    FIELDS,
    Record,
    Shown,
    State,
    older_part,
    read_file,
    read_state,
    read_time,
    restore,
    state_of,
)
from parasync.runtime._retaking import read_asked, read_never, take_again
from parasync.runtime._views import Cause, Change, change_between

_CAUSES: Final[dict[str, Cause]] = {"seed": "seed", "live": "live", "answer": "answer"}


@attrs.frozen
class Step:
    """One input of a replica, and what it came to.

    Args:
        number: counts the inputs of a recording from 1; what took no input has the number of the step before.
        place: tells the replicas of a recording apart.
        key: of the object.
        at_s: on the clock of the replica.
        wall_s: seconds since 1970, as of that clock.
        kind: "seed", "live", "asked", "answer", "failed", "need", "noticed", "beat", "passed" or "closed"; "begin" where a
            replica appears or steps are missing; "time" when its status changes though nothing came.
        asked: what was known when the ask of an answer was sent, or is sent now.
        outcome: what came: an envelope, or what an answer says instead of one.
        told: what the gate said, e.g. "good".
        reason: of a need or a failure; which beat.
        before: what the rules knew before, by name.
        state: what they know now.
        status: what the replica says of itself.
        status_reason: why that is not `OK`.
        change: what listeners are told.
        held: what is recorded of the value that is held.
        missing: how many steps before this one were not recorded.
        differs: the names of what is not as it was recorded.
    """

    number: int
    place: int
    key: str
    at_s: float
    wall_s: float
    kind: str
    before: dict[str, Any]
    state: dict[str, Any]
    status: Status
    status_reason: str
    asked: Asked | None = None
    outcome: Outcome | None = None
    told: str = ""
    reason: str = ""
    change: Change[Any] | None = None
    held: Shown | None = None
    missing: int = 0
    differs: tuple[str, ...] = ()


@attrs.define
class _Seen:
    """A replica of the recording, as far as it has been replayed."""

    key: str
    replica: Replica[Any]
    wall_ahead_s: float
    status: Status
    begins_s: float | None
    """When, as long as that has not been told."""


class Replay:
    """The steps of a recording, in order; to be gone through once.

    Args:
        path: the file; the part before it is found beside it.
        reader_of: for a key and its schema version, the gate that reads values anew; None: what the gate said then is believed.
    """

    def __init__(self, path: Path, reader_of: Callable[[str, str], Reader[Any]] | None = None) -> None:
        self._path = path
        self._reader_of = reader_of
        self._seen: dict[int, _Seen] = {}
        self._number: int | None = None
        self._missing = 0
        self.cut_at: int | None = None
        """The byte at which the file ends in the middle of a record, as that of a killed process may; None if it does not."""

    def __iter__(self) -> Iterator[Step]:
        """The steps.

        Raises:
            RecordingError: there is no recording, or it is damaged; the steps before the damage have been returned.
        ParasyncError: what `reader_of` raises.
        """
        for path in _parts(self._path):
            self.cut_at = None
            for position, record in read_file(path):
                try:
                    yield from self._steps(position, record)
                except ParasyncError:
                    raise
                except Exception as error:
                    text = f"{path}: got a record at byte {position} that cannot be replayed ({type(error).__name__})"
                    raise RecordingError(f"{text}, expected one of this format", position) from error

    def _steps(self, position: int, record: Record) -> Iterator[Step]:
        what, *rest = record
        if what == "cut":
            self.cut_at = position
        elif what == "part":
            _, _, before = rest
            self._count(before + 1)
            self._number = before
        elif what == "replica":
            self._appeared(*rest)
        else:
            number, place, *about = rest
            self._count(number)
            yield from self._stepped(place, self._seen[place], *about)

    def _count(self, number: int) -> None:
        self._missing += 0 if self._number is None else number - self._number - 1
        self._number = number

    def _appeared(
        self, place: int, key: str, schema_version: str, lossless: bool, askable: bool, gap: Any, stale_after_s: float,
        stale_by_beats: bool, at_s: float, wall_s: float, plain: Any, held: Record | None,
    ) -> None:  # fmt: skip
        state = read_state(plain)
        seen = self._seen.get(place)
        if seen is not None and (state_of(seen.replica) == state or self._reader_of is not None):
            return
        read: Reader[Any] = read_never if self._reader_of is None else self._reader_of(key, schema_version)
        if not isinstance(key, str):
            raise TypeError
        replica: Replica[Any] = Replica(
            read, lossless=lossless, askable=askable, gap=gap, stale_after_s=stale_after_s, stale_by_beats=stale_by_beats
        )
        restore(replica, state, held)
        self._seen[place] = _Seen(key, replica, read_time(wall_s) - at_s, status_of(replica, read_time(at_s)), at_s)

    def _stepped(self, place: int, seen: _Seen, at_s: float, kind: str, facts: Record, said: str, plain: Any) -> Iterator[Step]:
        replica, before, at_s = seen.replica, state_of(seen.replica), read_time(at_s)
        if seen.begins_s is not None:
            yield self._step(place, seen, "begin", seen.begins_s, before)
            seen.begins_s = None
        if status_of(replica, at_s) is not seen.status:
            turned_s = at_s - age_of(replica, at_s) + replica.stale_after_s
            yield self._step(place, seen, "time", min(turned_s, at_s), before, at_s)
        old = replica.held
        about, changed = take_again(replica, kind, facts, anew=self._reader_of is not None)
        after, recorded = state_of(replica), read_state(plain)
        differs = [name for name, now, then in zip(FIELDS, after, recorded, strict=True) if now != then]
        if status_of(replica, at_s).value != said:
            differs.append("status")
        if kind == "asked" and about["asked"] != read_asked(facts):
            differs.append("ask")
        new, cause = replica.held, _CAUSES.get(kind, "live")
        change = None if not changed or new is None else change_between(old, new, cause)
        yield self._step(place, seen, kind, at_s, before, differs=tuple(differs), change=change, **about)
        if differs and self._reader_of is None:
            # Each difference is told once: what follows goes on from what was recorded.
            known = replica.held
            same = known is not None and recorded[-2] is not None and (known.epoch, known.sequence) == recorded[-2][:2]
            value = getattr(known, "value", None)
            restore(replica, recorded, [value.body, known.meta] if same and known is not None and value is not None else None)
            seen.status = status_of(replica, at_s)

    def _step(
        self, place: int, seen: _Seen, kind: str, at_s: float, before: State, now_s: float | None = None, **about: Any
    ) -> Step:
        replica, now_s = seen.replica, at_s if now_s is None else now_s
        seen.status = status_of(replica, now_s)
        missing, self._missing = self._missing, 0
        number = (self._number or 0) - (kind in ("begin", "time"))
        return Step(
            number, place, seen.key, at_s, at_s + seen.wall_ahead_s, kind, dict(zip(FIELDS, before, strict=True)),
            dict(zip(FIELDS, state_of(replica), strict=True)), seen.status, reason_of(replica, now_s),
            held=getattr(replica.held, "value", None), missing=missing, **about,
        )  # fmt: skip


def _parts(path: Path) -> list[Path]:
    """The files of a recording, the older one first."""
    older = older_part(path)
    newest, oldest = _head(path), _head(older)
    if newest is None and oldest is not None:
        return [older]  # killed before the new part had begun
    follows = newest is not None and oldest is not None and newest[:2] == [oldest[0], oldest[1] + 1]
    return [older, path] if follows else [path]


def _head(path: Path) -> Record | None:
    """What the first record of a file says; None if it is not there."""
    try:
        _, (what, *head) = next(read_file(path))
    except RecordingError:
        return None
    return head if what == "part" else None
