"""An event loop without I/O, in one thread, whose time jumps to the next timer when nothing else is to be done.

A program in it sees asyncio as it is documented, except for one freedom: any step of a task that is ready may be taken later
than it became so, as if what it waited for had taken a little longer. Which one is taken next, a seed decides. What was given
to `call_soon` runs in the order in which it was given, and never later than a step of a task that became ready after it.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import AbstractEventLoop, Handle
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from threading import get_ident
from typing import Any, Final, NoReturn, TypeVar, cast

from parasync.errors import DeadlockError, EscapeError, LivelockError, UsageError
from parasync.testing._trace import Trace
from parasync.testing._waits import where

T = TypeVar("T")

START_S: Final = 1_000.0
"""What the clock of a virtual loop shows at first, in seconds."""
STEPS_MAX: Final = 200_000
"""How many callbacks and steps of tasks a run may take, unless it is told otherwise."""


class _Numbered:
    """Hashes by a number that is the same in every run, and so lies at the same place in every set."""

    number: int

    def __hash__(self) -> int:
        return self.number


class VirtualTask(_Numbered, asyncio.Task[Any]):
    """A task of a virtual loop, numbered in the order of their making."""

    def __init__(self, coro: Coroutine[Any, Any, Any], *, loop: VirtualLoop, **options: Any) -> None:
        self.number = loop.numbered(getattr(coro, "__qualname__", type(coro).__name__))
        super().__init__(coro, loop=loop, **options)


class VirtualFuture(_Numbered, asyncio.Future[Any]):
    """A future of a virtual loop."""

    def __init__(self, loop: VirtualLoop, number: int) -> None:
        self.number = number
        super().__init__(loop=loop)


def _task(loop: AbstractEventLoop, coro: Any, **options: Any) -> VirtualTask:
    return VirtualTask(coro, loop=cast("VirtualLoop", loop), **options)


def in_order(tasks: Iterable[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """In that of their making, where they belong to a virtual loop."""
    return sorted(tasks, key=lambda task: getattr(task, "number", -1))


def virtual_loop(what: str) -> VirtualLoop:
    """The running loop.

    Raises:
        UsageError: it is none of `run`.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise UsageError(f"got {what} in a {type(loop).__name__}, expected it inside of parasync.testing.run")
    return loop


def _is_step(handle: Handle) -> bool:
    """Whether this lets a task go on; other methods of tasks may be called soon, too."""
    callback: Any = handle._callback  # type: ignore[attr-defined]
    owner = getattr(callback, "__self__", None)
    if not isinstance(owner, asyncio.Task):
        return False
    name = getattr(callback, "__name__", "")
    return not name or not hasattr(owner, name)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs a program in virtual time; made by `run`.

    Args:
        seed: decides which of the tasks that are ready goes on; None keeps to the order in which they became so.
        start_s: what the clock shows at first.
        steps_max: how many callbacks and steps it runs; then it raises `LivelockError`.
        trace: takes down what happens.
    """

    _ready: Any
    _scheduled: Any
    _stopping: bool

    def __init__(self, seed: int | None, *, start_s: float, steps_max: int, trace: Trace) -> None:
        super().__init__()
        self.now_s = start_s
        self.start_s = start_s
        self.trace = trace
        self.escape: EscapeError | None = None
        self.each_step: Callable[[], None] | None = None
        self._for_rest: deque[asyncio.Future[None]] = deque()
        self.left = steps_max
        self._steps_max = steps_max
        self._random: Callable[[], float] | None = None if seed is None else random.Random(seed).random  # noqa: S311
        self._waiting_steps: list[Handle] = []
        self._futures = 0
        self._own_thread = get_ident()
        self._goal: asyncio.Future[Any] = self.create_future()
        self.set_task_factory(_task)  # what it gets depends on the version of Python

    def time(self) -> float:
        """Virtual seconds since the loop began, and `start_s`."""
        return self.now_s

    def create_future(self) -> asyncio.Future[Any]:
        """A future whose place in a set is the same in every run."""
        self._futures += 1
        return VirtualFuture(self, -self._futures)

    def numbered(self, name: str) -> int:
        """The number of a new task."""
        self.trace.names.append(name)
        return len(self.trace.names) - 1

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Like `call_soon`; another thread cannot take part in virtual time."""
        if get_ident() != self._own_thread:
            self.escaped("call_soon_threadsafe from another thread")
        return self.call_soon(callback, *args, context=context)

    def escaped(self, what: str) -> NoReturn:
        """Refuse something that virtual time does not reach, and end the run even if the refusal is caught.

        Raises:
            EscapeError: always.
        """
        task = asyncio.current_task(self) if get_ident() == self._own_thread else None
        by = "a callback" if task is None else where(task)
        error = EscapeError(f"got {what} by {by}, expected nothing that takes real time or another thread in virtual time")
        self.escape = self.escape or error
        raise error

    def finish(self, goal: asyncio.Future[T]) -> T:
        """Run the program until this is done, and return its result.

        Raises:
            UsageError: the program stopped the loop.
        """
        self._goal = goal
        self.run_forever()
        if not goal.done():
            raise UsageError("got a program that stopped its loop, expected it to end")
        return goal.result()

    def _run_once(self) -> None:
        """Run what is ready, one at a time, until the goal is reached."""
        ready, steps, scheduled, trace, goal = self._ready, self._waiting_steps, self._scheduled, self.trace, self._goal
        while not self._stopping and not goal.done():
            if scheduled and scheduled[0]._when <= self.now_s:
                self._take_due()
            if not ready and not steps:
                self._advance()
                continue
            if self.left <= 0:
                raise self._livelock()
            self.left -= 1
            handle, is_step = self._pick()
            if handle._cancelled:
                continue
            if is_step:
                trace.took(self.now_s - self.start_s, getattr(handle._callback.__self__, "number", -1))
            handle._run()
            if self.escape is not None:
                raise self.escape
            if self.each_step is not None:
                self.each_step()
        self.stop()

    def _pick(self) -> tuple[Any, bool]:
        """The next of what is ready: any step of a task that became ready before the first callback, or that callback.

        Second, whether it is a step.
        """
        ready, steps = self._ready, self._waiting_steps
        if self._random is None:
            first = ready.popleft()
            return first, _is_step(first)
        while ready and _is_step(ready[0]):
            steps.append(ready.popleft())
        count = len(steps) + bool(ready)
        number = int(self._random() * count) if count > 1 else 0
        if number == len(steps):
            return ready.popleft(), False
        steps[number], steps[-1] = steps[-1], steps[number]
        return steps.pop(), True

    def _take_due(self) -> None:
        """Get the callbacks whose time has come ready."""
        scheduled = self._scheduled
        while scheduled and scheduled[0]._when <= self.now_s:
            timer = heapq.heappop(scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                self._ready.append(timer)

    def at_rest(self) -> asyncio.Future[None]:
        """Done as soon as everybody waits, before time passes."""
        resting: asyncio.Future[None] = self.create_future()
        self._for_rest.append(resting)
        return resting

    def _advance(self) -> None:
        """Everybody waits: let those go on who waited for that, or time pass until the next timer."""
        while self._for_rest:
            resting = self._for_rest.popleft()
            if not resting.done():
                return resting.set_result(None)
        scheduled = self._scheduled
        while scheduled and scheduled[0]._cancelled:
            heapq.heappop(scheduled)._scheduled = False
        if not scheduled:
            raise self._deadlock()
        self.now_s = max(self.now_s, scheduled[0]._when)
        return None

    def _deadlock(self) -> DeadlockError:
        waiting = tuple(where(task) for task in self.pending())
        what = "everybody waits, and no timer will wake anybody"
        return DeadlockError("\n".join([f"got a deadlock{self._at}, expected the program to end: {what}", *waiting]), waiting)

    def _livelock(self) -> LivelockError:
        waiting = tuple(where(task) for task in self.pending())
        what = f"got no end within {self._steps_max} steps and callbacks{self._at}, expected the program to end"
        busiest = f"most of the last steps: {self.trace.busiest()}"
        return LivelockError("\n".join([f"{what}; {busiest}", *waiting]), waiting)

    @property
    def _at(self) -> str:
        return f", at {self.now_s - self.start_s:.6f} s of virtual time"

    def pending(self) -> list[asyncio.Task[Any]]:
        """The tasks that have not ended, in the order of their making."""
        return in_order(asyncio.all_tasks(self))

    def _write_to_self(self) -> None:
        """Nobody has to be woken: there is one thread."""

    def _process_events(self, _events: Any) -> None:
        """There are none."""


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(self: VirtualLoop, *_: Any, **__: Any) -> NoReturn:
        self.escaped(f"loop.{name}")

    return refuse


for _name in (
    *("run_in_executor", "add_reader", "add_writer", "add_signal_handler", "connect_read_pipe", "connect_write_pipe"),
    *("create_connection", "create_server", "create_datagram_endpoint", "subprocess_exec", "subprocess_shell", "sendfile"),
    *("create_unix_connection", "create_unix_server", "connect_accepted_socket", "start_tls"),
    *("sock_recv", "sock_recv_into", "sock_sendall", "sock_connect", "sock_accept"),
    *("sock_sendfile", "getaddrinfo", "getnameinfo"),
):
    setattr(VirtualLoop, _name, _refusing(_name))
