"""The authority's process: writes what the machine does, and keeps a book of every version before anybody can see it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from parasync import Envelope, MemoryStore, SyncTransport, Topic, Version, authority
from parasync.cli.demo._contract import LOAD, NEW, OLD, RANK_S, RANKS, REPORT_S, WRITE_S, ProcessOf1, ProcessOf2, Usage
from parasync.cli.demo._machine import Machine
from parasync.cli.demo._records import Record, Written, now_s
from parasync.cli.demo._worker import every, meanwhile, orders, say
from parasync.protocol import EncodedBody, Kind, Position, SchemaVersion
from parasync.stores import Draft, Outcome, TopicState
from parasync.transports.nats import NatsTransport


class BookedStore:
    """A memory store that books each version after it was stored and before it is published.

    `coming` holds the value of the next write of a key.
    """

    def __init__(self, record: Record) -> None:
        self.coming: dict[str, Any] = {}
        self.newest: dict[str, Version] = {}
        self._stored: dict[str, Any] = {}
        self._inner = MemoryStore()
        self._record = record

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        """See `Store`."""
        return await self._inner.claim(topic, epoch, lost=lost)

    async def history_lost(self, topic: str, epoch: int) -> TopicState:
        """See `Store`."""
        return await self._inner.history_lost(topic, epoch)

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        """See `Store`."""
        return await self._inner.raise_floor(topic, epoch, before_s=before_s)

    async def state(self, topic: str) -> TopicState:
        """See `Store`."""
        return await self._inner.state(topic)

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        """See `Store`."""
        outcome = await self._inner.write(topic, epoch, draft)
        key = draft.key
        if draft.kind is Kind.TOMBSTONE:
            self._stored[key] = None
        elif not draft.reissue:
            # What is written anew after a loss is what is stored already.
            self._stored[key] = self.coming[key]
        self.newest[key] = outcome.version
        major = SchemaVersion.parse(draft.schema_version).major
        place = (outcome.version.epoch, outcome.version.sequence)
        self._record.add(Written(now_s(), key, place, major, self._stored.get(key)))
        return outcome

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        """See `Store`."""
        return await self._inner.read(topic, keys)

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        """See `Store`."""
        return await self._inner.page(topic, prefix=prefix, after=after, limit=limit)

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        """See `Store`."""
        return await self._inner.positions(topic, after=after, limit=limit)


class Owner:
    """Writes both topics until it is told to stop; may change the schema of one of them on the way."""

    def __init__(self, bus: SyncTransport, store: BookedStore, machine: Machine) -> None:
        self._bus = bus
        self._store = store
        self._machine = machine
        self._loads = authority(LOAD, bus, store=store, loading=True)
        self._processes: authority[Any] = authority(OLD, bus, store=store, loading=True)
        self._turn = asyncio.Lock()
        self._stopped = False

    async def begin(self) -> None:
        """Claim both topics, write a first value of everything, and serve."""
        await self._loads.__aenter__()
        await self._processes.__aenter__()
        await self.write_load()
        await self.write_processes()
        self._loads.loaded()
        self._processes.loaded()

    async def end(self) -> None:
        """Serve no more."""
        await self._loads.aclose()
        await self._processes.aclose()

    async def write_load(self) -> None:
        """Write what the machine does."""
        async with self._turn:
            if not self._stopped:
                await self._put(self._loads, None, self._machine.load())

    async def write_processes(self) -> None:
        """Write who is busiest, in the shape of the present schema."""
        busiest = await asyncio.to_thread(self._machine.busiest)
        async with self._turn:
            for rank, process in zip(RANKS, busiest, strict=True):
                if not self._stopped:
                    await self._put(self._processes, rank, self._shaped(process))

    async def change_schema(self) -> None:
        """Ship major 2: the same topic, the same store, another shape."""
        async with self._turn:
            await self._processes.aclose()
            self._processes = authority(NEW, self._bus, store=self._store)
            await self._processes.__aenter__()
        await self.write_processes()

    async def stop(self) -> None:
        """Write no more; go on answering."""
        async with self._turn:
            self._stopped = True

    def _shaped(self, process: ProcessOf1) -> ProcessOf1 | ProcessOf2:
        if self._processes.topic.schema.major == 1:
            return process
        return ProcessOf2(process.pid, process.name, Usage(process.cpu_percent, process.memory_mb))

    async def _put(self, owner: authority[Any], ident: str | None, value: Any) -> None:
        topic: Topic[Any] = owner.topic
        ref = topic.ref() if ident is None else topic[ident]
        self._store.coming[ref.key] = attrs.asdict(value)
        await owner.put(ident, value)


async def own(url: str, path: Path) -> None:
    """Run the authority's process."""
    machine = Machine()
    async with contextlib.AsyncExitStack() as stack:
        store = BookedStore(stack.enter_context(Record(path)))
        bus = await stack.enter_async_context(NatsTransport(url, name="parasync demo: authority", reconnect_max_s=0.5))
        owner = Owner(bus, store, machine)
        stack.push_async_callback(owner.end)
        await owner.begin()

        def report() -> None:
            say(newest={key: list(version) for key, version in store.newest.items()})

        report()
        async with meanwhile(
            every(WRITE_S, owner.write_load), every(RANK_S, owner.write_processes), every(REPORT_S, report)
        ):
            async for order in orders():
                if order == "schema":
                    await owner.change_schema()
                elif order == "stop":
                    await owner.stop()
                    say(final={key: list(version) for key, version in store.newest.items()})
                elif order == "end":
                    return
