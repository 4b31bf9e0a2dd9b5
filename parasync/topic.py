"""Topics: the contract of two services about one family of objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar, final, overload

from parasync.codec import Codec
from parasync.errors import (
    DecodeError,
    EncodeError,
    InvalidKeyError,
    InvalidVersionError,
    ParseError,
    SchemaSkewError,
    UsageError,
)
from parasync.gate import encode_any, gate_for
from parasync.gate._check import FAILURES
from parasync.protocol import TOMBSTONE, EncodedBody, Envelope, Key, Reader, SchemaVersion, check_topic, parse_key

T = TypeVar("T")

CODECS_MAX: Final = 64
"""For how many codecs a topic keeps its reader and writer; the oldest is made anew when it is next wanted."""


@final
class Topic(Generic[T]):
    """The name, type and schema version of a family of objects, shared by those who write and those who read them. Immutable.

    Args:
        name: the topic of the keys, any text without a colon.
        type_: the type of the objects, see `gate_for`.
        version: the schema version, `"major.minor"`. Raise the minor when you add fields with defaults, the major for all else.
        upcasts: for another major, a function that turns its plain data into a value of the type, or into plain data of it. May
            be called from any thread.
        parse: turns plain data into a value of the type, or raises anything. May be called from any thread.

    Raises:
        InvalidKeyError: an illegal name.
        InvalidVersionError: an illegal schema version.
        UsageError: a part of the type cannot be carried, `parse` is no function, or `upcasts` has something else than other
            majors and functions.
    """

    __slots__ = ("_encoders", "_gate", "_readers", "name", "parse", "schema", "type", "upcasts", "version")

    @overload
    def __init__(
        self,
        name: str,
        type_: type[T],
        *,
        version: str = "1.0",
        upcasts: Mapping[int, Callable[[Any], Any]] | None = None,
        parse: Callable[[Any], T] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        name: str,
        type_: object,
        *,
        version: str = "1.0",
        upcasts: Mapping[int, Callable[[Any], Any]] | None = None,
        parse: Callable[[Any], T],
    ) -> None: ...

    @overload
    def __init__(
        self: Topic[Any],
        name: str,
        type_: object,
        *,
        version: str = "1.0",
        upcasts: Mapping[int, Callable[[Any], Any]] | None = None,
        parse: None = None,
    ) -> None: ...

    def __init__(
        self,
        name: str,
        type_: object,
        *,
        version: str = "1.0",
        upcasts: Mapping[int, Callable[[Any], Any]] | None = None,
        parse: Callable[[Any], T] | None = None,
    ) -> None:
        self.name: Final = check_topic(name)
        self.type: Final = type_
        self.schema: Final = SchemaVersion.parse(version)
        self.version: Final = version
        if not isinstance(upcasts, Mapping | None) or not (parse is None or callable(parse)):
            raise UsageError("got upcasts that are no mapping, or a parse that is no function, expected functions")
        self.upcasts: Final[Mapping[int, Callable[[Any], Any]]] = MappingProxyType(dict(upcasts or {}))
        self.parse: Final = parse
        self._gate: Final = gate_for(type_, parse) if parse is not None else gate_for(type_)
        self._readers: Final[dict[Codec, Reader[T]]] = {}
        self._encoders: Final[dict[Codec, Callable[[Any], EncodedBody]]] = {}
        for major, upcast in self.upcasts.items():
            if type(major) is not int or major < 0 or major == self.schema.major or not callable(upcast):
                raise UsageError(f"got an upcast from {major!r}, expected functions by major, other than {self.schema.major}")

    def __getitem__(self, ident: str) -> Ref[T]:
        """The object with this id.

        Raises:
            InvalidKeyError: the id is no text, is empty, or is too long.
        """
        if not isinstance(ident, str):
            raise InvalidKeyError(f"got a {type(ident).__name__} as id, expected a str")
        return Ref(self, ident)

    def ref(self) -> Ref[T]:
        """The one object of a topic without ids."""
        return Ref(self, None)

    def reader(self, codec: Codec) -> Reader[T]:
        """The function that reads envelopes of this topic: the same object whenever the codec is the same.

        It returns the value, or None for a tombstone. It raises `SchemaSkewError` for another major without an upcast,
        `ParseError` for all else that is wrong, and nothing else.

        Args:
            codec: that of the bus or store where the bodies come from.
        """
        reader = self._readers.get(codec)
        if reader is None:
            _make_room(self._readers)
            reader = self._readers.setdefault(codec, self._made_reader(codec))
        return reader

    def encode(self, value: T, codec: Codec) -> EncodedBody:
        """The body of a value.

        Args:
            value: an instance of the type of the topic.
            codec: that of the bus or store which is to hold it.

        Raises:
            InvalidTypeError: it is not of the type of the topic; `problems` names the paths.
            EncodeError: it cannot be encoded: too deep, too large, or an unsupported type where none is declared.
        """
        return self.writer(codec)(value)

    def writer(self, codec: Codec) -> Callable[[T], EncodedBody]:
        """The function that encodes values of this topic: the same object whenever `codec` is the same.

        It raises `InvalidTypeError` and `EncodeError` as `encode` does, and nothing else.
        """
        encoder = self._encoders.get(codec)
        if encoder is None:
            _make_room(self._encoders)
            encoder = self._encoders.setdefault(codec, self._gate.encoder(codec))
        return encoder

    def _made_reader(self, codec: Codec) -> Reader[T]:
        parse, passes, decode, current = self._gate.parse, self._gate.passes, self._gate.decoder(codec), self.version

        def read(envelope: Envelope[Any]) -> T | None:
            if envelope.kind is TOMBSTONE:
                return None
            reason = ""
            try:
                value = envelope.value
                if envelope.schema_version != current:
                    upcast = self._upcast(envelope.schema_version)
                    if upcast is not None:
                        value = _converted(upcast, value, codec)
                if type(value) is not EncodedBody:
                    return value if passes(value) else parse(value)
                return decode(value)
            except (SchemaSkewError, ParseError, KeyboardInterrupt, SystemExit):
                raise
            except DecodeError as error:
                reason = str(error)
            except BaseException as error:  # noqa: BLE001  # the user's code may raise anything, and replicas must hear of it
                reason = f"got a value on which the gate failed ({type(error).__name__})"
            raise ParseError(reason)

        return read

    def _upcast(self, schema_version: str) -> Callable[[Any], Any] | None:
        try:
            major = SchemaVersion.parse(schema_version).major
        except InvalidVersionError:
            major = None
        if major is None:
            raise SchemaSkewError(f"got a malformed schema version, expected major {self.schema.major}")
        if major == self.schema.major:
            return None
        upcast = self.upcasts.get(major)
        if upcast is None:
            raise SchemaSkewError(f"got schema major {major}, expected {self.schema.major} or an upcast from it")
        return upcast

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Topic) and self._facts() == other._facts())

    def __hash__(self) -> int:
        return hash((self.name, self.version))

    def _facts(self) -> tuple[object, ...]:
        return (self.name, self.version, self.type, self.parse, self.upcasts)

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {self._gate.name}, version={self.version!r})"

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError(f"a Topic is immutable; got an assignment to {name}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Topic is immutable; got a deletion of {name}")


@final
class Ref(Generic[T]):
    """One object of a topic: what a replica follows and an authority writes. Immutable.

    Made by `topic[id]` and `topic.ref()`.
    """

    __slots__ = ("id", "key", "topic")

    def __init__(self, topic: Topic[T], ident: str | None) -> None:
        key = str(Key(topic.name, ident))
        parse_key(key)
        self.topic: Final = topic
        self.id: Final = ident
        self.key: Final = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and self.key == other.key and self.topic == other.topic

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"<Ref {self.key!r} of {self.topic!r}>"

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(self, name):
            raise AttributeError(f"a Ref is immutable; got an assignment to {name}")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Ref is immutable; got a deletion of {name}")


def as_written(value: Any) -> Any:
    """An upcast that changes nothing, for a topic that takes values of other majors as they are."""
    return value


def _converted(upcast: Callable[[Any], Any], value: object, codec: Codec) -> object:
    """What an upcast makes of a value of its major, which it gets as plain data of its own."""
    reason = ""
    try:
        body = value if isinstance(value, EncodedBody) else encode_any(value, codec)
        return upcast(codec.decode_body(body))
    except (DecodeError, EncodeError) as error:
        reason = str(error)
    except FAILURES as error:
        reason = f"got a value that the upcast to this major refuses ({type(error).__name__})"
    raise ParseError(reason)


def _make_room(kept: dict[Codec, Any]) -> None:
    while len(kept) >= CODECS_MAX:
        kept.pop(next(iter(kept)), None)
