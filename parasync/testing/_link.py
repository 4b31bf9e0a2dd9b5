"""How one party is connected to a bus: what is wrong with that connection now, and who waits until it is not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from random import Random
from typing import Any, Final, Literal, NoReturn, Protocol, TypeAlias

from parasync.errors import ParasyncError, TransportError
from parasync.testing._faults import Faults, Span, Strikes, Tally
from parasync.transports._tasks import current_loop, running_loop

Direction: TypeAlias = Literal["incoming", "outgoing"]
Trouble: TypeAlias = Literal["incoming", "outgoing", "disconnect", "hang"]
"""A cut in a direction, no connection, or nothing that moves."""

_UNHEARD_S: Final = 60.0
"""How long anybody waits for what cannot arrive, in seconds; who asked with a timeout has given up before."""

_OUTAGES: Final[dict[str, tuple[Trouble, ...]]] = {"disconnect": ("disconnect",), "hang": ("hang",)}
_PARTITIONS: Final[tuple[tuple[Trouble, ...], ...]] = (("incoming",), ("outgoing",), ("incoming", "outgoing"))


class Drained(Protocol):
    """What is told when a trouble is over."""

    def release(self) -> None:
        """Let go what waits, if nothing holds it any more."""

    def reconnected(self) -> None:
        """There was no connection, and now there is one."""

    def heal(self) -> None:
        """Hold nothing back any more."""


class Link:
    """The state of one party's connection. Any thread may use it; what takes time needs an event loop.

    Args:
        faults: how long things take.
        loop: the event loop of the transport, None where it has none.
    """

    def __init__(self, faults: Faults, loop: Callable[[], asyncio.AbstractEventLoop | None]) -> None:
        self.faults = faults
        self.tally = Tally()
        self.strikes = Strikes()
        self.lock = threading.RLock()
        self.calm = False
        """Whether no fault strikes any more."""
        self.closed = False
        self._bound = loop
        self._loop = current_loop()
        self._lines: dict[Drained, None] = {}
        self._troubles: dict[Trouble, int] = {}
        self._still: asyncio.Event | None = None
        self._waiting: dict[asyncio.Future[None], None] = {}

    def troubled(self, *troubles: Trouble) -> bool:
        """Whether one of these is the case now."""
        return bool(self._troubles) and any(trouble in self._troubles for trouble in troubles)

    @property
    def quiet(self) -> bool:
        """Whether nothing is wrong now."""
        return not self._troubles

    def join(self, line: Drained) -> None:
        """Tell a line from now on."""
        self._lines[line] = None

    def leave(self, line: Drained) -> None:
        """Tell it no more."""
        self._lines.pop(line, None)

    def strike(self, struck: dict[str, Random]) -> None:
        """Let those outages begin that are among what was struck."""
        for kind in ("partition", "disconnect", "hang"):
            if kind in struck:
                chance = struck[kind]
                troubles = _OUTAGES.get(kind) or _PARTITIONS[int(chance.random() * len(_PARTITIONS))]
                self.begin(*troubles)
                self.later(self.faults.outage_s, chance, self.end, *troubles)

    def begin(self, *troubles: Trouble) -> None:
        """Let this be wrong until `end` was called as often."""
        with self.lock:
            for trouble in troubles:
                self._troubles[trouble] = self._troubles.get(trouble, 0) + 1
        if "disconnect" in troubles:
            self._fail(TransportError("there is no connection to the bus now: a fault cut it"))

    def end(self, *troubles: Trouble) -> None:
        """Let this be wrong no more, if nobody else wants it."""
        for trouble in troubles:
            with self.lock:
                left = self._troubles.get(trouble, 0) - 1
                if left > 0:
                    self._troubles[trouble] = left
                    continue
                ended = self._troubles.pop(trouble, None) is not None
            if ended and trouble == "disconnect":
                for line in tuple(self._lines):
                    line.reconnected()
        self.release()

    def heal(self) -> None:
        """Let nothing be wrong, and no fault strike, from now on."""
        self.calm = True
        for line in tuple(self._lines):
            line.heal()
        with self.lock:
            for trouble in self._troubles:
                self._troubles[trouble] = 1
        self.end(*tuple(self._troubles))

    def release(self) -> None:
        """Let everything go on that was waiting for the end of a trouble."""
        for line in tuple(self._lines):
            line.release()
        if self._still is not None and not self.troubled("hang"):
            self._still.set()
            self._still = None

    def later(self, span: Span, chance: Random, call: Callable[..., object], *args: Any) -> None:
        """Call in a time from this span; not at all if the transport was closed.

        Raises:
            UsageError: there is no event loop.
        """
        delay_s = between(span, chance)

        def called() -> None:
            if not self.closed:
                call(*args)

        loop = self._bound() or current_loop() or self._loop or running_loop("a fault that takes time")
        self._loop = loop
        if loop is current_loop():
            loop.call_later(delay_s, called)
        else:
            loop.call_soon_threadsafe(loop.call_later, delay_s, called)

    async def flowing(self) -> None:
        """Wait while nothing moves."""
        while self.troubled("hang"):
            self.tally.hit("hang")
            if self._still is None:
                self._still = asyncio.Event()
            await self._still.wait()

    async def nothing(self) -> NoReturn:
        """Wait for what will never come.

        Raises:
            TransportError: the connection was lost meanwhile, or nobody can wait any more.
            ClosedError: the transport was closed meanwhile.
        """
        loop = asyncio.get_running_loop()
        never: asyncio.Future[None] = loop.create_future()
        self._waiting[never] = None
        over = loop.call_later(_UNHEARD_S, _fail, never, TransportError("a fault kept this from arriving"))
        try:
            await never
        finally:
            over.cancel()
            self._waiting.pop(never, None)
        raise TransportError("a fault kept this from arriving")

    def close(self, error: ParasyncError) -> None:
        """Let nobody wait any more, nor anything come."""
        self.closed = True
        self.calm = True
        self._troubles.clear()
        if self._still is not None:
            self._still.set()
        self._fail(error)

    def _fail(self, error: ParasyncError) -> None:
        for never in tuple(self._waiting):
            loop = never.get_loop()
            if loop is current_loop():
                _fail(never, error)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(_fail, never, error)


def _fail(never: asyncio.Future[None], error: ParasyncError) -> None:
    if not never.done():
        never.set_exception(error)


def between(span: Span, chance: Random) -> float:
    """A time from a span, in seconds."""
    shortest, longest = span
    return shortest + (longest - shortest) * chance.random()
