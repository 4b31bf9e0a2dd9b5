"""B5: the first load of a whole topic."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final

import nats
from nats.js.api import KeyValueConfig, StorageType

from benchmarks.bus import OURS, on_server
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.load import BUCKET, PREFIX
from benchmarks.orders import CODEC, ORDERS, order
from parasync import authority
from parasync.transports.nats import NatsTransport, PrefixedSubjects

OBJECTS: Final = 100_000
IN_FLIGHT: Final = 200
METRICS: Final = (Metric("load", "µs an object", "lower"), Metric("overhead", "bytes an object", "lower"))
KV: Final = "JetStream KV, watchall and the gate"
LIMIT: Final = "the limit"


class Loading:
    """Runs first loads in fresh processes, beside the authority that they ask and a bucket with the same."""

    def __init__(self, url: str, objects: int) -> None:
        self._url = url
        self._objects = objects

    async def open(self, stack: AsyncExitStack) -> Loading:
        """Own the objects, and put them into the bucket."""
        writer = await stack.enter_async_context(NatsTransport(self._url, codec=CODEC, subjects=PrefixedSubjects(PREFIX)))
        owner = await stack.enter_async_context(authority(ORDERS, writer))
        connection = await nats.connect(self._url)
        stack.push_async_callback(connection.close)
        values = await connection.jetstream().create_key_value(KeyValueConfig(BUCKET, storage=StorageType.MEMORY))

        async def put_some(first: int) -> None:
            for number in range(first, self._objects, IN_FLIGHT):
                await values.put(str(number), bytes(ORDERS.encode(order(number), CODEC)))

        await asyncio.gather(*map(put_some, range(IN_FLIGHT)))
        for number in range(self._objects):
            await owner.put(str(number), order(number))
        return self

    async def turn(self, kind: str) -> dict[str, float]:
        """One load."""
        command = [sys.executable, "-m", "benchmarks.load", kind, self._url, str(self._objects)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        check(process.returncode == 0, f"the load ended with exit code {process.returncode}")
        figures: dict[str, float] = json.loads(output)
        return figures


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    objects = size.of(OBJECTS, least=100)
    with on_server(lambda url, stack: Loading(url, objects).open(stack)) as (loading, runner):

        def contestant(name: str, kind: str, *, ours: bool) -> Contestant:
            def turn() -> Any:
                return runner.run(loading.turn(kind))

            return Contestant(name, turn, ours)

        contestants = (
            *(contestant(name, name, ours=True) for name in OURS),
            contestant(KV, "watch", ours=False),
            Contestant(LIMIT, lambda: {"load": 1.0, "overhead": 300.0}),
        )
        yield [Case(f"{objects:,} objects", METRICS, contestants, TARGETS)]


TARGETS: Final = (
    Target("parasync", KV, "load", 1 / 3.5),
    Target("parasync[fast]", KV, "load", 1 / 5),
    Target("parasync", LIMIT, "overhead", 1.0),
)

SCENARIO: Final = Scenario(
    "B5",
    "Over NATS: the first load of a mirror",
    "A process of its own mirrors a topic, and is ready when it holds all objects, each of them checked; the peer watches all"
    " keys of a bucket and checks each value by the same gate. The overhead is what the process grew by, less what it grows by"
    " for the same keys and values in a plain dict.",
    _cases,
)
