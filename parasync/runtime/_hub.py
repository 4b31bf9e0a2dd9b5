"""What the replicas of one transport share: a group a key, a recovery a source, and an ear for the probes of each topic."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Final, TypeAlias

from parasync.protocol import Probe, ProbeReply, parse_key
from parasync.runtime._group import Group, Member
from parasync.runtime._recovery import Pace, Recovery
from parasync.runtime._sources import Source
from parasync.transports._protocol import AskTransport, SyncTransport, Unsubscribe

SourceKey: TypeAlias = tuple[Hashable, ...]


class Hub:
    """The replicas of one transport in this process."""

    def __init__(self, transport: SyncTransport) -> None:
        self.transport = transport
        self._groups: dict[str, Group] = {}
        self._recoveries: dict[SourceKey, Recovery] = {}
        self._ears: dict[str, tuple[set[Member[Any]], Unsubscribe]] = {}
        self._lock = threading.RLock()

    def join(self, member: Member[Any]) -> Group:
        """Subscribe a replica to its key; what is published from now on reaches it."""
        with self._lock:
            group = self._groups.get(member.key)
            if group is None:
                group = Group(member.key)
            group.join(member, self.transport)
            self._groups[member.key] = group
            return group

    def leave(self, member: Member[Any], group: Group, source: SourceKey | None) -> None:
        """End what `join`, `recover` and `hear_probes` began; silent at once, from any thread."""
        with self._lock:
            if group.leave(member) and self._groups.get(member.key) is group:
                del self._groups[member.key]
            if source is not None and (recovery := self._recoveries.get(source)) and recovery.remove(member):
                del self._recoveries[source]
            topic = parse_key(member.key).topic
            members, unsubscribe = self._ears.get(topic, (set(), None))
            members.discard(member)
            if not members and unsubscribe is not None:
                del self._ears[topic]
                unsubscribe()
            if not self._groups:
                _forget(self)

    def recover(self, key: SourceKey, source: Callable[[], Source], pace: Pace, member: Member[Any], group: Group) -> Recovery:
        """Let a recovery in the running loop serve a replica; replicas with one key share one."""
        with self._lock:
            recovery = self._recoveries.get(key)
            if recovery is None or recovery.task.done():
                recovery = Recovery(source(), pace, self._spawn, f"parasync-recovery {member.key}")
                self._recoveries[key] = recovery
            recovery.add(member, group)
            return recovery

    def hear_probes(self, member: Member[Any], group: Group) -> None:
        """Tell probing authorities which epoch the replica has heard, and learn from them of a new life."""
        transport = self.transport
        topic = parse_key(member.key).topic
        with self._lock:
            if not isinstance(transport, AskTransport) or not transport.capabilities.ask:
                return
            if topic not in self._ears:
                members: set[Member[Any]] = set()
                self._ears[topic] = (members, transport.answer_probes(topic, lambda probe: self._probed(members, probe)))
            self._ears[topic][0].add(member)

    def _probed(self, members: set[Member[Any]], probe: Probe) -> ProbeReply | None:
        heard = 0
        for member in list(members):
            heard = max(heard, member.current_epoch)
            if probe.serving and probe.epoch > member.current_epoch and (group := self._groups.get(member.key)):
                group.doubt(member, "another life of the authority was heard", heard=True)
        return ProbeReply(heard, serving=False) if heard > probe.epoch else None

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> Task[None]:
        if isinstance(self.transport, AskTransport):
            return self.transport.spawn(work, name)
        return asyncio.get_running_loop().create_task(work, name=name)


_hubs: Final[dict[int, Hub]] = {}
_hubs_lock: Final = threading.RLock()


def hub_of(transport: SyncTransport) -> Hub:
    """The hub of a transport; it lives as long as it has replicas."""
    with _hubs_lock:
        return _hubs.setdefault(id(transport), Hub(transport))


def _forget(hub: Hub) -> None:
    with _hubs_lock:
        if _hubs.get(id(hub.transport)) is hub:
            del _hubs[id(hub.transport)]


def running_loop() -> AbstractEventLoop | None:
    """The loop that runs in this thread, if one does."""
    with contextlib.suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None
