"""The one thread of a process in which an event loop runs for programs that have none."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import math
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextvars import Context
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakSet

from parasync.errors import AskTimeoutError, ClosedError, UsageError
from parasync.runtime._checks import check_wait
from parasync.threads._waits import new_loop, result_of

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 10.0
"""How long a blocking call waits, in seconds, unless told otherwise; then it raises."""
LOOP_GRACE_S: Final = 1.0
"""How much longer than its own time a wait may take, in seconds; then a listener is said to block the loop thread."""
EXIT_TIMEOUT_S: Final = 5.0
"""How long the interpreter waits at its exit for open objects to close, in seconds; what takes longer is abandoned."""

logger: Final = logging.getLogger("parasync")


class Outer(Protocol):
    """What stands in other threads for something that lives in the loop."""

    def _orphan(self) -> None:
        """This process is a fork of the one in which it was made: raise from now on, and share nothing."""

    async def _end(self) -> None:
        """Close it, in the loop."""


Inner = TypeVar("Inner", bound=contextlib.AbstractAsyncContextManager[Any])


class Home:
    """A daemon thread with an event loop, and all that was opened there."""

    def __init__(self) -> None:
        self.over = False
        self.orphaned = False
        self.replicas: WeakSet[Outer] = WeakSet()
        """Those that end when they are dropped."""
        self.kept: dict[Outer, None] = {}
        """Buses and authorities, which live until they are closed, in the order in which they were opened."""
        self.loop = new_loop()
        self._works: set[asyncio.Task[Any]] = set()
        self._futures: set[Future[Any]] = set()
        begun = threading.Event()
        self.loop.call_soon(begun.set)
        # A daemon, since the interpreter waits for other threads before it calls what was registered for its exit.
        self._thread = threading.Thread(target=self.loop.run_forever, name="parasync", daemon=True)
        self._thread.start()
        begun.wait()

    def check(self) -> None:
        """Raise unless a thread may block here now.

        Raises:
            UsageError: this is a fork of the process in which it was made, or the loop thread itself.
            ClosedError: everything was closed.
        """
        if self.orphaned:
            raise UsageError(FORKED)
        if threading.get_ident() == self._thread.ident:
            raise UsageError("got a blocking call in the loop thread, expected another: listeners run there and must not block")
        if self.over:
            raise ClosedError("the loop thread of parasync was shut down")

    def call(self, work: Callable[[], Coroutine[Any, Any, T]], timeout_s: float | None, what: str) -> T:
        """Run a coroutine in the loop and wait for its result; where the wait ends early, the coroutine is cancelled.

        Args:
            work: makes the coroutine.
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.
            what: names it in the error.

        Raises:
            AskTimeoutError: it took longer.
            ClosedError, UsageError: as for `check`, or `timeout_s` is no number.
        """
        if timeout_s is not None:
            check_wait("timeout_s", timeout_s)
        future: Future[T] = Future()
        # First this, so that whoever shuts down between finds it.
        self._futures.add(future)
        try:
            self.check()
            with contextlib.suppress(RuntimeError):  # the loop was just closed, which cancels the future
                self.loop.call_soon_threadsafe(self._begin, work, future)
            return result_of(future, math.inf if timeout_s is None else timeout_s)
        except TimeoutError:
            # One that cannot be cancelled any more has ended: with this error, or just now.
            if not future.cancel():
                return future.result()
            raise AskTimeoutError(f"waited {timeout_s:g} s for {what}", timeout_s) from None
        except CancelledError:
            raise ClosedError(f"the loop thread of parasync was shut down during {what}") from None
        except BaseException:
            future.cancel()
            raise
        finally:
            self._futures.discard(future)

    def wait(self, work: Callable[[], Coroutine[Any, Any, T]], timeout_s: float | None, what: str) -> T:
        """As `call`, for a coroutine that keeps to its time and says more of it; unless somebody blocks the loop.

        Raises:
            AskTimeoutError, ClosedError, UsageError: as for `call`.
        """
        if timeout_s is not None:
            check_wait("timeout_s", timeout_s)
            timeout_s = max(timeout_s, 0.0) + LOOP_GRACE_S
        return self.call(work, timeout_s, f"{what}, which should have ended before: does a listener block the loop thread?")

    def run(self, function: Callable[[], T], what: str) -> T:
        """Call a function that does not block in the loop thread, from whichever thread.

        Raises:
            AskTimeoutError, ClosedError, UsageError: as for `call`.
        """
        if threading.get_ident() == self._thread.ident and not self.orphaned:
            return function()

        async def work() -> T:
            return function()

        return self.call(work, CALL_TIMEOUT_S, what)

    def enter(self, make: Callable[[], Inner], timeout_s: float | None, what: str) -> Inner:
        """Make something in the loop and enter it; where the wait ends early, it is closed as soon as it can be.

        Raises:
            AskTimeoutError, ClosedError, UsageError: as for `call`.
        """
        tasks: list[asyncio.Task[Any]] = []
        entered: list[Inner] = []

        async def begin() -> Inner:
            tasks.extend(filter(None, [asyncio.current_task()]))
            inner = make()
            await inner.__aenter__()
            entered.append(inner)
            return inner

        async def give_up() -> None:
            if tasks:
                await asyncio.wait(tasks)
            for inner in entered:
                await inner.__aexit__(None, None, None)

        try:
            # What it starts in the background serves everybody, and not the request that happened to come first.
            return Context().run(self.call, begin, timeout_s, what)
        except BaseException:
            with contextlib.suppress(RuntimeError):  # the loop was closed, and everything with it
                if not self.orphaned:
                    self.loop.call_soon_threadsafe(self._begin, give_up, Future())
            raise

    def end(self) -> None:
        """Close all that is open, and end the thread; at most three times `EXIT_TIMEOUT_S`. Never raises."""
        if self.over or self.orphaned:
            return
        self.over = True
        try:
            closed: Future[None] = Future()
            self.loop.call_soon_threadsafe(self._begin, self._close, closed)
            closed.result(EXIT_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001  # what was closed is closed, and the thread ends in any case
            logger.warning("not everything was closed at the end: %s", type(error).__name__)
            with contextlib.suppress(Exception):
                given_up: Future[None] = Future()
                self.loop.call_soon_threadsafe(self._begin, self._give_up, given_up)
                given_up.result(EXIT_TIMEOUT_S)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(EXIT_TIMEOUT_S)
        if not self._thread.is_alive():
            self.loop.close()
        for future in tuple(self._futures):
            future.cancel()

    def orphan(self) -> None:
        """In a forked child: nothing of the parent's is used any more, and nothing of it complains when it is dropped."""
        self.orphaned = True
        for outer in (*self.replicas, *self.kept):
            outer._orphan()
        for task in asyncio.all_tasks(self.loop):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # its thread was not forked, and nobody ends it

    async def _give_up(self) -> None:
        """Cancel what goes on still, and let it end."""
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest)

    async def _close(self) -> None:
        for replica in list(self.replicas):
            await replica._end()
        for outer in reversed(list(self.kept)):
            await outer._end()
        await self._give_up()
        await self.loop.shutdown_asyncgens()

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]], future: Future[T]) -> None:
        """Run a coroutine for somebody who waits for the future, until nobody does any more."""
        if future.cancelled():
            return
        task = self.loop.create_task(work(), name="a call from another thread")
        self._works.add(task)
        task.add_done_callback(partial(self._ended, future))

        def given_up(ended: Future[T]) -> None:
            if ended.cancelled():
                with contextlib.suppress(RuntimeError):  # the loop was closed, and the task with it
                    self.loop.call_soon_threadsafe(task.cancel)

        future.add_done_callback(given_up)

    def _ended(self, future: Future[T], task: asyncio.Task[T]) -> None:
        self._works.discard(task)
        error = None if task.cancelled() else task.exception()
        if task.cancelled():
            future.cancel()
        elif not future.set_running_or_notify_cancel():
            return
        elif error is None:
            future.set_result(task.result())
        else:
            future.set_exception(error)


FORKED: Final = (
    "got an object of parasync.threads that was made before this process was forked, expected one that the process made itself:"
    " a connection cannot be shared. Make it at its first use, e.g. with `per_process`"
)

_lock = threading.Lock()
_home: Home | None = None
_left: Final[list[Home]] = []
"""In a forked child, what belongs to its parent: kept, since to drop it would close what is shared."""


def home() -> Home:
    """That of this process, which begins at first use."""
    global _home
    with _lock:
        if _home is None or _home.over:
            _home = Home()
        return _home


def shutdown() -> None:
    """Close everything that was opened in this process, and end the loop thread; may be called again.

    The interpreter does this at its exit. What is made afterwards begins anew.
    """
    global _home
    with _lock:
        ending, _home = _home, None
    if ending is not None:
        ending.end()


def _forked() -> None:
    global _lock, _home
    # Another thread of the parent may have held it, and that thread is not here.
    _lock = threading.Lock()
    if _home is not None:
        _home.orphan()
        _left.append(_home)
        _home = None


atexit.register(shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
