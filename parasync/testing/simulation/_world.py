"""The simulated world: everybody in it, what can be done to it, and how it heals."""

from __future__ import annotations

import asyncio
import contextlib
import random
from functools import partial
from typing import Any

import attrs

from parasync.errors import UsageError
from parasync.protocol import Version
from parasync.testing._faults import Struck
from parasync.testing._faulty_transport import FaultyTransport
from parasync.testing.simulation._course import Event, Strike
from parasync.testing.simulation._disk import Disk
from parasync.testing.simulation._forger import forged, seed_envelope
from parasync.testing.simulation._journal import NOWHERE, Journal, place_of
from parasync.testing.simulation._judge import Judge
from parasync.testing.simulation._keeper import Keeper
from parasync.testing.simulation._mirror_judge import MirrorJudge
from parasync.testing.simulation._patron import Patron, other_major
from parasync.testing.simulation._reader import Reader
from parasync.testing.simulation._scenario import PATTERN, FaultPlan, Topology
from parasync.testing.simulation._tap import Tap


class World:
    """Made and used in the loop of a virtual run.

    Args:
        topology: who takes part.
        faults: what goes wrong.
        seed: decides what is struck.
        journal: is told everything.
        only: let nothing strike but these; None lets all.
    """

    def __init__(
        self, topology: Topology, faults: FaultPlan, seed: int, journal: Journal, only: frozenset[Strike] | None = None
    ) -> None:
        self.journal = journal
        self._topology = topology
        self._faults = faults
        self._seed = seed
        self._only = only
        self._wire: Any = topology.transport()
        if (not topology.monolith or topology.mirrors) and not self._wire.capabilities.ask:
            raise UsageError("got a transport that cannot ask, expected one that can where messages are lost or mirrors are")
        self._buses: list[FaultyTransport] = []
        self._calm = False
        self.keys = tuple(topology.topic[self._ident(number)].key for number in range(topology.keys))
        names = ["disk"] if topology.disks == "shared" else [f"disk {number + 1}" for number in range(topology.authorities)]
        self.disks = [self._disk(name) for name in names]
        self.judge = Judge(topology, journal, self.disks)
        connect = partial(self._connect, bytes_max=topology.answer_bytes)
        self.patrons = [
            Patron(f"authority {number + 1}", topology, self.disks[number % len(self.disks)], connect, journal)
            for number in range(topology.authorities)
        ]
        self.readers: list[Reader] = []
        self.keepers: list[Keeper] = []
        self._services: list[asyncio.Task[None]] = []
        self._starts: set[asyncio.Task[None]] = set()
        self._unreadable: set[int] = set()

    def _ident(self, number: int) -> str:
        return f"{'odd' if number % 2 else PATTERN.partition(':')[0]}:{number}" if self._topology.pattern else str(number)

    def _disk(self, name: str) -> Disk:
        faults = attrs.evolve(self._faults.store, seed=_seed(self._seed, name), only=self._strikes_of(name))
        major = self._topology.topic.schema.major

        def readable(number: int, schema_version: str) -> bool:
            return number not in self._unreadable and schema_version.startswith(f"{major}.")

        return Disk(name, self._topology.store, faults, self.journal, readable, shared=self._topology.disks == "shared")

    def _strikes_of(self, who: str) -> frozenset[Struck] | None:
        """What may strike one party; None for whatever the rates say."""
        return None if self._only is None else frozenset(strike[1:] for strike in self._only if strike[0] == who)

    def _connect(self, who: str, *, shares: bool = False, bytes_max: int = 0) -> Tap:
        """A connection of its own for one party."""
        bus = self._wire
        if not self._topology.monolith:
            faults = attrs.evolve(self._faults.network, seed=_seed(self._seed, who), only=self._strikes_of(who))
            bus = FaultyTransport(self._wire, faults)
            bus._link.strikes.witness = lambda strike: self.journal.struck(who, strike)
            self._buses.append(bus)
            if self._calm:
                bus.heal()
        topology = self._topology
        encodes = not topology.monolith
        return Tap(
            who, bus, self.journal, self.judge,
            conflates=topology.conflates, encodes=encodes, beats=topology.beats, shares=shares, bytes_max=bytes_max,
        )  # fmt: skip

    async def begin(self) -> None:
        """Everybody comes."""
        if isinstance(self._wire, contextlib.AbstractAsyncContextManager):
            await self._wire.__aenter__()
        for patron in self.patrons:
            patron.start()
        topology = self._topology
        for number in range(topology.readers):
            name = f"reader {number + 1}"
            reader = Reader(name, topology, self._connect(name, shares=True), self.judge, self.journal)
            self.readers.append(reader)
            for index in range(topology.replicas):
                reader.join(self.keys[index % len(self.keys)])
        for number in range(topology.mirrors):
            self._keep(f"mirror {number + 1}")
        for number, service in enumerate(topology.services, 1):
            work = service(self._connect(f"service {number}"))
            self._services.append(asyncio.create_task(work, name=f"service {number}"))

    def _keep(self, name: str) -> None:
        """One more process with a mirror."""
        topology, tap = self._topology, self._connect(name, shares=True)
        held = [key for number, key in enumerate(self.keys) if not topology.pattern or number % 2 == 0]
        judge = MirrorJudge(name, topology, self.journal, self.judge.truth, held)
        keeper = tap.onlooker = Keeper(name, topology, judge, tap, self.journal)
        keeper.open()
        self.keepers.append(keeper)

    def do(self, event: Event) -> None:
        """One thing happens."""
        getattr(self, f"_{event.name}")(*event.arguments)

    def look(self) -> None:
        """Everybody's replicas are read."""
        for watched in tuple(self.judge.watched):
            self.judge.look(watched)
        for keeper in self.keepers:
            keeper.look()
        for service in self._services:
            if service.done() and not service.cancelled() and (error := service.exception()) is not None:
                self.journal.broken("P7", service.get_name(), f"raised {error!r}")
                self._services.remove(service)
                break

    def heal(self) -> None:
        """No fault strikes any more, and whoever is dead comes back; with an odd seed only if nobody else is there."""
        self._calm = True
        for bus in self._buses:
            bus.heal()
        for disk in self.disks:
            disk.store.heal()
        alive = [patron for patron in self.patrons if patron.alive]
        for patron in (alive or self.patrons[:1]) if self._seed % 2 else self.patrons:
            patron.heal()

    def truth(self) -> Disk | None:
        """The disk of the one authority that serves; None, and noted, if there is not exactly one."""
        serving = [patron for patron in self.patrons if patron.serving]
        if len(serving) != 1:
            self.journal.broken("P5", "authorities", f"{len(serving)} of {len(self.patrons)} serve, expected one")
            return None
        patron = serving[0]
        for key, version in patron.acknowledged.items():
            stored = patron.disk.contents.get(key, NOWHERE)
            if stored < place_of(version) and not patron.disk.lost:
                self.journal.broken("P9", patron.name, f"acknowledged {key} {version}; stored is {stored}")
        return patron.disk

    def at_rest(self, truth: Disk) -> None:
        """Everybody shows the newest version and says so, and who waited for something has got it."""
        self.judge.at_rest(truth)
        for reader in self.readers:
            reader.at_rest()
        for keeper in self.keepers:
            keeper.at_rest(truth)

    def write_all(self, number: int) -> None:
        """Each object is written once more by the one that serves, with numbers above this one."""
        for patron in self.patrons:
            if patron.serving:
                for key in self.keys:
                    number += 1
                    patron.put(key, number, "put")

    def all_written(self, truth: Disk, above: int) -> None:
        """What was written when all was well must be there."""
        for key in self.keys:
            place = truth.contents.get(key, NOWHERE)
            content = self.journal.written[key].get(place)
            if content is None or content.number <= above:
                self.journal.broken("P9", truth.name, f"has {key} at {place}, {content}, expected what was written last")

    async def end(self) -> None:
        """Everybody leaves."""
        for task in (*self._services, *self._starts):
            task.cancel()
        if self._services or self._starts:
            await asyncio.wait((*self._services, *self._starts))
        for reader in self.readers:
            await reader.aclose()
        for keeper in self.keepers:
            await keeper.aclose()
        for patron in self.patrons:
            await patron.aclose()
        for bus in reversed(self._buses):
            bus._end()
        if left := self._wire.key_count():
            self.journal.broken("P8", "everybody", f"left {left} keys with a subscription behind")
        if isinstance(self._wire, contextlib.AbstractAsyncContextManager):
            await self._wire.__aexit__(None, None, None)
        for fired in (*(bus.fired for bus in self._buses), *(disk.store.fired for disk in self.disks)):
            self.journal.fired.update(fired)

    # What can be done

    def _write(self, who: int, key: int, number: int, how: str) -> None:
        patron, name = _pick(self.patrons, who), _pick(self.keys, key)
        if how == "unreadable":
            self._unreadable.add(number)
        if how == "burst":
            for more in range(3):
                patron.put(name, number + more, "put")
        else:
            patron.put(name, 0 if how == "delete" else number, how)

    def _demand(self, reader: int, index: int, how: str, patience_s: float | None) -> None:
        if self.readers:
            chosen = _pick(self.readers, reader)
            written = self.journal.written[_pick(chosen.replicas, index).key] if chosen.replicas else {}
            version = Version(*max(written)) if written else None
            chosen.demand(index, how, version, patience_s)
        for keeper in self.keepers:
            key = _pick(self.keys, index)
            written = self.journal.written[key]
            keeper.demand(how, key, Version(*max(written)) if written else None, patience_s)

    def _join(self, reader: int, key: int, seed: int) -> None:
        if self.readers:
            name = _pick(self.keys, key)
            _pick(self.readers, reader).join(name, seed_envelope(self.journal, self._topology, name, seed))

    def _leave(self, reader: int, index: int, _: int) -> None:
        if self.readers:
            _pick(self.readers, reader).leave(index)

    def _spoil(self, reader: int, index: int) -> None:
        if self.readers:
            _pick(self.readers, reader).spoil(index)
        if self.keepers:
            _pick(self.keepers, index).spoil()

    def _reopen(self, which: int, warm: bool) -> None:
        if self.keepers:
            _pick(self.keepers, which).reopen(warm=warm)

    def _rogue(self, key: int, number: int, above: int) -> None:
        name = _pick(self.keys, key)
        # Within one process there is nobody who could.
        if not self._topology.monolith:
            frame = forged(self.journal, self._topology, self._wire.codec, name, number, above)
            if frame is not None:
                self._wire.publish(name, frame)

    def _sweep(self, who: int, ttl_s: float) -> None:
        _pick(self.patrons, who).sweep(ttl_s)

    def _kill(self, who: int, point: str) -> None:
        _pick(self.patrons, who).kill(point)

    def _stop(self, who: int) -> None:
        _pick(self.patrons, who).stop()

    def _start(self, who: int, data: str, share: float, clock_s: float, rollout: int) -> None:
        patron = _pick(self.patrons, who)
        if not patron.alive:
            task = asyncio.create_task(self._restarted(patron, data, share, clock_s, rollout), name=f"{patron.name} starts")
            self._starts.add(task)
            task.add_done_callback(self._starts.discard)

    async def _restarted(self, patron: Patron, data: str, share: float, clock_s: float, rollout: int) -> None:
        others = any(other.alive and other.disk is patron.disk for other in self.patrons)
        if data != "kept" and not others:
            self.journal.fault(patron.disk.name, "data lost" if data == "lost" else "older data")
            await patron.disk.forget(0.0 if data == "lost" else share)
            self.judge.forgotten()
        if clock_s:
            self.journal.fault(patron.name, "clock set back")
        major = other_major(self._topology.topic) if rollout else None
        if rollout:
            self.journal.fault(patron.name, "rollout", "writes another schema major")
        patron.start(major=major, clock_s=clock_s)


def _pick(choices: Any, index: int) -> Any:
    return choices[index % len(choices)]


def _seed(seed: int, who: str) -> int:
    return random.Random(f"{seed} {who}").getrandbits(32)  # noqa: S311
