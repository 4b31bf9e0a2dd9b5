"""From plain data to true instances, strictly: cattrs with a hook of our own for every position.

A position takes the plain form that its type determines, or a true instance, and nothing that would have to be coerced: no
number in a text, no text as a sequence, no bool as an int. The one widening is an int where a float is declared, as in
Python's own typing. Hooks raise whatever comes; they are called where every exception means "refused".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import cattrs
from cattrs.gen import make_dict_structure_fn_from_attrs, override

from parasync.gate._check import FLOAT_INT_MAX, Check, CheckCompiler
from parasync.gate._crowd import demand_spread
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
)
from parasync.gate._union import discriminator, record_of

Hook: TypeAlias = Callable[[Any, Any], Any]
"""Turns plain data into a value; the second argument is there for cattrs, and ignored."""

_CONVERTER: Final = cattrs.Converter(detailed_validation=False)
_MISSING: Final = object()


class RefusedError(Exception):
    """A position does not take this value. Carries nothing: an explanation is made afterwards, where it is needed."""


def compile_parse(shape: Shape, checks: CheckCompiler) -> Hook:
    """The parser for a shape.

    Raises:
        UsageError: records of a union cannot be told apart.
    """
    return ParseCompiler(checks).hook(shape)


class ParseCompiler:
    """Compiles the parsers of one type; those of its parts are shared."""

    def __init__(self, checks: CheckCompiler) -> None:
        self._checks = checks
        self._done: dict[int, Hook] = {}

    def hook(self, shape: Shape) -> Hook:
        """The parser for one part of the type."""
        if isinstance(shape, Recursive):
            return self._later(shape)
        done = self._done.get(id(shape))
        if done is None:
            done = self._done[id(shape)] = self._made(shape)
        return done

    def _later(self, shape: Recursive) -> Hook:
        done = self._done

        def parse_recursive(value: Any, _: Any) -> Any:
            return done[id(shape.target)](value, None)

        return parse_recursive

    def _made(self, shape: Shape) -> Hook:
        if isinstance(shape, Anything):
            return lambda value, _: value
        if isinstance(shape, Scalar):
            return _float if shape.type is float else _exactly(shape.type)
        if isinstance(shape, Text):
            return _text(shape.type)
        if isinstance(shape, Choice):
            return _choice(shape)
        if isinstance(shape, Many):
            return _list(self.hook(shape.item)) if shape.type is list else _many(shape.type, self.hook(shape.item))
        if isinstance(shape, Fixed):
            return _fixed(shape, [self.hook(item) for item in shape.items])
        if isinstance(shape, Mapped):
            return _mapped(self.hook(shape.key), self.hook(shape.value))
        if isinstance(shape, Keyed):
            return _keyed({name: (self.hook(item), required) for name, (item, required) in shape.fields.items()})
        if isinstance(shape, Record):
            return self._record(shape)
        if isinstance(shape, Either):
            return self._either(shape)
        if isinstance(shape, Foreign):
            return _foreign(shape.adapter.check, shape.adapter.parse)
        raise TypeError(f"no parser for {type(shape).__name__}")

    def _record(self, shape: Record) -> Hook:
        overrides: dict[str, Any] = {name: override(struct_hook=self.hook(item)) for name, (item, _) in shape.fields.items()}
        structure: Hook = make_dict_structure_fn_from_attrs(
            list(shape.attributes),
            shape.type,
            _CONVERTER,
            {parameter.__name__: Any for parameter in getattr(shape.type, "__parameters__", ())},
            _cattrs_use_linecache=False,
            **overrides,
        )
        check = self._checks.check(shape)
        cls = shape.type

        def parse_record(value: Any, _: Any) -> Any:
            if type(value) is dict:
                return structure(value, cls)
            if check(value):
                return value
            raise RefusedError

        return parse_record

    def _either(self, shape: Either) -> Hook:
        if len(shape.members) == 2 and any(_is_none(member) for member in shape.members):
            return _optional(self.hook(next(member for member in shape.members if not _is_none(member))))
        checks = [self._checks.check(member) for member in shape.members]
        records = [member for member in shape.members if record_of(member) is not None]
        hooks = [self.hook(member) for member in shape.members if member not in records]
        if len(records) > 1:
            hooks.append(_one_of([self.hook(record) for record in records], records))
        else:
            hooks.extend(self.hook(record) for record in records)
        return _first(checks, hooks)


def _one_of(hooks: list[Hook], records: list[Shape]) -> Hook:
    which = discriminator(tuple(record for record in map(record_of, records) if record is not None))

    def parse_one_of(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise RefusedError
        return hooks[which(value)](value, None)

    return parse_one_of


def _is_none(shape: Shape) -> bool:
    return isinstance(shape, Scalar) and shape.type is type(None)


def _exactly(type_: type) -> Hook:
    def parse_exactly(value: Any, _: Any) -> Any:
        if type(value) is type_:
            return value
        raise RefusedError

    return parse_exactly


def _float(value: Any, _: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int and -FLOAT_INT_MAX <= value <= FLOAT_INT_MAX:
        return float(value)
    raise RefusedError


def _text(type_: type) -> Hook:
    read = FORMS[type_].read

    def parse_text(value: Any, _: Any) -> Any:
        if type(value) is str:
            return read(value)
        if type(value) is type_:
            return value
        raise RefusedError

    return parse_text


def _choice(shape: Choice) -> Hook:
    members, enum, types = shape.plain, shape.enum, frozenset(type_ for type_, _ in shape.plain)
    made = frozenset((type(member), member) for member in shape.members) if enum is None else frozenset()
    flag = shape.enum if shape.flag else None

    def parse_choice(value: Any, _: Any) -> Any:
        kind = type(value)
        if kind is enum:
            return value
        if kind in types:
            found = members.get((kind, value), _MISSING)
            if found is not _MISSING:
                return found
        if flag is not None and kind is int:
            return flag(value)
        if (kind, value) in made:
            return value
        raise RefusedError

    return parse_choice


def _list(item: Hook) -> Hook:
    def parse_list(value: Any, _: Any) -> Any:
        if type(value) is list:
            return [item(part, None) for part in value]
        raise RefusedError

    return parse_list


def _many(type_: Any, item: Hook) -> Hook:
    def parse_many(value: Any, _: Any) -> Any:
        if type(value) is not list and type(value) is not type_:
            raise RefusedError
        parts = [item(part, None) for part in value]
        if type_ is not tuple:
            demand_spread(parts)
        made = type_(parts)
        if len(made) != len(value):
            # Members that are equal: as a set, some would silently vanish.
            raise RefusedError
        return made

    return parse_many


def _fixed(shape: Fixed, hooks: list[Hook]) -> Hook:
    type_: Any = shape.type
    required, named = shape.required, bool(shape.fields)
    most = len(hooks)

    def parse_fixed(value: Any, _: Any) -> Any:
        if type(value) is not list and type(value) is not tuple and type(value) is not type_:
            raise RefusedError
        # Like the fields of a record, items behind the last one that is known come from a newer minor.
        if len(value) < required or (len(value) > most and not named):
            raise RefusedError
        parts = [hook(part, None) for hook, part in zip(hooks, value, strict=False)]
        return type_(*parts) if named else tuple(parts)

    return parse_fixed


def _mapped(key: Hook, item: Hook) -> Hook:
    def parse_mapped(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise RefusedError
        keys = [key(name, None) for name in value]
        demand_spread(keys)
        made = dict(zip(keys, [item(part, None) for part in value.values()], strict=True))
        if len(made) != len(value):
            raise RefusedError
        return made

    return parse_mapped


def _keyed(fields: dict[str, tuple[Hook, bool]]) -> Hook:
    def parse_keyed(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise RefusedError
        made = {}
        for name, (hook, required) in fields.items():
            if name in value:
                made[name] = hook(value[name], None)
            elif required:
                raise RefusedError
        return made

    return parse_keyed


def _foreign(check: Check, parse: Callable[[object], object]) -> Hook:
    def parse_foreign(value: Any, _: Any) -> Any:
        return value if check(value) else parse(value)

    return parse_foreign


def _optional(hook: Hook) -> Hook:
    def parse_optional(value: Any, _: Any) -> Any:
        return None if value is None else hook(value, None)

    return parse_optional


def _first(checks: list[Check], hooks: list[Hook]) -> Hook:
    def parse_first(value: Any, _: Any) -> Any:
        for check in checks:
            if check(value):
                return value
        for hook in hooks:
            try:
                return hook(value, None)
            except Exception:  # noqa: BLE001, S112  # members were proven distinct, so at most one of them takes a value
                continue
        raise RefusedError

    return parse_first
