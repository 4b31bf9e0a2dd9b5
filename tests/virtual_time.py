"""Time that passes only when everybody waits: tests of minutes take milliseconds, and always take the same course."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Final

STEPS_MAX: Final = 200_000
"""A program that takes more turns than this never comes to rest."""


class DeadlockError(BaseException):
    """Everybody waits, and no timer will wake anybody."""


class LivelockError(BaseException):
    """The program goes on and on, and gets nowhere."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without I/O, in one thread, whose clock jumps to the next timer when nothing else is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1_000.0
        self.steps = 0
        self._clock_resolution = 1e-6
        self._selector = self

    def time(self) -> float:
        """Seconds that have passed, and a thousand."""
        return self.now_s

    def select(self, timeout_s: float | None) -> list[Any]:
        """What the base class calls when it has nothing to do for so long."""
        self.steps += 1
        if timeout_s is None:
            raise DeadlockError
        if self.steps > STEPS_MAX:
            raise LivelockError
        self.now_s += timeout_s
        return []

    def _process_events(self, _events: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody has to be woken: there is one thread."""


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function, run in a loop of its own; it must leave no task behind."""

    @functools.wraps(test)
    def run(*args: Any, **options: Any) -> None:
        async def whole() -> None:
            await test(*args, **options)
            await passing(0.0)
            left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            assert left == [], "tasks were left behind"

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(whole())

    return run


def now_s() -> float:
    """The clock of the running loop."""
    return asyncio.get_running_loop().time()


async def passing(seconds: float) -> None:
    """Let time pass."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(seconds, over.set_result, None)
    await over
