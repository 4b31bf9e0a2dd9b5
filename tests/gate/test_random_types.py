"""Random types and random values of them: what passes, comes back exactly; what does not belong, is refused."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import types
import typing
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from parasync.codec import MsgpackCodec
from parasync.errors import DecodeError, InvalidTypeError, ParseError, UsageError
from parasync.gate import FLOAT_INT_MAX, gate_for
from tests.gate.kit import Sample, names_of, plain, same, samples

SLOW = MsgpackCodec(fast=False)
FAST = MsgpackCodec(fast=True)


def is_true(type_: Any, value: Any) -> bool:
    """Whether a value is of a type, read off the type directly."""
    origin, args = get_origin(type_), get_args(type_)
    if type_ is Any:
        return True
    if type_ is None or type_ is type(None):
        return value is None
    if type_ is float and type(value) is int:
        return abs(value) <= FLOAT_INT_MAX
    if origin in (Union, types.UnionType):
        return any(is_true(arg, value) for arg in args)
    if origin is Literal:
        return any(type(arg) is type(value) and arg == value for arg in args)
    if origin in (list, set, frozenset) or (origin is tuple and args[-1:] == (...,)):
        return type(value) is origin and all(is_true(args[0], part) for part in value)
    if origin is tuple:
        return type(value) is tuple and len(value) == len(args) and all(map(is_true, args, value))
    if origin is dict:
        return type(value) is dict and all(is_true(args[0], key) and is_true(args[1], part) for key, part in value.items())
    if typing.is_typeddict(type_):
        hints = typing.get_type_hints(type_)
        return type(value) is dict and hints.keys() == value.keys() and all(is_true(hints[key], value[key]) for key in hints)
    if type(value) is not type_:
        return False
    if isinstance(value, tuple):
        return all(is_true(type_.__annotations__[name], getattr(value, name)) for name in value._fields)
    if attrs.has(type_) or dataclasses.is_dataclass(type_):
        fields = attrs.fields_dict(type_) if attrs.has(type_) else {field.name: field for field in dataclasses.fields(type_)}
        return all(is_true(fields[name].type, getattr(value, name)) for name in names_of(type_))
    return True


def gate_of(sample: Sample) -> Any:
    try:
        return gate_for(sample.type)
    except UsageError:
        # Members of a union that cannot be told apart; which these are has tests of its own.
        return assume(False)


@given(samples(), st.data())
def test_true_instances_pass_as_they_are(sample: Sample, data: st.DataObject) -> None:
    gate = gate_of(sample)
    value = data.draw(sample.values)
    assert is_true(sample.type, value)
    assert gate.parse(value) is value


@given(samples(), st.data())
def test_values_come_back_exactly(sample: Sample, data: st.DataObject) -> None:
    gate = gate_of(sample)
    value = data.draw(sample.values)
    for codec in (SLOW, FAST):
        body = gate.encode(value, codec)
        assert body == gate.encode(value, SLOW)
        assert same(gate.decode(body, codec), value)
    assert same(gate.parse(SLOW.decode_body(gate.encode(value, SLOW))), value)


@given(samples(2), samples(2), st.data())
def test_what_passes_is_of_the_type(sample: Sample, other: Sample, data: st.DataObject) -> None:
    gate, foreign = gate_of(sample), gate_of(other)
    value = data.draw(other.values)
    if is_true(sample.type, value):
        assert gate.parse(value) is value
    else:
        with pytest.raises(InvalidTypeError):
            gate.encode(value, SLOW)
        with contextlib.suppress(ParseError):
            assert is_true(sample.type, gate.parse(value))
    body = foreign.encode(value, SLOW)
    try:
        assert is_true(sample.type, gate.decode(body, FAST))
    except (ParseError, DecodeError):
        with pytest.raises((ParseError, DecodeError)):
            gate.decode(body, SLOW)


@given(plain())
def test_plain_data_comes_back_exactly(value: Any) -> None:
    assert same(SLOW.decode_body(SLOW.encode_body(value)), value)


@given(plain(), st.data())
def test_any_takes_all_and_changes_nothing(value: Any, data: st.DataObject) -> None:
    gate = gate_for(list[Any])
    assert gate.parse([value])[0] is value
    assert same(gate.decode(gate.encode([value], SLOW), FAST), [value])


def test_the_oracle_refuses() -> None:
    class Kind(enum.Enum):
        A = 1

    assert not is_true(int, True)
    assert not is_true(list[int], (1,))
    assert not is_true(Kind, 1)
    assert not is_true(float, FLOAT_INT_MAX + 1)
