"""Cancels a coroutine at its first, second, ... await, to see what it leaves behind."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from typing import Any

AWAITS_MAX = 100


@types.coroutine
def _cancelling_at(work: Coroutine[Any, Any, Any], number: int, hit: list[int]) -> Generator[Any, Any, Any]:
    """The coroutine itself, but its task is cancelled when it suspends for the given time."""
    steps = work.__await__()
    resume: Callable[[], Any] = partial(steps.send, None)
    suspended = 0
    while True:
        try:
            waited_for = resume()
        except StopIteration as stop:
            return stop.value
        suspended += 1
        if suspended == number:
            hit.append(number)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        try:
            value = yield waited_for
        except BaseException as error:  # handed on
            resume = partial(steps.throw, error)
        else:
            resume = partial(steps.send, value)


async def sweep(attempt: Callable[[Callable[[Coroutine[Any, Any, Any]], Awaitable[None]]], Awaitable[None]]) -> int:
    """Run `attempt(cancelled)` with a new place to cancel each time, until its coroutine suspends no more often.

    `await cancelled(coroutine)` runs the coroutine, cancels it at the place of this attempt, and returns when it has ended;
    then the attempt looks at what was left behind. Returns how many places there were.
    """
    for number in range(1, AWAITS_MAX):
        hit: list[int] = []

        async def cancelled(work: Coroutine[Any, Any, Any], number: int = number, hit: list[int] = hit) -> None:
            async def run() -> Any:
                return await _cancelling_at(work, number, hit)

            (outcome,) = await asyncio.gather(asyncio.ensure_future(run()), return_exceptions=True)
            if hit:
                assert isinstance(outcome, asyncio.CancelledError), f"cancelled at await {number}, it went on: {outcome!r}"
            elif isinstance(outcome, BaseException):
                raise outcome

        await attempt(cancelled)
        if not hit:
            return number - 1
    raise AssertionError(f"it suspends more than {AWAITS_MAX} times")
