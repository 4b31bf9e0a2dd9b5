"""How any thread wakes a coroutine that waits."""

from __future__ import annotations

import asyncio
import contextlib


def current_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, None where there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Bell:
    """Wakes one coroutine of the loop in which it was made. However often it rings before it is heard, it is heard once."""

    __slots__ = ("_event", "_loop", "_rung")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._rung = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop in which it can be heard."""
        return self._loop

    def ring(self) -> None:
        """Wake the coroutine; from any thread, and never waits."""
        if self._rung:
            return
        self._rung = True
        if current_loop() is self._loop:
            self._event.set()
        else:
            with contextlib.suppress(RuntimeError):  # that loop was closed, and nobody waits in it any more
                self._loop.call_soon_threadsafe(self._event.set)

    async def heard(self) -> None:
        """Wait until it rings, or has rung since it was last heard."""
        await self._event.wait()
        self._event.clear()
        # From here on a ring counts again; who looks for what changed only now, sees what the last one rang for.
        self._rung = False
