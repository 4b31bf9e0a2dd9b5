"""A reader in a process of its own that is slower than the writer: `python -m benchmarks.overload KIND URL SECONDS PAUSE_S`.

It reads one change, pauses, reads the next. At the end it prints one line of JSON: how far what it read last is behind what was
written last, how much it grew in the second half, and how often it asked.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Final

import nats
import psutil

from benchmarks.bus import PATIENCE_S
from benchmarks.orders import CODEC, ORDERS
from parasync import synced
from parasync.transports.nats import NatsTransport, PrefixedSubjects

PREFIX: Final = "overload"
"""What the subjects of the topic begin with."""
BUCKET: Final = "overload"
"""The bucket of the peer."""


@asynccontextmanager
async def replica(url: str) -> AsyncIterator[tuple[AsyncIterator[int], Any]]:
    """The numbers of the orders that a replica tells of, and a function that counts its asks."""
    async with NatsTransport(url, codec=CODEC, subjects=PrefixedSubjects(PREFIX)) as bus, synced(ORDERS["1"], bus) as one:
        await one.ready(PATIENCE_S)
        await one.when_idle(PATIENCE_S)
        before = one.stats.refetches

        async def numbers() -> AsyncIterator[int]:
            async with one.changes() as changes:
                async for change in changes:
                    yield change.new.number  # type: ignore[union-attr]  # nobody deletes

        yield numbers(), lambda: one.stats.refetches - before


@asynccontextmanager
async def watch(url: str) -> AsyncIterator[tuple[AsyncIterator[int], Any]]:
    """The same with a watch of JetStream KV."""
    connection = await nats.connect(url)
    values = await connection.jetstream().key_value(BUCKET)
    watcher = await values.watch("1")

    async def numbers() -> AsyncIterator[int]:
        async for entry in watcher:
            if entry is not None and entry.value is not None:
                yield CODEC.decode_body(entry.value)["number"]

    yield numbers(), lambda: 0
    await connection.close()


KINDS: Final = {"replica": replica, "watch": watch}


async def read(kind: str, url: str, seconds: float, pause_s: float) -> dict[str, float]:
    """Read slowly for some time; says on standard output when it listens."""
    process = psutil.Process()
    async with KINDS[kind](url) as (numbers, asks):
        print("listening", flush=True)
        start = perf_counter()
        last, half_bytes = -1, 0
        async for number in numbers:
            last = number
            await asyncio.sleep(pause_s)
            elapsed_s = perf_counter() - start
            if not half_bytes and elapsed_s > seconds / 2:
                gc.collect()
                half_bytes = process.memory_info().rss
            if elapsed_s > seconds:
                break
        gc.collect()
        return {"last": last, "grown": process.memory_info().rss - half_bytes, "asks": asks()}


if __name__ == "__main__":
    kind, url, seconds, pause_s = sys.argv[1:]
    print(json.dumps(asyncio.run(read(kind, url, float(seconds), float(pause_s)))), flush=True)
