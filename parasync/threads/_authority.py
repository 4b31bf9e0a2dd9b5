"""An authority for programs without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from parasync.errors import AskTimeoutError, ConflictError, IndeterminateError, UsageError
from parasync.protocol import NO_META, Version
from parasync.runtime import _authority as runtime
from parasync.runtime._authority import UPDATE_ATTEMPTS_MAX
from parasync.runtime._checks import check_change
from parasync.runtime._office import Terms
from parasync.runtime._remote_writes import RemoteWriter
from parasync.runtime._views import Snapshot
from parasync.stores import Store
from parasync.threads._bus import Bus, place_of
from parasync.threads._home import CALL_TIMEOUT_S, FORKED
from parasync.topic import Topic
from parasync.transports._protocol import SyncTransport

T = TypeVar("T")


class authority(Generic[T]):
    """The one writer of a topic, for any thread but that of the loop; it serves from construction until `close`.

    Each call waits for `timeout_s` seconds at most; None waits as long as it takes.

    Args:
        topic: what it owns.
        bus: what `connect` returned, or an `InProcessTransport`.
        store: where it keeps the objects; by default in memory, which a restart loses.
        loading: neither answer nor claim to be complete before `loaded()` is called.
        remote_writes: see `parasync.authority`; a function is called in the loop.
        terms: times and limits.
        timeout_s: how long it may take until it serves, in seconds.

    Raises:
        AskTimeoutError: it does not serve within `timeout_s` seconds.
        UsageError: an argument is not of its type, called in the loop thread, or with a bus of another process.
        FencedError, StoreError, TransportError: as for `parasync.authority`.
    """

    def __init__(
        self,
        topic: Topic[T],
        bus: Bus | SyncTransport,
        *,
        store: Store | None = None,
        loading: bool = False,
        remote_writes: bool | RemoteWriter[T] = False,
        terms: Terms | None = None,
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> None:
        self._home, transport = place_of(bus)

        def make() -> runtime.authority[T]:
            return runtime.authority(
                topic, transport, store=store, loading=loading, remote_writes=remote_writes, terms=terms
            )

        self._inner: runtime.authority[T] = self._home.enter(make, timeout_s, "an authority to serve")
        self._orphaned = False
        self._home.kept[self] = None

    @property
    def topic(self) -> Topic[T]:
        """What it owns."""
        return self._inner.topic

    @property
    def epoch(self) -> int:
        """The epoch that its writes carry."""
        return self._inner.epoch

    @property
    def serving(self) -> bool:
        """Whether it may write: in this process, not closed, and not fenced."""
        return self._inner.serving and not self._orphaned

    def loaded(self) -> None:
        """The first objects are there: answer from now on.

        Raises:
            UsageError: this process was forked from the one that made it.
        """
        self._home.run(self._inner.loaded, "the end of loading")

    def put(
        self,
        ident: str | None,
        value: T,
        *,
        expected: Version | None = None,
        idempotency_key: str | None = None,
        meta: Mapping[str, str] = NO_META,
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> Version:
        """Write an object; see `parasync.authority.put`.

        Raises:
            IndeterminateError: it took longer than `timeout_s` seconds; the write may have happened.
            UsageError: called in the loop thread or in a forked process.
            ParasyncError: as for `parasync.authority.put`.
        """
        inner = self._inner
        return self._write(
            lambda: inner.put(ident, value, expected=expected, idempotency_key=idempotency_key, meta=meta), timeout_s
        )

    def delete(
        self,
        ident: str | None,
        *,
        expected: Version | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> Version:
        """Delete an object; see `parasync.authority.delete`.

        Raises:
            DeletedError: there is no such object.
            ParasyncError: as for `put`.
        """
        inner = self._inner
        return self._write(lambda: inner.delete(ident, expected=expected, idempotency_key=idempotency_key), timeout_s)

    def get(self, ident: str | None, *, timeout_s: float | None = CALL_TIMEOUT_S) -> Snapshot[T]:
        """The object as it is stored, with its version; see `parasync.authority.get`.

        Raises:
            AskTimeoutError: it took longer than `timeout_s` seconds.
            DeletedError: there is no such object.
            ParasyncError: as for `parasync.authority.get`.
        """
        return self._home.call(lambda: self._inner.get(ident), timeout_s, "the store")

    def update(
        self,
        ident: str | None,
        change: Callable[[T], T],
        *,
        meta: Mapping[str, str] = NO_META,
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> Version:
        """Replace an object by what a function makes of it; tries again when somebody else wrote in between.

        Args:
            ident: the id below the topic, None for the object without one.
            change: gets the current value and returns a new one; called in this thread, where it may block, and perhaps
                several times. It must not change its argument.
            meta: small texts that ride along.
            timeout_s: how long each read and each write may take, in seconds.

        Raises:
            DeletedError: there is no such object.
            ConflictError: others wrote it `UPDATE_ATTEMPTS_MAX` times in a row.
            ParasyncError: as for `put` and `get`.
        """
        check_change(change)
        for attempt in range(UPDATE_ATTEMPTS_MAX):
            current = self.get(ident, timeout_s=timeout_s)
            value = change(current.value)  # type: ignore[arg-type]  # `get` raises where there is no value
            try:
                return self.put(ident, value, expected=current.version, meta=meta, timeout_s=timeout_s)
            except ConflictError:
                if attempt == UPDATE_ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError("unreachable")

    def close(self, timeout_s: float | None = CALL_TIMEOUT_S) -> None:
        """Stop serving; may be called again.

        Raises:
            AskTimeoutError: that took longer than `timeout_s` seconds.
            UsageError: called in the loop thread or in a forked process.
        """
        if self._orphaned:
            raise UsageError(FORKED)
        if not self._home.over:
            self._home.call(self._inner.aclose, timeout_s, "an authority to close")
            self._home.kept.pop(self, None)

    def _orphan(self) -> None:
        """See `Outer`."""
        self._orphaned = True

    async def _end(self) -> None:
        """See `Outer`."""
        await self._inner.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<authority {self.topic.name!r} of another process>" if self._orphaned else repr(self._inner)

    def _write(self, work: Callable[[], Coroutine[Any, Any, Version]], timeout_s: float | None) -> Version:
        try:
            return self._home.call(work, timeout_s, "a write")
        except AskTimeoutError as error:
            raise IndeterminateError(f"{error}: it may have happened") from None
