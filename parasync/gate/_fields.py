"""The fields of classes and their types, with string annotations and generic parameters resolved."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Sequence
from typing import Any, Final, TypeVar, get_args, get_origin

import attrs

from parasync.errors import UsageError

_QUALIFIERS: Final = ("Annotated", "Final", "Required", "NotRequired", "ReadOnly")


def is_record(cls: type) -> bool:
    """Whether a class is an attrs class or a dataclass."""
    return attrs.has(cls) or dataclasses.is_dataclass(cls)


def is_typed_dict(cls: type) -> bool:
    """Whether a class is a `TypedDict`, of `typing` or of `typing_extensions`, which before Python 3.13 has one of its own."""
    return typing.is_typeddict(cls) or (issubclass(cls, dict) and type(cls).__name__ == "_TypedDictMeta")


def record_attributes(cls: type) -> tuple[attrs.Attribute[Any], ...]:
    """The fields that the constructor of an attrs class or dataclass takes, described as attrs does.

    Raises:
        UsageError: the constructor takes something that the instance does not keep.
    """
    if attrs.has(cls):
        return tuple(attribute for attribute in attrs.fields(cls) if attribute.init)
    known: dict[str, dataclasses.Field[Any]] = getattr(cls, "__dataclass_fields__", {})
    kept = {field.name for field in dataclasses.fields(cls)}
    for name, field in known.items():
        if name not in kept and "_FIELD_INITVAR" in repr(field):
            raise UsageError(f"got {cls.__name__} with the InitVar {name}, expected fields that the instance keeps")
    described = {}
    for field in dataclasses.fields(cls):
        if field.init:
            optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
            described[field.name] = attrs.field(
                default=None if optional else attrs.NOTHING, kw_only=bool(field.kw_only), alias=field.name
            )
    return tuple(attrs.fields(attrs.make_class(cls.__name__, described)))


def typed_dict_fields(type_: Any, origin: Any) -> dict[str, tuple[Any, bool]]:
    """For each key of a `TypedDict` its type and whether it is required."""
    fields = {}
    for name, part in types_of(type_).items():
        # Where annotations are texts, Python itself cannot tell: it sees what stands around the class, not in the text.
        required, inner = name in origin.__required_keys__, part
        while (qualifier := qualifier_of(inner)) is not None:
            required = {"Required": True, "NotRequired": False}.get(qualifier, required)
            inner = get_args(inner)[0]
        fields[name] = (inner, required)
    return fields


def qualifier_of(type_: Any) -> str | None:
    """The name of what is wrapped around a type and says nothing of its values, e.g. `Annotated`; None if there is nothing."""
    origin = get_origin(type_)
    name = getattr(origin, "__name__", getattr(origin, "_name", None))
    return name if name in _QUALIFIERS and get_args(type_) else None


def types_of(type_: Any) -> dict[str, Any] | Any:
    """The types of all annotated names of a class, with the arguments of generics filled in; of an alias what it stands for.

    Raises:
        UsageError: an annotation names something that cannot be found.
    """
    if hasattr(type_, "__value__"):
        origin = get_origin(type_) or type_
        return _filled(origin.__value__, _matched(origin.__type_params__, get_args(type_)))
    origin = get_origin(type_) or type_
    arguments = _arguments(origin, get_args(type_))
    found: dict[str, Any] = {}
    for base in reversed(_bases(origin)):
        own = _own_names(base)
        if own:
            hints = _hints(base, origin)
            found.update({name: _filled(hints[name], arguments.get(base, {})) for name in own if name in hints})
    return found


def _own_names(cls: type) -> list[str]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return list(annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF))
    return list(inspect.get_annotations(cls))


def _bases(origin: Any) -> list[type]:
    # A TypedDict forgets its bases, but its annotations hold theirs.
    return list(origin.__mro__[:-1]) if hasattr(origin, "__mro__") else [origin]


def _hints(base: type, origin: type) -> dict[str, Any]:
    try:
        # The class itself is offered by name, so that one made inside a function may refer to itself; so is what it holds.
        return typing.get_type_hints(base, localns={origin.__name__: origin, **vars(base)}, include_extras=True)
    except Exception as error:  # noqa: BLE001  # annotations may hold any expression
        text = str(error) if isinstance(error, NameError) else type(error).__name__
    resolved = {field.name: field.type for field in attrs.fields(base)} if attrs.has(base) else {}
    if resolved and not any(isinstance(part, str) for part in resolved.values()):
        return resolved
    raise UsageError(
        f"got annotations of {base.__name__} that cannot be resolved ({text}), expected names of its module "
        "(for an attrs class, `attrs.resolve_types` with your own names helps)"
    )


def _arguments(origin: Any, args: tuple[Any, ...]) -> dict[Any, dict[Any, Any]]:
    """For each generic base what its type variables stand for."""
    found: dict[Any, dict[Any, Any]] = {origin: _matched(getattr(origin, "__parameters__", ()), args)}
    queue = [origin]
    while queue:
        cls = queue.pop()
        for alias in getattr(cls, "__orig_bases__", ()) if "__orig_bases__" in vars(cls) else ():
            base = get_origin(alias)
            if isinstance(base, type) and base is not typing.Generic and base not in found:
                filled = [_filled(arg, found[cls]) for arg in get_args(alias)]
                found[base] = _matched(getattr(base, "__parameters__", ()), filled)
                queue.append(base)
        for base in getattr(cls, "__bases__", ()):
            if base not in found and base is not object:
                found[base] = {}
                queue.append(base)
    return found


def _matched(parameters: Sequence[Any], args: Sequence[Any]) -> dict[Any, Any]:
    """What each type variable stands for."""
    if args and not all(isinstance(parameter, TypeVar) for parameter in parameters):
        raise UsageError("got a generic whose variables stand for any number of types, expected one type for each")
    return dict(zip(parameters, args, strict=False))


def _filled(type_: Any, arguments: dict[Any, Any]) -> Any:
    if not arguments:
        return type_
    if isinstance(type_, TypeVar):
        return arguments.get(type_, type_)
    parameters = getattr(type_, "__parameters__", ())
    if parameters and not isinstance(type_, type):
        return type_[tuple(arguments.get(parameter, parameter) for parameter in parameters)]
    return type_
