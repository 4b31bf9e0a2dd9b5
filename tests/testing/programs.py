"""Programs whose course must be the same wherever they run; as a script, prints what they did."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial

from parasync import InProcessTransport, MemoryStore, Topic, authority, connect, synced
from parasync.testing import Trace, run

NOTES = Topic("note", str, version="1.0")


async def plain(trace: Trace) -> None:
    """Much of asyncio at once: what keeps its tasks in sets, and what is woken in any order."""
    queue: asyncio.Queue[int] = asyncio.Queue(2)
    changed = asyncio.Condition()

    async def make(first: int) -> None:
        for number in range(first, first + 5):
            await queue.put(number)
            async with changed:
                changed.notify_all()

    async def take() -> None:
        while True:
            trace.note("took", await queue.get())
            async with changed:
                await changed.wait()

    async def end(number: int) -> int:
        try:
            await asyncio.sleep(number)
        except asyncio.CancelledError:
            trace.note("cancelled", number)
            raise
        return number

    try:
        async with asyncio.timeout(60.0), asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(make(number * 10))
                group.create_task(take())
    except TimeoutError:
        trace.note("timeout")
    ends = [asyncio.create_task(end(number)) for number in (*range(1, 9), *range(1, 9))]
    for when in (asyncio.FIRST_COMPLETED, asyncio.ALL_COMPLETED):
        done, _ = await asyncio.wait(ends, return_when=when)
        trace.note([task.result() for task in done])
    for task in [asyncio.create_task(end(number)) for number in range(10)]:
        task.cancel()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*left, return_exceptions=True)


async def replicated(trace: Trace) -> None:
    """An authority that starts twice, writers that meet, and replicas that come and go, as a user would write them."""
    store = MemoryStore()

    async def read(name: str) -> None:
        async with synced(NOTES["a"], bus) as note:
            await note.ready()
            async with note.changes() as changes:
                async for change in changes:
                    trace.note(name, change.new, change.skipped, note.status.name)
                    if change.new == "end":
                        return
                    await asyncio.sleep(0.01)

    async def write(name: str) -> None:
        for number in range(5):
            trace.note(await owner.put("a", f"{name}{number}"))
            await asyncio.sleep(1.0)

    async with connect("inproc://programs") as bus:
        assert isinstance(bus, InProcessTransport)
        for life in ("first", "second"):
            async with authority(NOTES, bus, store=store) as owner:
                await owner.put("a", life)
                async with asyncio.TaskGroup() as readers:
                    for name in ("x", "y", "z"):
                        readers.create_task(read(name))
                    async with asyncio.TaskGroup() as writers:
                        for name in ("p", "q", "r"):
                            writers.create_task(write(name))
                    await owner.put("a", "end")
            await asyncio.sleep(60.0)


def digest_of(program: Callable[[Trace], object], seed: int | None) -> str:
    """What a program does under a seed."""
    trace = Trace()
    run(partial(program, trace), seed=seed, trace=trace)  # type: ignore[arg-type]  # of coroutine functions
    return trace.digest


if __name__ == "__main__":
    # Other memory lies at other addresses, and so do tasks.
    holes = [bytes(16 * int(sys.argv[1])) for _ in range(1_000)]
    del holes[:: int(sys.argv[1])]
    print(*(digest_of(program, seed) for program in (plain, replicated) for seed in (None, 0, 1)))
