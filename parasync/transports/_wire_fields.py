"""The fields of messages: each function returns a value of the right type and range, or raises `DecodeError`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, TypeVar

from parasync.codec import META_BYTES_MAX, META_ENTRIES_MAX, Codec, meta_fits
from parasync.errors import DecodeError, EncodeError, UsageError
from parasync.protocol import EPOCH_MAX, KEY_BYTES_MAX, NO_META, SEQUENCE_MAX, EncodedBody, Position, Version, check_keys

WIRE_FORMAT: Final = 1
"""The first field of every message; messages of another format are malformed."""
CHECKSUM_MAX: Final = 2**32 - 1
"""The largest checksum."""
COUNT_MAX: Final = 2**63 - 1
"""The largest count."""

T = TypeVar("T")


def written(made: Callable[[], list[Any]], check: Callable[[Any], object], codec: Codec) -> bytes:
    """What was made, encoded, if a reader would take it.

    Raises:
        EncodeError: a reader would not, or it is too large.
    """
    fields: list[Any] = []
    reason = ""
    try:
        fields = made()
        check(fields)
    except (DecodeError, EncodeError, UsageError) as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001  # fields can hold anything
        reason = f"got a field of a wrong type ({type(error).__name__})"
    if reason:
        raise EncodeError(f"a message cannot be sent: {reason}")
    return codec.encode_message(fields)


def read(data: bytes, check: Callable[[Any], T], codec: Codec) -> T:
    """What a message says.

    Raises:
        DecodeError: it does not pass the check, or is no message at all.
    """
    fields = codec.decode_message(data)
    reason = "got a malformed message"
    try:
        return check(fields)
    except (DecodeError, UsageError) as error:
        reason = str(error)
    except Exception:  # noqa: BLE001, S110  # fields can hold anything
        pass
    raise DecodeError(reason)


def fields_of(value: Any, count: int) -> list[Any]:
    """The `count` fields behind the format number."""
    listed = items(value, count + 1)
    if len(listed) != count + 1 or type(listed[0]) is not int or listed[0] != WIRE_FORMAT:
        raise DecodeError(f"got a message of another form, expected format {WIRE_FORMAT} with {count} fields")
    return listed[1:]


def items(value: Any, items_max: int) -> list[Any]:
    """An array."""
    if type(value) is not list or len(value) > items_max:
        raise DecodeError(f"got something else than an array of at most {items_max} items")
    return value


def keys_of(value: Any, keys_max: int) -> tuple[str, ...]:
    """An array of legal keys."""
    listed = items(value, keys_max)
    check_keys(listed)
    return tuple(listed)


def integer(value: Any, most: int, least: int = 0) -> int:
    """An integer from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        raise DecodeError(f"got something else than an integer from {least} to {most}")
    return value


def seconds(value: Any) -> float:
    """A length of time."""
    if type(value) is not float or not isfinite(value) or value < 0:
        raise DecodeError("got something else than a length of time in seconds")
    return value


def flag(value: Any) -> bool:
    """A boolean."""
    if type(value) is not bool:
        raise DecodeError("got something else than a boolean")
    return value


def text(value: Any, chars_max: int = KEY_BYTES_MAX) -> str:
    """A text."""
    if type(value) is not str or len(value) > chars_max:
        raise DecodeError(f"got something else than a text of at most {chars_max} characters")
    return value


def label(value: Any, chars_max: int) -> str:
    """A text for logs and tables: nothing in it moves a cursor or begins a line."""
    if not text(value, chars_max).isprintable():
        raise DecodeError("got a text with characters that cannot be printed")
    return str(value)


def body_of(value: Any) -> EncodedBody:
    """An encoded value."""
    if type(value) is not bytes or not value:
        raise DecodeError("got something else than a body")
    return EncodedBody(value)


def version_of(value: Any) -> Version:
    """A version, as epoch and sequence."""
    if len(items(value, 2)) != 2:
        raise DecodeError("got something else than a version")
    return Version(integer(value[0], EPOCH_MAX), integer(value[1], SEQUENCE_MAX))


def position_of(value: Any) -> Position:
    """A position, as epoch, sequence and checksum or None."""
    if len(items(value, 3)) != 3:
        raise DecodeError("got something else than a position")
    return Position(version_of(value[:2]), optional(value[2], lambda checksum: integer(checksum, CHECKSUM_MAX)))


def optional(value: Any, read: Callable[[Any], T]) -> T | None:
    """None, or what `read` makes of it."""
    return None if value is None else read(value)


def meta_of(value: Any) -> Mapping[str, str]:
    """Texts by name, within the limits of an envelope's."""
    if type(value) is not dict or not meta_fits(value):
        raise DecodeError(f"got something else than at most {META_ENTRIES_MAX} texts by name, {META_BYTES_MAX} bytes in all")
    return value or NO_META
