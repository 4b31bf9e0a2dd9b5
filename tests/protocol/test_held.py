from __future__ import annotations

import pytest

from parasync.protocol import Envelope, Held, Kind, Version
from tests.protocol.kit import state, tombstone


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
