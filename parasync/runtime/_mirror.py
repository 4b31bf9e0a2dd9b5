"""`mirror[T]`: a live, typed mapping of all objects of a topic."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from asyncio import AbstractEventLoop
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from parasync.errors import (
    InvalidKeyError,
    SnapshotError,
    UsageError,
)
from parasync.protocol import GapPolicy, Mirror, parse_pattern
from parasync.runtime._bell import current_loop
from parasync.runtime._checks import check_change, check_kind, check_replica
from parasync.runtime._mirror_entry import MirrorEntry
from parasync.runtime._mirror_file import MirrorSnapshot
from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._mirror_stream import MirrorChanges
from parasync.runtime._mirror_views import Loaded, MirrorChange
from parasync.runtime._mirror_waits import Waits
from parasync.runtime._mirrored import loaded_of
from parasync.runtime._mirroring import Mirroring
from parasync.runtime._recovery import DEFAULT_PACE, Pace
from parasync.runtime._tracing import listening_to_all, mirror_stream_of
from parasync.topic import Topic
from parasync.transports._fanout import check_handler
from parasync.transports._protocol import AskTransport, SyncTransport, Unsubscribe, asks_over, check_transport

T = TypeVar("T")
R = TypeVar("R")


class mirror(Waits[T], Generic[T]):
    """A live copy of all objects of a topic, by id: typed, healing itself, and honest about what it does not know.

    It listens from the moment it is made, in the loop of its bus, and loads what is there. Reads are plain, take no lock, and
    may come from any thread; before the first load they raise `NotReadyError`, since nobody knows yet what is not there.
    The one object of a topic without ids has the id "". `close()`, or leaving the context manager, ends it.

    Args:
        topic: the objects, e.g. `USERS`.
        transport: where they are published; it has to be able to ask.
        pattern: mirror only objects whose id begins so, e.g. `"user:eu:*"`; None for all.
        warm: what to begin with: a snapshot, or the file of one. It is served as `STALE` until proven, and only what differs
            from what the authority has is loaded.
        gap: what to do when a version was lost on the way: ask, or trust the one that arrived (`"apply"`).
        pace: how often to ask and how long to wait.
        stale_after_s: the age of a proof in seconds beyond which the status is `STALE`; by default three beats while beats
            prove, else 1.5 reconcile intervals and one ask.
        progress: called in the loop as the first load goes on, and when it is done; it must not block.

    Raises:
        UsageError: not made in the loop of its transport, or with options of another kind; the transport cannot ask.
        InvalidKeyError: the pattern does not follow the grammar, or is not one of this topic.
        SnapshotError: `warm` cannot be read, or is not of this topic and pattern.
        ClosedError: the transport was closed.
    """

    def __init__(
        self,
        topic: Topic[T],
        transport: SyncTransport,
        *,
        pattern: str | None = None,
        warm: MirrorSnapshot[T] | str | os.PathLike[str] | None = None,
        gap: GapPolicy = "refetch",
        pace: Pace | None = None,
        stale_after_s: float | None = None,
        progress: Callable[[Loaded], None] | None = None,
    ) -> None:
        loop, bus = _place(topic, transport)
        check_replica(None, None, None, gap)
        check_kind("pace", pace, Pace, "Pace(ask_timeout_s=2.0)")
        if progress is not None:
            check_change(progress)
        if stale_after_s is not None and (not isinstance(stale_after_s, int | float) or not stale_after_s > 0):
            raise UsageError(f"got stale_after_s={stale_after_s!r}, expected a number of seconds above 0")
        pace = pace or DEFAULT_PACE
        core: Mirror[T] = Mirror(
            topic.name,
            topic.reader(transport.codec),
            prefix=_prefix(topic.name, pattern),
            lossless=transport.capabilities.lossless,
            gap=gap,
            stale_after_s=1.5 * pace.reconcile_interval_s + pace.ask_timeout_s if stale_after_s is None else stale_after_s,
            stale_by_beats=stale_after_s is None,
        )
        if warm is not None:
            _warm(core, topic, pattern, warm)
        seat = MirrorSeat(pattern or f"{topic.name}:*", topic.name, core, bus, pace, loop)
        super().__init__(topic, pattern, seat)
        if progress is not None:
            seat.advanced = _Progress(seat, progress)
        try:
            seat.open()
            self._mirroring = Mirroring(seat, topic.name)
            MirrorEntry(seat, topic.name, topic.version)
        except BaseException:
            seat.close()
            raise

    # Changes

    def subscribe(self, listener: Callable[[MirrorChange[T]], None]) -> Unsubscribe:
        """Call a function with every later change, in order for each object, on the thread that brought it; it must not block.

        What it raises is logged and counted in `stats.handler_errors`. Returns a function that ends the subscription at once.
        Changes of one object that wait for a listener which is busy are merged into one.

        Args:
            listener: a plain function that gets each change.

        Raises:
            ClosedError: the mirror was closed.
            UsageError: the listener is not a plain function.
        """
        self._check_open()
        check_handler(listener)
        return self._seat.listen(listening_to_all(listener))[0]

    def changes(self) -> MirrorChanges[T]:
        """An async iterator over the changes from now on; those of one object that wait for the reader become one.

        It ends when the mirror or its transport is closed.

        Raises:
            ClosedError: the mirror was closed.
        """
        self._check_open()
        return mirror_stream_of(self._seat)

    # The end

    def close(self) -> None:
        """End the mirror: silent at once, from any thread; may be called again. What it held stays readable."""
        if not self._core.rules.closed:
            self._seat.close()

    async def aclose(self) -> None:
        """Like `close`, and waits until its way to ask has ended too."""
        self.close()
        if self._seat.loop is asyncio.get_running_loop():
            await asyncio.wait([self._mirroring.task])

    def __enter__(self) -> Self:
        transport = self._seat.transport
        if not (isinstance(transport, SyncTransport) and transport.capabilities.threads):
            self.close()
            raise UsageError("got `with`, expected `async with`: this transport needs its event loop to end a mirror")
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
        seat = getattr(self, "_seat", None)
        if seat is not None and not seat.core.rules.closed:
            seat.close(dropped=True)
            with contextlib.suppress(AttributeError):  # the interpreter is ending, and `warnings` is gone
                warnings.warn(f"a mirror of {seat.name!r} was dropped without being closed", ResourceWarning, 2, self)


def _place(topic: object, transport: SyncTransport) -> tuple[AbstractEventLoop, AskTransport]:
    """The loop and the bus of a mirror."""
    if not isinstance(topic, Topic):
        raise UsageError(f"got a {type(topic).__name__}, expected a Topic such as USERS")
    check_transport(transport)
    bus = asks_over(transport)
    if bus is None:
        raise UsageError("got a transport that cannot ask, expected one on which an authority can answer what there is")
    running = current_loop()
    if running is None or bus.loop not in (None, running):
        where = "no event loop" if running is None else "another event loop"
        raise UsageError(f"got {where}, expected the one in which the transport was entered: make the mirror there")
    return running, bus


def _prefix(topic: str, pattern: str | None) -> str:
    """How the keys of a pattern begin, "" for all of the topic."""
    if pattern is None:
        return ""
    name, prefix = parse_pattern(pattern)
    if name != topic:
        raise InvalidKeyError(f"got the pattern {pattern!r}, expected one of the topic {topic!r}, such as {topic + ':eu:*'!r}")
    return prefix and f"{topic}:{prefix}"


def _warm(
    core: Mirror[T], topic: Topic[T], pattern: str | None, warm: MirrorSnapshot[T] | str | os.PathLike[str]
) -> None:
    if not isinstance(warm, MirrorSnapshot | str | os.PathLike):
        raise UsageError(f"got a {type(warm).__name__} as warm, expected a MirrorSnapshot or the path of a saved one")
    snapshot = warm if isinstance(warm, MirrorSnapshot) else MirrorSnapshot.load(warm, topic)
    if snapshot.topic != topic or snapshot.pattern != pattern:
        got = f"{snapshot.topic!r}, pattern {snapshot.pattern!r}"
        raise SnapshotError(f"got a snapshot of {got}, expected one of {topic!r}, pattern {pattern!r}")
    core.warmed(snapshot.known, epoch=snapshot.epoch, floor=snapshot.floor, history_epoch=snapshot.history_epoch)


class _Progress:
    """Tells how the first load goes on, and that it is done."""

    __slots__ = ("_call", "_done", "_seat")

    def __init__(self, seat: MirrorSeat[Any], call: Callable[[Loaded], None]) -> None:
        self._seat = seat
        self._call = call
        self._done = False

    def __call__(self) -> None:
        if self._done:
            return
        loaded = loaded_of(self._seat.core)
        self._done = loaded.done
        try:
            self._call(loaded)
        except BaseException as error:  # noqa: BLE001  # counted like all else that the user's functions raise
            if fatal := self._seat.report(error):
                raise fatal from None
