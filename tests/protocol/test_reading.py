"""What a gate makes of a value, and which envelopes are not worth a reading."""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any

import pytest

from parasync.errors import ParseError, SchemaSkewError
from parasync.protocol import OTHER_CONTENT, UNREAD, EncodedBody, Envelope, Replica, Unreadable, Version, prepare_reading
from tests.protocol.kit import Text, a_replica, answer, live, proven_at, read, shown, state, tombstone


class Counting:
    """A gate that counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, envelope: Envelope[Any]) -> str | None:
        self.count += 1
        return read(envelope)


class Moody:
    """A value whose comparison fails."""

    def __init__(self, mood: BaseException) -> None:
        self.mood = mood

    def __eq__(self, other: object) -> bool:
        raise self.mood

    __hash__ = None  # type: ignore[assignment]


class Moving(Envelope[Any]):
    """An envelope that lets its replica move on as soon as somebody looks at its version: another thread, made visible."""

    replica: Replica[str]
    meanwhile: Text | None

    @property
    def version(self) -> Version:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            self.replica.live_received(meanwhile, read(meanwhile))
        return Version(self.epoch, self.sequence)


def holding(envelope: Envelope[Any], reader: Counting | None = None, value: object = None) -> Replica[Any]:
    """A replica that holds an envelope for good, by a reader that has not been called since."""
    replica: Replica[Any] = Replica(reader or Counting(), lossless=True, askable=False)
    replica.live_received(envelope, envelope.value if value is None else value)
    return replica


def test_an_empty_replica_reads_everything() -> None:
    assert prepare_reading(a_replica(), state("2.1", "x")) == "x"
    assert prepare_reading(a_replica(), tombstone("2.1")) is None


def test_what_a_gate_refuses_is_kept_with_its_reason() -> None:
    parse = prepare_reading(a_replica(), state("2.1", "bad"))
    skew = prepare_reading(a_replica(), state("2.1", schema="3.0"))
    assert isinstance(parse, Unreadable)
    assert isinstance(skew, Unreadable)
    assert isinstance(parse.error, ParseError)
    assert isinstance(skew.error, SchemaSkewError)


def test_a_gate_that_breaks_its_word_is_heard() -> None:
    def broken(envelope: Envelope[Any]) -> str:
        raise ZeroDivisionError

    replica: Replica[str] = Replica(broken, lossless=True, askable=False)
    with pytest.raises(ZeroDivisionError):
        prepare_reading(replica, state("2.1"))


@pytest.mark.parametrize("version", ["2.6", "1.9", "2.7"])
def test_what_is_not_newer_is_not_read(version: str) -> None:
    counting = Counting()
    replica = holding(state("2.7"), counting)
    assert prepare_reading(replica, state(version)) is UNREAD
    assert counting.count == 0


def test_another_checksum_of_the_held_version_is_other_content_and_needs_no_reading() -> None:
    counting = Counting()
    replica = holding(state("2.7"), counting)
    assert prepare_reading(replica, state("2.7", "other")) is OTHER_CONTENT
    assert counting.count == 0


def test_a_tombstone_and_a_state_are_never_the_same() -> None:
    assert prepare_reading(holding(state("2.7", checksum=False)), tombstone("2.7")) is OTHER_CONTENT
    deleted = proven_at("2.6")
    live(deleted, tombstone("2.7"))
    assert prepare_reading(deleted, state("2.7")) is OTHER_CONTENT
    assert prepare_reading(deleted, tombstone("2.7")) is UNREAD


def test_without_checksums_values_are_compared() -> None:
    replica = holding(state("2.7", "x", checksum=False))
    assert prepare_reading(replica, state("2.7", "x", checksum=False)) is UNREAD
    assert prepare_reading(replica, state("2.7", "y", checksum=False)) is OTHER_CONTENT
    assert prepare_reading(replica, state("2.7", "x")) is UNREAD
    assert prepare_reading(replica, state("2.7", "bad", checksum=False)) is OTHER_CONTENT


def test_encoded_bodies_without_checksums_cannot_be_compared() -> None:
    counting = Counting()
    replica = holding(Envelope(EncodedBody(b"x"), "1.0", 7), counting)
    assert prepare_reading(replica, Envelope(EncodedBody(b"y"), "1.0", 7)) is UNREAD
    assert counting.count == 0


@pytest.mark.parametrize("mood", [RuntimeError("no comparison today"), CancelledError(), BaseException()])
def test_a_comparison_that_fails_shows_no_difference(mood: BaseException) -> None:
    replica: Replica[Moody] = Replica(lambda envelope: envelope.value, lossless=True, askable=False)
    replica.live_received(Envelope(Moody(mood), "1.0", 7), Moody(mood))
    assert prepare_reading(replica, Envelope(Moody(mood), "1.0", 7)) is UNREAD


def test_a_comparison_may_end_the_program() -> None:
    mood = KeyboardInterrupt()
    replica: Replica[Moody] = Replica(lambda envelope: envelope.value, lossless=True, askable=False)
    replica.live_received(Envelope(Moody(mood), "1.0", 7), Moody(mood))
    with pytest.raises(KeyboardInterrupt):
        prepare_reading(replica, Envelope(Moody(mood), "1.0", 7))


def test_a_value_that_is_not_equal_to_itself_is_the_same_all_the_same() -> None:
    nan = float("nan")
    replica: Replica[float] = Replica(lambda envelope: envelope.value, lossless=True, askable=False)
    replica.live_received(Envelope(nan, "1.0", 7), nan)
    assert prepare_reading(replica, Envelope(nan, "1.0", 7)) is UNREAD


def test_an_unproven_seed_is_read_against_but_keeps_its_identity_when_it_is_confirmed() -> None:
    replica = a_replica()
    replica.seed_received(state("2.7", "1000"), str(1000))
    assert prepare_reading(replica, state("2.1", "older")) == "older"
    assert prepare_reading(replica, state("2.7", "y")) == "y"
    assert replica.held is not None
    assert prepare_reading(replica, state("2.7", str(1000))) is replica.held.value
    assert isinstance(prepare_reading(replica, state("2.7", "bad")), Unreadable)


def test_an_unproven_deletion_can_be_confirmed_and_contradicted() -> None:
    replica = a_replica()
    replica.seed_received(tombstone("2.7"), None)
    assert prepare_reading(replica, tombstone("2.7")) is None
    assert prepare_reading(replica, state("2.7", "x")) == "x"


def test_one_look_at_the_replica_is_enough_for_one_reading() -> None:
    """Another thread applies the very version that is being looked at: that is no contradiction."""
    replica = proven_at("2.5")
    envelope = Moving("v2.6", "1.0", 6, 2, checksum=state("2.6").checksum)
    envelope.replica, envelope.meanwhile = replica, state("2.6")
    reading = prepare_reading(replica, envelope)
    assert reading not in (UNREAD, OTHER_CONTENT)
    replica.live_received(envelope, reading)
    assert (replica.conflicts, replica.applied) == (0, 2)


@pytest.mark.parametrize("reading", [UNREAD, OTHER_CONTENT, "a value"])
@pytest.mark.parametrize(("again", "conflicts"), [(state("2.7"), 0), (state("2.7", "other"), 1), (tombstone("2.7"), 1)])
def test_a_contradiction_does_not_depend_on_whose_reading_it_is(reading: object, again: Text, conflicts: int) -> None:
    """Replicas that share a gate share readings, and may hold different versions: checksums are compared anew."""
    replica = proven_at("2.7")
    assert replica.live_received(again, reading) is False
    assert replica.conflicts == conflicts


def test_a_reading_that_was_not_made_is_asked_for_when_it_is_needed_after_all() -> None:
    for envelope in (state("2.8"), state("3.1")):
        replica = proven_at("2.7")
        for reading in (UNREAD, OTHER_CONTENT):
            assert replica.live_received(envelope, reading) is None
            assert replica.answer_received(replica.asked(), envelope, reading, epoch=3, asked_s=0.0) is None
        assert (replica.current_epoch, replica.need_open, replica.applied) == (2, False, 1), "nothing happened yet"


def test_an_answer_is_asked_to_be_read_again_only_where_its_value_matters() -> None:
    replica = proven_at("2.7")
    assert answer(replica, state("2.7")) is False
    assert replica.answer_received(replica.asked(), state("2.6"), UNREAD, epoch=2, asked_s=1.0) is False
    assert shown(replica) == "2.7=v2.7"
