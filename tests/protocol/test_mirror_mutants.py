"""Every rule of the mirror is needed: with any of them switched off, some history or some test of a single rule finds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from parasync.protocol import Mirror, Round
from parasync.protocol._firsts import Firsts
from parasync.protocol._holdings import Holdings
from parasync.protocol._proofs import Proofs
from tests.protocol import test_mirror as single
from tests.protocol.mutants import Mutant
from tests.protocol.topics import live_through

pytestmark = pytest.mark.project

SEEDS: Final = 4_000
"""No rule may need more of them."""

HISTORIES: Final = (
    Mutant(Holdings, "_position", "a refused version counts as held", "refused is not None", "False"),
    Mutant(Holdings, "_adopt", "tombstones below the floor are forgotten", "if version <= floor]", "if False]"),
    Mutant(
        Proofs, "_judged", "a beat with another digest proves nothing",
        "(digest.total, digest.count) == (beat.digest, beat.count)", "True",
    ),
    Mutant(Proofs, "_judged", "a beat of another life proves nothing", "beat.epoch != base.epoch or", "False and"),
    Mutant(Proofs, "_judged", "a hole between beats proves nothing", "base.number < beat.since", "False"),
    Mutant(
        Proofs, "_missed", "a beat that names something newer proves nothing", "position.version > newest.version", "False"
    ),
    Mutant(Proofs, "_proven_by_round", "a round closes only needs before it", "asking.needs)", "rules.needs_raised)"),
    Mutant(
        Proofs, "_proven_by", "a beat proves as of when it was made", "min(now_s, base.started_s + beat.uptime_s)", "now_s"
    ),
)  # fmt: skip

UNANSWERED: Final = "page.unproven.add(bucket_of(key))\n        return False\n    rules, floor"


def named(test: Callable[[], None], owner: Any, function: str, rule: str, text: str, instead: str) -> tuple[Mutant, Any]:
    return Mutant(owner, function, rule, text, instead), test


BY_NAME: Final = (
    named(
        single.test_a_tombstone_above_the_floor_counts,
        Holdings, "_digest_at", "the digest counts tombstones above the floor", "version <= floor]", "True]",
    ),
    named(
        single.test_a_floor_forgets_tombstones_and_drops_what_comes_late,
        Holdings, "_turn", "what is not held is a tombstone at the floor", "= self._held(key), ", "= self.held.get(key), ",
    ),
    named(
        single.test_what_is_refused_counts_as_held_and_leaves_what_was_there,
        Holdings, "_keep", "a tombstone below the floor is not kept", "gone or held is None", "held is None",
    ),
    named(
        single.test_what_is_refused_counts_as_held_and_leaves_what_was_there,
        Holdings, "_keep", "where only a refused version is known, the floor says nothing", "not named", "refused is None",
    ),
    named(
        single.test_what_was_saved_is_shown_and_not_proven,
        Holdings, "known", "what was refused is known", "for key in list(self.refused)", "for key in ()",
    ),
    named(
        single.test_beats_that_name_prove_where_there_is_no_digest_to_compare,
        Proofs, "_judged", "a beat that names all since the last proof proves",
        "base.number < beat.since", "base.number <= beat.since",
    ),
    named(
        single.test_what_may_be_late_makes_an_older_base,
        Proofs, "_number_of", "what may be too late to be told is no base", "if asking.lag_s:", "if False:",
    ),
    named(
        single.test_what_may_be_late_makes_an_older_base,
        Proofs, "_proven_by_round", "a round proves no later than what may be late",
        "asking.asked_s - asking.lag_s)", "asking.asked_s)",
    ),
    named(
        single.test_beats_during_a_round_are_judged_at_its_end,
        Proofs, "_proven_by_round", "beats during a round prove nothing if some were missed",
        "asking.since <= self.base.number", "True",
    ),
    named(
        single.test_an_answer_that_names_no_place_proves_nothing,
        Mirror, "learn", "what was not answered is asked for again", UNANSWERED, "return False\n    rules, floor",
    ),
    named(
        single.test_an_answer_below_the_ask_proves_nothing,
        Mirror, "learn", "an answer does not go back", "answered.version < asked.version", "False",
    ),
    named(
        single.test_what_was_refused_and_is_not_told_of_is_gone,
        Mirror, "page_read", "what was refused and is gone is forgotten", "ABSENT_OBJECT if position is None else SAME", "SAME",
    ),
    named(
        single.test_what_comes_live_during_a_page_is_no_news_to_the_same_life,
        Mirror, "page_read", "what comes during a page may be older than it", "or version <= page.floor", "",
    ),
    named(
        single.test_late_echoes_of_what_was_forgotten_are_dropped_during_a_round,
        Mirror, "live_received", "late echoes are dropped", "envelope.version <= asking.floor and", "False and",
    ),
    named(
        single.test_a_round_that_two_lives_answer_proves_nothing,
        Mirror, "_accept", "one life answers a whole round", "asking.epoch not in (-1, said.epoch)", "False",
    ),
    named(
        single.test_what_is_refused_counts_as_held_and_leaves_what_was_there,
        Mirror, "digests_received", "what was refused is tried again", "| refused", "",
    ),
    named(
        single.test_what_becomes_known_or_is_forgotten_during_a_round_is_named_or_not,
        Round, "became_known", "what comes during a round is named by it", "self._came.append(key)", "return",
    ),
    named(
        single.test_an_answer_that_names_no_place_proves_nothing,
        Round, "advance", "what was left open is open in the next pass", "self._again |= page.unproven", "pass",
    ),
    named(
        single.test_an_answer_that_was_not_learned_to_its_end_is_asked_for_again,
        Mirror, "scanned", "an answer is learned to its end", "asking.unread is not None", "False",
    ),
    named(
        single.test_what_lies_behind_an_answer_is_asked_for_before_that_is_learned,
        Round, "ahead", "a pass is learned before it ends", "page.covered >= (self._todo[-1], _END)", "False",
    ),
    named(
        single.test_what_came_before_the_next_ask_is_judged_by_the_answer_to_the_last,
        Round, "scan", "what came before the next ask counts", "= self._came, []", "= [], []",
    ),
    named(
        single.test_what_came_meanwhile_is_not_learned_as_the_first_of_its_object,
        Firsts, "learn_firsts", "what came meanwhile is kept", "if key not in held and key not in refused:", "if True:",
    ),
    named(
        single.test_an_answer_may_cover_nothing_twice,
        Round, "_pass", "an answer may cover less than its ask", "= index, key", "= index + 1, ''",
    ),
)  # fmt: skip


@pytest.mark.parametrize("mutant", HISTORIES, ids=lambda mutant: mutant.rule)
def test_without_a_rule_some_history_breaks_a_promise(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.owner, mutant.function, mutant.made())
    with pytest.raises(AssertionError):
        live_through_many()


def live_through_many() -> None:
    for seed in range(SEEDS):
        live_through(seed)


@pytest.mark.parametrize(("mutant", "test"), BY_NAME, ids=[mutant.rule for mutant, _ in BY_NAME])
def test_without_a_rule_its_test_fails(mutant: Mutant, test: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.owner, mutant.function, mutant.made())
    with pytest.raises((AssertionError, pytest.fail.Exception, KeyError, IndexError, AttributeError)):
        test()
