"""What all streams of changes have in common: one loop that reads, any thread that pushes, and an end."""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from parasync.errors import UsageError
from parasync.runtime._bell import Bell, current_loop
from parasync.transports._protocol import Unsubscribe

Step = TypeVar("Step")


class Steps(ABC, Generic[Step]):
    """An async iterator over steps that are pushed, and an async context manager that ends it.

    It ends by itself when what it follows is closed, or when nobody holds it any more. It is used in one event loop. What waits
    for the reader, and how much of it, is up to each kind of stream.
    """

    def __init__(self) -> None:
        self._stop: tuple[Unsubscribe, ...] = ()
        self._lock = threading.Lock()
        self._bell: Bell | None = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Step:
        bell = self._begin()
        while True:
            # Read before looking for steps: what was pushed before the end is still served.
            over = self._ended or self._over()
            with self._lock:
                step = self._next()
            if step is not None:
                return step
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
        self._detach()
        self.wake()

    def wake(self) -> None:
        """Let the reader look again; from any thread."""
        if self._bell is not None:
            self._bell.ring()

    def push(self, change: Step) -> None:
        """There was a step; called in the order of versions, from any thread."""
        with self._lock:
            self._take(change)
        self.wake()

    @abstractmethod
    def _over(self) -> bool:
        """Whether what it follows was closed."""

    @abstractmethod
    def _next(self) -> Step | None:
        """Under the lock: the step that has waited longest, None for none."""

    @abstractmethod
    def _take(self, change: Step) -> None:
        """Under the lock: a step waits for the reader."""

    def _listen(self) -> None:  # most have begun when they were made
        """The reader begins to read."""

    def _begin(self) -> Bell:
        if self._bell is None:
            self._bell = Bell()
            if not self._ended:
                self._listen()
        elif self._bell.loop is not current_loop():
            raise UsageError("got another event loop, expected the one in which this stream was begun: make a stream in each")
        return self._bell

    def _detach(self) -> None:
        for stop in self._stop:
            stop()

    def __del__(self) -> None:
        self._detach()


class WeakPush:
    """Pushes to a stream as long as somebody holds it, so that a forgotten stream does not fill for ever."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Steps[Any]) -> None:
        self._stream = weakref.ref(stream)

    def __call__(self, step: Any = None) -> None:
        stream = self._stream()
        if stream is None:
            return
        if step is None:
            stream.wake()
        else:
            stream.push(step)
