"""Unions: what is written says which member it is, or the type is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import attrs
import msgpack
import pytest

from parasync.codec import MsgpackCodec
from parasync.errors import ParseError, UsageError
from parasync.gate import gate_for
from tests.gate.kit import Address, Box, Cat, Colour, Dog, Level, Movie, Node, Point, User, same

CODEC = MsgpackCodec(fast=False)
FAST = MsgpackCodec(fast=True)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@attrs.define
class Circle:
    radius: float
    colour: str = "red"


@attrs.define
class Square:
    side: float
    colour: str = "red"


@attrs.define
class Nothing:
    colour: str = "red"


@attrs.define
class Leaf:
    value: int
    kind: Literal["leaf"] = "leaf"


@attrs.define
class Tree:
    left: Tree | Leaf
    right: Tree | Leaf | None
    kind: Literal["tree"] = "tree"


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        (int | str, [1, "1"]),
        (int | float, [1, 1.0]),
        (bool | int, [True, 1]),
        (datetime | None, [NOW, None]),
        (datetime | str, [NOW, "2026-11-21T00:00:00+00:00"]),
        (date | datetime, [date(2026, 1, 1), NOW]),
        (Decimal | float, [Decimal("1.5"), 1.5]),
        (Decimal | str | UUID, [Decimal("1.5"), "1.5", UUID(int=1), str(UUID(int=1))]),
        (tuple[int, ...] | list[int], [(1, 2), [1, 2], (), []]),
        (set[int] | frozenset[int] | list[int], [{1}, frozenset({1}), [1]]),
        (tuple[int, int] | str, [(1, 2), "12"]),
        (Sequence[int], [[1], (1,)]),
        (Sequence[datetime], [[NOW], (NOW,)]),
        (AbstractSet[str], [{"a"}, frozenset({"a"})]),
        (Mapping[str, datetime], [{"a": NOW}]),
        (list[int] | list[str], [[1], ["a"], []]),
        (dict[str, int] | int, [{"a": 1}, 1]),
        (Circle | Square, [Circle(1.0), Square(1.5)]),
        (Circle | Square | Nothing, [Circle(1.0), Square(1.5), Nothing("blue")]),
        (Cat | Dog | None, [Cat(1), Dog(2), None]),
        (User | int, [5]),
        (Tree | Leaf, [Leaf(1), Tree(Leaf(1), Tree(Leaf(2), None))]),
        (Colour | None, [Colour.RED, None]),
        (Colour | int, [Colour.RED, 3]),
        (Colour | Level, [Colour.RED, Level.HIGH]),
        (Literal["never"] | datetime, ["never", NOW]),
        (Literal["a", 1] | float, ["a", 1, 2.5]),
        (Box[int] | list[Box[str]], [Box(1, []), [Box("a", [])]]),
        (Point | str, [Point(1), "1"]),
        (datetime | Any, [NOW, "2026-11-21T00:00:00+00:00", (1, 2), 5]),
    ],
    ids=lambda case: repr(case)[:40],
)
def test_members_come_back_as_what_they_were(type_: Any, values: list[Any]) -> None:
    gate = gate_for(type_)
    for value in values:
        assert gate.parse(value) is value
        for codec in (CODEC, FAST):
            assert same(gate.decode(gate.encode(value, codec), codec), value)


@pytest.mark.parametrize(
    "type_",
    [
        Colour | str,
        Level | int,
        list[datetime] | list[str],
        list[datetime] | list[date],
        tuple[datetime, ...] | tuple[date, ...],
        Address | dict[str, str],
        Address | Movie,
        Address | Any,
        Point | list[int],
        Nothing | Address | dict[str, Any],
        Box[int] | Box[str],
        dict[str, datetime] | dict[str, str],
    ],
    ids=str,
)
def test_members_that_look_alike_are_refused(type_: Any) -> None:
    with pytest.raises(UsageError, match="expected"):
        gate_for(type_)


def test_records_are_refused_where_no_field_tells_them_apart() -> None:
    @attrs.define
    class Other:
        colour: str = "blue"

    with pytest.raises(UsageError, match="tell apart"):
        gate_for(Nothing | Other)


def test_plain_where_the_type_says_it_and_tagged_where_it_does_not() -> None:
    plain = msgpack.unpackb(gate_for(datetime | None).encode(NOW, CODEC))
    assert plain == "2026-11-21T00:00:00+00:00"
    assert isinstance(msgpack.unpackb(gate_for(datetime | str).encode(NOW, CODEC)), msgpack.ExtType)
    assert msgpack.unpackb(gate_for(tuple[int, int] | None).encode((1, 2), CODEC)) == [1, 2]


def test_a_mapping_of_no_member_is_refused() -> None:
    with pytest.raises(ParseError):
        gate_for(Circle | Square).parse({"colour": "red"})
    with pytest.raises(ParseError):
        gate_for(Tree).parse({"kind": "tree", "left": {"kind": "bush"}, "right": None})


def test_recursion_inside_a_union() -> None:
    gate = gate_for(Node | str)
    node = Node(1, Node(2), [Node(3)], {"a": Node(4)})
    assert same(gate.decode(gate.encode(node, CODEC), CODEC), node)
