"""Plans of faults that are drawn: legal, of every kind, and in the end none at all."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from parasync.testing import FaultPlan, Faults, StoreFaults, Topology, simulate
from parasync.testing.strategies import RATE_MAX, fault_plans, faults, seeds, store_faults, topologies

pytestmark = pytest.mark.project


def rates_of(drawn: Faults | StoreFaults) -> dict[str, float]:
    return {name: rate for name, rate in attrs.asdict(drawn, recurse=False).items() if isinstance(rate, float)}


@given(faults(), store_faults(), faults(rate_max=0.0))
def test_rates_are_in_range(network: Faults, store: StoreFaults, none: Faults) -> None:
    assert len(rates_of(network)) == 11
    assert len(rates_of(store)) == 8
    assert all(0 <= rate <= RATE_MAX for drawn in (network, store) for rate in rates_of(drawn).values())
    assert not any(rates_of(none).values())


@given(fault_plans())
def test_a_plan_is_one_that_can_be_simulated(plan: FaultPlan) -> None:
    """A store that loses its data under a running authority would be refused."""
    assert not plan.store.lose + plan.store.go_back + plan.store.claim


@pytest.mark.parametrize(
    ("strategy", "least"),
    [
        (faults(), Faults()),
        (store_faults(), StoreFaults()),
        (fault_plans(), FaultPlan()),
        (seeds(), 0),
    ],
    ids=["network", "store", "plan", "seed"],
)
def test_the_simplest_is_nothing_at_all(strategy: st.SearchStrategy[Any], least: Any) -> None:
    assert find(strategy, lambda _: True, settings=settings(max_examples=20, deadline=None)) == least


def test_what_matters_is_left_alone() -> None:
    found = find(faults(), lambda drawn: drawn.drop > 0, settings=settings(max_examples=200, deadline=None))
    assert found == Faults(drop=RATE_MAX / 100)


def test_the_smallest_world_has_one_of_each() -> None:
    found = find(topologies(), lambda _: True)
    assert attrs.asdict(found, recurse=False) == attrs.asdict(
        Topology(authorities=1, readers=1, replicas=1, keys=1, actions=0, unreadable=found.unreadable), recurse=False
    )


@pytest.mark.parametrize("kind", [field.name for field in attrs.fields(Faults) if field.type == "float"])
def test_each_fault_is_drawn_alone(kind: str) -> None:
    wanted = settings(phases=[Phase.generate], max_examples=5_000, deadline=None)
    assert find(faults(), lambda drawn: getattr(drawn, kind) > 0, settings=wanted)


@settings(max_examples=10, deadline=None, phases=[Phase.generate])
@given(topologies(), fault_plans(), seeds())
def test_what_is_drawn_can_be_simulated(topology: Topology, plan: FaultPlan, seed: int) -> None:
    course = simulate(topology, plan, seed, shrinks=False)
    assert course.violations == ()
