"""msgspec structs and pydantic models: their own libraries check them, strictly, and neither is loaded for anybody else."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import attrs
import msgpack
import msgspec
import pydantic
import pytest

from parasync.codec import MsgpackCodec
from parasync.errors import InvalidTypeError, ParseError
from parasync.gate import gate_for

T = TypeVar("T")

SLOW = MsgpackCodec(fast=False)
FAST = MsgpackCodec(fast=True)
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)


class Wheel(msgspec.Struct):
    size: int


class Weight(msgspec.Struct):
    kilograms: float


class Car(msgspec.Struct):
    id: int
    name: str
    wheels: list[Wheel]
    built: datetime
    price: Decimal
    raw: bytes
    note: str | None = None


class Small(msgspec.Struct, rename="camel", omit_defaults=True):
    first_name: str
    age: int = 0


class Boxed(msgspec.Struct, Generic[T]):
    item: T


class Bus(msgspec.Struct, tag=True):
    seats: int


class Bike(msgspec.Struct, tag=True):
    gears: int


class Row(msgspec.Struct, array_like=True):
    a: int
    b: tuple[int, str]


class Engine(pydantic.BaseModel):
    power: int


class Plane(pydantic.BaseModel):
    id: int
    name: Annotated[str, pydantic.Field(min_length=1)]
    engine: Engine
    built: datetime
    day: date
    price: Decimal
    serial: UUID
    tags: set[str]
    kind: Literal["plane"] = "plane"


class Kite(pydantic.BaseModel):
    length: float
    kind: Literal["kite"] = "kite"


class Aliased(pydantic.BaseModel):
    size: int = pydantic.Field(alias="theSize")


class Ratio(pydantic.BaseModel):
    value: float


class Whole(pydantic.RootModel[int]):
    pass


CAR = Car(1, "T", [Wheel(2), Wheel(2)], NOW, Decimal("9.90"), b"\x00\xff")
PLANE = Plane(
    id=1,
    name="Spirit",
    engine=Engine(power=200),
    built=NOW,
    day=date(2026, 1, 1),
    price=Decimal("1.50"),
    serial=UUID(int=3),
    tags={"a"},
)


@attrs.define
class Garage:
    car: Car
    planes: list[Plane]
    first: Bus | Bike | None = None
    top: Plane | Kite | None = None


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Car, CAR),
        (Small, Small("Ada")),
        (Small, Small("Ada", 36)),
        (Boxed[int], Boxed(1)),
        (Bus | Bike, Bike(7)),
        (Row, Row(1, (2, "x"))),
        (Car | None, None),
        (list[Wheel], [Wheel(1)]),
        (Plane, PLANE),
        (Plane | Kite, Kite(length=1.5)),
        (Aliased, Aliased(theSize=3)),
        (Ratio, Ratio(value=0.1)),
        (Whole, Whole(5)),
        (Garage, Garage(CAR, [PLANE], Bus(50), PLANE)),
        (Garage, Garage(CAR, [])),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_instances_pass_and_come_back(type_: Any, value: Any) -> None:
    gate = gate_for(type_)
    assert gate.parse(value) is value
    assert gate.encode(value, FAST) == gate.encode(value, SLOW)
    for codec in (SLOW, FAST):
        back = gate.decode(gate.encode(value, codec), codec)
        assert back == value
        assert type(back) is type(value)


@pytest.mark.parametrize(
    ("type_", "plain"),
    [
        (Wheel, {"size": "5"}),
        (Wheel, {"size": 5.0}),
        (Wheel, {"size": True}),
        (Wheel, {}),
        (Wheel, []),
        (Wheel, Wheel("5")),
        (Wheel, Bus(5)),
        (Car, msgspec.structs.replace(CAR, built="2026-11-21T12:30:00Z")),
        (Bus | Bike, {"gears": 1}),
        (Car, msgspec.structs.replace(CAR, wheels=[Wheel(None)])),
        (Engine, {"power": "5"}),
        (Engine, {"power": 5.5}),
        (Engine, {"power": True}),
        (Engine, {}),
        (Engine, {"power": b"5"}),
        (Engine, Engine.model_construct(power="5")),
        (Engine, PLANE),
        (Plane, PLANE.model_copy(update={"engine": Engine.model_construct(power="x")})),
        (Plane, PLANE.model_copy(update={"name": ""})),
        (Plane, {**PLANE.model_dump(mode="json"), "price": True}),
        (Plane | Kite, {"kind": "kite", "length": "1.5"}),
        (Whole, "5"),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_nothing_is_coerced(type_: Any, plain: Any) -> None:
    gate = gate_for(type_)
    with pytest.raises(ParseError):
        gate.parse(plain)
    with pytest.raises(InvalidTypeError):
        gate.encode(plain, SLOW)


def test_nan_is_a_number_too() -> None:
    for type_, value in ((Weight, Weight(math.nan)), (Ratio, Ratio(value=math.nan))):
        for codec in (SLOW, FAST):
            assert repr(gate_for(type_).decode(gate_for(type_).encode(value, codec), codec)) == repr(value)


def test_plain_data_is_parsed_and_unknown_fields_are_ignored() -> None:
    assert gate_for(Wheel).parse({"size": 1, "added": 2}) == Wheel(1)
    assert gate_for(Engine).parse({"power": 1, "added": 2}) == Engine(power=1)
    assert gate_for(Plane).parse(PLANE.model_dump(mode="json")) == PLANE
    car = msgspec.to_builtins(CAR, builtin_types=(bytes,))
    assert gate_for(Garage).parse({"car": car, "planes": [PLANE.model_dump(mode="json")]}) == Garage(CAR, [PLANE])


def test_bodies_are_readable() -> None:
    plain = msgpack.unpackb(gate_for(Car).encode(CAR, SLOW))
    assert (plain["built"], plain["price"], plain["raw"]) == ("2026-11-21T12:30:00Z", "9.90", b"\x00\xff")
    plain = msgpack.unpackb(gate_for(Plane).encode(PLANE, SLOW))
    assert (plain["built"], plain["price"], plain["tags"]) == ("2026-11-21T12:30:00Z", "1.50", ["a"])


def test_what_a_model_does_not_read_back_is_not_written() -> None:
    class OneWay(pydantic.BaseModel):
        size: int

        @pydantic.field_serializer("size")
        def worded(self, size: int) -> str:
            return f"{size} metres"

    with pytest.raises(InvalidTypeError, match="got OneWay that its class does not write and read back"):
        gate_for(OneWay).encode(OneWay(size=3), SLOW)


def test_validators_of_models_refuse() -> None:
    class Even(pydantic.BaseModel):
        number: int

        @pydantic.field_validator("number")
        @classmethod
        def even(cls, number: int) -> int:
            if number % 2:
                raise ValueError(f"odd: {number}")
            return number

    with pytest.raises(ParseError, match="refuses") as refusal:
        gate_for(Even).parse({"number": 77_777})
    assert "77777" not in str(refusal.value)
    assert gate_for(Even).parse({"number": 2}) == Even(number=2)


def test_neither_library_is_loaded_for_anybody_else() -> None:
    program = """
import sys, attrs
from parasync.codec import MsgpackCodec
from parasync.gate import gate_for

@attrs.define
class User:
    id: int

gate, codec = gate_for(User), MsgpackCodec(fast=False)
assert gate.decode(gate.encode(User(1), codec), codec) == User(1)
assert not {"msgspec", "pydantic", "pydantic_core"} & set(sys.modules), sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
