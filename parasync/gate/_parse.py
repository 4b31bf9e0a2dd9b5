"""From plain data to true instances, strictly: cattrs with a hook of our own for every position.

A position takes the plain form that its type determines, or a true instance, and nothing that would have to be coerced: no
number in a text, no text as a sequence, no bool as an int. The one widening is an int where a float is declared, as in
Python's own typing. Hooks raise whatever comes; they are called where every exception means "refused".
"""

from __future__ import annotations

from typing import Any, Final

import cattrs
from cattrs.gen import make_dict_structure_fn_from_attrs, override

from parasync.gate._check import CheckCompiler
from parasync.gate._hooks import (
    Hook,
    choice,
    exactly,
    first,
    fixed,
    foreign,
    keyed,
    list_of,
    many,
    mapped,
    optional,
    parse_float,
    text,
)
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

_CONVERTER: Final = cattrs.Converter(detailed_validation=False)


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
        def parse_recursive(value: Any, _: Any) -> Any:
            return self.hook(shape.known)(value, None)

        return parse_recursive

    def _made(self, shape: Shape) -> Hook:
        if isinstance(shape, Anything):
            return lambda value, _: value
        if isinstance(shape, Scalar):
            return parse_float if shape.type is float else exactly(shape.type)
        if isinstance(shape, Text):
            return text(shape.type)
        if isinstance(shape, Choice):
            return choice(shape)
        if isinstance(shape, Many):
            return list_of(self.hook(shape.item)) if shape.type is list else many(shape.type, self.hook(shape.item))
        if isinstance(shape, Fixed):
            return fixed(shape, [self.hook(item) for item in shape.items])
        if isinstance(shape, Mapped):
            return mapped(self.hook(shape.key), self.hook(shape.value))
        if isinstance(shape, Keyed):
            return keyed({name: (self.hook(item), required) for name, (item, required) in shape.fields.items()})
        if isinstance(shape, Record):
            return self._record(shape)
        if isinstance(shape, Either):
            return self._either(shape)
        if isinstance(shape, Foreign):
            return foreign(shape.adapter.check, shape.adapter.parse)
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
            raise TypeError("refused")

        return parse_record

    def _either(self, shape: Either) -> Hook:
        if len(shape.members) == 2 and any(_is_none(member) for member in shape.members):
            return optional(self.hook(next(member for member in shape.members if not _is_none(member))))
        checks = [self._checks.check(member) for member in shape.members]
        records = [member for member in shape.members if record_of(member) is not None]
        hooks = [self.hook(member) for member in shape.members if member not in records]
        if len(records) > 1:
            hooks.append(_one_of([self.hook(record) for record in records], records))
        else:
            hooks.extend(self.hook(record) for record in records)
        return first(checks, hooks)


def _one_of(hooks: list[Hook], records: list[Shape]) -> Hook:
    which = discriminator(tuple(record for record in map(record_of, records) if record is not None))

    def parse_one_of(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise TypeError("refused")
        return hooks[which(value)](value, None)

    return parse_one_of


def _is_none(shape: Shape) -> bool:
    return isinstance(shape, Scalar) and shape.type is type(None)
