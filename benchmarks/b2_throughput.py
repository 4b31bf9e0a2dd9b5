"""B2: how many writes a second reach replicas over NATS."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter
from typing import Any, Final

from benchmarks.bus import OURS, Arrival, Bare, KeyValues, Ours, bare, key_values, on_server, ours
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.orders import bodies, orders

MESSAGES: Final = 20_000
KV_MESSAGES: Final = {1: 600, 200: 4_000}
"""How many values are put in one turn, by how many are in flight."""
OBJECTS: Final = 256
"""How many objects are written in turns; between two writes of one the sender gets its turn, so that nothing is conflated."""
METRIC: Final = Metric("rate", "messages/s", "higher")
BARE: Final = "bare nats-py, callback"
DIRECT: Final = "bare nats-py, direct"
KV: Final = {1: "JetStream KV, one at a time", 200: "JetStream KV, 200 in flight"}


class Publishing:
    """Bare nats-py: as many subjects as there are objects, and one subscription for all of them."""

    def __init__(self, bus: Bare, messages: int, prefix: str) -> None:
        self._bus = bus
        self._sent = bodies(messages)
        self._subjects = [f"{prefix}.order.{number}" for number in range(OBJECTS)]
        self._all = f"{prefix}.order.*"
        self._got: list[bytes] = []
        self._arrival = Arrival()

    async def open(self) -> Publishing:
        """Subscribe."""
        await self._bus.subscribe(self._all, self._received)
        await self._bus.ready()
        return self

    def _received(self, body: bytes) -> None:
        self._got.append(body)
        if len(self._got) == len(self._sent):
            self._arrival.note()

    async def turn(self) -> dict[str, float]:
        """Publish everything, and wait for the last."""
        publish, subjects = self._bus.publisher.publish, self._subjects
        start = perf_counter()
        for number, body in enumerate(self._sent):
            await publish(subjects[number % OBJECTS], body)
            if number % OBJECTS == OBJECTS - 1:
                await asyncio.sleep(0)
        await self._arrival.wait()
        elapsed_s = perf_counter() - start
        check(tuple(self._got) == self._sent, "not every message arrived in order")
        self._got.clear()
        return {METRIC.name: len(self._sent) / elapsed_s}


class Putting:
    """JetStream KV: as many keys as there are objects, and one watcher for all of them."""

    def __init__(self, values: KeyValues, messages: int, in_flight: int) -> None:
        self._values = values
        self._sent = bodies(messages)
        self._in_flight = in_flight
        self._got: list[bytes] = []
        self._arrival = Arrival()

    async def open(self) -> Putting:
        """Watch."""
        await self._values.watch(self._received)
        return self

    def _received(self, body: bytes) -> None:
        self._got.append(body)
        if len(self._got) == len(self._sent):
            self._arrival.note()

    async def turn(self) -> dict[str, float]:
        """Put everything with so many under way at a time, and wait until the watcher has seen the last."""
        start = perf_counter()
        await asyncio.gather(*(self._put_some(first) for first in range(self._in_flight)))
        await self._arrival.wait()
        elapsed_s = perf_counter() - start
        check(sorted(self._got) == sorted(self._sent), "not every value arrived")
        self._got.clear()
        return {METRIC.name: len(self._sent) / elapsed_s}

    async def _put_some(self, first: int) -> None:
        for number in range(first, len(self._sent), self._in_flight):
            await self._values.writer.put(f"order.{number % OBJECTS}", self._sent[number])


class Writing:
    """parasync: one replica for each object."""

    def __init__(self, bus: Ours, messages: int) -> None:
        self._bus = bus
        self._sent = orders(messages)
        self._idents = [str(number) for number in range(OBJECTS)]
        self._arrival = Arrival()
        last = self._sent[-1].number
        bus.replicas[last % OBJECTS].subscribe(
            lambda change: self._arrival.note() if change.new is not None and change.new.number == last else None
        )

    async def turn(self) -> dict[str, float]:
        """Put everything, and wait until the last is applied."""
        put, idents, replicas = self._bus.owner.put, self._idents, self._bus.replicas
        applied = self._bus.applied
        start = perf_counter()
        for number, order in enumerate(self._sent):
            await put(idents[number % OBJECTS], order)
            if number % OBJECTS == OBJECTS - 1:
                await asyncio.sleep(0)
        await self._arrival.wait()
        elapsed_s = perf_counter() - start
        check(self._bus.applied - applied == len(self._sent), "not every version was applied")
        check(all(replicas[order.number % OBJECTS].value == order for order in self._sent[-OBJECTS:]), "a wrong value is shown")
        return {METRIC.name: len(self._sent) / elapsed_s}


async def _open(url: str, stack: AsyncExitStack, size: Size) -> dict[str, Callable[[], Coroutine[Any, Any, dict[str, float]]]]:
    messages = size.of(MESSAGES, least=OBJECTS)
    turns: dict[str, Callable[[], Coroutine[Any, Any, dict[str, float]]]] = {}
    for name, codec in OURS.items():
        objects = [str(number) for number in range(OBJECTS)]
        turns[name] = Writing(await stack.enter_async_context(ours(url, codec, objects, f"ours-{len(turns)}")), messages).turn
    for name, direct in {BARE: False, DIRECT: True}.items():
        bus = await stack.enter_async_context(bare(url, direct=direct))
        turns[name] = (await Publishing(bus, messages, f"bare-{len(turns)}").open()).turn
    for in_flight, name in KV.items():
        values = await stack.enter_async_context(key_values(url, f"bucket-{len(turns)}"))
        turns[name] = (await Putting(values, size.of(KV_MESSAGES[in_flight], least=in_flight), in_flight).open()).turn
    return turns


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    with on_server(lambda url, stack: _open(url, stack, size)) as (turns, runner):
        contestants = [
            Contestant(name, lambda turn=turn: runner.run(turn()), ours=name in OURS)  # type: ignore[misc]
            for name, turn in turns.items()
        ]
        yield [Case(f"{OBJECTS} objects, written in turns", (METRIC,), tuple(contestants), TARGETS)]


TARGETS: Final = (
    Target("parasync", BARE, METRIC.name, 0.5),
    Target("parasync[fast]", BARE, METRIC.name, 0.7),
    Target("parasync", KV[200], METRIC.name, 4.0),
    Target("parasync", KV[1], METRIC.name, 15.0),
)

SCENARIO: Final = Scenario(
    "B2",
    "Over NATS: put until the replica has applied it",
    "An authority with the memory store writes 256 objects in turns; on a second connection of the same process, one replica"
    " each applies them. The bare peers publish the encoded order as it is, without a frame, and only collect what arrives;"
    " KV keeps its bucket in memory and acknowledges each put.",
    _cases,
)
