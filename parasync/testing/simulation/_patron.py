"""A process with an authority, across its lives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs

from parasync.errors import FencedError, ParasyncError, StoreError, TransportError
from parasync.protocol import Version
from parasync.runtime._authority import authority
from parasync.runtime._office import Terms
from parasync.testing.simulation._disk import NUMBER, Access, Disk
from parasync.testing.simulation._journal import Journal, place_of
from parasync.testing.simulation._scenario import Topology
from parasync.testing.simulation._tap import Tap
from parasync.topic import Topic

RESTART_S: Final = 0.3
"""How long whoever supervises an authority waits until it tries again what failed at its start."""

OTHER_NUMBER: Final = 3_000_000
"""The number of a value that is refused, since its idempotency key belongs to another one."""


class Patron:
    """A process with an authority, across its lives.

    Args:
        name: for people.
        topology: who takes part.
        disk: where it keeps the objects.
        connect: makes the connection of one life.
        journal: is told what it does.
    """

    def __init__(self, name: str, topology: Topology, disk: Disk, connect: Callable[[str], Tap], journal: Journal) -> None:
        self.name = name
        self.disk = disk
        self.owner: authority[Any] | None = None
        """The authority of this life, if there is one."""
        self.acknowledged: dict[str, Version] = {}
        """For each key, the last write that was acknowledged in this life."""
        self._topology = topology
        self._connect = connect
        self._journal = journal
        self._lives = 0
        self._life: asyncio.Task[None] | None = None
        self._access: Access | None = None
        self._tap: Tap | None = None
        self._stop = asyncio.Event()
        self._work: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._life is not None

    @property
    def serving(self) -> bool:
        """Whether it says that it may write."""
        return self.owner is not None and self.owner.serving

    def start(self, *, major: int | None = None, clock_s: float = 0.0) -> None:
        """Begin the next life; does nothing while one lasts.

        Args:
            major: of the schema that it writes; None for that of the topology.
            clock_s: how far its wall clock is off.
        """
        if self._life is not None:
            return
        self._lives += 1
        self._stop = asyncio.Event()
        self._tap = self._connect(f"{self.name}.{self._lives}")
        self._access = Access(self.name, self.disk, self.kill)
        self.acknowledged = {}
        topic, terms = self._topology.writes or self._topology.topic, self._topology.terms
        if major is not None:
            topic = Topic(topic.name, topic.type, version=f"{major}.0")
        if clock_s:
            wall = terms.wall_clock
            terms = attrs.evolve(terms, wall_clock=lambda: wall() + clock_s)
        self._journal.note(self.name, f"starts for the {self._lives}. time")
        work = self._live(topic, terms, self._tap, self._access, self._stop)
        self._life = asyncio.create_task(work, name=f"{self.name}.{self._lives}")

    async def _live(self, topic: Topic[Any], terms: Terms, tap: Tap, access: Access, stop: asyncio.Event) -> None:
        while True:
            try:
                async with authority(topic, tap, store=access, terms=terms) as owner:
                    if self._stop is stop:
                        self.owner = owner
                    self._journal.note(self.name, f"serves in epoch {owner.epoch}")
                    await stop.wait()
                    return
            except (FencedError, StoreError, TransportError) as error:
                self._journal.note(self.name, f"could not begin: {type(error).__name__}")
                self._journal.reached["an authority could not begin"] += 1
            await asyncio.sleep(RESTART_S)

    def kill(self, point: str = "") -> None:
        """End the life at once: nothing that its tasks still do is seen by anybody.

        Args:
            point: end it within its next write: `before` that is stored, or `after`; now if empty.
        """
        if self._life is None or self._access is None or self._tap is None:
            return
        if point:
            self._access.point = point
            return
        self._journal.fault(self.name, "kill", "is killed")
        # In a monolith nobody dies alone: there it is a task that is cancelled.
        self._access.dead = self._tap.dead = not self._topology.monolith
        self._forget_life().cancel()

    def heal(self) -> None:
        """Come back, if dead, and die no more."""
        if self._access is not None:
            self._access.point = ""
        self.start()

    def stop(self) -> None:
        """End the life orderly."""
        if self._life is not None:
            self._journal.fault(self.name, "stop", "stops")
            self._stop.set()
            self._forget_life()

    def _forget_life(self) -> asyncio.Task[None]:
        assert self._life is not None  # noqa: S101
        task, self._life, self.owner = self._life, None, None
        self._ending.add(task)
        work, self._work = self._work, set()
        for each in work:
            each.cancel()
        self._ending |= work
        return task

    def call(self, key: str, work: Callable[[authority[Any]], Awaitable[None]]) -> None:
        """Write with the authority of this life, if there is one, in a task that ends with it."""
        if self.owner is not None:
            task = asyncio.create_task(self._called(self.owner, key, work), name=f"{self.name} writes")
            self._work.add(task)
            task.add_done_callback(self._work.discard)

    async def _called(self, owner: authority[Any], key: str, work: Callable[[authority[Any]], Awaitable[None]]) -> None:
        self._journal.writing[key] += 1
        try:
            await work(owner)
        except ParasyncError as error:
            self._journal.reached[f"a write ended in {type(error).__name__}"] += 1
            self._journal.note(self.name, f"could not write: {type(error).__name__}")
        finally:
            self._journal.writing[key] -= 1

    def put(self, key: str, number: int, how: str) -> None:
        """Write a value, or delete.

        Args:
            key: of the object.
            number: which value; 0 deletes.
            how: `put`, `update`, `expected`, `retry`, or `unreadable`.
        """
        topology, ident = self._topology, key.partition(":")[2]
        make = topology.unreadable if how == "unreadable" and topology.unreadable is not None else topology.value

        async def write(owner: authority[Any]) -> None:
            meta = {NUMBER: str(number)}
            if number == 0:
                version = await owner.delete(ident)
            elif how == "update":
                seen: list[Any] = []

                def change(old: Any) -> Any:
                    seen.append(old)
                    return make(number)

                version = await owner.update(ident, change, meta=meta)
                self._updated(key, version, seen[-1])
            elif how == "expected":
                before = (await owner.get(ident)).version
                assert before is not None  # noqa: S101
                version = await owner.put(ident, make(number), expected=before, meta=meta)
                if self.disk.predecessor(key, version) != (before.epoch, before.sequence):
                    self._journal.broken("P9", self.name, f"put {key} where {before} was expected, and it was not there")
            elif how == "retry":
                version = await self._retried(owner, ident, make(number), meta)
            else:
                version = await owner.put(ident, make(number), meta=meta)
            self._done(key, version, number)

        self.call(key, write)

    def sweep(self, ttl_s: float) -> None:
        """Drop the tombstones of this age, in seconds; below 0, all."""
        if self.owner is not None:
            sweeping = self.owner._desk.sweeper.sweep(ttl_s)
            task = asyncio.create_task(sweeping, name=f"{self.name} sweeps")
            self._work.add(task)
            task.add_done_callback(self._work.discard)

    def _updated(self, key: str, version: Version, seen: Any) -> None:
        """What was changed must be what stood there: nobody's write is lost."""
        before = self.disk.predecessor(key, version)
        content = self._journal.written[key].get(before)
        makes = (self._topology.value, self._topology.unreadable or self._topology.value)
        if content is None or seen not in [make(content.number) for make in makes]:
            self._journal.broken("P9", self.name, f"updated {key} to {version} from {seen!r}; at {before} was {content}")

    async def _retried(self, owner: authority[Any], ident: str, value: Any, meta: dict[str, str]) -> Version:
        first: Version | None = None
        with contextlib.suppress(StoreError):
            first = await owner.put(ident, value, idempotency_key=meta[NUMBER], meta=meta)
        second = await owner.put(ident, value, idempotency_key=meta[NUMBER], meta=meta)
        self._journal.reached["a write was retried"] += 1
        with contextlib.suppress(ParasyncError):
            third = await owner.put(ident, self._topology.value(OTHER_NUMBER), idempotency_key=meta[NUMBER], meta=meta)
            self._journal.broken("P9", self.name, f"made {second}, and {third} of another value with the same idempotency key")
        if first is not None and first != second:
            self._journal.broken("P9", self.name, f"made {first}, and {second} when the same write was tried again")
        return second

    def _done(self, key: str, version: Version, number: int) -> None:
        if not self._journal.is_written(key, place_of(version), number):
            self._journal.broken("P9", self.name, f"acknowledged {key} {version}, which is not stored")
        self.acknowledged[key] = max(version, self.acknowledged.get(key, version))

    async def aclose(self) -> None:
        """End it for good."""
        self._stop.set()
        if self._life is not None:
            self._forget_life()
        if self._ending:
            await asyncio.wait(self._ending)
        for task in self._ending:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._journal.broken("P7", self.name, f"ended with {error!r}")


def other_major(topic: Topic[Any]) -> int:
    """A schema major that readers of this topic cannot read."""
    return int(topic.schema.major) + 1
