"""A mirror for programs without an event loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

from parasync.protocol import GapPolicy, Version
from parasync.runtime import _mirror as runtime
from parasync.runtime._mirror_file import MirrorSnapshot
from parasync.runtime._mirror_views import Loaded, MirrorChange
from parasync.runtime._mirrored import Mirrored, MirroredObject
from parasync.runtime._recovery import Pace
from parasync.threads._bus import Bus, place_of
from parasync.threads._changes import MirrorChanges
from parasync.threads._home import CALL_TIMEOUT_S
from parasync.threads._outside import Outside
from parasync.threads._synced import Orphan
from parasync.topic import Topic
from parasync.transports._protocol import SyncTransport, Unsubscribe

T = TypeVar("T")


class mirror(Outside, Mirrored[T], Generic[T]):
    """A live copy of all objects of a topic that any thread reads, and any thread but that of the loop waits for.

    Reads never block. Waits raise after `timeout_s` seconds; None waits as long as it takes.

    Args:
        topic: the objects, e.g. `USERS`.
        bus: what `connect` returned, or an `InProcessTransport`.
        pattern: see `parasync.mirror`, as for all that follow.
        warm: a file is read in the calling thread.
        gap: what to do when a version was lost on the way.
        pace: how often to ask and how long to wait.
        stale_after_s: the age of a proof in seconds beyond which the status is `STALE`.
        progress: called in the loop thread; it must not block.

    Raises:
        UsageError: called in the loop thread, or with a bus of another process; else as for `parasync.mirror`.
        InvalidKeyError, SnapshotError, ClosedError: as for `parasync.mirror`.
    """

    _inner: runtime.mirror[T]

    def __init__(
        self,
        topic: Topic[T],
        bus: Bus | SyncTransport,
        *,
        pattern: str | None = None,
        warm: MirrorSnapshot[T] | str | os.PathLike[str] | None = None,
        gap: GapPolicy = "refetch",
        pace: Pace | None = None,
        stale_after_s: float | None = None,
        progress: Callable[[Loaded], None] | None = None,
    ) -> None:
        self._home, transport = place_of(bus)
        if isinstance(warm, str | os.PathLike) and isinstance(topic, Topic):
            warm = MirrorSnapshot.load(warm, topic)

        def make() -> runtime.mirror[T]:
            return runtime.mirror(
                topic, transport, pattern=pattern, warm=warm, gap=gap, pace=pace, stale_after_s=stale_after_s, progress=progress
            )

        self._inner = self._home.enter(make, CALL_TIMEOUT_S, "a mirror")
        self._name = self._inner._seat.name
        super().__init__(topic, pattern, self._inner._seat)
        self._home.replicas.add(self)

    def ready(self, timeout_s: float | None = CALL_TIMEOUT_S) -> None:
        """Wait until the first load is done.

        Raises:
            AskTimeoutError: it was not done in time; `reason` tells why.
            ClosedError: the mirror or its bus was closed.
            UsageError: `timeout_s` is no number, or called in the loop thread or in a forked process.
        """
        self._home.wait(lambda: self._inner.ready(timeout_s), timeout_s, f"the first load of {self._name!r}")

    def fresh(self, max_stale_s: float = 0.0, timeout_s: float | None = CALL_TIMEOUT_S) -> None:
        """Wait until all objects are proven to be current not longer than `max_stale_s` seconds ago; asks if that is longer.

        Raises:
            AskTimeoutError, ClosedError, UsageError: as for `ready`.
        """
        self._home.wait(lambda: self._inner.fresh(max_stale_s, timeout_s), timeout_s, f"a proof of {self._name!r}")

    def at_least(self, version: Version, ident: str, timeout_s: float | None = CALL_TIMEOUT_S) -> T:
        """An object once it is at this version or a later one.

        Raises:
            HistoryLostError, DeletedError: see `parasync.mirror.at_least`.
            AskTimeoutError, ClosedError, UsageError: as for `ready`.
        """
        return self._home.wait(
            lambda: self._inner.at_least(version, ident, timeout_s), timeout_s, f"a version in {self._name!r}"
        )

    def when_idle(self, timeout_s: float | None = CALL_TIMEOUT_S) -> None:
        """Wait until nothing is under way: no need is open, and no listener is being called.

        Raises:
            AskTimeoutError, ClosedError, UsageError: as for `ready`.
        """
        self._home.wait(lambda: self._inner.when_idle(timeout_s), timeout_s, f"idleness of {self._name!r}")

    def one(self, ident: str) -> MirrorObject[T]:
        """One object as if it were a replica, e.g. for `reads(users.one("1"))`.

        Args:
            ident: its id; there need not be such an object.
        """
        return MirrorObject(self, ident)

    def find(self, key: str) -> MirrorObject[T] | None:
        """`one` by the key, None where the key is not one of those that are mirrored: the `find=` of a session of requests.

        Args:
            key: e.g. `"user:123"`.

        Raises:
            UsageError: this process was forked from the one that made it.
        """
        ident = self._id_of(key)
        return None if ident is None else MirrorObject(self, ident)

    def subscribe(self, listener: Callable[[MirrorChange[T]], None]) -> Unsubscribe:
        """Call a function with every later change, in the loop thread; it must not block: it would hold up everybody.

        Raises:
            ClosedError: the mirror was closed.
            UsageError: the listener is not a plain function.
        """
        return self._home.run(lambda: self._inner.subscribe(listener), "a subscription")

    def changes(self, timeout_s: float | None = None) -> MirrorChanges[T]:
        """An iterator over the changes from now on; those of one object that wait for the reader become one.

        Args:
            timeout_s: how long each change may take to come, in seconds; then `AskTimeoutError`, after which it can go on.

        Raises:
            ClosedError: the mirror was closed.
            UsageError: `timeout_s` is no number.
        """
        return MirrorChanges(self._home, self._inner.changes, timeout_s, f"a change of {self._name!r}")

    def _orphan(self) -> None:
        """See `Outer`: what is read of a mirror that hears nothing any more would be wrong for ever."""
        self._seat = self._core = self._held = Orphan()  # type: ignore[assignment]
        # It may hold a lock of a thread that was not forked; without it, nothing is done when the mirror is dropped.
        del self._inner._seat

    def __repr__(self) -> str:
        return f"<mirror {self._name!r} of another process>" if self._home.orphaned else super().__repr__()


class MirrorObject(MirroredObject[T], Generic[T]):
    """One object of a mirror, as a replica whose waits block. Made by `mirror.one` and `mirror.find`.

    Args:
        mirror: that holds it.
        ident: its id.
    """

    __slots__ = ()
    _mirror: mirror[T]

    def at_least(self, version: Version, timeout_s: float | None = CALL_TIMEOUT_S) -> T:
        """See `mirror.at_least`.

        Raises:
            ParasyncError: as for `mirror.at_least`.
        """
        return self._mirror.at_least(version, self._ident, timeout_s)
