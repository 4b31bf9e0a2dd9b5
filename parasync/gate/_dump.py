"""From true instances to plain data, in the form that each position determines. Called with values that passed the check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final, TypeAlias

import attrs
import cattrs
from cattrs.fns import identity
from cattrs.gen import make_dict_unstructure_fn_from_attrs, override

from parasync.gate._check import CheckCompiler
from parasync.gate._forms import FORMS
from parasync.gate._plain import demand_plain
from parasync.gate._shape import (
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
    holds_anything,
    is_plain,
)

Dump: TypeAlias = Callable[[Any], Any]

_CONVERTER: Final = cattrs.Converter(detailed_validation=False)


class DumpCompiler:
    """Compiles the writers of one type; those of its parts are shared."""

    def __init__(self, checks: CheckCompiler) -> None:
        self._checks = checks
        self._done: dict[int, Dump] = {}

    def dump(self, shape: Shape) -> Dump:
        """The writer for one part of the type: `identity` where the value is its own plain form."""
        if is_plain(shape):
            return demand_plain if holds_anything(shape) else identity
        if isinstance(shape, Recursive):
            return self._later(shape)
        done = self._done.get(id(shape))
        if done is None:
            done = self._done[id(shape)] = self._made(shape)
        return done

    def _later(self, shape: Recursive) -> Dump:
        def dump_recursive(value: Any) -> Any:
            return self.dump(shape.known)(value)

        return dump_recursive

    def _made(self, shape: Shape) -> Dump:
        if isinstance(shape, Text):
            return FORMS[shape.type].write
        if isinstance(shape, Choice):
            return attrgetter("value") if shape.enum is not None else _literal(shape)
        if isinstance(shape, Many):
            return _many(shape, self.dump(shape.item))
        if isinstance(shape, Fixed):
            return _fixed(tuple if shape.tagged else list, [self.dump(item) for item in shape.items])
        if isinstance(shape, Mapped):
            return _mapped(self.dump(shape.key), self.dump(shape.value))
        if isinstance(shape, Keyed):
            return _keyed({name: self.dump(item) for name, (item, _) in shape.fields.items()})
        if isinstance(shape, Record):
            return self._record(shape)
        if isinstance(shape, Either):
            return self._either(shape)
        if isinstance(shape, Foreign):
            return shape.adapter.dump
        raise TypeError(f"no writer for {type(shape).__name__}")

    def _record(self, shape: Record) -> Dump:
        overrides: dict[str, Any] = {name: override(unstruct_hook=self.dump(item)) for name, (item, _) in shape.fields.items()}
        # msgspec writes attrs classes by their slots, which Python keeps sorted; so all attrs classes are written that way.
        attributes = sorted(shape.attributes, key=lambda field: field.name) if attrs.has(shape.type) else list(shape.attributes)
        return make_dict_unstructure_fn_from_attrs(attributes, shape.type, _CONVERTER, _cattrs_use_linecache=False, **overrides)

    def _either(self, shape: Either) -> Dump:
        others = [member for member in shape.members if not (isinstance(member, Scalar) and member.type is type(None))]
        if len(others) == 1:
            return _optional(self.dump(others[0]))
        return _first([(self._checks.check(member), self.dump(member)) for member in shape.members])


def _literal(shape: Choice) -> Dump:
    written = {(type(member), member): plain[1] for plain, member in shape.plain.items()}
    return lambda value: written[type(value), value]


def _many(shape: Many, item: Dump) -> Dump:
    if shape.tagged:
        type_ = shape.type
        return lambda value: type_([item(part) for part in value])
    if shape.type in (set, frozenset):
        return lambda value: _in_order(item(part) for part in value)
    return lambda value: [item(part) for part in value]


def _in_order(parts: Iterable[Any]) -> list[Any]:
    """The members of a set in an order that depends on nothing but the members, so that equal sets have equal bodies."""
    listed = list(parts)
    kinds = set(map(type, listed))
    if len(kinds) == 1 and kinds <= {int, str, bytes}:
        listed.sort()
    else:
        listed.sort(key=lambda part: (type(part).__name__, repr(part)))
    return listed


def _fixed(type_: type, items: list[Dump]) -> Dump:
    if all(item is identity for item in items):
        return type_
    return lambda value: type_([item(part) for item, part in zip(items, value, strict=True)])


def _mapped(key: Dump, item: Dump) -> Dump:
    if key is identity:
        return lambda value: {name: item(part) for name, part in value.items()}
    return lambda value: {key(name): item(part) for name, part in value.items()}


def _keyed(fields: dict[str, Dump]) -> Dump:
    return lambda value: {name: fields[name](part) for name, part in value.items()}


def _optional(dump: Dump) -> Dump:
    return lambda value: None if value is None else dump(value)


def _first(members: list[tuple[Callable[[object], bool], Dump]]) -> Dump:
    def dump_first(value: Any) -> Any:
        for check, dump in members:
            if check(value):
                return dump(value)
        raise TypeError("no member of the union")

    return dump_first
