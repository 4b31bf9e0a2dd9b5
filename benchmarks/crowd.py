"""A crowd of followers in a process of its own, so that nothing else is in its memory: `python -m benchmarks.crowd`.

Prints one line of JSON: the memory of each follower, and how long it took to set them up and to have the first value of each.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from time import perf_counter
from typing import Any, Final

import nats
import psutil

from benchmarks.bus import PATIENCE_S
from benchmarks.contest import check
from benchmarks.orders import CODEC, ORDERS, order
from parasync import synced
from parasync.transports.nats import NatsTransport, PrefixedSubjects

PREFIX: Final = "crowd"
"""What the subjects of the topic begin with."""


async def replicas(url: str, count: int, wildcards: Sequence[str] = ()) -> dict[str, float]:
    """One replica for each object, over one connection."""
    async with NatsTransport(url, codec=CODEC, subjects=PrefixedSubjects(PREFIX), wildcards=wildcards) as bus:

        def begin() -> list[synced[Any]]:
            return [synced(ORDERS[str(number)], bus) for number in range(count)]

        async def ready(crowd: list[synced[Any]]) -> None:
            for replica in crowd:
                await replica.ready(PATIENCE_S)

        crowd, figures = await _measured(begin, ready, count)
        check(all(replica.value == order(number) for number, replica in enumerate(crowd)), "a replica shows another order")
        for replica in crowd:
            replica.close()
        return figures


async def subscriptions(url: str, count: int) -> dict[str, float]:
    """One subscription of bare nats-py for each object, over one connection. What they are told later is all they know."""
    connection = await nats.connect(url)

    async def callback(message: Any) -> None:
        pass

    async def begin() -> list[Any]:
        return [await connection.subscribe(f"bare.order.{number}", cb=callback) for number in range(count)]

    async def ready(_: list[Any]) -> None:
        await connection.flush(PATIENCE_S)  # type: ignore[arg-type]  # seconds, of any kind of number

    crowd, figures = await _measured(begin, ready, count)
    check(len(crowd) == count, "a subscription is missing")
    await connection.close()
    return figures


async def _measured(
    begin: Callable[[], Any], ready: Callable[[Any], Awaitable[None]], count: int
) -> tuple[Any, dict[str, float]]:
    process = psutil.Process()
    gc.collect()
    before_bytes = process.memory_info().rss
    start = perf_counter()
    crowd = begin()
    if asyncio.iscoroutine(crowd):
        crowd = await crowd
    set_up_s = perf_counter() - start
    await ready(crowd)
    ready_s = perf_counter() - start
    gc.collect()
    memory_bytes = max(1, process.memory_info().rss - before_bytes) / count
    return crowd, {"memory": memory_bytes, "set-up": set_up_s * 1e6 / count, "ready": ready_s * 1e6 / count}


KINDS: Final[dict[str, Callable[[str, int], Coroutine[Any, Any, dict[str, float]]]]] = {
    "replicas": replicas,
    "sharing": partial(replicas, wildcards=[ORDERS.name]),
    "subscriptions": subscriptions,
}

if __name__ == "__main__":
    kind, url, count = sys.argv[1:]
    print(json.dumps(asyncio.run(KINDS[kind](url, int(count)))))
