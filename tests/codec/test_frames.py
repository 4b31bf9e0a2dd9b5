"""Frames: every field survives, every other byte is noticed."""

from __future__ import annotations

import zlib
from types import MappingProxyType
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.codec import (
    EPOCH_AHEAD_MAX_S,
    HEADER_BYTES_MAX,
    META_BYTES_MAX,
    META_ENTRIES_MAX,
    MsgpackCodec,
    body_checksum,
    meta_bytes,
)
from parasync.errors import DecodeError, EncodeError
from parasync.protocol import EPOCH_MAX, SEQUENCE_MAX, EncodedBody, Envelope, Kind
from tests.gate.kit import ADA, texts

SLOW = MsgpackCodec(fast=False, wall_clock=lambda: 2.0**40)
CODEC = MsgpackCodec(fast=True, wall_clock=lambda: 2.0**40)
KEY = "user:123"
BODY = CODEC.encode_body({"a": 1})


def an_envelope(**changes: Any) -> Envelope[Any]:
    fields: dict[str, Any] = {"value": BODY, "schema_version": "2.1", "sequence": 7, "epoch": 5, **changes}
    return Envelope(**fields)


def fields_of(frame: bytes) -> list[Any]:
    fields: list[Any] = msgpack.unpackb(frame)
    return fields


def sealed(fields: list[Any], key: str = KEY) -> bytes:
    """A frame of these fields with the right checksum, whatever the fields are."""
    head: bytes = bytes([0x91 + len(fields)]) + msgpack.packb(fields)[1:] + b"\xce"
    return head + zlib.crc32(head, zlib.crc32(key.encode())).to_bytes(4, "big")


FIELDS = fields_of(CODEC.encode_frame(KEY, an_envelope()))[:-1]

envelopes = st.builds(
    lambda sequence, back, tombstone, body, **others: Envelope(
        value=None if tombstone else EncodedBody(body),
        sequence=sequence,
        after=None if back is None else max(0, sequence - back),
        kind=Kind.TOMBSTONE if tombstone else Kind.STATE,
        **others,
    ),
    sequence=st.integers(1, SEQUENCE_MAX) | st.integers(1, 100),
    back=st.none() | st.integers(1, 10),
    tombstone=st.booleans(),
    body=st.binary(min_size=1, max_size=300),
    epoch=st.integers(0, EPOCH_MAX),
    schema_version=st.builds(lambda major, minor: f"{major}.{minor}", st.integers(0, 999_999), st.integers(0, 999_999)),
    meta=st.dictionaries(texts, texts, max_size=4),
)


@given(envelopes, texts)
def test_envelopes_come_back(envelope: Envelope[Any], key: str) -> None:
    frame = CODEC.encode_frame(key, envelope)
    back = CODEC.decode_frame(key, frame)
    assert SLOW.decode_frame(key, frame) == back
    assert back.checksum == body_checksum(envelope.kind, envelope.schema_version, envelope.value or b"")
    assert back.body == envelope.value
    assert back.kind is envelope.kind
    envelope.checksum = back.checksum
    if envelope.after == envelope.sequence - 1:
        envelope.after = None
    assert back == envelope
    assert CODEC.encode_frame(key, back) == frame
    assert len(frame) <= HEADER_BYTES_MAX + len(envelope.value or b"") + meta_bytes(envelope.meta)


@given(envelopes, st.data())
def test_every_flipped_bit_is_noticed(envelope: Envelope[Any], data: st.DataObject) -> None:
    frame = bytearray(CODEC.encode_frame(KEY, envelope))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << (bit % 8)
    for codec in (CODEC, SLOW):
        with pytest.raises(DecodeError):
            codec.decode_frame(KEY, bytes(frame))


@given(envelopes, st.data())
def test_every_truncation_is_noticed(envelope: Envelope[Any], data: st.DataObject) -> None:
    frame = CODEC.encode_frame(KEY, envelope)
    with pytest.raises(DecodeError):
        CODEC.decode_frame(KEY, frame[: data.draw(st.integers(0, len(frame) - 1))])
    with pytest.raises(DecodeError):
        CODEC.decode_frame(KEY, frame + data.draw(st.binary(min_size=1, max_size=20)))


def test_a_frame_belongs_to_its_key() -> None:
    frame = CODEC.encode_frame(KEY, an_envelope())
    with pytest.raises(DecodeError, match="of another key"):
        CODEC.decode_frame("user:124", frame)
    with pytest.raises(DecodeError):
        CODEC.decode_frame("user:\ud800", frame)


@pytest.mark.parametrize(
    ("index", "value", "words"),
    [
        (0, 2, "unknown format"),
        (0, True, "unknown format"),
        (0, "1", "unknown format"),
        (1, 2, "field"),
        (1, True, "field"),
        (1, 1, "field"),
        (2, -1, "field"),
        (2, EPOCH_MAX + 1, "field"),
        (2, 1.0, "field"),
        (2, [1], "malformed"),
        (3, 0, "field"),
        (3, SEQUENCE_MAX + 1, "field"),
        (3, None, "field"),
        (4, 7, "field"),
        (4, -1, "field"),
        (4, False, "field"),
        (5, "2", "malformed"),
        (5, "2.1.0", "malformed"),
        (5, "٢.١", "malformed"),
        (5, b"2.1", "field"),
        (5, 2.1, "field"),
        (6, b"", "field"),
        (6, "text", "field"),
        (6, {"a": 1}, "field"),
        (7, None, "field"),
        (7, {"a": 1}, "field"),
        (7, {"a": "b" * META_BYTES_MAX}, "field"),
        (7, {"a": {}}, "field"),
        (7, {1: "a"}, "malformed"),
        (7, {b"a": "a"}, "field"),
        (7, {str(index): "" for index in range(META_ENTRIES_MAX + 1)}, "malformed"),
        (7, msgpack.ExtType(1, b"x"), "malformed"),
        (7, msgpack.Timestamp(1), "malformed"),
    ],
    ids=lambda case: repr(case)[:30],
)
def test_a_field_that_is_wrong(index: int, value: Any, words: str) -> None:
    fields = [*FIELDS[:index], value, *FIELDS[index + 1 :]]
    for codec in (CODEC, SLOW):
        with pytest.raises(DecodeError, match=words) as refusal:
            codec.decode_frame(KEY, sealed(fields))
        assert refusal.value.__context__ is None


def test_a_sealed_frame_is_a_frame() -> None:
    assert sealed(FIELDS) == CODEC.encode_frame(KEY, an_envelope())


@pytest.mark.parametrize("fields", [FIELDS[:-1], [*FIELDS, 1], []], ids=len)
def test_another_number_of_fields(fields: list[Any]) -> None:
    for codec in (CODEC, SLOW):
        with pytest.raises(DecodeError):
            codec.decode_frame(KEY, sealed(fields))


def test_the_checksum_has_one_form() -> None:
    frame = CODEC.encode_frame(KEY, an_envelope())
    longer = frame[:-5] + b"\xcf\x00\x00\x00\x00" + frame[-4:]
    for codec in (CODEC, SLOW):
        with pytest.raises(DecodeError):
            codec.decode_frame(KEY, longer)


def test_an_epoch_of_tomorrow_is_malformed() -> None:
    now_s = 1_700_000_000
    codec = MsgpackCodec(wall_clock=lambda: float(now_s))
    late = an_envelope(epoch=(now_s + EPOCH_AHEAD_MAX_S) << 20 | 0xFFFFF)
    assert codec.decode_frame(KEY, codec.encode_frame(KEY, late)).epoch == late.epoch
    later = an_envelope(epoch=(now_s + EPOCH_AHEAD_MAX_S + 1) << 20)
    with pytest.raises(DecodeError, match="more than a day ahead"):
        codec.decode_frame(KEY, codec.encode_frame(KEY, later))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch": -1}, "epoch"),
        ({"epoch": EPOCH_MAX + 1}, "epoch"),
        ({"epoch": True}, "epoch"),
        ({"sequence": 0}, "sequence"),
        ({"sequence": SEQUENCE_MAX + 1}, "sequence"),
        ({"sequence": "7"}, "sequence"),
        ({"after": 7}, "after"),
        ({"after": -1}, "after"),
        ({"after": 1.0}, "after"),
        ({"schema_version": "2"}, "schema version"),
        ({"schema_version": 2.1}, "schema version"),
        ({"schema_version": []}, "schema version"),
        ({"meta": {"a": 1}}, "meta"),
        ({"meta": {"a": "\ud800"}}, "meta"),
        ({"meta": {"a": "x" * META_BYTES_MAX}}, "meta"),
        ({"meta": dict.fromkeys(map(str, range(META_ENTRIES_MAX + 1)), "")}, "meta"),
        ({"value": EncodedBody(b"")}, "body of 0 bytes"),
        ({"value": EncodedBody(b"x" * 1_000_000)}, "body of 1000000 bytes"),
        ({"kind": Kind.TOMBSTONE}, "tombstone with a EncodedBody"),
        ({"value": object()}, "no type is declared"),
    ],
    ids=lambda case: repr(case)[:30],
)
def test_what_a_reader_would_refuse_is_not_written(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(EncodeError, match=words) as refusal:
        CODEC.encode_frame(KEY, an_envelope(**changes))
    assert refusal.value.__context__ is None


def test_the_value_is_encoded_where_nobody_did_it_before() -> None:
    encoded = CODEC.encode_frame(KEY, an_envelope(value={"a": 1}))
    assert encoded == CODEC.encode_frame(KEY, an_envelope())
    assert encoded == CODEC.encode_frame(KEY, an_envelope(value="something else", body=BODY))
    ada = CODEC.decode_frame(KEY, CODEC.encode_frame(KEY, an_envelope(value=ADA)))
    assert CODEC.decode_body(ada.value or b"")["name"] == "Ada Lovelace"


def test_the_largest_body_and_the_largest_meta_fit() -> None:
    meta = {str(index).zfill(256): "x" for index in range(31)}
    meta["rest"] = "x" * (META_BYTES_MAX - 4 - 31 * 257)
    body = CODEC.encode_body(b"x" * (CODEC.body_bytes_max - 5))
    envelope = an_envelope(value=body, sequence=SEQUENCE_MAX, after=0, epoch=EPOCH_MAX, meta=MappingProxyType(meta))
    assert CODEC.decode_frame(KEY, CODEC.encode_frame(KEY, envelope)).meta == meta


def test_a_body_beyond_the_readers_limit_is_refused() -> None:
    small = MsgpackCodec(body_bytes_max=50, wall_clock=lambda: 2.0**40)
    fits = an_envelope(value=EncodedBody(b"x" * 50))
    assert small.decode_frame(KEY, CODEC.encode_frame(KEY, fits)).value == b"x" * 50
    with pytest.raises(DecodeError, match="body is too long"):
        small.decode_frame(KEY, CODEC.encode_frame(KEY, an_envelope(value=EncodedBody(b"x" * 51))))
    with pytest.raises(DecodeError, match="bytes, expected"):
        CODEC.decode_frame(KEY, b"\x99" * 2_000_000)


def test_the_checksum_of_a_version_speaks_of_content_only() -> None:
    one = CODEC.decode_frame(KEY, CODEC.encode_frame(KEY, an_envelope(after=2, meta={"a": "b"})))
    other = CODEC.decode_frame("other", CODEC.encode_frame("other", an_envelope(sequence=9, epoch=1)))
    assert one.checksum == other.checksum == zlib.crc32(BODY, zlib.crc32(b"0 2.1"))
    assert body_checksum(Kind.TOMBSTONE, "2.1", b"") != body_checksum(Kind.STATE, "2.1", b"")
    assert body_checksum(Kind.STATE, "2.2", BODY) != one.checksum
