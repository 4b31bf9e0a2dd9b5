"""The authority's side of beats: what it has sent, and what the next beat says.

A beat speaks of what was *sent*, not of what was written: what still waits in an outbox is nothing that anybody has missed. So
it must be made when it is its turn to be sent. What an outbox dropped counts as sent: it is as lost as on the bus, and the
beats reveal it.

A beat names what was sent in the last intervals, and says since which beat that is all. Where that is too much, it leaves the
oldest of them out.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from parasync.protocol._catalogue import Catalogue
from parasync.protocol._messages import BEAT_INTERVALS_MAX, BEAT_NAMES_MAX, Beat
from parasync.protocol._positions import Position
from parasync.protocol._version import Version


class Pulse:
    """The beats of one life of an authority.

    Args:
        epoch: of this life.
        started_s: when it began to serve; all times are seconds on the authority's monotonic clock.
        catalogue: where all objects stand that are stored; only the pulse moves them from now on, as they are sent.
        interval_s: seconds between two beats.
        names_max: the most objects that a beat names, at most `BEAT_NAMES_MAX`.
    """

    __slots__ = ("_intervals", "catalogue", "epoch", "interval_s", "names_max", "number", "started_s")

    def __init__(
        self,
        *,
        epoch: int,
        started_s: float,
        catalogue: Catalogue,
        interval_s: float,
        names_max: int = BEAT_NAMES_MAX,
    ) -> None:
        self.epoch: Final = epoch
        self.started_s: Final = started_s
        self.catalogue: Final = catalogue
        self.interval_s: Final = interval_s
        self.names_max: Final = names_max
        self.number = 0
        """The number of the last beat. An answer carries the one from before its objects were read."""
        # What was sent in each interval, by its key; None for too much. The last one is under way.
        self._intervals: deque[dict[str, Position] | None] = deque([{}], maxlen=BEAT_INTERVALS_MAX)

    def sent(self, key: str, position: Position) -> None:
        """A version left the outbox: it was sent, or dropped."""
        if self.is_past(key, position):
            return
        self.catalogue.move(key, position)
        names = self._intervals[-1]
        if names is not None:
            names[key] = position
            if len(names) > self.names_max:
                self._intervals[-1] = None

    def is_past(self, key: str, position: Position) -> bool:
        """Whether an earlier life has written it, and something newer was stored when this one began: it only comes late."""
        if position.version.epoch >= self.epoch:
            return False
        last = self.catalogue.get(key)
        return position.version < (self.catalogue.floor if last is None else last.version)

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
        since = self.number
        for names in reversed(self._intervals):
            if names is None or len(more := names | named) > self.names_max:
                break
            named = more
            since -= 1
        self._intervals.append({})
        return Beat(
            self.epoch,
            self.number,
            max(0.0, min(now_s, settled_s) - self.started_s),
            self.interval_s,
            floor,
            history_epoch,
            self.catalogue.digest.count,
            self.catalogue.digest.total,
            named,
            since,
        )
