"""Makes a course that breaks a promise as short as it can be: who takes part, what is done, and what strikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import attrs

from parasync.testing.simulation._course import Course, Event, Strike
from parasync.testing.simulation._scenario import Topology
from parasync.testing.simulation._simulate import course_of

TRIES_MAX: Final = 400
"""How many courses are simulated to find the shortest; then the shortest so far is taken."""

_EARLIER: Final = (1, 2, 3)
"""How many messages an event may have caused on each line."""

Item: TypeAlias = Event | Strike


def shrunk(course: Course, tries_max: int = TRIES_MAX) -> Course:
    """A course that breaks the same promise and in which nothing can be left out, as far as a number of tries can tell.

    What is left out is looked for as in delta debugging (Zeller and Hildebrandt, 2002): halves first, then smaller parts.

    Args:
        course: breaks a promise.
        tries_max: how many simulations that may take.
    """
    search = _Search(course, tries_max)
    search.leave_out_parties()
    before = None
    while search.best is not before and search.tries_left > 0:
        before = search.best
        search.leave_out_items()
        search.leave_out_parties()
    return search.best


class _Search:
    def __init__(self, course: Course, tries_max: int) -> None:
        self.best = course
        self.tries_left = tries_max
        self._promise = course.violations[0].promise

    def leave_out_parties(self) -> None:
        """With fewer of everybody."""
        small = self.best.topology
        for change in (
            {"services": ()},
            {"authorities": 1},
            {"readers": min(1, small.readers)},
            {"replicas": min(1, small.replicas)},
            {"keys": 1},
            {"conflates": False},
            {"mirrors": 0},
            {"mirrors": min(1, small.mirrors)},
            {"answer_bytes": 0},
        ):
            before: Any = self.best.topology
            smaller = attrs.evolve(before, **change)
            if smaller != before:
                self._try(self._items(), smaller)

    def leave_out_items(self) -> None:
        """With fewer events and strikes: large parts first, the last ones first."""
        size = len(self._items())
        while size >= 1 and self.tries_left > 0:
            stop = len(self._items())
            while stop > 0 and self.tries_left > 0:
                items = self._items()
                stop = min(stop, len(items))
                left = [*items[: max(0, stop - size)], *items[stop:]]
                if not self._try(left, self.best.topology) and size == 1 and isinstance(items[stop - 1], Event):
                    self._try_earlier(left)
                stop -= size
            size //= 2

    def _try_earlier(self, items: Sequence[Item]) -> None:
        """Where something is left out, what strikes the messages after it has to strike earlier ones."""
        for by in _EARLIER:
            moved = [item if isinstance(item, Event) else (item[0], item[1], item[2] - by, item[3]) for item in items]
            if self._try(moved, self.best.topology):
                return

    def _items(self) -> list[Item]:
        return [*self.best.events, *self.best.strikes]

    def _try(self, items: Sequence[Item], topology: Topology) -> bool:
        if self.tries_left <= 0:
            return False
        self.tries_left -= 1
        course = course_of(
            topology,
            self.best.faults,
            self.best.seed,
            events=[item for item in items if isinstance(item, Event)],
            only=frozenset(item for item in items if not isinstance(item, Event)),
        )
        broken = {violation.promise for violation in course.violations}
        better = self._promise in broken and _size(course) < _size(self.best)
        if better:
            self.best = course
        return better


def _size(course: Course) -> tuple[int, int]:
    topology = course.topology
    parties = topology.authorities + topology.readers * (1 + topology.replicas) + topology.keys + len(topology.services)
    parties += 2 * topology.mirrors + bool(topology.answer_bytes)
    return (len(course.events) + len(course.strikes), parties)
