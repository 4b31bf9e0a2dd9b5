"""Changes for programs without an event loop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from parasync.errors import ClosedError
from parasync.runtime._checks import check_wait
from parasync.runtime._mirror_views import MirrorChange
from parasync.runtime._views import Change
from parasync.threads._home import CALL_TIMEOUT_S, Home

T = TypeVar("T")
Step = TypeVar("Step", bound=Change[Any])
Step_co = TypeVar("Step_co", bound=Change[Any], covariant=True)


class Stream(Protocol[Step_co]):
    """Changes in a loop."""

    async def __aenter__(self) -> object: ...

    async def __anext__(self) -> Step_co: ...

    def end(self) -> None: ...


class _Steps(Generic[Step]):
    """What the changes of a replica and those of a mirror have in common; for one thread at a time.

    Args:
        home: the loop thread.
        make: makes the stream there.
        timeout_s: how long each change may take to come, in seconds.
        what: names a change in an error.

    Raises:
        UsageError: `timeout_s` is no number, or called in the loop thread or in a forked process.
        ClosedError: the replica was closed.
    """

    def __init__(self, home: Home, make: Callable[[], Stream[Step]], timeout_s: float | None, what: str) -> None:
        if timeout_s is not None:
            check_wait("timeout_s", timeout_s)
        self._stream = home.enter(lambda: _Entered(make()), CALL_TIMEOUT_S, "a stream of changes").stream
        self._home = home
        self._timeout_s = timeout_s
        self._what = what

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Step:
        async def step() -> Step | None:
            try:
                return await self._stream.__anext__()
            except StopAsyncIteration:
                return None

        change = None
        with contextlib.suppress(ClosedError):  # the end of the loop thread is the end of the replica too
            change = self._home.call(step, self._timeout_s, self._what)
        if change is None:
            raise StopIteration
        return change

    def close(self) -> None:
        """Stop; may be called again, and from any thread."""
        self._stream.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Changes(_Steps[Change[T]], Generic[T]):
    """The changes of one replica, for one thread at a time; made by `changes`."""


class MirrorChanges(_Steps[MirrorChange[T]], Generic[T]):
    """The changes of a mirror, for one thread at a time; made by `changes`."""


class _Entered(Generic[Step]):
    """A stream that listens from the beginning, as something that a home can enter."""

    def __init__(self, stream: Stream[Step]) -> None:
        self.stream = stream

    async def __aenter__(self) -> Self:
        await self.stream.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stream.end()
