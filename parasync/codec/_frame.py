"""The frame: one envelope on a bus, as one msgpack array.

`[format, kind, epoch, sequence, after, schema_version, body, meta, crc32]`: the body is a msgpack `bin`, empty for a
tombstone; `after` is nil where it is `sequence - 1`; `crc32` is always the last five bytes and covers the key (UTF-8) and
everything before it.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

from msgpack import Packer, unpackb

from parasync.errors import DecodeError, EncodeError, InvalidVersionError
from parasync.protocol import EPOCH_MAX, NO_META, SEQUENCE_MAX, EncodedBody, Envelope, Kind, SchemaVersion

FORMAT: Final = 1
"""The first field of every frame; frames of another format are malformed."""
META_ENTRIES_MAX: Final = 32
"""The most entries of `meta`; more are refused by writer and reader."""
META_BYTES_MAX: Final = 8_192
"""The most bytes of all texts of `meta` together; more are refused by writer and reader."""
HEADER_BYTES_MAX: Final = 64
"""No frame is longer than this, its body, and its `meta` (its texts, and 6 bytes an entry)."""

_FIELDS: Final = 9
_PACKERS: Final[list[Packer]] = []


def body_checksum(kind: Kind, schema_version: str, body: bytes) -> int:
    """The checksum of a version: CRC-32 of the body, seeded with that of kind and schema version. Stable for ever."""
    return zlib.crc32(body, zlib.crc32(f"{int(kind)} {schema_version}".encode()))


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
    """The frame of an envelope with this body.

    Raises:
        EncodeError: a field is out of range.
    """
    _check_header(envelope)
    try:
        packer = _PACKERS.pop()
    except IndexError:
        packer = Packer(buf_size=16_384)
    after = envelope.after
    if after == envelope.sequence - 1:
        after = None
    meta = dict(envelope.meta) if envelope.meta else {}
    head = packer.pack(
        (FORMAT, int(envelope.kind), envelope.epoch, envelope.sequence, after, envelope.schema_version, body, meta)
    )
    _PACKERS.append(packer)
    frame: bytes = b"\x99" + head[1:]
    return frame + b"\xce" + zlib.crc32(frame, zlib.crc32(key.encode())).to_bytes(4, "big")


def read_frame(key: str, frame: bytes) -> list[Any]:
    """The fields of a frame, each of the right type and in its range.

    Raises:
        DecodeError: it is no frame of this key, or corrupt.
        Exception: whatever a malformed frame leads to; the caller makes a `DecodeError` of it.
    """
    if frame[0] != 0x90 + _FIELDS or frame[-5] != 0xCE:
        raise DecodeError(f"got something else than a frame, expected an array of {_FIELDS} fields")
    if zlib.crc32(frame[:-5], zlib.crc32(key.encode())) != int.from_bytes(frame[-4:], "big"):
        raise DecodeError("got a frame with a wrong checksum: corrupt, or of another key")
    # The hook sees each array as it ends: one inside another is refused before more is allocated.
    fields: list[Any] = unpackb(
        frame, list_hook=_checked, max_array_len=_FIELDS, max_map_len=META_ENTRIES_MAX, max_ext_len=0, strict_map_key=True
    )
    return fields


def _checked(fields: list[Any]) -> list[Any]:
    format_, kind, epoch, sequence, after, schema_version, body, meta, _ = fields
    if type(format_) is not int or format_ != FORMAT:
        raise DecodeError(f"got a frame of an unknown format, expected format {FORMAT}")
    if type(kind) is not int or not 0 <= kind <= 1:
        raise DecodeError("got a frame of an unknown kind")
    if type(epoch) is not int or not 0 <= epoch <= EPOCH_MAX:
        raise DecodeError("got a frame with an epoch out of range")
    if type(sequence) is not int or not 1 <= sequence <= SEQUENCE_MAX:
        raise DecodeError("got a frame with a sequence out of range")
    if after is not None and (type(after) is not int or not 0 <= after < sequence):
        raise DecodeError("got a frame with an `after` out of range")
    if type(body) is not bytes or bool(body) is bool(kind):
        raise DecodeError("got a frame whose body does not fit its kind")
    if type(meta) is not dict or (meta and not meta_fits(meta)):
        raise DecodeError("got a frame whose meta is too large or holds more than texts")
    SchemaVersion.parse(schema_version)
    return fields


def _check_header(envelope: Envelope[Any]) -> None:
    """Refuse whatever a reader would refuse."""
    sequence, after, meta = envelope.sequence, envelope.after, envelope.meta
    if type(envelope.epoch) is not int or not 0 <= envelope.epoch <= EPOCH_MAX:
        raise EncodeError(f"got an epoch out of range, expected an int from 0 to {EPOCH_MAX}")
    if type(sequence) is not int or not 1 <= sequence <= SEQUENCE_MAX:
        raise EncodeError(f"got a sequence out of range, expected an int from 1 to {SEQUENCE_MAX}")
    if after is not None and (type(after) is not int or not 0 <= after < sequence):
        raise EncodeError("got an `after` out of range, expected None or an int from 0 to below the sequence")
    if meta is not NO_META and meta and not meta_fits(meta):
        raise EncodeError(
            f"got a meta that does not fit, expected at most {META_ENTRIES_MAX} texts by name, {META_BYTES_MAX} bytes in all"
        )
    reason = ""
    try:
        SchemaVersion.parse(envelope.schema_version)
    except InvalidVersionError as error:
        reason = str(error)
    if reason:
        raise EncodeError(reason)


def opened(fields: list[Any]) -> Envelope[EncodedBody | None]:
    """The envelope of checked fields."""
    _, kind, epoch, sequence, after, schema_version, body, meta, _ = fields
    checksum = zlib.crc32(body, zlib.crc32(f"{kind} {schema_version}".encode()))
    value = None if kind else EncodedBody(body)
    return Envelope(value, schema_version, sequence, epoch, after, _KINDS[kind], meta or NO_META, checksum, value)


_KINDS: Final = (Kind.STATE, Kind.TOMBSTONE)
