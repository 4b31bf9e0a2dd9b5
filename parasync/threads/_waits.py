"""The loop behind the threads, and how a thread waits for it."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

SIGNAL_DELAY_MAX_S: Final = 0.5
"""How long it may take until a thread that waits hears a signal such as Ctrl-C, in seconds; mostly it hears it at once."""


def result_of(future: Future[T], timeout_s: float) -> T:
    """Wait in portions: a signal that comes just before a wait begins is heard when that ends, and Ctrl-C must be heard.

    Raises:
        TimeoutError: it took longer.
        BaseException: what the work raised.
    """
    over_s = time.monotonic() + timeout_s
    while True:
        left_s = over_s - time.monotonic()
        try:
            return future.result(max(0.0, min(left_s, SIGNAL_DELAY_MAX_S)))
        except TimeoutError:
            if future.done() or left_s <= SIGNAL_DELAY_MAX_S:
                raise


def new_loop() -> asyncio.AbstractEventLoop:
    """The fastest there is: that of uvloop where the extra `fast` is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
