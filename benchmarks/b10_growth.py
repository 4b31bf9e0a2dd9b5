"""B10: how the cost grows with the work."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter
from typing import Final

from benchmarks.b1_in_process import METRIC as COST
from benchmarks.b1_in_process import PUBLISHES_MIN, turn_of_ours
from benchmarks.bus import Arrival, Ours, on_server, ours
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, Turn, check
from benchmarks.orders import CODEC, order

TIMES: Final = (1, 10, 100)
"""How much work, compared with the least."""
REPLICAS: Final = 10
PUBLISHES: Final = 2_000
OBJECTS: Final = 100
WRITES: Final = 10_000
"""How many writes a turn makes, whatever the number of objects."""
OURS: Final = "parasync"
LINEAR: Final = "linear"
EXPONENT: Final = Metric("exponent", "", "lower")


class Writing:
    """Writes as many objects as there are replicas, again and again."""

    def __init__(self, bus: Ours, writes: int) -> None:
        self._bus = bus
        self._writes = writes
        self._number = 0
        self._arrival = Arrival()
        bus.replicas[-1].subscribe(lambda _: self._arrival.note())

    async def turn(self) -> float:
        """The cost of a write in µs, until its replica shows it."""
        replicas, put = self._bus.replicas, self._bus.owner.put
        idents = [str(replica.ref.id) for replica in replicas]
        rounds = max(1, self._writes // len(replicas))
        self._number += rounds
        start = perf_counter()
        for number in range(self._number - rounds, self._number):
            newest = order(number)
            for place, ident in enumerate(idents):
                await put(ident, newest)
                if place % 100 == 99:
                    await asyncio.sleep(0)
            # The last that is written arrives last.
            await self._arrival.wait()
        elapsed_s = perf_counter() - start
        check(all(replica.value == newest for replica in replicas), "a replica shows another order")
        return elapsed_s / (rounds * len(replicas)) * 1e6


def exponent(costs: dict[int, float]) -> float:
    """Of the work in all, from the cost of a unit at the least and at the most work: 1 is linear."""
    least, *_, most = costs
    return 1 + math.log(costs[most] / costs[least], most / least)


def _grown(unit: str, costs: Callable[[], dict[int, float]]) -> tuple[tuple[Metric, ...], Turn]:
    def turn() -> dict[str, float]:
        found = costs()
        return {EXPONENT.name: exponent(found), **{f"{times}×": cost for times, cost in found.items()}}

    return (EXPONENT, *(Metric(f"{times}×", unit, "lower") for times in TIMES)), turn


def _case(title: str, unit: str, costs: Callable[[], dict[int, float]]) -> Case:
    metrics, turn = _grown(unit, costs)
    linear = {EXPONENT.name: 1.0, **{f"{times}×": 1.0 for times in TIMES}}
    contestants = (Contestant(OURS, turn, ours=True), Contestant(LINEAR, lambda: linear))
    return Case(title, metrics, contestants, (Target(OURS, LINEAR, EXPONENT.name, 1.1),))


async def _open(url: str, stack: AsyncExitStack, size: Size) -> dict[int, Writing]:
    writing: dict[int, Writing] = {}
    for times in TIMES:
        count = size.of(OBJECTS * times, least=times)
        bus = await stack.enter_async_context(ours(url, CODEC, [str(number) for number in range(count)], f"grown-{times}"))
        check(len(bus.replicas) == count, "a replica is missing")
        writing[times] = Writing(bus, size.of(WRITES, least=100))
    return writing


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    with on_server(lambda url, stack: _open(url, stack, size)) as (writing, runner):
        publishes = size.of(PUBLISHES, least=3)

        def in_process() -> dict[int, float]:
            counts = {times: (REPLICAS * times, max(PUBLISHES_MIN, publishes // times)) for times in TIMES}
            return {times: turn_of_ours(*count, listening=False)[COST.name] for times, count in counts.items()}

        def over_nats() -> dict[int, float]:
            return {times: runner.run(each.turn()) for times, each in writing.items()}

        deliveries = f"in process: {REPLICAS} replicas of one object, 10 and 100 times as many"
        writes = f"over NATS: {OBJECTS} objects with a replica each, 10 and 100 times as many"
        yield [_case(deliveries, "ns a delivery", in_process), _case(writes, "µs a write", over_nats)]


SCENARIO: Final = Scenario(
    "B10",
    "How the cost grows with the work",
    "The same work at one, ten and a hundred times its size. The exponent is that of the whole work, by its smallest and its"
    " largest size: 1 is linear, and less is better than linear.",
    _cases,
)
