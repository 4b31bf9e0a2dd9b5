"""B8: a writer that is ten times faster than its reader."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter
from typing import Any, Final

import nats
from nats.js.api import KeyValueConfig, StorageType

from benchmarks.bus import on_server
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.orders import CODEC, ORDERS, order
from benchmarks.overload import BUCKET, PREFIX
from parasync import authority
from parasync.transports.nats import NatsTransport, PrefixedSubjects

SECONDS: Final = 60
"""How long a turn overloads its reader."""
WRITES_A_SECOND: Final = 1_000
"""What the writer writes."""
PAUSE_S: Final = 0.01
"""How long the reader takes for a change: a hundred a second, at the most."""
METRICS: Final = (
    Metric("lag", "versions behind at the end", "lower"),
    Metric("growth", "bytes in the second half", "lower"),
)
OURS: Final = "parasync"
KV: Final = "JetStream KV, watch"


class Overloading:
    """Writes at a steady rate, while a process of its own reads."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._seconds = seconds

    async def open(self, stack: AsyncExitStack) -> Overloading:
        """Own the object, and a bucket with the same."""
        writer = await stack.enter_async_context(NatsTransport(self._url, codec=CODEC, subjects=PrefixedSubjects(PREFIX)))
        self._owner = await stack.enter_async_context(authority(ORDERS, writer))
        await self._owner.put("1", order(0))
        connection = await nats.connect(self._url)
        stack.push_async_callback(connection.close)
        self._values = await connection.jetstream().create_key_value(KeyValueConfig(BUCKET, storage=StorageType.MEMORY))
        return self

    async def replica(self) -> dict[str, float]:
        """One turn of parasync."""
        return await self._turn("replica", lambda number: self._owner.put("1", order(number)))

    async def watch(self) -> dict[str, float]:
        """One turn of KV."""
        return await self._turn("watch", lambda number: self._values.put("1", bytes(ORDERS.encode(order(number), CODEC))))

    async def _turn(self, kind: str, write: Callable[[int], Awaitable[object]]) -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.overload", kind, self._url, str(self._seconds), str(PAUSE_S)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None  # a pipe was asked for
        check(await process.stdout.readline() == b"listening\n", "the reader did not begin to listen")
        reading = asyncio.ensure_future(process.stdout.read())
        start, number = perf_counter(), 0
        while not reading.done():
            number += 1
            await write(number)
            await asyncio.sleep(max(0.0, start + number / WRITES_A_SECOND - perf_counter()))
        found: dict[str, Any] = json.loads(reading.result() or "{}")
        await process.wait()
        check(process.returncode == 0, f"the reader ended with exit code {process.returncode}")
        check(0 < found["last"] <= number, "the reader read what was not written")
        check(found["asks"] == 0, f"conflation made the reader ask {found['asks']} times")
        return {"lag": max(1.0, number - found["last"]), "growth": max(1.0, found["grown"])}


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    seconds = size.of(SECONDS, least=1)
    with on_server(lambda url, stack: Overloading(url, seconds).open(stack)) as (overloading, runner):
        contestants = (
            Contestant(OURS, lambda: runner.run(overloading.replica()), ours=True),
            Contestant(KV, lambda: runner.run(overloading.watch())),
        )
        yield [Case(f"{seconds} s, {WRITES_A_SECOND:,} writes a second", METRICS, contestants, TARGETS)]


TARGETS: Final = (Target(OURS, KV, "lag", 0.1), Target(OURS, KV, "growth", 0.1))

SCENARIO: Final = Scenario(
    "B8",
    "Over NATS: a reader that is ten times slower than the writer",
    "A process of its own reads one change after the other and takes 10 ms for each, while one object is written a thousand"
    " times a second. A replica leaves out what its reader has no time for, and says so; the watch of KV hands out everything,"
    " later and later. The lag is what was written and not yet read at the end; the growth is that of the reader's memory in"
    " the second half.",
    _cases,
)
