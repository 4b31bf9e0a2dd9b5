"""A course in words: what was done, what struck, and what followed."""

from __future__ import annotations

import re
from typing import Final

import attrs

from parasync.testing.simulation._course import Course, Step

LINES_MAX: Final = 200
"""How many lines of a schedule are told; more are counted. A minimal one has few."""

_EPOCH: Final = re.compile(r"\b[0-9]{15,16}\b")


def schedule(course: Course) -> list[str]:
    """What was done and what struck, a line each: all that has to happen again for the same course.

    Args:
        course: whose schedule.
    """
    done = [str(event) for event in course.events]
    struck = [f"{kind} strikes {who}: {line}, number {number}" for who, line, number, kind in course.strikes]
    lines = [*done, *struck]
    left = len(lines) - LINES_MAX
    return lines if left <= 0 else [*lines[:LINES_MAX], f"and {left} more"]


def retold(course: Course) -> tuple[list[Step], list[str]]:
    """The steps up to the first broken promise, with short names for epochs, and a line for each of these names.

    Args:
        course: with at least one violation.
    """
    steps = [step for step in course.steps if step.at_s <= course.violations[0].at_s]
    epochs = dict.fromkeys(epoch for step in steps for epoch in _EPOCH.findall(step.text))
    names = {epoch: f"e{number}" for number, epoch in enumerate(epochs, 1)}
    short = [attrs.evolve(step, text=_EPOCH.sub(lambda match: names[match[0]], step.text)) for step in steps]
    return short, [f"{name} is the epoch {epoch}" for epoch, name in names.items()]
