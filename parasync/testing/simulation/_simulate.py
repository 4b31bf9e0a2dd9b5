"""Runs a plan in virtual time: while faults strike nothing untrue may be shown, and when they have ended all must be true."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from parasync.errors import SimulationError, UsageError
from parasync.testing._run import run
from parasync.testing._trace import Trace
from parasync.testing.simulation._course import Course, Event, Strike
from parasync.testing.simulation._journal import Journal
from parasync.testing.simulation._plan import drawn_events, drawn_faults, drawn_topology
from parasync.testing.simulation._scenario import FaultPlan, Topology
from parasync.testing.simulation._world import World

LOOK_S: Final = 0.5
"""How often everybody's replicas are read while faults strike, in seconds."""
LOOK_AT_REST_S: Final = 2.0
"""How often they are read afterwards."""
LAST_NUMBER: Final = 2_000_000
"""The numbers of the values that are written when faults have ended begin above this."""


def course_of(
    topology: Topology | None = None,
    faults: FaultPlan | None = None,
    seed: int = 0,
    *,
    events: Sequence[Event] | None = None,
    only: frozenset[Strike] | None = None,
) -> Course:
    """Simulate once, and tell what came of it, whatever that is.

    Args:
        topology: who takes part; None lets the seed decide.
        faults: what goes wrong; None lets the seed decide.
        seed: decides all that the others leave open.
        events: what is done; None lets the seed decide.
        only: let nothing strike but these strikes of an earlier course; None lets all.

    Raises:
        UsageError: the topology cannot be simulated.
    """
    topology = drawn_topology(seed) if topology is None else topology
    faults = drawn_faults(seed) if faults is None else faults
    events = drawn_events(topology, faults, seed) if events is None else tuple(events)
    simulation = _Simulation(topology, faults, seed, events, only)
    trace, journal = Trace(), simulation.journal
    try:
        with _silence():
            run(simulation.main, seed=seed, trace=trace)
    except SimulationError as error:
        journal.broken("P8", "everybody", f"{type(error).__name__}: {error}")
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
        journal.broken("P7", "everybody", f"ended in {error!r}")
    trace.note(*journal.steps)
    return Course(
        seed=seed,
        topology=topology,
        faults=faults,
        events=tuple(events),
        strikes=tuple(journal.strikes),
        violations=tuple(journal.violations),
        fired=dict(sorted(journal.fired.items())),
        reached=dict(sorted(journal.reached.items())),
        steps=tuple(journal.steps),
        digest=trace.digest,
        virtual_s=simulation.clock(),
        task_steps=trace.steps,
    )


class _Simulation:
    def __init__(
        self, topology: Topology, faults: FaultPlan, seed: int, events: Sequence[Event], only: frozenset[Strike] | None
    ) -> None:
        self.journal = Journal(self.clock)
        self._topology = topology
        self._faults = faults
        self._seed = seed
        self._events = events
        self._only = only
        self._start_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def clock(self) -> float:
        return 0.0 if self._loop is None else self._loop.time() - self._start_s

    async def main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._start_s = self._loop.time()
        self._loop.set_exception_handler(self._escaped)
        world = World(self._topology, self._faults, self._seed, self.journal, self._only)
        try:
            await world.begin()
            looking = asyncio.create_task(self._look(world), name="onlooker")
            try:
                await self._faults_strike(world)
                world.heal()
                await self._all_is_well(world)
            finally:
                looking.cancel()
                await asyncio.wait([looking])
                if not looking.cancelled() and (error := looking.exception()) is not None:
                    raise error
        finally:
            await world.end()
        self._count(world)

    async def _look(self, world: World) -> None:
        while True:
            world.look()
            await asyncio.sleep(LOOK_S if self.clock() < self._topology.safety_s else LOOK_AT_REST_S)

    async def _faults_strike(self, world: World) -> None:
        for event in self._events:
            await self._until(event.at_s)
            world.do(event)
            world.look()
        await self._until(self._topology.safety_s)

    async def _all_is_well(self, world: World) -> None:
        await asyncio.sleep(converges_within_s(self._topology))
        truth = world.truth()
        if truth is None:
            return
        world.at_rest(truth)
        if not self.journal.violations:
            world.write_all(LAST_NUMBER)
            await asyncio.sleep(asks_within_s(self._topology))
            world.all_written(truth, LAST_NUMBER)
            world.at_rest(truth)

    async def _until(self, at_s: float) -> None:
        if (delay_s := at_s - self.clock()) > 0:
            await asyncio.sleep(delay_s)

    def _escaped(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.journal.broken("P7", "event loop", f"{context.get('message')}: {error!r}")

    def _count(self, world: World) -> None:
        for tap in [party.tap for party in world.readers] + [keeper.tap for keeper in world.keepers]:
            world.judge.storms(tap.who, tap.asked_s)


def converges_within_s(topology: Topology) -> float:
    """How long it may take, once faults have ended, until every replica shows the newest version and says so, in seconds.

    An authority that was fenced takes over after a silence, which it notices at a probe; what was under way then may fail
    once, its asker pauses, and asks again; without a reason to, it asks at the next reconciling.
    """
    terms = topology.terms
    takeover_s = terms.takeover_after_s + 4 * (1.25 * terms.probe_interval_s + terms.probe_timeout_s)
    return takeover_s + asks_within_s(topology)


def asks_within_s(topology: Topology) -> float:
    """How long it may take, where all is well, until every replica has asked with success, in seconds."""
    pace = topology.pace
    return pace.reconcile_interval_s + 2 * (pace.ask_timeout_s + pace.backoff_max_s)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What goes wrong on purpose would fill the log."""
    logger = logging.getLogger("parasync")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
