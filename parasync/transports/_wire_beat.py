"""Beats as bytes: one sealed array, since nothing else would tell a corrupt one from another that proves something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from parasync.codec import EPOCH_AHEAD_MAX_S, Codec
from parasync.errors import DecodeError
from parasync.protocol import BEAT_NAMES_MAX, DIGEST_BYTES, EPOCH_BITS, EPOCH_MAX, Beat, Position
from parasync.transports._seal import sealed, unsealed
from parasync.transports._wire_fields import (
    COUNT_MAX,
    WIRE_FORMAT,
    fields_of,
    integer,
    items,
    keys_of,
    position_of,
    read,
    seconds,
    version_of,
    written,
)

_FIELDS: Final = 11


def encode_beat(beat: Beat, subject: str, codec: Codec) -> bytes:
    """The bytes of a beat, to be published on a subject.

    Raises:
        EncodeError: a field is out of range, or the beat is too large.
    """
    return sealed(written(lambda: _fields(beat), _beat, codec), subject.encode())


def decode_beat(data: bytes, subject: str, codec: Codec, wall_s: float) -> Beat:
    """The beat that came on a subject.

    Args:
        data: what came.
        subject: where it came.
        codec: reads messages.
        wall_s: the wall clock, in seconds since 1970.

    Raises:
        DecodeError: it is none, or of an epoch that begins more than `EPOCH_AHEAD_MAX_S` ahead.
    """
    beat = read(unsealed(data, subject.encode()), _beat, codec)
    if beat.epoch >> EPOCH_BITS > wall_s + EPOCH_AHEAD_MAX_S:
        raise DecodeError("got a beat from an epoch that begins more than a day ahead; check the clocks")
    return beat


def _fields(beat: Beat) -> list[Any]:
    head = [beat.epoch, beat.number, float(beat.uptime_s), float(beat.interval_s), [*beat.floor], beat.history_epoch]
    positions = [[*version, checksum] for version, checksum in beat.named.values()]
    digest = None if beat.digest is None else beat.digest.to_bytes(DIGEST_BYTES, "big")
    return [WIRE_FORMAT, *head, beat.count, digest, list(beat.named), positions, beat.since]


def _beat(fields: Any) -> Beat:
    epoch, number, uptime_s, interval_s, floor, history_epoch, *rest = fields_of(fields, _FIELDS)
    count, digest, keys, positions, since = rest
    if seconds(interval_s) == 0:
        raise DecodeError("got no time between beats, expected some")
    return Beat(
        integer(epoch, EPOCH_MAX),
        integer(number, COUNT_MAX, 1),
        seconds(uptime_s),
        interval_s,
        version_of(floor),
        integer(history_epoch, EPOCH_MAX),
        None if count is None else integer(count, COUNT_MAX),
        None if digest is None else _digest(digest),
        _named(keys_of(keys, BEAT_NAMES_MAX), items(positions, BEAT_NAMES_MAX), none=since == number),
        integer(since, number),
    )


def _digest(value: Any) -> int:
    if type(value) is not bytes or len(value) != DIGEST_BYTES:
        raise DecodeError(f"got something else than a digest of {DIGEST_BYTES} bytes")
    return int.from_bytes(value, "big")


def _named(keys: tuple[str, ...], positions: list[Any], *, none: bool) -> Mapping[str, Position]:
    named = dict(zip(keys, map(position_of, positions), strict=False))
    if len(named) != len(keys) or len(keys) != len(positions):
        raise DecodeError("got a beat with other than one position for each key")
    if none and named:
        raise DecodeError("got a beat that names objects and says that nothing was sent since the last")
    if any(position.checksum is None for position in named.values()):
        raise DecodeError("got a beat that names a version without its checksum")
    return named
