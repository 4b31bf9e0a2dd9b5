"""Changes as an async iterator that never falls behind without saying so."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

import attrs

from parasync.errors import UsageError
from parasync.protocol import ABSENT, Held, Version
from parasync.runtime._bell import Bell, current_loop
from parasync.runtime._group import Group
from parasync.runtime._member import Member
from parasync.runtime._views import Change, change_between, merge
from parasync.transports._protocol import Unsubscribe

T = TypeVar("T")

CHANGES_MAX: Final = 16
"""How many changes wait for a reader; one more, and all of them become one step to the newest, which counts what it skipped."""


class Changes(Generic[T]):
    """The changes of one replica from a given version on; an async iterator, and an async context manager that ends it.

    It ends by itself when the replica or its transport is closed, or when nobody holds it any more. It is used in one event
    loop.
    """

    def __init__(self, member: Member[T], group: Group, since: Version | None) -> None:
        self._stop: tuple[Unsubscribe, ...] = ()
        self._member = member
        self._group = group
        self._since = since
        self._base = member.held
        self._waiting: deque[Change[T]] = deque()
        self._bell: Bell | None = None
        self._ended = False
        self._lock = threading.Lock()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change[T]:
        bell = self._begin()
        while True:
            # Read before looking for changes: what was pushed before the end is still served.
            over = self._ended or self._member.closed or self._group.over
            with self._lock:
                if self._waiting:
                    return self._waiting.popleft()
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

    def push(self, change: Change[T]) -> None:
        """The replica made a step; called in the order of versions, from any thread."""
        with self._lock:
            self._take(change)
        self.wake()

    def _take(self, change: Change[T]) -> None:
        if self._since is not None:
            if change.version <= self._since:
                return
            change = attrs.evolve(change, skipped=_versions_between(self._since, change.version))
            self._since = None
        self._waiting.append(change)
        if len(self._waiting) > CHANGES_MAX:
            merged = self._waiting.popleft()
            while self._waiting:
                merged = merge(merged, self._waiting.popleft())
            self._waiting.append(merged)

    def _begin(self) -> Bell:
        if self._bell is None:
            self._bell = Bell()
            if not self._ended:
                self._listen()
        elif self._bell.loop is not current_loop():
            raise UsageError("got another event loop, expected the one in which this stream was begun: make a stream in each")
        return self._bell

    def _listen(self) -> None:
        push = _WeakPush(self)
        # Other threads push only after what was held when the listening began.
        with self._lock:
            unlisten, held = self._group.listen(self._member, push)
            self._stop = (unlisten, self._group.watch(self._member, push))
            base, self._base = (self._base if self._since is None else None), None
            never_was = base is None and held is not None and held.version == ABSENT
            if held is not None and not never_was and not _says_the_same(base, held):
                self._take(change_between(base, held, "since"))

    def _detach(self) -> None:
        for stop in self._stop:
            stop()

    def __del__(self) -> None:
        self._detach()


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


def _says_the_same(base: Held[Any] | None, held: Held[Any]) -> bool:
    """Whether nothing changed: an answer that confirms what is shown replaces all but the value."""
    return base is held or (
        base is not None
        and base.version == held.version
        and base.kind is held.kind
        and getattr(base, "value", None) is getattr(held, "value", None)
    )


def _versions_between(first: Version, second: Version) -> int | None:
    return second.sequence - first.sequence - 1 if first.epoch == second.epoch else None
