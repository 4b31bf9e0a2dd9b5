"""Why a value was refused: paths, expected and found types, and never the values themselves.

Runs only after a refusal, on the same value, and knows nothing of how the refusal was found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from parasync.gate._check import FAILURES, FLOAT_INT_MAX, CheckCompiler
from parasync.gate._hooks import Hook
from parasync.gate._parse import ParseCompiler
from parasync.gate._plain import VALUE_DEPTH_MAX
from parasync.gate._shape import (
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

PROBLEMS_MAX: Final = 20
"""The most problems that one error names; the rest is left out."""

_DESCENTS_MAX: Final = 1_000
_PATH_CHARS_MAX: Final = 60


class Explainer:
    """Finds the problems of refused values of one type."""

    def __init__(self, shape: Shape, checks: CheckCompiler, parsers: ParseCompiler) -> None:
        self._shape = shape
        self._checks = checks
        self._parsers = parsers

    def problems(self, value: object, *, true: bool) -> tuple[str, ...]:
        """The problems as `path: expected …, got …`.

        Args:
            value: what was refused.
            true: whether it had to be a true instance, so that the plain form of a part is a problem too.
        """
        search = _Search(self._checks, self._parsers)
        found: list[str] = []
        try:
            found.extend(islice(search.problems(self._shape, value, "$", true, 0), PROBLEMS_MAX))
        except FAILURES as error:
            found.append(f"$: expected {self._shape.name}, got one that cannot be looked at ({type(error).__name__})")
        return tuple(found) or (f"$: expected {self._shape.name}, got {_got(value)}",)


class _Search:
    """One search for problems; it goes down a limited number of times, since parts of a value may be in it many times."""

    def __init__(self, checks: CheckCompiler, parsers: ParseCompiler) -> None:
        self._checks = checks
        self._parsers = parsers
        self._descents = 0

    def problems(self, shape: Shape, value: Any, path: str, true: bool, depth: int) -> Iterator[str]:
        """The problems of one part; `true` as in `Explainer.problems`."""
        if isinstance(shape, Recursive):
            shape = shape.known
        if self._passes(shape, value, true) or self._descents == _DESCENTS_MAX:
            return
        if depth > VALUE_DEPTH_MAX:
            yield f"{path[:_PATH_CHARS_MAX]}...: expected at most {VALUE_DEPTH_MAX} levels, got more"
            return
        self._descents += 1
        below = list(islice(self._below(shape, value, path, true or _is_instance(shape, value), depth + 1), PROBLEMS_MAX))
        yield from below or [f"{path}: expected {_expected(shape, value, true)}, got {_got(value)}{self._why(shape, value)}"]

    def _passes(self, shape: Shape, value: Any, true: bool) -> bool:
        try:
            if self._checks.check(shape)(value):
                return True
            if true:
                return False
            self._parsers.hook(shape)(value, None)
        except FAILURES:
            return False
        return True

    def _below(self, shape: Shape, value: Any, path: str, true: bool, depth: int) -> Iterator[str]:
        kind = type(value)
        if isinstance(shape, Record | Keyed) and (kind is dict or kind is getattr(shape, "type", dict)):
            yield from self._fields(shape, value, path, true, depth)
        elif isinstance(shape, Many) and (kind is shape.type or (kind is list and not true)):
            for index, part in enumerate(value):
                yield from self.problems(shape.item, part, f"{path}[{index}]", true, depth)
        elif isinstance(shape, Fixed) and (kind in (shape.type, tuple) or (kind is list and not true)):
            for index, (item, part) in enumerate(zip(shape.items, value, strict=False)):
                yield from self.problems(item, part, f"{path}[{index}]", true, depth)
        elif isinstance(shape, Mapped) and kind is dict:
            # Keys are payload: the path counts entries instead of naming them.
            for index, (key, part) in enumerate(value.items()):
                yield from self.problems(shape.key, key, f"{path}[key {index}]", true, depth)
                yield from self.problems(shape.value, part, f"{path}[entry {index}]", true, depth)
        elif isinstance(shape, Either):
            yield from self._members(shape, value, path, true, depth)

    def _fields(self, shape: Record | Keyed, value: Any, path: str, true: bool, depth: int) -> Iterator[str]:
        for name, (item, required) in shape.fields.items():
            here = f"{path}.{name}"
            if type(value) is dict:
                if name in value:
                    yield from self.problems(item, value[name], here, true, depth)
                elif required:
                    yield f"{here}: expected {item.name}, got nothing"
            elif not hasattr(value, name):
                yield f"{here}: expected {item.name}, got nothing"
            else:
                yield from self.problems(item, getattr(value, name), here, True, depth)

    def _members(self, shape: Either, value: Any, path: str, true: bool, depth: int) -> Iterator[str]:
        """The problems of the one member that the value looks like; none where that is open."""
        alike = [member for member in shape.members if _looks_like(member, value)]
        records = tuple(member for member in map(record_of, alike) if member is not None)
        if type(value) is dict and len(alike) == len(records) > 1:
            with contextlib.suppress(*FAILURES):
                alike = [alike[discriminator(records)(value)]]
        if len(alike) == 1:
            yield from self.problems(alike[0], value, path, true, depth)

    def _why(self, shape: Shape, value: Any) -> str:
        """What the user's own code raised, by its type only: its text may hold payload."""
        if isinstance(shape, Foreign) and type(value) is not dict:
            return " that its class does not write and read back" if type(value).__name__ in shape.name else ""
        if not isinstance(shape, Record | Foreign) or type(value) is not dict:
            return ""
        hook: Hook = self._parsers.hook(shape)
        try:
            hook(value, None)
        except FAILURES as error:
            return f" that its class refuses ({type(error).__name__})"
        return ""


def _is_instance(shape: Shape, value: object) -> bool:
    return isinstance(shape, Record) and type(value) is shape.type


def _looks_like(shape: Shape, value: object) -> bool:
    known = shape.known if isinstance(shape, Recursive) else shape
    if isinstance(known, Record):
        return type(value) in (dict, known.type)
    if isinstance(known, Many | Fixed):
        return type(value) in (list, known.type)
    return isinstance(known, Mapped | Keyed) and type(value) is dict


def _expected(shape: Shape, value: object, true: bool) -> str:
    if isinstance(shape, Fixed) and type(value) in (list, tuple, shape.type):
        return f"{shape.name} with {len(shape.items)} items"
    if isinstance(shape, Scalar) and shape.type is float and type(value) is int:
        return f"float, or an int up to {FLOAT_INT_MAX} as one"
    textual = isinstance(shape, Text) and type(value) is str and not true
    return f"a text that is a {shape.name}" if textual else shape.name


def _got(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, list | tuple | set | frozenset | dict):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__
