"""Every rule is needed: with any of them switched off, some walk or some scenario breaks a promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from parasync.protocol import Replica, _authority
from tests.protocol import test_replica, test_scenarios
from tests.protocol.mutants import MUTANTS, Mutant
from tests.protocol.walks import first_violation

pytestmark = pytest.mark.project

SEEDS: Final = range(12_000)
"""No rule may need more of them; those that matter in few worlds skip most."""

BY_NAME: Final[tuple[tuple[Mutant, Callable[[], None]], ...]] = (
    (
        Mutant(
            Replica,
            "_proves",
            "an answer below another life's version proves nothing",
            " and newest.version.epoch == epoch",
            "",
        ),
        test_scenarios.test_an_answer_below_what_another_life_wrote_proves_nothing,
    ),
    (
        Mutant(
            Replica,
            "answer_received",
            "'same' speaks of the position of the ask",
            "asked.position or Position(ABSENT, None)",
            "self._newest()",
        ),
        test_scenarios.test_the_same_by_another_life_says_nothing_of_what_came_since,
    ),
    (
        Mutant(
            Replica,
            "live_received",
            "an envelope ends a doubt only within its life",
            "(held is None or held.epoch == epoch)",
            "True",
        ),
        test_replica.test_an_envelope_of_another_life_does_not_follow,
    ),
    (
        Mutant(
            Replica,
            "answer_received",
            "an answer that contradicts proves nothing",
            "conflicts == self.conflicts and ",
            "",
        ),
        test_replica.test_an_answer_that_contradicts_by_its_value_alone_proves_nothing,
    ),
    (
        Mutant(
            _authority,
            "next_version",
            "a deletion is above the floor",
            "current is None or deletes",
            "current is None",
        ),
        test_scenarios.test_a_deletion_is_above_the_floor,
    ),
)
"""Rules whose walk would have to be long and lucky, each with the history in which it matters."""


@pytest.fixture
def mutated(request: pytest.FixtureRequest) -> Iterator[Mutant]:
    mutant: Mutant = request.param
    made = mutant.made()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mutant.owner, mutant.function, made)
        yield mutant


@pytest.mark.parametrize("mutated", MUTANTS, ids=lambda mutant: mutant.rule, indirect=True)
def test_without_a_rule_some_walk_breaks_a_promise(mutated: Mutant) -> None:
    assert first_violation(SEEDS, mutated.fits) is not None, "the mutant survived"


@pytest.mark.parametrize(("mutant", "scenario"), BY_NAME, ids=[mutant.rule for mutant, _ in BY_NAME])
def test_without_a_rule_its_scenario_ends_otherwise(
    mutant: Mutant, scenario: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario()
    monkeypatch.setattr(mutant.owner, mutant.function, mutant.made())
    with pytest.raises(AssertionError):
        scenario()


def test_every_rule_is_switched_off_once() -> None:
    rules = [mutant.rule for mutant in (*MUTANTS, *(mutant for mutant, _ in BY_NAME))]
    assert len(set(rules)) == len(rules) >= 40


def test_a_mutant_whose_text_was_moved_is_reported() -> None:
    with pytest.raises(LookupError, match="expected once in _is_gap"):
        Mutant(Replica, "_is_gap", "a gap is seen", "not written there", "").made()
