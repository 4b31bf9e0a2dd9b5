from __future__ import annotations

import pytest

from parasync.protocol import Envelope, Held, Kind, Version
from tests.protocol.kit import counted, keeps_pace, live, proven_at, state, tombstone


def test_it_keeps_what_the_envelope_says_and_the_value_that_the_gate_made() -> None:
    held = Held(Envelope("raw", "1.2", 7, 2, meta={"trace": "1"}, checksum=9), "parsed")
    assert (held.value, held.version, held.epoch, held.sequence) == ("parsed", Version(2, 7), 2, 7)
    assert (held.schema_version, held.checksum, held.kind, held.meta) == ("1.2", 9, Kind.STATE, {"trace": "1"})


def test_a_tombstone_has_no_value() -> None:
    held: Held[str] = Held(tombstone("2.7"), None)
    with pytest.raises(AttributeError):
        held.value  # noqa: B018  # reading is what fails


def test_none_is_a_value_like_any_other() -> None:
    held: Held[None] = Held(state("2.7"), None)
    assert held.value is None


def test_it_has_no_room_for_anything_else() -> None:
    with pytest.raises(AttributeError):
        Held(state("2.7"), "x").extra = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("version", "after", "precedes"),
    [
        ("2.8", None, True),
        ("2.9", None, False),
        ("2.9", 7, True),
        ("2.9", 3, True),
        ("2.9", 8, False),
        ("2.7", None, False),
        ("2.6", None, False),
        ("2.7", 0, False),
        ("3.8", None, False),
        ("1.8", None, False),
    ],
)
def test_it_precedes_what_follows_in_its_life_without_a_gap(version: str, after: int | None, precedes: bool) -> None:
    assert Held(state("2.7"), "x").precedes(state(version, after=after)) is precedes


@pytest.mark.parametrize("version", ["2.8", "2.9", "2.7", "3.8", "1.8"])
@pytest.mark.parametrize("after", [None, 0, 7, 8])
def test_a_replica_at_pace_does_with_what_it_precedes_nothing_but_apply_it(version: str, after: int | None) -> None:
    """The shortcut of replicas in lockstep is the same as all the rules."""
    replica, envelope = proven_at("2.7"), state(version, after=after)
    assert replica.held is not None
    shortcut = keeps_pace(replica) and replica.held.precedes(envelope)
    before = counted(replica)
    applied = live(replica, envelope)
    if shortcut:
        assert applied
        assert counted(replica) == before | {"applied": before["applied"] + 1}
    assert shortcut is (applied and keeps_pace(replica))
