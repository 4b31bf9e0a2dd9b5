"""The authority: which epoch it takes, which version a write gets, and what an asker is owed.

Pure functions; the store calls `next_version` inside its transaction, the driver carries the plan out.

Where history was lost (an empty or older store), a replica holds a version that nobody can answer for. The authority never
asks it to go back: it *re-issues* what it has as a new version of its own epoch, above every version of the lost history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from parasync.protocol._messages import Ask
from parasync.protocol._positions import TOMBSTONE_CHECKSUM, Position
from parasync.protocol._version import ABSENT, EPOCH_MAX, Version, version_of

EPOCH_BITS: Final = 20
"""Random bits at the end of an epoch: two authorities that start in the same second still differ."""


def next_epoch(*, stored: int, heard: int, wall_s: float, random_bits: int) -> int:
    """The epoch of a new life: above everything stored or heard, and by the clock where that is higher.

    Args:
        stored: the epoch in the store, 0 for none.
        heard: the highest epoch that anybody has told of, 0 for none.
        wall_s: the wall clock, in seconds since 1970; one that was set back does no harm.
        random_bits: at least `EPOCH_BITS` random bits.
    """
    floor = max(stored >> EPOCH_BITS, heard >> EPOCH_BITS, int(wall_s))
    return min(EPOCH_MAX, ((floor + 1) << EPOCH_BITS) | (random_bits & ((1 << EPOCH_BITS) - 1)))


def next_version(current: Version | None, *, epoch: int, floor: Version = ABSENT, deletes: bool) -> Version:
    """The version of the next write of one object.

    Args:
        current: where the object is, None where it is absent.
        epoch: the life of the authority that writes.
        floor: at and below it tombstones were dropped: what comes after one of them must be above it.
        deletes: whether the write is a delete.
    """
    sequence = 0 if current is None else current.sequence
    if floor.epoch == epoch and (current is None or deletes):
        sequence = max(sequence, floor.sequence)
    return version_of((epoch, sequence + 1))


@attrs.frozen
class Plan:
    """What an authority has to do before it answers an ask.

    Args:
        rival: an epoch above its own that the asker has heard: probe whether somebody serves with it, else take one above.
        new_epoch: take a new epoch first, since positions of this very epoch are above what is stored.
        reissue: the keys whose history was lost here, each once.
    """

    rival: int | None
    new_epoch: bool
    reissue: tuple[str, ...]


def plan_answer(ask: Ask, stored: Mapping[str, Position], *, epoch: int, floor: Version = ABSENT) -> Plan:
    """Compare what an asker holds with what is stored.

    Args:
        ask: the positions of the asker.
        stored: the positions of those of its keys that exist here, tombstones included.
        epoch: the authority's own epoch.
        floor: what stands for the position of an absent key.
    """
    highest = ask.epoch
    above_own = False
    lost: dict[str, None] = {}
    for key, position in zip(ask.keys, ask.positions, strict=True):
        if position is None:
            continue
        highest = max(highest, position.version.epoch)
        mine = stored.get(key) or Position(floor, TOMBSTONE_CHECKSUM)
        if position.version > mine.version or (position.version == mine.version and not is_same(position, mine)):
            lost[key] = None
            above_own |= position.version.epoch == epoch and position.version > mine.version
    return Plan(highest if highest > epoch else None, above_own and highest <= epoch, tuple(lost))


def is_same(position: Position, other: Position) -> bool:
    """Whether two positions are of one version and one content, as far as the checksums tell.

    A content without a checksum was never encoded: it may equal any other, but it is no tombstone.
    """
    mine, theirs = position.checksum, other.checksum
    unknown = (mine is None or theirs is None) and TOMBSTONE_CHECKSUM not in (mine, theirs)
    return position.version == other.version and (unknown or mine == theirs)
