"""B7: one object over NATS, with a thousand subscribers in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter
from typing import Any, Final, TypeAlias

from benchmarks.bus import OURS, Arrival, Bare, Ours, bare, on_server, ours
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.orders import bodies, orders

Turn: TypeAlias = Callable[[], Coroutine[Any, Any, dict[str, float]]]

SUBSCRIBERS: Final = 1_000
MESSAGES: Final = {True: 400, False: 20}
"""How many messages one turn sends, by whether it is ours."""
METRIC: Final = Metric("rate", "deliveries/s", "higher")
LISTENERS: Final = "parasync, a listener each"
BARE: Final = "1,000 bare subscriptions, callback"
DIRECT: Final = "1,000 bare subscriptions, direct"


class Subscribing:
    """Bare nats-py: one subscription for each subscriber, all of one subject."""

    def __init__(self, bus: Bare, messages: int, subject: str) -> None:
        self._bus = bus
        self._sent = bodies(messages)
        self._subject = subject
        self._count = 0
        self._last = 0
        self._arrival = Arrival()

    async def open(self, subscribers: int) -> Subscribing:
        """Subscribe."""
        self._subscribers = subscribers
        for _ in range(subscribers):
            await self._bus.subscribe(self._subject, self._received)
        await self._bus.ready()
        return self

    def _received(self, body: bytes) -> None:
        self._count += 1
        self._last += body == self._sent[-1]
        if self._count == len(self._sent) * self._subscribers:
            self._arrival.note()

    async def turn(self) -> dict[str, float]:
        """Publish everything, and wait until every subscriber has the last."""
        self._count = self._last = 0
        start = perf_counter()
        for body in self._sent:
            await self._bus.publisher.publish(self._subject, body)
            await asyncio.sleep(0)
        await self._arrival.wait()
        elapsed_s = perf_counter() - start
        check(self._last == self._subscribers, "not every subscriber got the last message")
        return {METRIC.name: self._count / elapsed_s}


class Replicating:
    """parasync: one replica for each subscriber, all of one object."""

    def __init__(self, bus: Ours, messages: int, *, listening: bool) -> None:
        self._bus = bus
        self._sent = orders(messages)
        self._arrival = Arrival()
        self._heard = [0] * len(bus.replicas)
        if listening:
            for number, replica in enumerate(bus.replicas):
                replica.subscribe(lambda _, number=number: self._hear(number))  # type: ignore[misc]
        last = self._sent[-1]
        bus.replicas[-1].subscribe(lambda change: self._arrival.note() if change.new == last else None)
        self._listening = listening

    def _hear(self, number: int) -> None:
        self._heard[number] += 1

    async def turn(self) -> dict[str, float]:
        """Put everything, and wait until every replica has the last."""
        replicas, put = self._bus.replicas, self._bus.owner.put
        applied, heard = self._bus.applied, sum(self._heard)
        expected = len(self._sent) * len(replicas)
        start = perf_counter()
        for order in self._sent:
            await put("1", order)
            # The sender gets its turn, so that nothing is conflated.
            await asyncio.sleep(0)
        await self._arrival.wait()
        elapsed_s = perf_counter() - start
        check(all(replica.value == self._sent[-1] for replica in replicas), "not every replica shows the last order")
        check(self._bus.applied - applied == expected, "not every version was applied")
        check(not self._listening or sum(self._heard) - heard == expected, "not every listener was called")
        return {METRIC.name: expected / elapsed_s}


async def _open(url: str, stack: AsyncExitStack, size: Size) -> dict[str, Turn]:
    subscribers = _subscribers(size)
    turns: dict[str, Turn] = {}
    for name, (codec, listening) in {
        **{name: (codec, False) for name, codec in OURS.items()},
        LISTENERS: (OURS["parasync"], True),
    }.items():
        bus = await stack.enter_async_context(ours(url, codec, ["1"] * subscribers, f"ours-{len(turns)}"))
        turns[name] = Replicating(bus, size.of(MESSAGES[True], least=3), listening=listening).turn
    for name, direct in {BARE: False, DIRECT: True}.items():
        wire = await stack.enter_async_context(bare(url, direct=direct))
        subscribing = Subscribing(wire, size.of(MESSAGES[False], least=3), f"bare-{len(turns)}.order")
        turns[name] = (await subscribing.open(subscribers)).turn
    return turns


def _subscribers(size: Size) -> int:
    """All of them, but where only the result is to be checked."""
    return min(SUBSCRIBERS, size.of(10 * SUBSCRIBERS, least=10))


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    with on_server(lambda url, stack: _open(url, stack, size)) as (turns, runner):
        contestants = [
            Contestant(name, lambda turn=turn: runner.run(turn()), ours=name in OURS or name == LISTENERS)  # type: ignore[misc]
            for name, turn in turns.items()
        ]
        yield [Case(f"one object, {_subscribers(size):,} subscribers", (METRIC,), tuple(contestants), TARGETS)]


TARGETS: Final = (
    Target("parasync", BARE, METRIC.name, 35.0),
    Target(LISTENERS, BARE, METRIC.name, 20.0),
)

SCENARIO: Final = Scenario(
    "B7",
    "Over NATS: one object, a thousand subscribers in one process",
    "An authority writes one object; on a second connection of the same process, a thousand replicas of it share one"
    " subscription on the bus. The bare peer subscribes a thousand times, as programs do that hand their connection around.",
    _cases,
)
