"""A simulator that breaks promises, and waits for ever, at the seeds that the environment says."""

from __future__ import annotations

import os
import threading

import attrs

from parasync.errors import SimulationError
from parasync.testing.simulation._course import Course, Event, Step, Violation
from parasync.testing.simulation._scenario import FaultPlan, Topology
from parasync.testing.simulation._totals import FAULT_KINDS, RARE_STATES

BROKEN = "STUB_BROKEN"
HANGS = "STUB_HANGS"
DIES = "STUB_DIES"
COMPLETE = "STUB_COMPLETE"


class Broken(SimulationError, AssertionError):
    def __init__(self, course: Course) -> None:
        super().__init__("broken")
        self.course = course


def seeds_in(variable: str) -> set[int]:
    return {int(text) for text in os.environ.get(variable, "").split()}


def course_of(topology: Topology | None, faults: FaultPlan | None, seed: int) -> Course:
    if seed in seeds_in(HANGS):
        threading.Event().wait()
    if seed in seeds_in(DIES):
        os._exit(3)
    steps = [Step(number / 10, "message", "owner", "reader", f"version {number}") for number in range(200)]
    violations = [Violation("P1", 20.0, "reader", "from 5.2 back to 5.1")] if seed in seeds_in(BROKEN) else []
    steps += [Step(20.0, "violation", "reader", "reader", f"{found.promise}: {found.text}") for found in violations]
    complete = COMPLETE in os.environ
    return Course(
        seed=seed,
        topology=topology or Topology(),
        faults=faults or FaultPlan(),
        events=tuple(Event(number / 10, "write", (number,)) for number in range(200)),
        strikes=(("reader", "box:1", 3, "reorder"),),
        violations=tuple(violations),
        fired=dict.fromkeys(FAULT_KINDS, 3) if complete else {"drop": 2, "hang": 1},
        reached=dict.fromkeys(RARE_STATES, 1) if complete else {"interruption": 1},
        steps=tuple(steps),
        digest=str(seed),
        virtual_s=20.0,
        task_steps=1000,
    )


def simulate(topology: Topology | None, faults: FaultPlan | None, seed: int) -> Course:
    course = course_of(topology, faults, seed)
    if course.violations:
        raise Broken(attrs.evolve(course, events=course.events[:2], steps=course.steps[-3:]))
    return course
