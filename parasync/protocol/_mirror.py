"""The mirror: every object of a topic, judged one by one by the rules of a replica, and proven together.

An object that a mirror does not hold is, once it was proven for the first time, a tombstone at its *floor*: it was
deleted there, or never was. The floor rises only with a proof; until then a tombstone might hide that others are missing.

A beat that has the digest of what is held proves all of it (`_proofs.py`). Otherwise there is a need, which a *round* closes
(`_round.py`): an ask for the digest of each bucket, then one after the other for what is in those that differ, with all that is
known of it, so that unknown and vanished objects show. With nothing held, the round is the first load. A round proves as of the
first of its asks that was answered, if one life has answered all of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, cast

from parasync.errors import DecodeError, RemoteError
from parasync.protocol._digest import Digest, bucket_of
from parasync.protocol._envelope import Envelope
from parasync.protocol._firsts import Firsts
from parasync.protocol._held import Asked, GapPolicy, Held, Reader, Refused
from parasync.protocol._holdings import share
from parasync.protocol._positions import ABSENT_OBJECT, SAME, TOMBSTONE_CHECKSUM, Outcome, Position, Same, Unanswered
from parasync.protocol._round import Page, Round, place_of
from parasync.protocol._scans import BUCKETS, Compare, Digests, Scan, Scanned
from parasync.protocol._version import Version

T = TypeVar("T")


class Mirror(Firsts[T], Generic[T]):
    """The state machine of one mirror; see `Holdings` for its arguments."""

    __slots__ = ("history_epoch", "loaded", "proven", "told_by", "total")

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
        self.loaded = False
        """Whether what is not held is known not to be there, or was so in an earlier mirror."""
        self.proven = False
        """Whether a round has proven what is held."""
        self.history_epoch = self.told_by = 0
        """What the last round said: the epoch since which nothing was lost, and whose word that is."""
        self.total: int | None = None
        """How many objects the authority said that there are, where that is known."""

    # Inputs

    def warmed(
        self, objects: Iterable[tuple[str, Held[T] | Refused]], *, epoch: int, floor: Version, history_epoch: int
    ) -> None:
        """Begin with what was saved from an earlier mirror: it is shown at once, and not proven.

        Args:
            objects: what was held or refused, by key.
            epoch: the highest epoch that was heard.
            floor: that of the earlier mirror.
            history_epoch: the epoch since which the authority had lost nothing.
        """
        rules = self.rules
        self._adopt(floor)
        rules.current_epoch = epoch
        self.history_epoch = history_epoch
        for key, found in objects:
            rules.held, rules.refused = (None, found) if isinstance(found, Refused) else (found, None)
            if isinstance(found, Held):
                share(found, epoch)
            self._keep(key, None, 0)
        self.loaded = True

    def live_received(self, key: str, envelope: Envelope[Any], reading: object) -> bool | None:
        """An envelope came by subscription. None: the state moved on since `prepare`, which is needed again."""
        rules, asking = self.rules, self.round
        if asking is not None and envelope.version <= asking.floor and self._where(key) is None:
            # If there still is such an object, the answers tell of it: it may be gone without a trace.
            rules.ignored_stale += 1
            return False
        before = self._turn(key)
        resets, refused = rules.resets, rules.refused
        changed = rules.live_received(envelope, reading)
        if (changed or rules.refused is not refused) and not rules.lossless:
            self._unconfirmed.add(key)
        self._keep(key, before, resets)
        return changed

    def asked(self, now_s: float) -> Round:
        """A round begins now, and serves all needs raised so far."""
        self.rules.refetches += 1
        something = bool(self.held or self.refused)
        self.round = Round(self.rules.needs_raised, now_s, compares=something and self.digest is not None)
        if something and self.digest is None:
            self.round.opened(range(BUCKETS))
        return self.round

    def ask_failed(self, reason: str) -> None:
        """No usable answer came; the round goes on with the same ask."""
        self.rules.ask_failed(reason)

    def request(self, now_s: float, bytes_max: int) -> Compare | Scan:
        """What the round asks next.

        Args:
            now_s: the time, in seconds on the driver's monotonic clock.
            bytes_max: the largest ask.
        """
        asking, epoch = cast("Round", self.round), self.rules.current_epoch
        asking.sent(self.rules.needs_raised, now_s)
        if asking.compares:
            return Compare(epoch)
        return asking.scan(self._where, epoch=epoch, floor=self.floor, prefix=self.prefix, bytes_max=bytes_max)

    def digests_received(self, digests: Digests) -> None:
        """The answer to the first ask of a round that compares.

        Raises:
            RemoteError: it comes from a life that the round cannot go on with.
            DecodeError: it is no such answer.
        """
        if len(digests.buckets) != BUCKETS:
            raise DecodeError(f"got the digests of {len(digests.buckets)} buckets, expected {BUCKETS}")
        asking = self._accept(digests)
        self.total = digests.count
        mine = self._digest_at(cast("Digest", self.digest), digests.floor).buckets
        refused = {bucket_of(key) for key in self.refused}  # asked for again: it may be that only the way of it was bad
        differing = {number for number in range(BUCKETS) if mine[number] != digests.buckets[number]} | refused
        self._unconfirmed = {key for key in self._unconfirmed if bucket_of(key) in differing}
        asking.opened(differing)
        self._close_if_over()

    def scanned(self, scan: Scan, scanned: Scanned) -> Page:
        """The answer to a scan: maybe `ahead`; `learn` all that it tells of, then `page_read`.

        Raises:
            RemoteError: it comes from a life that the round cannot go on with.
            DecodeError: it is no answer to this scan.
        """
        if len(scanned.keys) != len(scanned.outcomes):
            raise DecodeError(f"got {len(scanned.outcomes)} outcomes for {len(scanned.keys)} objects, expected one for each")
        asking = self._accept(scanned)
        if asking.unread is not None:
            self.round = None
            raise RemoteError("an answer was not learned to its end: what it told of has to be asked for again")
        page = asking.page(scan, scanned, self.concerns)
        self.total = None if self.prefix else scanned.count
        return page

    def ahead(self, page: Page) -> bool:
        """Whether `request` tells already what to ask behind an answer, before that was learned. At most once for each."""
        return self.round is not None and self.round.ahead(page)

    def learn(self, page: Page, key: str, outcome: Outcome, reading: object) -> bool | None:
        """One object of an answer passes the gates. None: the state moved on since `prepare`, which is needed again."""
        self.moved = None
        asked = page.asked.get(key)
        if isinstance(outcome, Unanswered) or (isinstance(outcome, Same) and asked is None):
            page.unproven.add(bucket_of(key))
            return False
        rules, floor = self.rules, page.floor
        answered = asked if isinstance(outcome, Same) else Position.of(outcome) if isinstance(outcome, Envelope) else None
        answered = answered or Position(floor, TOMBSTONE_CHECKSUM)
        if asked is not None and answered.version < asked.version and not self._gone(asked, answered, floor):
            page.unproven.add(bucket_of(key))  # its author lost history, or lags behind
            return False
        before = self._turn(key)
        resets, conflicts = rules.resets, rules.conflicts
        # It closes nothing and proves nothing by itself.
        changed = rules.answer_received(Asked(0, asked), outcome, reading, epoch=page.epoch, floor=floor, asked_s=-math.inf)
        if changed is not None:
            newest = rules._newest()
            proves = self._gone(newest, answered, floor) or rules._proves(answered, page.epoch)
            if not proves or conflicts != rules.conflicts:
                page.unproven.add(bucket_of(key))
            elif newest.version <= answered.version:
                self._unconfirmed.discard(key)
        self._keep(key, before, resets)
        return changed

    def page_read(self, page: Page) -> None:
        """All that an answer tells of was learned: go on behind it."""
        asking = self.round
        if asking is None or self.rules.closed or page.epoch < self.rules.current_epoch:
            return
        for key, position in page.asked.items():
            if key in page.found:
                continue
            if position is not None and key not in self.refused and self._position(key) == position:
                self._unconfirmed.discard(key)
            else:
                # Of what was refused it does not say the same but that there is no such object.
                self.learn(page, key, ABSENT_OBJECT if position is None else SAME, None)
        start, end = (page.scan.buckets[0], page.scan.after), page.covered
        for key in asking.came:
            # What came live meanwhile is no news to an answer of the same life, unless it is older than what was forgotten.
            inside = start < place_of(key) <= end and key not in page.asked and key not in page.found
            version = self._position(key).version
            if inside and (version.epoch != page.epoch or version <= page.floor):
                page.unproven.add(bucket_of(key))
        asking.advance(page)
        self._close_if_over()

    # The rules in pieces

    def _gone(self, mine: Position, theirs: Position, floor: Version) -> bool:
        """Whether both say that an object is deleted, at or below a floor: then it does not matter where."""
        deleted = mine.checksum == theirs.checksum == TOMBSTONE_CHECKSUM
        return deleted and mine.version <= max(floor, self.floor)

    def _accept(self, said: Digests | Scanned) -> Round:
        """The round that an answer belongs to, if it may go on with it."""
        asking, rules = self.round, self.rules
        if asking is None or rules.closed:
            raise RemoteError("got an answer to no round, expected none")
        if said.epoch < rules.current_epoch:
            raise RemoteError("the answer came from an authority that was deposed")
        rules.current_epoch = said.epoch
        if asking.epoch not in (-1, said.epoch):
            self.round = None
            raise RemoteError("another life of the authority answers: what the last one said proves nothing")
        rules.failed = None
        asking.told_by(
            epoch=said.epoch,
            beat=said.beat,
            uptime_s=said.uptime_s,
            floor=said.floor,
            history_epoch=said.history_epoch,
            lag_s=said.lag_s,
        )
        return asking

    def _moved(self, key: str, before: Position | None, after: Position | None) -> None:
        super()._moved(key, before, after)
        if after is None:
            self._unconfirmed.discard(key)
        elif before is None and self.round is not None:
            self.round.became_known(key)

    def _close_if_over(self) -> None:
        """Once nothing is left to ask for, all is proven."""
        asking = self.round
        if asking is not None and asking.over:
            self.round = None
            self.history_epoch, self.told_by = asking.history_epoch, asking.epoch
            self.loaded = self.proven = True
            self._proven_by_round(asking)
