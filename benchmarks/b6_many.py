"""B6: 20,000 objects followed one by one, over one connection."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final

from benchmarks.bus import on_server
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.crowd import PREFIX
from benchmarks.orders import CODEC, ORDERS, order
from parasync import authority
from parasync.transports.nats import NatsTransport, PrefixedSubjects

OBJECTS: Final = 20_000
METRICS: Final = (
    Metric("memory", "bytes a follower", "lower"),
    Metric("set-up", "µs a follower", "lower"),
    Metric("ready", "µs a follower", "lower"),
)
OURS: Final = "parasync"
SHARING: Final = "parasync, one wildcard"
BARE: Final = "bare subscriptions"


class Crowds:
    """Runs crowds in fresh processes, beside the authority that they ask."""

    def __init__(self, url: str, objects: int) -> None:
        self._url = url
        self._objects = objects

    async def open(self, stack: AsyncExitStack) -> Crowds:
        """Own the objects."""
        writer = await stack.enter_async_context(NatsTransport(self._url, codec=CODEC, subjects=PrefixedSubjects(PREFIX)))
        owner = await stack.enter_async_context(authority(ORDERS, writer))
        for number in range(self._objects):
            await owner.put(str(number), order(number))
        return self

    async def turn(self, kind: str) -> dict[str, float]:
        """One crowd."""
        command = [sys.executable, "-m", "benchmarks.crowd", kind, self._url, str(self._objects)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        check(process.returncode == 0, f"the crowd ended with exit code {process.returncode}")
        figures: dict[str, float] = json.loads(output)
        return figures


async def _open(url: str, stack: AsyncExitStack, size: Size) -> Crowds:
    return await Crowds(url, _objects(size)).open(stack)


def _objects(size: Size) -> int:
    return size.of(OBJECTS, least=20)


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    with on_server(lambda url, stack: _open(url, stack, size)) as (crowds, runner):

        def contestant(name: str, kind: str, *, ours: bool) -> Contestant:
            def turn() -> Any:
                return runner.run(crowds.turn(kind))

            return Contestant(name, turn, ours)

        contestants = (
            contestant(OURS, "replicas", ours=True),
            contestant(SHARING, "sharing", ours=True),
            contestant(BARE, "subscriptions", ours=False),
        )
        yield [Case(f"{_objects(size):,} objects", METRICS, contestants, TARGETS)]


TARGETS: Final = (Target(OURS, BARE, "memory", 1.4), Target(SHARING, BARE, "memory", 0.5))

SCENARIO: Final = Scenario(
    "B6",
    "Over NATS: twenty thousand objects followed one by one",
    "A process of its own makes a replica of each object over one connection, and is ready when each shows its value; once with"
    " a subscription for each, and once with one wildcard for all (`wildcards=`). The bare"
    " peer subscribes to as many subjects, and is ready when the server has taken all. Memory is what the process grew by, as"
    " the operating system counts it.",
    _cases,
)
