"""Authorities, replicas and your services in a simulated world, judged by the promises of parasync."""

from parasync.errors import SimulationError
from parasync.testing.simulation._course import Course
from parasync.testing.simulation._scenario import FaultPlan, Topology
from parasync.testing.simulation._simulate import course_of


class BrokenPromiseError(SimulationError, AssertionError):
    """A simulation broke a promise."""


def simulate(
    topology: Topology | None = None, faults: FaultPlan | None = None, seed: int = 0, *, shrinks: bool = True
) -> Course:
    """Simulate once, and raise `BrokenPromiseError` where a promise is broken."""
    course = course_of(topology, faults, seed)
    if course.violations:
        raise BrokenPromiseError(str(course.violations[0]))
    return course
