"""The digest of a set of objects: equal for equal sets, in whatever order they came to be, and kept up to date in O(1).

Both ends of a bus compute it, so its bytes are part of the wire format. The *element* of an object is the BLAKE2b hash, 16
bytes long and read as one number, of these bytes; the most significant byte of every number comes first:

    epoch       8 bytes
    sequence    8 bytes
    checksum    4 bytes, that of the version; 0 for a tombstone, which counts like any other object
    key         in UTF-8

The digest is the sum of the elements modulo 2**128. The *bucket* of an object is the lowest byte of the CRC-32 of its key, and
the digest of a bucket is the sum of the elements in it: where two digests differ, the buckets that differ tell where to look.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from struct import Struct
from typing import Final
from zlib import crc32

from parasync.protocol._positions import Position
from parasync.protocol._scans import BUCKETS
from parasync.protocol._version import Version

DIGEST_BYTES: Final = 16
"""The size of a digest."""

_MODULUS: Final = 1 << (8 * DIGEST_BYTES)
_HEAD: Final = Struct(">QQI")
_HASH: Final = blake2b(digest_size=DIGEST_BYTES, usedforsecurity=False)
# A content that was never encoded has no checksum, and no other process to compare digests with.
_NO_CHECKSUM: Final = b"?"


class Digest:
    """The digest of a set that changes, with that of each bucket. Whoever changes the set says what was there before."""

    __slots__ = ("buckets", "count", "total")

    def __init__(self) -> None:
        self.count = 0
        """How many objects there are, tombstones included."""
        self.total = 0
        """The digest of them all, 0 for none."""
        self.buckets = [0] * BUCKETS
        """The digest of each bucket."""

    def replace(self, key: str, old: Position | None, new: Position | None) -> None:
        """An object has moved from one position to another; None stands for not being there."""
        data = key.encode()
        self.move(data, bucket_of_bytes(data), None if old is None else packed(old), None if new is None else packed(new))

    def move(self, key: bytes, bucket: int, old: bytes | None, new: bytes | None) -> None:
        """What `replace` does, for who has packed all of it already."""
        change = (0 if new is None else _element(key, new)) - (0 if old is None else _element(key, old))
        self.count += (new is not None) - (old is not None)
        self.total = (self.total + change) % _MODULUS
        self.buckets[bucket] = (self.buckets[bucket] + change) % _MODULUS

    def add(self, key: str, position: Position) -> None:
        """An object has come."""
        self.replace(key, None, position)

    def add_all(self, objects: Iterable[tuple[str, int, int, int | None]]) -> None:
        """Objects have come: their keys, epochs, sequences and checksums."""
        buckets, pack, empty, count, total = self.buckets, _HEAD.pack, _HASH.copy, self.count, self.total
        for key, epoch, sequence, checksum in objects:
            data, hashed = key.encode(), empty()
            hashed.update(pack(epoch, sequence, checksum or 0) + (_NO_CHECKSUM + data if checksum is None else data))
            element, bucket = int.from_bytes(hashed.digest(), "big"), crc32(data) % BUCKETS
            buckets[bucket] = (buckets[bucket] + element) % _MODULUS
            total += element
            count += 1
        self.count, self.total = count, total % _MODULUS

    def remove(self, key: str, position: Position) -> None:
        """An object that was at a position is gone without a tombstone."""
        self.replace(key, position, None)

    def copy(self) -> Digest:
        """The same digest, to be changed apart."""
        copied = Digest()
        copied.count, copied.total, copied.buckets = self.count, self.total, list(self.buckets)
        return copied


def bucket_of(key: str) -> int:
    """The number of the bucket that an object belongs to, from 0 on."""
    return crc32(key.encode()) % BUCKETS


def bucket_of_bytes(key: bytes) -> int:
    """The same for a key in UTF-8."""
    return crc32(key) % BUCKETS


def packed(position: Position) -> bytes:
    """The bytes of a position that are hashed; they take a third of its memory."""
    (epoch, sequence), checksum = position
    return _HEAD.pack(epoch, sequence, 0) + _NO_CHECKSUM if checksum is None else _HEAD.pack(epoch, sequence, checksum)


def unpacked(data: bytes) -> Position:
    """The position that was packed."""
    epoch, sequence, checksum = _HEAD.unpack_from(data)
    return Position(Version(epoch, sequence), None if len(data) > _HEAD.size else checksum)


def _element(key: bytes, position: bytes) -> int:
    element = _HASH.copy()  # in half the time that it takes to make one
    element.update(position + key)
    return int.from_bytes(element.digest(), "big")
