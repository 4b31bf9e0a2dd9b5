"""What an authority answers to those who ask: what is newer, what is there, and what it had to write anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, Final

import attrs

from parasync.errors import ConflictError, NoAuthorityError
from parasync.protocol import (
    ABSENT,
    PAGE_KEYS_MAX,
    STATUS_REPORTS_MAX,
    Answer,
    Ask,
    AuthorityStatus,
    Compare,
    Digests,
    EncodedBody,
    Envelope,
    KeyPage,
    Kind,
    ListKeys,
    Position,
    ReplicaStatus,
    Report,
    Request,
    Response,
    Scan,
    Scanned,
    plan_answer,
)
from parasync.runtime._census import enlist
from parasync.runtime._found import Found
from parasync.runtime._guard import GuardedStore
from parasync.runtime._heart import Heart
from parasync.runtime._office import Office, Terms
from parasync.runtime._pen import publish_stored
from parasync.runtime._refusals import Refusals
from parasync.runtime._scanning import Page, check_scan_of
from parasync.runtime._sweeper import Sweeper
from parasync.stores import Draft
from parasync.transports._protocol import Responder, SyncTransport, Unsubscribe

logger: Final = logging.getLogger("parasync")

ANSWER_BYTES_MAX: Final = 900_000
"""The largest answer on a transport that tells no limit; what does not fit is asked for again."""
LISTED_OVERHEAD_BYTES: Final = 32
"""What an object may add to a page of a listing beyond its key."""


class Desk:
    """Answers in the name of one authority.

    Args:
        topic: the name of the topic.
        transport: whose limit the answers keep.
        store: where the objects are.
        terms: times and limits.
        other: answers the requests that are not about reading.
    """

    def __init__(self, topic: str, transport: SyncTransport, store: GuardedStore, terms: Terms, other: Responder) -> None:
        self._topic = topic
        self._store = store
        self._terms = terms
        self._transport = transport
        self._unlist: Unsubscribe | None = None
        self.schema_version = ""
        """The shape in which this authority writes."""
        self.refusals = Refusals(topic, terms.clock, terms.wall_clock)
        self._other = other
        self._reissued = (0, 0)
        self.loading = False
        self.publish: Callable[[str, Envelope[Any]], None] = partial(publish_stored, transport)
        """Publishes what is stored already; whoever writes as well has to know of it."""
        self.office = Office(topic, transport, store, terms, self.respond)
        self.heart = Heart(topic, transport, store, terms, self.office, lambda: self.loading)
        self.sweeper = Sweeper(topic, transport, store, terms, self.office, self.heart)
        self.repair: Callable[[str, object], None] = lambda _, write: self.heart.write_ends(write)
        """Publishes what is stored of an object, of which nobody knows that, and ends the write."""

    async def open(self) -> None:
        """Claim an epoch, serve and beat; see `Office.open`.

        Raises:
            ParasyncError: what the store and the transport raise.
        """
        await self.office.open()
        self.heart.open()
        self.sweeper.open()
        self._unlist = enlist(self._transport, self)

    async def close(self) -> None:
        """Stop for good; may be called again."""
        if self._unlist is not None:
            self._unlist()
        await self.sweeper.close()
        await self.heart.close()
        await self.office.close()

    def statuses(self) -> Iterator[AuthorityStatus]:
        """How this authority does."""
        office, pulse, reports = self.office, self.office.pulse, self.refusals.reported()
        beat, uptime_s = (0, 0.0) if pulse is None else (pulse.number, self._terms.clock() - pulse.started_s)
        yield AuthorityStatus(
            self._topic,
            self.schema_version,
            office.serving,
            self.loading,
            office.epoch,
            beat,
            uptime_s,
            self.heart.count(),
            reports[:STATUS_REPORTS_MAX],
            max(0, len(reports) - STATUS_REPORTS_MAX),
        )

    def by_key(self) -> Iterator[ReplicaStatus]:
        """It copies nothing."""
        return iter(())

    async def respond(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            FencedError: another authority took over.
            NoAuthorityError: this one is still loading.
            StoreError: the store did not do its part.
            UsageError: what is to be scanned is no range of this topic.
            ParasyncError: what `other` raises.
        """
        self.office.check_serving()
        if self.loading:
            raise NoAuthorityError(f"the authority of {self._topic!r} is still loading: ask again")
        if isinstance(request, Ask):
            return await self._answer(request)
        if isinstance(request, ListKeys):
            return await self._list(request)
        if isinstance(request, Compare):
            return await self._compare(request)
        if isinstance(request, Scan):
            return await self._scan(request)
        if isinstance(request, Report):
            return self.refusals.note(request)
        return await self._other(request)

    async def _answer(self, ask: Ask) -> Answer:
        found = await self._found(ask)
        return Answer(*found.head(found.state.floor), found.outcomes(ask, self._answer_bytes_max()))

    async def _compare(self, compare: Compare) -> Digests:
        found = await self._found(Ask(compare.epoch, (), ()))
        digest = self.heart.digest()
        return Digests(*found.head(self.heart.floor), self.heart.lag_s(), digest.count, tuple(digest.buckets))

    async def _scan(self, scan: Scan) -> Scanned:
        """What is there that was not named is looked up in the catalogue, and everything is read as for an ask."""
        check_scan_of(self._topic, scan)
        # A floor that is told later may be above what is on its way to the catalogue now.
        lag_s, count, floor = self.heart.lag_s(), self.heart.count(), self.heart.floor
        page = Page(scan, self.heart.keys_of(scan), self._answer_bytes_max())
        ask = page.ask()
        found = first = await self._found(ask)
        # What was read in another life stands in another answer.
        while found.epoch == first.epoch:
            # Only a store whose floor is above the one that is told has forgotten what is to be told of.
            forgotten = self.heart.dead(ask.keys) if found.state.floor > floor else {}
            if not page.takes(ask, forgotten | found.stored, frozenset(found.plan.reissue)):
                break
            ask = page.ask()
            found = await self._found(ask)
        return Scanned(*first.head(floor), lag_s, count, page.covered, tuple(page.keys), tuple(page.outcomes))

    async def _found(self, ask: Ask) -> Found:
        """What the store has, after what was lost was written anew."""
        found = await self._read_settled(ask)
        if found.needs_repair:
            await self._repair(ask)
            found = await self._read_settled(ask)
        return found

    async def _read_settled(self, ask: Ask) -> Found:
        """What the store has while this authority holds the epoch that stands there."""
        while True:
            found = await self._read(ask)
            if found.state.epoch <= found.epoch:
                return found
            await self._turned()

    async def _turned(self) -> None:
        """An epoch was claimed by this one, which is at it still, or by another while this one looked around: let it end."""
        async with self.office.turn:
            self.office.check_serving()

    async def _read(self, ask: Ask) -> Found:
        # An epoch that is claimed, or a beat that is sent, while the store reads did not say what was read.
        epoch, pulse = self.office.epoch, self.office.pulse
        beat, uptime_s = (0, 0.0) if pulse is None else (pulse.number, self._terms.clock() - pulse.started_s)
        state, stored = await self._store.read(self._topic, list(dict.fromkeys(ask.keys)))
        self.office.check_epoch(state)
        named = (key for key, position in zip(ask.keys, ask.positions, strict=True) if position is not None and key in stored)
        positions = {key: Position.of(stored[key]) for key in named}
        return Found(epoch, beat, uptime_s, state, stored, plan_answer(ask, positions, epoch=epoch, floor=state.floor))

    def _answer_bytes_max(self) -> int:
        # Asked each time: a bus that comes back may take less than before.
        limit_bytes: int = getattr(self._transport, "body_bytes_max", ANSWER_BYTES_MAX)
        return limit_bytes

    async def _repair(self, ask: Ask) -> None:
        """History was lost here, or a higher epoch was heard: see who serves, rise above it, write anew what was asked for."""
        office = self.office
        async with office.turn:
            office.check_serving()
            # What was asked while this one waited for its turn may have repaired the same.
            plan = (await self._read(ask)).plan
            above = [office.epoch if plan.rival is None else plan.rival]
            if plan.rival is not None:
                replies = await office.probe(office.epoch, serving=False)
                above += [reply.epoch for reply in replies]
                rivals = [reply.epoch for reply in replies if reply.serving and reply.epoch > office.epoch]
                if rivals:
                    office.fence(max(rivals))
            # Who was fenced while it looked must not rise above the one that serves now.
            office.check_serving()
            if plan.rival is not None or plan.new_epoch:
                await office.claim(max(above))
            found = await self._read(ask)
            reissue = self._allowed(found.plan.reissue)
            if reissue:
                logger.warning("history of %r was lost: %d objects are written anew", self._topic, len(reissue))
                await self._store.history_lost(self._topic, office.epoch)
            for key in reissue:
                await self._reissue(key, found.stored.get(key))

    def _allowed(self, keys: Sequence[str]) -> Sequence[str]:
        """As many as may be written anew in this second."""
        second = int(self._terms.clock())
        count = self._reissued[1] if self._reissued[0] == second else 0
        allowed = keys[: max(0, self._terms.reissues_per_s_max - count)]
        self._reissued = (second, count + len(allowed))
        return allowed

    async def _reissue(self, key: str, held: Envelope[EncodedBody | None] | None) -> None:
        expected = ABSENT if held is None else held.version
        held = held or Envelope(None, "0.0", 0, kind=Kind.TOMBSTONE, checksum=0)
        body = held.value or EncodedBody()
        now_s = self._terms.wall_clock()
        draft = Draft(
            key, body, held.kind, held.schema_version, held.checksum or 0, held.meta, expected, now_s=now_s, reissue=True
        )
        write = self.heart.write_begins()
        try:
            version, _ = await self._store.write(self._topic, self.office.epoch, draft)
        except ConflictError:
            self.heart.write_ends(write)
            return  # a write that came between is as good: it is above the lost history too, and was published
        except BaseException:
            self.repair(key, write)
            raise
        known = self.heart.version_of(key)
        # A store may tell of this one after a later write was published: no beat must name what is older than that.
        if known is None or known < version:
            self.publish(key, attrs.evolve(held, sequence=version.sequence, epoch=version.epoch))
        self.heart.write_ends(write)

    async def _list(self, request: ListKeys) -> KeyPage:
        while (state := await self._store.state(self._topic)).epoch > self.office.epoch:
            self.office.check_epoch(state)
            await self._turned()
        prefix = f"{self._topic}:{request.prefix}" if request.prefix else self._topic
        limit = max(1, min(request.limit, PAGE_KEYS_MAX))
        page = await self._store.page(self._topic, prefix=prefix, after=request.after, limit=limit + 1)
        sizes = accumulate(len(key.encode()) + LISTED_OVERHEAD_BYTES for key, _ in page)
        fitting = sum(size_bytes <= self._answer_bytes_max() for size_bytes in sizes)
        found = page[: max(1, min(limit, fitting))]
        keys, versions = tuple(key for key, _ in found), tuple(version for _, version in found)
        return KeyPage(self.office.epoch, keys, versions, more=len(page) > len(found))
