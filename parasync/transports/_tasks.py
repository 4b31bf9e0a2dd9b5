"""Background work that belongs to a transport, in whichever event loops it runs, and the bridges between loops and threads."""

from __future__ import annotations

import asyncio
import math
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from concurrent.futures import Future as ThreadFuture
from typing import Any, Final, TypeVar

from parasync.errors import ClosedError, UsageError
from parasync.transports._fanout import report

CLOSE_TIMEOUT_S: Final = 5.0
"""How long closing waits for cancelled work to end, in seconds; what resists longer is left to its own loop."""

T = TypeVar("T")


class Tasks:
    """Tasks that end with their owner at the latest. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run the work in the running loop.

        Raises:
            ClosedError: the owner was closed.
            UsageError: there is no running event loop in this thread.
        """
        try:
            loop = running_loop("spawn")
            with self._lock:
                if self._closed:
                    raise ClosedError("got spawn on a closed transport, expected an open one")
                task = loop.create_task(work, name=name)
                self._tasks.add(task)
        except UsageError:
            work.close()
            raise
        task.add_done_callback(self._ended)
        return task

    def cancel(self) -> None:
        """Cancel everything but the task that calls, for good, without waiting."""
        here = current_loop()
        with self._lock:
            self._closed = True
            tasks = list(self._tasks)
        me = None if here is None else asyncio.current_task()
        for task in tasks:
            loop = task.get_loop()
            if loop is not here:
                call_in(loop, task.cancel)
            elif task is not me:
                task.cancel()

    async def join(self) -> None:
        """Wait until all tasks but the one that calls have ended, at most `CLOSE_TIMEOUT_S`."""
        here = asyncio.get_running_loop()
        me = asyncio.current_task()
        with self._lock:
            tasks = [task for task in self._tasks if task is not me]
        ends = [task if task.get_loop() is here else asyncio.wrap_future(_end_of(task)) for task in tasks]
        if ends:
            await asyncio.wait(ends, timeout=CLOSE_TIMEOUT_S)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        with self._lock:
            self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            report("the task", task.get_name(), error)


def check_timeout(timeout_s: float) -> None:
    """Raise unless this is a number of seconds that a wait can take.

    Raises:
        UsageError: not a finite number above 0.
    """
    if not isinstance(timeout_s, (int, float)) or not 0 < timeout_s < math.inf:
        raise UsageError(f"got timeout_s={timeout_s!r}, expected a number of seconds above 0")


def current_loop() -> AbstractEventLoop | None:
    """The loop that runs in this thread, None where there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def running_loop(what: str) -> AbstractEventLoop:
    """The loop that runs in this thread.

    Raises:
        UsageError: there is none.
    """
    loop = current_loop()
    if loop is None:
        raise UsageError(f"got {what} without a running event loop, expected it inside a coroutine")
    return loop


def call_in(loop: AbstractEventLoop, function: Callable[..., T | None], *args: Any) -> ThreadFuture[T | None]:
    """Call a function that raises nothing in another loop; its result is None where that loop was closed."""
    future: ThreadFuture[T | None] = ThreadFuture()
    try:
        loop.call_soon_threadsafe(lambda: future.set_result(function(*args)))
    except RuntimeError:
        future.set_result(None)
    return future


def _end_of(task: asyncio.Task[Any]) -> ThreadFuture[None]:
    future: ThreadFuture[None] = ThreadFuture()
    try:
        task.get_loop().call_soon_threadsafe(task.add_done_callback, lambda _: future.set_result(None))
    except RuntimeError:  # that loop was closed
        future.set_result(None)
    return future
