"""Runs what a command does, to its end or until somebody presses Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from parasync.cli._exits import Exit

T = TypeVar("T")


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run a command that ends by itself; Ctrl-C ends it as an interruption."""
    return asyncio.run(work)


def run_until_stopped(work: Coroutine[Any, Any, None]) -> Exit:
    """Run a command that goes on until Ctrl-C, SIGTERM or SIGHUP, which are its ordinary end."""
    return asyncio.run(_stopped(work))


async def _stopped(work: Coroutine[Any, Any, None]) -> Exit:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    if task is not None:
        # Where there are no such signals or handlers, the process just ends.
        with contextlib.suppress(NotImplementedError, AttributeError):
            loop.add_signal_handler(signal.SIGTERM, task.cancel)
            loop.add_signal_handler(signal.SIGHUP, task.cancel)
    # The first Ctrl-C cancels the task; that it ends in order is success, and so nothing is raised again.
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return Exit.OK
