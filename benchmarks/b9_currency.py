"""B9: how long a lost last message stays lost, and what it costs to know that none was."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter
from typing import Final

import attrs

from benchmarks.bus import PATIENCE_S, on_server
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.orders import CODEC, ORDERS, Order, order
from parasync import authority, synced
from parasync.protocol import BEAT_INTERVALS_MAX
from parasync.runtime._office import Terms
from parasync.runtime._recovery import Pace
from parasync.testing import ChaosProxy, FaultyTransport
from parasync.transports.nats import NatsTransport, PrefixedSubjects

LOST: Final = 50
"""How many objects lose their last message at once."""
OBJECTS: Final = (1, 1_000, 100_000)
BEAT_S: Final = 0.5
"""The beats of the idle authority, ten times as often as by default, so that a turn is short."""
BEATS: Final = 6
"""How many of them a turn counts."""
HEALED: Final = (Metric("p50", "s", "lower"), Metric("worst", "s", "lower"))
IDLE: Final = Metric("traffic", "bytes a beat interval", "lower")
OURS: Final = "parasync"
BOUND: Final = "a beat after a write, the grace, the jitter"


@attrs.define
class Losing:
    """Replicas on a real bus, and an authority whose messages can be lost without anybody being told."""

    owner: authority[Order]
    bus: FaultyTransport
    replicas: list[synced[Order]]
    number: int = 0

    async def turn(self) -> dict[str, float]:
        """Lose the last message of every object, and wait until all replicas show it."""
        self.number += 1
        newest = order(self.number)
        times: list[float] = []
        done = asyncio.Event()
        start = perf_counter()

        def shown(_: object) -> None:
            times.append(perf_counter() - start)
            if len(times) == len(self.replicas):
                done.set()

        ends = [replica.subscribe(shown) for replica in self.replicas]
        self.bus.partition(incoming=False)
        for replica in self.replicas:
            await self.owner.put(replica.ref.id, newest)
        self.bus.heal()
        check(not times, "a message was not lost")
        async with asyncio.timeout(PATIENCE_S):
            await done.wait()
        for end in ends:
            end()
        check(all(replica.value == newest for replica in self.replicas), "a replica shows another order")
        return {"p50": statistics.median(times), "worst": max(times)}


@attrs.define
class Idling:
    """One replica behind a proxy that counts bytes, and an authority of many objects that nobody writes."""

    proxy: ChaosProxy
    reader: NatsTransport
    replica: synced[Order]

    async def turn(self) -> dict[str, float]:
        """Count what passes from one beat to another, some beats later; not while beats still name what was written before."""
        await self.replica.when_idle(PATIENCE_S)
        counts: list[int] = []
        asked: list[int] = []
        enough = asyncio.Event()

        def beaten(_: object) -> None:
            counts.append(sum(self.proxy.passed.values()))
            if len(counts) == BEAT_INTERVALS_MAX:
                asked.append(self.replica.stats.refetches)
            if len(counts) > BEAT_INTERVALS_MAX + BEATS:
                enough.set()

        end = self.reader.subscribe_beats(ORDERS.name, beaten)
        async with asyncio.timeout(PATIENCE_S):
            await enough.wait()
        end()
        check([self.replica.stats.refetches] == asked, "the replica had to ask")
        check(self.replica.age_s < 3 * BEAT_S, "no beat has proven the replica")
        return {IDLE.name: (counts[-1] - counts[-1 - BEATS]) / BEATS}


async def _open(url: str, stack: AsyncExitStack, size: Size) -> tuple[Losing, dict[int, Idling]]:
    count = size.of(LOST, least=5)
    subjects = PrefixedSubjects("losing")
    writer = FaultyTransport(NatsTransport(url, codec=CODEC, subjects=subjects))
    await stack.enter_async_context(writer)
    reader = await stack.enter_async_context(NatsTransport(url, codec=CODEC, subjects=subjects))
    owner = await stack.enter_async_context(authority(ORDERS, writer))
    for number in range(count):
        await owner.put(str(number), order(0))
    replicas = [await stack.enter_async_context(synced(ORDERS[str(number)], reader)) for number in range(count)]
    for replica in replicas:
        await replica.ready(PATIENCE_S)
    idling = {_objects(size, count): await _idle(url, stack, _objects(size, count)) for count in OBJECTS}
    return Losing(owner, writer, replicas), idling


async def _idle(url: str, stack: AsyncExitStack, objects: int) -> Idling:
    subjects = PrefixedSubjects(f"idle-{objects:06}")
    writer = await stack.enter_async_context(NatsTransport(url, codec=CODEC, subjects=subjects))
    terms = Terms(beat_interval_s=BEAT_S, beat_min_interval_s=BEAT_S)
    owner = await stack.enter_async_context(authority(ORDERS, writer, terms=terms))
    for number in range(objects):
        await owner.put(str(number), order(number))
    proxy = await stack.enter_async_context(ChaosProxy(url))
    # What keeps the connection alive is no cost of parasync, and comes at no fixed time.
    seldom = NatsTransport(proxy.url, codec=CODEC, subjects=subjects, ping_interval_s=PATIENCE_S)
    reader = await stack.enter_async_context(seldom)
    return Idling(proxy, reader, await stack.enter_async_context(synced(ORDERS["0"], reader)))


def _objects(size: Size, count: int) -> int:
    return count if count == 1 else size.of(count, least=count // 100)


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    with on_server(lambda url, stack: _open(url, stack, size)) as ((losing, idling), runner):
        bound_s = Terms().beat_min_interval_s + Pace().beat_grace_s + Pace().jitter_max_s
        healing = (
            Contestant(OURS, lambda: runner.run(losing.turn()), ours=True),
            Contestant(BOUND, lambda: {"p50": bound_s, "worst": bound_s}),
        )
        names = {count: f"{count:,} object{'s' * (count > 1)}" for count in idling}
        idle = [
            Contestant(names[count], lambda idle=idle: runner.run(idle.turn()), ours=count > 1)  # type: ignore[misc]
            for count, idle in idling.items()
        ]
        few, *_, many = names.values()
        lost = f"{len(losing.replicas)} objects lose their last message"
        yield [
            Case(lost, HEALED, healing, (Target(OURS, BOUND, "worst", 1.1),)),
            Case("nobody writes", (IDLE,), tuple(idle), (Target(many, few, IDLE.name, 1.1),)),
        ]


SCENARIO: Final = Scenario(
    "B9",
    "Over NATS: currency, and what it costs",
    "The last message of each object is lost on the way and nobody is told, and the time is taken until its replica shows it;"
    " all with the defaults. And an authority of many objects idles, while the traffic of a connection with one replica is"
    " counted, which the beats keep proven.",
    _cases,
)
