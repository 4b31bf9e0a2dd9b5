"""The replica, rule by rule: histories of several steps. The table of states and inputs is in `test_state_table.py`."""

from __future__ import annotations

import pytest

from parasync.errors import ParseError
from parasync.protocol import (
    ABSENT_OBJECT,
    SAME,
    UNANSWERED,
    Envelope,
    Kind,
    Position,
    Replica,
    Status,
    Unreadable,
    Version,
    status_of,
)
from tests.protocol.kit import (
    Text,
    a_replica,
    answer,
    asks,
    counted,
    is_unproven,
    keeps_pace,
    live,
    proven_at,
    shown,
    state,
    tombstone,
)

# Order


def test_only_what_is_above_the_held_version_is_applied() -> None:
    replica = proven_at("2.7")
    assert [live(replica, state(version)) for version in ("2.6", "2.7", "1.99", "2.8", "2.7", "2.8")] == [
        *(False, False, False, True, False, False)
    ]
    assert shown(replica) == "2.8=v2.8"
    assert replica.ignored_stale == 5


def test_the_sequence_of_a_later_life_may_be_lower() -> None:
    replica = proven_at("2.7")
    live(replica, state("3.1"))
    assert shown(replica) == "3.1=v3.1"
    assert replica.resets == 1


def test_what_a_deposed_authority_publishes_is_dropped_also_above_the_held_version() -> None:
    replica = proven_at("2.7")
    answer(replica, SAME, epoch=4)
    assert not live(replica, state("3.1"))
    assert shown(replica) == "2.7=v2.7"
    assert live(replica, state("4.1"))


def test_another_life_is_a_reason_to_ask_also_where_its_envelope_is_refused() -> None:
    for envelope in (state("3.1"), state("3.1", "bad")):
        replica = proven_at("2.7")
        live(replica, envelope)
        assert asks(replica)
        assert replica.current_epoch == 3


def test_the_first_version_of_an_object_that_did_not_exist_is_no_reset() -> None:
    replica = a_replica()
    answer(replica, ABSENT_OBJECT)
    assert shown(replica) == "0.0 deleted"
    live(replica, state("2.1"))
    assert shown(replica) == "2.1=v2.1"
    assert replica.resets == 0


def test_an_object_that_comes_back_in_another_life_is_a_reset() -> None:
    replica = a_replica()
    answer(replica, ABSENT_OBJECT, floor=Version(2, 9))
    assert shown(replica) == "2.9 deleted"
    live(replica, state("3.1"))
    assert replica.resets == 1


# Gaps


@pytest.mark.parametrize(
    ("sequence", "after", "gaps"), [(8, None, 0), (9, None, 1), (9, 7, 0), (9, 8, 1), (20, 3, 0), (8, 7, 0)]
)
def test_a_gap_is_what_was_sent_in_between_and_not_what_was_written(sequence: int, after: int | None, gaps: int) -> None:
    replica = proven_at("2.7")
    assert live(replica, state(f"2.{sequence}", after=after))
    assert replica.gaps == gaps
    assert asks(replica) == bool(gaps)


def test_a_refused_version_is_known_and_leaves_no_gap() -> None:
    replica = proven_at("2.7")
    live(replica, state("2.8", "bad"))
    live(replica, state("2.9"))
    assert counted(replica) == {"applied": 2, "parse_errors": 1, "refetches": 1}


def test_a_gap_after_a_refused_version_is_a_gap() -> None:
    replica = proven_at("2.7")
    live(replica, state("2.8", "bad"))
    live(replica, state("2.10"))
    assert replica.gaps == 1


def test_neither_the_first_envelope_nor_another_life_makes_a_gap() -> None:
    replica = a_replica()
    live(replica, state("2.7"))
    live(replica, state("3.9"))
    assert (replica.gaps, replica.resets) == (0, 1)


@pytest.mark.parametrize(("sequence", "after", "gaps"), [(1, None, 0), (3, 0, 0), (2, None, 1), (3, 1, 1)])
def test_who_knows_that_an_object_never_was_notices_that_its_first_version_was_lost(
    sequence: int, after: int | None, gaps: int
) -> None:
    replica = a_replica()
    answer(replica, ABSENT_OBJECT, epoch=2)
    assert live(replica, state(f"2.{sequence}", after=after))
    assert replica.gaps == gaps
    assert asks(replica) == bool(gaps)


def test_an_object_that_was_deleted_in_another_life_may_come_back_at_any_sequence() -> None:
    replica = a_replica()
    answer(replica, ABSENT_OBJECT, floor=Version(2, 9), epoch=3)
    live(replica, state("3.12"))
    assert (replica.gaps, replica.resets) == (0, 1)


def test_an_answer_may_jump() -> None:
    replica = proven_at("2.7")
    answer(replica, state("2.20"))
    assert counted(replica) == {"applied": 2, "refetches": 2}


def test_a_gap_that_is_only_to_be_counted_is_no_reason_to_ask() -> None:
    replica = a_replica(gap="apply")
    answer(replica, state("2.7"))
    live(replica, state("2.9"))
    assert (replica.gaps, replica.need_open) == (1, False)


# Refusals


@pytest.mark.parametrize(
    ("envelope", "counter"), [(state("2.8", "bad"), "parse_errors"), (state("2.8", schema="2.0"), "schema_skews")]
)
def test_the_last_good_value_stays_when_a_version_is_refused(envelope: Text, counter: str) -> None:
    replica = proven_at("2.7")
    assert not live(replica, envelope)
    assert shown(replica) == "2.7=v2.7"
    assert counted(replica) == {"applied": 1, counter: 1, "refetches": 1}
    assert asks(replica)
    assert status_of(replica, 0.0) is Status.SKEW


def test_a_refused_version_is_not_gated_live_again_but_an_answer_is() -> None:
    replica = proven_at("2.7")
    live(replica, state("2.8", "bad"))
    live(replica, state("2.8", "bad"))
    assert (replica.parse_errors, replica.ignored_stale) == (1, 1)
    answer(replica, state("2.8", "bad"))
    assert replica.parse_errors == 2
    assert not asks(replica), "it is confirmed: the authority has nothing newer"
    assert status_of(replica, 0.0) is Status.SKEW
    # By now the gate has learned to read it.
    assert replica.answer_received(replica.asked(), state("2.8"), "good", epoch=2, asked_s=0.0)
    assert shown(replica) == "2.8=good"
    assert status_of(replica, 0.0) is Status.OK


def test_what_is_between_the_held_and_the_refused_version_waits_for_an_answer() -> None:
    replica = proven_at("2.7")
    live(replica, state("2.9", "bad"))
    assert not live(replica, state("2.8"))
    answer(replica, state("2.8"))
    assert shown(replica) == "2.8=v2.8"
    assert replica.refused is None
    assert asks(replica), "what the authority does not know had hidden other envelopes"


def test_an_answer_below_a_refused_version_clears_it() -> None:
    for outcome in (SAME, state("2.7"), state("2.8"), ABSENT_OBJECT):
        replica = proven_at("2.7")
        live(replica, state("2.9", "bad"))
        answer(replica, outcome)
        assert replica.refused is None
        assert asks(replica)


def test_a_newer_version_ends_a_refusal() -> None:
    replica = proven_at("2.7")
    live(replica, state("2.8", "bad"))
    live(replica, state("2.9"))
    assert replica.refused is None
    assert shown(replica) == "2.9=v2.9"


def test_a_refusal_of_another_checksum_is_not_confirmed() -> None:
    """Two contents of one version that both do not pass: the newer one counts, and it is the authority's."""
    replica = proven_at("2.7")
    live(replica, state("2.8", "bad one"))
    answer(replica, state("2.8", "bad two"))
    assert replica.refused is not None
    assert replica.refused.position == Position.of(state("2.8", "bad two"))
    assert not asks(replica)


# Conflicts


def test_a_contradiction_is_counted_and_is_a_reason_to_ask_and_changes_nothing() -> None:
    replica = proven_at("2.7")
    assert not live(replica, state("2.7", "other"))
    assert (replica.conflicts, replica.ignored_stale, replica.need_open) == (1, 0, True)
    assert shown(replica) == "2.7=v2.7"


def test_an_answer_that_contradicts_proves_nothing() -> None:
    replica = proven_at("2.7")
    replica.need_raised("interrupted")
    assert not answer(replica, state("2.7", "other"), asked_s=5.0)
    assert (replica.conflicts, replica.need_open, replica.proven_s) == (1, True, 0.0)
    answer(replica, state("3.8", "other"), epoch=3)
    assert shown(replica) == "3.8=other"
    assert not asks(replica)


def test_a_contradiction_that_another_thread_left_unread_proves_nothing_either() -> None:
    """The value was read while the replica was still behind; by now live delivery has brought other content of this version."""
    replica = proven_at("2.6")
    asked = replica.asked()
    live(replica, state("2.7"))
    replica.need_raised("interrupted")
    replica.answer_received(replica.asked(), state("2.7", "other"), "other", epoch=2, asked_s=5.0)
    assert (replica.conflicts, replica.need_open, replica.proven_s) == (1, True, 0.0)
    assert asked.needs < replica.needs_raised


def test_an_answer_that_contradicts_by_its_value_alone_proves_nothing() -> None:
    """In process nothing may have been encoded, and there are no checksums to tell."""
    replica = a_replica(lossless=True)
    live(replica, state("2.7", checksum=False))
    answer(replica, state("2.7", "other", checksum=False), asked_s=5.0)
    assert (replica.conflicts, replica.need_open) == (1, True)
    assert replica.proven_s < 5.0


def test_an_absence_at_the_very_version_of_a_state_is_a_contradiction() -> None:
    replica = proven_at("2.7")
    answer(replica, ABSENT_OBJECT, floor=Version(2, 7))
    assert (replica.conflicts, replica.need_open) == (1, True)


# Needs and proofs


def test_an_answer_closes_only_the_needs_that_were_raised_before_its_ask() -> None:
    replica = proven_at("2.7")
    replica.need_raised("first")
    asked = replica.asked()
    replica.need_raised("second")
    answer(replica, SAME, asked, asked_s=5.0)
    assert asks(replica)
    assert replica.proven_s == 5.0
    answer(replica, SAME)
    assert not asks(replica)


def test_same_speaks_of_the_position_that_was_asked_with() -> None:
    """The asked version was confirmed by another life than that of the held one, which is therefore not proven."""
    replica = proven_at("2.7")
    asked = replica.asked()
    live(replica, state("2.8"))
    replica.need_raised("interrupted")
    answer(replica, SAME, asked, epoch=3)
    assert asks(replica)
    replica = proven_at("2.7")
    replica.need_raised("interrupted")
    asked = replica.asked()
    live(replica, state("2.8"))
    answer(replica, SAME, asked, epoch=2)
    assert not asks(replica), "an authority that wrote the held version itself was only overtaken by its own publication"


def test_same_to_an_ask_without_a_position_is_a_failure() -> None:
    replica = a_replica()
    assert not answer(replica, SAME)
    assert replica.failed == "the answer says 'same' to an ask that named no position"
    assert (replica.refetch_failures, replica.need_open) == (1, True)


def test_an_answer_below_the_held_version_proves_within_one_life_only() -> None:
    for epoch, proves in [(2, True), (3, False)]:
        replica = proven_at("2.7")
        replica.need_raised("interrupted")
        answer(replica, state("2.6"), epoch=epoch)
        assert asks(replica) is not proves
        assert shown(replica) == "2.7=v2.7"


def test_an_answer_of_a_deposed_authority_changes_nothing() -> None:
    replica = proven_at("3.7")
    replica.need_raised("interrupted")
    replica.ask_failed("no answer")
    assert not answer(replica, state("2.9"), epoch=2)
    assert (replica.failed, replica.need_open, replica.current_epoch) == ("no answer", True, 3)


def test_what_did_not_fit_into_an_answer_changes_nothing() -> None:
    replica = proven_at("2.7")
    replica.need_raised("interrupted")
    assert not answer(replica, UNANSWERED, epoch=3)
    assert (replica.need_open, replica.current_epoch) == (True, 2)


def test_an_ask_says_where_the_replica_stands() -> None:
    replica = a_replica()
    assert replica.asked() == (1, None)
    replica = proven_at("2.7")
    live(replica, state("2.8", "bad"))
    asked = replica.asked()
    assert asked.position == Position.of(state("2.7")), "a refused version is not held"
    assert asked.needs == replica.needs_raised
    live(replica, tombstone("2.9"))
    assert replica.asked().position == Position.of(tombstone("2.9"))


def test_a_deletion_is_a_version_like_any_other() -> None:
    replica = proven_at("2.7")
    assert live(replica, tombstone("2.8"))
    assert shown(replica) == "2.8 deleted"
    assert not live(replica, state("2.7"))
    assert live(replica, state("2.9"))
    assert counted(replica) == {"applied": 3, "ignored_stale": 1, "refetches": 1}


def test_absence_is_a_deletion_at_the_floor() -> None:
    replica = a_replica()
    assert answer(replica, ABSENT_OBJECT, floor=Version(2, 9))
    assert shown(replica) == "2.9 deleted"
    assert not answer(replica, ABSENT_OBJECT, floor=Version(2, 9))
    assert not asks(replica)


# Seeds


def test_a_seed_is_shown_at_once_and_proves_nothing() -> None:
    replica = a_replica()
    assert replica.seed_received(state("2.7"), "x")
    assert shown(replica) == "2.7=x"
    assert (replica.provisional, replica.need_open, counted(replica)) == (True, True, {})
    assert replica.asked().position is None


def test_where_nobody_can_be_asked_a_seed_is_a_value_like_any_other() -> None:
    replica = a_replica(askable=False)
    replica.seed_received(state("2.7"), "x")
    assert not is_unproven(replica)


@pytest.mark.parametrize("outcome", [state("2.3"), state("2.7", "other"), state("9.1"), tombstone("2.3"), ABSENT_OBJECT])
def test_the_first_answer_replaces_a_seed_whatever_its_version(outcome: Envelope[str | None]) -> None:
    replica = a_replica()
    replica.seed_received(state("2.7"), "v2.7")
    assert answer(replica, outcome, epoch=9)
    expected = a_replica()
    answer(expected, outcome, epoch=9)
    assert shown(replica) == shown(expected)
    assert (replica.provisional, replica.need_open) == (False, False)


def test_an_answer_that_equals_a_seed_confirms_it_and_changes_nothing() -> None:
    replica = a_replica()
    replica.seed_received(state("2.7", checksum=False), "v2.7")
    assert not answer(replica, state("2.7"))
    assert (replica.provisional, replica.need_open, replica.applied) == (False, False, 0)
    assert replica.asked().position == Position.of(state("2.7")), "the checksum is the authority's"


def test_a_seed_of_nothing_is_not_confirmed_by_a_value_that_is_none() -> None:
    for seed, outcome in [(Kind.TOMBSTONE, Kind.STATE), (Kind.STATE, Kind.TOMBSTONE)]:
        replica: Replica[None] = Replica(lambda _: None, lossless=False, askable=True)
        replica.seed_received(Envelope(None, "1.0", 7, 2, kind=seed), None)
        assert replica.answer_received(replica.asked(), Envelope(None, "1.0", 7, 2, kind=outcome), None, epoch=2, asked_s=0.0)
        assert replica.held is not None
        assert replica.held.kind is outcome


def test_a_live_envelope_above_a_seed_makes_it_an_ordinary_value() -> None:
    replica = a_replica()
    replica.seed_received(state("2.7"), "x")
    assert not live(replica, state("2.6"))
    assert is_unproven(replica)
    assert live(replica, state("2.8"))
    assert not is_unproven(replica)
    assert not answer(replica, state("2.6")), "from here on versions only rise"


def test_an_answer_that_is_refused_leaves_the_seed_unproven() -> None:
    for version in ("2.5", "2.7", "2.9"):
        replica = a_replica()
        replica.seed_received(state("2.7"), "x")
        answer(replica, state(version, "bad"))
        assert shown(replica) == "2.7=x"
        assert (replica.provisional, replica.need_open, status_of(replica, 0.0)) == (True, False, Status.SKEW)


def test_a_refusal_below_a_seed_ends_when_the_seed_is_confirmed_after_all() -> None:
    replica = a_replica()
    replica.seed_received(state("2.7"), "v2.7")
    answer(replica, state("2.6", "bad"))
    answer(replica, state("2.7"))
    assert replica.refused is None
    assert status_of(replica, 0.0) is Status.OK


@pytest.mark.parametrize("lossless", [False, True])
def test_what_was_dropped_for_a_seed_is_asked_for(lossless: bool) -> None:
    """The answer that replaces the seed was given before: it must not end the doubt."""
    for dropped in (state("2.6"), state("2.7", "other"), state("2.7", "v2.7"), state("2.6", "bad")):
        replica = a_replica(lossless=lossless)
        replica.seed_received(state("2.7"), "v2.7")
        asked = replica.asked()
        assert not live(replica, dropped)
        answer(replica, state("2.5"), asked)
        assert shown(replica) == "2.5=v2.5"
        assert asks(replica)
    answer(replica, state("2.7"))
    assert not asks(replica)


def test_a_life_is_heard_also_where_its_envelope_is_dropped_for_a_seed() -> None:
    replica = a_replica()
    replica.seed_received(state("9.9"), "x")
    live(replica, state("3.1"))
    assert replica.current_epoch == 3
    assert not answer(replica, state("2.5"), epoch=2), "it was deposed by the life that was heard"
    assert is_unproven(replica)
    assert asks(replica)
    live(replica, state("2.6"))
    assert replica.current_epoch == 3


def test_an_authority_that_goes_on_below_a_seed_is_asked_again() -> None:
    """The answer was refused, so the seed is still shown; what comes next may be readable, though it is not above the seed."""
    for envelope in (state("2.6"), state("2.7", "other"), state("2.6", "bad")):
        replica = a_replica(lossless=True)
        replica.seed_received(state("2.7"), "v2.7")
        answer(replica, state("2.5", "bad"))
        live(replica, state("2.5", "bad"))
        live(replica, state("1.9"))
        assert not asks(replica)
        live(replica, envelope)
        assert asks(replica)
        assert shown(replica) == "2.7=v2.7"
    answer(replica, state("2.6"))
    assert shown(replica) == "2.6=v2.6"
    assert status_of(replica, 0.0) is Status.OK


# Where nobody answers


def test_where_nobody_can_be_asked_a_live_envelope_that_follows_settles_a_doubt() -> None:
    for lossless in (False, True):
        replica = a_replica(lossless=lossless, askable=False)
        replica.seed_received(state("0.1"), "x")
        live(replica, state("0.2"))
        assert not asks(replica)
        live(replica, state("0.4"))
        assert (replica.gaps, replica.need_open) == (1, True)
        live(replica, state("0.5"))
        assert not asks(replica)


def test_an_envelope_of_another_life_does_not_follow() -> None:
    replica = a_replica(lossless=True, askable=False)
    replica.seed_received(state("1.1"), "x")
    live(replica, state("1.2"))
    live(replica, state("2.3"))
    assert asks(replica)
    live(replica, state("2.4"))
    assert not asks(replica)


def test_in_process_an_envelope_that_follows_settles_a_doubt_whose_ask_fails() -> None:
    for order in ("failure first", "envelope first"):
        replica = proven_at("2.7", lossless=True)
        replica.need_raised("interrupted")
        if order == "failure first":
            replica.ask_failed("no answer")
            assert status_of(replica, 0.0) is Status.STALE
        live(replica, state("2.8"))
        if order == "envelope first":
            assert asks(replica), "an answer may still come"
            replica.ask_failed("no answer")
        assert (replica.need_open, replica.failed) == (False, None)
        assert status_of(replica, 0.0) is Status.OK


def test_an_envelope_before_the_doubt_does_not_settle_it() -> None:
    replica = proven_at("2.7", lossless=True)
    replica.need_raised("first")
    live(replica, state("2.8"))
    replica.need_raised("second")
    replica.ask_failed("no answer")
    assert (replica.need_open, replica.failed) == (True, "no answer")


def test_over_a_bus_no_envelope_settles_a_doubt() -> None:
    replica = proven_at("2.7")
    replica.need_raised("interrupted")
    replica.ask_failed("no answer")
    live(replica, state("2.8"))
    assert (replica.need_open, replica.failed) == (True, "no answer")


# The pace


@pytest.mark.parametrize("envelope", [state("2.9"), state("2.8", "bad"), state("3.1"), state("2.7", "other")])
def test_a_replica_keeps_pace_while_the_next_envelope_can_only_be_applied(envelope: Text) -> None:
    replica = proven_at("2.7")
    assert replica.pace is replica.read
    live(replica, envelope)
    assert not keeps_pace(replica)
    answer(replica, state("3.11"), epoch=3)
    assert keeps_pace(replica)
    live(replica, state("3.12"))
    assert keeps_pace(replica)
    replica.need_raised("interrupted")
    assert not keeps_pace(replica)


def test_a_replica_behind_a_new_life_keeps_no_pace() -> None:
    replica = proven_at("2.7")
    answer(replica, SAME, epoch=4)
    assert not keeps_pace(replica), "the next envelope will be of another life"


def test_neither_an_empty_nor_a_seeded_nor_a_closed_replica_keeps_pace() -> None:
    replica = a_replica()
    assert not keeps_pace(replica)
    replica.seed_received(state("2.7"), "x")
    assert not keeps_pace(replica)
    answer(replica, state("2.7"))
    assert keeps_pace(replica)
    replica.close()
    assert not keeps_pace(replica)


# The end


def test_a_closed_replica_drops_whatever_comes() -> None:
    replica = proven_at("2.7")
    replica.need_raised("interrupted")
    asked = replica.asked()
    replica.close()
    replica.close()
    before = counted(replica)
    assert not live(replica, state("2.8"))
    assert not answer(replica, state("2.9"), asked)
    assert not answer(replica, SAME, asked)
    replica.ask_failed("no answer")
    assert shown(replica) == "2.7=v2.7"
    assert counted(replica) == before
    assert status_of(replica, 0.0) is Status.CLOSED


def test_the_reason_of_a_refusal_is_the_gates() -> None:
    replica = proven_at("2.7")
    error = ParseError("expected int at $.age", ("$.age: expected int, got str",))
    replica.live_received(state("2.8"), Unreadable(error))
    assert replica.refused == (Position.of(state("2.8")), "expected int at $.age")
