"""The fast way and the slow way are one: the same bytes, the same values, the same refusals."""

from __future__ import annotations

import dataclasses
import enum
import functools
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, Self, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgpack
import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parasync.codec import MsgpackCodec
from parasync.errors import DecodeError, EncodeError, ParseError, UsageError
from parasync.gate import DECIMAL_CHARS_MAX, gate_for
from tests.gate.kit import (
    ADA,
    FAST_LEAVES,
    Address,
    Box,
    Cat,
    Colour,
    Dog,
    Level,
    Movie,
    Node,
    Odd,
    Point,
    Rights,
    Sample,
    Stamp,
    User,
    plain,
    same,
    samples,
)

T = TypeVar("T")

SLOW = MsgpackCodec(fast=False)
FAST = MsgpackCodec(fast=True)


def outcome(type_: Any, body: bytes, codec: MsgpackCodec) -> Any:
    try:
        return gate_for(type_).decode(body, codec)
    except (ParseError, DecodeError) as error:
        return type(error), str(error)


@given(samples(2, FAST_LEAVES), st.data())
def test_values_are_written_and_read_alike(sample: Sample, data: st.DataObject) -> None:
    try:
        gate = gate_for(sample.type)
    except UsageError:
        assume(False)
    value = data.draw(sample.values)
    body = gate.encode(value, SLOW)
    encode, decode = FAST.typed_encoder(sample.type), FAST.typed_decoder(sample.type)
    assert (encode is None) is (decode is None)
    if encode is None or decode is None:
        return
    fast = encode(value)
    assert fast is None or fast == body
    back = decode(body)
    assert back is None or same(back, value)


def mutated(value: Any, draw: Any) -> Any:
    """The same structure with one place changed: another type, a field more or less, another order."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(list(value)))
        change = draw(st.sampled_from(["drop", "add", "below", "reverse", "rename"]))
        rest = {name: part for name, part in value.items() if name != key}
        if change == "drop":
            return rest
        if change == "add":
            return {**value, draw(st.text(max_size=3)): draw(plain(1))}
        if change == "reverse":
            return dict(reversed(value.items()))
        if change == "rename":
            return {**rest, draw(st.integers() | st.text(max_size=2)): value[key]}
        return {**value, key: mutated(value[key], draw)}
    if isinstance(value, list) and value and draw(st.booleans()):
        index = draw(st.integers(0, len(value) - 1))
        return [*value[:index], mutated(value[index], draw), *value[index + 1 :]]
    if type(value) is int and draw(st.booleans()):
        return float(value) if abs(value) < 2**53 else str(value)
    if type(value) is float and draw(st.booleans()) and value == value and abs(value) < 2**53:
        return int(value)
    return draw(plain(1))


@given(samples(2, FAST_LEAVES), st.data())
def test_what_was_changed_is_judged_alike(sample: Sample, data: st.DataObject) -> None:
    try:
        gate = gate_for(sample.type)
    except UsageError:
        assume(False)
    plain_form = SLOW.decode_body(gate.encode(data.draw(sample.values), SLOW))
    body = SLOW.encode_body(mutated(plain_form, data.draw))
    slow, fast = outcome(sample.type, body, SLOW), outcome(sample.type, body, FAST)
    assert same(slow, fast)


@given(st.data())
def test_bytes_that_were_changed_are_judged_alike(data: st.DataObject) -> None:
    body = bytearray(gate_for(User).encode(ADA, SLOW))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    assert same(outcome(User, bytes(body), SLOW), outcome(User, bytes(body), FAST))


USER = SLOW.decode_body(gate_for(User).encode(ADA, SLOW))


def packed(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return bytes([0x80 | len(pairs)]) + b"".join(name + value for name, value in pairs)


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        (User, msgpack.packb({**USER, "id": 123.0})),
        (User, msgpack.packb({**USER, "score": 2})),
        (User, msgpack.packb({**USER, "score": 2**60})),
        (User, msgpack.packb({**USER, "added": [1, {"x": 2}]})),
        (User, msgpack.packb(dict(reversed(USER.items())))),
        (Address, packed([(b"\xa6street", b"\xa1a"), (b"\xa4city", b"\xa1b"), (b"\xa4city", b"\xa1c")])),
        (Address, packed([(b"\xa6street", b"\xa1a"), (b"\xa4city", b"\x01"), (b"\xa4city", b"\xa1c")])),
        (Address, packed([(b"\xa6street", b"\xa1a"), (b"\xa4city", b"\xa1b"), (b"\xa1x", b"\xa1\xff")])),
        (Address, packed([(b"\xa6street", b"\xa1a"), (b"\xa4city", b"\xa1b"), (b"\xa1x", b"\xc1")])),
        (Address, packed([(b"\xa6street", b"\xa1a"), (b"\xa4city", b"\xa1b"), (b"\xa1x", b"\xd4\x70\x00")])),
        (Address, packed([(b"\xa6street", b"\xa1a"), (b"\xa4city", b"\xa1b"), (b"\x90", b"\x01")])),
        (Address, packed([(b"\xa6street", b"\xa1a"), (b"\xa4city", b"\xa1b"), (b"\xa1x", b"\x91" * 40 + b"\x90")])),
        (Address, packed([(b"\xd9\x06street", b"\xa1a"), (b"\xa4city", b"\xa1b")])),
        (Address, packed([(b"\xc4\x06street", b"\xa1a"), (b"\xa4city", b"\xa1b")])),
        (int, b"\xcc\x05"),
        (int, b"\xcb\x40\x14" + bytes(6)),
        (float, b"\xca\x40\xa0\x00\x00"),
        (UUID, msgpack.packb("0" * 32)),
        (UUID, msgpack.packb(bytes(16))),
        (UUID, msgpack.packb(str(UUID(int=255)).upper())),
        (Decimal, msgpack.packb(5)),
        (Decimal, msgpack.packb("1_0")),
        (Decimal, msgpack.packb("١")),
        (Literal["a", 1], b"\xc3"),
        (Colour, b"\xc3"),
        (Level, b"\xc3"),
        (Point, msgpack.packb([1])),
        (Point, msgpack.packb([1, 2.5, 3])),
        (Movie, msgpack.packb({"title": "t", "x": 1})),
        (dict[str, int], b"\x82\xa1a\x01\xa1a\x02"),
        (dict[int, int], b"\x82\x01\x01\x01\x02"),
        (dict[int, int], b"\x81\xa11\x01"),
        (list[int], b"\xdc\x00\x01\x05"),
        (str, b"\xda\x00\x01a"),
        (int | None, b"\xc0"),
        (tuple[int, int], b"\x91\x01"),
        (int, b"\x01\x01"),
        (int, b""),
    ],
    ids=lambda case: repr(case)[:50],
)
def test_odd_bodies_are_judged_alike(type_: Any, body: bytes) -> None:
    assert same(outcome(type_, body, SLOW), outcome(type_, body, FAST))


@attrs.define
class Valid:
    x: int = attrs.field(validator=attrs.validators.gt(0))
    y: int = 5

    def __attrs_post_init__(self) -> None:
        if self.y == 13:
            raise ValueError


@dataclasses.dataclass
class Checked:
    x: int

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError


@attrs.frozen
class Rigid:
    x: int
    y: tuple[int, ...]


@pytest.mark.parametrize("x", [1, 0, -1])
@pytest.mark.parametrize("type_", [Valid, Checked])
def test_validators_run_on_both_ways(type_: type, x: int) -> None:
    body = msgpack.packb({"x": x, "y": 5} if type_ is Valid else {"x": x})
    assert FAST.typed_decoder(type_) is not None
    assert outcome(type_, body, SLOW) == outcome(type_, body, FAST)
    late = msgpack.packb({"x": 1, "y": 13})
    assert outcome(Valid, late, SLOW) == outcome(Valid, late, FAST)
    assert outcome(Valid, late, FAST)[0] is ParseError


class Row(NamedTuple):
    a: int
    b: str = "x"


class Flat(TypedDict):
    z: int
    a: str


class Shape(msgspec.Struct, rename="camel"):
    side_length: int
    colour: Colour = Colour.RED


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    z: int
    a: list[Address]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (User, ADA),
        (Rigid, Rigid(1, (2, 3))),
        (Valid, Valid(1)),
        (Checked, Checked(1)),
        (Dense, Dense(z=1, a=[Address("a", "b")])),
        (Row, Row(1)),
        (Flat, {"z": 1, "a": "b"}),
        (Shape, Shape(1)),
        (list[User], [ADA] * 40),
        (dict[str, Address], {"x": Address("a", "b")}),
        (dict[int, int], {2**63: -1}),
        (User | None, ADA),
        (Level, Level.HIGH),
        (Decimal, Decimal("1.50")),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_these_take_the_fast_way(type_: Any, value: Any) -> None:
    encode, decode = FAST.typed_encoder(type_), FAST.typed_decoder(type_)
    assert encode is not None
    assert decode is not None
    body = gate_for(type_).encode(value, SLOW)
    assert encode(value) == body
    assert same(decode(body), value)
    assert SLOW.typed_encoder(type_) is None
    assert SLOW.typed_decoder(type_) is None


@attrs.define
class Converted:
    x: int = attrs.field(converter=lambda value: value)


@attrs.define
class Private:
    _x: int


@attrs.define(slots=False)
class Open:
    x: int


@attrs.define
class Base:
    x: int


@attrs.define
class Heir(Base):
    a: int


@attrs.define
class Cached:
    x: int

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.x


@attrs.define
class Made:
    x: int
    y: int = attrs.field(init=False, default=1)


@attrs.define
class Early:
    x: int

    def __attrs_pre_init__(self) -> None:
        pass


@attrs.define
class Own:
    x: int

    def __init__(self, x: int) -> None:
        self.x = x


@attrs.define
class Guarded:
    x: int

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


class Undecorated(Base):
    pass


@attrs.define(cache_hash=True, frozen=True)
class Hashed:
    x: int


@dataclasses.dataclass
class MadeToo:
    x: int
    y: int = dataclasses.field(init=False, default=1)


@dataclasses.dataclass(init=False)
class OwnToo:
    x: int

    def __init__(self, x: int) -> None:
        self.x = x


@dataclasses.dataclass
class PrivateToo:
    _x: int


@dataclasses.dataclass
class Born:
    x: int

    def __new__(cls, *_: Any, **__: Any) -> Self:
        return super().__new__(cls)


class Forgiving(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, _: object) -> Forgiving:
        return cls.A


class Timed(msgspec.Struct):
    at: datetime


class Paired(msgspec.Struct):
    pair: tuple[int, int]


class Inside(msgspec.Struct):
    deep: list[int]


class Nest(msgspec.Struct):
    deep: list[list[list[int]]]
    inside: list[Inside]


class Filed(msgspec.Struct):
    path: Path


class Looped(msgspec.Struct):
    next: Looped | None = None


@attrs.define
class Typed(Generic[T]):
    item: T


@pytest.mark.parametrize(
    "type_",
    [
        Converted,
        Private,
        Open,
        Heir,
        Cached,
        Made,
        Early,
        Own,
        Guarded,
        Undecorated,
        Hashed,
        MadeToo,
        OwnToo,
        PrivateToo,
        Born,
        Forgiving,
        Rights,
        Odd,
        Stamp,
        Timed,
        Paired,
        Looped,
        Filed,
        Node,
        Cat | Dog,
        datetime,
        datetime | str,
        time,
        timedelta,
        set[int],
        frozenset[str],
        list[Any],
        dict[UUID, int],
        dict[tuple[int, int], int],
        Box[Any],
        Literal[True],
        Literal[Colour.RED],
        list[Converted],
        complex,
    ],
    ids=lambda type_: getattr(type_, "__name__", str(type_)),
)
def test_these_take_the_slow_way(type_: Any) -> None:
    assert FAST.typed_encoder(type_) is None
    assert FAST.typed_decoder(type_) is None


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Private, Private(1)),
        (Open, Open(1)),
        (Heir, Heir(1, 2)),
        (Cached, Cached(2)),
        (Made, Made(1)),
        (Born, Born(1)),
        (Looped, Looped(Looped())),
        (Nest, Nest([[[1]]], [Inside([2])])),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_the_slow_way_is_a_way(type_: Any, value: Any) -> None:
    # One of them remembers this in a slot of its own, which is no field.
    getattr(value, "double", None)
    for codec in (SLOW, FAST):
        assert gate_for(type_).decode(gate_for(type_).encode(value, codec), codec) == value
    assert gate_for(type_).encode(value, FAST) == gate_for(type_).encode(value, SLOW)


def test_what_is_set_on_an_instance_besides_its_fields_stays_there() -> None:
    @dataclasses.dataclass
    class Loose:
        x: int

    loose = Loose(1)
    loose.stray = 5  # type: ignore[attr-defined]
    assert gate_for(Loose).encode(loose, FAST) == gate_for(Loose).encode(loose, SLOW) == msgpack.packb({"x": 1})


def test_values_beyond_what_msgspec_writes_take_the_slow_way() -> None:
    big = attrs.evolve(ADA, id=2**70)
    gate = gate_for(User)
    assert gate.encode(big, FAST) == gate.encode(big, SLOW)
    assert gate.decode(gate.encode(big, FAST), FAST) == big
    with pytest.raises(EncodeError, match="surrogate"):
        gate.encode(attrs.evolve(ADA, name="\ud800"), FAST)


def test_limits_hold_on_the_fast_way() -> None:
    small = MsgpackCodec(fast=True, body_bytes_max=100, elements_max=50, depth_max=3)
    words = gate_for(list[str])
    for value in (["x" * 200], ["x"] * 60):
        with pytest.raises(EncodeError):
            words.encode(value, small)
        with pytest.raises(DecodeError):
            words.decode(words.encode(value, FAST), small)
    assert small.typed_decoder(list[list[list[int]]]) is not None
    assert small.typed_decoder(Nest) is None
    assert FAST.typed_decoder(Nest) is not None
    assert small.typed_decoder(list[list[list[list[int]]]]) is None
    long = Decimal("1" * (DECIMAL_CHARS_MAX + 1))
    with pytest.raises(EncodeError, match="characters"):
        gate_for(Decimal).encode(long, FAST)
    with pytest.raises(ParseError):
        gate_for(Decimal).decode(msgpack.packb(str(long)), FAST)


def test_signalling_times() -> None:
    """A struct that holds what msgspec writes in its own form is still written in ours."""
    timed = Timed(datetime(2026, 1, 1, tzinfo=UTC))
    assert msgpack.unpackb(gate_for(Timed).encode(timed, FAST)) == {"at": "2026-01-01T00:00:00Z"}


def test_without_msgspec_there_is_no_fast_way() -> None:
    program = """
import sys
sys.modules["msgspec"] = None
from importlib import util
find_spec = util.find_spec
util.find_spec = lambda name, *more: None if name == "msgspec" else find_spec(name, *more)
import attrs, pytest
from parasync.codec import MsgpackCodec
from parasync.errors import UsageError
from parasync.gate import gate_for

@attrs.define
class User:
    id: int

with pytest.raises(UsageError, match="fast"):
    MsgpackCodec(fast=True)
codec = MsgpackCodec()
assert codec.typed_decoder(User) is None
assert gate_for(User).decode(gate_for(User).encode(User(1), codec), codec) == User(1)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
