"""A replica whose inputs are noted in the order in which its rules take them, each with what it came to.

It is never at pace, so that every envelope goes through its rules one by one, and nobody else pays for it. A lock of its own
makes an input and its note one step, since not all inputs come under the lock of the group; under both, nothing is encoded and
nothing is written. What has been noted is written by `write`, after the locks, as whoever waits for the replica is woken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from parasync.codec import Codec
from parasync.errors import SchemaSkewError
from parasync.protocol import (
    ABSENT,
    OTHER_CONTENT,
    UNREAD,
    Asked,
    Beat,
    Envelope,
    Outcome,
    Position,
    Same,
    Unanswered,
    Unreadable,
    Version,
    status_of,
)
from parasync.runtime._locks import NotedLock
from parasync.runtime._member import Member
from parasync.runtime._records import Record, State, envelope_record, listed, state_of
from parasync.runtime._world import Clock

T = TypeVar("T")
R = TypeVar("R")

Told: TypeAlias = str | tuple[str, str] | None
"""What a gate said: "good", "same" (as what is held), "unread", "other", or ("skew" or "parse", why); None: not asked."""


class Note(NamedTuple):
    """One input, and what it came to; `lost` counts those before it that were not noted."""

    member: Recorded[Any]
    lost: int
    at_s: float
    kind: str
    envelope: Envelope[Any] | None
    told: Told
    facts: tuple[Any, ...]
    status: str
    before: State
    after: State

    def facts_record(self, body: bytes | None) -> Record:
        """What a step says of this input; `body` is what is recorded of its value."""
        if self.kind == "answer":
            asked, outcome, *about = self.facts
            return listed([_asked_record(asked), _outcome_record(outcome, body), self.told, *about])
        if self.kind == "asked":
            return _asked_record(self.facts[0])
        return listed(self.facts) if self.envelope is None else listed([envelope_record(self.envelope, body), self.told])


class Tape(NamedTuple):
    """What a replica needs to be recorded.

    Args:
        place: its number in the recording.
        schema_version: that of its topic.
        codec: in which its values are recorded.
        clock: the one that it goes by.
        note: takes a note, and returns whether it is kept; called under locks.
        write: writes what was noted; raises nothing.
    """

    place: int
    schema_version: str
    codec: Codec
    clock: Clock
    note: Callable[[Note], bool]
    write: Callable[[], None]


class Recorded(Member[T], Generic[T]):
    """A member of a group whose inputs are noted; made like any other, with a tape before all else."""

    __slots__ = ("_inputs", "_lost", "_owner", "_state", "tape")

    def __init__(self, tape: Tape, *facts: Any, **options: Any) -> None:
        # What the rules do to it while it is being made is no input.
        self._owner = get_ident()
        super().__init__(*facts, **options)
        self._owner = 0
        self._inputs = NotedLock()
        self._lost = 0
        self._state: State | None = None
        """Where it stood after the last input; None where that is not known."""
        self.tape = tape
        self.watchers = (tape.write,)

    def seed_received(self, envelope: Envelope[Any], value: T | None) -> bool:
        """See `Replica.seed_received`."""
        return self._take("seed", partial(super().seed_received, envelope, value), envelope, value)

    def live_received(self, envelope: Envelope[Any], reading: object) -> bool | None:
        """See `Replica.live_received`."""
        return self._take("live", partial(super().live_received, envelope, reading), envelope, reading)

    def noticed(self, now_s: float) -> None:
        """See `Replica.noticed`."""
        if self.need_open and not self.doubting:
            self._take("noticed", partial(super().noticed, now_s), None, None, now_s)

    def need_raised(self, reason: str) -> None:
        """See `Replica.need_raised`."""
        self._take("need", partial(super().need_raised, reason), None, None, reason)

    def asked(self) -> Asked:
        """See `Replica.asked`."""
        asked = self._take("asked", super().asked)
        self.tape.write()
        return asked

    def ask_failed(self, reason: str) -> None:
        """See `Replica.ask_failed`."""
        self._take("failed", partial(super().ask_failed, reason), None, None, reason)

    def answer_received(
        self, asked: Asked, outcome: Outcome, reading: object, *, epoch: int, beat: int | None = None, uptime_s: float = 0.0,
        floor: Version = ABSENT, asked_s: float,
    ) -> bool | None:  # fmt: skip
        """See `Replica.answer_received`."""
        answered = partial(super().answer_received, epoch=epoch, beat=beat, uptime_s=uptime_s, floor=floor, asked_s=asked_s)
        rule = partial(answered, asked, outcome, reading)
        envelope = outcome if isinstance(outcome, Envelope) else None
        return self._take("answer", rule, envelope, reading, asked, outcome, epoch, floor, asked_s, beat, uptime_s)

    @property
    def at_ease(self) -> bool:
        """Never: each beat is recorded as it came."""
        return False

    def beat_received(self, beat: Beat, named: Position | None, *, now_s: float, grace_s: float = 0.0) -> None:
        """See `Currency.beat_received`."""
        rule = partial(super().beat_received, beat, named, now_s=now_s, grace_s=grace_s)
        place = None if named is None else (*named.version, named.checksum)
        said = beat.epoch, beat.number, beat.uptime_s, beat.interval_s, beat.since, place
        self._take("beat", rule, None, None, *said, now_s, grace_s)

    def time_passed(self, now_s: float) -> None:
        """See `Currency.time_passed`."""
        if now_s >= self.look_again_s:
            self._take("passed", partial(super().time_passed, now_s), None, None, now_s)

    def close(self) -> None:
        """See `Member.close`; where another thread is in the middle of an input, at the end of that."""
        self._inputs.note(self._close)

    def _close(self) -> None:
        if not self.closed:
            self._taken("closed", super().close, None, None, ())

    def _settle(self) -> None:
        super()._settle()
        self.pace = None

    def _take(
        self, kind: str, rule: Callable[[], R], envelope: Envelope[Any] | None = None, reading: object = None, *facts: object
    ) -> R:
        if self._owner == get_ident():
            return rule()  # one rule uses another
        with self._inputs:
            return self._taken(kind, rule, envelope, None if envelope is None else self._told(reading), facts)

    def _taken(
        self, kind: str, rule: Callable[[], R], envelope: Envelope[Any] | None, told: Told, facts: tuple[object, ...]
    ) -> R:
        """Under the lock of the inputs: apply a rule, and note what came of it."""
        before = self._state or state_of(self)
        # Whatever ends this early leaves a hole, and the recording goes on behind it.
        self._state = None
        self._owner = get_ident()
        try:
            result = rule()
        finally:
            self._owner = 0
        after = state_of(self)
        if after == before and (result is None or kind != "answer"):
            self._state = before
            return result
        at_s = self.tape.clock()
        if kind == "asked":
            facts = (result,)
        note = Note(self, self._lost, at_s, kind, envelope, told, facts, status_of(self, at_s).value, before, after)
        self._lost = 0 if self.tape.note(note) else self._lost + 1
        self._state = after
        return result

    def _told(self, reading: object) -> Told:
        if reading is UNREAD or reading is OTHER_CONTENT:
            return "unread" if reading is UNREAD else "other"
        if isinstance(reading, Unreadable):
            return "skew" if isinstance(reading.error, SchemaSkewError) else "parse", str(reading.error)
        return "same" if self.held is not None and getattr(self.held, "value", None) is reading else "good"


def _asked_record(asked: Asked) -> Record:
    position = asked.position
    return [asked.needs, None if position is None else [*position.version, position.checksum]]


def _outcome_record(outcome: Outcome, body: bytes | None) -> Record:
    if isinstance(outcome, Envelope):
        return ["envelope", *envelope_record(outcome, body)]
    if isinstance(outcome, Unanswered):
        return ["unanswered", outcome.reason]
    return ["same" if isinstance(outcome, Same) else "absent"]
