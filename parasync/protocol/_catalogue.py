"""What an authority remembers of all its objects: where each of them stands, and the digest of that.

It lies in memory, and costs about 100 bytes an object beside its key: a store is asked for what an object is, and not for where
all of them are, each time that a mirror compares.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from parasync.errors import UsageError
from parasync.protocol._digest import Digest, bucket_of, bucket_of_bytes, packed, unpacked
from parasync.protocol._keys import parse_key
from parasync.protocol._positions import TOMBSTONE_CHECKSUM, Position
from parasync.protocol._scans import BUCKETS, SCAN_KEYS_MAX, Scan
from parasync.protocol._version import ABSENT, Version


class Catalogue:
    """Where each of a set of objects stands, and the digest of them.

    Args:
        objects: the keys and positions to begin with, each key once.
        floor: tombstones at and below it stand nowhere.
    """

    __slots__ = ("_buckets", "_dead", "digest", "floor")

    def __init__(self, objects: Iterable[tuple[str, Position]] = (), *, floor: Version = ABSENT) -> None:
        self._buckets: tuple[dict[str, bytes], ...] = tuple({} for _ in range(BUCKETS))
        self._dead: dict[str, Version] = {}
        self.floor = floor
        """Where what stands nowhere was deleted, if it ever was; see `raise_floor`."""
        self.digest: Final = Digest()
        """That of the objects; only the catalogue changes it."""
        for key, position in objects:
            self.move(key, position)

    def __len__(self) -> int:
        return self.digest.count

    def get(self, key: str) -> Position | None:
        """Where the object stands, None for nowhere."""
        held = self._buckets[bucket_of(key)].get(key)
        return None if held is None else unpacked(held)

    def move(self, key: str, position: Position | None) -> None:
        """The object stands there now; None: it is gone without a tombstone."""
        position = self.kept(position)
        if position is not None and position.checksum == TOMBSTONE_CHECKSUM:
            self._dead[key] = position.version
        elif self._dead:
            self._dead.pop(key, None)
        data = key.encode()
        number = bucket_of_bytes(data)
        bucket = self._buckets[number]
        old, new = bucket.get(key), None if position is None else packed(position)
        if old == new:
            return
        if new is None:
            del bucket[key]
        else:
            bucket[key] = new
        self.digest.move(data, number, old, new)

    def kept(self, position: Position | None) -> Position | None:
        """Where an object stands that was put there: nowhere, if that is a tombstone at or below the floor."""
        dead = position is not None and position.checksum == TOMBSTONE_CHECKSUM
        return None if dead and position is not None and position.version <= self.floor else position

    def raise_floor(self, floor: Version) -> None:
        """Drop the tombstones at or below a floor; a lower one than before changes nothing."""
        self.floor = max(self.floor, floor)
        dropped = [key for key, version in self._dead.items() if version <= self.floor]
        for key in dropped:
            self.move(key, None)
        if len(dropped) > len(self):  # a dict from which much was deleted keeps the memory of that
            self._buckets = tuple(map(dict, self._buckets))
            self._dead = dict(self._dead)

    def keys_of(self, scan: Scan, others: Iterable[str] = (), *, limit: int = SCAN_KEYS_MAX) -> list[str]:
        """The keys in the range of a scan, in its order: those that stand here, and those of the others that belong there.

        Args:
            scan: one that passed `check_scan`.
            others: more keys, maybe the same.
            limit: the most keys.
        """
        beside: dict[int, set[str]] = {}
        for key in others:
            beside.setdefault(bucket_of(key), set()).add(key)
        found: list[str] = []
        for bucket in scan.buckets:
            here = beside.get(bucket, set()).union(self._buckets[bucket])
            whole = not scan.prefix and bucket != scan.buckets[0] and bucket != scan.buckets[-1]
            found += sorted(here if whole else [key for key in here if _is_in_part(scan, bucket, key)])
            if len(found) >= limit:
                break
        return found[:limit]


def check_scan(scan: Scan) -> None:
    """Return if the range is one, and everything that is named lies in it, each once.

    Raises:
        UsageError: it does not.
    """
    buckets, after, upto, keys = scan.buckets, scan.after, scan.upto, scan.keys
    if not buckets or not 0 <= buckets[0] <= buckets[-1] < BUCKETS or list(buckets) != sorted(set(buckets)):
        raise UsageError(f"got buckets that are no range, expected ascending numbers below {BUCKETS}, at least one")
    for key in (*keys, *filter(None, (after, upto))):
        parse_key(key)
    if (after and bucket_of(after) != buckets[0]) or (upto and bucket_of(upto) != buckets[-1]):
        raise UsageError("got a range that begins or ends outside of its buckets, expected keys of the first and of the last")
    if len(keys) != len(scan.positions) or len(keys) > SCAN_KEYS_MAX:
        raise UsageError(f"got {len(keys)} keys, expected at most {SCAN_KEYS_MAX} with one position for each")
    if len(set(keys)) != len(keys) or not all(is_in_range(scan, key) for key in keys):
        raise UsageError("got a key twice or outside of the range, expected those in the range, each once")


def is_in_range(scan: Scan, key: str) -> bool:
    """Whether an object belongs to what is scanned."""
    bucket, buckets = bucket_of(key), scan.buckets
    place = bisect_left(buckets, bucket)
    return place < len(buckets) and buckets[place] == bucket and _is_in_part(scan, bucket, key)


def _is_in_part(scan: Scan, bucket: int, key: str) -> bool:
    """The same for one whose bucket is known to belong."""
    begun = bucket != scan.buckets[0] or key > scan.after
    return begun and (not scan.upto or bucket != scan.buckets[-1] or key <= scan.upto) and key.startswith(scan.prefix)
