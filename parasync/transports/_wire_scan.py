"""The messages of reconciling as bytes: comparing the buckets of a topic, and scanning a range of it.

Envelopes inside an answer travel as frames of their own keys, so that no content can pass for that of another object.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from parasync.codec import Codec
from parasync.errors import DecodeError
from parasync.protocol import (
    ABSENT_OBJECT,
    BUCKETS,
    DIGEST_BYTES,
    EPOCH_MAX,
    SCAN_KEYS_MAX,
    UNANSWERED,
    Absent,
    Compare,
    Digests,
    Envelope,
    Outcome,
    Position,
    Scan,
    Scanned,
    Unanswered,
    Version,
    check_scan,
    is_in_range,
)
from parasync.transports._wire_fields import (
    COUNT_MAX,
    WIRE_FORMAT,
    fields_of,
    integer,
    items,
    keys_of,
    optional,
    position_of,
    seconds,
    text,
    version_of,
)

COMPARED: Final = 4
"""The kind of an answer that holds digests."""
SCANNED: Final = 5
"""The kind of an answer to a scan."""

_OUTCOMES: Final[dict[int, Outcome]] = {1: ABSENT_OBJECT, 2: UNANSWERED}
_CODES: Final = {Absent: 1, Unanswered: 2}
_Head: TypeAlias = tuple[int, int, float, Version, int, float, int]


def compare_fields(compare: Compare) -> list[Any]:
    """What stands for the message on a bus."""
    return [WIRE_FORMAT, compare.epoch]


def read_compare(fields: Any) -> Compare:
    """The message that fields stand for."""
    (epoch,) = fields_of(fields, 1)
    return Compare(integer(epoch, EPOCH_MAX))


def scan_fields(scan: Scan) -> list[Any]:
    """What stands for the message on a bus."""
    part = [scan.prefix, list(scan.buckets), scan.after, scan.upto]
    return [WIRE_FORMAT, scan.epoch, [*scan.floor], *part, list(scan.keys), [_plain(held) for held in scan.positions]]


def read_scan(fields: Any) -> Scan:
    """The message that fields stand for."""
    epoch, floor, prefix, buckets, after, upto, keys, positions = fields_of(fields, 8)
    scan = Scan(
        integer(epoch, EPOCH_MAX),
        version_of(floor),
        text(prefix),
        tuple(integer(bucket, BUCKETS - 1) for bucket in items(buckets, BUCKETS)),
        text(after),
        text(upto),
        tuple(text(key) for key in items(keys, SCAN_KEYS_MAX)),
        tuple(optional(held, position_of) for held in items(positions, SCAN_KEYS_MAX)),
    )
    check_scan(scan)
    return scan


def digests_fields(digests: Digests) -> list[Any]:
    """What stands for the message on a bus."""
    buckets = b"".join(digest.to_bytes(DIGEST_BYTES, "big") for digest in digests.buckets)
    return [WIRE_FORMAT, COMPARED, *_head_fields(digests), buckets]


def read_digests(fields: Any) -> Digests:
    """The message that fields stand for."""
    _, *head, buckets = fields_of(fields, 9)
    if type(buckets) is not bytes or len(buckets) != BUCKETS * DIGEST_BYTES:
        raise DecodeError(f"got something else than {BUCKETS} digests of {DIGEST_BYTES} bytes")
    begins = range(0, len(buckets), DIGEST_BYTES)
    return Digests(*_head(head), tuple(int.from_bytes(buckets[begin : begin + DIGEST_BYTES], "big") for begin in begins))


def scanned_fields(scanned: Scanned, codec: Codec) -> list[Any]:
    """What stands for the message on a bus."""
    outcomes = [
        codec.encode_frame(key, outcome) if isinstance(outcome, Envelope) else _CODES[type(outcome)]
        for key, outcome in zip(scanned.keys, scanned.outcomes, strict=True)
    ]
    return [WIRE_FORMAT, SCANNED, *_head_fields(scanned), scanned.covered, list(scanned.keys), outcomes]


def read_scanned(fields: Any, scan: Scan, codec: Codec) -> Scanned:
    """The message that fields stand for; what it tells of lies in the range that was asked for."""
    scanned, outcomes = read_scanned_head(fields)
    covered = [] if scanned.covered is None else [scanned.covered]
    if not all(is_in_range(scan, key) for key in (*scanned.keys, *covered)):
        raise DecodeError("got an answer that tells of what was not asked for")
    scanned.outcomes = tuple(_outcome(key, outcome, codec) for key, outcome in zip(scanned.keys, outcomes, strict=True))
    return scanned


def read_scanned_head(fields: Any) -> tuple[Scanned, list[Any]]:
    """The message that fields stand for, but for its outcomes, which come as they are."""
    _, *head, covered, keys, outcomes = fields_of(fields, 11)
    told = keys_of(keys, SCAN_KEYS_MAX)
    if len(set(told)) != len(told) or len(told) != len(items(outcomes, SCAN_KEYS_MAX)):
        raise DecodeError("got an answer with other than one outcome for each key")
    return Scanned(*_head(head), optional(covered, lambda key: keys_of([key], 1)[0]), told, ()), outcomes


def _plain(held: Position | None) -> list[Any] | None:
    return None if held is None else [*held.version, held.checksum]


def _head_fields(answer: Digests | Scanned) -> list[Any]:
    times = [answer.epoch, answer.beat, float(answer.uptime_s)]
    return [*times, [*answer.floor], answer.history_epoch, float(answer.lag_s), answer.count]


def _head(fields: list[Any]) -> _Head:
    epoch, beat, uptime_s, floor, history_epoch, lag_s, count = fields
    epochs = integer(epoch, EPOCH_MAX), integer(history_epoch, EPOCH_MAX)
    counts = integer(beat, COUNT_MAX), integer(count, COUNT_MAX)
    return epochs[0], counts[0], seconds(uptime_s), version_of(floor), epochs[1], seconds(lag_s), counts[1]


def _outcome(key: str, outcome: Any, codec: Codec) -> Outcome:
    if type(outcome) is bytes:
        try:
            return codec.decode_frame(key, outcome)
        except DecodeError as error:
            # One object that cannot be read must not keep the others from their answers.
            return Unanswered(str(error))
    return _OUTCOMES[integer(outcome, 2, 1)]
