"""Unions: members must be told apart in the program and on the wire, or the type is refused.

What a member writes is plain where that says which member it is. Where it does not, members that have a tagged form (dates,
tuples, sets, decimals, ...) use it. Records are told apart by a `Literal` field or by fields that only one of them requires.
Members whose instances are their own plain form can share anything, since reading them changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from parasync.errors import UsageError
from parasync.gate._forms import FORMS
from parasync.gate._shape import (
    Anything,
    Choice,
    Either,
    Fixed,
    Foreign,
    Keyed,
    Many,
    Mapped,
    Record,
    Recursive,
    Scalar,
    Shape,
    Text,
    is_plain,
)


def either(name: str, shapes: tuple[Shape, ...]) -> Shape:
    """The shape of a union of these members.

    Raises:
        UsageError: two members cannot be told apart on the wire.
    """
    members: list[Shape] = []
    for shape in shapes:
        members.extend(shape.members if isinstance(shape, Either) else [shape])
    clashing = {id(a) for a in members for b in members if a is not b and _clash(a, b)}
    tagged = [_tagged(member) if id(member) in clashing else member for member in members]
    for index, one in enumerate(tagged):
        for other in tagged[index + 1 :]:
            if _clash(one, other):
                raise UsageError(
                    f"got {name}, expected members that can be told apart: {one.name} and {other.name} look alike on the wire"
                )
    return tagged[0] if len(tagged) == 1 else Either(name, tuple(tagged))


def as_key(shape: Shape) -> Shape:
    """The shape of a key of a dict: what it writes must be hashable too, so tuples are tagged.

    Raises:
        UsageError: what it writes cannot be the key of a map.
    """
    if isinstance(shape, Either):
        return attrs.evolve(shape, members=tuple(as_key(member) for member in shape.members))
    if isinstance(shape, Many) and shape.type in (tuple, frozenset):
        return attrs.evolve(shape, item=as_key(shape.item), tagged=True)
    if isinstance(shape, Fixed) and shape.type is tuple:
        return attrs.evolve(shape, items=tuple(as_key(item) for item in shape.items), tagged=True)
    if isinstance(shape, Anything | Scalar | Text | Choice):
        return shape
    raise UsageError(f"got {shape.name} as the keys of a dict, expected texts, numbers, enums, dates or tuples of these")


def discriminator(records: tuple[Record, ...]) -> Callable[[Mapping[str, Any]], int]:
    """A function that tells of which record a mapping is the plain form, as an index.

    Raises:
        UsageError: nothing tells them apart.
    """
    names = [set(record.fields) for record in records]
    for name in records[0].fields:
        if all(name in fields for fields in names):
            index = _by_literal(records, name)
            if index is not None:
                return _literal_reader(name, index)
    chosen: list[tuple[str, int]] = []
    rest: list[int] = []
    for at, record in enumerate(records):
        others = set().union(*(fields for other, fields in enumerate(names) if other != at))
        own = [name for name, (_, required) in record.fields.items() if required and name not in others]
        if own:
            chosen.append((own[0], at))
        else:
            rest.append(at)
    if len(rest) > 1:
        both = " and ".join(records[at].name for at in rest)
        raise UsageError(f"got a union of {both}, expected records that a Literal field or fields of their own tell apart")
    return _field_reader(tuple(chosen), rest[0] if rest else None)


def record_of(shape: Shape) -> Record | None:
    """The record that a shape is, or comes back to."""
    known = shape.known if isinstance(shape, Recursive) else shape
    return known if isinstance(known, Record) else None


def _by_literal(records: tuple[Record, ...], name: str) -> dict[tuple[type, object], int] | None:
    index: dict[tuple[type, object], int] = {}
    for at, record in enumerate(records):
        shape = record.fields[name][0]
        if not isinstance(shape, Choice) or shape.enum is not None or any(plain in index for plain in shape.plain):
            return None
        index.update(dict.fromkeys(shape.plain, at))
    return index


def _literal_reader(name: str, index: dict[tuple[type, object], int]) -> Callable[[Mapping[str, Any]], int]:
    def read(plain: Mapping[str, Any]) -> int:
        value = plain[name]
        return index[type(value), value]

    return read


def _field_reader(chosen: tuple[tuple[str, int], ...], rest: int | None) -> Callable[[Mapping[str, Any]], int]:
    def read(plain: Mapping[str, Any]) -> int:
        for name, at in chosen:
            if name in plain:
                return at
        if rest is None:
            raise ValueError("none of the records")
        return rest

    return read


def _tagged(shape: Shape) -> Shape:
    taggable = isinstance(shape, Text) or (isinstance(shape, Many | Fixed) and shape.type in (tuple, set, frozenset))
    return attrs.evolve(shape, tagged=True) if taggable else shape  # type: ignore[call-arg]


def _clash(one: Shape, other: Shape) -> bool:
    """Whether what one of them writes could be read as the other, with another result."""
    if is_plain(one) and is_plain(other):
        return False
    if _is_record(one) and _is_record(other):
        return False
    return any(_overlap(a, b) for a in _wire(one) for b in _wire(other))


def _is_record(shape: Shape) -> bool:
    return isinstance(shape, Record) or (isinstance(shape, Recursive) and shape.written == "record")


def _overlap(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if ("any",) in (one, other):
        # Nothing that is tagged is ever taken for something untagged.
        return "tag" not in (one[0], other[0])
    return one == other or (one[0] == other[0] and (len(one) == 1 or len(other) == 1))


def _wire(shape: Shape) -> set[tuple[Any, ...]]:
    """What a member may write: a kind, or a kind and the exact value."""
    if isinstance(shape, Text):
        return {("tag", shape.type)} if shape.tagged else {("str",)}
    if isinstance(shape, Choice):
        if shape.flag:
            return {("int",)}
        return {_exactly(type_, value) for type_, value in shape.plain}
    if isinstance(shape, Scalar):
        return {("float",), ("int",)} if shape.type is float else {(shape.type.__name__,)}
    if isinstance(shape, Many | Fixed):
        return {("tag", shape.type)} if shape.tagged else {("array",)}
    if isinstance(shape, Mapped | Keyed | Record):
        return {("map",)}
    if isinstance(shape, Recursive):
        return {("map" if shape.written == "record" else shape.written,)}
    if isinstance(shape, Foreign) and not shape.adapter.anything:
        return {("map",), ("array",)}
    return {("any",)}


def _exactly(type_: type, value: object) -> tuple[Any, ...]:
    return ("tag", type_) if type_ is tuple or type_ in FORMS else (type_.__name__, value)
