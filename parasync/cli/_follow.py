"""Follows one object, or all objects of a pattern: a replica for each, made when the object is first heard of."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

import attrs

from parasync import ABSENT, Change, Envelope, InProcessTransport, Kind, Pace, Status, synced
from parasync.cli._asks import Asker, any_topic
from parasync.errors import ParasyncError
from parasync.protocol import parse_key
from parasync.transports.nats import NatsTransport

FOLLOWED_MAX: Final = 5_000
"""The most objects that are followed; those beyond are counted and not shown."""
EVENTS_MAX: Final = 10_000
"""The most events that wait to be printed; beyond, the oldest are dropped and counted."""
RELIST_S: Final = 10.0
"""How often the objects of a pattern are listed anew, in seconds, in case the message that told of one was lost."""
LIST_RETRY_S: Final = 1.0
"""How long after a vain attempt to list them it is tried again, in seconds."""

PACE: Final = Pace(reconcile_interval_s=3.0, ask_timeout_s=2.0, backoff_max_s=2.0)

What: TypeAlias = Literal["value", "deleted", "absent", "status"]


@attrs.define
class Followed:
    """One object that is followed."""

    key: str
    replica: synced[object]
    status: Status
    changes: int = 0
    changed_s: float = 0.0
    absent: bool = False


@attrs.frozen
class Event:
    """Something that happened to one object; `change` is None unless it shows another value."""

    what: What
    row: Followed
    change: Change[object] | None = None


class Follower:
    """The replicas of one key, or of all keys of a pattern. An async context manager, used in the loop of its bus.

    Args:
        bus: where to listen and ask.
        key: the key, or the topic of the pattern.
        prefix: what the ids of a pattern begin with; None to follow the one key.
        clock: monotonic seconds.
        followed_max: the most objects that are followed.
        events_max: the most events that wait to be printed.
    """

    def __init__(
        self,
        bus: NatsTransport | InProcessTransport,
        key: str,
        prefix: str | None,
        clock: Callable[[], float],
        *,
        followed_max: int = FOLLOWED_MAX,
        events_max: int = EVENTS_MAX,
    ) -> None:
        self.rows: dict[str, Followed] = {}
        self.events: deque[Event] = deque()
        self.dropped = 0
        self.left_out: set[str] = set()
        self.problem = ""
        """Why the objects of the pattern cannot be listed now."""
        self.woken = asyncio.Event()
        self._bus = bus
        self._key = key
        self._prefix = prefix
        self._clock = clock
        self._followed_max = followed_max
        self._events_max = events_max
        self._topic = any_topic(parse_key(key).topic)
        self._relist = asyncio.Event()
        self._stop: list[Callable[[], object]] = []

    async def __aenter__(self) -> Self:
        if self._prefix is None:
            self._follow(self._key)
        else:
            topic, pattern = self._topic.name, f"{self._topic.name}:{self._prefix}*" if self._prefix else None
            self._stop.append(self._bus.subscribe_topic(topic, self._heard, self._interrupted, pattern=pattern))
            self._stop.append(self._bus.spawn(self._list(), "list what is to be followed").cancel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stop in self._stop:
            stop()
        for row in self.rows.values():
            row.replica.close()

    def look(self) -> None:
        """Find out what the replicas say of themselves by now; that changes also when nothing happens."""
        for row in self.rows.values():
            snapshot = row.replica.snapshot()
            absent = snapshot.deleted and snapshot.version == ABSENT
            if absent and not row.absent:
                self._happened(Event("absent", row))
            row.absent = absent
            if snapshot.status is not row.status:
                row.status = snapshot.status
                self._happened(Event("status", row))

    def _matches(self, key: str) -> bool:
        ident = parse_key(key).id
        return ident is not None and self._prefix is not None and ident.startswith(self._prefix)

    def _heard(self, key: str, envelope: Envelope[Any]) -> None:
        if key not in self.rows and envelope.kind is Kind.STATE and self._matches(key):
            self._follow(key)

    def _interrupted(self, _: str) -> None:
        self._relist.set()

    async def _list(self) -> None:
        asker = Asker(self._bus, PACE.ask_timeout_s)
        while True:
            self._relist.clear()
            try:
                async for key, _ in asker.keys(self._topic.name, self._prefix or ""):
                    if self._matches(key):
                        self._follow(key)
                self.problem = ""
            except ParasyncError as error:
                self.problem = str(error)
            self.woken.set()
            try:
                async with asyncio.timeout(LIST_RETRY_S if self.problem else RELIST_S):
                    await self._relist.wait()
            except TimeoutError:
                continue

    def _follow(self, key: str) -> None:
        if key in self.rows:
            return
        if len(self.rows) >= self._followed_max and not self._forget_one():
            if len(self.left_out) < self._followed_max:
                self.left_out.add(key)
            return
        ident = parse_key(key).id
        ref = self._topic.ref() if ident is None else self._topic[ident]
        replica = synced(ref, self._bus, pace=PACE)
        row = self.rows[key] = Followed(key, replica, replica.status)
        replica.subscribe(partial(self._changed, row))
        self.woken.set()

    def _forget_one(self) -> bool:
        """Make room: drop an object that is deleted."""
        gone = next((key for key, row in self.rows.items() if row.replica.snapshot().deleted), None)
        if gone is not None:
            self.rows.pop(gone).replica.close()
        return gone is not None

    def _changed(self, row: Followed, change: Change[object]) -> None:
        row.changes += 1 + (change.skipped or 0) if row.changes else 1
        row.changed_s = self._clock()
        self._happened(Event("deleted" if change.deleted else "value", row, change))

    def _happened(self, event: Event) -> None:
        if len(self.events) >= self._events_max:
            self.events.popleft()
            self.dropped += 1
        self.events.append(event)
        self.woken.set()
