"""Lets a coroutine wait until something becomes true of what is fed from other threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from parasync.errors import AskTimeoutError
from parasync.runtime._bell import Bell
from parasync.runtime._checks import check_wait
from parasync.transports._protocol import Unsubscribe

R = TypeVar("R")


class Watch:
    """Wakes one coroutine after every step; used as a context manager in the loop of that coroutine.

    Args:
        subscribes: each makes that a function is called after steps, from any thread, and returns what ends that.
    """

    def __init__(self, *subscribes: Callable[[Callable[..., None]], Unsubscribe]) -> None:
        self._subscribes = subscribes
        self._bell = Bell()
        self._ends: list[Unsubscribe] = []

    def __enter__(self) -> Self:
        for subscribe in self._subscribes:
            self._ends.append(subscribe(self.poke))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for end in self._ends:
            end()

    def poke(self, _: Any = None) -> None:
        """There was a step; from any thread."""
        self._bell.ring()

    async def step(self) -> None:
        """Wait for the next step since the last call."""
        await self._bell.heard()

    async def until(
        self, done: Callable[[], R | None], timeout_s: float | None, check_open: Callable[[], None], late: Callable[[], str]
    ) -> R:
        """What a function returns as soon as that is true; to be called outside of the context.

        Args:
            done: looks whether it is so.
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.
            check_open: raises where nothing will come any more.
            late: what was waited for, and why it did not come.

        Raises:
            AskTimeoutError: it was not so in time.
            ClosedError: what `check_open` raises.
            UsageError: `timeout_s` is no number.
        """
        if timeout_s is not None:
            check_wait("timeout_s", timeout_s)
        if found := done():
            return found
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                with self:
                    while not (found := done()):
                        check_open()
                        await self.step()
                    return found
        except TimeoutError:
            if not deadline.expired():
                raise
            raise AskTimeoutError(f"waited {timeout_s:g} s for {late()}", timeout_s) from None
