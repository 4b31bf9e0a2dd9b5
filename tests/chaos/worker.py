"""The processes of the chaos test: one writes, some copy; each keeps a record of what it wrote or showed.

    python -m tests.chaos.worker write URL RECORD SEED RATE
    python -m tests.chaos.worker copy URL RECORD

Commands come as lines on stdin, answers go as JSON lines to stdout. A record has one JSON array a line: key, epoch, sequence,
and the value, as a number that no other write has.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TextIO

import attrs

from parasync import Change, Pace, Topic, Version, authority, connect, synced

KEYS = 50


@attrs.frozen
class Reading:
    number: int
    text: str


READINGS = Topic("reading", Reading, version="1.0")
PACE = Pace(reconcile_interval_s=2.0, ask_timeout_s=1.0, backoff_max_s=1.0)


async def commands() -> AsyncIterator[str]:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Writer:
    """Writes at an even rate, driven by timers of the loop; no await lies between two due writes."""

    def __init__(self, owner: authority[Reading], record: TextIO, seed: int, rate: float) -> None:
        self.owner = owner
        self.record = record
        self.random = random.Random(seed)
        self.interval_s = 1.0 / rate
        self.count = 0
        self.final: dict[str, Version] = {}
        self.stopped = asyncio.Event()
        self.counted = asyncio.Condition()

    async def until(self, count: int) -> None:
        async with self.counted:
            await self.counted.wait_for(lambda: self.count >= count)

    async def write(self) -> None:
        self.count += 1
        ident = str(self.random.randrange(KEYS))
        version = await self.owner.put(ident, Reading(self.count, "x" * self.random.randrange(100)))
        self.final[ident] = version
        print(json.dumps([f"reading:{ident}", *version, self.count]), file=self.record)
        async with self.counted:
            self.counted.notify_all()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        while not self.stopped.is_set():
            await self.write()
            due_s = max(due_s + self.interval_s, loop.time() - 1.0)
            tick: asyncio.Future[None] = loop.create_future()
            loop.call_at(due_s, tick.set_result, None)
            await tick


async def write(url: str, record: str, seed: int, rate: float) -> None:
    with Path(record).open("w", buffering=1) as file:  # noqa: ASYNC230  # a short line a write
        async with connect(url) as bus, authority(READINGS, bus) as owner, asyncio.TaskGroup() as group:
            writer = Writer(owner, file, seed, rate)
            for ident in range(KEYS):
                writer.final[str(ident)] = await owner.put(str(ident), Reading(-ident, ""))
                print(json.dumps([f"reading:{ident}", *writer.final[str(ident)], -ident]), file=file)
            running = group.create_task(writer.run())
            say(ready=True)
            async for command in commands():
                if command.startswith("more "):
                    await writer.until(writer.count + int(command.split()[1]))
                    say(count=writer.count)
                elif command == "stop":
                    writer.stopped.set()
                    await running
                    say(final={f"reading:{ident}": str(version) for ident, version in writer.final.items()}, count=writer.count)
                elif command == "end":
                    break


async def copy(url: str, record: str) -> None:
    with Path(record).open("w", buffering=1) as file:  # noqa: ASYNC230  # a short line a step

        def note(key: str, change: Change[Reading]) -> None:
            print(json.dumps([key, *change.version, None if change.new is None else change.new.number]), file=file)

        async with connect(url) as bus:
            replicas = {}
            for ident in range(KEYS):
                replica = synced(READINGS[str(ident)], bus, pace=PACE)
                replica.subscribe(lambda change, key=replica.key: note(key, change))
                replicas[replica.key] = replica
            for replica in replicas.values():
                await replica.ready()
            say(ready=True)
            async for command in commands():
                verb, _, rest = command.partition(" ")
                if verb == "reach":
                    # Every replica has shown a write that is at least this new.
                    number = int(rest)
                    await asyncio.gather(*(reach(replica, number) for replica in list(replicas.values())[:5]))
                    say(reached=number)
                elif verb == "final":
                    for key, text in json.loads(rest).items():
                        await replicas[key].at_least(Version.parse(text))
                        await replicas[key].when_idle()
                    say(shown={key: [str(replica.version), replica.status.value] for key, replica in replicas.items()},
                        stats={key: attrs.asdict(replica.stats) for key, replica in replicas.items()})
                elif verb == "end":
                    break
            for replica in replicas.values():
                await replica.aclose()


async def reach(replica: synced[Reading], number: int) -> None:
    changes = replica.changes(since=Version(0, 0))
    async for change in changes:
        if change.new is not None and change.new.number >= number:
            return


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", url, record, seed, rate]:
            asyncio.run(write(url, record, int(seed), float(rate)))
        case ["copy", url, record]:
            asyncio.run(copy(url, record))
        case _:
            raise SystemExit(__doc__)
