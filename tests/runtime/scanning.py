"""A mirror in the plainest way: what it holds, and how it scans until nothing more is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from parasync import ABSENT, MemoryStore, Version
from parasync.protocol import (
    BUCKETS,
    SCAN_KEYS_MAX,
    Absent,
    Catalogue,
    Compare,
    Digests,
    Envelope,
    Position,
    Scan,
    Scanned,
    Unanswered,
    bucket_of,
)

WHOLE = tuple(range(BUCKETS))
ROUNDS_MAX = 200
"""More messages than any of these scans may take."""


def order(key: str) -> tuple[int, str]:
    """The place of a key among all."""
    return bucket_of(key), key


async def compared(bus: Any, epoch: int = 0, topic: str = "note") -> Digests:
    """What the authority says to a mirror that compares."""
    answer = await bus.ask(topic, Compare(epoch), 5.0)
    assert isinstance(answer, Digests), answer
    return answer


async def scanned(bus: Any, held: Mapping[str, Position | None] | None = None, **part: Any) -> Scanned:
    """One scan, in which everything that is held in the range is named."""
    scan = attrs.evolve(Scan(0, ABSENT, "", WHOLE), **part)
    begin, end = (scan.buckets[0], scan.after), (scan.buckets[-1], scan.upto)
    named = [key for key in held or {} if bucket_of(key) in scan.buckets and key.startswith(scan.prefix)]
    named = sorted((key for key in named if order(key) > begin and (not scan.upto or order(key) <= end)), key=order)
    if len(named) > SCAN_KEYS_MAX:
        named = named[:SCAN_KEYS_MAX]
        scan.buckets, scan.upto = tuple(number for number in scan.buckets if number <= bucket_of(named[-1])), named[-1]
    scan.keys, scan.positions = tuple(named), tuple((held or {})[key] for key in named)
    answer = await bus.ask("note", scan, 5.0)
    assert isinstance(answer, Scanned), answer
    assert list(answer.keys) == sorted(answer.keys, key=order)
    if answer.covered is not None:
        assert all(order(key) <= order(answer.covered) for key in answer.keys)
    elif scan.upto != part.get("upto", ""):
        answer.covered = scan.upto
    return answer


async def reconciled(bus: Any, held: dict[str, Position], *, floor: Version = ABSENT, prefix: str = "") -> int:
    """Scan everything once, and take over what is told; returns how many messages it took."""
    buckets, after = WHOLE, ""
    for rounds in range(1, ROUNDS_MAX):
        answer = await scanned(bus, held, floor=floor, prefix=prefix, buckets=buckets, after=after)
        for key, outcome in zip(answer.keys, answer.outcomes, strict=True):
            assert not isinstance(outcome, Unanswered), key
            if isinstance(outcome, Absent):
                held.pop(key, None)
            elif isinstance(outcome, Envelope):
                held[key] = Position.of(outcome)
        if answer.covered is None:
            return rounds
        assert order(answer.covered) > (buckets[0], after), "each message comes further"
        after, buckets = answer.covered, tuple(range(bucket_of(answer.covered), BUCKETS))
    raise AssertionError(f"no end within {ROUNDS_MAX} messages")


async def stored(store: MemoryStore, *, topic: str = "note", prefix: str = "") -> dict[str, Position]:
    """Where everything stands in the store."""
    return {key: held for key, held in await store.positions(topic, after="", limit=10**9) if key.startswith(prefix)}


def buckets_of(held: Mapping[str, Position]) -> tuple[int, ...]:
    """The digests of the buckets, each computed from nothing."""
    return tuple(Catalogue(held.items()).digest.buckets)


