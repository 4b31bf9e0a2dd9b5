"""What becomes of an answer that may be used, one that may not, and a failure."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from parasync import ABSENT, Envelope, InProcessTransport, Pace, Status, Version, synced
from parasync.errors import AskTimeoutError, NoAuthorityError
from parasync.protocol import ABSENT_OBJECT, SAME, UNANSWERED, Asked, Outcome, Position
from parasync.runtime._judging import judge, reason_of_failure
from parasync.runtime._member import History
from parasync.runtime._sources import Fetched
from tests.runtime.kit import KEY, A, envelope, half


def judged(outcome: Outcome, *, held: Envelope[str] | None = None, epoch: int = 5, **more: Any) -> synced[str]:
    """A replica that held something, asked, and was answered."""
    bus = InProcessTransport()
    replica = synced(A, bus, refetch=lambda: held)
    asked = Asked(replica._member.needs_raised, Position.of(held) if held is not None else None)
    replica._seat.group.doubt(replica._member, "a reason")
    found = Fetched(outcome, epoch, more.get("floor", ABSENT), more.get("history_epoch", 3))
    judge(replica._member, replica._seat.group, asked._replace(needs=asked.needs + 1), found, 1.0)
    replica.close()
    return replica


def test_an_answer_that_fits_is_taken_with_what_it_says_of_the_history() -> None:
    replica = judged(envelope(2, epoch=5), held=envelope(1, epoch=5))
    assert replica.version == Version(5, 2)
    assert replica._member.history == History(5, 3)
    assert not replica._member.need_open


def test_an_answer_of_a_deposed_authority_is_a_failure_and_says_nothing_of_the_history() -> None:
    replica = judged(envelope(2, epoch=4), held=envelope(1, epoch=5), epoch=4)
    assert replica.version == Version(5, 1)
    assert replica.stats.refetch_failures == 1
    assert replica._member.failed == "the answer came from an authority that was deposed"
    assert replica._member.history == History(5, 0), "as the first answer said"
    assert replica._member.need_open


@pytest.mark.parametrize("outcome", [envelope(4, epoch=5), ABSENT_OBJECT])
def test_an_answer_below_what_was_asked_with_proves_nothing(outcome: Outcome) -> None:
    replica = judged(outcome, held=envelope(5, epoch=5))
    assert (replica.version, replica.value) == (Version(5, 5), "5.5")
    assert replica._member.need_open
    assert replica._member.failed == "the answer is older than what was held when it was asked for"


@pytest.mark.parametrize("outcome", [SAME, envelope(5, epoch=5)])
def test_an_answer_that_confirms_proves(outcome: Outcome) -> None:
    replica = judged(outcome, held=envelope(5, epoch=5))
    assert not replica._member.need_open
    assert replica.stats.refetch_failures == 0


def test_what_did_not_fit_into_the_answer_is_no_failure() -> None:
    replica = judged(UNANSWERED, held=envelope(5, epoch=5))
    assert replica._member.need_open
    assert replica.stats.refetch_failures == 0


def test_an_outcome_that_nobody_can_read_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, "parasync"):
        replica = judged(envelope("secret", epoch=5), held=envelope(5, epoch=5))
    assert replica.version == Version(5, 5)
    assert replica._member.failed is not None
    assert "secret" not in replica._member.failed
    assert replica._member.need_open


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NoAuthorityError("nobody serves"), "nobody serves"),
        (AskTimeoutError("too slow", 2.0), "too slow"),
        (TimeoutError(), "no answer within 2 s"),
        (asyncio.CancelledError("secret"), "the ask was cancelled"),
        (OSError("secret"), "the ask failed with OSError"),
    ],
)
def test_why_an_ask_failed_is_said_without_the_texts_of_others(error: BaseException, reason: str) -> None:
    assert reason_of_failure(error, 2.0) == reason


def test_a_refetch_that_lost_the_object_makes_the_replica_stale_not_wrong() -> None:
    """It found the object once and now finds nothing: without a version nobody can say which is newer."""
    clock = [0.0]
    answers = [envelope(3), None, None, envelope(4)]
    bus = InProcessTransport()
    with synced(A, bus, refetch=lambda: answers.pop(0), pace=Pace(clock=lambda: clock[0], random=half)) as replica:
        for _ in range(2):
            assert replica.get() == "0.3"
            clock[0] += 10.0
            bus.publish(KEY, envelope(3, "another content"))
            assert (replica.value, replica.status) == ("0.3", Status.STALE)
            assert replica.reason == "the answer is older than what was held when it was asked for"
        clock[0] += 10.0
        assert replica.get() == "0.4"
        assert replica.status is Status.OK
