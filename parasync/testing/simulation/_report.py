"""One simulation, which raises where a promise is broken, and tells the shortest way to that."""

from __future__ import annotations

from parasync.errors import BrokenPromiseError, UsageError
from parasync.testing.simulation._chart import text_chart
from parasync.testing.simulation._course import Course
from parasync.testing.simulation._scenario import FaultPlan, Topology
from parasync.testing.simulation._shrink import shrunk
from parasync.testing.simulation._simulate import course_of
from parasync.testing.simulation._story import retold, schedule


def simulate(
    topology: Topology | None = None, faults: FaultPlan | None = None, seed: int = 0, *, shrinks: bool = True
) -> Course:
    """Run authorities, replicas and services through faults, heal all, and check that every promise was kept.

    It runs in virtual time: a minute takes some hundredths of a second. First, for `topology.safety_s`, faults strike, and
    whatever a replica shows is compared with what the disks took: never backwards (P1), never invented (P2), never unread (P3),
    every skip told (P4), `OK` only where it is surely current (P6), no harm by bad neighbours (P7), no storm of asks, nothing
    left behind (P8), and acknowledged writes stored (P9). Then all is healed, and within a bound everybody shows the newest
    version (P5).

    Args:
        topology: who takes part; None lets the seed decide.
        faults: what goes wrong; None lets the seed decide.
        seed: decides all that the others leave open; the same one takes the same course, on every Python.
        shrinks: look for the shortest schedule that breaks the same promise, which takes some hundred simulations.

    Returns:
        What happened, which faults fired, and which rare states were reached.

    Raises:
        BrokenPromiseError: a promise was broken; the text tells which, by what, and how that went.
        UsageError: an argument is not of its type, the transport of the topology cannot ask, or this is called inside of an
            event loop.
    """
    given: tuple[object, object, object] = (topology, faults, seed)
    if not all(map(isinstance, given, (Topology | None, FaultPlan | None, int))):
        raise UsageError(f"got {', '.join(type(one).__name__ for one in given)}, expected a Topology, a FaultPlan and an int")
    course = course_of(topology, faults, seed)
    if not course.violations:
        return course
    if shrinks:
        course = shrunk(course)
    raise BrokenPromiseError(report(course), course)


def report(course: Course) -> str:
    """What a course that breaks a promise has to tell: the promise, the schedule, and how it went.

    Args:
        course: with at least one violation.
    """
    steps, epochs = retold(course)
    lines = [
        f"seed {course.seed} breaks a promise: {course.violations[0]}",
        "",
        f"What leads there, {len(course.events)} events and {len(course.strikes)} strikes:",
        *[f"  {line}" for line in schedule(course)],
        "",
        text_chart(steps),
        *epochs,
    ]
    return "\n".join(lines)
