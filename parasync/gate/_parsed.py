"""Gates around a `parse` callable of the user, and the one place where gates are made and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, overload

from parasync.errors import EncodeError, InvalidTypeError, ParseError, UsageError
from parasync.gate._analysis import name_of
from parasync.gate._check import FAILURES
from parasync.gate._gate import TypeGate
from parasync.gate._plain import STANDARD, demand_plain
from parasync.gate._shape import Anything

if TYPE_CHECKING:
    from parasync.codec import Codec
    from parasync.protocol import EncodedBody

T = TypeVar("T")

GATES_MAX: Final = 4096
"""How many gates are kept compiled; the least recently asked for is compiled again when it is next wanted."""

_PLAIN: Final = (type(None), bool, int, float, str, bytes, list, dict, tuple, set, frozenset)


class ParsedGate(Generic[T]):
    """The gate of a type with a `parse` callable.

    Plain data goes through the callable, an instance of a class must be a true one. What the callable returns is checked
    against the type as well, as deeply as the type allows.
    """

    __slots__ = ("_opaque", "_parse", "_typed", "name", "type")

    def __init__(self, type_: Any, parse: Callable[[Any], T]) -> None:
        self.name: Final = name_of(type_)
        self.type: Final = type_
        self._parse: Final = parse
        self._typed: Final = _typed_gate(type_)
        self._opaque: Final = type_ if self._typed is None and isinstance(type_, type) else object

    def parse(self, value: object) -> T:
        """See `Gate.parse`."""
        if self.passes(value):
            return value  # type: ignore[return-value]  # that is what the check says
        return self.parse_plain(value)

    def parse_plain(self, value: object) -> T:
        """Hand plain data to the callable, and check what it makes of it."""
        try:
            made = self._parse(value)
        except FAILURES as error:
            problem = f"$: expected {self.name}, got one that its parse callable refuses ({type(error).__name__})"
        else:
            if self.check(made):
                return made
            problem = f"$: expected {self.name}, got a {type(made).__name__} from its parse callable"
        raise ParseError(f"got a value that is no {self.name}: {problem}", (problem,))

    def check(self, value: object) -> bool:
        """Whether a value is a true instance, as deeply as the type allows."""
        if self._typed is not None:
            return self._typed.check(value)
        try:
            return isinstance(value, self._opaque)
        except FAILURES:
            return False

    def _is_instance(self, value: object) -> bool:
        return not any(type(value) is kind for kind in _PLAIN)

    def passes(self, value: object) -> bool:
        """Whether a value needs no parsing."""
        return self._is_instance(value) and self.check(value)

    def demand(self, value: object) -> None:
        """Raise `InvalidTypeError` unless the value is a true instance that the callable takes."""
        if self._typed is not None:
            self._typed.demand(value)
        problems: tuple[str, ...] = ()
        if not self.check(value):
            problems = (f"$: expected {self.name}, got {type(value).__name__}",)
        elif not self._is_instance(value):
            try:
                self.parse_plain(value)
            except ParseError as error:
                problems = error.problems
        if problems:
            raise InvalidTypeError(f"got a value that is no {self.name}: {problems[0]}", problems)

    def dump(self, value: T) -> object:
        """See `Gate.dump`."""
        self.demand(value)
        return demand_plain(value) if self._typed is None else self._typed.dump(value)

    def decode(self, body: bytes, codec: Codec) -> T:
        """See `Gate.decode`."""
        return self.parse_plain(codec.decode_body(body))

    def encode(self, value: T, codec: Codec) -> EncodedBody:
        """See `Gate.encode`."""
        return codec.encode_body(self.dump(value))

    def decoder(self, codec: Codec) -> Callable[[bytes], T]:
        """`decode` for one codec."""
        return lambda body: self.decode(body, codec)

    def encoder(self, codec: Codec) -> Callable[[T], EncodedBody]:
        """`encode` for one codec."""
        return lambda value: self.encode(value, codec)

    def __repr__(self) -> str:
        return f"<gate of {self.name} by {self._parse!r}>"


AnyGate: TypeAlias = TypeGate[T] | ParsedGate[T]


@overload
def gate_for(type_: type[T], parse: Callable[[Any], T] | None = None) -> AnyGate[T]: ...


@overload
def gate_for(type_: object, parse: Callable[[Any], T]) -> AnyGate[T]: ...


@overload
def gate_for(type_: object, parse: None = None) -> AnyGate[Any]: ...


def gate_for(type_: object, parse: Callable[[Any], Any] | None = None) -> AnyGate[Any]:
    """The gate of a type; made once, and the same object after that.

    Args:
        type_: an attrs class, a dataclass, a `TypedDict`, a `NamedTuple`, an enum, a builtin or standard value type, a union or
            container of these, a msgspec struct or a pydantic model; with `parse` any type.
        parse: turns plain data into a value of the type, or raises anything. May be called from any thread.

    Raises:
        UsageError: a part of the type cannot be carried, or cannot be told apart from another on the wire.
    """
    try:
        hash((type_, parse))
    except TypeError:
        raise UsageError(f"got {name_of(type_)}, expected a type (and a parse callable) that can be hashed") from None
    return _gate_for(type_, parse)


@lru_cache(maxsize=GATES_MAX)
def _gate_for(type_: Any, parse: Callable[[Any], Any] | None) -> AnyGate[Any]:
    return TypeGate(type_) if parse is None else ParsedGate(type_, parse)


def encode_any(value: object, codec: Codec) -> EncodedBody:
    """The body of a value of which only its own class is known: plain data as it is, an instance by the gate of its class.

    Raises:
        EncodeError: it is neither, or a part of it is not of the declared type, or it is too deep or too large.
    """
    kind = type(value)
    try:
        if kind in STANDARD:
            return codec.encode_body(demand_plain(value))
        return gate_for(kind).encode(value, codec)
    except UsageError as error:
        reason = str(error)
    except FAILURES as error:
        reason = f"got a value that cannot be looked at ({type(error).__name__})"
    raise EncodeError(reason)


def _typed_gate(type_: Any) -> TypeGate[Any] | None:
    try:
        gate: TypeGate[Any] = TypeGate(type_)
    except UsageError:
        return None
    return None if isinstance(gate.shape, Anything) else gate
