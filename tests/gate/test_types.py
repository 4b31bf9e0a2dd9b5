"""Which types have a gate: generics, recursion, aliases, wrappers; and what the others are told."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence, MutableSet
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Required,
    Self,
    TypedDict,
    TypeVar,
    TypeVarTuple,
)

import attr
import attrs
import pytest
import typing_extensions
from typing_extensions import ReadOnly, TypeAliasType

from parasync.codec import MsgpackCodec
from parasync.errors import InvalidTypeError, ParseError, UsageError
from parasync.gate import gate_for
from tests.gate.kit import Address, Box, Colour, Movie, Named, Node, Point, same

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Bound = TypeVar("Bound", bound=int)
Either = TypeVar("Either", int, str)

CODEC = MsgpackCodec(fast=False)
FAST = MsgpackCodec(fast=True)

UserId = NewType("UserId", int)
Json = TypeAliasType("Json", bool | int | float | str | list["Json"] | dict[str, "Json"] | None)
Pair = TypeAliasType("Pair", tuple[T, T], type_params=(T,))


@attrs.define
class Bounded(Generic[Bound, Either]):
    a: Bound
    b: Either


@attrs.define
class Inner(Generic[T]):
    x: T


@attrs.define
class Outer(Inner[int], Generic[T]):
    """The same variable stands for two things: in the base for int, here for what is given."""

    y: T


@attrs.define
class Tree(Generic[T]):
    value: T
    children: list[Tree[T]] = attrs.field(factory=list)


@dataclasses.dataclass
class Linked:
    value: int
    next: Linked | None = None


class Folder(TypedDict):
    name: str
    folders: list[Folder]


class Chain(NamedTuple):
    value: int
    next: Chain | None = None


@attrs.define
class Derived:
    """The class makes one field itself, and keeps it."""

    a: int
    kind: ClassVar[str] = "derived"
    double: int = attrs.field(init=False)
    _hidden: int = 7
    other: int = attrs.field(default=1, alias="elsewhere", kw_only=True)

    def __attrs_post_init__(self) -> None:
        self.double = 2 * self.a


@dataclasses.dataclass
class Plain:
    a: int
    kind: ClassVar[str] = "plain"
    double: int = dataclasses.field(init=False)
    late: int = dataclasses.field(default=3, kw_only=True)

    def __post_init__(self) -> None:
        self.double = 2 * self.a


class Partial(TypedDict, total=False):
    a: Required[int]
    b: Annotated[str, "a note"]


class Whole(Partial):
    c: NotRequired[ReadOnly[int]]
    d: int


class Elsewhere(typing_extensions.TypedDict, total=False):
    a: typing_extensions.Required[int]
    b: str


class Inherited(Elsewhere):
    c: typing_extensions.NotRequired[ReadOnly[int]]
    d: int


@attrs.define
class Selfish:
    """`Self` is the class around it, also below another class."""

    others: list[Self] = attrs.field(factory=list)
    linked: Linked | None = None
    boss: Self | None = None


@attrs.define
class Many(Generic[*Ts]):
    items: tuple[*Ts]


@attrs.define
class Two(Many[int, str]):
    pass


@attrs.define
class Endless(Generic[T]):
    value: T
    next: Endless[list[T]] | None = None


class GenericDict(TypedDict, Generic[T]):
    item: T


class GenericTuple(NamedTuple, Generic[T]):
    item: T
    count: int = 0


@attrs.define
class Untyped:
    a = attrs.field()
    b: Any = None


@attrs.define
class Outside:
    """A class that stands inside is found by its name."""

    @attrs.define
    class Inside:
        x: int

    inside: Inside
    more: list[Outside.Inside]


@attr.s
class Old:
    x = attr.ib(type=int)
    y = attr.ib(type=list[int], default=attr.Factory(list))


@attrs.define
class Bare:
    a: list
    b: dict
    c: tuple
    d: set


ROUND_TRIPS: list[tuple[Any, Any]] = [
    (UserId, 5),
    (Annotated[int, "note"], 5),
    (Json, {"a": [1, None, {"b": 2.5}], "c": "d"}),
    (Json | datetime, {"a": [1, None]}),
    (Json | datetime, datetime(2026, 1, 1, tzinfo=UTC)),
    (list[Json | None], [{"a": [1, None]}]),
    (Pair[int], (1, 2)),
    (list[Pair[str]], [("a", "b")]),
    (Box[int], Box(1, [2])),
    (Box[Box[str]], Box(Box("a", []), [Box("b", ["c"])])),
    (Named[int, str], Named(1, [2], "label")),
    (Outer[str], Outer(1, "a")),
    (Bounded[int, str], Bounded(1, "a")),
    (Bounded, Bounded(1, "a")),
    (Box, Box(object, [])),
    (Tree[int], Tree(1, [Tree(2, [Tree(3)])])),
    (Linked, Linked(1, Linked(2))),
    (Folder, {"name": "a", "folders": [{"name": "b", "folders": []}]}),
    (Chain, Chain(1, Chain(2))),
    (Node, Node(1, Node(2), [Node(3)], {"k": Node(4)})),
    (Derived, Derived(3, 9, elsewhere=4)),
    (Plain, Plain(3, late=4)),
    (Partial, {"a": 1}),
    (Partial, {"a": 1, "b": "x"}),
    (Whole, {"a": 1, "d": 2}),
    (Whole, {"a": 1, "b": "x", "c": 3, "d": 2}),
    (Elsewhere, {"a": 1}),
    (Inherited, {"a": 1, "b": "x", "c": 3, "d": 2}),
    (Selfish, Selfish([Selfish()], Linked(1, Linked(2)), Selfish(boss=Selfish()))),
    (GenericDict[int], {"item": 1}),
    (GenericTuple[str], GenericTuple("a")),
    (Untyped, Untyped({"x": (1, 2)})),
    (Outside, Outside(Outside.Inside(1), [Outside.Inside(2)])),
    (Old, Old(1, [2])),
    (Bare, Bare([1, (2,)], {3: 4}, (5, [6]), {7})),
    (list, [1, "a"]),
    (dict, {1: (2, 3)}),
    (tuple, (1, [2])),
    (set, {1, "a"}),
    (MutableSequence[int], [1]),
    (MutableSet[int], {1}),
    (MutableMapping[str, int], {"a": 1}),
    (dict[tuple[int, Colour], int], {(1, Colour.RED): 2}),
    (dict[frozenset[str], int], {frozenset({"a", "b"}): 2}),
    (dict[int | str, int], {1: 2, "1": 3}),
    (dict[Any, int], {None: 1, (1, 2): 2, "a": 3}),
    (set[Point], {Point(1), Point(2)}),
    (object, {"a": (1, 2)}),
    (None, None),
]


@pytest.mark.parametrize(("type_", "value"), ROUND_TRIPS, ids=[repr(type_)[:40] for type_, _ in ROUND_TRIPS])
def test_types_with_a_gate(type_: Any, value: Any) -> None:
    gate = gate_for(type_)
    assert gate.parse(value) is value
    if type_ is Box:
        return
    for codec in (CODEC, FAST):
        assert same(gate.decode(gate.encode(value, codec), codec), value)
        assert gate.decode(gate.encode(value, codec), codec) == value


class Opaque:
    pass


@attrs.define
class Deep:
    inside: list[dict[str, Opaque]]


@dataclasses.dataclass
class WithInitVar:
    a: int
    b: dataclasses.InitVar[int]


@attrs.define
class Unresolved:
    a: NoSuchName  # noqa: F821


class Valued(enum.Enum):
    A = Opaque


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        (Opaque, "got Opaque, expected an attrs class"),
        (Path, "got Path"),
        (complex, "got complex"),
        (bytearray, "got bytearray"),
        (Deep, "Deep.inside: got Opaque"),
        (list[Deep], "Deep.inside: got Opaque"),
        (Callable[[int], int], "expected an attrs class"),
        (Iterator[int], "got Iterator"),
        (type[int], "expected an attrs class"),
        (Endless[int], "its recursion has no end"),
        (tuple[int, *tuple[str, ...]], "expected an attrs class"),
        (Many[int, str], "any number of types"),
        (Many, "Many.items: got Unpack"),
        (Two, "any number of types"),
        (list[Self], "got Self"),
        (WithInitVar, "InitVar b"),
        (Unresolved, "cannot be resolved"),
        (Valued, "Valued with a value of type type"),
        (enum.Enum("Listed", {"A": ([1],)}), "Listed with a value of type tuple"),
        (enum.Enum("Unequal", {"A": float("nan")}), "Unequal with a value of type float"),
        (enum.Enum("Signalling", {"A": Decimal("sNaN")}), "Signalling with a value of type Decimal"),
        (set[list[int]], "can be hashed"),
        (set[Address], "can be hashed"),
        (dict[Point, int], "keys of a dict"),
        (dict[Address, int], "keys of a dict"),
        (5, "got 5"),
        ("int", "got the name int"),
        ([int], "can be hashed"),
        (Literal[Colour.RED, "red"], "differ on the wire"),
        (enum.Enum("Same", {"A": 1, "B": True}), ""),
    ],
    ids=lambda case: str(case)[:40],
)
def test_types_without_a_gate(type_: Any, words: str) -> None:
    if not words:
        assert gate_for(type_).parse(1) is type_.A
        return
    with pytest.raises(UsageError, match=re.escape(words)):
        gate_for(type_)


def test_generics_are_checked_by_their_arguments() -> None:
    with pytest.raises(ParseError):
        gate_for(Outer[str]).parse(Outer("a", "a"))
    with pytest.raises(ParseError):
        gate_for(Named[int, str]).parse(Named(1, [2], 3))
    with pytest.raises(ParseError):
        gate_for(Tree[int]).parse(Tree(1, [Tree("a")]))
    with pytest.raises(ParseError):
        gate_for(Bounded).parse(Bounded("a", 1.5))
    with pytest.raises(ParseError):
        gate_for(Old).parse(Old("1"))
    with pytest.raises(InvalidTypeError):
        gate_for(Json).encode({"a": {1: 2}}, CODEC)


def test_a_class_of_a_function_may_refer_to_itself() -> None:
    @attrs.define
    class Local:
        next: Local | None = None

    assert gate_for(Local).parse({"next": {"next": None}}) == Local(Local())


def test_attrs_classes_may_resolve_their_names_themselves() -> None:
    @attrs.define
    class Part:
        x: int

    @attrs.define
    class Sum:
        parts: list[Part]

    with pytest.raises(UsageError, match="resolve_types"):
        gate_for(Sum)
    attrs.resolve_types(Sum, localns={"Part": Part})
    assert gate_for(Sum).parse({"parts": [{"x": 1}]}) == Sum([Part(1)])


def test_final_fields() -> None:
    @dataclasses.dataclass
    class Fixed:
        a: Final[int] = 1  # type: ignore[misc]

    assert gate_for(Fixed).parse({"a": 2}) == Fixed(2)


def test_what_the_constructor_does_not_take_is_not_carried() -> None:
    assert CODEC.decode_body(gate_for(Derived).encode(Derived(3), CODEC)) == {"a": 3, "_hidden": 7, "other": 1}
    assert gate_for(Plain).parse({"a": 3, "double": 100}) == Plain(3)


def test_gates_are_made_once() -> None:
    assert gate_for(Box[int]) is gate_for(Box[int])
    assert gate_for(Box[int]) is not gate_for(Box[str])
    assert gate_for(int | None) is gate_for(int | None)
    assert gate_for(Movie) is not gate_for(Movie, dict)
    assert repr(gate_for(dict[str, list[int | None]])) == "<gate of dict[str, list[int | None]]>"


@attrs.define
class Fluent:
    def me(self) -> Self:
        return self


def test_a_class_without_fields() -> None:
    assert gate_for(Fluent).parse({}) == Fluent()
