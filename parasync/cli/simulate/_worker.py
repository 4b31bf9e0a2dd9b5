"""One of the processes that simulate: it gets orders as lines of JSON, and answers each with one."""

from __future__ import annotations

import importlib
import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

from parasync.testing.simulation._chart import mermaid_chart, text_chart
from parasync.testing.simulation._course import Course
from parasync.testing.simulation._story import schedule
from parasync.testing.simulation._totals import Totals


def main(arguments: list[str]) -> None:
    """Do what is ordered on standard input, until it ends.

    Args:
        arguments: the module that has `course_of` and `simulate`.
    """
    # Ctrl-C is for the process that gives the orders, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers, sys.stdout = sys.stdout, sys.stderr
    simulator: Any = importlib.import_module(arguments[0])
    for order in _orders():
        answer = _told(simulator, order) if "show" in order else _simulated(simulator, order)
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()


def _orders() -> Iterator[dict[str, Any]]:
    while line := sys.stdin.readline():
        yield json.loads(line)


def _simulated(simulator: Any, order: dict[str, Any]) -> dict[str, Any]:
    """Simulate some seeds in a row, up to the first that breaks a promise."""
    totals = Totals()
    for seed in range(order["first"], order["first"] + order["seeds"]):
        course = simulator.course_of(None, None, seed)
        totals.add(course)
        if course.violations:
            return {**totals.counts(), "broken": seed, "violation": str(course.violations[0])}
    return {**totals.counts(), "broken": None}


def _told(simulator: Any, order: dict[str, Any]) -> dict[str, Any]:
    """The story of one seed that breaks a promise, if it does."""
    course: Course | None = simulator.course_of(None, None, order["seed"])
    if order["shrinks"]:
        try:
            simulator.simulate(None, None, order["seed"])
        except AssertionError as error:
            course = getattr(error, "course", course)
    if course is None or not course.violations:
        return {}
    first = course.violations[0]
    draw = {"text": lambda: text_chart(course.steps, width=order["width"], only_ascii=order["only_ascii"])}
    draw["mermaid"] = lambda: mermaid_chart(course.steps)
    return {
        "seed": order["seed"],
        "promise": first.promise,
        "violation": str(first),
        "schedule": schedule(course),
        "chart": draw[order["show"]](),
    }
