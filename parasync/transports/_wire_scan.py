"""The messages of reconciling as bytes: comparing the buckets of a topic, and scanning a range of it.

What a first load is made of takes the short way: of all states of one schema version and without `meta`, the numbers lie in
one field and the bodies in another, and the checksum of the whole message is theirs. Every other envelope travels as a frame
of its own key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from struct import Struct
from typing import Any, Final, TypeAlias, TypeGuard
from zlib import crc32

from parasync.codec import Codec, body_checksum
from parasync.errors import DecodeError
from parasync.protocol import (
    ABSENT_OBJECT,
    BUCKETS,
    DIGEST_BYTES,
    EPOCH_MAX,
    NO_META,
    SCAN_KEYS_MAX,
    SEQUENCE_MAX,
    STATE,
    TOMBSTONE,
    UNANSWERED,
    Absent,
    Compare,
    Digests,
    EncodedBody,
    Envelope,
    Outcome,
    Position,
    Scan,
    Scanned,
    Unanswered,
    Version,
    check_scan,
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
_PLAIN: Final = 0
# Epoch, sequence, and how long the body is.
_ROW: Final = Struct(">QQI")
_Row: TypeAlias = tuple[int, int, int, int]
"""Where a body begins, epoch, sequence, and how long the body is."""
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
    epoch_max, version = scanned.epoch, next((each.schema_version for each in scanned.outcomes if _is_plain(each)), "")
    outcomes: list[int | bytes] = []
    rows, bodies = [], []
    for key, outcome in zip(scanned.keys, scanned.outcomes, strict=True):
        if not isinstance(outcome, Envelope):
            outcomes.append(_CODES[type(outcome)])
        elif _is_plain(outcome) and outcome.schema_version == version and outcome.epoch <= epoch_max:
            outcomes.append(_PLAIN)
            rows.append(_ROW.pack(outcome.epoch, outcome.sequence, len(outcome.value)))
            bodies.append(outcome.value)
        else:
            outcomes.append(codec.encode_frame(key, outcome))
    body_checksum(STATE, version or "0.0", b"")  # a reader would refuse the version, too
    plain = [version, b"".join(rows), b"".join(bodies)]
    return [WIRE_FORMAT, SCANNED, *_head_fields(scanned), scanned.covered, list(scanned.keys), outcomes, *plain]


def read_scanned(fields: Any, codec: Codec) -> Scanned:
    """The message that fields stand for."""
    scanned, outcomes, version, rows, bodies = read_scanned_head(fields)
    numbers = _numbers(rows, bodies)
    if numbers:
        # A codec refuses the frames of an epoch that begins too far ahead, and no row has a higher epoch than the answer.
        codec.decode_frame("t", codec.encode_frame("t", Envelope(None, version, 1, scanned.epoch, kind=TOMBSTONE)))
    begins, each = accumulate((size for _, _, size in numbers), initial=0), iter(numbers)
    told: list[_Row | Outcome] = [
        (next(begins), *next(each)) if outcome == _PLAIN and type(outcome) is int else _outcome(key, outcome, codec)
        for key, outcome in zip(scanned.keys, outcomes, strict=True)
    ]
    if next(each, None) is not None:
        raise DecodeError("got more rows than an answer tells of")
    scanned.outcomes = _Told(told, bodies, text(version), scanned.epoch)
    return scanned


def read_scanned_head(fields: Any) -> tuple[Scanned, list[Any], Any, Any, Any]:
    """The message that fields stand for, but for its outcomes, which come as they are."""
    _, *head, covered, keys, outcomes, version, rows, bodies = fields_of(fields, 14)
    told = keys_of(keys, SCAN_KEYS_MAX)
    if len(set(told)) != len(told) or len(told) != len(items(outcomes, SCAN_KEYS_MAX)):
        raise DecodeError("got an answer with other than one outcome for each key")
    scanned = Scanned(*_head(head), optional(covered, lambda key: keys_of([key], 1)[0]), told, ())
    return scanned, outcomes, version, rows, bodies


def _is_plain(outcome: Outcome) -> TypeGuard[Envelope[EncodedBody]]:
    """Whether an outcome can travel as a row and a body."""
    if not isinstance(outcome, Envelope) or type(outcome.value) is not EncodedBody or outcome.meta:
        return False
    return outcome.kind is STATE and bool(outcome.value) and 0 < outcome.sequence <= SEQUENCE_MAX


def _numbers(rows: Any, bodies: Any) -> list[tuple[int, int, int]]:
    if type(rows) is not bytes or type(bodies) is not bytes or len(rows) % _ROW.size:
        raise DecodeError(f"got something else than rows of {_ROW.size} bytes, and bodies")
    numbers: list[tuple[int, int, int]] = list(_ROW.iter_unpack(rows))
    if sum(size for _, _, size in numbers) != len(bodies):
        raise DecodeError("got other bodies than those that the rows tell of")
    return numbers


class _Told(Sequence[Outcome]):
    """What an answer tells of each object.

    Envelopes are made of rows when they are needed: thousands that wait for their turn would be looked at by each collection
    of garbage meanwhile.
    """

    __slots__ = ("_bodies", "_epoch_max", "_seed", "_told", "_version")

    def __init__(self, told: list[_Row | Outcome], bodies: bytes, version: str, epoch_max: int) -> None:
        self._told = told
        self._bodies = bodies
        self._version = version
        self._seed = body_checksum(STATE, version or "0.0", b"")
        self._epoch_max = epoch_max

    def __len__(self) -> int:
        return len(self._told)

    def __getitem__(self, place: Any) -> Any:
        told = self._told[place]
        if type(told) is not tuple:
            return told
        begin, epoch, sequence, size = told
        if not size or epoch > self._epoch_max or not 0 < sequence <= SEQUENCE_MAX:
            # One object that cannot be read must not keep the others from their answers.
            return Unanswered("got a row with a number out of range")
        body = EncodedBody(self._bodies[begin : begin + size])
        return Envelope(body, self._version, sequence, epoch, None, STATE, NO_META, crc32(body, self._seed), body)

    def __iter__(self) -> Iterator[Outcome]:
        return map(self.__getitem__, range(len(self._told)))

    def __eq__(self, other: object) -> bool:
        return tuple(self) == tuple(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it equals a tuple, and is not worth hashing

    def __repr__(self) -> str:
        return repr(tuple(self))


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
