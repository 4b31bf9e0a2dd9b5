"""The changes of a mirror as an async iterator, which keeps the newest step of each object for a reader that is slow."""

from __future__ import annotations

import threading
import weakref
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from parasync.errors import UsageError
from parasync.runtime._bell import Bell, current_loop
from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._mirror_views import MirrorChange
from parasync.runtime._views import merge
from parasync.transports._protocol import Unsubscribe

T = TypeVar("T")


class MirrorChanges(Generic[T]):
    """The changes of a mirror from now on; an async iterator, and an async context manager that ends it.

    Several steps of one object that wait for the reader become one, which says how many it skipped, so that no more wait than
    there are objects. It ends by itself when the mirror or its transport is closed, or when nobody holds it any more. It is
    used in one event loop.
    """

    def __init__(self, seat: MirrorSeat[T]) -> None:
        self._seat = seat
        self._waiting: dict[str, MirrorChange[T]] = {}
        self._lock = threading.Lock()
        self._bell: Bell | None = None
        self._ended = False
        push = _WeakPush(self)
        unlisten, _ = seat.listen(push)
        self._stop: tuple[Unsubscribe, ...] = (unlisten, seat.watch(push))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MirrorChange[T]:
        bell = self._begin()
        while True:
            # Read before looking for changes: what was pushed before the end is still served.
            over = self._ended or self._seat.core.rules.closed or self._seat.over
            with self._lock:
                for key in self._waiting:
                    return self._waiting.pop(key)
            if over:
                self.end()
                raise StopAsyncIteration
            await bell.heard()

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
        for stop in self._stop:
            stop()
        self.wake()

    def wake(self) -> None:
        """Let the reader look again; from any thread."""
        if self._bell is not None:
            self._bell.ring()

    def push(self, change: MirrorChange[T]) -> None:
        """An object made a step; from any thread."""
        with self._lock:
            waiting = self._waiting.get(change.key)
            if waiting is not None:
                merged = merge(waiting, change)
                assert isinstance(merged, MirrorChange)  # noqa: S101  # as both are
                change = merged
            self._waiting[change.key] = change
        self.wake()

    def _begin(self) -> Bell:
        if self._bell is None:
            self._bell = Bell()
        elif self._bell.loop is not current_loop():
            raise UsageError("got another event loop, expected the one in which this stream was begun: make a stream in each")
        return self._bell

    def __del__(self) -> None:
        for stop in getattr(self, "_stop", ()):
            stop()


class _WeakPush:
    """Pushes to a stream as long as somebody holds it, so that a forgotten stream does not fill for ever."""

    __slots__ = ("_stream",)

    def __init__(self, stream: MirrorChanges[Any]) -> None:
        self._stream = weakref.ref(stream)

    def __call__(self, change: MirrorChange[Any] | None = None) -> None:
        stream = self._stream()
        if stream is None:
            return
        if change is None:
            stream.wake()
        else:
            stream.push(change)
