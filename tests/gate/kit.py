"""Types and values for the tests of gate and codec: hand-made classes, and random types with values of them."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
import typing
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar, Union
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

T = TypeVar("T")
U = TypeVar("U")


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Odd(enum.Enum):
    PAIR = (1, "a")
    DAY = date(2026, 1, 2)
    NOTHING = None


@attrs.define
class Address:
    street: str
    city: str


@attrs.define
class User:
    id: int
    name: str
    email: str
    score: float
    active: bool
    address: Address
    tags: list[str]


@dataclasses.dataclass(frozen=True)
class Stamp:
    at: datetime
    day: date
    hour: time
    took: timedelta
    price: Decimal
    id: UUID
    raw: bytes
    colour: Colour
    level: Level
    tags: frozenset[str]
    pair: tuple[int, bytes]


@attrs.define
class Node:
    value: int
    next: Node | None = None
    children: list[Node] = attrs.field(factory=list)
    by_name: dict[str, Node] = attrs.field(factory=dict)


@attrs.frozen
class Box(Generic[T]):
    item: T
    more: list[T]


@attrs.define
class Named(Box[T], Generic[T, U]):
    label: U


class Point(NamedTuple):
    x: int
    y: float = 0.5


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


@attrs.define
class Cat:
    lives: int
    kind: Literal["cat"] = "cat"


@attrs.define
class Dog:
    lives: int
    kind: Literal["dog"] = "dog"


@attrs.define
class Holder:
    """Every position at which something can be wrong."""

    user: User
    tags: set[str]
    scores: dict[str, int]
    pair: tuple[int, str]
    when: datetime
    pet: Cat | Dog
    colour: Colour
    maybe: Address | None
    point: Point
    movie: Movie
    mode: Literal["a", 1]
    anything: Any = None


ADA = User(123, "Ada Lovelace", "ada@example.org", 1.5, True, Address("12 St James's Square", "London"), ["a", "bb", "ccc"])


def a_holder() -> Holder:
    return Holder(
        user=ADA,
        tags={"x", "y"},
        scores={"a": 1},
        pair=(1, "one"),
        when=datetime(2026, 11, 21, 12, 30, tzinfo=UTC),
        pet=Cat(9),
        colour=Colour.RED,
        maybe=None,
        point=Point(1),
        movie={"title": "M"},
        mode="a",
    )


def same(one: object, other: object) -> bool:
    """Equal, of the same types all the way down, and NaN is itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (one == other and math.copysign(1, one) == math.copysign(1, other))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, set | frozenset) and isinstance(other, set | frozenset):
        return len(one) == len(other) and all(any(same(a, b) for b in other) for a in one)
    if isinstance(one, dict) and isinstance(other, dict):
        entries = other.items()
        return len(one) == len(other) and all(any(all(map(same, entry, found)) for found in entries) for entry in one.items())
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one.replace(tzinfo=None) == other.replace(tzinfo=None) and _zone(one) == _zone(other) and one.fold == other.fold
    if isinstance(one, time) and isinstance(other, time):
        return one.replace(tzinfo=None) == other.replace(tzinfo=None) and _zone(one) == _zone(other) and one.fold == other.fold
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one.as_tuple() == other.as_tuple()
    if attrs.has(type(one)) or dataclasses.is_dataclass(one):
        return all(same(getattr(one, name), getattr(other, name)) for name in names_of(type(one)))
    return one == other


def _zone(value: datetime | time) -> object:
    return (type(value.tzinfo), getattr(value.tzinfo, "key", None), value.utcoffset())


def names_of(cls: type) -> list[str]:
    return [field.name for field in (attrs.fields(cls) if attrs.has(cls) else dataclasses.fields(cls))]


ZONES = [ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu")]
OFFSETS = [
    UTC,
    timezone(timedelta(hours=5, minutes=45)),
    timezone(-timedelta(hours=3, seconds=7)),
    timezone(timedelta(microseconds=1)),
]

texts = st.text(st.characters(codec="utf-8"), max_size=12)
integers = st.integers(-(2**63), 2**64 - 1) | st.integers(-100, 100)
big_integers = st.integers(2**64, 2**200) | st.integers(-(2**200), -(2**63) - 1)
floats = st.floats(width=64)
datetimes = st.datetimes() | st.datetimes(
    # Far enough from both ends that every offset leads to a date.
    min_value=datetime(1, 1, 3),  # noqa: DTZ001
    max_value=datetime(9999, 12, 29),  # noqa: DTZ001
    timezones=st.sampled_from(ZONES + OFFSETS),
)
times = st.times() | st.builds(lambda at, zone: at.replace(tzinfo=zone), st.times(), st.sampled_from(ZONES + OFFSETS))
decimals = st.decimals() | st.sampled_from(list(map(Decimal, ["1.50", "-0", "1E+30", "sNaN12", "-Infinity"])))

Some = Literal["a", 1, None]  # noqa: PYI061

SCALARS: dict[Any, SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: integers | big_integers,
    float: floats,
    str: texts,
    bytes: st.binary(max_size=12),
}
STANDARD: dict[Any, SearchStrategy[Any]] = {
    datetime: datetimes,
    date: st.dates(),
    time: times,
    timedelta: st.timedeltas(),
    Decimal: decimals,
    UUID: st.uuids(),
}
CHOICES: dict[Any, SearchStrategy[Any]] = {
    Colour: st.sampled_from(Colour),
    Level: st.sampled_from(Level),
    Rights: st.sampled_from([Rights(value) for value in range(4)]),
    Odd: st.sampled_from(Odd),
    Some: st.sampled_from(["a", 1, None]),
    Literal[Colour.RED, 7]: st.sampled_from([Colour.RED, 7]),
}


class Sample(NamedTuple):
    """A type and a strategy for true instances of it."""

    type: Any
    values: SearchStrategy[Any]


_numbers = itertools.count()


def leaves(*, hashable: bool = False) -> SearchStrategy[Sample]:
    known = {**SCALARS, **STANDARD, **CHOICES}
    if hashable:
        # A signalling NaN cannot be hashed, and one NaN is not equal to another.
        known[Decimal] = st.decimals(allow_nan=False)
        known[float] = st.floats(allow_nan=False)
    kinds = [Sample(kind, values) for kind, values in known.items()]
    return st.sampled_from(kinds if hashable else [*kinds, Sample(None, st.none()), Sample(Any, plain(2))])


def samples(depth: int = 3, leaf: SearchStrategy[Sample] | None = None) -> SearchStrategy[Sample]:
    """Random types with their values, nested up to `depth`."""
    base = leaves() if leaf is None else leaf
    if not depth:
        return base
    below = samples(depth - 1, leaf)
    containers = [
        below.map(lambda item: Sample(list[item.type], st.lists(item.values, max_size=4))),  # type: ignore[name-defined]
        below.map(lambda item: Sample(tuple[item.type, ...], st.lists(item.values, max_size=4).map(tuple))),  # type: ignore[name-defined]
        st.lists(below, max_size=3).map(_fixed),
        st.tuples(_keys(), below).map(_dict),
        below.map(lambda item: _union([item, Sample(None, st.none())])),
        st.lists(below, min_size=1, max_size=4).flatmap(_records),
    ]
    if leaf is None:
        containers.append(leaves(hashable=True).flatmap(_sets))
        containers.append(st.lists(below, min_size=2, max_size=3).map(_union))
    return base | st.one_of(containers)


def _fixed(items: list[Sample]) -> Sample:
    types = tuple(item.type for item in items)
    return Sample(tuple[types] if types else tuple[()], st.tuples(*(item.values for item in items)))


def _keys() -> SearchStrategy[Sample]:
    return st.sampled_from([Sample(str, texts), Sample(int, integers)])


def _dict(pair: tuple[Sample, Sample]) -> Sample:
    key, item = pair
    return Sample(dict[key.type, item.type], st.dictionaries(key.values, item.values, max_size=4))  # type: ignore[name-defined]


def _sets(item: Sample) -> SearchStrategy[Sample]:
    values = st.lists(item.values, max_size=4)
    return st.sampled_from(
        [
            Sample(set[item.type], values.map(set)),  # type: ignore[name-defined]
            Sample(frozenset[item.type], values.map(frozenset)),  # type: ignore[name-defined]
            Sample(dict[item.type, int], st.dictionaries(item.values, integers, max_size=4)),  # type: ignore[name-defined]
        ]
    )


def _union(items: list[Sample]) -> Sample:
    union: Any = Union
    return Sample(union[tuple(item.type for item in items)], st.one_of([item.values for item in items]))


def _records(items: list[Sample]) -> SearchStrategy[Sample]:
    makers: list[Callable[[dict[str, Any]], Any]] = [_attrs, _slotless, _frozen, _dataclass, _slotted_dataclass, _named_tuple]
    return st.sampled_from([*makers, _typed_dict]).map(lambda make: _record(make, items))


def _record(make: Callable[[dict[str, Any]], Any], items: list[Sample]) -> Sample:
    # Names in an order that is not alphabetical.
    fields = {f"{'zaqm'[index]}_{index}": item.type for index, item in enumerate(items)}
    cls = make(fields)
    values = st.fixed_dictionaries({name: item.values for name, item in zip(fields, items, strict=True)})
    return Sample(cls, values if typing.is_typeddict(cls) else values.map(lambda given: cls(**given)))


def _attrs(fields: dict[str, Any]) -> Any:
    return attrs.make_class(_name(), {name: attrs.field(type=kind) for name, kind in fields.items()}, slots=True)


def _slotless(fields: dict[str, Any]) -> Any:
    return attrs.make_class(_name(), {name: attrs.field(type=kind) for name, kind in fields.items()}, slots=False)


def _frozen(fields: dict[str, Any]) -> Any:
    named = {name: attrs.field(type=kind) for name, kind in fields.items()}
    return attrs.make_class(_name(), named, slots=True, frozen=True)


def _dataclass(fields: dict[str, Any]) -> Any:
    return dataclasses.make_dataclass(_name(), list(fields.items()))


def _slotted_dataclass(fields: dict[str, Any]) -> Any:
    return dataclasses.make_dataclass(_name(), list(fields.items()), slots=True, kw_only=True)


def _named_tuple(fields: dict[str, Any]) -> Any:
    return NamedTuple(_name(), list(fields.items()))  # type: ignore[misc]


def _typed_dict(fields: dict[str, Any]) -> Any:
    return TypedDict(_name(), fields)  # type: ignore[misc]


def _name() -> str:
    return f"Record{next(_numbers)}"


def plain(depth: int = 3) -> SearchStrategy[Any]:
    """Values at a position without a type: everything that comes back exactly without one."""
    scalars = st.one_of([st.none(), *SCALARS.values(), *STANDARD.values()])
    hashables = st.one_of([texts, integers, st.booleans(), st.binary(max_size=4), st.uuids(), st.dates(), st.none()])
    if not depth:
        return scalars
    below = plain(depth - 1)
    keys = hashables | st.tuples(hashables, hashables) | st.frozensets(hashables, max_size=2)
    return scalars | st.one_of(
        [
            st.lists(below, max_size=3),
            st.lists(below, max_size=3).map(tuple),
            st.dictionaries(keys, below, max_size=3),
            st.sets(keys, max_size=3),
            st.frozensets(keys, max_size=3),
        ]
    )


FAST_LEAVES = st.sampled_from(
    [
        *(Sample(kind, values) for kind, values in {**SCALARS, int: integers}.items()),
        Sample(Colour, CHOICES[Colour]),
        Sample(Level, CHOICES[Level]),
        Sample(Some, CHOICES[Some]),
        Sample(date, STANDARD[date]),
        Sample(UUID, STANDARD[UUID]),
        Sample(Decimal, decimals),
        Sample(None, st.none()),
    ]
)
"""Leaves that msgspec is trusted with."""
