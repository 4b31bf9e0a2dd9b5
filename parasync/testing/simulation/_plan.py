"""What happens when: drawn from a seed, in random numbers that are the same on every Python."""

from __future__ import annotations

from random import Random
from typing import Any, Final

import attrs

from parasync.testing._faults import Faults, StoreFaults
from parasync.testing.simulation._course import Event
from parasync.testing.simulation._scenario import FaultPlan, ProcessFaults, Topology

_RATES: Final = (0.0, 0.0, 0.01, 0.05, 0.2)
"""How often a kind of fault strikes, where the seed decides: often not at all, so that the others are seen alone."""
_NETWORK: Final = ("drop", "duplicate", "reorder", "delay", "corrupt", "truncate", "poison")
_OUTAGES: Final = ("partition", "disconnect", "slow", "hang")
_STORE: Final = ("before", "after", "slow", "hang", "foreign")
_HOW: Final = ("put", "put", "put", "update", "expected", "retry", "burst", "delete")

_MIRRORED: Final = 0.25
"""How many of the drawn worlds have mirrors."""
_SWEPT: Final = 0.25
"""In how many of them tombstones are dropped."""
_TTL_S: Final = 4.0
"""When, in seconds; some are dropped at once."""
_SMALL_BYTES: Final = 64
"""How much fits into an answer that takes one object of those that are drawn."""
_WAITS: Final = ("fresh", "ready", "idle", "at_least")


def drawn_topology(seed: int) -> Topology:
    """Who takes part, where nobody says so."""
    chance = Random(f"topology {seed}")  # noqa: S311
    monolith = chance.random() < 0.15
    topology = Topology(
        authorities=1 if monolith else _one_of(chance, (1, 1, 2, 3)),
        disks="shared" if chance.random() < 0.7 else "own",
        readers=_one_of(chance, (1, 2, 3)),
        replicas=_one_of(chance, (1, 2, 3)),
        keys=_one_of(chance, (1, 1, 2, 3)),
        monolith=monolith,
        conflates=not monolith and chance.random() < 0.3,
        gap="apply" if chance.random() < 0.15 else "refetch",
        actions=_one_of(chance, (5, 15, 30, 60)),
        beats=chance.random() < 0.75,
    )
    # Drawn apart, so that no other world is another one than it was before floors rose.
    apart = Random(f"floors {seed}")  # noqa: S311
    if apart.random() < _SWEPT:
        topology = attrs.evolve(topology, terms=attrs.evolve(topology.terms, tombstone_ttl_s=_TTL_S))
    if chance.random() >= _MIRRORED:
        return topology
    return attrs.evolve(
        topology,
        mirrors=_one_of(chance, (1, 1, 2)),
        pattern=chance.random() < 0.4,
        answer_bytes=_one_of(chance, (0, _SMALL_BYTES)),
    )


def drawn_faults(seed: int) -> FaultPlan:
    """What goes wrong, where nobody says so: a few kinds at a time."""
    chance = Random(f"faults {seed}")  # noqa: S311
    network: dict[str, Any] = {kind: _one_of(chance, _RATES) for kind in _NETWORK}
    network |= {kind: _one_of(chance, _RATES[:4]) for kind in _OUTAGES}
    store: dict[str, Any] = {kind: _one_of(chance, _RATES[:4]) for kind in _STORE} if chance.random() < 0.5 else {}
    names = [field.name for field in attrs.fields(ProcessFaults) if field.name != "reopens"]
    chosen = _sample(chance, names, _one_of(chance, (0, 2, 4, len(names))))
    processes = {name: _one_of(chance, (1, 1, 2, 3)) for name in chosen}
    if processes.keys() & {"losses", "restores", "clocks", "rollouts"} and not processes.keys() & {"kills", "stops"}:
        processes["kills"] = 2
    processes["reopens"] = _one_of(chance, (0, 1, 1, 2))
    quick: dict[str, Any] = {"delay_s": (0.001, 0.3), "outage_s": (0.05, 3.0)}
    return FaultPlan(
        network=Faults(**network, **quick),
        store=StoreFaults(**store, slow_s=(0.001, 0.2), hang_s=(1.0, 6.0)),
        processes=ProcessFaults(**processes),
    )


def drawn_events(topology: Topology, faults: FaultPlan, seed: int) -> tuple[Event, ...]:
    """What is done, in order: writes and reads of all kinds, and what happens to processes."""
    chance = Random(f"events {seed}")  # noqa: S311
    drawing = _Drawing(topology, chance)
    for _ in range(topology.actions):
        drawing.action()
    drawing.lives(faults.processes)
    for name, count in (("join", faults.processes.joins), ("leave", faults.processes.leaves)):
        for _ in range(count):
            drawing.add(name, _index(chance), _index(chance), _index(chance))
    for _ in range(faults.processes.raises):
        drawing.add("spoil", _index(chance), _index(chance))
    for _ in range(faults.processes.cancels):
        patience_s = round(chance.random() * 0.5, 6)
        drawing.add("demand", _index(chance), _index(chance), _one_of(chance, _WAITS), patience_s)
    for _ in range(faults.processes.rogues):
        drawing.number += 1
        drawing.add("rogue", _index(chance), drawing.number, _index(chance) % 2)
    for _ in range(faults.processes.reopens if topology.mirrors else 0):
        drawing.add("reopen", _index(chance), _index(chance) % 2 > 0)
    if topology.terms.tombstone_ttl_s < topology.safety_s:
        drawing.apart(Random(f"sweeps {seed}"))  # noqa: S311
    return tuple(sorted(drawing.events, key=lambda event: event.at_s))


class _Drawing:
    def __init__(self, topology: Topology, chance: Random) -> None:
        self.events: list[Event] = []
        self.number = 0
        self._topology = topology
        self._chance = chance

    def add(self, name: str, *arguments: Any, at_s: float | None = None) -> None:
        time_s = self._chance.random() * self._topology.safety_s if at_s is None else at_s
        self.events.append(Event(round(time_s, 6), name, arguments))

    def action(self) -> None:
        """A write, mostly, or a read."""
        chance, kind = self._chance, self._chance.random()
        if kind < 0.8:
            how = _one_of(chance, _HOW)
            if kind < 0.06 and self._topology.unreadable is not None and not self._topology.monolith:
                how = "unreadable"
            self.number += 1
            self.add("write", _index(chance), _index(chance), self.number, how)
            if how == "burst":
                self.number += 2
        else:
            self.add("demand", _index(chance), _index(chance), _one_of(chance, _WAITS), None)

    def apart(self, chance: Random) -> None:
        """Deletions, and the end of all traces of them."""
        self._chance = chance
        for _ in range(_one_of(chance, (1, 3, 6))):
            self.add("write", _index(chance), _index(chance), 0, "delete")
        for _ in range(_one_of(chance, (0, 2, 5))):
            self.add("sweep", _index(chance), _one_of(chance, (-1.0, -1.0, 0.5, 2.0)))

    def lives(self, faults: ProcessFaults) -> None:
        """Ends of authorities, and beginnings after them, each with the data and the clock that it finds."""
        chance = self._chance
        ends = ["kill"] * faults.kills + ["stop"] * faults.stops
        data = ["lost"] * faults.losses + ["older"] * faults.restores
        data += ["kept"] * max(0, len(ends) - len(data))
        _shuffle(chance, data)
        clocks = [-3600.0] * faults.clocks + [0.0] * max(0, len(data) - faults.clocks)
        majors = [1] * faults.rollouts + [0] * max(0, len(data) - faults.rollouts)
        _shuffle(chance, clocks)
        _shuffle(chance, majors)
        for number, found in enumerate(data):
            who, ends_s = _index(chance), chance.random() * self._topology.safety_s
            if (ends[number % len(ends)] if ends else "stop") == "kill":
                self.add("kill", who, _one_of(chance, ("", "", "before", "after")), at_s=ends_s)
            else:
                self.add("stop", who, at_s=ends_s)
            begins_s = ends_s + _one_of(chance, (0.01, 0.5, 3.0))
            share = round(chance.random(), 3) if found == "older" else 0.0
            self.add("start", who, found, share, clocks[number], majors[number], at_s=begins_s)


def _index(chance: Random) -> int:
    return int(chance.random() * 1_000)


def _one_of(chance: Random, choices: Any) -> Any:
    return choices[int(chance.random() * len(choices))]


def _shuffle(chance: Random, items: list[Any]) -> None:
    items[:] = _sample(chance, items, len(items))


def _sample(chance: Random, items: list[Any], count: int) -> list[Any]:
    left = list(items)
    return [left.pop(int(chance.random() * len(left))) for _ in range(min(count, len(left)))]
