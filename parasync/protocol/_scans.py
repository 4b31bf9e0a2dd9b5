"""How a mirror and an authority find out where they differ: they compare the digests of buckets, then what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import attrs

from parasync.protocol._positions import Outcome, Position
from parasync.protocol._version import Version

SCAN_KEYS_MAX: Final = 2048
"""The most objects that one scan names, and the most that its answer names."""
BUCKETS: Final = 256
"""How many buckets the objects of a topic are spread over."""


@attrs.define(slots=True)
class Compare:
    """"What is the digest of each bucket?" Answered by `Digests`.

    Args:
        epoch: the highest epoch that the asker has heard, so that an authority below it notices.
    """

    verb: ClassVar[str] = "compare"
    epoch: int


@attrs.define(slots=True)
class Digests:
    """The digest of each bucket of a topic: of all that is stored, sent or not, tombstones above the floor included.

    Args:
        epoch: the life of the authority that answers.
        beat: the number of its last beat before the answer, 0 before the first.
        uptime_s: seconds since it started to serve, on its own monotonic clock.
        floor: the version at and below which tombstones were dropped.
        history_epoch: the epoch since which no version was lost; versions of lower epochs may be.
        lag_s: what was stored later than so many seconds before the request was sent may be missing; 0 for nothing at all.
        count: how many objects there are, tombstones above the floor included.
        buckets: the digest of each of the `BUCKETS` buckets.
    """

    epoch: int
    beat: int
    uptime_s: float
    floor: Version
    history_epoch: int
    lag_s: float
    count: int
    buckets: tuple[int, ...]


@attrs.define(slots=True)
class Scan:
    """"Here is all that I hold in this range; what is newer, what else is there, what is gone?" Answered by `Scanned`.

    The objects of a topic stand in the order of their buckets, and in the order of code points of their keys within one. A
    range is a part of that order. With nothing held, a scan over all buckets is the first page of all objects.

    Args:
        epoch: the highest epoch that the asker has heard, so that an authority below it notices.
        floor: where the asker stands with every object that it does not name: deleted there; `ABSENT` for nowhere.
        prefix: only objects whose whole key begins so; "" for all.
        buckets: the numbers of the buckets that the range goes through, ascending, at least one.
        after: the range begins above this key of the first bucket; "" to begin with the bucket.
        upto: the range ends with this key of the last bucket; "" to end with the bucket.
        keys: the full keys of all objects that the asker knows of in the range, each once, at most `SCAN_KEYS_MAX`; and no more
            than a message takes.
        positions: for each of these keys where the asker stands, None for nothing.
    """

    verb: ClassVar[str] = "scan"
    epoch: int
    floor: Version
    prefix: str
    buckets: tuple[int, ...]
    after: str = ""
    upto: str = ""
    keys: tuple[str, ...] = ()
    positions: tuple[Position | None, ...] = ()


@attrs.define(slots=True)
class Scanned:
    """What an authority knows of a range. What was named in the part that is covered and is not told of is the same there;
    what was neither named nor is told of does not exist there, or is where the asker's `floor` says.

    Args:
        epoch: the life of the authority that answers.
        beat: the number of its last beat before the answer, 0 before the first.
        uptime_s: seconds since it started to serve, on its own monotonic clock.
        floor: the version at and below which tombstones were dropped.
        history_epoch: the epoch since which no version was lost; versions of lower epochs may be.
        lag_s: objects that were first stored later than so many seconds before the request was sent may be missing, where
            they were not named; 0 for none at all.
        count: how many objects there are in the whole topic, tombstones above the floor included.
        covered: the last key of the part of the range that this speaks of, None for all of it: go on above that key, in its
            bucket and those behind. It may be one that nothing is told of.
        keys: the full keys of the objects that are told of, at most `SCAN_KEYS_MAX`, in the order of the range.
        outcomes: one for each of these keys: an envelope, `ABSENT_OBJECT`, or an `Unanswered` to ask for again.
    """

    epoch: int
    beat: int
    uptime_s: float
    floor: Version
    history_epoch: int
    lag_s: float
    count: int
    covered: str | None
    keys: tuple[str, ...]
    outcomes: Sequence[Outcome]
