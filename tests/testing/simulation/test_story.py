"""What is told of a course: every event, every strike, and versions that a person can compare."""

from __future__ import annotations

import attrs
import pytest

from parasync.errors import BrokenPromiseError, UsageError
from parasync.testing import Course, Event, FaultPlan, ProcessFaults, Simulation, Step, Topology, Totals, Violation, simulate
from parasync.testing.simulation._story import LINES_MAX, retold, schedule

QUIET = Topology(actions=1, keys=1, readers=1, replicas=1, safety_s=1.0)


@pytest.fixture(scope="module")
def course() -> Course:
    return simulate(QUIET, FaultPlan(processes=ProcessFaults(stops=1)), 1)


def test_a_schedule_has_a_line_for_each_event_and_each_strike(course: Course) -> None:
    struck = attrs.evolve(course, events=(Event(0.25, "stop", (3,)),), strikes=(("reader 1", "ask box", 2, "drop"),))
    assert schedule(struck) == ["    0.250 s  stop(3)", "drop strikes reader 1: ask box, number 2"]


def test_of_a_long_schedule_the_rest_is_counted(course: Course) -> None:
    long = attrs.evolve(course, events=tuple(Event(number, "write", (number,)) for number in range(LINES_MAX + 7)), strikes=())
    told = schedule(long)
    assert len(told) == LINES_MAX + 1
    assert told[-1] == "and 7 more"


def test_steps_are_told_up_to_the_broken_promise_with_short_epochs(course: Course) -> None:
    first, second = 1820002459473473, 1820002460101745
    steps = (
        Step(0.0, "note", "owner", "owner", f"serves in epoch {first}"),
        Step(1.0, "message", "owner", "reader", f"box:0 {second}.1 after {first}.7"),
        Step(2.0, "violation", "reader", "reader", f"P1: from {second}.1 to {first}.7"),
        Step(2.5, "note", "owner", "owner", "goes on"),
    )
    broken = attrs.evolve(course, steps=steps, violations=(Violation("P1", 2.0, "reader", "it went back"),))
    told, epochs = retold(broken)
    assert [step.text for step in told] == ["serves in epoch e1", "box:0 e2.1 after e1.7", "P1: from e2.1 to e1.7"]
    assert epochs == [f"e1 is the epoch {first}", f"e2 is the epoch {second}"]


def test_simulations_in_a_row_are_summed(course: Course) -> None:
    plan = FaultPlan(processes=ProcessFaults(stops=1))
    totals = Simulation(1, 2)(QUIET, plan)
    alone = Totals()
    alone.add(course)
    alone.add(simulate(QUIET, plan, 2))
    assert totals == alone
    assert totals.fired["stop"] == 2
    assert "kill" in totals.never


def test_the_first_broken_promise_ends_the_row_and_is_told_with_what_the_caller_adds() -> None:
    seen: list[int] = []

    async def service(_: object) -> None:
        raise ValueError("out of tea")

    def broken(seed: int) -> str:
        seen.append(seed)
        return "repeat it so"

    with pytest.raises(BrokenPromiseError, match="out of tea") as caught:
        Simulation(5, 3, broken)(attrs.evolve(QUIET, services=(service,)))
    assert seen == [5]
    assert caught.value.__notes__ == ["repeat it so"]
    assert caught.value.course.violations[0].promise == "P7"


@pytest.mark.parametrize(("first", "runs"), [(-1, 1), (0, 0)])
def test_a_row_of_no_seeds_is_refused(first: int, runs: int) -> None:
    with pytest.raises(UsageError, match="expected a seed from 0 and runs above 0"):
        Simulation(first, runs)
