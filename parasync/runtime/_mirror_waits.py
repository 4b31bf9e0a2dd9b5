"""Calls of a mirror that wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from parasync.errors import ClosedError, DeletedError, HistoryLostError, UsageError
from parasync.protocol import Held, Version
from parasync.runtime._checks import check_wait
from parasync.runtime._mirrored import Mirrored, MirroredObject
from parasync.runtime._mirroring import Mirroring
from parasync.runtime._watch import Watch

T = TypeVar("T")
R = TypeVar("R")


class Waits(Mirrored[T], Generic[T]):
    """What can be awaited of a mirror."""

    _mirroring: Mirroring

    async def ready(self, timeout_s: float | None = None) -> None:
        """Wait until the first load is done, as long as it takes or `timeout_s` seconds.

        Args:
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.

        Raises:
            AskTimeoutError: it was not done in time; `reason` tells why.
            ClosedError: the mirror or its transport was closed.
            UsageError: `timeout_s` is no number.
        """
        await self._until(lambda: self._core.loaded, timeout_s, "the first load")

    async def fresh(self, max_stale_s: float = 0.0, timeout_s: float | None = None) -> None:
        """Wait until all objects are proven to be current not longer than `max_stale_s` seconds ago; asks if that is longer.

        Objects of which the newest version cannot be read do not hinder that: the status is `SKEW` then.

        Args:
            max_stale_s: how old the proof may be, in seconds; 0 asks in any case where something can be lost.
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.

        Raises:
            AskTimeoutError: no proof came within `timeout_s` seconds.
            ClosedError: the mirror or its transport was closed.
            UsageError: a time is no number.
        """
        check_wait("max_stale_s", max_stale_s)
        self._check_open()
        rules = self._core.rules
        surely = rules.lossless and not rules.need_open
        if not (surely or self.age_s < max_stale_s) or not self._core.proven:
            since_s = self._seat.pace.clock() - max_stale_s
            number = self._demand("a read demands fresh values")

            def proven() -> bool:
                nonlocal number
                if rules.needs_closed < number:
                    return False
                # While a store is slow, an authority answers for an earlier moment.
                late = self.age_s > self._seat.pace.clock() - since_s
                if late:
                    number = self._seat.doubt("the proof is older than a read demands")
                return not late

            await self._until(proven, timeout_s, "a proof")

    async def at_least(self, version: Version, ident: str, timeout_s: float | None = None) -> T:
        """An object once it is at this version or a later one: read what another service has just written.

        Args:
            version: e.g. what `put` returned, or `Version.parse(text)`.
            ident: the id of the object.
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.

        Raises:
            HistoryLostError: the authority lost the history in which this version was written.
            AskTimeoutError: the version did not come within `timeout_s` seconds.
            DeletedError: the object is gone in the version that came.
            ClosedError: the mirror or its transport was closed.
            UsageError: `version` is not a version, or `timeout_s` no number.
        """
        if not isinstance(version, Version):
            raise UsageError(f"got a {type(version).__name__}, expected a Version")
        key = self._key(ident)
        if self._at(version, key) is None:
            self._check_open()
            self._demand("a read demands a version")
        held = await self._until(lambda: self._at(version, key), timeout_s, f"version {version}")
        if not hasattr(held, "value"):
            raise DeletedError(f"{key!r} was deleted, or never existed", held.version)
        return held.value

    async def when_idle(self, timeout_s: float | None = None) -> None:
        """Wait until nothing is under way: no need is open, and no listener is being called.

        Args:
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.

        Raises:
            AskTimeoutError: it did not become idle within `timeout_s` seconds; `reason` tells why.
            ClosedError: the mirror or its transport was closed.
            UsageError: `timeout_s` is no number.
        """
        await self._until(lambda: not self._core.rules.need_open and not self._seat.calling, timeout_s, "idleness")

    def one(self, ident: str) -> MirrorObject[T]:
        """One object as if it were a replica, e.g. for `parasync.http.reads(users.one("1"))`.

        Args:
            ident: its id; there need not be such an object.
        """
        return MirrorObject(self, ident)

    def find(self, key: str) -> MirrorObject[T] | None:
        """`one` by the key, None where the key is not one of those that are mirrored: the `find=` of a session of requests.

        Args:
            key: e.g. `"user:123"`.
        """
        ident = self._id_of(key)
        return None if ident is None else MirrorObject(self, ident)

    def _check_open(self) -> None:
        if self._core.rules.closed:
            raise ClosedError(f"the mirror of {self._seat.name!r} was closed")

    def _demand(self, reason: str) -> int:
        number = self._seat.doubt(reason)
        self._mirroring.demand()
        return number

    def _at(self, version: Version, key: str) -> Held[T] | None:
        """What is known of an object, if that is this version or a later one of a history that contains it."""
        core = self._core
        held = core.place(key)
        # What was saved counts for nothing until it is proven.
        reached = held is not None and held.version >= version and (core.proven or not core.loaded)
        # A floor is a version of some other object: that this one is gone there, only a history says that goes on.
        if reached and held is not None and version.epoch == held.epoch and key in core.held:
            return held
        if version.epoch < core.history_epoch:
            raise HistoryLostError(f"version {version} was lost: its history begins at {core.history_epoch}")
        return held if reached and held is not None and core.told_by >= held.epoch else None

    async def _until(self, done: Callable[[], R | None], timeout_s: float | None, what: str) -> R:
        """What the function returns as soon as that is true."""

        def check_open() -> None:
            self._check_open()
            if self._seat.over:
                raise ClosedError(f"the transport of {self._seat.name!r} was closed")

        def late() -> str:
            return f"{what} of {self._seat.name!r}: {self.reason or 'nothing came'}"

        return await Watch(self._seat.watch).until(done, timeout_s, check_open, late)


class MirrorObject(MirroredObject[T], Generic[T]):
    """One object of a mirror, as a replica that can be waited for. Made by `mirror.one` and `mirror.find`.

    Args:
        mirror: that holds it.
        ident: its id.
    """

    __slots__ = ()
    _mirror: Waits[T]

    async def at_least(self, version: Version, timeout_s: float | None = None) -> T:
        """Its value once it is at this version or a later one; see `mirror.at_least`.

        Args:
            version: e.g. what `put` returned, or `Version.parse(text)`.
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.

        Raises:
            HistoryLostError: the authority lost the history in which this version was written.
            AskTimeoutError: the version did not come within `timeout_s` seconds.
            DeletedError: the object is gone in the version that came.
            ClosedError: the mirror or its transport was closed.
            UsageError: `version` is not a version, or `timeout_s` no number.
        """
        return await self._mirror.at_least(version, self._ident, timeout_s)
