"""What the simulation has found once does not come back: each finding with its world, its faults and its seed."""

from __future__ import annotations

from typing import Final

import attrs
import pytest

from parasync.testing import FaultPlan, ProcessFaults, StoreFaults, Topology, simulate
from parasync.testing.simulation._plan import drawn_topology
from parasync.testing.simulation._scenario import TERMS

FOUND: Final = {
    # A write was stored, its outcome unknown, and the one read of its repair failed: where nothing is lost nobody asked.
    "a repair is tried again": (
        Topology(readers=3, replicas=3, keys=1, monolith=True, unreadable=None, actions=16),
        FaultPlan(
            store=StoreFaults(before=0.099, after=0.3, slow=0.09, hang=0.006),
            processes=ProcessFaults(kills=3, stops=2, losses=1, restores=3, clocks=1, rollouts=3, raises=2, cancels=1),
        ),
        1,
    ),
    # The repair of a write published what it had read of a store that has meanwhile been claimed by a next life.
    "a repair knows who holds the store": (
        Topology(readers=1, monolith=True, gap="apply", unreadable=None, actions=16),
        FaultPlan(
            store=StoreFaults(slow=0.207, hang=0.3),
            processes=ProcessFaults(kills=1, stops=2, losses=1, restores=3, clocks=2, rollouts=2, raises=1, joins=3),
        ),
        2_719_385,
    ),
    # A lost object was written anew, the outcome unknown: only the one that had asked learned of it, with its next ask.
    "what may have been written anew is published": (
        Topology(monolith=True, gap="apply", unreadable=None, actions=33),
        FaultPlan(
            store=StoreFaults(before=0.033, after=0.153, slow=0.192, foreign=0.048),
            processes=ProcessFaults(stops=2, losses=2, restores=3, clocks=3, raises=3, cancels=3, joins=2, leaves=2),
        ),
        1_491,
    ),
}


@pytest.mark.parametrize("finding", FOUND)
def test_it_does_not_come_back(finding: str) -> None:
    topology, faults, seed = FOUND[finding]
    for near in range(seed, seed + 10):
        assert simulate(topology, faults, near, shrinks=False).violations == ()


@pytest.mark.parametrize("seed", [1_022, 3_266, 1_707, 16_165, 2_758, 48_625])
def test_a_drawn_world_in_which_something_was_found(seed: int) -> None:
    """What a repair, or one who writes a lost object anew, publishes is known to the writes that are under way.

    Who waits for a version of another life asks for its history until it is told. A history does not hold what a life with
    another store wrote. No beat speaks for a moment after a write began that was stored before it and waits to be sent.
    """
    # Worlds in which tombstones are dropped were drawn later.
    topology = attrs.evolve(drawn_topology(seed), terms=TERMS)
    assert simulate(topology, seed=seed, shrinks=False).violations == ()


@pytest.mark.parametrize("seed", [21_293, 31_606, 35_227])
def test_a_world_of_mirrors_and_floors_in_which_something_was_found(seed: int) -> None:
    """Where only a refused version is known, the floor is no version of the object.

    What was written after a deletion that was forgotten is not counted as following it. Who looks around while another claims
    answers nobody.
    """
    assert simulate(drawn_topology(seed), seed=seed, shrinks=False).violations == ()
