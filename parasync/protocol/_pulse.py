"""The authority's side of beats: what it has sent, and what the next beat says.

A beat speaks of what was *sent*, not of what was written: what still waits in an outbox is nothing that anybody has missed. So
it must be made when it is its turn to be sent. What an outbox dropped counts as sent: it is as lost as on the bus, and the
beats reveal it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final, NamedTuple

from parasync.protocol._digest import Digest
from parasync.protocol._messages import BEAT_INTERVALS_MAX, BEAT_NAMES_MAX, Beat
from parasync.protocol._positions import Position
from parasync.protocol._version import Version


class _Unsent(NamedTuple):
    """An object that was written and is not yet sent: where it was when it was last sent, and where it is."""

    last: Position | None
    newest: Position


class Pulse:
    """The beats of one life of an authority.

    Args:
        epoch: of this life.
        started_s: when it began to serve; all times are seconds on the authority's monotonic clock.
        digest: of all objects that are stored; it belongs to the pulse from now on. None where nobody keeps one; then no beat
            tells it, and `written`, `forgotten` and `stored` are of no use.
        interval_s: seconds between two beats.
        names_max: the most objects that a beat names, at most `BEAT_NAMES_MAX`.
    """

    __slots__ = (
        "_digest", "_intervals", "_unsent", "epoch", "interval_s", "names_max", "number", "started_s",
    )  # fmt: skip

    def __init__(
        self,
        *,
        epoch: int,
        started_s: float,
        digest: Digest | None,
        interval_s: float,
        names_max: int = BEAT_NAMES_MAX,
    ) -> None:
        self.epoch: Final = epoch
        self.started_s: Final = started_s
        self.interval_s: Final = interval_s
        self.names_max: Final = names_max
        self.number = 0
        """The number of the last beat. An answer carries the one from before its objects were read."""
        self._digest = digest
        self._unsent: dict[str, _Unsent] = {}
        # What was sent in each interval, by its key; None for too much. The last one is under way.
        self._intervals: deque[dict[str, Position] | None] = deque([{}], maxlen=BEAT_INTERVALS_MAX)

    def written(self, key: str, before: Position | None, after: Position) -> None:
        """A version was stored. For each object in the order of its versions, and before this one is sent.

        Args:
            key: of the object.
            before: where the object was, None for nowhere.
            after: where it is.
        """
        waiting = self._unsent.get(key)
        self._unsent[key] = _Unsent(before if waiting is None else waiting.last, after)

    def sent(self, key: str, position: Position) -> None:
        """A version left the outbox: it was sent, or dropped."""
        waiting = self._unsent.pop(key, None)
        if waiting is not None and self._digest is not None:
            self._digest.replace(key, waiting.last, position)
            if waiting.newest.version > position.version:
                self._unsent[key] = _Unsent(position, waiting.newest)
        names = self._intervals[-1]
        if names is not None:
            names[key] = position
            if len(names) > self.names_max:
                self._intervals[-1] = None

    def flooded(self) -> None:
        """More was sent than a beat can name."""
        self._intervals[-1] = None

    def forgotten(self, key: str, position: Position) -> None:
        """A tombstone that was sent was dropped from the store, since the floor is not below it any more."""
        if self._digest is not None:
            self._digest.remove(key, position)

    def stored(self) -> Digest:
        """The digest of all that is stored, sent or not: what the next life begins with if nobody else has written."""
        digest = Digest() if self._digest is None else self._digest.copy()
        for key, waiting in self._unsent.items():
            digest.replace(key, waiting.last, waiting.newest)
        return digest

    def beat(self, now_s: float, *, settled_s: float = math.inf, floor: Version, history_epoch: int) -> Beat:
        """The next beat, which is sent now.

        Args:
            now_s: the time.
            settled_s: what was stored up to then was sent, and nobody else had taken the topic over; at the latest, it is now.
            floor: the version at and below which tombstones were dropped.
            history_epoch: the epoch since which no version was lost.
        """
        self.number += 1
        named: dict[str, Position] = {}
        overflow = False
        for names in self._intervals:
            overflow |= names is None
            named |= names or {}
        overflow |= len(named) > self.names_max
        self._intervals.append({})
        return Beat(
            self.epoch,
            self.number,
            max(0.0, min(now_s, settled_s) - self.started_s),
            self.interval_s,
            floor,
            history_epoch,
            None if self._digest is None else self._digest.count,
            None if self._digest is None else self._digest.total,
            {} if overflow else named,
            overflow,
        )
