"""Tagged values: what msgpack lacks, as extension types, so that it comes back exactly where no type says what it is.

| code | value | payload |
|---|---|---|
| 1 | an integer beyond 64 bits | big-endian two's complement, as short as possible |
| 2 | tuple | msgpack array |
| 3, 4 | set, frozenset | msgpack array in the order of the encoded members, each once |
| 5 to 9 | datetime, date, time, timedelta, Decimal | the text of `parasync.gate`, in UTF-8 |
| 10 | UUID | its 16 bytes |
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from msgpack import ExtType

from parasync.errors import DecodeError, EncodeError
from parasync.gate._crowd import demand_spread
from parasync.gate._forms import FORMS

INTEGER_BYTES_MAX: Final = 1024
"""The longest integer in bytes; a longer one is refused by writer and reader."""

_INTEGER: Final = 1
_TUPLE, _SET, _FROZENSET = 2, 3, 4
_TEXTS: Final[dict[type, int]] = {datetime: 5, date: 6, time: 7, timedelta: 8, Decimal: 9}
_UUID: Final = 10
_READERS: Final = {code: FORMS[type_].read for type_, code in _TEXTS.items()}
_SEQUENCES: Final[dict[int, type]] = {_TUPLE: tuple, _SET: set, _FROZENSET: frozenset}
_SMALL: Final = (-(2**63), 2**64 - 1)
NESTED: Final = frozenset(_SEQUENCES)
"""The codes whose payload is a msgpack value itself."""

Pack = Callable[[object], bytes]
Unpack = Callable[[bytes], Any]


def tagged(value: object, pack: Pack) -> ExtType:
    """The extension type for a value that msgpack lacks; `pack` encodes what a tuple or set holds.

    Raises:
        EncodeError: there is none for its type, or it is too large for it.
    """
    kind = type(value)
    if kind in _TEXTS:
        return ExtType(_TEXTS[kind], FORMS[kind].write(value).encode())
    if kind is tuple:
        return ExtType(_TUPLE, pack(list(value)))  # type: ignore[call-overload]
    if kind is set or kind is frozenset:
        return ExtType(_SET if kind is set else _FROZENSET, _in_order([pack(member) for member in value]))  # type: ignore[attr-defined]
    if isinstance(value, UUID) and kind is UUID:
        return ExtType(_UUID, value.bytes)
    if isinstance(value, int) and kind is int:
        return ExtType(_INTEGER, _integer_bytes(value))
    raise EncodeError(f"got a {kind.__name__}, expected plain data or a standard value")


def untagged(code: int, payload: bytes, unpack: Unpack) -> object:
    """The value of an extension type; `unpack` decodes what a tuple or set holds.

    Raises:
        DecodeError: an unknown code.
        Exception: whatever the payload leads to; the caller makes a `DecodeError` of it.
    """
    if code in _SEQUENCES:
        return _sequence(_SEQUENCES[code], payload, unpack)
    if code in _READERS:
        return _READERS[code](payload.decode())
    if code == _UUID:
        return UUID(bytes=payload)
    if code == _INTEGER and len(payload) <= INTEGER_BYTES_MAX:
        value = int.from_bytes(payload, "big", signed=True)
        if not _SMALL[0] <= value <= _SMALL[1] and _integer_bytes(value) == payload:
            return value
    raise DecodeError("got an unknown or misused extension type")


def _sequence(type_: type, payload: bytes, unpack: Unpack) -> object:
    items = unpack(payload)
    if type(items) is not list:
        raise DecodeError("got a tuple or set that holds no array")
    if type_ is not tuple:
        demand_spread(items)
    made = type_(items)
    if len(made) != len(items):
        raise DecodeError("got a set that holds equal members")
    return made


def _integer_bytes(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    if size > INTEGER_BYTES_MAX:
        raise EncodeError(f"got an integer of {size} bytes, expected at most {INTEGER_BYTES_MAX}")
    return value.to_bytes(size, "big", signed=True)


def _in_order(members: list[bytes]) -> bytes:
    size = len(members)
    if size < 16:
        header = bytes([0x90 | size])
    elif size < 65_536:
        header = b"\xdc" + size.to_bytes(2, "big")
    else:
        header = b"\xdd" + size.to_bytes(4, "big")
    return header + b"".join(sorted(members))
