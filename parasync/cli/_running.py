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
    """Run a command that ends by itself; Ctrl-C, SIGTERM and SIGHUP end it too early, as a `KeyboardInterrupt`."""
    try:
        return asyncio.run(_ended_by_signals(work))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def run_until_stopped(work: Coroutine[Any, Any, None]) -> Exit:
    """Run a command that goes on until Ctrl-C, SIGTERM or SIGHUP, which are its ordinary end."""
    return asyncio.run(_stopped(work))


async def _stopped(work: Coroutine[Any, Any, None]) -> Exit:
    # The first Ctrl-C cancels the task; that it ends in order is success, and so nothing is raised again.
    with contextlib.suppress(asyncio.CancelledError):
        await _ended_by_signals(work)
    return Exit.OK


async def _ended_by_signals(work: Coroutine[Any, Any, T]) -> T:
    """Let the other signals that ask for an end do what Ctrl-C does: cancel, so that everything is closed."""
    task = asyncio.current_task()
    if task is not None:
        # Where there are no such signals or handlers, the process just ends.
        with contextlib.suppress(NotImplementedError, AttributeError):
            for number in (signal.SIGTERM, signal.SIGHUP):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await work
