"""Changes as an async iterator that never falls behind without saying so."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from asyncio import AbstractEventLoop
from collections import deque
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from parasync.errors import UsageError
from parasync.protocol import Held, Version
from parasync.runtime._group import Group, Member
from parasync.runtime._views import Change, change_between, merge
from parasync.transports._protocol import Unsubscribe

T = TypeVar("T")

CHANGES_MAX: Final = 16
"""How many changes wait for a reader; one more, and all of them become one step to the newest, which counts what it skipped."""


class Changes(Generic[T]):
    """The changes of one replica from a given version on; an async iterator, and an async context manager that ends it.

    It ends by itself when the replica is closed, or when nobody holds it any more. It is used in one event loop.
    """

    def __init__(self, member: Member[T], group: Group, since: Version | None) -> None:
        self._member = member
        self._group = group
        self._since = since
        self._base = member.held
        self._waiting: deque[Change[T]] = deque()
        self._stop: tuple[Unsubscribe, ...] = ()
        self._loop: AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._thread = 0
        self._ended = False
        self._lock = threading.Lock()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change[T]:
        wake = self._begin()
        while True:
            # Read before looking for changes: what was pushed before the end is still served.
            over = self._ended or self._member.closed
            with self._lock:
                if self._waiting:
                    return self._waiting.popleft()
            if over:
                self.end()
                raise StopAsyncIteration
            await wake.wait()
            wake.clear()

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Stop; may be called again, and from any thread."""
        self._ended = True
        self.__del__()
        self.wake()

    def wake(self) -> None:
        """Let the reader look again; from any thread."""
        if self._loop is None or self._wake is None:
            return
        if threading.get_ident() == self._thread:
            self._wake.set()
        else:
            with contextlib.suppress(RuntimeError):  # the loop of the reader has ended
                self._loop.call_soon_threadsafe(self._wake.set)

    def push(self, change: Change[T]) -> None:
        """The replica made a step; called in the order of versions, from any thread."""
        if self._since is not None and change.version <= self._since:
            return
        with self._lock:
            self._take(change)
        self.wake()

    def _take(self, change: Change[T]) -> None:
        self._waiting.append(change)
        if len(self._waiting) > CHANGES_MAX:
            merged = self._waiting.popleft()
            while self._waiting:
                merged = merge(merged, self._waiting.popleft())
            self._waiting.append(merged)

    def _begin(self) -> asyncio.Event:
        loop = asyncio.get_running_loop()
        if self._wake is None:
            self._loop, self._wake, self._thread = loop, asyncio.Event(), threading.get_ident()
            push = _WeakPush(self)
            # Other threads push only after what was held when the listening began.
            with self._lock:
                unlisten, held = self._group.listen(self._member, push)
                self._stop = (unlisten, self._group.watch(self._member, push))
                if held is not None and held is not self._base and self._since is None:
                    self._take(change_between(self._base, held, "since"))
                elif held is not None and self._since is not None and held.version > self._since:
                    self._take(_since(held, self._since))
        elif self._loop is not loop:
            raise UsageError("got another event loop, expected the one in which this stream was begun: make a stream in each")
        return self._wake

    def __del__(self) -> None:
        for stop in self._stop:
            stop()


class _WeakPush:
    """Pushes to a stream as long as somebody holds it, so that a forgotten stream does not fill for ever."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Changes[Any]) -> None:
        self._stream = weakref.ref(stream)

    def __call__(self, change: Change[Any] | None = None) -> None:
        stream = self._stream()
        if stream is None:
            return
        if change is None:
            stream.wake()
        else:
            stream.push(change)


def _since(held: Held[T], since: Version) -> Change[T]:
    change: Change[T] = change_between(None, held, "since")
    change.skipped = held.sequence - since.sequence - 1 if held.epoch == since.epoch else None
    return change
