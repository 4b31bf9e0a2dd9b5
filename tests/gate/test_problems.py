"""What a refusal says: where, what was expected and what was found, and never a piece of the value."""

from __future__ import annotations

import traceback
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from parasync.codec import MsgpackCodec
from parasync.errors import DecodeError, EncodeError, InvalidTypeError, ParasyncError, ParseError
from parasync.gate import PROBLEMS_MAX, gate_for
from tests.gate.kit import ADA, Cat, Dog, Holder, Node, Point, User, a_holder

CODEC = MsgpackCodec(fast=False)
FAST = MsgpackCodec(fast=True)
MARKER = "xyzzy-7f3a"


def chain(error: BaseException | None) -> str:
    """All that a log could show of an error: its texts, facts and notes, and those of every error behind it."""
    if error is None:
        return ""
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    return shown + chain(error.__cause__) + chain(error.__context__)


PATHS: list[tuple[Any, Any, tuple[str, ...]]] = [
    (int, "x", ("$: expected int, got str",)),
    (User, attrs.evolve(ADA, tags=["a", "b", 3]), ("$.tags[2]: expected str, got int",)),
    (User, {**attrs.asdict(ADA), "tags": ["a", None]}, ("$.tags[1]: expected str, got None",)),
    (
        User,
        {**attrs.asdict(ADA), "address": {"street": 1}},
        ("$.address.street: expected str, got int", "$.address.city: expected str, got nothing"),
    ),
    (User, 5, ("$: expected User, got int",)),
    (list[Point], [[1], ["x"]], ("$[1][0]: expected int, got str",)),
    (Point, [], ("$: expected Point with 2 items, got list of 0",)),
    (dict[str, int], {"a": 1, "b": "x"}, ("$[entry 1]: expected int, got str",)),
    (dict[str, int], {"a": 1, 2: 2}, ("$[key 1]: expected str, got int",)),
    (Cat | Dog, {"kind": "cat", "lives": "many"}, ("$.lives: expected int, got str",)),
    (int | None, "x", ("$: expected int | None, got str",)),
    (Holder, attrs.evolve(a_holder(), movie={}), ("$.movie.title: expected str, got nothing",)),
    (Node, Node(1, Node(2, Node("3"))), ("$.next.next.value: expected int, got str",)),
    (float, True, ("$: expected float, got bool",)),
    (float, 2**60, ("$: expected float, or an int up to 9007199254740992 as one, got int",)),
]


@pytest.mark.parametrize(("type_", "value", "problems"), PATHS, ids=lambda case: repr(case)[:40])
def test_paths(type_: Any, value: Any, problems: tuple[str, ...]) -> None:
    with pytest.raises(ParseError) as refusal:
        gate_for(type_).parse(value)
    assert refusal.value.problems == problems
    assert problems[0] in str(refusal.value)


def test_the_number_of_problems_is_limited() -> None:
    with pytest.raises(ParseError) as refusal:
        gate_for(list[int]).parse(["x"] * 1000)
    assert len(refusal.value.problems) == PROBLEMS_MAX
    assert "more" in str(refusal.value)


def test_a_true_instance_must_be_true_below_too() -> None:
    """A text where a datetime is declared is its plain form in plain data, and a wrong type in an instance."""
    gate = gate_for(Holder)
    with pytest.raises(InvalidTypeError) as refusal:
        gate.encode(attrs.evolve(a_holder(), when="2026-11-21T12:00:00"), CODEC)
    assert refusal.value.problems == ("$.when: expected datetime, got str",)


def _refuse(value: str) -> str:
    if value.startswith(MARKER):
        raise LookupError(f"will not have {value}")
    return value


@attrs.define
class Picky:
    name: str = attrs.field(validator=lambda _, __, value: _refuse(value))


@attrs.define
class Converting:
    name: str = attrs.field(converter=_refuse)


@attrs.define
class Late:
    name: str

    def __attrs_post_init__(self) -> None:
        _refuse(self.name)


@attrs.define
class Cancelled:
    name: str

    def __attrs_post_init__(self) -> None:
        raise CancelledError(self.name)


@pytest.mark.parametrize("cls", [Picky, Converting, Late, Cancelled])
def test_whatever_the_users_code_raises_is_a_refusal(cls: type) -> None:
    with pytest.raises(ParseError) as refusal:
        gate_for(list[cls]).parse([{"name": MARKER}])  # type: ignore[valid-type]
    assert refusal.value.problems[0].startswith(f"$[0]: expected {cls.__name__}, got dict of 1 that its class refuses (")
    assert MARKER not in chain(refusal.value)


class Unfriendly:
    """Raises, with payload, wherever it can."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(MARKER)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError(MARKER)

    def __hash__(self) -> int:
        raise RuntimeError(MARKER)

    def __repr__(self) -> str:
        return MARKER


@attrs.define
class Weird:
    anything: Any


@attrs.define(slots=False)
class Shy:
    name: str

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(MARKER)


LEAKS: list[Callable[[], object]] = [
    lambda: gate_for(int).parse(MARKER),
    lambda: gate_for(User).parse({**attrs.asdict(ADA), "id": MARKER, MARKER: MARKER}),
    lambda: gate_for(User).parse(attrs.evolve(ADA, id=MARKER)),
    lambda: gate_for(User).encode(attrs.evolve(ADA, address=MARKER), CODEC),
    lambda: gate_for(User).encode(attrs.evolve(ADA, address=MARKER), FAST),
    lambda: gate_for(dict[str, int]).parse({MARKER: MARKER}),
    lambda: gate_for(dict[int, int]).parse({MARKER: 1}),
    lambda: gate_for(Holder).parse(attrs.evolve(a_holder(), colour=MARKER, when=MARKER, mode=MARKER, point=(MARKER,))),
    lambda: gate_for(Holder).parse({**attrs.asdict(a_holder(), recurse=False), "when": MARKER, "colour": MARKER}),
    lambda: gate_for(Cat | Dog).parse({"kind": MARKER, "lives": MARKER}),
    lambda: gate_for(int | str | None).parse([MARKER]),
    lambda: gate_for(User).parse(Unfriendly()),
    lambda: gate_for(list[User]).parse([Unfriendly()]),
    lambda: gate_for(Shy).parse(object.__new__(Shy)),
    lambda: gate_for(Shy).encode(object.__new__(Shy), CODEC),
    lambda: gate_for(Weird).encode(Weird(Unfriendly()), CODEC),
    lambda: gate_for(User).decode(CODEC.encode_body({"id": MARKER}), CODEC),
    lambda: gate_for(User).decode(CODEC.encode_body({"id": MARKER}), FAST),
    lambda: gate_for(User).decode(CODEC.encode_body([MARKER])[:-3], CODEC),
    lambda: gate_for(dict[str, Any]).encode({"a": Unfriendly()}, CODEC),
    lambda: CODEC.encode_body({MARKER: MARKER + "\ud800"}),
    lambda: CODEC.encode_body({MARKER: {1, Unfriendly}}),
    lambda: CODEC.decode_body(b"\xa1" + MARKER.encode()),
    lambda: CODEC.decode_body(b"\xc7\x0a\x05" + MARKER.encode()),
    lambda: CODEC.decode_body(b"\xaa" + MARKER.encode()[:9] + b"\xff"),
    lambda: gate_for(int, int).parse(MARKER),
    lambda: gate_for(User, lambda value: value[MARKER]).parse({}),
    lambda: gate_for(User, lambda value: MARKER).parse({}),
    lambda: gate_for(str, lambda value: 1 / 0).encode(MARKER, CODEC),
]


@pytest.mark.parametrize("leak", LEAKS, ids=range(len(LEAKS)))
def test_no_payload_in_errors(leak: Callable[[], object]) -> None:
    with pytest.raises((ParseError, InvalidTypeError, EncodeError, DecodeError)) as refusal:
        leak()
    error: ParasyncError = refusal.value
    assert MARKER not in chain(error)
    assert error.__cause__ is None
    assert error.__context__ is None
