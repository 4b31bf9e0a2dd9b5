"""A course in words: what was done, and what struck."""

from __future__ import annotations

from typing import Final

from parasync.testing.simulation._course import Course

LINES_MAX: Final = 200
"""How many lines of a schedule are told; more are counted. A minimal one has few."""


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
