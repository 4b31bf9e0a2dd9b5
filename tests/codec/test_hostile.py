"""Hostile bytes: nothing but `DecodeError` comes out, and little is allocated on the way.

`PARASYNC_HOSTILE_INPUTS` sets how many inputs are tried; a million take about a minute.
"""

from __future__ import annotations

import os
import random
import tracemalloc
import zlib
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import msgpack
import pytest

from parasync.codec import DEPTH_MAX, MsgpackCodec
from parasync.errors import DecodeError, ParseError
from parasync.gate import SHARED_HASH_MAX, encode_any, gate_for
from parasync.protocol import Envelope, Kind
from tests.codec.test_frames import KEY, sealed
from tests.gate.kit import ADA, Holder, Node, User, a_holder

INPUTS = int(os.environ.get("PARASYNC_HOSTILE_INPUTS", "20000"))
SLOW = MsgpackCodec(fast=False, wall_clock=lambda: 2.0**40)
FAST = MsgpackCodec(fast=True, wall_clock=lambda: 2.0**40)

INTERESTING = bytes(
    [*range(0x80, 0xA0), *range(0xC0, 0xE0), 0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0xFF, 0x7F, 0xA1]
)


def seeds() -> list[bytes]:
    values: list[Any] = [
        {"a": [1, 2.5, None, True, b"x" * 40, "é" * 20], 1: {"b": (1, {2}, frozenset({3}))}, "big": 2**80},
        [[[[[]]]], {"": {"": {}}}, ((),), 2**63, -(2**63)],
        "x" * 300,
        list(range(300)),
    ]
    bodies = [SLOW.encode_body(value) for value in values]
    bodies += [encode_any(value, SLOW) for value in (ADA, a_holder(), Node(1))]
    frames = [SLOW.encode_frame(KEY, Envelope(body, "2.1", 7, 5, meta={"a": "b"}, body=body)) for body in bodies[:3]]
    return [*bodies, *frames, SLOW.encode_frame(KEY, Envelope(None, "2.1", 7, 5, kind=Kind.TOMBSTONE))]


def hostile(rng: random.Random, known: list[bytes]) -> bytes:
    """Noise, or something real that was cut, spliced, or changed in a few places."""
    kind = rng.random()
    if kind < 0.15:
        return rng.randbytes(rng.randrange(1, 60))
    if kind < 0.35:
        return bytes(rng.choices(INTERESTING, k=rng.randrange(1, 120)))
    data = bytearray(rng.choice(known))
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(data))
        change = rng.random()
        if change < 0.5:
            data[at] = rng.choice(INTERESTING)
        elif change < 0.7:
            data[at] ^= 1 << rng.randrange(8)
        elif change < 0.8:
            del data[at : at + rng.randrange(1, 9)]
        elif change < 0.9:
            data[at:at] = bytes(rng.choices(INTERESTING, k=rng.randrange(1, 9)))
        else:
            data[at:at] = rng.choice(known)[: rng.randrange(1, 50)]
        if not data:
            break
    return bytes(data)


def outcome(read: Callable[[bytes], Any], data: bytes) -> object:
    """What is read, or the kind of refusal."""
    try:
        return read(data)
    except (DecodeError, ParseError) as error:
        refusal = error
    assert refusal.__context__ is None
    return type(refusal)


def test_nothing_but_the_one_error_comes_out() -> None:
    rng = random.Random(20_261_121)
    known = seeds()
    gates = [gate_for(User), gate_for(Holder), gate_for(Node), gate_for(dict[str, list[int]])]
    accepted = 0
    for number in range(INPUTS):
        data = hostile(rng, known)
        accepted += outcome(SLOW.decode_body, data) is not DecodeError
        outcome(SLOW.decode_message, data)
        read, again = (outcome(partial(codec.decode_frame, KEY), data) for codec in (SLOW, FAST))
        assert read == again
        gate = gates[number % len(gates)]
        assert repr(outcome(gate.decoder(FAST), data)) == repr(outcome(gate.decoder(SLOW), data))
    # Some must get through, or only the front door was tried.
    assert INPUTS * 0.01 < accepted < INPUTS * 0.9


def test_frames_with_a_right_checksum_are_no_safer() -> None:
    rng = random.Random(7)
    known = seeds()
    for _ in range(INPUTS // 10):
        fields: list[Any] = [1, 0, 5, 7, None, "2.1", b"x", {}]
        fields[rng.randrange(8)] = rng.choice([None, True, -1, 2**63, 1.5, "x", b"", [], {}, [[]], {"a": {}}, {"a": "b"}])
        frame = sealed(fields)
        head = bytearray(frame[:-5])
        head[rng.randrange(1, len(head))] = rng.choice(INTERESTING)
        for data in (frame, resealed(bytes(head)), resealed(b"\x99" + hostile(rng, known))):
            read, again = (outcome(partial(codec.decode_frame, KEY), data) for codec in (SLOW, FAST))
            assert read == again


def resealed(head: bytes) -> bytes:
    """The head of a frame with the checksum that belongs to it."""
    head += b"\xce"
    return head + zlib.crc32(head, zlib.crc32(KEY.encode())).to_bytes(4, "big")


def shallow(count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big")


BOMBS: dict[str, bytes] = {
    "nested headers that claim 100,000 items each": shallow(100_000) * 20_000,
    "as many as the bytes allow": shallow(500_000) * 100_000,
    "nested 16-bit headers": b"\xdc\xff\xff" * 33_000,
    "a few of them in front of padding": shallow(900_000) * 31 + b"\x00" * 900_000,
    "32 of them in front of less": b"\xdc\xff\xff" * 32 + b"\x00" * 66_000,
    "nested maps": b"\xdf\x00\x01\x86\xa0" * 20_000,
    "deep fixed arrays": b"\x91" * 5_000,
    "deep fixed maps": b"\x81\x00" * 5_000,
    "a million empty maps": shallow(900_000) + b"\x80" * 900_000,
    "a million empty arrays in small ones": (b"\x9f" + b"\x90" * 15) * 60_000,
    "a million texts": b"\xdf\x00\x03\x0d\x40" + b"".join(b"\xa4%04x\xa0" % number for number in range(65_536)) * 2,
    "two billion items": b"\xdd\x7f\xff\xff\xff" * 200,
    "tuples in tuples": b"\xc9\x00\x00\x7f\xff\x02" * 5_000,
    "deep keys": b"\x81" * 5_000,
    "a text of four gigabytes": b"\xdb\xff\xff\xff\xff" + b"x" * 100,
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_they_swell(name: str) -> None:
    data = BOMBS[name]
    framed = resealed(b"\x99\x01\x00\x05" + data)
    with_meta = resealed(b"\x99\x01\x00\x05\x07\xc0\xa32.1\xc4\x01x" + data)
    for read in (
        SLOW.decode_body,
        SLOW.decode_message,
        lambda body: gate_for(list[list[list[int]]]).decode(body, FAST),
        lambda body: gate_for(Node).decode(body, FAST),
        lambda body: gate_for(dict[int, dict[int, int]]).decode(body, FAST),
        lambda _: SLOW.decode_frame(KEY, framed),
        lambda _: FAST.decode_frame(KEY, framed),
        lambda _: FAST.decode_frame(KEY, with_meta),
    ):
        tracemalloc.start()
        try:
            with pytest.raises((DecodeError, ParseError)):
                read(data[: SLOW.body_bytes_max])
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak_bytes < 12_000_000, read


def test_honest_large_values_are_no_bombs() -> None:
    records = [{"a": [number]} for number in range(20_000)]
    for value in (records, [0.5] * 99_000, {str(number): number for number in range(40_000)}):
        body = SLOW.encode_body(value)
        assert SLOW.decode_body(body) == value
    deep: Any = []
    for _ in range(DEPTH_MAX - 1):
        deep = [deep] * 2 if len(msgpack.packb(deep)) < 500 else [deep]
    assert SLOW.decode_body(SLOW.encode_body(deep)) == deep


CROWD = 5_000
MODULUS = 2**61 - 1
"""Integers that differ by it have the same hash."""
CROWDS: dict[str, list[Any]] = {
    "integers": [1 + MODULUS * (2**10 + number) for number in range(CROWD)],
    "UUIDs": [UUID(int=1 + MODULUS * number) for number in range(CROWD)],
    "decimals": [Decimal(1 + MODULUS * number) for number in range(CROWD)],
}


@pytest.mark.parametrize("name", CROWDS)
def test_members_that_share_one_hash_are_refused(name: str) -> None:
    members = CROWDS[name]
    assert len(set(map(hash, members))) == 1
    packed = b"".join(SLOW.encode_body(member) for member in members)
    count = len(members)
    array = b"\xdc" + count.to_bytes(2, "big") + packed
    as_set = b"\xc9" + len(array).to_bytes(4, "big") + b"\x03" + array
    as_map = b"\xde" + count.to_bytes(2, "big") + b"".join(SLOW.encode_body(member) + b"\xc0" for member in members)
    for body in (as_set, as_map):
        with pytest.raises(DecodeError):
            SLOW.decode_body(body)
    typed = [str(member) for member in members] if name != "integers" else members
    with pytest.raises(ParseError):
        gate_for(set[type(members[0])]).decode(SLOW.encode_body(typed), SLOW)  # type: ignore[misc]
    if name != "integers":
        with pytest.raises(ParseError):
            gate_for(dict[type(members[0]), int]).decode(SLOW.encode_body(dict.fromkeys(typed, 1)), SLOW)  # type: ignore[misc]


def test_members_that_do_not_are_welcome() -> None:
    few = CROWDS["UUIDs"][:SHARED_HASH_MAX]
    many = [UUID(int=number) for number in range(CROWD)]
    for value in (set(few), dict.fromkeys(few), set(many), dict.fromkeys(many), set(range(CROWD)), set(map(str, many))):
        assert SLOW.decode_body(SLOW.encode_body(value)) == value
