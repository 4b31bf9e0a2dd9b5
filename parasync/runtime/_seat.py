"""The place of one replica in its process: its group, and its way to ask. What a handle holds, and what holds no handle."""

from __future__ import annotations

import contextlib
import inspect
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

from parasync.errors import UsageError
from parasync.protocol import Envelope, GapPolicy
from parasync.runtime._cell import Cell
from parasync.runtime._group import Group, Member
from parasync.runtime._hub import Hub, SourceKey, hub_of, running_loop
from parasync.runtime._recovery import Attempts, Pace, Recovery
from parasync.runtime._sources import Refetch, RefetchSource, Source, TopicSource
from parasync.topic import Ref
from parasync.transports._protocol import AskTransport, SyncTransport

T = TypeVar("T")


class Seat(Generic[T]):
    """A replica that listens, and asks when it has to, until `close`."""

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
        stale_after_s: float,
    ) -> None:
        self.loop = _loop_for(transport)
        self.thread = threading.get_ident()
        asks = isinstance(transport, AskTransport) and transport.capabilities.ask
        askable = refetch is not None or asks
        if self.loop is None and refetch is not None and inspect.iscoroutinefunction(refetch):
            raise UsageError("got an async refetch and no event loop, expected a plain function, or a replica made in a loop")
        self.transport = transport
        self.pace = pace
        self.cell = cell
        lossless = transport.capabilities.lossless
        self.member: Member[T] = Member(
            ref.key,
            ref.topic.reader(transport.codec),
            pace.backoff(),
            lossless=lossless,
            askable=askable,
            gap=gap,
            stale_after_s=stale_after_s,
        )
        if seed is not None:
            self.member.seed_received(seed, self.member.read(seed))
        self.hub: Hub = hub_of(transport)
        self.recovery: Recovery | None = None
        self.attempts: Attempts | None = None
        self._source: SourceKey | None = None
        self.group: Group = self.hub.join(self.member)
        try:
            if cell is not None:
                self._feed(cell)
            self.member.attend = _Attend(self.member, self._notice)
            if askable:
                self._recover(ref, refetch)
            self.member.noticed(pace.clock())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Silent at once, and from any thread; what is left to do on the bus is done in its loop."""
        self.member.close()
        if self.loop is None or threading.get_ident() == self.thread or self.transport.capabilities.threads:
            self.hub.leave(self.member, self.group, self._source)
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the bus with it
                self.loop.call_soon_threadsafe(self.hub.leave, self.member, self.group, self._source)

    def _notice(self, _heard: bool) -> None:
        self.member.noticed(self.pace.clock())

    def _feed(self, cell: Cell[T]) -> None:
        _, held = self.group.listen(self.member, lambda change: cell.set(change.new))
        if held is not None:
            cell.set(getattr(held, "value", None))

    def _recover(self, ref: Ref[T], refetch: Refetch | None) -> None:
        topic = ref.topic.name
        source: Callable[[], Source]
        if refetch is not None:
            source, self._source = partial(RefetchSource, refetch), ("refetch", ref.key, refetch, self.loop)
        else:
            assert isinstance(self.transport, AskTransport)  # noqa: S101  # askable, and by nothing else
            source, self._source = partial(TopicSource, self.transport, topic), ("ask", topic, self.loop)
        if self.loop is None:
            self.attempts = Attempts(source(), self.pace, self.member, self.group)
            self._source = None
            self.member.attend = _Attend(self.member, self.attempts.attend)
            self.attempts.attempt()
        else:
            self.recovery = self.hub.recover(self._source, source, self.pace, self.member, self.group)
            self.member.attend = _Attend(self.member, partial(self.recovery.attend, self.member))
        self.hub.hear_probes(self.member, self.group)


class _Attend:
    """Tells the recovery, and whoever waits, that an input came."""

    __slots__ = ("_attend", "_member")

    def __init__(self, member: Member[Any], attend: Callable[[bool], None]) -> None:
        self._member = member
        self._attend = attend

    def __call__(self, heard: bool, /) -> None:
        self._attend(heard)
        for wake in self._member.watchers:
            wake()


def _loop_for(transport: SyncTransport) -> AbstractEventLoop | None:
    """The loop in which a replica asks: that of its bus where there is one, else the running one, else none."""
    running = running_loop()
    bound = transport.loop if isinstance(transport, AskTransport) else None
    if bound is not None and bound is not running:
        where = "another event loop" if running is not None else "no event loop"
        raise UsageError(f"got {where}, expected the one in which the transport was entered: make the replica there")
    return running
