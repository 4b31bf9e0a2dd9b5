"""What an onlooker of the simulated world writes down. It judges nothing, and asks none of those it watches."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from parasync.protocol import Version
from parasync.testing.simulation._course import Promise, Step, StepKind, Strike, Violation

Place: TypeAlias = tuple[int, int]
"""Epoch and sequence: how the onlooker writes a version."""
NOWHERE: Final[Place] = (0, 0)
"""Where an object is that never was."""

STEPS_MAX: Final = 20_000
"""How many steps a journal keeps for the chart; later ones are left out."""
VIOLATIONS_MAX: Final = 100
"""How many violations a journal keeps; the first is what matters."""


class Content(NamedTuple):
    """What was written: the number of the value, 0 for a deletion; and whether this build of readers can read it."""

    number: int
    readable: bool


GONE: Final = Content(0, readable=True)


class Moment(NamedTuple):
    """Where an object was on a disk from this time on."""

    at_s: float
    place: Place


class Journal:
    """Facts, with their times.

    Args:
        clock: seconds since the beginning.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.now_s = clock
        self.steps: list[Step] = []
        self.strikes: list[Strike] = []
        self.violations: list[Violation] = []
        self.reached: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self.written: defaultdict[str, dict[Place, Content]] = defaultdict(dict)
        """For each key, all that a disk ever took."""
        self.forged: defaultdict[str, dict[Place, set[int]]] = defaultdict(dict)
        """For each key, what frames of nobody claimed."""
        self.floors: defaultdict[Place, set[frozenset[str]]] = defaultdict(set)
        """Where floors ever were, and which objects existed each time: all others stand there, deleted."""
        self.authors: dict[int, str] = {}
        """Who claimed each epoch."""
        self.writing: Counter[str] = Counter()
        """For each key, how many writes are under way."""

    def step(self, kind: StepKind, source: str, target: str, text: str) -> None:
        """Something happened that people want to see."""
        if len(self.steps) < STEPS_MAX:
            one = source == target
            (source, which), target = _lane(source), _lane(target)[0]
            self.steps.append(Step(self.now_s(), kind, source, target, f"{which} {text}" if one and which else text))

    def note(self, who: str, text: str) -> None:
        """Something happened to one."""
        self.step("note", who, who, text)

    def fault(self, who: str, kind: str, text: str = "") -> None:
        """Something went wrong on purpose."""
        self.fired[kind] += 1
        self.step("fault", who, who, text or kind)

    def struck(self, who: str, strike: tuple[str, int, str]) -> None:
        """The seed let a fault strike a message or a call."""
        line, number, kind = strike
        self.strikes.append((who, line, number, kind))
        self.step("fault", who, who, f"{kind} strikes {line} #{number}")

    def broken(self, promise: Promise, who: str, text: str) -> None:
        """A promise was not kept."""
        if len(self.violations) < VIOLATIONS_MAX:
            found = Violation(promise, self.now_s(), who, text)
            self.violations.append(found)
            self.step("violation", who, who, f"{promise}: {text}")

    def content(self, key: str, place: Place) -> Content | None:
        """What was written at a version, or that the object was deleted there or below; None for neither."""
        return self.written[key].get(place, GONE if self.is_floor(key, place) else None)

    def is_floor(self, key: str, place: Place) -> bool:
        """Whether a floor was there, and nothing of this object above or below it."""
        return any(key not in alive for alive in self.floors.get(place, ()))

    def below_floor(self, key: str, place: Place) -> bool:
        """Whether an object was gone at a floor that is not below a version."""
        return any(floor >= place and self.is_floor(key, floor) for floor in self.floors)

    def forgotten(self, key: str, place: Place) -> bool:
        """Whether an object was deleted at a version, and that may be remembered by nobody."""
        return self.below_floor(key, place) and (place == NOWHERE or self.content(key, place) == GONE)

    def stations(self, key: str, place: Place) -> list[Place]:
        """Where an object may stand that somebody has seen at a version: there, or at a floor above where it was deleted."""
        above = [floor for floor in self.floors if floor > place and self.is_floor(key, floor)]
        return [place, *(above if self.forgotten(key, place) else ())]

    def is_written(self, key: str, place: Place, number: int) -> bool:
        """Whether some disk ever took this content at this version."""
        content = self.written[key].get(place)
        return content is not None and content.number == number

    def is_forged(self, key: str, place: Place, number: int) -> bool:
        """Whether a frame of nobody claimed this content for this version."""
        return number in self.forged[key].get(place, ())


def place_of(version: Version) -> Place:
    """A version, as the onlooker writes it."""
    return (version.epoch, version.sequence)


def _lane(who: str) -> tuple[str, str]:
    """The process that something belongs to, and which of its replicas it is; its lives are one."""
    process, number, which = who.partition("#")
    return process.partition(".")[0], number + which
