"""The ends of a bus, as factories make them, and what is said from one to the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs

from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    BUCKETS,
    EPOCH_BITS,
    Compare,
    Digests,
    Envelope,
    Position,
    Request,
    Response,
    Scan,
    Scanned,
    Version,
    bucket_of,
)
from parasync.transports import SyncTransport

TOPIC: Final = "topic"
KEY: Final = "topic:1"
OTHER_KEY: Final = "topic:2"
KEY_IN_OTHER_TOPIC: Final = "other:1"
EPOCH: Final = 1_700_000_000 << EPOCH_BITS
"""Of the size of a real one, and not ahead of any clock."""
MARKERS: Final = 1 << 40
"""Envelopes with this sequence or a higher one are there to find out what has arrived; no check looks at them."""
RECONCILING: Final[tuple[tuple[Request, Response], ...]] = (
    (Compare(EPOCH), Digests(4, 0, 1.5, ABSENT, 4, 0.5, 7, tuple(range(2**128 - BUCKETS, 2**128)))),
    (
        Scan(EPOCH, Version(1, 1), "t", (bucket_of(KEY),), "", KEY, (KEY,), (Position(Version(EPOCH, 9), 7),)),
        Scanned(EPOCH, 2, 1.5, Version(1, 1), 4, 0.5, 7, KEY, (KEY,), (ABSENT_OBJECT,)),
    ),
)
"""What a mirror asks, and what it may be told."""

Loss: TypeAlias = Callable[[str], Awaitable[None]]
"""Gets a key, and makes the reader lose something that is said of it, or hear what it cannot decode."""


@attrs.frozen
class Ends:
    """Two ends of one bus, as a factory may yield them.

    Args:
        writer: publishes and asks.
        reader: subscribes and serves; may be the writer itself.
        losses: functions that make the reader lose something that is said of a key, or hear what it cannot decode; such as a
            cut connection, or a malformed message. They return when nothing that is said later can overtake that. Without any,
            clause 7 is not checked on a transport that may lose.
    """

    writer: SyncTransport
    reader: SyncTransport
    losses: tuple[Loss, ...] = ()


def envelope(sequence: int) -> Envelope[Any]:
    """An envelope whose value nobody looks at."""
    return Envelope({"n": sequence}, "1.0", sequence)


def is_marker(what: object) -> bool:
    """Whether this is an envelope that no check looks at."""
    return isinstance(what, Envelope) and what.sequence >= MARKERS
