"""The fast way: msgspec, straight between bytes and instances, for the types that it treats exactly as gate and codec do.

Which these are is decided by the shape of a type, position by position; everything that msgspec writes in another form, or
that runs code of the user which msgspec would not run, takes the slow way.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from functools import lru_cache
from importlib.util import find_spec
from typing import Annotated, Any, Final, NamedTuple
from uuid import UUID

import attrs

from parasync.codec._frame import FORMAT, META_ENTRIES_MAX
from parasync.errors import UsageError
from parasync.gate._adapters import StructAdapter, members_of
from parasync.gate._analysis import shape_of
from parasync.gate._fields import types_of
from parasync.gate._forms import DECIMAL_CHARS_MAX
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
    Scalar,
    Shape,
    Text,
    children,
)
from parasync.protocol import EPOCH_MAX, SEQUENCE_MAX

_TEXTS: Final = (date, Decimal, UUID)
_KEYS: Final = (str, int)


class FastType(NamedTuple):
    """How msgspec handles one type.

    `depth` is how deep a value of it can nest; up to `sure_bytes_max` bytes nothing in it can be over another limit.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    depth: int
    sure_bytes_max: int


def is_available() -> bool:
    """Whether msgspec is installed."""
    return find_spec("msgspec") is not None


@lru_cache(maxsize=1)
def fast_fields() -> Callable[[bytes], tuple[Any, ...]]:
    """How msgspec reads a frame into its fields, each of the right type and in its range."""
    from msgspec import Meta
    from msgspec.msgpack import Decoder

    def number(least: int, most: int) -> Any:
        return Annotated[int, Meta(ge=least, le=most)]

    after = number(0, SEQUENCE_MAX) | None
    meta = Annotated[dict[str, str], Meta(max_length=META_ENTRIES_MAX)]
    head = (number(FORMAT, FORMAT), number(0, 1), number(0, EPOCH_MAX), number(1, SEQUENCE_MAX), after)
    fields: Any = tuple
    return Decoder(fields[(*head, str, bytes, meta, int)]).decode


@lru_cache(maxsize=4096)
def fast_type(type_: Any) -> FastType | None:
    """How msgspec handles a type; None where it would not do exactly what gate and codec do."""
    try:
        shape = shape_of(type_)
    except UsageError:
        return None
    if not _is_same(shape):
        return None
    import msgspec

    try:
        decoder = msgspec.msgpack.Decoder(type_)
    except Exception:  # noqa: BLE001  # a type that msgspec has a reason not to like takes the slow way
        return None
    sure = DECIMAL_CHARS_MAX if _holds(shape, Decimal) else 2**63
    return FastType(msgspec.msgpack.Encoder().encode, decoder.decode, _depth(shape), sure)


def _is_same(shape: Shape, above: tuple[Any, ...] = ()) -> bool:
    """Whether msgspec treats a shape, and all below it, as the gate does; `above` are the structs that it is inside of."""
    if isinstance(shape, Foreign):
        if not isinstance(shape.adapter, StructAdapter) or shape.type in above:
            return False
        above = (*above, shape.type)
    return _is_same_here(shape) and all(_is_same(part, above) for part in _parts(shape))


def _is_same_here(shape: Shape) -> bool:
    if isinstance(shape, Text):
        return shape.type in _TEXTS and not shape.tagged
    if isinstance(shape, Choice):
        return _same_choice(shape)
    if isinstance(shape, Many):
        return shape.type in (list, tuple) and not shape.tagged
    if isinstance(shape, Mapped):
        return isinstance(shape.key, Scalar) and shape.key.type in _KEYS
    if isinstance(shape, Record):
        return _plainly_made(shape.type) and (_same_attrs(shape) if attrs.has(shape.type) else _same_dataclass(shape))
    if isinstance(shape, Fixed):
        return not shape.tagged
    if isinstance(shape, Foreign):
        # What a struct writes as plain data keeps tuples as they are, and they would be tagged.
        return not any(isinstance(part, Fixed) or getattr(part, "type", None) is tuple for part in _below(shape))
    return isinstance(shape, Scalar | Keyed | Either)


def _parts(shape: Shape) -> list[Shape]:
    """The shapes directly below one, the fields of structs included."""
    if isinstance(shape, Foreign) and isinstance(shape.adapter, StructAdapter):
        try:
            return [shape_of(part) for member in members_of(shape.type) for part in types_of(member).values()]
        except UsageError:
            return [Anything("Any")]
    return list(children(shape))


def _below(shape: Shape) -> Iterator[Shape]:
    for part in _parts(shape):
        yield part
        if not isinstance(part, Foreign):
            yield from _below(part)


def _same_choice(shape: Choice) -> bool:
    types = {type_ for type_, _ in shape.plain}
    if shape.enum is not None:
        return not shape.flag and types in ({str}, {int}) and "_missing_" not in _own_names(shape.enum)
    return types <= {str, int, type(None)} and not any(isinstance(member, enum.Enum) for member in shape.members)


def _same_attrs(shape: Record) -> bool:
    """Msgspec writes what is in the slots, those of bases last, and everything in a `__dict__`; it runs no converters."""
    cls: Any = shape.type
    names = tuple(shape.fields)
    slots = tuple(name for name in vars(cls).get("__slots__", ()) if name != "__weakref__")
    alone = not getattr(cls, "__dictoffset__", 1) and not any(getattr(base, "__slots__", ()) for base in cls.__mro__[1:])
    known = attrs.fields(cls)
    return (
        "__attrs_attrs__" in vars(cls)
        and alone
        and set(slots) == set(names) == {field.name for field in known}
        and not any(field.converter for field in known)
        and not any(name.startswith("_") for name in names)
        and not hasattr(cls, "__attrs_pre_init__")
        and _written_by_attrs(cls.__init__)
        and (cls.__setattr__ is object.__setattr__ or _written_by_attrs(cls.__setattr__))
    )


def _same_dataclass(shape: Record) -> bool:
    cls: Any = shape.type
    names = tuple(shape.fields)
    options = vars(cls).get("__dataclass_params__")
    return (
        options is not None
        and options.init
        and names == tuple(field.name for field in dataclasses.fields(cls))
        and not any(name.startswith("_") for name in names)
        and (options.frozen or cls.__setattr__ is object.__setattr__)
        and type(cls) is type
    )


def _written_by_attrs(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.startswith(("<attrs generated", attrs_source()))


def attrs_source() -> str:
    """The file in which attrs keeps the methods that it does not generate."""
    return attrs.define.__code__.co_filename.replace("_next_gen", "_make")


def _plainly_made(cls: Any) -> bool:
    return cls.__new__ is object.__new__ and not issubclass(cls, BaseException)


def _holds(shape: Shape, type_: type) -> bool:
    return (isinstance(shape, Text) and shape.type is type_) or any(_holds(part, type_) for part in _parts(shape))


def _depth(shape: Shape) -> int:
    own = isinstance(shape, Many | Mapped | Record | Keyed | Fixed | Foreign)
    return own + max(map(_depth, _parts(shape)), default=0)


def _own_names(cls: type) -> set[str]:
    return {name for base in cls.__mro__ if base not in (enum.Enum, enum.IntEnum, enum.StrEnum) for name in vars(base)}
