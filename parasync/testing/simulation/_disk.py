"""A disk of the simulated world: a faulty store, and the onlooker below it who sees what it really took, and when."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from parasync.errors import StoreError
from parasync.protocol import EncodedBody, Envelope, Kind, Position, Version
from parasync.stores import Draft, Outcome, Store, TopicState
from parasync.testing._faults import StoreFaults
from parasync.testing._faulty_store import FaultyStore
from parasync.testing.simulation._journal import GONE, NOWHERE, Content, Journal, Moment, Place, place_of

NUMBER: Final = "n"
"""The entry of `meta` in which a writer says which value this is."""


class Disk:
    """Keeps the objects of one topic across the lives of those who use it.

    Args:
        name: for people.
        make: makes an empty store.
        faults: what it does to calls.
        journal: is told of every write.
        readable: says whether readers can read this number in this schema version.
        shared: whether there is no other disk.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Store],
        faults: StoreFaults,
        journal: Journal,
        readable: Callable[[int, str], bool],
        *,
        shared: bool = False,
    ) -> None:
        self.name = name
        self.journal = journal
        self.contents: dict[str, Place] = {}
        """Where each object is now."""
        self.history: defaultdict[str, list[Moment]] = defaultdict(list)
        """Where each object was since when."""
        self.shared = shared
        """Whether nobody ever had another disk."""
        self.floor = NOWHERE
        """Up to there nobody remembers what was deleted."""
        self.lost = False
        """Whether data were lost, or became older, at least once."""
        self.emptied_s: float | None = None
        """When all data were lost for the last time."""
        self._bodies: dict[bytes, int] = {}
        self._readable = readable
        self._replaying = False
        self.store = FaultyStore(lambda: _Watched(make(), self), faults)
        self.store._strikes.witness = lambda strike: journal.struck(name, strike)

    def took(self, epoch: int, draft: Draft, version: Version) -> None:
        """A draft has become a version."""
        place = place_of(version)
        before = self.contents.get(draft.key, NOWHERE)
        exists = before != NOWHERE and self.journal.content(draft.key, before) != GONE
        self.contents[draft.key] = place
        if self._replaying:
            return
        if place <= before:
            self.journal.broken("P1", self.name, f"took {draft.key} {version}, and had {before}")
        if place <= self.floor and (draft.kind is Kind.TOMBSTONE or not exists):
            self.journal.broken("P1", self.name, f"took {draft.key} {version}, and may have forgotten it up to {self.floor}")
        if not exists and NOWHERE < before <= self.floor:
            self.journal.reached["what nobody remembered was written again"] += 1
        self.history[draft.key].append(Moment(self.journal.now_s(), place))
        written = self.journal.written[draft.key]
        content = self._content(draft)
        if written.setdefault(place, content) != content:
            self.journal.broken("P2", self.name, f"{draft.key} got two contents at {version}")
        if version.epoch != epoch:
            self.journal.broken("P2", self.name, f"{draft.key} got {version} from an authority of epoch {epoch}")

    def raised(self, floor: Version) -> None:
        """Tombstones up to there were dropped."""
        before, self.floor = self.floor, place_of(floor)
        if self._replaying:
            return
        if self.floor <= before:
            self.journal.broken("P1", self.name, f"moved the floor from {before} to {self.floor}")
        gone = {key for key, place in self.contents.items() if self.journal.content(key, place) == GONE}
        if not any(self.contents[key] == self.floor for key in gone):
            self.journal.broken("P1", self.name, f"moved the floor to {self.floor}, where nothing was deleted")
        self.journal.floors[self.floor].add(frozenset(self.contents.keys() - gone))
        self.journal.reached["the floor rose"] += 1
        if any(place < self.floor for key, place in self.contents.items() if key not in gone):
            self.journal.reached["the floor rose above what exists"] += 1
        self.journal.note(self.name, f"has its floor at {floor}")

    def _content(self, draft: Draft) -> Content:
        if draft.kind is Kind.TOMBSTONE:
            return GONE
        # Who writes a lost object anew passes on body and meta as they were.
        number = int(draft.meta.get(NUMBER, "0")) or self._bodies.get(bytes(draft.body), 0)
        self._bodies[bytes(draft.body)] = number
        return Content(number, self._readable(number, draft.schema_version))

    async def forget(self, share: float) -> None:
        """Go back to what was there after this share of all changes; 0 forgets all."""
        self.lost = True
        if share == 0:
            self.emptied_s = self.journal.now_s()
        self._replaying = True
        self.contents.clear()
        self.floor = NOWHERE
        try:
            await self.store.go_back(int(share * len(self.store._done)))
        finally:
            self._replaying = False
        now_s = self.journal.now_s()
        for key, moments in self.history.items():
            moments.append(Moment(now_s, self.contents.get(key, NOWHERE)))

    def knows(self, key: str, place: Place) -> bool:
        """Whether it took this version, and has not lost all since."""
        return any(moment.place == place and moment.at_s >= (self.emptied_s or 0.0) for moment in self.history[key])

    def is_at(self, key: str, place: Place | None) -> bool:
        """Whether that is where an object stands now, or stood when it was forgotten, or a floor above."""
        here = self.contents.get(key, NOWHERE)
        return place == here or (here <= self.floor and place in self.journal.stations(key, here))

    def predecessor(self, key: str, version: Version) -> Place:
        """Where the object was when this version was written."""
        places = [moment.place for moment in self.history[key]]
        return ([NOWHERE, *places])[places.index(place_of(version))]

    def lowest_since(self, key: str, since_s: float) -> Place:
        """The lowest version that the object had here at some moment from then until now."""
        moments = self.history.get(key)
        if not moments:
            return NOWHERE
        first = bisect_right(moments, since_s, key=lambda moment: moment.at_s) - 1
        return min(moment.place for moment in moments[first:]) if first >= 0 else NOWHERE


class _Watched:
    """The very store, and who tells what it took."""

    def __init__(self, inner: Store, disk: Disk) -> None:
        self._inner = inner
        self._disk = disk

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        return await self._inner.claim(topic, epoch, lost=lost)

    async def history_lost(self, topic: str, epoch: int) -> TopicState:
        return await self._inner.history_lost(topic, epoch)

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        state = await self._inner.raise_floor(topic, epoch, before_s=before_s)
        if place_of(state.floor) != self._disk.floor:
            self._disk.raised(state.floor)
        return state

    async def state(self, topic: str) -> TopicState:
        return await self._inner.state(topic)

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        outcome = await self._inner.write(topic, epoch, draft)
        if outcome.fresh:
            self._disk.took(epoch, draft, outcome.version)
        return outcome

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        return await self._inner.read(topic, keys)

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        return await self._inner.page(topic, prefix=prefix, after=after, limit=limit)

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        return await self._inner.positions(topic, after=after, limit=limit)


@attrs.define(eq=False)
class Access:
    """The way of one life of an authority to its disk, until that life ends.

    Args:
        who: the process.
        disk: where the objects are.
        dead: whether the process was killed: what it still tries to do must not happen.
        point: where in its next write the process is to be killed: before it is stored, or after.
        kill: kills the process.
    """

    who: str
    disk: Disk
    kill: Callable[[], None]
    dead: bool = False
    point: str = ""

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        """See `Store`."""
        self._alive()
        authors = self.disk.journal.authors
        if self.who in authors.values():
            self.disk.journal.reached["an authority took another epoch"] += 1
        authors[epoch] = self.who
        return await self.disk.store.claim(topic, epoch, lost=lost)

    async def history_lost(self, topic: str, epoch: int) -> TopicState:
        """See `Store`."""
        self._alive()
        journal = self.disk.journal
        journal.reached["lost history was noticed"] += 1
        if self.disk.shared and not self.disk.lost and not journal.fired["rogue"]:
            journal.broken("P9", self.who, "takes history for lost, and nothing was")
        return await self.disk.store.history_lost(topic, epoch)

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        """See `Store`."""
        self._alive()
        return await self.disk.store.raise_floor(topic, epoch, before_s=before_s)

    async def state(self, topic: str) -> TopicState:
        """See `Store`."""
        self._alive()
        return await self.disk.store.state(topic)

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        """See `Store`."""
        self._alive()
        if self.point == "before":
            await self._die()
        outcome = await self.disk.store.write(topic, epoch, draft)
        if self.point == "after":
            self.disk.journal.reached["killed between store and publish"] += 1
            await self._die()
        return outcome

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        """See `Store`."""
        self._alive()
        return await self.disk.store.read(topic, keys)

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        """See `Store`."""
        self._alive()
        return await self.disk.store.page(topic, prefix=prefix, after=after, limit=limit)

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        """See `Store`."""
        self._alive()
        return await self.disk.store.positions(topic, after=after, limit=limit)

    def _alive(self) -> None:
        if self.dead:
            raise StoreError("got a call from a process that was killed")

    async def _die(self) -> None:
        self.point = ""
        self.kill()
        await asyncio.get_running_loop().create_future()
