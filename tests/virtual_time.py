"""Tests in virtual time, in the order of asyncio: `parasync.testing.run` as a decorator."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from parasync.testing import run


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function, run in a loop of its own; it must leave no task behind."""

    @functools.wraps(test)
    def plain(*args: Any, **options: Any) -> None:
        run(functools.partial(test, *args, **options), seed=None)

    return plain


def now_s() -> float:
    """The clock of the running loop."""
    return asyncio.get_running_loop().time()


async def passing(seconds: float) -> None:
    """Let time pass."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.call_later(seconds, over.set_result, None)
    await over
