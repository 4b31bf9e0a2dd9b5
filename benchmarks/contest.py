"""A contest: several contestants do the same work in turns, and what counts is their ratio within each round.

Absolute figures of a shared machine mislead: they change with the hour. Two turns that follow each other closely suffer from
the same neighbours, so their ratio changes little; the median over many rounds, with its quartiles, changes less.
"""

from __future__ import annotations

import gc
import random
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Literal, TypeAlias

import attrs

Better: TypeAlias = Literal["lower", "higher"]
Figures: TypeAlias = Mapping[str, float]
"""What one turn came to, by the name of the metric."""
Turn: TypeAlias = Callable[[], Figures]
"""Does the work once, checks its result, and only then says how fast it was. Raises `WrongResultError` otherwise."""

WARM_UP_ROUNDS: Final = 1
"""Rounds at the beginning that do not count: caches fill, code specialises."""


class WrongResultError(Exception):
    """A contestant did not do the work, so its speed means nothing."""


def check(right: bool, what: str) -> None:
    """Raise `WrongResultError` unless the result is right."""
    if not right:
        raise WrongResultError(what)


@attrs.frozen
class Metric:
    """What is measured.

    Args:
        name: its key in `Figures`.
        unit: of the figures, e.g. `"ns"`.
        better: whether less or more is better.
    """

    name: str
    unit: str
    better: Better


@attrs.frozen
class Contestant:
    """One way to do the work.

    Args:
        name: how it is called in the results.
        turn: does the work once.
        ours: whether it is parasync, so that the ratios of others are taken to it.
    """

    name: str
    turn: Turn
    ours: bool = False


@attrs.frozen
class Target:
    """A ratio to reach: that of one of ours to a peer, at most `limit` where less is better, else at least."""

    ours: str
    peer: str
    metric: str
    limit: float


@attrs.frozen
class Case:
    """One contest.

    Args:
        title: what is done, and how much of it.
        metrics: what each turn reports.
        contestants: who takes part.
        targets: the ratios to reach.
        absent: contestants that could not take part, with the reason.
    """

    title: str
    metrics: tuple[Metric, ...]
    contestants: tuple[Contestant, ...]
    targets: tuple[Target, ...] = ()
    absent: Mapping[str, str] = attrs.Factory(dict)


@attrs.frozen
class Size:
    """How much work there is: `scale` 1 for results to publish, less to look quickly or only to check."""

    scale: float = 1.0

    def of(self, amount: int, least: int = 1) -> int:
        """An amount at this size, but not below `least`."""
        return max(least, int(amount * self.scale))


@attrs.frozen
class Scenario:
    """Contests that share servers and connections.

    Args:
        name: e.g. `"B1"`.
        title: what is measured.
        text: how, in a sentence or two.
        cases: opens what the cases need, hands them out, and closes it.
    """

    name: str
    title: str
    text: str
    cases: Callable[[Size], AbstractContextManager[Sequence[Case]]]


@attrs.frozen
class Spread:
    """Many figures in short: the median and the quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one figure."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@attrs.frozen
class Result:
    """What a contest came to: for each contestant its figures, one a round, by metric."""

    case: Case
    figures: Mapping[str, Mapping[str, Sequence[float]]]

    def ratios(self, ours: str, peer: str, metric: str) -> list[float]:
        """The ratio of two contestants in each round."""
        pairs = zip(self.figures[ours][metric], self.figures[peer][metric], strict=True)
        return [mine / theirs for mine, theirs in pairs]

    def pairs(self) -> Iterator[tuple[str, str, Metric]]:
        """Each of ours with each peer, for each metric."""
        for metric in self.case.metrics:
            for ours in self.case.contestants:
                for peer in self.case.contestants:
                    if ours.ours and not peer.ours:
                        yield ours.name, peer.name, metric


def hold(case: Case, rounds: int) -> Result:
    """Let all contestants take one turn in each round, each round in another order.

    Raises:
        WrongResultError: one of them did not do the work.
    """
    figures: dict[str, dict[str, list[float]]] = {
        contestant.name: {metric.name: [] for metric in case.metrics} for contestant in case.contestants
    }
    for number in range(-WARM_UP_ROUNDS, rounds):
        order = list(case.contestants)
        random.Random(number).shuffle(order)
        for contestant in order:
            # Nobody pays for the garbage of the one before.
            gc.collect()
            try:
                turn = contestant.turn()
            except WrongResultError as error:
                raise WrongResultError(f"{case.title}, {contestant.name}: {error}") from error
            if number >= 0:
                for metric in case.metrics:
                    figures[contestant.name][metric.name].append(turn[metric.name])
    return Result(case, figures)
