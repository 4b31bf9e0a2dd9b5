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
from typing import Any, Final, Generic, NamedTuple, TypeVar

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


class Footing:
    """The last proof of a replica, and what follows from it.

    Args:
        stale_after_s: the age in seconds above which the proof is too old.
    """

    __slots__ = ("base", "beats_until_s", "left", "proven_s", "stale_after_s")

    def __init__(self, stale_after_s: float) -> None:
        self.stale_after_s = stale_after_s
        self.proven_s = -math.inf
        """When the replica was last surely current, by an answer or a beat, on the driver's monotonic clock."""
        self.base = NO_BASE
        self.beats_until_s = -math.inf
        """Until when the beats that prove are taken to go on: if no other has come by then, they fell silent."""
        self.left: list[Currency[Any]] | None = None
        """Those who stand here no longer; None where it is that of one replica."""


class Company(Footing):
    """The footing of many replicas: a beat has proven all of them, and there is nothing else to say of any.

    What the next beats come to is found once for all. Whoever is named, hears something, or has a reason to ask, stands alone.

    Args:
        first: one of those who stand here, which the beat has proven.
        beat: the last one that was heard.
        now_s: the time on the clock of these replicas.
    """

    __slots__ = ("_stale_by_beats", "count")
    left: list[Currency[Any]]

    def __init__(self, first: Currency[Any], beat: Beat, now_s: float) -> None:
        super().__init__(first.stale_after_s)
        self.base = first.base
        self.proven_s = min(now_s, first.base.started_s + beat.uptime_s)
        self._stale_by_beats = first.stale_by_beats
        self.left = []
        self.count = 0
        """How many stand here, or are listed in `left`: who empties that counts them off."""

    def beat_received(self, beat: Beat, now_s: float) -> bool:
        """A beat names nobody here but with what is known; returns False, with nothing done, if each has to judge it alone."""
        base = self.base
        finding = judge_beat(beat, None, base, NOWHERE, confirmed=True)
        if finding is Finding.REPEATED:
            return True
        proven_s = max(self.proven_s, min(now_s, base.started_s + beat.uptime_s))
        usual = not self._stale_by_beats or self.stale_after_s == BEAT_INTERVALS_MAX * beat.interval_s
        if finding is not Finding.PROOF or not usual or now_s - proven_s > self.stale_after_s:
            return False
        self.base = Base(base.epoch, beat.number, base.started_s)
        self.proven_s, self.beats_until_s = proven_s, now_s + BEAT_INTERVALS_MAX * beat.interval_s
        return True

    def takes(self, replica: Currency[Any], beat: Beat, now_s: float) -> bool:
        """Let a replica stand here which the last beat has proven by itself; returns whether it does from now on."""
        own, place = replica.footing, (beat.epoch, beat.number)
        alike = (own.stale_after_s, replica.stale_by_beats) == (self.stale_after_s, self._stale_by_beats)
        if not replica.at_ease or not alike or own.base[:2] != place or self.base[:2] != place:
            return False
        if own.base.started_s > self.base.started_s:  # each of them is a bound of the same moment
            self.base = own.base
            self.proven_s = max(self.proven_s, min(now_s, own.base.started_s + beat.uptime_s))
        if own.proven_s > self.proven_s:
            return False  # by an answer, which says nothing of the others
        # The beat may be one that comes again: only those whom it has proven know when it was new.
        self.beats_until_s = max(self.beats_until_s, own.beats_until_s)
        replica.footing = self
        self.count += 1
        return True


class Currency(Standing[T], Generic[T]):
    """When a replica was last surely current, and how it knows.

    Args:
        lossless: the transport loses nothing; then beats have nothing to tell.
        stale_after_s: the age in seconds above which a proof is too old.
        stale_by_beats: while beats prove, a proof is too old after `BEAT_INTERVALS_MAX` of their intervals instead.
    """

    __slots__ = ("awaited", "confirmed", "footing", "stale_by_beats", "stale_unheard_s")

    def __init__(self, *, lossless: bool, stale_after_s: float, stale_by_beats: bool) -> None:
        super().__init__(lossless=lossless)
        self.footing = Footing(stale_after_s)
        self.stale_unheard_s = stale_after_s
        self.stale_by_beats = stale_by_beats
        self.confirmed = ABSENT
        """The version that an answer or a beat confirmed last; if another is held, that came live since."""
        self.awaited: Awaited | None = None

    @property
    def base(self) -> Base:
        """See `Footing`."""
        return self.footing.base

    @property
    def proven_s(self) -> float:
        """See `Footing`."""
        return self.footing.proven_s

    @property
    def beats_until_s(self) -> float:
        """See `Footing`."""
        return self.footing.beats_until_s

    @property
    def stale_after_s(self) -> float:
        """The age in seconds above which a proof is too old."""
        return self.footing.stale_after_s

    @property
    def at_ease(self) -> bool:
        """Whether there is nothing to say of it but where it stands."""
        disturbed = self.closed or self.lossless or self.needs_raised > self.needs_closed or self.awaited is not None
        if disturbed or self.current_epoch != self.base.epoch:
            return False
        return self.held is None or (self.held.epoch, self.held.sequence) == self.confirmed

    @property
    def look_again_s(self) -> float:
        """When the driver has to call `time_passed`, on its monotonic clock; infinite for never."""
        return math.inf if self.awaited is None else self.awaited.until_s

    def beat_received(self, beat: Beat, named: Position | None, *, now_s: float, grace_s: float = 0.0) -> None:
        """An authority beat: judge that alone. Not for replicas whose answers come from elsewhere.

        Args:
            beat: what it says.
            named: where it says that this object is, None where it does not name it.
            now_s: the time, in seconds on the driver's monotonic clock.
            grace_s: how long to wait for a newer version that it names, in seconds.
        """
        if self.closed or self.lossless:
            return
        own = self.stand_alone()
        # A life that was deposed proves nothing, and is no base.
        self.current_epoch = max(self.current_epoch, beat.epoch)
        base = self.base if self.base.epoch == self.current_epoch else NO_BASE
        # Most objects are not named by most beats, and then it does not matter what is known of them.
        newest = NOWHERE if named is None else self._newest()
        confirmed = self.held is None or (self.held.epoch, self.held.sequence) == self.confirmed
        finding = judge_beat(beat, named, base, newest, confirmed=confirmed)
        if finding is Finding.PROOF:
            own.base = Base(base.epoch, beat.number, base.started_s)
            self._current(min(now_s, base.started_s + beat.uptime_s), confirmed=not confirmed)
            own.beats_until_s = now_s + BEAT_INTERVALS_MAX * beat.interval_s
            if self.stale_by_beats:
                own.stale_after_s = BEAT_INTERVALS_MAX * beat.interval_s
            if now_s - own.proven_s > own.stale_after_s:
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

    def stand_alone(self) -> Footing:
        """Be no longer in a company; returns the footing of this replica, and of no other."""
        footing = self.footing
        if footing.left is None:
            return footing
        own = Footing(footing.stale_after_s)
        own.base, own.proven_s, own.beats_until_s = footing.base, footing.proven_s, footing.beats_until_s
        footing.left.append(self)  # first, since another thread may look who is here, and then who has left
        self.footing = own
        return own

    def need_raised(self, reason: str) -> None:
        """There is a reason to ask; see `Standing`."""
        self.stand_alone()
        super().need_raised(reason)

    def knows(self, named: Position) -> bool:
        """Whether it is news to nobody in a company that a beat names this."""
        held = self.held
        return held is not None and named.version == self.confirmed and is_same(named, Position.of(held))

    def time_passed(self, now_s: float) -> None:
        """It is `now_s` seconds on the driver's monotonic clock: what a beat named and did not come by now is a need."""
        if self.awaited is not None and now_s >= self.awaited.until_s:
            late = self.awaited.version > self._newest().version
            self.awaited = None
            if late and not self.closed:
                self.need_raised(Finding.NEWER.value)

    def _proven(self, epoch: int, beat: int | None, asked_s: float, uptime_s: float, *, told: bool) -> None:
        """An answer proves; `told` says that it spoke of no version below the one that was held."""
        own = self.stand_alone()
        if beat is not None:
            # Later beats may have overtaken the answer.
            number = max(beat, own.base.number) if own.base.epoch == epoch else beat
            own.base = Base(epoch, number, asked_s - uptime_s)
        if asked_s > own.beats_until_s:
            own.stale_after_s = self.stale_unheard_s
        self._current(asked_s, confirmed=told)

    def _current(self, at_s: float, *, confirmed: bool) -> None:
        own = self.stand_alone()
        own.proven_s = max(own.proven_s, at_s)
        if confirmed and self.held is not None:
            self.confirmed = self.held.version
