"""What a beat is to a mirror that a round has proven: another proof, a reason to ask, or nothing.

A beat has the digest of the topic. If it equals what is held here, refused versions included, the whole topic is proven,
whatever its size and however many beats were missed. Else there is a need, once what may be under way has had its time.

A mirror of those objects only whose keys begin alike has no digest to compare; nor has one whose authority tells none. Beats
prove these as they prove a replica (`_currency.py`), if they name all that was sent since the base: every object named has to
stand where the beat says, and what came live since the base has to be named. While a round is under way such beats are
collected, since only then can be told what they mean.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Final, Generic, TypeVar, cast

from parasync.protocol._authority import is_same
from parasync.protocol._currency import NO_BASE, Base, Finding
from parasync.protocol._digest import Digest
from parasync.protocol._held import GapPolicy, Reader
from parasync.protocol._holdings import Holdings
from parasync.protocol._messages import BEAT_INTERVALS_MAX, Beat
from parasync.protocol._positions import Position
from parasync.protocol._round import Round

T = TypeVar("T")

# In a flood beats come many a second, and a store may be behind by some seconds.
_BEATS_REMEMBERED: Final = 256


class Proofs(Holdings[T], Generic[T]):
    """When a mirror was last surely current, and how it knows; see `Holdings` for its arguments."""

    __slots__ = ("_heard", "_unconfirmed", "awaited", "base", "round")

    def __init__(
        self,
        topic: str,
        read: Reader[T],
        *,
        prefix: str = "",
        lossless: bool = False,
        gap: GapPolicy = "refetch",
        stale_after_s: float = math.inf,
        stale_by_beats: bool = False,
    ) -> None:
        super().__init__(
            topic,
            read,
            prefix=prefix,
            lossless=lossless,
            gap=gap,
            stale_after_s=stale_after_s,
            stale_by_beats=stale_by_beats,
        )
        self.base = NO_BASE
        self.round: Round | None = None
        self.awaited: tuple[Beat, float] | None = None
        """A beat that tells of something else, and how long to wait for that."""
        self._unconfirmed: set[str] = set()
        """What came live since the base, and was neither answered nor named."""
        self._heard: deque[tuple[int, int, float]] = deque(maxlen=_BEATS_REMEMBERED)

    @property
    def look_again_s(self) -> float:
        """When the driver has to call `time_passed`, on its monotonic clock; infinite for never."""
        return math.inf if self.awaited is None else self.awaited[1]

    def beat_received(self, beat: Beat, *, now_s: float, grace_s: float = 0.0) -> None:
        """An authority beat.

        Args:
            beat: what it says.
            now_s: the time, in seconds on the driver's monotonic clock.
            grace_s: how long to wait for what may be under way if it tells of something else, in seconds.
        """
        rules = self.rules
        if rules.closed or rules.lossless:
            return
        rules.current_epoch = max(rules.current_epoch, beat.epoch)
        self._heard.append((beat.epoch, beat.number, now_s))
        if self.round is not None:
            self.round.heard(beat)
        self._weigh(beat, now_s, grace_s)

    def time_passed(self, now_s: float) -> None:
        """It is `now_s` seconds on the driver's monotonic clock: what a beat told of and did not come by now is a need."""
        if self.awaited is not None and now_s >= self.awaited[1]:
            beat, self.awaited = self.awaited[0], None
            if not self.rules.closed:
                self._weigh(beat, now_s, 0.0)

    def _weigh(self, beat: Beat, now_s: float, grace_s: float) -> None:
        rules, finding = self.rules, self._judged(beat)
        if finding is Finding.PROOF:
            self._proven_by(beat, now_s)
        elif finding is Finding.OTHER_CONTENT:
            rules._conflict()
        elif finding in (Finding.NEWER, Finding.DIFFERS) and grace_s > 0:
            # What is missing for longer gets no more time by this.
            self.awaited = (beat, now_s + grace_s if self.awaited is None else self.awaited[1])
        elif finding is not None and finding is not Finding.REPEATED:
            rules.need_raised(finding.value)

    def _judged(self, beat: Beat) -> Finding | None:
        """What a beat comes to; None for nothing yet."""
        base, asking = self.base, self.round
        if beat.epoch != base.epoch or beat.epoch < self.rules.current_epoch:
            under_way = asking is not None and asking.epoch in (-1, beat.epoch) and beat.epoch == self.rules.current_epoch
            return None if under_way else Finding.OTHER_LIFE
        if beat.number <= base.number:
            return Finding.REPEATED
        if self._compares(beat):
            digest = self._digest_at(cast("Digest", self.digest), beat.floor)
            return Finding.PROOF if (digest.total, digest.count) == (beat.digest, beat.count) else Finding.DIFFERS
        if asking is not None:
            return None
        if base.number < beat.since:
            return Finding.HOLE
        missed = self._missed(beat.named)
        if missed is None:
            unnamed = any(beat.named.get(key) != self._position(key) for key in self._unconfirmed)
            return Finding.UNCONFIRMED if unnamed else Finding.PROOF
        return missed

    def _compares(self, beat: Beat) -> bool:
        """Whether the digest of a beat tells all."""
        return self.digest is not None and beat.digest is not None

    def _missed(self, named: Mapping[str, Position]) -> Finding | None:
        """What is not known here of what was sent; None for nothing."""
        finding = None
        for key, position in named.items():
            if self.concerns(key):
                newest = self._position(key)
                if position.version == newest.version and not is_same(position, newest):
                    return Finding.OTHER_CONTENT
                if position.version > newest.version:
                    finding = Finding.NEWER
        return finding

    def _proven_by(self, beat: Beat, now_s: float) -> None:
        rules, base, footing = self.rules, self.base, self.rules.footing
        self.base = Base(base.epoch, beat.number, base.started_s)
        self._unconfirmed.clear()
        footing.proven_s = max(footing.proven_s, min(now_s, base.started_s + beat.uptime_s))
        footing.beats_until_s = now_s + BEAT_INTERVALS_MAX * beat.interval_s
        self._adopt(beat.floor)
        if rules.stale_by_beats:
            footing.stale_after_s = BEAT_INTERVALS_MAX * beat.interval_s
        if now_s - footing.proven_s > footing.stale_after_s:
            rules.need_raised("a beat came too late to prove much")

    def _proven_by_round(self, asking: Round) -> None:
        """A round has told of all that was sent before its base."""
        rules, footing = self.rules, self.rules.footing
        self.base = Base(asking.epoch, self._number_of(asking), asking.asked_s - asking.uptime_s)
        if asking.asked_s > footing.beats_until_s:
            footing.stale_after_s = rules.stale_unheard_s
        footing.proven_s = max(footing.proven_s, asking.asked_s - asking.lag_s)
        rules.needs_closed = max(rules.needs_closed, asking.needs)
        self._adopt(asking.floor)
        last = asking.last
        if last is None or last.epoch != asking.epoch or last.number <= self.base.number or self._compares(last):
            return
        missed = self._missed(asking.named) if asking.since <= self.base.number else Finding.HOLE
        if missed is not None:
            rules.need_raised(missed.value)
            return
        self.base = Base(asking.epoch, last.number, self.base.started_s)
        self._unconfirmed = {key for key in self._unconfirmed if asking.named.get(key) != self._position(key)}

    def _number_of(self, asking: Round) -> int:
        """The last beat before which nothing was sent that a round has not told of."""
        number = asking.number
        if asking.lag_s:
            # What was stored before a beat came is not too late to be told. Before the first one, an earlier life may have
            # stored what was never sent.
            until_s = asking.asked_s - asking.lag_s
            heard = [beat for epoch, beat, at_s in self._heard if epoch == asking.epoch and at_s <= until_s]
            number = min(number, max(heard, default=-1))
        return max(number, self.base.number) if self.base.epoch == asking.epoch else number
