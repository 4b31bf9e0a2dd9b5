"""What a simulation was, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import attrs

from parasync.testing.simulation._scenario import FaultPlan, Topology

Promise: TypeAlias = Literal["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9"]
StepKind: TypeAlias = Literal["message", "lost", "note", "fault", "violation"]
"""What somebody sent and another got; what was sent and never came; what happened to one; a fault; a broken promise."""
Strike: TypeAlias = tuple[str, str, int, str]
"""Whose connection or store, which line of it, the how-manieth message on it, and the kind of fault that struck it."""


@attrs.frozen
class Event:
    """One thing that is done to the simulated world at one moment.

    Args:
        at_s: when, in seconds of virtual time since the beginning.
        name: what, e.g. `write`.
        arguments: to whom and with what.
    """

    at_s: float
    name: str
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at_s:9.3f} s  {self.name}({', '.join(map(repr, self.arguments))})"


@attrs.frozen
class Step:
    """One step of the sequence that is shown to people.

    Args:
        at_s: when, in seconds of virtual time since the beginning.
        kind: what it is.
        source: who did it, or to whom it happened.
        target: who got it; the same as `source` for what happened to one.
        text: what, in a few words, without line breaks.
    """

    at_s: float
    kind: StepKind
    source: str
    target: str
    text: str


@attrs.frozen
class Violation:
    """A promise that was not kept.

    Args:
        promise: which, as numbered in the documentation.
        at_s: when that was seen, in seconds of virtual time since the beginning.
        who: whose promise it was.
        text: what was got and what was expected.
    """

    promise: Promise
    at_s: float
    who: str
    text: str

    def __str__(self) -> str:
        return f"{self.promise} at {self.at_s:.3f} s, {self.who}: {self.text}"


@attrs.frozen(kw_only=True)
class Course:
    """One simulation from its beginning to its end. The same seed takes the same course, on every Python.

    Args:
        seed: what decided everything that the others leave open.
        topology: who took part.
        faults: what was to go wrong.
        events: what was done, in order.
        strikes: which messages and calls were struck by a fault.
        violations: the promises that were not kept, in order; the first is what matters.
        fired: how often each kind of fault really hit.
        reached: how often each rare state was really reached.
        steps: the sequence of messages and other happenings.
        digest: stands for every step of every task and every observation.
        virtual_s: how long it took, in virtual seconds.
        task_steps: how many steps of tasks that were.
    """

    seed: int
    topology: Topology
    faults: FaultPlan
    events: tuple[Event, ...]
    strikes: tuple[Strike, ...]
    violations: tuple[Violation, ...]
    fired: Mapping[str, int]
    reached: Mapping[str, int]
    steps: tuple[Step, ...]
    digest: str
    virtual_s: float
    task_steps: int
