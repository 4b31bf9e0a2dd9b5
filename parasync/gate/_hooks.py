"""The parsers of single positions: each takes plain data or a true instance, and raises anything for all else.

What they raise says nothing: an explanation is made afterwards, where it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from parasync.gate._check import FLOAT_INT_MAX, Check
from parasync.gate._crowd import demand_spread
from parasync.gate._forms import FORMS
from parasync.gate._shape import Choice, Fixed

Hook: TypeAlias = Callable[[Any, Any], Any]
"""Turns plain data into a value; the second argument is there for cattrs, and ignored."""

_MISSING: Final = object()


def exactly(type_: type) -> Hook:
    """Takes values of exactly one type."""
    def parse_exactly(value: Any, _: Any) -> Any:
        if type(value) is type_:
            return value
        raise TypeError("refused")

    return parse_exactly


def parse_float(value: Any, _: Any) -> float:
    """Takes floats, and integers that are exactly one."""
    if type(value) is float:
        return value
    if type(value) is int and -FLOAT_INT_MAX <= value <= FLOAT_INT_MAX:
        return float(value)
    raise TypeError("refused")


def text(type_: type) -> Hook:
    """Takes the text of a standard value, or the value."""
    read = FORMS[type_].read

    def parse_text(value: Any, _: Any) -> Any:
        if type(value) is str:
            return read(value)
        if type(value) is type_:
            return value
        raise TypeError("refused")

    return parse_text


def choice(shape: Choice) -> Hook:
    """Takes what the members of an enum or a `Literal` are written as, or the members."""
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
        raise TypeError("refused")

    return parse_choice


def list_of(item: Hook) -> Hook:
    """Takes lists."""
    def parse_list(value: Any, _: Any) -> Any:
        if type(value) is list:
            return [item(part, None) for part in value]
        raise TypeError("refused")

    return parse_list


def many(type_: Any, item: Hook) -> Hook:
    """Takes arrays, or what is already a tuple or set, of one kind of items."""
    def parse_many(value: Any, _: Any) -> Any:
        if type(value) is not list and type(value) is not type_:
            raise TypeError("refused")
        parts = [item(part, None) for part in value]
        if type_ is not tuple:
            demand_spread(parts)
        made = type_(parts)
        if len(made) != len(value):
            # Members that are equal: as a set, some would silently vanish.
            raise TypeError("refused")
        return made

    return parse_many


def fixed(shape: Fixed, hooks: list[Hook]) -> Hook:
    """Takes arrays, or tuples, with a kind for each position."""
    type_: Any = shape.type
    required, named = shape.required, bool(shape.fields)
    most = len(hooks)

    def parse_fixed(value: Any, _: Any) -> Any:
        if type(value) is not list and type(value) is not tuple and type(value) is not type_:
            raise TypeError("refused")
        # Like the fields of a record, items behind the last one that is known come from a newer minor.
        if len(value) < required or (len(value) > most and not named):
            raise TypeError("refused")
        parts = [hook(part, None) for hook, part in zip(hooks, value, strict=False)]
        return type_(*parts) if named else tuple(parts)

    return parse_fixed


def mapped(key: Hook, item: Hook) -> Hook:
    """Takes maps of one kind of keys and one of values."""
    def parse_mapped(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise TypeError("refused")
        keys = [key(name, None) for name in value]
        demand_spread(keys)
        made = dict(zip(keys, [item(part, None) for part in value.values()], strict=True))
        if len(made) != len(value):
            raise TypeError("refused")
        return made

    return parse_mapped


def keyed(fields: dict[str, tuple[Hook, bool]]) -> Hook:
    """Takes maps with known keys, and ignores others."""
    def parse_keyed(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise TypeError("refused")
        made = {}
        for name, (hook, required) in fields.items():
            if name in value:
                made[name] = hook(value[name], None)
            elif required:
                raise TypeError("refused")
        return made

    return parse_keyed


def foreign(check: Check, parse: Callable[[object], object]) -> Hook:
    """Takes what another library takes."""
    def parse_foreign(value: Any, _: Any) -> Any:
        return value if check(value) else parse(value)

    return parse_foreign


def optional(hook: Hook) -> Hook:
    """Takes None, or what the hook takes."""
    def parse_optional(value: Any, _: Any) -> Any:
        return None if value is None else hook(value, None)

    return parse_optional


def first(checks: list[Check], hooks: list[Hook]) -> Hook:
    """Takes what one of the checks lets pass, or one of the hooks takes."""
    def parse_first(value: Any, _: Any) -> Any:
        for check in checks:
            if check(value):
                return value
        for hook in hooks:
            try:
                return hook(value, None)
            except Exception:  # noqa: BLE001, S112  # members were proven distinct, so at most one of them takes a value
                continue
        raise TypeError("refused")

    return parse_first
