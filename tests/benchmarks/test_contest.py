"""Turns are interleaved, and ratios are made round by round."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.contest import WARM_UP_ROUNDS, Case, Contestant, Metric, Size, Spread, Target, hold
from benchmarks.outcome import reached

COST = Metric("cost", "ns", "lower")


def contestant(name: str, figures: list[float], turns: list[str], *, ours: bool = False) -> Contestant:
    left = iter([*[0.0] * WARM_UP_ROUNDS, *figures])

    def turn() -> dict[str, float]:
        turns.append(name)
        return {COST.name: next(left)}

    return Contestant(name, turn, ours)


def test_each_takes_one_turn_a_round_and_the_first_rounds_do_not_count() -> None:
    turns: list[str] = []
    case = Case("a case", (COST,), tuple(contestant(name, [1.0] * 20, turns) for name in "abc"))
    result = hold(case, rounds=20)
    rounds = [turns[start : start + 3] for start in range(0, len(turns), 3)]
    assert len(rounds) == WARM_UP_ROUNDS + 20
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert set(Counter(each[0] for each in rounds)) == {"a", "b", "c"}, "nobody is always first"
    assert all(len(figures[COST.name]) == 20 for figures in result.figures.values())


def test_ratios_are_those_of_one_round() -> None:
    turns: list[str] = []
    mine, theirs = contestant("mine", [2.0, 20.0, 3.0], turns, ours=True), contestant("theirs", [1.0, 10.0, 3.0], turns)
    result = hold(Case("a case", (COST,), (mine, theirs)), rounds=3)
    assert result.ratios("mine", "theirs", "cost") == [2.0, 2.0, 1.0]
    assert list(result.pairs()) == [("mine", "theirs", COST)]


def test_a_spread_is_the_median_with_the_quartiles() -> None:
    assert Spread.of([5.0, 1.0, 2.0, 3.0, 4.0]) == Spread(3.0, 2.0, 4.0)
    assert Spread.of([7.0]) == Spread(7.0, 7.0, 7.0)


@pytest.mark.parametrize(("scale", "amount"), [(1.0, 200), (0.1, 20), (0.0001, 3)])
def test_the_size_scales_the_work_down_to_the_least(scale: float, amount: int) -> None:
    assert Size(scale).of(200, least=3) == amount


@pytest.mark.parametrize(
    ("better", "median", "right"), [("lower", 2.0, True), ("lower", 2.1, False), ("higher", 2.0, True), ("higher", 1.9, False)]
)
def test_a_target_is_reached_on_its_own_side_of_the_limit(better: str, median: float, right: bool) -> None:
    target = Target("mine", "theirs", "cost", 2.0)
    assert reached({"better": better, "limit": target.limit, "ratio": {"median": median}}) is right
