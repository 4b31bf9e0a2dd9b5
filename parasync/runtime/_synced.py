"""`synced[T]`: a live, typed replica of one object."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from parasync.errors import (
    ClosedError,
    DeletedError,
    NoAuthorityError,
    ParseError,
    UsageError,
)
from parasync.protocol import Envelope, GapPolicy, Held, Kind, Version
from parasync.runtime._cell import Cell
from parasync.runtime._checks import check_kind, check_replica, check_wait
from parasync.runtime._readable import Readable
from parasync.runtime._recorder import Recorder
from parasync.runtime._recovery import DEFAULT_PACE, Pace
from parasync.runtime._seat import Seat
from parasync.runtime._sources import Refetch
from parasync.runtime._stream import Changes
from parasync.runtime._tracing import listening, stream_of
from parasync.runtime._views import Change
from parasync.runtime._watch import Watch
from parasync.topic import Ref
from parasync.transports._fanout import check_handler
from parasync.transports._protocol import SyncTransport, Unsubscribe, check_transport

T = TypeVar("T")
R = TypeVar("R")


class synced(Readable[T]):
    """A live copy of one object: typed, never backwards, healing itself, and honest about what it does not know.

    It listens from the moment it is made, in the loop of its bus, or with no loop at all on an in-process transport. Reads are
    plain attributes that any thread may use. `close()`, or leaving the context manager, ends it.

    Args:
        ref: the object, e.g. `USERS["123"]`.
        transport: where it is published.
        seed: an envelope to show at once; it stays provisional (`STALE`) until proven where somebody can be asked.
        refetch: returns the newest envelope, or None if there is none; a plain function that does not block, or an async one.
            By default the authority is asked over the transport.
        cell: where to put each value, so that others can watch it, e.g. a signal.
        gap: what to do when a version was lost on the way: ask for the newest, or trust the one that arrived (`"apply"`).
        pace: how often to ask and how long to wait; replicas of one topic share their asks if they have the same pace.
        stale_after_s: the age of a proof in seconds beyond which the status is `STALE`; by default three beats while beats
            prove, else 1.5 reconcile intervals and one ask.
        recorder: records what the replica takes in, for `parasync replay`.

    Raises:
        UsageError: `transport` is no transport; made in another loop than its own, or with options that contradict each other.
        InvalidKeyError: the key does not follow the grammar.
        ClosedError: the transport was closed.
        ParseError, SchemaSkewError: the seed does not pass the gate.
    """

    __slots__ = ()

    def __init__(
        self,
        ref: Ref[T],
        transport: SyncTransport,
        *,
        seed: Envelope[Any] | None = None,
        refetch: Refetch | None = None,
        cell: Cell[T] | None = None,
        gap: GapPolicy = "refetch",
        pace: Pace | None = None,
        stale_after_s: float | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        if not isinstance(ref, Ref):
            raise UsageError(f'got a {type(ref).__name__}, expected a Ref such as USERS["123"]')
        check_transport(transport)
        check_replica(seed, refetch, cell, gap)
        check_kind("pace", pace, Pace, "Pace(ask_timeout_s=2.0)")
        check_kind("recorder", recorder, Recorder, 'Recorder("ada.rec")')
        pace = pace or DEFAULT_PACE
        if stale_after_s is not None and (not isinstance(stale_after_s, int | float) or not stale_after_s > 0):
            raise UsageError(f"got stale_after_s={stale_after_s!r}, expected a number of seconds above 0")
        seat = Seat(
            ref, transport, pace, seed=seed, refetch=refetch, cell=cell, gap=gap, stale_after_s=stale_after_s, recorder=recorder
        )
        super().__init__(ref, seat)

    # Changes

    def subscribe(self, listener: Callable[[Change[T]], None]) -> Unsubscribe:
        """Call a function with every later change, in order, on the thread that brought it; it must not block.

        What it raises is logged and counted in `stats.handler_errors`. Returns a function that ends the subscription at once.
        A listener that is busy while `LISTENER_PENDING_MAX` changes wait for it gets those beyond as one.

        Args:
            listener: a plain function that gets each change.

        Raises:
            ClosedError: the replica was closed.
            UsageError: the listener is not a plain function.
        """
        self._check_open()
        check_handler(listener)
        return self._seat.group.listen(self._member, listening(self.key, listener))[0]

    def changes(self, since: Version | None = None) -> Changes[T]:
        """An async iterator over the changes from now on, or over what is newer than `since`.

        A reader that falls more than `CHANGES_MAX` behind gets one step to the newest instead, which says how many it skipped.
        It ends when the replica or its transport is closed.

        Args:
            since: the version that the reader has seen; None begins with what comes next.

        Raises:
            ClosedError: the replica was closed.
            UsageError: `since` is not a version.
        """
        self._check_open()
        if since is not None:
            _check_version(since)
        return stream_of(self._member, self._seat.group, since)

    # Waiting

    async def ready(self, timeout_s: float | None = None) -> T:
        """Wait for the first good value, as long as it takes or `timeout_s` seconds.

        Args:
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.

        Raises:
            AskTimeoutError: no value came in time; `reason` tells why.
            ClosedError: the replica or its transport was closed.
            UsageError: `timeout_s` is no number.
        """
        return (await self._until(self._showing, timeout_s, "a first value")).value

    async def fresh(self, max_stale_s: float = 0.0, timeout_s: float | None = None) -> T:
        """The value, proven to be current not longer than `max_stale_s` seconds ago; asks if the proof is older.

        Args:
            max_stale_s: how old the proof may be, in seconds; 0 asks in any case.
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.

        Raises:
            NoAuthorityError: there is nobody to ask.
            AskTimeoutError: no proof came within `timeout_s` seconds.
            ParseError: the newest version cannot be read.
            DeletedError: the object was deleted, or never existed.
            ClosedError: the replica or its transport was closed.
            UsageError: the replica was made without an event loop, so that nobody would ask while this waits; or a time is no
                number.
        """
        check_wait("max_stale_s", max_stale_s)
        self._check_open()
        if self.age_s > max_stale_s or self._member.provisional:
            number = self._demand("a read demands a fresh value")
            await self._until(lambda: self._member.needs_closed >= number, timeout_s, "a proof")
        if self._member.refused is not None:
            raise ParseError(f"the newest version cannot be read: {self._member.refused.reason}")
        return self.value

    async def at_least(self, version: Version, timeout_s: float | None = None) -> T:
        """The value once the replica is at this version or a later one: read what another service has just written.

        Args:
            version: e.g. what `put` returned, or `Version.parse(text)`.
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.

        Raises:
            HistoryLostError: the authority lost the history in which this version was written.
            AskTimeoutError: the version did not come within `timeout_s` seconds.
            DeletedError: the object is gone in the version that came.
            ClosedError: the replica or its transport was closed.
            UsageError: `version` is not a version, or `timeout_s` no number.
        """
        _check_version(version)
        if self._member.at(version) is None:
            self._check_open()
            if self._seat.recovery is not None:
                self._demand("a read demands a version")
        held = await self._until(lambda: self._told_at(version), timeout_s, f"version {version}")
        if held.kind is Kind.TOMBSTONE:
            raise DeletedError(f"{self.key!r} was deleted, or never existed", held.version)
        return held.value

    async def when_idle(self, timeout_s: float | None = None) -> None:
        """Wait until nothing is under way: no need is open, and no listener is being called.

        Args:
            timeout_s: how long to wait at most, in seconds; None for as long as it takes.

        Raises:
            AskTimeoutError: it did not become idle within `timeout_s` seconds; `reason` tells why.
            ClosedError: the replica or its transport was closed.
            UsageError: `timeout_s` is no number.
        """
        await self._until(lambda: not self._member.need_open and self._member.turn is None, timeout_s, "idleness")

    # The end

    def close(self) -> None:
        """End the replica: silent at once, from any thread; may be called again. The last value stays readable."""
        if not self._member.closed:
            self._seat.close()

    async def aclose(self) -> None:
        """Like `close`, and waits until the last replica's way to ask has ended too."""
        self.close()
        recovery = self._seat.recovery
        if recovery is not None and recovery.over and recovery.task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([recovery.task])

    def __enter__(self) -> Self:
        if not self._seat.transport.capabilities.threads:
            self.close()
            raise UsageError("got `with`, expected `async with`: this transport needs its event loop to end a replica")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        member = getattr(self, "_member", None)
        if member is not None and not member.closed:
            self._seat.close(dropped=True)
            with contextlib.suppress(AttributeError):  # the interpreter is ending, and `warnings` is gone
                warnings.warn(f"a replica of {self.key!r} was dropped without being closed", ResourceWarning, 2, self)

    def _check_open(self) -> None:
        if self._member.closed:
            raise ClosedError(f"the replica of {self.key!r} was closed")

    def _demand(self, reason: str) -> int:
        if not self._member.askable:
            raise NoAuthorityError("got a demand for a fresh value, but this transport cannot ask: pass refetch=")
        if self._seat.recovery is None:
            raise UsageError("this replica was made without an event loop: use `get()`, or make it where a loop runs")
        number = self._seat.group.doubt(self._member, reason)
        self._seat.recovery.demand(self._member)
        return number

    def _showing(self) -> Held[T] | None:
        held = self._member.held
        return held if hasattr(held, "value") else None

    def _told_at(self, version: Version) -> Held[T] | None:
        """What is held, if an answer has told that its history contains the version; if need be, ask for that again."""
        found, held = self._member.at(version), self._member.held
        unknown = found is None and held is not None and held.version >= version
        # Where nothing gets lost, a live envelope closes the need of an ask that failed. From now on it is asked with pauses.
        if unknown and self._seat.recovery is not None and not self._member.need_open:
            self._seat.group.doubt(self._member, "a read demands a version")
        return found

    async def _until(self, done: Callable[[], R | None], timeout_s: float | None, what: str) -> R:
        """What the function returns as soon as that is true."""
        member, group = self._member, self._seat.group

        def check_open() -> None:
            self._check_open()
            if group.over:
                raise ClosedError(f"the transport of {self.key!r} was closed")

        def late() -> str:
            return f"{what} of {self.key!r}: {self.reason or 'nothing came'}"

        watch = Watch(lambda poke: group.listen(member, poke)[0], lambda poke: group.watch(member, poke))
        return await watch.until(done, timeout_s, check_open, late)


def _check_version(version: object) -> None:
    if not isinstance(version, Version):
        raise UsageError(f"got a {type(version).__name__}, expected a Version")
