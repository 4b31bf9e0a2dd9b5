"""A replica for programs without an event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from parasync.errors import UsageError
from parasync.protocol import Envelope, GapPolicy, Version
from parasync.runtime import _synced as runtime
from parasync.runtime._cell import Cell
from parasync.runtime._readable import Readable
from parasync.runtime._recorder import Recorder
from parasync.runtime._recovery import Pace
from parasync.runtime._session import BlockingReads, current
from parasync.runtime._sources import Refetch
from parasync.runtime._views import Change
from parasync.threads._bus import Bus, place_of
from parasync.threads._changes import Changes
from parasync.threads._home import CALL_TIMEOUT_S, FORKED
from parasync.threads._outside import Outside
from parasync.topic import Ref
from parasync.transports._protocol import SyncTransport, Unsubscribe

T = TypeVar("T")


class synced(Outside, Readable[T]):
    """A live copy of one object that any thread reads, and any thread but that of the loop waits for.

    Reads are plain attributes and never block. Waits raise after `timeout_s` seconds; None waits as long as it takes.

    Args:
        ref: the object, e.g. `USERS["123"]`.
        bus: what `connect` returned, or an `InProcessTransport`.
        seed: see `parasync.synced`, as for all that follow.
        refetch: called in the loop thread; a plain function must not block.
        cell: set in the loop thread.
        gap: what to do when a version was lost on the way.
        pace: how often to ask and how long to wait.
        stale_after_s: the age of a proof in seconds beyond which the status is `STALE`.
        recorder: records what the replica takes in.

    Raises:
        UsageError: called in the loop thread, or with a bus of another process; else as for `parasync.synced`.
        InvalidKeyError, ClosedError, ParseError, SchemaSkewError: as for `parasync.synced`.
    """

    _inner: runtime.synced[T]

    def __init__(
        self,
        ref: Ref[T],
        bus: Bus | SyncTransport,
        *,
        seed: Envelope[Any] | None = None,
        refetch: Refetch | None = None,
        cell: Cell[T] | None = None,
        gap: GapPolicy = "refetch",
        pace: Pace | None = None,
        stale_after_s: float | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._home, transport = place_of(bus)

        def make() -> runtime.synced[T]:
            return runtime.synced(
                ref, transport, seed=seed, refetch=refetch, cell=cell, gap=gap, pace=pace, stale_after_s=stale_after_s,
                recorder=recorder,
            )  # fmt: skip

        self._inner = self._home.enter(make, CALL_TIMEOUT_S, "a replica")
        super().__init__(ref, self._inner._seat)
        self._home.replicas.add(self)

    def ready(self, timeout_s: float | None = CALL_TIMEOUT_S) -> T:
        """Wait for the first good value.

        Raises:
            AskTimeoutError: no value came in time; `reason` tells why.
            ClosedError: the replica or its bus was closed.
            UsageError: `timeout_s` is no number, or called in the loop thread or in a forked process.
        """
        return self._home.wait(lambda: self._inner.ready(timeout_s), timeout_s, f"a first value of {self.key!r}")

    def fresh(self, max_stale_s: float = 0.0, timeout_s: float | None = CALL_TIMEOUT_S) -> T:
        """The value, proven to be current not longer than `max_stale_s` seconds ago; asks if the proof is older.

        Raises:
            NoAuthorityError, ParseError, DeletedError: see `parasync.synced.fresh`.
            AskTimeoutError, ClosedError, UsageError: as for `ready`.
        """
        return self._home.wait(lambda: self._inner.fresh(max_stale_s, timeout_s), timeout_s, f"a proof of {self.key!r}")

    def at_least(self, version: Version, timeout_s: float | None = CALL_TIMEOUT_S) -> T:
        """The value once the replica is at this version or a later one.

        Raises:
            HistoryLostError, DeletedError: see `parasync.synced.at_least`.
            AskTimeoutError, ClosedError, UsageError: as for `ready`.
        """
        return self._home.wait(lambda: self._inner.at_least(version, timeout_s), timeout_s, f"a version of {self.key!r}")

    def when_idle(self, timeout_s: float | None = CALL_TIMEOUT_S) -> None:
        """Wait until nothing is under way: no need is open, and no listener is being called.

        Raises:
            AskTimeoutError, ClosedError, UsageError: as for `ready`.
        """
        self._home.wait(lambda: self._inner.when_idle(timeout_s), timeout_s, f"idleness of {self.key!r}")

    def subscribe(self, listener: Callable[[Change[T]], None]) -> Unsubscribe:
        """Call a function with every later change, in order, in the loop thread; it must not block: it would hold up everybody.

        Raises:
            ClosedError: the replica was closed.
            UsageError: the listener is not a plain function.
        """
        return self._home.run(lambda: self._inner.subscribe(listener), "a subscription")

    def changes(self, since: Version | None = None, timeout_s: float | None = None) -> Changes[T]:
        """An iterator over the changes from now on, or over what is newer than `since`; it ends with the replica.

        Args:
            since: the version that the reader has seen; None begins with what comes next.
            timeout_s: how long each change may take to come, in seconds; then `AskTimeoutError`, after which it can go on.

        Raises:
            ClosedError: the replica was closed.
            UsageError: `since` is not a version, or `timeout_s` no number.
        """
        return Changes(self._home, lambda: self._inner.changes(since), timeout_s, f"a change of {self.key!r}")

    def _orphan(self) -> None:
        """See `Outer`: what is read of a replica that hears nothing any more would be wrong for ever."""
        self._member = self._newest = self._seat = Orphan()  # type: ignore[assignment]
        # It may hold a lock of a thread that was not forked; without it, nothing is done when the replica is dropped.
        del self._inner._member

    def __repr__(self) -> str:
        return f"<synced {self.key!r} of another process>" if self._home.orphaned else super().__repr__()


class Orphan:
    """Stands for what belongs to the parent of a forked process."""

    def __getattr__(self, name: str) -> NoReturn:
        raise UsageError(FORKED)


def reads(replica: BlockingReads[T]) -> T:
    """As `parasync.http.reads`, for what this module makes: the value, at least as new as what the client has seen.

    Args:
        replica: e.g. `synced(USERS["1"], bus)` or `users.one("1")`.

    Raises:
        AskTimeoutError: that did not come in time, and the session refuses what is late.
        NotReadyError: no value has arrived yet.
        DeletedError: the object was deleted, or never existed.
    """
    session = current()
    if session is not None:
        session.wait_blocking(replica)
    return replica.value
