"""Nothing is coerced: each value that a lenient converter would bend is refused, at every position."""

from __future__ import annotations

import datetime as dt
import enum
from collections import OrderedDict, defaultdict
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import attrs
import pytest

from parasync.codec import MsgpackCodec
from parasync.errors import EncodeError, InvalidTypeError, ParseError
from parasync.gate import FLOAT_INT_MAX, VALUE_DEPTH_MAX, gate_for
from parasync.gate._plain import demand_plain
from tests.gate.kit import (
    ADA,
    Address,
    Box,
    Cat,
    Colour,
    Dog,
    Holder,
    Level,
    Movie,
    Node,
    Odd,
    Point,
    Rights,
    Stamp,
    User,
    a_holder,
    same,
)

CODEC = MsgpackCodec(fast=False)
FAST = MsgpackCodec(fast=True)


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Items(list[Any]):
    pass


class Spelled(enum.StrEnum):
    A = "a"


@attrs.define
class Defaults:
    a: int = 1
    b: str = "b"


COERCIONS: list[tuple[Any, Any]] = [
    (int, "5"),
    (int, 5.9),
    (int, 5.0),
    (int, True),
    (int, None),
    (int, b"5"),
    (int, Number(5)),
    (int, Level.LOW),
    (float, "1.5"),
    (float, True),
    (float, None),
    (float, Decimal("1.5")),
    (float, FLOAT_INT_MAX + 1),
    (float, -FLOAT_INT_MAX - 1),
    (bool, "false"),
    (bool, 0),
    (bool, 1),
    (bool, None),
    (str, None),
    (str, 5),
    (str, b"abc"),
    (str, Text("abc")),
    (str, Spelled.A),
    (str, Colour.RED),
    (bytes, "abc"),
    (bytes, bytearray(b"abc")),
    (bytes, [1, 2]),
    (None, 0),
    (None, ""),
    (list[str], "abc"),
    (list[str], ("a", "b")),
    (list[str], {"a": 1}),
    (list[str], {"a"}),
    (list[str], Items(["a"])),
    (list[int], [1, "2"]),
    (list[int], [True]),
    (tuple[int, ...], "abc"),
    (tuple[int, ...], {1, 2}),
    (tuple[int, int], [1]),
    (tuple[int, int], [1, 2, 3]),
    (tuple[int, int], (1, "2")),
    (tuple[()], [1]),
    (set[str], "abc"),
    (set[str], ("a",)),
    (set[str], frozenset("a")),
    (set[str], ["a", "a"]),
    (set[int], [1, "1"]),
    (frozenset[str], {"a"}),
    (dict[str, int], [("a", 1)]),
    (dict[str, int], {1: 1}),
    (dict[str, int], {"a": "1"}),
    (dict[int, int], {"1": 1}),
    (dict[int, int], {True: 1}),
    (dict[str, int], OrderedDict(a=1)),
    (dict[Decimal, int], {"1": 1, "1.0": 2}),
    (dict[str, int], defaultdict(int)),
    (Defaults, []),
    (Defaults, ()),
    (Defaults, None),
    (Defaults, ""),
    (Defaults, {"a": "1"}),
    (Address, ADA),
    (Address, ("a", "b")),
    (Movie, {}),
    (Movie, {"title": 1}),
    (Movie, {"title": "t", "year": "1999"}),
    (Movie, [("title", "t")]),
    (Point, {"x": 1}),
    (Point, []),
    (Point, ["1"]),
    (Point, "1"),
    (Colour, "blue"),
    (Colour, "RED"),
    (Colour, 1),
    (Level, True),
    (Level, 1.0),
    (Level, "LOW"),
    (Level, 3),
    (Rights, 4),
    (Rights, True),
    (Rights, "1"),
    (Odd, [1, "a"]),
    (Odd, "2026-01-02"),
    (Literal["a", 1], "b"),
    (Literal["a", 1], True),
    (Literal["a", 1], 1.0),
    (Literal[True], 1),
    (Literal["a"], ["a"]),
    (dt.datetime, "2026-11-21"),
    (dt.datetime, "2026-11-21 12:00:00"),
    (dt.datetime, "20261121T120000"),
    (dt.datetime, "2026-11-21T12:00"),
    (dt.datetime, "2026-11-21T12:00:60"),
    (dt.datetime, "2026-11-21T12:00:00.1234567"),
    (dt.datetime, "2026-11-21T12:00:00[Europe/Berlin]"),
    (dt.datetime, "2026-11-21T12:00:00+01:00[Nowhere/City]"),
    (dt.datetime, 1_700_000_000),
    (dt.datetime, dt.date(2026, 11, 21)),
    (dt.date, dt.datetime(2026, 11, 21, tzinfo=dt.UTC)),
    (dt.date, "2026-11-21T00:00:00"),
    (dt.date, "2026-W47-6"),
    (dt.date, "2026-02-30"),
    (dt.time, "25:00:00"),
    (dt.time, "12:00"),
    (dt.time, "12:00:00+01:00[Europe/Berlin]"),
    (dt.timedelta, 5),
    (dt.timedelta, "5"),
    (dt.timedelta, "P"),
    (dt.timedelta, "PT"),
    (dt.timedelta, "P1Y"),
    (Decimal, "1_000"),
    (Decimal, " 1"),
    (Decimal, "٣"),
    (Decimal, 1),
    (Decimal, 1.5),
    (Decimal, ""),
    (UUID, "x" * 32),
    (UUID, "0" * 32),
    (UUID, "{00000000-0000-0000-0000-000000000000}"),
    (UUID, b"0" * 16),
    (int | None, "5"),
    (int | None, ""),
    (int | str, 1.5),
    (int | str, None),
    (Address | None, {}),
    (Cat | Dog, {"lives": 9}),
    (Cat | Dog, {"lives": 9, "kind": "cow"}),
    (Cat | Dog, {"lives": "9", "kind": "cat"}),
    (Cat | Dog, []),
    (Box[int], {"item": "1", "more": []}),
    (Box[int], Box("1", [])),
    (Box[int], Box(1, ["1"])),
    (Node, Node(1, Node("2"))),
    (Node, {"value": 1, "children": [{"value": "2"}]}),
]


@pytest.mark.parametrize(("type_", "value"), COERCIONS, ids=lambda case: repr(case)[:40])
def test_refused(type_: Any, value: Any) -> None:
    gate = gate_for(type_)
    with pytest.raises(ParseError) as refusal:
        gate.parse(value)
    assert refusal.value.problems
    with pytest.raises(InvalidTypeError):
        gate.encode(value, CODEC)


def has_a_body(value: Any) -> bool:
    try:
        demand_plain(value)
    except EncodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("type_", "value"), [case for case in COERCIONS if has_a_body(case[1])], ids=lambda case: repr(case)[:40]
)
def test_refused_off_a_bus(type_: Any, value: Any) -> None:
    body = CODEC.encode_body(value)
    for codec in (CODEC, FAST):
        with pytest.raises(ParseError):
            gate_for(type_).decode(body, codec)


@pytest.mark.parametrize(
    ("type_", "plain", "value"),
    [
        (float, 5, 5.0),
        (float, FLOAT_INT_MAX, float(FLOAT_INT_MAX)),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[int], [1, 2], {1, 2}),
        (frozenset[str], ["a"], frozenset({"a"})),
        (Point, [1], Point(1)),
        (Point, [1, 2.5], Point(1, 2.5)),
        (Point, [1, 2.5, "a newer minor"], Point(1, 2.5)),
        (Colour, "red", Colour.RED),
        (Level, 2, Level.HIGH),
        (Rights, 3, Rights.READ | Rights.WRITE),
        (Rights, 0, Rights(0)),
        (Odd, (1, "a"), Odd.PAIR),
        (Odd, None, Odd.NOTHING),
        (dict[Colour, int], {"red": 1}, {Colour.RED: 1}),
        (dict[dt.date, int], {"2026-11-21": 1}, {dt.date(2026, 11, 21): 1}),
        (dt.datetime, "2026-11-21T12:00:00", dt.datetime(2026, 11, 21, 12)),  # noqa: DTZ001
        (dt.datetime, "2026-11-21T12:00:00.5Z", dt.datetime(2026, 11, 21, 12, 0, 0, 500_000, tzinfo=dt.UTC)),
        (dt.timedelta, "P1DT2H3M4.5S", dt.timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        (dt.timedelta, "-PT1S", -dt.timedelta(seconds=1)),
        (Decimal, "1.50", Decimal("1.50")),
        (UUID, "00000000-0000-0000-0000-0000000000FF", UUID(int=255)),
        (Defaults, {}, Defaults()),
        (Defaults, {"b": "c", "added_by_a_newer_minor": [1, {"x": None}]}, Defaults(b="c")),
        (Movie, {"title": "t", "added": 1}, {"title": "t"}),
        (Cat | Dog, {"kind": "dog", "lives": 1}, Dog(1)),
        (Box[int], {"item": 1, "more": [2]}, Box(1, [2])),
        (Node, {"value": 1, "next": {"value": 2}, "by_name": {"x": {"value": 3}}}, Node(1, Node(2), [], {"x": Node(3)})),
        (Address | None, None, None),
        (list[Address], [Address("a", "b"), {"street": "c", "city": "d"}], [Address("a", "b"), Address("c", "d")]),
        (Holder, attrs.asdict(a_holder(), recurse=False), a_holder()),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_plain_forms(type_: Any, plain: Any, value: Any) -> None:
    assert same(gate_for(type_).parse(plain), value) or gate_for(type_).check(plain)
    assert gate_for(type_).parse_plain(plain) == value


def test_instances_are_returned_as_they_are() -> None:
    for type_, value in ((User, ADA), (Holder, a_holder()), (list[int], [1]), (dict[str, Any], {"a": object()}), (float, 5)):
        assert gate_for(type_).parse(value) is value


def test_every_field_of_an_instance_is_checked() -> None:
    gate = gate_for(Holder)
    wrong: dict[str, Any] = {
        "user": attrs.evolve(ADA, tags=["a", 1]),
        "tags": {"x", 1},
        "scores": {"a": "1"},
        "pair": (1, 2),
        "when": "2026-11-21T12:00:00",
        "pet": Dog(None),
        "colour": "red",
        "maybe": Address("a", None),
        "point": Point("1"),
        "movie": {"title": "t", "extra": 1},
        "mode": 2,
    }
    assert set(wrong) == {field.name for field in attrs.fields(Holder)} - {"anything"}
    for name, value in wrong.items():
        with pytest.raises(ParseError) as refusal:
            gate.parse(attrs.evolve(a_holder(), **{name: value}))
        assert all(problem.startswith(f"$.{name}") for problem in refusal.value.problems)
        with pytest.raises(InvalidTypeError):
            gate.dump(attrs.evolve(a_holder(), **{name: value}))


def test_a_missing_attribute_is_a_problem() -> None:
    bare = object.__new__(Address)
    with pytest.raises(ParseError, match=r"\$\.street: expected str, got nothing"):
        gate_for(Address).parse(bare)


def test_a_cycle_is_refused() -> None:
    node = Node(1)
    node.next = node
    ring: dict[str, Any] = {"value": 1}
    ring["children"] = [ring]
    tangle = Node(1)
    tangle.children, tangle.next = [tangle, tangle], tangle
    knot: dict[str, Any] = {"value": 1}
    knot |= {"children": [knot, knot], "next": knot}
    for _ in range(20):
        for value in (node, ring, tangle, knot):
            with pytest.raises(ParseError, match=r"refers to itself|levels"):
                gate_for(Node).parse(value)
            with pytest.raises(InvalidTypeError):
                gate_for(Node).encode(value, CODEC)  # type: ignore[arg-type]


def test_a_subclass_is_another_class() -> None:
    @attrs.define
    class Mansion(Address):
        rooms: int

    with pytest.raises(ParseError, match="expected Address, got Mansion"):
        gate_for(Address).parse(Mansion("a", "b", 100))


@pytest.mark.parametrize("kind", [dict, Node])
def test_values_are_limited_in_depth(kind: Any) -> None:
    """Also in process, and also where the stack of Python would have room for more."""
    gate = gate_for(Node)
    value = kind(value=1)
    for _ in range(VALUE_DEPTH_MAX):
        value = kind(value=1, next=value)
    assert gate.parse(value).next is not None
    assert gate.parse(value) == gate.parse(gate.parse(value))
    with pytest.raises(ParseError):
        gate.parse(kind(value=1, next=value))
    for _ in range(5_000):
        value = kind(value=1, next=value)
    with pytest.raises(ParseError):
        gate.parse(value)


def test_all_kinds_of_values_come_back_exactly() -> None:
    stamp = Stamp(
        dt.datetime(2026, 10, 25, 2, 30, tzinfo=dt.UTC),
        dt.date(2026, 1, 1),
        dt.time(1, 2, 3),
        dt.timedelta(days=-1, microseconds=5),
        Decimal("1.50"),
        UUID(int=7),
        b"\x00\xff",
        Colour.GREEN,
        Level.HIGH,
        frozenset({"b", "a"}),
        (2**100, b""),
    )
    gate = gate_for(Stamp)
    for codec in (CODEC, FAST):
        assert same(gate.decode(gate.encode(stamp, codec), codec), stamp)
