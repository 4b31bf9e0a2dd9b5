"""The processes of the demonstration: `owner`, which is the authority, and `copier`, which holds replicas.

They are told what to do by lines on standard input, tell how they are by lines of JSON on standard output, and end when their
input does: so none outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

Reporter = Callable[[], dict[str, Any]]


def main(arguments: list[str]) -> None:
    """Run one process: `owner URL RECORD` or `copier URL RECORD CODE`."""
    from parasync.cli.demo._copier import copy
    from parasync.cli.demo._owner import own

    # One of the listeners raises on purpose, and a lost connection is part of the plot.
    logging.getLogger("parasync").setLevel(logging.CRITICAL + 1)
    work: Coroutine[Any, Any, None]
    match arguments:
        case ["owner", url, record]:
            work = own(url, Path(record))
        case ["copier", url, record, code]:
            work = copy(url, Path(record), code)
        case _:
            raise SystemExit(f"got {arguments}, expected owner URL RECORD, or copier URL RECORD CODE")
    asyncio.run(work)


def say(**facts: Any) -> None:
    """Tell the demonstration something."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def orders() -> AsyncIterator[str]:
    """The lines that we are told, until there will be none."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


@contextlib.asynccontextmanager
async def meanwhile(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these beside the block, which is ended if one of them fails; they are ended with it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def every(interval_s: float, act: Callable[[], Awaitable[None] | None]) -> None:
    """Do something again and again, evenly where the machine allows."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    while True:
        done = act()
        if done is not None:
            await done
        due_s = max(due_s + interval_s, loop.time())
        await asyncio.sleep(due_s - loop.time())


if __name__ == "__main__":
    main(sys.argv[1:])
