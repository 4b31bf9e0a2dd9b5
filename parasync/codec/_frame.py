"""The frame: one envelope on a bus, as one msgpack array.

`[format, kind, epoch, sequence, after, schema_version, body, meta, crc32]`: the body is a msgpack `bin`, empty for a
tombstone; `after` is nil where it is `sequence - 1`; `crc32` is always the last five bytes and covers the key (UTF-8) and
everything before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias
from zlib import crc32

from msgpack import unpackb

from parasync.codec._packing import packing
from parasync.errors import DecodeError, EncodeError, InvalidVersionError
from parasync.protocol import EPOCH_MAX, NO_META, SEQUENCE_MAX, STATE, TOMBSTONE, EncodedBody, Envelope, Kind, SchemaVersion

FORMAT: Final = 1
"""The first field of every frame; frames of another format are malformed."""
META_ENTRIES_MAX: Final = 32
"""The most entries of `meta`; more are refused by writer and reader."""
META_BYTES_MAX: Final = 8_192
"""The most bytes of all texts of `meta` together; more are refused by writer and reader."""
HEADER_BYTES_MAX: Final = 64
"""No frame is longer than this, its body, and its `meta` (its texts, and 6 bytes an entry)."""

Fields: TypeAlias = Sequence[Any]
"""The fields of a frame, in their order."""

_FIELDS: Final = 9
# Stands for the checksum until it is known, and takes its five bytes.
_ANY_CRC: Final = 0xFFFFFFFF
_NOTHING: Final[dict[str, str]] = {}
_packed: Final = packing()
# Of the fields, without and with `after`.
_TYPES: Final = tuple([int, int, int, int, after, str, bytes, dict, int] for after in (type(None), int))


def body_checksum(kind: Kind, schema_version: str, body: bytes) -> int:
    """The checksum of a version: CRC-32 of the body, seeded with that of kind and schema version. Stable for ever.

    Raises:
        InvalidVersionError: the schema version does not follow the grammar.
    """
    return crc32(body, _state_seed(schema_version) if kind is STATE else _tombstone_seed(schema_version))


# One function for each kind: to look a member of an enum up takes longer than all the rest.
@lru_cache(maxsize=1024)
def _state_seed(schema_version: str) -> int:
    return _seed(0, schema_version)


@lru_cache(maxsize=1024)
def _tombstone_seed(schema_version: str) -> int:
    return _seed(1, schema_version)


def _seed(kind: int, schema_version: str) -> int:
    SchemaVersion.parse(schema_version)
    return crc32(f"{kind} {schema_version}".encode())


@lru_cache(maxsize=65_536)
def _key_seed(key: str) -> int:
    return crc32(key.encode())


def meta_bytes(meta: Mapping[str, str]) -> int:
    """The bytes that `meta` adds to a frame, at most."""
    return sum(len(name.encode()) + len(text.encode()) + 6 for name, text in meta.items())


def meta_fits(meta: Mapping[Any, Any]) -> bool:
    """Whether `meta` holds texts only, and is within the limits."""
    if len(meta) > META_ENTRIES_MAX or any(type(name) is not str or type(text) is not str for name, text in meta.items()):
        return False
    try:
        return sum(len(name.encode()) + len(text.encode()) for name, text in meta.items()) <= META_BYTES_MAX
    except UnicodeEncodeError:
        return False


def write_frame(key: str, envelope: Envelope[Any], body: bytes) -> bytes:
    """The frame of an envelope with this body, empty for a tombstone.

    Raises:
        EncodeError: a field is out of range.
    """
    kind, sequence, after, meta = envelope.kind, envelope.sequence, envelope.after, envelope.meta
    schema_version = envelope.schema_version
    try:
        start = _start(kind is TOMBSTONE, envelope.epoch, schema_version)
    except (InvalidVersionError, TypeError):
        start = b""
    if not (
        start
        and type(sequence) is int
        and 1 <= sequence <= SEQUENCE_MAX
        and (after is None or (type(after) is int and 0 <= after < sequence))
        and (meta is NO_META or meta_fits(meta))
    ):
        raise EncodeError(_problem(envelope))
    known, told = None if after == sequence - 1 else after, dict(meta) if meta else _NOTHING
    covered: bytes = start + _packed((sequence, known, schema_version, body, told, _ANY_CRC))[1:-4]
    return covered + crc32(covered, _key_seed(key)).to_bytes(4, "big")


@lru_cache(maxsize=1024, typed=True)
def _start(tombstone: bool, epoch: int, schema_version: str) -> bytes:
    """The frame up to its epoch; empty where that is out of range. Raises like `SchemaVersion.parse` for the schema version."""
    _state_seed(schema_version)
    if type(epoch) is not int or not 0 <= epoch <= EPOCH_MAX:
        return b""
    return bytes([0x90 + _FIELDS]) + _packed((FORMAT, int(tombstone), epoch))[1:]


def read_frame(key: str, frame: bytes, decode: Callable[[bytes], Fields] | None) -> Envelope[EncodedBody | None]:
    """The envelope that a frame of this key holds.

    Args:
        key: the key that it came under.
        frame: its bytes.
        decode: a faster way to fields of the right types and ranges, which raises where it is not sure.

    Raises:
        DecodeError: it is no frame of this key, or corrupt, or a field is out of range.
        Exception: whatever a malformed frame leads to; the caller makes a `DecodeError` of it.
    """
    if frame[0] != 0x90 + _FIELDS or frame[-5] != 0xCE:
        raise DecodeError(f"got something else than a frame, expected an array of {_FIELDS} fields")
    if decode is None:
        # The hook sees each array as it ends: one inside another is refused before more is allocated.
        fields: Fields = unpackb(
            frame, list_hook=_checked, max_array_len=_FIELDS, max_map_len=META_ENTRIES_MAX, max_ext_len=0
        )
    else:
        fields = decode(frame)
    _, kind, epoch, sequence, after, schema_version, body, meta, crc = fields
    if (after is not None and after >= sequence) or bool(body) is bool(kind) or (meta and not meta_fits(meta)):
        raise DecodeError("got a frame whose fields contradict each other, or whose meta is too large")
    if crc32(frame[:-4], _key_seed(key)) != crc:
        raise DecodeError("got a frame with a wrong checksum: corrupt, or of another key")
    if kind:
        checksum = crc32(body, _tombstone_seed(schema_version))
        return Envelope(None, schema_version, sequence, epoch, after, TOMBSTONE, meta or NO_META, checksum)
    value, checksum = EncodedBody(body), crc32(body, _state_seed(schema_version))
    return Envelope(value, schema_version, sequence, epoch, after, STATE, meta or NO_META, checksum, value)


def _checked(fields: list[Any]) -> list[Any]:
    format_, kind, epoch, sequence, after, _, _, _, _ = fields
    if type(format_) is not int or format_ != FORMAT:
        raise DecodeError(f"got a frame of an unknown format, expected format {FORMAT}")
    if (
        [*map(type, fields)] in _TYPES
        and 0 <= kind <= 1
        and 0 <= epoch <= EPOCH_MAX
        and 1 <= sequence <= SEQUENCE_MAX
        and (after is None or after >= 0)
    ):
        return fields
    raise DecodeError("got a frame with a field of a wrong type or out of range")


def _is_schema(schema_version: Any) -> bool:
    try:
        _state_seed(schema_version)
    except (InvalidVersionError, TypeError):
        return False
    return True


def _problem(envelope: Envelope[Any]) -> str:
    if type(envelope.epoch) is not int or not 0 <= envelope.epoch <= EPOCH_MAX:
        return f"got an epoch out of range, expected an int from 0 to {EPOCH_MAX}"
    if type(envelope.sequence) is not int or not 1 <= envelope.sequence <= SEQUENCE_MAX:
        return f"got a sequence out of range, expected an int from 1 to {SEQUENCE_MAX}"
    if not _is_schema(envelope.schema_version):
        return 'got a malformed schema version, expected one like "2.1": major, dot, minor'
    if not meta_fits(envelope.meta):
        return f"got a meta that does not fit, expected at most {META_ENTRIES_MAX} texts by name, {META_BYTES_MAX} bytes in all"
    return "got an `after` out of range, expected None or an int from 0 to below the sequence"
