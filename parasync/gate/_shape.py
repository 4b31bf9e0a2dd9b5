"""What a type looks like to the gate: a small tree that checks, parsers and writers are compiled from.

`parasync.gate._analysis` makes it of a type; nothing in it is specific to where the type came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

import attrs


class Adapter(Protocol):
    """What the gate needs to know of a type that another library checks."""

    @property
    def anything(self) -> bool:
        """Whether the plain form may be other than a map or an array."""

    def check(self, value: object) -> bool:
        """Whether the value is a true instance, deeply."""

    def parse(self, value: object) -> object:
        """The value itself, or made of plain data; raises anything if that fails."""

    def dump(self, value: Any) -> object:
        """The plain data of an instance."""


@attrs.define(eq=False, slots=True)
class Shape:
    """One position of a type; `name` is for people."""

    name: str


@attrs.define(eq=False, slots=True)
class Anything(Shape):
    """`Any`: every value passes, and what msgpack lacks is tagged."""


@attrs.define(eq=False, slots=True)
class Scalar(Shape):
    """One of the types that msgpack has: None, bool, int, float, str, bytes."""

    type: type


@attrs.define(eq=False, slots=True)
class Text(Shape):
    """A type that is written as text where the position is of that type alone; `tagged` where it is not."""

    type: type
    tagged: bool = False


@attrs.define(eq=False, slots=True)
class Choice(Shape):
    """An enum or a `Literal`: `members` are the values in Python, `plain` maps type and value on the wire to the member."""

    members: tuple[object, ...]
    plain: Mapping[tuple[type, object], object]
    enum: type | None = None
    flag: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether all members are their own plain form."""
        return self.enum is None and all(member is plain[1] for plain, member in self.plain.items())


@attrs.define(eq=False, slots=True)
class Many(Shape):
    """A list, set, frozenset, or tuple of any length, of one kind of items."""

    type: type
    item: Shape
    tagged: bool = False


@attrs.define(eq=False, slots=True)
class Fixed(Shape):
    """A tuple with a shape for each position, or a `NamedTuple` class; `required` items have no default."""

    type: type
    items: tuple[Shape, ...]
    required: int
    fields: tuple[str, ...] = ()
    tagged: bool = False


@attrs.define(eq=False, slots=True)
class Mapped(Shape):
    """A dict with one kind of keys and one of values."""

    key: Shape
    value: Shape


@attrs.define(eq=False, slots=True)
class Keyed(Shape):
    """A `TypedDict`: for each key its shape and whether it is required."""

    fields: Mapping[str, tuple[Shape, bool]]


@attrs.define(eq=False, slots=True)
class Record(Shape):
    """An attrs class or dataclass: for each field that its constructor takes the shape and whether it is required.

    `attributes` are the fields as attrs describes them, in the order of the constructor.
    """

    type: type
    fields: Mapping[str, tuple[Shape, bool]]
    attributes: tuple[attrs.Attribute[Any], ...]


@attrs.define(eq=False, slots=True)
class Either(Shape):
    """A union of at least two members that can be told apart, in the program and on the wire."""

    members: tuple[Shape, ...]


@attrs.define(eq=False, slots=True)
class Foreign(Shape):
    """A type that another library checks."""

    type: Any
    adapter: Adapter


@attrs.define(eq=False, slots=True)
class Recursive(Shape):
    """The place where a type comes back to itself; `target` is its shape, set as soon as it was read to its end.

    `written` tells what it writes before the shape is known: as "record" or "map" a map, as "array", or as "any" anything.
    """

    written: str
    target: Shape | None = None

    @property
    def known(self) -> Shape:
        """The target, once the type was read to its end."""
        if self.target is None:
            raise RuntimeError("a recursive shape was used before it was complete")
        return self.target


NONE: Final = Scalar("None", type(None))


def children(shape: Shape) -> Iterator[Shape]:
    """The shapes directly below one, without following a recursion."""
    if isinstance(shape, Many):
        yield shape.item
    elif isinstance(shape, Fixed):
        yield from shape.items
    elif isinstance(shape, Mapped):
        yield shape.key
        yield shape.value
    elif isinstance(shape, Keyed | Record):
        for field, _ in shape.fields.values():
            yield field
    elif isinstance(shape, Either):
        yield from shape.members


def holds_anything(shape: Shape) -> bool:
    """Whether a part of a shape has no type."""
    return isinstance(shape, Anything) or any(map(holds_anything, children(shape)))


def holds_recursion(shape: Shape) -> bool:
    """Whether a part of a shape comes back to itself."""
    return isinstance(shape, Recursive) or any(map(holds_recursion, children(shape)))


def is_plain(shape: Shape) -> bool:
    """Whether every true instance is its own plain form, so that writing it needs no conversion."""
    if isinstance(shape, Scalar | Anything):
        return True
    if isinstance(shape, Text):
        return shape.tagged
    if isinstance(shape, Choice):
        return shape.is_plain
    if isinstance(shape, Many) and (shape.type is list or shape.tagged):
        return is_plain(shape.item)
    if isinstance(shape, Fixed) and shape.tagged:
        return all(map(is_plain, shape.items))
    if isinstance(shape, Mapped | Keyed | Either):
        return all(is_plain(child) for child in children(shape))
    return False
