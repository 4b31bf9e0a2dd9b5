"""A first load in a process of its own: `python -m benchmarks.load KIND URL COUNT`.

Prints one line of JSON: how long it took for each object, what the process grew by, and what it grows by for the same values in
a plain dict.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from time import perf_counter
from typing import Final

import nats
import psutil

from benchmarks.bus import OURS, PATIENCE_S
from benchmarks.contest import check
from benchmarks.orders import CODEC, ORDERS, Order, order
from parasync import Envelope, mirror
from parasync.protocol import EncodedBody
from parasync.transports.nats import NatsTransport, PrefixedSubjects

PREFIX: Final = "load"
"""What the subjects of the topic begin with."""
BUCKET: Final = "load"
"""The bucket of the peer."""

Loaded = Mapping[str, Order]


async def mirrored(url: str, stack: AsyncExitStack, name: str) -> Loaded:
    """A mirror of the topic."""
    bus = await stack.enter_async_context(NatsTransport(url, codec=OURS[name], subjects=PrefixedSubjects(PREFIX)))
    orders = await stack.enter_async_context(mirror(ORDERS, bus))
    await orders.ready(PATIENCE_S)
    return orders


async def watched(url: str, stack: AsyncExitStack, _: str) -> Loaded:
    """All values of a bucket of JetStream KV, each checked by the gate of the topic."""
    connection = await nats.connect(url)
    stack.push_async_callback(connection.close)
    values = await connection.jetstream().key_value(BUCKET)
    read = ORDERS.reader(CODEC)
    loaded: dict[str, Order] = {}
    watcher = await values.watchall()
    async for entry in watcher:
        if entry is None:
            break
        value = read(Envelope(EncodedBody(entry.value or b""), ORDERS.version, entry.revision or 0))
        assert value is not None  # nobody deletes
        loaded[entry.key] = value
    await watcher.stop()
    return loaded


async def load(kind: str, url: str, count: int) -> dict[str, float]:
    """Load, check and measure."""
    process = psutil.Process()
    async with AsyncExitStack() as stack:
        gc.collect()
        before_bytes = process.memory_info().rss
        start = perf_counter()
        loaded = await (watched if kind == "watch" else mirrored)(url, stack, kind)
        elapsed_s = perf_counter() - start
        gc.collect()
        grown_bytes = process.memory_info().rss - before_bytes
        check(len(loaded) == count, f"{len(loaded)} objects were loaded, not {count}")
        check(all(loaded[str(number)] == order(number) for number in range(count)), "an object is another one")
        # What any way of holding the same costs: the keys, and the values as the gate makes them.
        before_bytes = process.memory_info().rss
        read = ORDERS.reader(CODEC)
        body = ORDERS.encode
        plain = {str(n): read(Envelope(body(order(n), CODEC), ORDERS.version, 1)) for n in range(count)}
        gc.collect()
        plain_bytes = process.memory_info().rss - before_bytes
        check(len(plain) == count, "the dict is not what was to be compared")
        overhead = max(1.0, (grown_bytes - plain_bytes) / count)
        return {"load": elapsed_s / count * 1e6, "overhead": overhead}


if __name__ == "__main__":
    kind, url, count = sys.argv[1:]
    print(json.dumps(asyncio.run(load(kind, url, int(count)))))
