"""The place of one replica in its process: its group, and its way to ask. What a handle holds, and what holds no handle."""

from __future__ import annotations

import inspect
from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, Generic, TypeVar, cast

import attrs

from parasync.errors import UsageError
from parasync.protocol import Envelope, GapPolicy
from parasync.runtime._attempts import Attempts
from parasync.runtime._bell import current_loop
from parasync.runtime._cell import Cell
from parasync.runtime._ear import Ear
from parasync.runtime._group import Group
from parasync.runtime._hub import Hub, SourceKey, join
from parasync.runtime._member import Listener, Member, report
from parasync.runtime._recorded import Recorded
from parasync.runtime._recorder import Recorder
from parasync.runtime._recovery import Pace, Recovery
from parasync.runtime._sources import Refetch, RefetchSource, Source, TopicSource, check_envelope
from parasync.topic import Ref
from parasync.transports._protocol import AskTransport, SyncTransport, asks_over, bus_of

T = TypeVar("T")


class Seat(Generic[T]):
    """A replica that listens, and asks when it has to, until `close`."""

    __slots__ = (
        "_ear", "_source", "attempts", "cell", "group", "hub", "loop", "member", "pace", "recovery", "transport",
    )  # fmt: skip

    def __init__(
        self,
        ref: Ref[T],
        transport: SyncTransport,
        pace: Pace,
        *,
        seed: Envelope[Any] | None,
        refetch: Refetch | None,
        cell: Cell[T] | None,
        gap: GapPolicy,
        stale_after_s: float | None,
        recorder: Recorder | None,
    ) -> None:
        self.loop = _loop_for(transport)
        asks = asks_over(transport) is not None
        askable = refetch is not None or asks
        if self.loop is None and refetch is not None and inspect.iscoroutinefunction(refetch):
            raise UsageError("got an async refetch and no event loop, expected a plain function, or a replica made in a loop")
        self.transport = transport
        self.pace = pace
        self.cell = cell
        make: Callable[..., Member[T]] = Member
        if recorder is not None:
            make = partial(Recorded, recorder.writer.tape(ref.topic.version, transport.codec, pace.clock))
        lossless = transport.capabilities.lossless
        self.member: Member[T] = make(
            ref.key,
            ref.topic.reader(transport.codec),
            pace.backoff(),
            lossless=lossless,
            askable=askable,
            gap=gap,
            stale_after_s=1.5 * pace.reconcile_interval_s + pace.ask_timeout_s if stale_after_s is None else stale_after_s,
            stale_by_beats=stale_after_s is None,
        )
        self.member.accepts, self.member.clock = ref.topic.version, pace.clock
        if seed is not None:
            check_envelope(seed, "seed")
            self.member.seed_received(seed, self.member.read(seed))
        self.recovery: Recovery | None = None
        self.attempts: Attempts | None = None
        self._source: SourceKey | None = None
        self._ear: Ear | None = None
        if cell is not None:
            self._feed(cell)
        self.hub: Hub
        self.group: Group
        self.hub, self.group = join(transport, self.member)
        try:
            self.member.attend = _Attend(self.member, self._notice)
            if askable:
                self._recover(ref, refetch)
            self.member.noticed(pace.clock())
        except BaseException:
            self.close()
            raise

    def close(self, *, dropped: bool = False) -> None:
        """Silent at once, and from any thread; what is left to do on the bus is done in its loop.

        Args:
            dropped: called by a destructor, which may run in the middle of whatever this thread does.
        """
        self.member.close()
        leave = partial(self.hub.leave, self.member, self.group, self._source, self._ear)
        if self.transport.capabilities.threads or self.loop is None or (current_loop() is self.loop and not dropped):
            leave()
            return
        try:
            self.loop.call_soon_threadsafe(leave)
        except RuntimeError:  # the loop was closed, and the bus with it: nobody is left who could be disturbed
            leave()

    def _notice(self, _heard: bool) -> None:
        self.member.noticed(self.pace.clock())

    def _feed(self, cell: Cell[T]) -> None:
        """Before anybody can publish to the replica, so that the cell is set in the order of versions."""
        self.member.add(Listener(lambda change: cell.set(change.new)))
        if self.member.held is not None:
            try:
                cell.set(getattr(self.member.held, "value", None))
            except BaseException as error:  # noqa: BLE001  # counted like all else that a cell raises
                if fatal := report(self.member, error):
                    raise fatal from None

    def _recover(self, ref: Ref[T], refetch: Refetch | None) -> None:
        topic = ref.topic.name
        source: Callable[[], Source]
        kind: tuple[str | int, ...]
        if refetch is not None:
            # What it returns may have been written by an earlier life than the one that serves, for ever.
            self.member.announced = 0
            source, kind = partial(RefetchSource, refetch), ("refetch", ref.key, *_identity(refetch))
        else:
            bus = cast("AskTransport", self.transport)  # askable, and by nothing else
            source, kind = partial(TopicSource, bus, topic), ("ask", topic)
        self._ear = self.hub.hear(self.member, self.group, self.pace)
        if self.loop is None:
            self.attempts = Attempts(source(), self.pace, self.member, self.group)
            self.member.attend = _Attend(self.member, self.attempts.attend)
            self.attempts.attempt()
        else:
            key = (*kind, self.loop, *_facts(self.pace))
            self.recovery = self.hub.recover(key, source, self.pace, self.member, self.group)
            # Its own key is equal, and there is one of it for all.
            self._source = self.recovery.key
            if refetch is None and self.recovery.refused is None:
                self.recovery.refused = partial(self.hub.refused, topic, self.loop)
            self.member.attend = _AttendRecovery(self.member, self.recovery)


class _Attend:
    """Tells whoever attends to a replica, and whoever waits, that an input came."""

    __slots__ = ("_attend", "_member")

    def __init__(self, member: Member[Any], attend: Callable[[bool], None]) -> None:
        self._member = member
        self._attend = attend

    def __call__(self, heard: bool, /) -> None:
        try:
            self._attend(heard)
        finally:
            for wake in self._member.watchers:
                wake()


class _AttendRecovery:
    """The same where a recovery serves many replicas; and tells whoever reports it that something is refused."""

    __slots__ = ("_member", "_recovery")

    def __init__(self, member: Member[Any], recovery: Recovery) -> None:
        self._member = member
        self._recovery = recovery

    def __call__(self, heard: bool, /) -> None:
        member, recovery = self._member, self._recovery
        try:
            recovery.attend(member, heard)
            if member.refused is not None and recovery.refused is not None:
                recovery.refused()
        finally:
            for wake in member.watchers:
                wake()


def _loop_for(transport: SyncTransport) -> AbstractEventLoop | None:
    """The loop in which a replica asks: that of its bus where there is one, else the running one, else none."""
    running = current_loop()
    bus = bus_of(transport)
    bound = None if bus is None else bus.loop
    if bound is not None and bound is not running:
        where = "another event loop" if running is not None else "no event loop"
        raise UsageError(f"got {where}, expected the one in which the transport was entered: make the replica there")
    return running


def _identity(refetch: Refetch) -> tuple[int, ...]:
    """What two replicas must have in common to share the calls of a function; a bound method is a new object at each access."""
    return (id(refetch.__self__), id(refetch.__func__)) if isinstance(refetch, MethodType) else (id(refetch),)


def _facts(pace: Pace) -> tuple[float | int, ...]:
    return tuple([id(fact) if callable(fact) else fact for fact in attrs.astuple(pace, recurse=False)])
