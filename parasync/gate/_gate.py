"""Gates: what a value has to pass before it is shown, stored or sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from parasync.errors import EncodeError, InvalidTypeError, ParseError
from parasync.gate._analysis import name_of, shape_of
from parasync.gate._check import FAILURES, CheckCompiler
from parasync.gate._dump import DumpCompiler
from parasync.gate._explain import Explainer
from parasync.gate._parse import ParseCompiler
from parasync.gate._plain import VALUE_DEPTH_MAX, is_shallow
from parasync.gate._shape import Shape, holds_recursion

if TYPE_CHECKING:
    from parasync.codec import Codec
    from parasync.protocol import EncodedBody

T = TypeVar("T")



class Gate(Protocol[T]):
    """Lets values of one type through, deeply checked, and nothing else. Use from any thread."""

    def parse(self, value: object) -> T:
        """Return the value itself if it is a true instance, or the instance that its plain data stands for.

        Raises:
            ParseError: it is neither; `problems` names the paths.
        """

    def dump(self, value: T) -> object:
        """The plain data of a true instance; values at positions without a type of their own are left to the codec.

        Raises:
            InvalidTypeError: it is not of the type; `problems` names the paths.
            EncodeError: a part cannot be written, e.g. a time zone without a name.
        """

    def decode(self, body: bytes, codec: Codec) -> T:
        """The value that a body holds.

        Raises:
            DecodeError: the body is malformed.
            ParseError: what it holds did not pass.
        """

    def encode(self, value: T, codec: Codec) -> EncodedBody:
        """The body of a true instance.

        Raises:
            InvalidTypeError: it is not of the type; `problems` names the paths.
            EncodeError: a part cannot be written, or it is too deep or too large.
        """


class TypeGate(Generic[T]):
    """The gate of a type whose positions are all known; compiled once, see `gate_for`."""

    __slots__ = ("_deep", "_dump", "_explainer", "_structure", "check", "name", "passes", "shape", "type")

    def __init__(self, type_: Any) -> None:
        shape = shape_of(type_)
        checks = CheckCompiler(shape)
        parsers = ParseCompiler(checks)
        self.name: Final = name_of(type_)
        self.type: Final = type_
        self.shape: Final[Shape] = shape
        self.check: Final = checks.check(shape)
        self.passes: Final = self.check
        self._deep: Final = holds_recursion(shape)
        self._structure: Final = parsers.hook(shape)
        self._dump: Final = DumpCompiler(checks).dump(shape)
        self._explainer: Final = Explainer(shape, checks, parsers)

    def parse(self, value: object) -> T:
        """See `Gate.parse`."""
        if self.check(value):
            return value  # type: ignore[return-value]  # that is what the check says
        if self._deep and not is_shallow(value):
            problem = f"$: expected {self.name}, got data that refers to itself, or is nested more than {VALUE_DEPTH_MAX} deep"
            raise ParseError(problem, (problem,))
        try:
            return self._structure(value, None)  # type: ignore[no-any-return]
        except FAILURES:
            pass
        # Raised out here, where no exception that knows the payload is in flight and would be chained.
        raise self._refusal(value)

    def parse_plain(self, value: object) -> T:
        """Like `parse` for data that just came out of a codec, which holds no instances."""
        try:
            return self._structure(value, None)  # type: ignore[no-any-return]
        except FAILURES:
            pass
        raise self._refusal(value)

    def dump(self, value: T) -> object:
        """See `Gate.dump`."""
        self.demand(value)
        reason = ""
        try:
            return self._dump(value)
        except EncodeError as error:
            reason = str(error)
        except FAILURES as error:
            reason = f"got a {self.name} that cannot be written ({type(error).__name__})"
        raise EncodeError(reason)

    def demand(self, value: object) -> None:
        """Raise `InvalidTypeError` unless the value is a true instance."""
        if self.check(value):
            return
        problems = self._explainer.problems(value, true=True)
        raise InvalidTypeError(_summary(f"got a value that is no {self.name}", problems), problems)

    def decode(self, body: bytes, codec: Codec) -> T:
        """See `Gate.decode`."""
        return self.decoder(codec)(body)

    def encode(self, value: T, codec: Codec) -> EncodedBody:
        """See `Gate.encode`."""
        return self.encoder(codec)(value)

    def decoder(self, codec: Codec) -> Callable[[bytes], T]:
        """`decode` for one codec, with all that can be looked up beforehand."""
        plain, parse = codec.decode_body, self.parse_plain
        fast = codec.typed_decoder(self.type)

        structure = self._structure

        def decode(body: bytes) -> T:
            value = plain(body)
            try:
                return structure(value, None)  # type: ignore[no-any-return]
            except FAILURES:
                pass  # what follows says why
            return parse(value)

        if fast is None:
            return decode

        def decode_fast(body: bytes) -> T:
            value = fast(body)
            return decode(body) if value is None else value

        return decode_fast

    def encoder(self, codec: Codec) -> Callable[[T], EncodedBody]:
        """`encode` for one codec, with all that can be looked up beforehand."""
        check, dump, encode_plain = self.check, self._dump, codec.encode_body
        fast = codec.typed_encoder(self.type)

        def encode(value: T) -> EncodedBody:
            if check(value):
                try:
                    plain = dump(value)
                except FAILURES:
                    pass  # what follows says why
                else:
                    return encode_plain(plain)
            return encode_plain(self.dump(value))

        if fast is None:
            return encode
        encode_fast = fast

        def encode_quickly(value: T) -> EncodedBody:
            body = encode_fast(value) if check(value) else None
            return encode(value) if body is None else body

        return encode_quickly

    def _refusal(self, value: object) -> ParseError:
        true = isinstance(self.type, type) and type(value) is self.type and type(value) is not dict
        problems = self._explainer.problems(value, true=true)
        return ParseError(_summary(f"got a value that is no {self.name}", problems), problems)

    def __repr__(self) -> str:
        return f"<gate of {self.name}>"


def _summary(start: str, problems: tuple[str, ...]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{start}: {problems[0]}{more}"
