"""B4: what reading the newest value costs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import timeit
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import cachetools
import cashews
import redis

from benchmarks.b1_in_process import replicas
from benchmarks.bus import PATIENCE_S, key_values, on_server
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, Turn, check
from benchmarks.orders import bodies, order

READS: Final = 400_000
AWAITED_READS: Final = 5_000
"""How many reads one turn makes of what has to be awaited, but asks nobody."""
ASKED_READS: Final = 300
"""How many reads one turn makes where each asks a server."""
IN_A_ROW: Final = 20
"""How many reads stand in one line, so that the loop around them does not count."""
METRIC: Final = Metric("cost", "ns", "lower")
KEY: Final = "order:1"
DICT: Final = "dict lookup"
VALUE: Final = "parasync, .value"
REDIS: Final = "Redis GET"


def find_redis_server() -> str | None:
    """The program beside this Python (a wheel brings it along), or on the PATH."""
    beside = Path(sys.executable).with_name("redis-server")
    return str(beside) if beside.is_file() else shutil.which("redis-server")


@contextmanager
def redis_server(program: str) -> Iterator[redis.Redis]:
    """A real redis-server on a free port of this machine, which keeps nothing on disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    client = redis.Redis(port=port)
    try:
        deadline_s = perf_counter() + PATIENCE_S
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                if process.poll() is not None or perf_counter() > deadline_s:
                    raise
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait()


def plain_turn(expression: str, names: dict[str, object], right: object, reads: int) -> Turn:
    """Times an expression over local names."""
    setup = "; ".join(f"{name} = given[{name!r}]" for name in names)
    timer = timeit.Timer("; ".join([expression] * IN_A_ROW), setup, globals={"given": names})
    times = max(1, reads // IN_A_ROW)

    def turn() -> dict[str, float]:
        check(eval(expression, dict(names)) == right, "it was not the newest value")
        return {METRIC.name: timer.timeit(times) / (times * IN_A_ROW) * 1e9}

    return turn


def asked_turn(read: Callable[[], object], right: object, reads: int) -> Turn:
    """Times a function that takes long enough for its call not to count."""

    def turn() -> dict[str, float]:
        check(read() == right, "it was not the newest value")
        start = perf_counter()
        for _ in range(reads):
            read()
        return {METRIC.name: (perf_counter() - start) / reads * 1e9}

    return turn


def awaited_turn(run: Callable[..., Any], read: Callable[[], Awaitable[object]], right: object, reads: int) -> Turn:
    """The same for a coroutine function."""

    async def measured() -> dict[str, float]:
        check(await read() == right, "it was not the newest value")
        start = perf_counter()
        for _ in range(reads):
            await read()
        return {METRIC.name: (perf_counter() - start) / reads * 1e9}

    return lambda: run(measured())


def _in_memory(stack: ExitStack, reads: int) -> Iterator[Contestant]:
    newest = order(1)
    publish, (replica,) = stack.enter_context(replicas(1))
    publish(newest)
    yield Contestant(VALUE, plain_turn("replica.value", {"replica": replica}, newest, reads), ours=True)
    yield Contestant("parasync, .peek()", plain_turn("replica.peek()", {"replica": replica}, newest, reads), ours=True)
    yield Contestant(DICT, plain_turn("held[key]", {"held": {KEY: newest}, "key": KEY}, newest, reads))
    caches: tuple[cachetools.Cache[str, object], ...] = (cachetools.LRUCache(1_000), cachetools.TTLCache(1_000, 3_600))
    for cache in caches:
        cache[KEY] = newest
        name = f"cachetools {type(cache).__name__}"
        yield Contestant(name, plain_turn("cache[key]", {"cache": cache, "key": KEY}, newest, reads // 4))


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    newest, body = order(1), bodies(2)[1]
    asked = size.of(ASKED_READS, least=3)

    async def open_(url: str, stack: AsyncExitStack) -> tuple[cashews.Cache, Any]:
        memory = cashews.Cache()
        memory.setup("mem://")
        await memory.set(KEY, newest)
        stack.push_async_callback(memory.close)
        bucket = await stack.enter_async_context(key_values(url, "reads"))
        await bucket.writer.put("order.1", body)
        return memory, bucket.reader

    with ExitStack() as stack:
        (memory, bucket), runner = stack.enter_context(on_server(open_))
        contestants = [*_in_memory(stack, size.of(READS, least=IN_A_ROW))]
        of_memory = awaited_turn(runner.run, lambda: memory.get(KEY), newest, size.of(AWAITED_READS, least=3))
        contestants.append(Contestant("cashews in memory", of_memory))
        absent = {}
        program = find_redis_server()
        if program is None:
            absent[REDIS] = "there is no redis-server beside this Python or on the PATH"
        else:
            client = stack.enter_context(redis_server(program))
            client.set(KEY, body)
            contestants.append(Contestant(REDIS, asked_turn(lambda: client.get(KEY), body, asked)))

        async def value() -> bytes | None:
            entry = await bucket.get("order.1")
            found: bytes | None = entry.value
            return found

        contestants.append(Contestant("JetStream KV get", awaited_turn(runner.run, value, body, asked)))
        targets = [target for target in TARGETS if target.peer not in absent]
        yield [Case("one value", (METRIC,), tuple(contestants), tuple(targets), absent)]


TARGETS: Final = (
    Target(VALUE, DICT, METRIC.name, 3.0),
    Target(VALUE, REDIS, METRIC.name, 0.001),
)

SCENARIO: Final = Scenario(
    "B4",
    "Read the newest value",
    "A replica has the value where it is read; so have a dict and the caches in memory, which say nothing about its age. Redis"
    " and KV are asked over a connection of this machine, and return bytes.",
    _cases,
)
