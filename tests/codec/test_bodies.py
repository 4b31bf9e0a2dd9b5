"""Bodies and messages: exact round trips, tags, limits, and one error for all that is malformed."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.codec import (
    DEPTH_MAX,
    ELEMENTS_MAX,
    FRAME_BYTES_MAX,
    FRAME_OVERHEAD_BYTES_MAX,
    INTEGER_BYTES_MAX,
    Codec,
    MsgpackCodec,
)
from parasync.errors import DecodeError, EncodeError, UsageError
from parasync.protocol import EncodedBody
from tests.gate.kit import plain, same

CODEC = MsgpackCodec()


def nested(depth: int, kind: type = list) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"": value} if kind is dict else kind([value])
    return value


@given(plain())
def test_bodies_and_messages_come_back_exactly(value: Any) -> None:
    body = CODEC.encode_body(value)
    assert type(body) is EncodedBody
    assert same(CODEC.decode_body(body), value)
    assert same(CODEC.decode_message(CODEC.encode_message(value)), value)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (2**64, "c7090101" + "00" * 8),
        (-(2**63) - 1, "c70901ff7f" + "ff" * 7),
        ((1, 2), "c70302920102"),
        ((), "d40290"),
        ({2, 1}, "c70303920102"),
        (frozenset(), "d40490"),
        (date(2026, 1, 2), "c70a06" + b"2026-01-02".hex()),
        (datetime(2026, 1, 2, tzinfo=UTC), "c71905" + b"2026-01-02T00:00:00+00:00".hex()),
        (timedelta(hours=1), "c70708" + b"PT3600S".hex()),
        (Decimal("1.0"), "c70309" + b"1.0".hex()),
        (UUID(int=1), "d80a" + "00" * 15 + "01"),
    ],
    ids=repr,
)
def test_tags_have_one_form(value: Any, data: str) -> None:
    assert CODEC.encode_body(value).hex() == data
    assert same(CODEC.decode_body(bytes.fromhex(data)), value)


def test_equal_sets_have_equal_bodies() -> None:
    # These collide in a small table, so that the order of the members is that of insertion.
    assert CODEC.encode_body({8, 0, 16}) == CODEC.encode_body({16, 0, 8})
    assert CODEC.encode_body({0: frozenset({"b", 1, (2,)})}) == CODEC.encode_body({0: frozenset({(2,), 1, "b"})})


@pytest.mark.parametrize("size", [0, 15, 16, 65_535, 65_536])
def test_sets_of_all_sizes(size: int) -> None:
    value = set(range(size))
    assert CODEC.decode_body(CODEC.encode_body(value)) == value


def test_zones_keep_their_names() -> None:
    value = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    assert same(CODEC.decode_body(CODEC.encode_body([value])), [value])


def test_timestamps_of_other_writers_are_read_as_utc() -> None:
    assert CODEC.decode_body(msgpack.packb(msgpack.Timestamp(1, 500_000_000))) == datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "c1",
        "81",
        "0101",
        "93 01 02",
        "a3 61 62",
        "a1 ff",
        "81 90 01",
        "81 80 01",
        "d4 00 00",
        "d4 0b 00",
        "d4 7f 00",
        "d4 01 05",
        "c7 09 01 00 00 00 00 00 00 00 00 05",
        "c7 0a 01 00 01 00 00 00 00 00 00 00 00",
        "d4 02 01",
        "d5 02 90 01",
        "d5 02 91",
        "c7 03 03 92 01 01",
        "c7 04 03 92 91 01 01",
        "d5 03 91 90",
        "d4 06 32",
        "d4 05 ff",
        "c7 00 05",
        "d4 0a 00",
        "d4 09 78",
        "dd ff ff ff ff",
        "df ff ff ff ff",
        "c6 ff ff ff ff 00",
        "91" * 40 + "dd ff",
        "91" * 20 + "94" * 20 + "01",
    ],
)
def test_malformed(data: str) -> None:
    with pytest.raises(DecodeError) as refusal:
        CODEC.decode_body(bytes.fromhex(data))
    assert refusal.value.__context__ is None
    with pytest.raises(DecodeError):
        CODEC.decode_message(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": object()}, "got a object, expected plain data"),
        ("\ud800", "lone surrogate"),
        ({"a": {"\udfff": 1}}, "lone surrogate"),
        (1 << (8 * INTEGER_BYTES_MAX), "integer of 1025 bytes"),
        (nested(DEPTH_MAX + 1), "nested more than 32 deep"),
        (nested(DEPTH_MAX + 1, dict), "nested more than 32 deep"),
        (nested(DEPTH_MAX + 1, tuple), "nested more than 32 deep"),
        (nested(600), "nested more than 32 deep"),
        (nested(5000, tuple), "nested more than 32 deep"),
        ([None] * ELEMENTS_MAX, "elements"),
        (b"x" * FRAME_BYTES_MAX, "bytes, expected at most"),
    ],
    ids=range(11),
)
def test_what_cannot_be_encoded(value: Any, words: str) -> None:
    for encode in (CODEC.encode_body, CODEC.encode_message):
        with pytest.raises(EncodeError, match=words) as refusal:
            encode(value)
        assert refusal.value.__context__ is None
    assert CODEC.encode_body([1, (2, 3)]) == bytes.fromhex("9201c70302920203")


@pytest.mark.parametrize("kind", [list, dict, tuple, frozenset])
def test_the_deepest_value_comes_back(kind: type) -> None:
    value = nested(DEPTH_MAX, kind)
    assert CODEC.decode_body(CODEC.encode_body(value)) == value


@pytest.mark.parametrize("kind", [list, dict, tuple])
def test_limits_hold_for_readers_too(kind: type) -> None:
    generous = MsgpackCodec(depth_max=100, elements_max=1_000_000)
    with pytest.raises(DecodeError, match="deep"):
        CODEC.decode_body(generous.encode_body(nested(DEPTH_MAX + 1, kind)))
    with pytest.raises(DecodeError, match="elements"):
        CODEC.decode_body(generous.encode_body([None] * ELEMENTS_MAX))
    assert len(CODEC.decode_body(CODEC.encode_body([None] * (ELEMENTS_MAX - 1)))) == ELEMENTS_MAX - 1


def test_sizes() -> None:
    small = MsgpackCodec(body_bytes_max=10)
    assert small.decode_body(small.encode_body("x" * 9)) == "x" * 9
    with pytest.raises(EncodeError, match="11 bytes, expected at most 10"):
        small.encode_body("x" * 10)
    with pytest.raises(DecodeError, match="11 bytes, expected 1 to 10"):
        small.decode_body(CODEC.encode_body("x" * 10))
    assert small.decode_message(small.encode_message("x" * 10)) == "x" * 10
    assert CODEC.body_bytes_max == FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES_MAX
    assert CODEC.frame_bytes_max == FRAME_BYTES_MAX
    assert CODEC.decode_body(CODEC.encode_body(b"x" * (CODEC.body_bytes_max - 5))) == b"x" * (CODEC.body_bytes_max - 5)


@pytest.mark.parametrize(
    "limits",
    [
        {"frame_bytes_max": 100},
        {"body_bytes_max": 0},
        {"body_bytes_max": FRAME_BYTES_MAX},
        {"depth_max": 0},
        {"depth_max": 1000},
        {"elements_max": 0},
    ],
    ids=repr,
)
def test_limits_that_contradict_each_other(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected"):
        MsgpackCodec(**limits)  # type: ignore[arg-type]


def test_one_codec_serves_many_threads() -> None:
    values = [[number, (number, {"x": {number}})] for number in range(2_000)]
    failures: list[int] = []

    def work(start: int) -> None:
        for index in range(start, len(values), 4):
            if CODEC.decode_body(CODEC.encode_body(values[index])) != values[index]:
                failures.append(index)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_it_is_a_codec() -> None:
    codec: Codec = CODEC
    assert repr(codec).startswith("MsgpackCodec(frame_bytes_max=1000000, ")


@given(st.integers(0, 40), st.sampled_from([list, dict, tuple]), st.integers(1, 40))
def test_depth_is_counted_alike_by_both_sides(depth: int, kind: type, depth_max: int) -> None:
    codec, generous = MsgpackCodec(depth_max=depth_max), MsgpackCodec(depth_max=100)
    value = [nested(depth, kind), "filler" * 20]
    body = generous.encode_body(value)
    if depth + 1 <= depth_max:
        assert codec.encode_body(value) == body
        assert codec.decode_body(body) == value
    else:
        with pytest.raises(EncodeError, match="deep"):
            codec.encode_body(value)
        with pytest.raises(DecodeError, match="deep"):
            codec.decode_body(body)
