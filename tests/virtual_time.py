"""Tests in virtual time: `parasync.testing.run` as a decorator."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Callable, Coroutine
from typing import Any, Final

from parasync.testing import run

# Which of the tasks that are ready goes on, is drawn: no test may depend on it. A test that fails tells the seed.
# VIRTUAL_TIME_SEED=7 draws otherwise, and VIRTUAL_TIME_SEED=asyncio keeps to the order of asyncio.
_SEED = os.environ.get("VIRTUAL_TIME_SEED", "0")
SEED: Final = None if _SEED == "asyncio" else int(_SEED)


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function, run in a loop of its own; it must leave no task behind."""

    @functools.wraps(test)
    def plain(*args: Any, **options: Any) -> None:
        run(functools.partial(test, *args, **options), seed=SEED)

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
