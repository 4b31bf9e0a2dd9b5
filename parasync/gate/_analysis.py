"""From a type to its shape, or a `UsageError` that says which part of the type cannot be carried and what would do.

A type is read once; recursion is cut where a class or an alias comes back to itself.
"""

from __future__ import annotations

import collections.abc as abstract
import enum
import types
from collections.abc import Callable
from typing import Any, Final, ForwardRef, Literal, Self, TypeVar, Union, get_args, get_origin

import attrs

from parasync.errors import UsageError
from parasync.gate._adapters import adapter_of, grouped
from parasync.gate._fields import is_record, is_typed_dict, qualifier_of, record_attributes, typed_dict_fields, types_of
from parasync.gate._forms import FORMS
from parasync.gate._shape import (
    NONE,
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
from parasync.gate._union import as_key, either

_SCALARS: Final = {kind: Scalar(kind.__name__, kind) for kind in (bool, int, float, str, bytes)}
_CONTAINERS: Final[dict[object, type]] = {
    list: list,
    set: set,
    frozenset: frozenset,
    abstract.MutableSequence: list,
    abstract.MutableSet: set,
}
_EITHER_WAY: Final[dict[object, tuple[type, type]]] = {abstract.Sequence: (list, tuple), abstract.Set: (set, frozenset)}
_MAPPINGS: Final = (dict, abstract.Mapping, abstract.MutableMapping)


def shape_of(type_: Any) -> Shape:
    """The shape of a type.

    Raises:
        UsageError: a part of the type cannot be carried, or members of a union cannot be told apart; the text names it.
    """
    try:
        return _Analysis().shape(type_)
    except RecursionError:
        pass
    raise UsageError(f"got {name_of(type_)}, expected a type that is not made of ever new types: its recursion has no end")


def name_of(type_: Any) -> str:
    """What a person calls a type."""
    if isinstance(type_, type) and not get_args(type_):
        return "None" if type_ is type(None) else type_.__name__
    origin, args = get_origin(type_), get_args(type_)
    if origin in (Union, types.UnionType):
        return " | ".join(name_of(arg) for arg in args)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if args and isinstance(origin, type):
        return f"{origin.__name__}[{', '.join('...' if arg is ... else name_of(arg) for arg in args)}]"
    return "Any" if type_ is Any else str(getattr(type_, "__name__", type_))


class _Analysis:
    """Reads one type; remembers the classes and aliases under way, by which recursion is cut."""

    def __init__(self) -> None:
        self._open: dict[Any, Recursive] = {}

    def shape(self, type_: Any) -> Shape:
        """The shape of one part of the type."""
        if type_ is None or type_ is type(None):
            return NONE
        if type_ is Any or type_ is object:
            return Anything("Any")
        if isinstance(type_, type) and type_ in _SCALARS:
            return _SCALARS[type_]
        if isinstance(type_, type) and type_ in FORMS:
            return Text(type_.__name__, type_)
        if isinstance(type_, TypeVar):
            return self._variable(type_)
        if isinstance(type_, str | ForwardRef):
            return self._referred(type_)
        if type_ is Self:
            return self._itself()
        if hasattr(type_, "__supertype__"):
            return self.shape(type_.__supertype__)
        adapter = adapter_of(type_)
        if adapter is not None:
            return Foreign(name_of(type_), type_, adapter)
        if hasattr(type_, "__value__"):
            return self._named(type_, lambda: self.shape(types_of(type_)))
        return self._structured(type_)

    def _structured(self, type_: Any) -> Shape:
        origin, args = get_origin(type_) or type_, get_args(type_)
        if getattr(type_, "__unpacked__", False) is True:
            raise _unsupported(type_)
        if qualifier_of(type_) is not None:
            return self.shape(args[0])
        if origin in (Union, types.UnionType):
            return either(name_of(type_), tuple(self.shape(arg) for arg in grouped(args)))
        if origin is Literal:
            return _literal(type_, args)
        if origin is tuple:
            return self._tuple(type_, args)
        if origin in _CONTAINERS:
            return Many(name_of(type_), _CONTAINERS[origin], self._item(_CONTAINERS[origin], args))
        if origin in _EITHER_WAY:
            kinds = _EITHER_WAY[origin]
            return either(name_of(type_), tuple(Many(kind.__name__, kind, self._item(kind, args)) for kind in kinds))
        if origin in _MAPPINGS:
            key, value = args or (Any, Any)
            return Mapped(name_of(type_), as_key(self.shape(key)), self.shape(value))
        if isinstance(origin, type):
            return self._class(type_, origin, args)
        raise _unsupported(type_)

    def _class(self, type_: Any, origin: type, args: tuple[Any, ...]) -> Shape:
        if issubclass(origin, enum.Enum):
            return _enum(origin)
        if is_typed_dict(origin):
            return self._named(type_, lambda: self._keyed(type_, origin))
        if issubclass(origin, tuple) and hasattr(origin, "_fields"):
            return self._named(type_, lambda: self._named_tuple(type_, origin))
        if is_record(origin):
            return self._named(type_, lambda: self._record(type_, origin))
        raise _unsupported(type_)

    def _named(self, type_: Any, read: Callable[[], Shape]) -> Shape:
        if type_ in self._open:
            return self._open[type_]
        placeholder = self._open[type_] = Recursive(name_of(type_), _written(get_origin(type_) or type_))
        try:
            placeholder.target = read()
        finally:
            del self._open[type_]
        return placeholder.target

    def _referred(self, type_: str | ForwardRef) -> Shape:
        """A name in an alias made without the `type` statement; only the aliases and classes under way can be meant."""
        name = type_ if isinstance(type_, str) else type_.__forward_arg__
        for known, placeholder in self._open.items():
            if name_of(known) == name:
                return placeholder
        raise UsageError(f"got the name {name}, expected the type itself, or the name of the alias that it stands in")

    def _itself(self) -> Shape:
        """`Self`: the innermost class under way."""
        for known, placeholder in reversed(self._open.items()):
            if isinstance(get_origin(known) or known, type):
                return placeholder
        raise _unsupported(Self)

    def _record(self, type_: Any, origin: type) -> Shape:
        hints = types_of(type_)
        attributes = record_attributes(origin)
        fields = {}
        for attribute in attributes:
            untyped = Any if attribute.type is None else attribute.type
            part = self._field(origin, attribute.name, hints.get(attribute.name, untyped))
            fields[attribute.name] = (part, attribute.default is attrs.NOTHING)
        return Record(name_of(type_), origin, fields, attributes)

    def _keyed(self, type_: Any, origin: type) -> Shape:
        fields = typed_dict_fields(type_, origin)
        return Keyed(
            name_of(type_), {name: (self._field(origin, name, part), required) for name, (part, required) in fields.items()}
        )

    def _named_tuple(self, type_: Any, origin: Any) -> Shape:
        hints = types_of(type_)
        items = tuple(self._field(origin, name, hints.get(name, Any)) for name in origin._fields)
        return Fixed(name_of(type_), origin, items, len(items) - len(origin._field_defaults), tuple(origin._fields))

    def _field(self, owner: type, name: str, type_: Any) -> Shape:
        try:
            return self.shape(type_)
        except UsageError as error:
            text = str(error)
        raise UsageError(f"{owner.__name__}.{name}: {text}")

    def _tuple(self, type_: Any, args: tuple[Any, ...]) -> Shape:
        if not args and type_ != tuple[()]:
            return Many("tuple", tuple, Anything("Any"))
        if len(args) == 2 and args[1] is ...:
            return Many(name_of(type_), tuple, self.shape(args[0]))
        return Fixed(name_of(type_), tuple, tuple(self.shape(arg) for arg in args), len(args))

    def _item(self, kind: type, args: tuple[Any, ...]) -> Shape:
        shape = self.shape(args[0] if args else Any)
        if kind not in (list, tuple):
            for member in shape.members if isinstance(shape, Either) else (shape,):
                if not _hashable(member):
                    raise UsageError(f"got {shape.name} as the members of a set, expected a type that can be hashed")
        return shape

    def _variable(self, type_: TypeVar) -> Shape:
        if type_.__constraints__:
            return either(type_.__name__, tuple(self.shape(part) for part in type_.__constraints__))
        return self.shape(type_.__bound__) if type_.__bound__ is not None else Anything("Any")


def _written(origin: Any) -> str:
    if not isinstance(origin, type):
        return "any"
    if is_record(origin):
        return "record"
    return "array" if issubclass(origin, tuple) else "map"


def _hashable(shape: Shape) -> bool:
    if isinstance(shape, Record | Foreign):
        return getattr(shape.type, "__hash__", None) is not None
    if isinstance(shape, Many):
        return shape.type in (tuple, frozenset) and _hashable(shape.item)
    if isinstance(shape, Fixed):
        return all(map(_hashable, shape.items))
    return isinstance(shape, Anything | Scalar | Text | Choice)


def _literal(type_: Any, values: tuple[object, ...]) -> Choice:
    plain = {}
    for value in values:
        wire = value.value if isinstance(value, enum.Enum) else value
        if (type(wire), wire) in plain:
            raise UsageError(f"got {name_of(type_)}, expected values that differ on the wire")
        plain[type(wire), wire] = value
    return Choice(name_of(type_), values, plain)


def _can_be_found(value: object) -> bool:
    """Whether a reader finds the member with this value: not by NaN, nor by a tuple that holds a list."""
    try:
        return {value: True}.get(value) is True and bool(value == value)
    except (TypeError, ArithmeticError):
        return False


def _enum(origin: type[enum.Enum]) -> Choice:
    members = tuple(origin)
    allowed = (*_SCALARS, *FORMS, type(None), tuple)
    for member in members:
        if type(member.value) not in allowed or not _can_be_found(member.value):
            raise UsageError(f"got {origin.__name__} with a value of type {type(member.value).__name__}, expected plain values")
    plain = {(type(member.value), member.value): member for member in members}
    return Choice(origin.__name__, members, plain, enum=origin, flag=issubclass(origin, enum.Flag))


def _unsupported(type_: Any) -> UsageError:
    return UsageError(
        f"got {name_of(type_)}, expected an attrs class, a dataclass, a TypedDict, a NamedTuple, an enum, a builtin or "
        "standard value type, a union or container of these, a msgspec struct or a pydantic model; "
        "or pass `parse=` for a type of your own"
    )
