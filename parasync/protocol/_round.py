"""One reconciliation of a mirror: what is still to be asked for, and what its answers have in common.

The objects of a topic stand in the order of their buckets, and in the order of their keys within one. A round passes through
the buckets that are open, range by range; what could not be answered is open again in the next pass. One life has to answer
all of it; then it proves as of the first ask that was answered, whatever failed and was asked again in between.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from parasync.errors import DecodeError
from parasync.protocol._digest import bucket_of
from parasync.protocol._keys import KEY_BYTES_MAX
from parasync.protocol._messages import Beat
from parasync.protocol._positions import Outcome, Position
from parasync.protocol._scans import BUCKETS, SCAN_KEYS_MAX, Scan, Scanned
from parasync.protocol._version import ABSENT, Version

NAME_OVERHEAD_BYTES: Final = 32
"""What an object may add to a scan beyond its key."""


class Page:
    """One answer of a round: what it tells, and what it was asked with in the part that it covers."""

    __slots__ = ("_scanned", "asked", "covered", "epoch", "floor", "found", "scan", "unproven")

    def __init__(self, scan: Scan, scanned: Scanned, end: tuple[int, str]) -> None:
        self.scan = scan
        self.epoch = scanned.epoch
        self.floor = scanned.floor
        self.covered = end
        """Where the part ends that it speaks of."""
        self.asked: dict[str, Position | None] = {
            key: position for key, position in zip(scan.keys, scan.positions, strict=True) if place_of(key) <= end
        }
        self.found = frozenset(scanned.keys)
        self.unproven: set[int] = set()
        """The buckets in which something is still to be asked for."""
        self._scanned = scanned

    def outcomes(self) -> Iterator[tuple[str, Outcome]]:
        """What it tells of each object, in turn."""
        return zip(self._scanned.keys, self._scanned.outcomes, strict=True)


class Round:
    """What is asked, who answers, and which part is still open.

    Args:
        needs: how many needs it closes.
        asked_s: when the first of its asks that is answered goes out, on the driver's clock.
        compares: it begins with the digests of the buckets; else it goes through all of them.
    """

    __slots__ = (
        "_after", "_again", "_at", "_came", "_came_earlier", "_planned", "_todo", "asked_s", "beat", "compares", "epoch",
        "floor", "history_epoch", "lag_s", "last", "named", "needs", "number", "passes", "since", "unread", "uptime_s",
    )  # fmt: skip

    def __init__(self, needs: int, asked_s: float, *, compares: bool) -> None:
        self.needs = needs
        self.asked_s = asked_s
        self.compares = compares
        self.epoch = -1
        """Of the life that answers, -1 before its first answer."""
        self.number = 0
        self.uptime_s = self.lag_s = 0.0
        self.floor = ABSENT
        self.history_epoch = 0
        self.passes = 0
        """How many passes have left something open."""
        self.unread: Page | None = None
        """The answer behind which was asked on before all of it was learned."""
        self.last: Beat | None = None
        """The last beat that came before the round was over."""
        self.since = 0
        self.named: dict[str, Position] = {}
        """What was sent after the beat `since` and up to the last one."""
        self._todo: list[int] = [] if compares else list(range(BUCKETS))
        self._at = 0
        self._after = ""
        self._again: set[int] = set()
        # What has become known between the last two asks, and since the last.
        self._came_earlier: list[str] = []
        self._came: list[str] = []
        self._planned: dict[int, list[str]] | None = None if compares else {}

    @property
    def over(self) -> bool:
        """Whether all was asked for and answered."""
        return not self.compares and self._at == len(self._todo)

    @property
    def unplanned(self) -> bool:
        """Whether a pass begins, and what is known has to be spread over its buckets."""
        return self._planned is None and not self.compares

    def sent(self, needs: int, asked_s: float) -> None:
        """An ask goes out. As long as nobody has answered, the round begins with that, and serves what was raised since: an old
        beginning would make all proofs by beats as much older, since it tells when the authority started.
        """
        if self.epoch == -1:
            self.needs, self.asked_s = needs, asked_s

    def told_by(self, *, epoch: int, beat: int, uptime_s: float, floor: Version, history_epoch: int, lag_s: float) -> None:
        """Note who answers; later answers tell nothing that the first did not."""
        if self.epoch == -1:
            self.epoch, self.number, self.uptime_s, self.floor = epoch, beat, uptime_s, floor
        self.history_epoch = history_epoch
        self.lag_s = max(self.lag_s, lag_s)

    def heard(self, beat: Beat) -> None:
        """A beat came before the round was over: only then can be told what it means."""
        last = self.last
        if last is None or beat.epoch != last.epoch or beat.since > last.number:
            # What was heard before does not reach up to it.
            self.since, self.named = beat.since, {}
        elif beat.number <= last.number:
            return
        self.last = beat
        self.since = min(self.since, beat.since)
        self.named.update(beat.named)

    def opened(self, buckets: Iterable[int]) -> None:
        """These buckets are to be asked for."""
        self.compares = False
        self._todo = sorted(buckets)
        self._at, self._after = 0, ""
        self._planned = None if self._todo else {}

    def spread(self, known: Iterable[str], spread: dict[int, list[str]] | None = None) -> dict[int, list[str]]:
        """What is known when a pass begins, by the buckets that are open; where it is much, part after part."""
        spread = {bucket: [] for bucket in self._todo} if spread is None else spread
        for key in known:
            keys = spread.get(bucket_of(key))
            if keys is not None:
                keys.append(key)
        return spread

    @property
    def came(self) -> list[str]:
        """The objects that have become known since the ask whose answer is learned, and maybe some from before."""
        return self._came_earlier + self._came

    def plan(self, spread: dict[int, list[str]]) -> None:
        """Begin a pass with that, and with what has become known meanwhile."""
        for key in self.came:
            spread.setdefault(bucket_of(key), []).append(key)
        self._planned = spread

    def became_known(self, key: str) -> None:
        """An object has become known: it is named if its turn is still to come."""
        self._came.append(key)
        if self._planned is not None and not self.over:
            place = place_of(key)
            if place > (self._todo[self._at], self._after):
                self._planned.setdefault(place[0], []).append(key)

    def scan(
        self, where: Callable[[str], tuple[Position | None] | None], *, epoch: int, floor: Version, prefix: str, bytes_max: int
    ) -> Scan:
        """The next ask.

        Args:
            where: tells where the mirror stands with an object, None if it knows nothing of it.
            epoch: the highest epoch that was heard.
            floor: where the mirror stands with all that it does not know of.
            prefix: how the keys begin.
            bytes_max: the largest ask.
        """
        named: dict[str, Position | None] = {}
        room_bytes = bytes_max
        self._came_earlier, self._came = self._came, []
        todo, first, upto = self._todo, self._at, ""
        for index in range(first, len(todo)):
            keys = sorted(set((self._planned or {}).get(todo[index], ())))
            before = len(named)
            for key in keys[bisect_right(keys, self._after) if index == first else 0 :]:
                known = where(key)
                if known is None:
                    continue
                room_bytes -= len(key.encode()) + NAME_OVERHEAD_BYTES
                if named and (len(named) == SCAN_KEYS_MAX or room_bytes < 0):
                    whole = len(named) == before  # nothing of this bucket was named, so the range ends with the last one
                    upto = "" if whole else next(reversed(named))
                    buckets = tuple(todo[first : index + (not whole)])
                    return self._scan(buckets, upto, named, epoch, floor, prefix)
                named[key] = known[0]
        return self._scan(tuple(todo[first:]), "", named, epoch, floor, prefix)

    def _scan(
        self,
        buckets: tuple[int, ...],
        upto: str,
        named: dict[str, Position | None],
        epoch: int,
        floor: Version,
        prefix: str,
    ) -> Scan:
        return Scan(epoch, floor, prefix, buckets, self._after, upto, tuple(named), tuple(named.values()))

    def page(self, scan: Scan, scanned: Scanned, is_ours: Callable[[str], bool]) -> Page:
        """An answer to the last ask.

        Raises:
            DecodeError: it speaks of something else.
        """
        start = scan.buckets[0], scan.after
        end = scan.buckets[-1], scan.upto or _END
        if scanned.covered is not None:
            covered = place_of(scanned.covered)
            if not (start < covered <= end and covered[0] in scan.buckets):
                raise DecodeError("got an answer that covers nothing of the range that was asked for, expected a part of it")
            end = covered
        buckets = frozenset(scan.buckets)
        for key in scanned.keys:
            bucket = bucket_of(key)
            if bucket not in buckets or not start < (bucket, key) <= end or not is_ours(key):
                raise DecodeError("got an object that is not in the range that was asked for, expected those in it")
        return Page(scan, scanned, end)

    def ahead(self, page: Page) -> bool:
        """Go on behind what an answer covers while it is learned, if that leaves something to ask for in this pass."""
        if page.covered >= (self._todo[-1], _END):
            return False
        self._pass(page)
        self.unread = page
        return True

    def advance(self, page: Page) -> None:
        """All of an answer was learned: go on behind it. A pass that has left something open is followed by another."""
        if self.unread is None:
            self._pass(page)
        self.unread = None
        self._again |= page.unproven
        if self.over and self._again:
            self.passes += 1
            again, self._again = self._again, set()
            self.opened(again)

    def _pass(self, page: Page) -> None:
        bucket, key = page.covered
        index = self._todo.index(bucket, self._at)
        for passed in self._todo[self._at : index]:
            (self._planned or {}).pop(passed, None)
        if key == _END:
            self._at, self._after = index + 1, ""
        else:
            self._at, self._after = index, key


# Above every key: there is no higher code point, and no key has so many of them.
_END: Final = "\U0010ffff" * KEY_BYTES_MAX


def place_of(key: str) -> tuple[int, str]:
    """Where an object stands in the order of the objects of its topic."""
    return bucket_of(key), key
