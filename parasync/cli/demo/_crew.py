"""Starts, hears, orders and ends the processes of the demonstration; none of them is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

END_TIMEOUT_S: Final = 5.0
"""How long a process of the demonstration may take to end after it was told to, in seconds; then it is killed."""
LINE_BYTES_MAX: Final = 1 << 20
"""The longest line, in bytes, that a process of the demonstration may say; a longer one is a fault of ours."""

# The child finds its modules where we found ours, wherever that is.
_BEGIN: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from parasync.cli.demo._worker import main; main(sys.argv[2:])"
)


class Worker:
    """One process.

    Args:
        name: how it is called in messages.
        arguments: what `_worker` takes.
        log: where its standard error goes.
        heard: gets each thing that it says.
    """

    def __init__(self, name: str, arguments: list[str], log: Path, heard: Callable[[dict[str, Any]], None]) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self._heard = heard
        self.dismissed = False
        """Whether it was we who ended it."""
        self._process: Process | None = None
        self._hearing: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process and begin to listen to it."""
        with self.log.open("ab") as log:
            # In a session of its own: a Ctrl-C is for us, and it ends when we close its input.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _BEGIN,
                json.dumps(sys.path),
                *self._arguments,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                limit=LINE_BYTES_MAX,
                start_new_session=True,
            )
        self._hearing = asyncio.create_task(self._hear(self._process), name=f"hear {self.name}")

    def order(self, what: str) -> None:
        """Tell the process to do something; one that is gone does nothing."""
        if self._process is not None and self._process.stdin is not None and self.running:
            with contextlib.suppress(OSError, RuntimeError):
                self._process.stdin.write(f"{what}\n".encode())

    async def kill(self) -> None:
        """End the process as `kill -9` does, and wait until it is gone."""
        self.dismissed = True
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._over()

    async def end(self) -> None:
        """Tell the process to end, wait until it has, and kill it if it takes too long."""
        self.dismissed = True
        if self._process is None:
            return
        self.order("end")
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_TIMEOUT_S):
                await self._over()
        except TimeoutError:
            await self.kill()

    def trouble(self) -> str:
        """The last line of what it complained of, if anything."""
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else ""

    async def _over(self) -> None:
        if self._process is not None and self._hearing is not None:
            await self._process.wait()
            await asyncio.wait([self._hearing])

    async def _hear(self, process: Process) -> None:
        assert process.stdout is not None  # noqa: S101 -- it was asked for
        while line := await process.stdout.readline():
            with contextlib.suppress(ValueError):
                self._heard(json.loads(line))


class Crew:
    """All processes of one run; an async context manager that leaves none behind, whatever ends it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._workers: list[Worker] = []

    async def hire(self, name: str, arguments: list[str], heard: Callable[[dict[str, Any]], None]) -> Worker:
        """Start a process."""
        worker = Worker(name, arguments, self._folder / f"{name.replace(' ', '-')}.log", heard)
        self._workers.append(worker)
        await worker.start()
        return worker

    def lost(self) -> list[Worker]:
        """Those that have ended although nobody told them to."""
        return [worker for worker in self._workers if not worker.running and not worker.dismissed]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # A second Ctrl-C must not leave half of them.
        ending = asyncio.gather(*(worker.end() for worker in self._workers))
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            for worker in self._workers:
                await worker.kill()
            raise
