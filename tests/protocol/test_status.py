"""What a replica says of itself. The whole table of states and inputs is in `test_state_table.py`; here are the fine points."""

from __future__ import annotations

import math

import pytest

from parasync.protocol import Status, age_of, reason_of, status_of
from tests.protocol.kit import a_replica, answer, live, proven_at, state


def test_a_proof_is_young_up_to_its_limit() -> None:
    replica = proven_at("2.7", stale_after_s=10.0, proven_s=100.0)
    assert [status_of(replica, now_s) for now_s in (100.0, 110.0, 110.1)] == [Status.OK, Status.OK, Status.STALE]
    assert [age_of(replica, now_s) for now_s in (99.0, 100.0, 110.5)] == [0.0, 0.0, 10.5]


def test_an_age_begins_when_the_ask_was_sent_and_is_never_made_older_by_an_answer() -> None:
    replica = proven_at("2.7", proven_s=100.0)
    answer(replica, state("2.7"), asked_s=90.0)
    assert age_of(replica, 101.0) == 1.0
    live(replica, state("2.8"))
    assert age_of(replica, 105.0) == 5.0, "a live envelope updates the value, not the age"


def test_without_a_proof_there_is_no_age_and_nothing_is_ok() -> None:
    """Also where no age would be too old: what nobody has ever confirmed is not current."""
    replica = a_replica(askable=False)
    for version in ("2.1", "2.2"):
        live(replica, state(version))
    assert not replica.need_open
    assert age_of(replica, 0.0) == math.inf
    assert status_of(replica, 0.0) is Status.STALE
    assert reason_of(replica, 0.0) == "not proven yet"


def test_a_doubt_before_the_first_proof_is_no_sign_of_currency() -> None:
    for lossless in (False, True):
        replica = a_replica(lossless=lossless)
        live(replica, state("0.1"))
        replica.noticed(5.0)
        assert age_of(replica, 5.0) == math.inf
        assert status_of(replica, 5.0) is Status.STALE
        assert reason_of(replica, 5.0) == "joined"


def test_the_first_ask_is_told_from_a_failed_one() -> None:
    replica = a_replica()
    assert (status_of(replica, 0.0), reason_of(replica, 0.0)) == (Status.REFETCHING, "joined")
    replica.ask_failed("no answer within 2 s")
    assert (status_of(replica, 0.0), reason_of(replica, 0.0)) == (Status.STALE, "no answer within 2 s")


def test_an_empty_replica_that_was_refused_its_first_value_says_why() -> None:
    replica = a_replica()
    answer(replica, state("2.1", "bad"))
    assert status_of(replica, 0.0) is Status.STALE
    assert reason_of(replica, 0.0) == "expected something that is not bad"


def test_a_skew_is_told_from_staleness_and_its_age_is_not_hidden() -> None:
    replica = proven_at("2.7", stale_after_s=10.0, proven_s=100.0)
    live(replica, state("2.8", schema="3.0"))
    assert status_of(replica, 500.0) is Status.SKEW
    assert reason_of(replica, 500.0) == "got schema 3.0, expected major 1"
    assert age_of(replica, 500.0) == 400.0


def test_asking_never_hides_that_a_proof_is_old() -> None:
    replica = proven_at("2.7", stale_after_s=10.0, proven_s=100.0)
    replica.need_raised("interrupted")
    assert [status_of(replica, now_s) for now_s in (110.0, 111.0)] == [Status.REFETCHING, Status.STALE]
    assert [reason_of(replica, now_s) for now_s in (110.0, 111.0)] == ["interrupted", "interrupted"]


def test_a_need_that_nobody_can_be_asked_for_is_staleness() -> None:
    replica = a_replica(lossless=True, askable=False)
    replica.seed_received(state("0.1"), "x")
    assert status_of(replica, 0.0) is Status.STALE
    assert reason_of(replica, 0.0) == "joined, and there is nobody to ask"


def test_an_unproven_seed_is_stale_while_it_is_asked_for() -> None:
    replica = a_replica()
    replica.seed_received(state("2.7"), "x")
    assert (status_of(replica, 0.0), reason_of(replica, 0.0)) == (Status.STALE, "joined")


def test_a_proof_that_grew_old_says_how_old_it_may_be() -> None:
    replica = proven_at("2.7", stale_after_s=47.0)
    assert reason_of(replica, 47.0) == ""
    assert reason_of(replica, 48.0) == "not proven for more than 47 s"


def test_a_closed_replica_says_so_and_nothing_else() -> None:
    replica = proven_at("2.7")
    replica.need_raised("interrupted")
    replica.ask_failed("no answer")
    replica.close()
    assert (status_of(replica, math.inf), reason_of(replica, math.inf)) == (Status.CLOSED, "closed")


def test_where_nothing_is_lost_a_replica_is_current_until_there_is_a_doubt() -> None:
    replica = proven_at("2.7", lossless=True, stale_after_s=10.0, proven_s=100.0)
    assert age_of(replica, 1_000.0) == 0.0
    assert status_of(replica, 1_000.0) is Status.OK
    replica.noticed(1_000.0)
    replica.need_raised("interrupted")
    replica.noticed(1_000.0)
    replica.need_raised("interrupted again")
    replica.noticed(1_008.0)
    assert age_of(replica, 1_010.0) == 10.0, "since the first of the doubts that are open"
    assert [status_of(replica, now_s) for now_s in (1_010.0, 1_011.0)] == [Status.REFETCHING, Status.STALE]


def test_a_doubt_that_was_settled_and_rose_again_is_as_old_as_it_is_now() -> None:
    replica = proven_at("2.7", lossless=True)
    for doubted_s in (10.0, 20.0):
        replica.need_raised("interrupted")
        replica.noticed(doubted_s)
        assert age_of(replica, 25.0) == 25.0 - doubted_s
        answer(replica, state("2.7"), asked_s=doubted_s)
        assert age_of(replica, 25.0) == 0.0


@pytest.mark.parametrize("lossless", [False, True])
def test_a_failed_ask_is_stale_at_once_and_until_an_answer(lossless: bool) -> None:
    replica = proven_at("2.7", lossless=lossless)
    replica.need_raised("interrupted")
    replica.ask_failed("no answer")
    assert (status_of(replica, 0.0), reason_of(replica, 0.0)) == (Status.STALE, "no answer")
    answer(replica, state("2.7"))
    assert (status_of(replica, 0.0), reason_of(replica, 0.0)) == (Status.OK, "")
