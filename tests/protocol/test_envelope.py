from __future__ import annotations

import pickle

import pytest

from parasync.protocol import NO_META, EncodedBody, Envelope, Kind, Version


def test_three_fields_are_enough() -> None:
    envelope = Envelope(value={"a": 1}, schema_version="2.1", sequence=7)
    assert envelope.version == Version(0, 7)
    assert (envelope.kind, envelope.after, envelope.checksum, envelope.body) == (Kind.STATE, None, None, None)
    assert envelope.meta is NO_META


def test_its_version_is_epoch_and_sequence() -> None:
    assert Envelope("x", "1.0", 7, 3).version == (3, 7)


def test_the_body_is_another_form_of_the_value_and_not_part_of_what_it_says() -> None:
    plain = Envelope("x", "1.0", 1, checksum=5)
    encoded = Envelope("x", "1.0", 1, checksum=5, body=EncodedBody(b"\xa1x"))
    assert plain == encoded
    assert "body" not in repr(encoded)


@pytest.mark.parametrize(
    "other",
    [
        Envelope("y", "1.0", 1),
        Envelope("x", "1.1", 1),
        Envelope("x", "1.0", 2),
        Envelope("x", "1.0", 1, 1),
        Envelope("x", "1.0", 1, after=0),
        Envelope("x", "1.0", 1, kind=Kind.TOMBSTONE),
        Envelope("x", "1.0", 1, meta={"trace": "1"}),
        Envelope("x", "1.0", 1, checksum=1),
    ],
)
def test_everything_else_tells_two_envelopes_apart(other: Envelope[str]) -> None:
    assert Envelope("x", "1.0", 1) == Envelope("x", "1.0", 1)
    assert Envelope("x", "1.0", 1) != other


def test_a_new_field_cannot_be_added_by_mistake() -> None:
    with pytest.raises(AttributeError):
        Envelope("x", "1.0", 1).epcoh = 3  # type: ignore[attr-defined]


def test_the_shared_empty_meta_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        NO_META["a"] = "b"  # type: ignore[index]


def test_a_body_is_bytes_that_say_that_they_are_encoded() -> None:
    body = EncodedBody(b"\xc0")
    assert body == b"\xc0"
    assert isinstance(body, bytes)
    assert not isinstance(b"\xc0", EncodedBody)
    assert type(pickle.loads(pickle.dumps(body))) is EncodedBody


def test_kinds_have_the_numbers_of_the_wire() -> None:
    assert [(kind.name, int(kind)) for kind in Kind] == [("STATE", 0), ("TOMBSTONE", 1)]
