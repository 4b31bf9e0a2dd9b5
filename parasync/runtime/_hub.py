"""What the replicas of one transport share: a group a key, a recovery a source, and an ear for each topic."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop, Task
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable, Iterator
from functools import partial
from typing import Any, Final, TypeAlias

import attrs

from parasync.protocol import Refusing, ReplicaStatus, parse_key
from parasync.runtime import _census
from parasync.runtime._bell import current_loop
from parasync.runtime._census import enlist
from parasync.runtime._ear import Ear, Place, end
from parasync.runtime._group import Group
from parasync.runtime._locks import NotedLock
from parasync.runtime._member import Member
from parasync.runtime._recovery import Pace, Recovery
from parasync.runtime._reports import Reporter
from parasync.runtime._sources import Source
from parasync.runtime._tally import Tally, count, refused_by
from parasync.transports._protocol import AskTransport, SyncTransport, Unsubscribe, asks_over, bus_of

LOOKED_AT_MAX: Final = 1000
"""How many replicas are looked at in a row for an onlooker; then others may run."""

SourceKey: TypeAlias = tuple[Hashable, ...]


class Hub:
    """The replicas of one transport in this process. Usable from any thread; leaving never waits for a lock."""

    def __init__(self, transport: SyncTransport) -> None:
        self.transport = transport
        self._lock = NotedLock()
        self._groups: dict[str, Group] = {}
        self._recoveries: dict[SourceKey, Recovery] = {}
        self._ears: dict[Place, Ear] = {}
        self._reporter: Reporter | None = None
        self._unlist: Unsubscribe | None = None
        self._given_up = False

    def join(self, member: Member[Any]) -> Group | None:
        """Subscribe a replica to its key; what is published from now on reaches it. None: this hub was given up meanwhile.

        Raises:
            ParasyncError: what subscribing raises; then nothing is left behind.
        """
        with self._lock:
            if self._given_up:
                return None
            group = self._groups.get(member.key)
            try:
                if group is None:
                    group = Group(member.key)
                    group.open(self.transport)
                    self._groups[member.key] = group
                group.join(member)
                if self._unlist is None:
                    self._unlist = enlist(self.transport, self)
            finally:
                self._give_up_if_empty()
            return group

    def leave(self, member: Member[Any], group: Group, source: SourceKey | None, ear: Ear | None) -> None:
        """End what `join`, `recover` and `hear` began; from any thread, and may be called again."""
        self._lock.note(partial(self._remove, member, group, source, ear))

    def recover(self, key: SourceKey, source: Callable[[], Source], pace: Pace, member: Member[Any], group: Group) -> Recovery:
        """Let a recovery in the running loop serve a replica; replicas with one key share one."""
        with self._lock:
            recovery = self._recoveries.get(key)
            if recovery is None or recovery.task.done():
                recovery = Recovery(source(), pace, self._spawn, f"parasync-recovery {member.key}")
                recovery.key = key
                self._recoveries[key] = recovery
            recovery.add(member, group)
            return recovery

    def hear(self, member: Member[Any], group: Group, pace: Pace) -> Ear | None:
        """Tell probing authorities which epoch the replica has heard, and learn from them, and from beats, what it missed."""
        transport = asks_over(self.transport)
        if transport is None:
            return None
        # One in each loop: a probe that has to be answered in a loop that has ended is never answered.
        place = (parse_key(member.key).topic, current_loop(), member.announced is None)
        with self._lock:
            ear = self._ears.get(place)
            if ear is None:
                ear = self._ears[place] = Ear(place, transport, self._groups)
            ear.add(member, group, pace)
            return ear

    def refused(self, topic: str, loop: AbstractEventLoop) -> None:
        """A replica refuses what the authority of the topic wrote: let it know; from any thread."""
        if self._reporter is None and isinstance(self.transport, AskTransport):
            self._reporter = Reporter(self.transport, self._refused_of)
        if self._reporter is not None:
            self._reporter.refused(topic, loop)

    def statuses(self) -> Iterator[ReplicaStatus | None]:
        """How the replicas do: one for each topic and schema version."""
        tallies: dict[tuple[str, str], Tally] = {}
        looked = 0
        for group in list(self._groups.values()):
            topic = parse_key(group.key).topic
            for member in group.members:
                tallies.setdefault((topic, member.accepts), Tally(topic, member.accepts)).add(member)
                looked += 1
                if looked % LOOKED_AT_MAX == 0:
                    yield None
        for tally in tallies.values():
            yield tally.status()

    def by_key(self) -> Iterator[ReplicaStatus]:
        """How the replicas of each object do."""
        for group in list(self._groups.values()):
            tally = Tally(parse_key(group.key).topic, group.members[0].accepts if group.members else "")
            for member in group.members:
                tally.add(member)
            yield attrs.evolve(tally.status(), keys=(group.key,))

    def _refused_of(self, topic: str) -> dict[str, tuple[Refusing, ...]]:
        groups = [group for group in list(self._groups.values()) if parse_key(group.key).topic == topic]
        return refused_by([member for group in groups for member in group.members])

    def _remove(self, member: Member[Any], group: Group, source: SourceKey | None, ear: Ear | None) -> None:
        """Under the lock."""
        if _census.gone is not None and member in group.members:
            counters: Counter[str] = Counter()
            count(counters, member)
            _census.gone.add(parse_key(member.key).topic, member.key, counters)
        group.leave(member)
        if not group.members and self._groups.get(member.key) is group:
            del self._groups[member.key]
            end(group.unsubscribe)
        if source is not None and (recovery := self._recoveries.get(source)) and recovery.remove(member):
            del self._recoveries[source]
        if ear is not None and ear.remove(member, group):
            del self._ears[ear.place]
            ear.close()
        self._give_up_if_empty()

    def _give_up_if_empty(self) -> None:
        if not self._groups and not self._given_up:
            self._given_up = True
            _hubs.pop(id(self.transport), None)
            if self._unlist is not None:
                self._unlist()
            if self._reporter is not None:
                self._reporter.close()

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> Task[None]:
        bus = bus_of(self.transport)
        if bus is not None:
            return bus.spawn(work, name)
        return asyncio.get_running_loop().create_task(work, name=name)


_hubs: Final[dict[int, Hub]] = {}
"""The hubs that have replicas. Guarded by nothing but the atomicity of `setdefault` and `pop`, since leaving must not wait."""


def join(transport: SyncTransport, member: Member[Any]) -> tuple[Hub, Group]:
    """Let a replica join those of its transport, in the hub that lives as long as it has replicas.

    Raises:
        ParasyncError: what subscribing raises; then nothing is left behind.
    """
    while True:
        hub = _hubs.setdefault(id(transport), Hub(transport))
        group = hub.join(member)
        if group is not None:
            return hub, group
