"""What a beat is to a replica that an answer has proven: another proof, a reason to ask, or nothing.

An answer carries the number of the last beat before it, and so makes a *base*: what was sent until that beat is known here.
A beat names what was sent since some earlier beat. So one that names all that was sent since the base proves the replica again
if it names nothing that the replica does not know. Its rules, in this order:

1. Of another life than the base, or of one below the highest that was heard, or there is no base: a need.
2. Not above the base: nothing new.
3. It names only what was sent after a later beat than the base: a need.
4. It names a newer version: a need, once the live envelope that may be under way has had its time.
5. It names the newest version known here with other content: a conflict, which is a need.
6. It does not name what came live since the base: a need, since no authority has sent that.
7. It proves, and is the next base.

A proof by a beat is as old as the beat: the answer was made after its ask was sent, and so tells when the uptime of its author
was what at the earliest. A backlog of old beats proves little; a beat that proves too little is a need. No beat closes a need.
"""

from __future__ import annotations

import enum
import math
from typing import Final, Generic, NamedTuple, TypeVar

from parasync.protocol._authority import is_same
from parasync.protocol._messages import BEAT_INTERVALS_MAX, Beat
from parasync.protocol._positions import Position
from parasync.protocol._standing import NOWHERE, Standing
from parasync.protocol._version import ABSENT, Version

T = TypeVar("T")


class Base(NamedTuple):
    """The last proof: by which life, at which beat, and when that life began at the earliest, on the clock here."""

    epoch: int
    number: int
    started_s: float


class Stride(NamedTuple):
    """What a beat comes to for all replicas at one base that it does not name, and of which there is nothing else to say."""

    base: Base
    proven_s: float
    until_s: float
    stale_after_s: float


class Awaited(NamedTuple):
    """A newer version that a beat named, and how long to wait for it."""

    version: Version
    until_s: float


NO_BASE: Final = Base(-1, 0, 0.0)
"""Nothing was proven by anybody whose beats are heard: no life has this epoch."""


class Finding(enum.Enum):
    """What a beat comes to; the value is the reason of the need, "" for none."""

    PROOF = ""
    REPEATED = "it was heard before"
    OTHER_LIFE = "a beat of another life of the authority was heard"
    HOLE = "beats were missed, or more was sent than they name"
    NEWER = "a beat names a newer version"
    DIFFERS = "the digest of a beat differs"
    OTHER_CONTENT = "one version has two contents"
    UNCONFIRMED = "a beat does not name what came live"


def judge_beat(beat: Beat, named: Position | None, base: Base, newest: Position, *, confirmed: bool) -> Finding:
    """What a beat comes to.

    Args:
        beat: of the highest life that was heard, or of one below.
        named: where it says that the object is, None where it does not name it.
        base: of the replica.
        newest: the newest version known here, applied or refused.
        confirmed: what is applied was told by an answer or named by a beat.
    """
    if beat.epoch != base.epoch:
        return Finding.OTHER_LIFE
    if beat.number <= base.number:
        return Finding.REPEATED
    if base.number < beat.since:
        return Finding.HOLE
    if named is not None and named.version > newest.version:
        return Finding.NEWER
    if named is not None and named.version == newest.version:
        return Finding.PROOF if is_same(named, newest) else Finding.OTHER_CONTENT
    return Finding.PROOF if confirmed else Finding.UNCONFIRMED


def stride_of(beat: Beat, base: Base, now_s: float) -> Stride | None:
    """What a beat proves to replicas at this base that it does not name; None where that is for each of them to find out."""
    if judge_beat(beat, None, base, NOWHERE, confirmed=True) is not Finding.PROOF:
        return None
    stale_after_s = BEAT_INTERVALS_MAX * beat.interval_s
    proven_s = min(now_s, base.started_s + beat.uptime_s)
    if now_s - proven_s > stale_after_s:
        return None
    return Stride(Base(base.epoch, beat.number, base.started_s), proven_s, now_s + stale_after_s, stale_after_s)


class Currency(Standing[T], Generic[T]):
    """When a replica was last surely current, and how it knows.

    Args:
        lossless: the transport loses nothing; then beats have nothing to tell.
        stale_after_s: the age in seconds above which a proof is too old.
        stale_by_beats: while beats prove, a proof is too old after `BEAT_INTERVALS_MAX` of their intervals instead.
    """

    __slots__ = (
        "awaited", "base", "beats_until_s", "confirmed", "proven_s", "stale_after_s", "stale_by_beats", "stale_unheard_s",
    )  # fmt: skip

    def __init__(self, *, lossless: bool, stale_after_s: float, stale_by_beats: bool) -> None:
        super().__init__(lossless=lossless)
        self.stale_after_s = self.stale_unheard_s = stale_after_s
        self.stale_by_beats = stale_by_beats
        self.proven_s = -math.inf
        """When the replica was last surely current, by an answer or a beat, on the driver's monotonic clock."""
        self.base = NO_BASE
        self.confirmed = ABSENT
        """The version that an answer or a beat confirmed last; if another is held, that came live since."""
        self.beats_until_s = -math.inf
        """Until when the beats that prove are taken to go on: if no other has come by then, they fell silent."""
        self.awaited: Awaited | None = None

    @property
    def look_again_s(self) -> float:
        """When the driver has to call `time_passed`, on its monotonic clock; infinite for never."""
        return math.inf if self.awaited is None else self.awaited.until_s

    def beat_received(self, beat: Beat, named: Position | None, *, now_s: float, grace_s: float = 0.0) -> None:
        """An authority beat. Not for replicas whose answers come from elsewhere.

        Args:
            beat: what it says.
            named: where it says that this object is, None where it does not name it.
            now_s: the time, in seconds on the driver's monotonic clock.
            grace_s: how long to wait for a newer version that it names, in seconds.
        """
        if self.closed or self.lossless:
            return
        # A life that was deposed proves nothing, and is no base.
        self.current_epoch = max(self.current_epoch, beat.epoch)
        base = self.base if self.base.epoch == self.current_epoch else NO_BASE
        # Most objects are not named by most beats, and then it does not matter what is known of them.
        newest = NOWHERE if named is None else self._newest()
        confirmed = self.held is None or (self.held.epoch, self.held.sequence) == self.confirmed
        finding = judge_beat(beat, named, base, newest, confirmed=confirmed)
        if finding is Finding.PROOF:
            self.base = Base(base.epoch, beat.number, base.started_s)
            self._current(min(now_s, base.started_s + beat.uptime_s), confirmed=not confirmed)
            self.beats_until_s = now_s + BEAT_INTERVALS_MAX * beat.interval_s
            if self.stale_by_beats:
                self.stale_after_s = BEAT_INTERVALS_MAX * beat.interval_s
            if now_s - self.proven_s > self.stale_after_s:
                self.need_raised("a beat came too late to prove much")
        elif finding is Finding.OTHER_CONTENT:
            self._conflict()
        elif finding is Finding.NEWER and grace_s > 0 and named is not None:
            # What is missing for longer gets no more time by this; nor is an older beat that comes late a smaller promise.
            if self.awaited is None or self.awaited.version <= newest.version:
                self.awaited = Awaited(named.version, now_s + grace_s)
            elif named.version > self.awaited.version:
                self.awaited = Awaited(named.version, self.awaited.until_s)
        elif finding is not Finding.REPEATED:
            self.need_raised(finding.value)

    def strides(self, base: Base, stride: Stride) -> bool:
        """`beat_received` for what most beats are to most replicas; returns whether it was that, else nothing was done.

        Args:
            base: where the stride begins.
            stride: what `stride_of` made of the beat there; it does not name this object.
        """
        if (
            (self.base is not base and self.base != base)
            or self.closed
            or self.needs_raised > self.needs_closed
            or self.awaited is not None
            or self.current_epoch != base.epoch
            or self.stale_after_s != stride.stale_after_s
            or not self.stale_by_beats
        ):
            return False
        held = self.held
        if held is not None and (held.epoch, held.sequence) != self.confirmed:
            return False
        # The same objects in all who stand there: of thousands, nothing else has to be fetched to find that out next time.
        self.base, self.beats_until_s = stride.base, stride.until_s
        self.current_epoch, self.stale_after_s = base.epoch, stride.stale_after_s
        if self.proven_s < stride.proven_s:
            self.proven_s = stride.proven_s
        return True

    def time_passed(self, now_s: float) -> None:
        """It is `now_s` seconds on the driver's monotonic clock: what a beat named and did not come by now is a need."""
        if self.awaited is not None and now_s >= self.awaited.until_s:
            late = self.awaited.version > self._newest().version
            self.awaited = None
            if late and not self.closed:
                self.need_raised(Finding.NEWER.value)

    def _proven(self, epoch: int, beat: int | None, asked_s: float, uptime_s: float, *, told: bool) -> None:
        """An answer proves; `told` says that it spoke of no version below the one that was held."""
        if beat is not None:
            # Later beats may have overtaken the answer.
            number = max(beat, self.base.number) if self.base.epoch == epoch else beat
            self.base = Base(epoch, number, asked_s - uptime_s)
        if asked_s > self.beats_until_s:
            self.stale_after_s = self.stale_unheard_s
        self._current(asked_s, confirmed=told)

    def _current(self, at_s: float, *, confirmed: bool) -> None:
        self.proven_s = max(self.proven_s, at_s)
        if confirmed and self.held is not None:
            self.confirmed = self.held.version
