"""What was written, as the onlooker knows it from below the disks; compared with what somebody shows or is sure of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from parasync.protocol import Version
from parasync.testing.simulation._disk import Disk
from parasync.testing.simulation._journal import NOWHERE, Journal, Place, place_of
from parasync.testing.simulation._scenario import Topology

SLACK_S: Final = 1e-6
"""What sums of floating point seconds may be wrong by."""


class Truth:
    """Compares, and notes what is broken.

    Args:
        topology: who takes part.
        journal: what was seen.
        disks: where the truth is.
    """

    def __init__(self, topology: Topology, journal: Journal, disks: Sequence[Disk]) -> None:
        self.published: defaultdict[str, Place] = defaultdict(lambda: NOWHERE)
        """The newest version of each object that those published who were not deposed."""
        self._topology = topology
        self._journal = journal
        self._disks = disks

    @property
    def stale_after_s(self) -> float:
        """The age above which no proof makes anybody sure."""
        pace = self._topology.pace
        return 1.5 * pace.reconcile_interval_s + pace.ask_timeout_s

    def reached(self, who: str, key: str, wanted: Version, version: Version) -> None:
        """A read that demanded a version has returned: that one must be in the history of what is shown."""
        # Nobody can know of what is on another disk or was on this one, if those who remember are out of reach for long enough.
        fired = self._journal.fired
        unknown = len(self._disks) > 1 or fired["older data"] or (fired["data lost"] and fired["clock set back"])
        if version.epoch == wanted.epoch or unknown:
            return
        if not any(disk.knows(key, place_of(wanted)) for disk in self._disks):
            said = f"returned from at_least({wanted}) at {version}, whose history does not hold that"
            self._journal.broken("P9", who, said)

    def sure(self, who: str, key: str, place: Place, since_s: float) -> None:
        """It must not stand below all that anybody's disk held since then, or, where nothing gets lost, what was published."""
        if self._topology.monolith:
            newest = self.published[key]
            if place < newest and not (place == NOWHERE and self._journal.below_floor(key, newest)):
                self._journal.broken("P6", who, f"is sure of {key} at {place}; published was {self.published[key]}")
            return
        lowest = min(disk.lowest_since(key, since_s - SLACK_S) for disk in self._disks)
        if place < lowest and not (place == NOWHERE and self._journal.below_floor(key, lowest)):
            self._journal.broken("P6", who, f"is sure of {key} at {place} since {since_s:.6f}, where {lowest} was stored")

    def shows(self, who: str, key: str, place: Place, value: Any, *, deleted: bool) -> None:
        """What is shown was written at this very version, and can be read."""
        journal = self._journal
        if place == NOWHERE:
            if not deleted:
                journal.broken("P2", who, f"shows a value of {key} that has no version")
            return
        if deleted and journal.is_floor(key, place):
            return  # where data was lost, a floor may come to be where something was written that nobody remembers
        content = journal.content(key, place)
        known = journal.forged[key].get(place, set()) | (set() if content is None else {content.number})
        if not any(deleted if number == 0 else (not deleted and value == self._topology.value(number)) for number in known):
            shown = "nothing" if deleted else repr(value)
            journal.broken("P2", who, f"shows {shown} of {key} at {place}, written was {content}")
        if content is not None and not content.readable and not journal.forged[key].get(place):
            journal.broken("P3", who, f"shows {key} {place}, which it cannot read")
