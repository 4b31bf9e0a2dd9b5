"""The check of true instances, compiled once for each type.

In-process delivery hands over the object itself, so this is the gate that runs at full rate: the source of one function for
each class is written and compiled, as attrs and cattrs do, which is several times faster than a tree of closures.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from typing import Final, TypeAlias

from parasync.gate._plain import VALUE_DEPTH_MAX
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
    holds_recursion,
)

FLOAT_INT_MAX: Final = 2**53
"""The largest integer, positive or negative, that is accepted where a float is declared: up to here the conversion is exact."""

FAILURES: Final = (Exception, CancelledError)
"""What user code may raise in a gate: it means a refusal. Nothing is awaited here, so no task is being cancelled."""

Check: TypeAlias = Callable[[object], bool]
"""Whether a value is a true instance, all of it; never raises."""


class CheckCompiler:
    """Compiles the checks of one type; those of its parts are shared."""

    def __init__(self, root: Shape) -> None:
        # Only values of recursive types can be of any depth, or refer to themselves.
        self._deep = holds_recursion(root)
        self._namespace: dict[str, object] = {
            "FLOAT_INT_MAX": FLOAT_INT_MAX,
            "FAILURES": FAILURES,
            "VALUE_DEPTH_MAX": VALUE_DEPTH_MAX,
        }
        self._functions: dict[int, str] = {}
        self._shapes: list[Shape] = []
        self._variables = 0

    def check(self, shape: Shape) -> Check:
        """The check for one part of the type."""
        function: Check = self._namespace[self._function(shape)]  # type: ignore[assignment]  # holds what was compiled below
        return function

    def _function(self, shape: Shape) -> str:
        if isinstance(shape, Recursive):
            shape = shape.known
        name = self._functions.get(id(shape))
        if name is None:
            name = self._functions[id(shape)] = f"check_{len(self._functions)}"
            self._shapes.append(shape)
            # `type` is looked up for every field: as an argument it is a local variable.
            body = ["try:", *_indented(self._body(shape, "value")), "except FAILURES:", "    return False", "return True"]
            if self._deep:
                body = [*_fail_if("depth > VALUE_DEPTH_MAX"), *body]
            lines = [f"def {name}(value, {'depth=0, ' * self._deep}type=type):", *_indented(body)]
            # Only names that this compiler made up and positions of fields stand in the source, never data.
            exec(compile("\n".join(lines), "<check of parasync.gate>", "exec"), self._namespace)  # noqa: S102
        return name

    def _bind(self, value: object) -> str:
        name = f"bound_{len(self._namespace)}"
        self._namespace[name] = value
        return name

    def _variable(self) -> str:
        self._variables += 1
        return f"part_{self._variables}"

    def _body(self, shape: Shape, value: str) -> list[str]:
        """Lines that return False unless the value is a true instance."""
        if isinstance(shape, Anything):
            return []
        if isinstance(shape, Scalar | Text):
            return _fail_if(self._not_of(shape, value))
        if isinstance(shape, Choice):
            return _fail_if(self._not_chosen(shape, value))
        if isinstance(shape, Many):
            return [*_fail_if(self._not_exactly(shape.type, value)), *self._each(shape.item, value)]
        if isinstance(shape, Fixed):
            return self._fixed(shape, value)
        if isinstance(shape, Mapped):
            return self._mapped(shape, value)
        if isinstance(shape, Keyed):
            return self._keyed(shape, value)
        if isinstance(shape, Record):
            return self._record(shape, value)
        if isinstance(shape, Either):
            return self._either(shape, value)
        if isinstance(shape, Foreign):
            return _fail_if(f"not {self._bind(shape.adapter.check)}({value})")
        raise TypeError(f"no check for {type(shape).__name__}")

    def _part(self, shape: Shape, value: str) -> list[str]:
        """Lines for a part: classes and recursions are calls of their own function, unless they are small."""
        if isinstance(shape, Record) and all(isinstance(item, Scalar | Text | Anything) for item, _ in shape.fields.values()):
            return self._record(shape, value)
        if isinstance(shape, Record | Recursive | Keyed) or (isinstance(shape, Fixed) and shape.fields):
            return _fail_if(f"not {self._call(shape, value)}")
        return self._body(shape, value)

    def _call(self, shape: Shape, value: str) -> str:
        return f"{self._function(shape)}({value}{', depth + 1' * self._deep})"

    def _not_of(self, shape: Scalar | Text, value: str) -> str:
        if shape.type is type(None):
            return f"{value} is not None"
        if shape.type is float:
            return f"(type({value}) is not float and not (type({value}) is int and -FLOAT_INT_MAX <= {value} <= FLOAT_INT_MAX))"
        return self._not_exactly(shape.type, value)

    def _not_exactly(self, type_: type, value: str) -> str:
        builtin = type_ in (bool, int, str, bytes, list, set, frozenset, tuple, dict)
        return f"type({value}) is not {type_.__name__ if builtin else self._bind(type_)}"

    def _not_chosen(self, shape: Choice, value: str) -> str:
        if shape.enum is not None:
            return self._not_exactly(shape.enum, value)
        types = self._bind(frozenset(map(type, shape.members)))
        members = self._bind(frozenset((type(member), member) for member in shape.members))
        return f"type({value}) not in {types} or (type({value}), {value}) not in {members}"

    def _each(self, item: Shape, value: str) -> list[str]:
        part = self._variable()
        inner = self._part(item, part)
        return [f"for {part} in {value}:", *_indented(inner)] if inner else []

    def _fixed(self, shape: Fixed, value: str) -> list[str]:
        lines = [*_fail_if(self._not_exactly(shape.type, value)), *_fail_if(f"len({value}) != {len(shape.items)}")]
        return [*lines, *self._parts([(f"{value}[{index}]", item) for index, item in enumerate(shape.items)])]

    def _mapped(self, shape: Mapped, value: str) -> list[str]:
        key, part = self._variable(), self._variable()
        inner = [*self._part(shape.key, key), *self._part(shape.value, part)]
        lines = _fail_if(self._not_exactly(dict, value))
        return [*lines, f"for {key}, {part} in {value}.items():", *_indented(inner)] if inner else lines

    def _keyed(self, shape: Keyed, value: str) -> list[str]:
        count = self._variable()
        lines = [*_fail_if(self._not_exactly(dict, value)), f"{count} = 0"]
        for name, (item, required) in shape.fields.items():
            key = self._bind(name)
            found = [f"{count} += 1", *self._parts([(f"{value}[{key}]", item)])]
            lines += [f"if {key} in {value}:", *_indented(found)]
            if required:
                lines += ["else:", "    return False"]
        return [*lines, *_fail_if(f"len({value}) != {count}")]

    def _record(self, shape: Record, value: str) -> list[str]:
        lines = _fail_if(self._not_exactly(shape.type, value))
        return [*lines, *self._parts([(f"{value}.{name}", item) for name, (item, _) in shape.fields.items()])]

    def _parts(self, parts: list[tuple[str, Shape]]) -> list[str]:
        """Lines for the parts of one value, each given by the expression that reads it; the cheap ones come first."""
        simple = [self._not_of(item, expression) for expression, item in parts if isinstance(item, Scalar | Text)]
        lines = _fail_if(" or ".join(simple)) if simple else []
        for expression, item in parts:
            if not isinstance(item, Scalar | Text | Anything):
                part = self._variable()
                lines += [f"{part} = {expression}", *self._part(item, part)]
        return lines

    def _either(self, shape: Either, value: str) -> list[str]:
        simple = [member for member in shape.members if isinstance(member, Scalar | Text)]
        others = [member for member in shape.members if not isinstance(member, Scalar | Text)]
        tests = [self._not_of(member, value) for member in simple]
        if len(others) == 1:
            inner = self._part(others[0], value)
            return [f"if {' and '.join(tests)}:", *_indented(inner)] if tests and inner else inner
        return _fail_if(" and ".join([*tests, *(f"not {self._call(member, value)}" for member in others)]))


def _fail_if(condition: str) -> list[str]:
    return [f"if {condition}:", "    return False"]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines] or ["    pass"]
