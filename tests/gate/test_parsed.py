"""Gates around a `parse` callable, and values of which only their own class is known."""

from __future__ import annotations

import enum
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import attrs
import msgpack
import pytest

from parasync.codec import MsgpackCodec
from parasync.errors import EncodeError, InvalidTypeError, ParseError
from parasync.gate import encode_any, gate_for
from tests.gate.kit import ADA, Address, Colour, Point, User

CODEC = MsgpackCodec(fast=False)


class Temperature:
    """A class of its own kind: nothing is known of what is inside."""

    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


def to_temperature(plain: Any) -> Temperature:
    return Temperature(plain["degrees"])


def positive(plain: Any) -> int:
    if plain <= 0:
        raise ValueError(plain)
    return int(plain)


def test_plain_data_goes_through_the_callable() -> None:
    gate = gate_for(Temperature, to_temperature)
    assert gate.parse({"degrees": 5.0}).degrees == 5.0
    assert gate.decode(CODEC.encode_body({"degrees": 5.0}), CODEC).degrees == 5.0
    assert gate.decoder(CODEC)(CODEC.encode_body({"degrees": 5.0})).degrees == 5.0


def test_instances_do_not() -> None:
    warm = Temperature(20.0)
    assert gate_for(Temperature, to_temperature).parse(warm) is warm
    assert gate_for(User, lambda plain: User(**plain)).parse(ADA) is ADA


def test_instances_are_checked_as_deeply_as_the_type_allows() -> None:
    gate = gate_for(User, lambda plain: User(**plain))
    with pytest.raises(ParseError):
        gate.parse(attrs.evolve(ADA, id="1"))
    with pytest.raises(InvalidTypeError, match=r"\$\.id: expected int, got str"):
        gate.encode(attrs.evolve(ADA, id="1"), CODEC)
    with pytest.raises(ParseError):
        gate.parse(Address("a", "b"))


def test_builtins_go_through_the_callable_too() -> None:
    gate = gate_for(int, positive)
    assert gate.parse(5) == 5
    assert gate.decode(gate.encode(5, CODEC), CODEC) == 5
    assert gate.encoder(CODEC)(5) == b"\x05"
    with pytest.raises(ParseError, match=r"its parse callable refuses \(ValueError\)"):
        gate.parse(-5)
    with pytest.raises(InvalidTypeError, match=r"its parse callable refuses \(ValueError\)"):
        gate.encode(-5, CODEC)
    with pytest.raises(InvalidTypeError, match="expected int, got str"):
        gate.encode("5", CODEC)  # type: ignore[arg-type]


@pytest.mark.parametrize("type_", [User, Temperature, int, list[int]], ids=str)
def test_what_the_callable_returns_is_checked(type_: Any) -> None:
    gate = gate_for(type_, lambda _: None)
    with pytest.raises(ParseError, match="got a NoneType from its parse callable"):
        gate.parse({})


def test_a_type_that_says_nothing_takes_what_the_callable_makes() -> None:
    gate = gate_for(object, lambda plain: plain["x"])
    assert gate.parse({"x": 5}) == 5
    assert gate.dump({"x": 5}) == {"x": 5}


def test_what_has_no_plain_form_cannot_be_encoded() -> None:
    with pytest.raises(EncodeError, match=r"\$: got a Temperature where no type is declared"):
        gate_for(Temperature, to_temperature).encode(Temperature(1.0), CODEC)
    with pytest.raises(InvalidTypeError, match="expected Temperature, got dict"):
        gate_for(Temperature, to_temperature).dump({"degrees": 5.0})  # type: ignore[arg-type]


def test_a_class_that_raises_when_it_is_looked_at_is_refused() -> None:
    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            raise RuntimeError("no")

    class Shy(metaclass=Meta):
        pass

    with pytest.raises(ParseError):
        gate_for(Shy, lambda _: 5).parse({})


def test_a_class_that_cannot_be_hashed_is_refused() -> None:
    class Meta(type):
        def __eq__(cls, other: object) -> bool:
            return cls is other

        __hash__ = None  # type: ignore[assignment]

    class Loose(metaclass=Meta):
        pass

    for value in (Loose(), [Loose()], {"a": Loose()}):
        with pytest.raises(EncodeError):
            encode_any(value, CODEC)
        with pytest.raises(ParseError):
            gate_for(list[int], lambda _: [0.5]).parse(value)  # type: ignore[arg-type]
        with pytest.raises(InvalidTypeError):
            gate_for(list[int]).encode(value, CODEC)  # type: ignore[arg-type]


def test_the_repr_names_the_callable() -> None:
    assert repr(gate_for(int, positive)) == f"<gate of int by {positive!r}>"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (5, 5),
        ({"a": [1]}, {"a": [1]}),
        (Address("a", "b"), {"city": "b", "street": "a"}),
        (Point(1), [1, 0.5]),
        (Colour.RED, "red"),
        (None, None),
    ],
    ids=repr,
)
def test_any_value_is_encoded_by_its_own_class(value: Any, plain: Any) -> None:
    assert msgpack.unpackb(encode_any(value, CODEC)) == plain


@pytest.mark.parametrize("value", [(1, 2), {1, 2}, datetime(2026, 1, 1, tzinfo=UTC), Decimal("1.5"), 2**70], ids=repr)
def test_standard_values_come_back_exactly(value: Any) -> None:
    assert CODEC.decode_body(encode_any(value, CODEC)) == value


def a_cycle() -> list[Any]:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


class Shade(enum.StrEnum):
    DARK = "dark"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (object(), r"\$: got a object"),
        (complex(1), "got complex, expected an attrs class"),
        ([1, {"a": Address("a", "b")}], r"\$\[1\]\[entry 0\]: got a Address where no type is declared"),
        ({Point(1): 1}, r"\$\[key 0\]: got a Point"),
        ({1: [Shade.DARK]}, r"\$\[entry 0\]\[0\]: got a Shade"),
        ((bytearray(b"x"),), r"\$\[0\]: got a bytearray"),
        ([memoryview(b"x")], r"\$\[0\]: got a memoryview"),
        ([msgpack.ExtType(5, b"x")], r"\$\[0\]: got a ExtType"),
        ([msgpack.Timestamp(5)], r"\$\[0\]: got a Timestamp"),
        ([OrderedDict(a=1)], r"\$\[0\]: got a OrderedDict"),
        (a_cycle(), "refers to itself"),
        (attrs.evolve(ADA, id="1"), r"\$\.id: expected int, got str"),
    ],
    ids=range(12),
)
def test_what_would_not_come_back_is_refused(value: Any, words: str) -> None:
    with pytest.raises(EncodeError, match=words):
        encode_any(value, CODEC)
    if type(value) in (list, tuple, dict):
        with pytest.raises(EncodeError, match=words):
            gate_for(Any).encode(value, CODEC)
