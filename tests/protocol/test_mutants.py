"""Every rule is needed: with any of them switched off, some walk or some scenario breaks a promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from parasync.protocol import Replica, _authority, _currency
from tests.protocol import test_beat_scenarios, test_currency, test_replica, test_scenarios
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
    (
        Mutant(
            Replica,
            "_forget_refused_above",
            "and raises a need",
            'self.need_raised("the authority does not know the version that was refused")',
            "pass",
        ),
        test_scenarios.test_what_a_refused_frame_hid_is_asked_for_once_the_frame_is_cleared,
    ),
    (
        Mutant(
            _currency,
            "judge_beat",
            "a beat behind a hole proves nothing",
            "base.number < beat.since",
            "False",
        ),
        test_beat_scenarios.test_where_too_many_beats_are_lost_it_is_asked_for,
    ),
    (
        Mutant(
            _currency,
            "judge_beat",
            "a beat that was heard before says nothing",
            "beat.number <= base.number",
            "False",
        ),
        test_currency.test_a_beat_that_was_heard_before_is_nothing_whatever_it_says,
    ),
    (
        Mutant(
            Replica,
            "beat_received",
            "a beat confirms what it names",
            "confirmed=not confirmed",
            "confirmed=False",
        ),
        test_currency.test_a_beat_names_what_came_live_and_so_confirms_it,
    ),
    (
        Mutant(
            Replica,
            "beat_received",
            "a beat of a deposed life proves nothing",
            "self.base if self.base.epoch == self.current_epoch else NO_BASE",
            "self.base",
        ),
        test_currency.test_a_life_that_was_deposed_proves_nothing_by_its_beats,
    ),
    (
        Mutant(
            Replica,
            "beat_received",
            "a beat that proves too little raises a need",
            "now_s - own.proven_s > own.stale_after_s",
            "False",
        ),
        test_currency.test_a_backlog_of_beats_is_a_need_and_never_makes_a_proof_older,
    ),
    (
        Mutant(
            Replica,
            "beat_received",
            "no proof is younger than now",
            "min(now_s, base.started_s + beat.uptime_s)",
            "base.started_s + beat.uptime_s",
        ),
        test_currency.test_no_proof_is_younger_than_the_beat_that_brings_it,
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
