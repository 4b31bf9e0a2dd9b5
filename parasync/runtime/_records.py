"""The format of a recording: what is in its records, and how a record lies in its file.

A file begins with `MAGIC`; then come records until it ends, or until the process was killed. Each has a head of three
big-endian numbers of 4 bytes: how long its data is, the CRC-32 of the data, and the CRC-32 of these two, so that a file that
was cut can be told from one that was damaged. The data is one msgpack array:

    ["part", recording, number, step]                   first in each file: whose, which of its parts, the step before it
    ["replica", place, key, schema, lossless, askable,  where a replica stands before its next step: first in each part, and
     gap, stale_after_s, stale_by_beats, at_s, wall_s,  wherever steps are missing; `held` is [body, meta], or None
     state, held]
    ["step", step, place, at_s, kind, facts, status,    one input, in the order in which the rules took it, and what they made
     state]                                             of it
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias
from zlib import crc32

from parasync.codec import FRAME_BYTES_MAX, MsgpackCodec
from parasync.errors import DecodeError, RecordingError
from parasync.protocol import Awaited, Base, Envelope, Held, Kind, Position, Refused, Replica, Version

MAGIC: Final = b"parasync recording 1\n"
"""How a file of this format begins."""
NAME: Final = MAGIC.split(b"1")[0]
"""How a file of any format begins."""
RECORD_BYTES_MAX: Final = FRAME_BYTES_MAX
"""The longest record of a recording; a value that does not fit is left out of it."""

State: TypeAlias = tuple[Any, ...]
Record: TypeAlias = list[Any]

_HEAD: Final = Struct(">III")
_CODEC: Final = MsgpackCodec(frame_bytes_max=RECORD_BYTES_MAX, fast=False)
_PLAIN: Final = (
    "applied", "ignored_stale", "gaps", "parse_errors", "schema_skews", "refetches", "refetch_failures", "resets", "conflicts",
    "closed", "provisional", "doubting", "current_epoch", "proven_s", "current_until_s", "beats_until_s", "stale_after_s",
    "needs_raised", "needs_closed", "needs_followed", "need_reason", "failed",
)  # fmt: skip
FIELDS: Final = (*_PLAIN, "base", "confirmed", "awaited", "held", "refused")
"""What the rules of a replica know, in the order of a recorded state."""
_TIME_MAX_S: Final = 1e10
_TYPES: Final = (
    *[int] * 9, *[bool] * 3, int, *[float] * 3, float | int, *[int] * 3, str, str | None, tuple, tuple, *[tuple | None] * 3,
)  # fmt: skip
_get_plain: Final = attrgetter(*_PLAIN)


class Shown(NamedTuple):
    """Stands for a value that a recorded replica held: what is recorded of it."""

    body: bytes | None


def listed(facts: Iterable[Any]) -> Record:
    """Facts as they are written: tuples are arrays, which is faster than to tag them."""
    return [list(fact) if isinstance(fact, tuple) else fact for fact in facts]


def state_of(replica: Replica[Any]) -> State:
    """All that the rules of a replica know, without a reference to the value."""
    held, refused, awaited = replica.held, replica.refused, replica.awaited
    return (
        *_get_plain(replica),
        tuple(replica.base),
        tuple(replica.confirmed),
        None if awaited is None else (*awaited.version, awaited.until_s),
        None if held is None else (held.epoch, held.sequence, int(held.kind), held.schema_version, held.checksum),
        None if refused is None else (*refused.position.version, refused.position.checksum, refused.reason),
    )


def restore(replica: Replica[Any], state: State, held: Record | None) -> None:
    """Let a replica stand where a recorded one stood; raises anything if that is nowhere."""
    own = replica.stand_alone()
    for name, fact in zip(_PLAIN, state, strict=False):
        setattr(own if hasattr(own, name) else replica, name, fact)
    *_, base, confirmed, awaited, holding, refused = state
    epoch, number, started_s = base
    own.base = Base(epoch, number, started_s)
    replica.confirmed = Version(*confirmed)
    replica.awaited = None
    if awaited is not None:
        epoch, sequence, until_s = awaited
        replica.awaited = Awaited(Version(epoch, sequence), until_s)
    body, meta = held or (None, {})
    replica.held = replica.refused = None
    if not isinstance(body, bytes | None):
        raise TypeError
    if holding is not None:
        epoch, sequence, kind, schema_version, checksum = holding
        envelope = Envelope(None, schema_version, sequence, epoch, None, Kind(kind), meta, checksum)
        replica.held = Held(envelope, Shown(body))
    if refused is not None:
        epoch, sequence, checksum, reason = refused
        replica.refused = Refused(Position(Version(epoch, sequence), checksum), reason)


def read_state(plain: Any) -> State:
    """A state as it was before it was written, where tuples became arrays; raises anything if it is none."""
    state = tuple([tuple(fact) if isinstance(fact, list) else fact for fact in plain])
    fits = all(isinstance(fact, kind) for fact, kind in zip(state, _TYPES, strict=True))
    if not fits or not (state[-1] is None or isinstance(state[-1][-1], str)):
        raise TypeError
    return state


def read_time(plain: Any) -> float:
    """A time that can be counted with and shown; raises anything if it is none."""
    if not abs(plain) < _TIME_MAX_S:
        raise ValueError
    return float(plain)


def envelope_record(envelope: Envelope[Any], body: bytes | None) -> Record:
    """An envelope as it is written."""
    facts = envelope.epoch, envelope.sequence, envelope.after, int(envelope.kind), envelope.schema_version, envelope.checksum
    return [*facts, dict(envelope.meta), body]


def read_envelope(plain: Any) -> Envelope[Shown]:
    """An envelope as it was written; its value is what is known of it. Raises anything if it is none."""
    epoch, sequence, after, kind, schema_version, checksum, meta, body = plain
    if not isinstance(body, bytes | None):
        raise TypeError
    return Envelope(Shown(body), schema_version, sequence, epoch, after, Kind(kind), meta, checksum)


def older_part(path: Path) -> Path:
    """Where the part of a recording is that came before its newest one."""
    return Path(f"{path}.1")


def framed(record: Record) -> bytes:
    """The bytes of a record.

    Raises:
        EncodeError: it cannot be encoded, or is too long.
    """
    data = _CODEC.encode_message(record)
    sizes = len(data).to_bytes(4, "big") + crc32(data).to_bytes(4, "big")
    return b"".join((sizes, crc32(sizes).to_bytes(4, "big"), data))


def read_file(path: Path) -> Iterator[tuple[int, Record]]:
    """The records of a file, each with the byte where it begins; for a file that was cut, `["cut"]` is the last.

    Raises:
        RecordingError: it cannot be read, is no recording, or is damaged.
    """
    try:
        with path.open("rb") as file:
            found = file.read(len(MAGIC))
            if found != MAGIC and not MAGIC.startswith(found):
                known = found.startswith(NAME)
                what = "a recording of another format" if known else "something else than a recording"
                raise RecordingError(f"{path}: got {what} at byte 0, expected {MAGIC.decode().strip()!r}", 0)
            position, whole = len(MAGIC) if found == MAGIC else 0, False
            while (head := file.read(_HEAD.size)) or not whole:
                if len(head) < _HEAD.size:
                    yield position, ["cut"]
                    return
                size, checksum, head_checksum = _HEAD.unpack(head)
                if crc32(head[:8]) != head_checksum or size > RECORD_BYTES_MAX:
                    raise RecordingError(f"{path}: got a damaged record at byte {position}, expected the head of one", position)
                data = file.read(size)
                if len(data) < size:
                    yield position, ["cut"]
                    return
                yield position, _opened(path, position, data, checksum)
                position, whole = position + _HEAD.size + size, True
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error.strerror}), expected a recording", 0) from None


def _opened(path: Path, position: int, data: bytes, checksum: int) -> Record:
    if crc32(data) == checksum:
        try:
            record = _CODEC.decode_message(data)
        except DecodeError:
            record = None
        if isinstance(record, list) and record:
            return record
    raise RecordingError(f"{path}: got a damaged record at byte {position}, expected one whose checksum fits", position)
