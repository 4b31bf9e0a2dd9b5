"""What the tests of the protocol share: short ways to make envelopes and replicas, and to feed the ones to the others.

A value is a text. The gate of these tests refuses one that begins with "bad", and every schema of another major than 1.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from typing import Any, Final, TypeAlias

from parasync.errors import ParseError, SchemaSkewError
from parasync.protocol import (
    ABSENT,
    BEAT_INTERVALS_MAX,
    Asked,
    Beat,
    Envelope,
    GapPolicy,
    Kind,
    Outcome,
    Position,
    Replica,
    Version,
    prepare_reading,
)

Text: TypeAlias = "Envelope[str | None]"

COUNTERS: Final = (
    "applied",
    "ignored_stale",
    "gaps",
    "parse_errors",
    "schema_skews",
    "refetches",
    "refetch_failures",
    "resets",
    "conflicts",
)


def read(envelope: Envelope[Any]) -> str | None:
    """The gate of these tests."""
    if envelope.kind is Kind.TOMBSTONE:
        return None
    if not envelope.schema_version.startswith("1."):
        raise SchemaSkewError(f"got schema {envelope.schema_version}, expected major 1")
    if envelope.value.startswith("bad"):
        raise ParseError("expected something that is not bad")
    return str(envelope.value)


def element(key: str, position: Position) -> int:
    """What an object adds to a digest, from the words of the page."""
    (epoch, sequence), checksum = position
    assert checksum is not None
    text = f"{epoch:016x}{sequence:016x}{checksum:08x}{key.encode().hex()}"
    return int(hashlib.blake2b(bytes.fromhex(text), digest_size=16).hexdigest(), 16)


def state(
    version: str, value: str | None = None, *, after: int | None = None, schema: str = "1.0", checksum: bool = True
) -> Text:
    """The state of an object at a version such as "2.7"; by default the value names the version."""
    epoch, sequence = Version.parse(version)
    value = f"v{version}" if value is None else value
    return Envelope(
        value, schema, sequence, epoch, after, checksum=zlib.crc32(f"{schema} {value}".encode()) if checksum else None
    )


def tombstone(version: str, *, after: int | None = None) -> Text:
    """The deletion of an object at a version."""
    epoch, sequence = Version.parse(version)
    return Envelope(None, "1.0", sequence, epoch, after, Kind.TOMBSTONE)


def a_replica(
    *,
    lossless: bool = False,
    askable: bool = True,
    gap: GapPolicy = "refetch",
    stale_after_s: float = math.inf,
    stale_by_beats: bool = False,
) -> Replica[str]:
    """A replica that holds nothing yet."""
    return Replica(
        read, lossless=lossless, askable=askable, gap=gap, stale_after_s=stale_after_s, stale_by_beats=stale_by_beats
    )


def live(replica: Replica[str], envelope: Text) -> bool:
    """Let an envelope come by subscription, as a driver with one thread does."""
    changed = replica.live_received(envelope, prepare_reading(replica, envelope))
    assert changed is not None, "nothing can move on between the reading and the input"
    return changed


def answer(
    replica: Replica[str],
    outcome: Outcome,
    asked: Asked | None = None,
    *,
    epoch: int = 2,
    beat: int | None = None,
    uptime_s: float = 0.0,
    floor: Version = ABSENT,
    asked_s: float = 0.0,
) -> bool:
    """Let an answer come; without `asked` its ask goes out now."""
    asked = replica.asked() if asked is None else asked
    reading = prepare_reading(replica, outcome) if isinstance(outcome, Envelope) else None
    changed = replica.answer_received(
        asked, outcome, reading, epoch=epoch, beat=beat, uptime_s=uptime_s, floor=floor, asked_s=asked_s
    )
    assert changed is not None, "nothing can move on between the reading and the input"
    return changed


def usual(number: int) -> int:
    """Since when a beat names all if that is not too much."""
    return max(0, number - BEAT_INTERVALS_MAX)


def beat_of(
    number: int, *, epoch: int = 2, uptime_s: float = 45.0, interval_s: float = 5.0, since: int | None = None
) -> Beat:
    """A beat of which only the head matters."""
    return Beat(epoch, number, uptime_s, interval_s, ABSENT, epoch, 1, 0, {}, usual(number) if since is None else since)


def beat(
    replica: Replica[str],
    number: int,
    named: Text | None = None,
    *,
    epoch: int = 2,
    uptime_s: float = 45.0,
    interval_s: float = 5.0,
    since: int | None = None,
    now_s: float = 105.0,
    grace_s: float = 0.0,
) -> None:
    """Let an authority beat that has sent nothing else of late."""
    said = beat_of(number, epoch=epoch, uptime_s=uptime_s, interval_s=interval_s, since=since)
    position = None if named is None else Position.of(named)
    replica.beat_received(said, position, now_s=now_s, grace_s=grace_s)


def proven_at(version: str, *, lossless: bool = False, stale_after_s: float = math.inf, proven_s: float = 0.0) -> Replica[str]:
    """A replica that an answer has just brought to a version."""
    replica = a_replica(lossless=lossless, stale_after_s=stale_after_s)
    envelope = state(version)
    answer(replica, envelope, epoch=envelope.epoch, asked_s=proven_s)
    assert not replica.need_open
    return replica


def shown(replica: Replica[str]) -> str | None:
    """Version and value, e.g. "2.7=v2.7"; "2.8 deleted"; None for nothing."""
    held = replica.held
    if held is None:
        return None
    return f"{held.version} deleted" if held.kind is Kind.TOMBSTONE else f"{held.version}={held.value}"


def counted(replica: Replica[str]) -> dict[str, int]:
    """The counters that are not 0."""
    return {name: count for name in COUNTERS if (count := getattr(replica, name))}


def asks(replica: Replica[str]) -> bool:
    """Whether it has a reason to ask."""
    return replica.need_open


def is_unproven(replica: Replica[str]) -> bool:
    """Whether it shows a seed that nobody has confirmed."""
    return replica.provisional


def keeps_pace(replica: Replica[str]) -> bool:
    """Whether its next contiguous envelope can only be applied."""
    return replica.pace is not None
