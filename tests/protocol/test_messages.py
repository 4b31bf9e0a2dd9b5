from __future__ import annotations

import pytest

from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    ASK_KEYS_MAX,
    NO_META,
    PAGE_KEYS_MAX,
    SAME,
    TOMBSTONE_CHECKSUM,
    UNANSWERED,
    Answer,
    Ask,
    Beat,
    EncodedBody,
    Envelope,
    Held,
    Kind,
    ListKeys,
    Position,
    Put,
    Refusal,
    Version,
)
from tests.protocol.kit import state, tombstone


def test_the_position_of_a_state_is_its_version_and_checksum() -> None:
    assert Position.of(Envelope("x", "1.0", 7, 2, checksum=99)) == (Version(2, 7), 99)
    assert Position.of(Envelope("x", "1.0", 7, 2)) == (Version(2, 7), None)


def test_the_position_of_a_tombstone_is_the_same_for_every_schema() -> None:
    for schema, checksum in [("1.0", 5), ("9.0", None)]:
        envelope = Envelope(None, schema, 7, 2, kind=Kind.TOMBSTONE, checksum=checksum)
        assert Position.of(envelope) == (Version(2, 7), TOMBSTONE_CHECKSUM)


@pytest.mark.parametrize("envelope", [state("2.7"), tombstone("2.7")])
def test_holding_an_envelope_is_the_position_of_the_envelope(envelope: Envelope[str | None]) -> None:
    assert Position.of(Held(envelope, envelope.value)) == Position.of(envelope)


def test_the_three_outcomes_that_are_no_envelope_are_told_apart_by_their_type() -> None:
    assert len({type(outcome) for outcome in (SAME, ABSENT_OBJECT, UNANSWERED)}) == 3


def test_requests_have_distinct_verbs() -> None:
    assert [kind.verb for kind in (Ask, ListKeys, Put)] == ["state", "list", "put"]


def test_a_first_page_needs_no_argument() -> None:
    assert ListKeys() == ListKeys(prefix="", after="", limit=PAGE_KEYS_MAX)
    assert ASK_KEYS_MAX > 0


def test_a_put_without_a_body_deletes() -> None:
    assert Put("user:1", None, "1.0").kind is Kind.TOMBSTONE
    assert Put("user:1", EncodedBody(b""), "1.0").kind is Kind.STATE
    assert Put("user:1", None, "1.0").meta is NO_META


def test_messages_are_compared_by_what_they_say() -> None:
    ask = Ask(2, ("user:1",), (Position(Version(2, 7), 99),))
    assert ask == Ask(2, ("user:1",), (Position(Version(2, 7), 99),))
    assert ask != Ask(3, ask.keys, ask.positions)
    answer = Answer(2, 0, 1.5, ABSENT, 2, (SAME,))
    assert answer == Answer(2, 0, 1.5, ABSENT, 2, (SAME,))
    assert answer != Answer(2, 0, 1.5, ABSENT, 2, (ABSENT_OBJECT, SAME))
    assert Refusal("ConflictError", "it moved on") == Refusal("ConflictError", "it moved on", None)
    beat = Beat(2, 1, 1.5, 5.0, ABSENT, 2, 0, 0, {}, 0)
    assert beat == Beat(2, 1, 1.5, 5.0, ABSENT, 2, 0, 0, {}, since=0)
    assert beat != Beat(2, 1, 1.5, 5.0, ABSENT, 2, 0, 0, {}, 1)
