"""A mirror of very many objects through everything at once: `python -m benchmarks.converge [OBJECTS]`.

Three of ten messages to and from the mirror are lost, without anybody being told; the server is killed; the authority is
replaced by one that lost its memory and knows half of the objects, with other content. What is printed is how long it took,
after each of these, until the mirror was proven to hold exactly what the authority holds: equal digests of all buckets, and
equal content.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Final

from benchmarks.contest import check
from benchmarks.orders import ORDERS, Order, order
from parasync import MemoryStore, Status, authority, mirror
from parasync.testing import Faults, FaultyTransport
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport

OBJECTS: Final = 100_000
LOSS: Final = 0.3
PATIENCE_S: Final = 600.0


class Judge:
    """Sees every change that a mirror tells of: no object goes back, and none comes back that was deleted for good."""

    def __init__(self, orders: mirror[Order]) -> None:
        self.gone: set[str] = set()
        self.violations = 0
        self._newest: dict[str, object] = {}
        orders.subscribe(self._heard)

    def _heard(self, change: object) -> None:
        ident, version = change.id, change.version  # type: ignore[attr-defined]
        newest = self._newest.get(ident)
        back = newest is not None and version <= newest  # type: ignore[operator]
        self.violations += back or (change.new is not None and ident in self.gone)  # type: ignore[attr-defined]
        self._newest[ident] = version


async def _same(orders: mirror[Order], owner: authority[Order], content: Mapping[str, Order]) -> float:
    """Wait until the mirror is proven to hold what its authority holds; how long that took, in seconds."""
    start = perf_counter()
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await orders.fresh()
            mine, theirs = orders._core.digest, owner._desk.heart.digest()
            if mine is not None and mine.buckets == theirs.buckets and orders.status is Status.OK:
                break
            await asyncio.sleep(0.1)
    elapsed_s = perf_counter() - start
    check(dict(orders) == content, "the mirror holds something else")
    return elapsed_s


async def converge(objects: int) -> dict[str, float]:
    """How long the mirror needs after each blow, in seconds."""
    took: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        server = stack.enter_context(NatsServer())
        bus = await stack.enter_async_context(NatsTransport(server.url, reconnect_max_s=0.5))
        line = FaultyTransport(NatsTransport(server.url, reconnect_max_s=0.5), Faults(seed=1, drop=LOSS))
        await stack.enter_async_context(line)
        async with authority(ORDERS, bus, store=MemoryStore()) as owner:
            content = {str(number): order(number) for number in range(objects)}
            for ident, value in content.items():
                await owner.put(ident, value)
            orders = await stack.enter_async_context(mirror(ORDERS, line))
            judge = Judge(orders)
            took["the first load"] = await _same(orders, owner, content)
            for number in range(0, objects, 10):
                content[str(number)] = order(number + 1)
                await owner.put(str(number), order(number + 1))
            for number in range(5, objects, 10):
                judge.gone.add(str(number))
                del content[str(number)]
                await owner.delete(str(number))
            took["a fifth was written or deleted"] = await _same(orders, owner, content)
            server.restart()
            took["the server was killed"] = await _same(orders, owner, content)
        kept = random.Random(7).sample(sorted(content), len(content) // 2)
        judge.gone |= content.keys() - set(kept)
        content = {ident: order(int(ident) + 2) for ident in kept}
        async with authority(ORDERS, bus, store=MemoryStore(), loading=True) as owner:
            for ident, value in content.items():
                await owner.put(ident, value)
            owner.loaded()
            took["the authority lost its memory"] = await _same(orders, owner, content)
            check(not judge.violations, f"{judge.violations} steps went back, or brought back what was deleted")
            check(line.fired["drop"] > 0, "nothing was lost")
            took["messages that were lost"] = line.fired["drop"]
    return took


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else OBJECTS
    print(f"{count:,} objects, {LOSS:.0%} of the messages lost")
    for what, figure in asyncio.run(converge(count)).items():
        print(f"  {what}: {figure:,.1f}")
