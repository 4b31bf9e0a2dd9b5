"""B7: one object over NATS, and a thousand who follow it in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter
from typing import Any, Final

from benchmarks.bus import Arrival, Bare, Ours, bare, on_server, ours
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.orders import CODEC, bodies, orders
from parasync import Change

FOLLOWERS: Final = 1_000
WRITES: Final = 1_000
BARE_WRITES: Final = 40
METRIC: Final = Metric("rate", "deliveries/s", "higher")
OURS: Final = "parasync, 1,000 replicas"
LISTENERS: Final = "parasync, a listener each"
BARE: Final = "1,000 bare subscriptions"


class Writing:
    """All replicas of one object share one subscription of the bus."""

    def __init__(self, bus: Ours, writes: int, *, listening: bool) -> None:
        self._bus = bus
        self._sent = orders(writes)
        self._heard = 0
        self._arrival = Arrival()
        last = bus.replicas[-1]
        last.subscribe(lambda change: self._arrival.note() if change.new is self._last() else None)
        if listening:
            for replica in bus.replicas[:-1]:
                replica.subscribe(self._hear)

    def _hear(self, _: Change[Any]) -> None:
        self._heard += 1

    def _last(self) -> object:
        value = self._bus.replicas[-1].value
        return value if value.number == self._sent[-1].number else None

    async def turn(self) -> dict[str, float]:
        """Write everything, and wait until the last is shown everywhere."""
        applied, heard = self._bus.applied, self._heard
        put = self._bus.owner.put
        start = perf_counter()
        for each in self._sent:
            await put("1", each)
            await asyncio.sleep(0)
        await self._arrival.wait()
        elapsed_s = perf_counter() - start
        count = len(self._bus.replicas) * len(self._sent)
        check(self._bus.applied - applied == count, "not every replica has applied every version")
        check(all(replica.value == self._sent[-1] for replica in self._bus.replicas), "a replica shows a wrong value")
        check(self._heard - heard in (0, count - len(self._sent)), "not every listener has heard of every version")
        return {METRIC.name: count / elapsed_s}


class Publishing:
    """Bare nats-py: the server sends each message as often as there are subscriptions."""

    def __init__(self, bus: Bare, writes: int) -> None:
        self._bus = bus
        self._sent = bodies(writes)
        self._got: list[list[bytes]] = [[] for _ in range(FOLLOWERS)]
        self._count = 0
        self._arrival = Arrival()

    async def open(self) -> Publishing:
        """Subscribe a thousand times."""
        for got in self._got:
            await self._bus.subscribe("fan.order.1", lambda body, got=got: self._received(got, body))
        await self._bus.ready()
        return self

    def _received(self, got: list[bytes], body: bytes) -> None:
        got.append(body)
        self._count += 1
        if self._count == FOLLOWERS * len(self._sent):
            self._arrival.note()

    async def turn(self) -> dict[str, float]:
        """Publish everything, and wait until the last has arrived everywhere."""
        start = perf_counter()
        for body in self._sent:
            await self._bus.publisher.publish("fan.order.1", body)
            await asyncio.sleep(0)
        await self._arrival.wait()
        elapsed_s = perf_counter() - start
        check(all(tuple(got) == self._sent for got in self._got), "not every message arrived everywhere, in order")
        count, self._count = self._count, 0
        for got in self._got:
            got.clear()
        return {METRIC.name: count / elapsed_s}


async def _open(url: str, stack: AsyncExitStack, size: Size) -> dict[str, Callable[[], Coroutine[Any, Any, dict[str, float]]]]:
    turns: dict[str, Callable[[], Coroutine[Any, Any, dict[str, float]]]] = {}
    for name, listening in {OURS: False, LISTENERS: True}.items():
        bus = await stack.enter_async_context(ours(url, CODEC, ["1"] * FOLLOWERS, f"ours-{len(turns)}"))
        turns[name] = Writing(bus, size.of(WRITES, least=2), listening=listening).turn
    peer = await stack.enter_async_context(bare(url, direct=False))
    turns[BARE] = (await Publishing(peer, size.of(BARE_WRITES, least=2)).open()).turn
    return turns


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    with on_server(lambda url, stack: _open(url, stack, size)) as (turns, runner):
        contestants = [
            Contestant(name, lambda turn=turn: runner.run(turn()), ours=name != BARE)  # type: ignore[misc]
            for name, turn in turns.items()
        ]
        yield [Case("one object, 1,000 followers", (METRIC,), tuple(contestants), TARGETS)]


TARGETS: Final = (Target(OURS, BARE, METRIC.name, 35.0), Target(LISTENERS, BARE, METRIC.name, 20.0))

SCENARIO: Final = Scenario(
    "B7",
    "Fan-out: one object, 1,000 followers in one process",
    "An authority writes one object again and again; on a second connection, 1,000 replicas of it share one subscription. The"
    " bare peer subscribes 1,000 times, so the server sends each message 1,000 times.",
    _cases,
)
