"""What a mirror held at one moment, and how it lies in a file.

A file begins with `MAGIC`; then come records, each with a head of two big-endian numbers of 4 bytes: how long its data is, and
the CRC-32 of all data up to its end, so that nothing can be changed, lost or moved unnoticed. The data is one msgpack array:

    ["mirror", topic, pattern, epoch, floor, history]   first: whose objects these are, and what was known of all of them
    ["object", key, epoch, sequence, deleted, schema,   one that was held; the body is None for a deletion
     checksum, meta, body]
    ["refused", key, epoch, sequence, checksum,         a version that could not be read
     reason]
    ["end", count]                                      last: how many records came between
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, Final, Generic, TypeVar
from zlib import crc32

from parasync.codec import FRAME_BYTES_MAX, MsgpackCodec
from parasync.errors import DecodeError, ParseError, SchemaSkewError, SnapshotError
from parasync.protocol import EncodedBody, Envelope, Held, Kind, Position, Refused, SchemaVersion, Version, parse_key
from parasync.runtime._mirror_views import Live
from parasync.topic import Topic, as_written

T = TypeVar("T")
R = TypeVar("R")

MAGIC: Final = b"parasync mirror 1\n"
"""How a file of this format begins."""

_HEAD: Final = Struct(">II")
_CODEC: Final = MsgpackCodec(fast=False)


class MirrorSnapshot(Live[str, T], Generic[T]):
    """All objects that a mirror showed at one moment, by id. It does not change any more.

    Made by `mirror.snapshot()`, and by `MirrorSnapshot.load`; `mirror(..., warm=snapshot)` begins with it.
    """

    __slots__ = ("_held", "_objects", "_refused", "_topic", "epoch", "floor", "history_epoch", "pattern")

    def __init__(
        self,
        topic: Topic[T],
        pattern: str | None,
        held: Mapping[str, Held[T]],
        refused: Mapping[str, Refused],
        *,
        epoch: int,
        floor: Version,
        history_epoch: int,
    ) -> None:
        self._topic = topic
        self._held = held
        self._refused = refused
        self._objects = {key.partition(":")[2]: each.value for key, each in held.items() if hasattr(each, "value")}
        self.pattern: Final = pattern
        """The pattern of the mirror, None for all objects of the topic."""
        self.epoch: Final = epoch
        """The highest epoch that it had heard of."""
        self.floor: Final = floor
        """The version at and below which deletions were forgotten."""
        self.history_epoch: Final = history_epoch
        """The epoch since which the authority had lost nothing."""

    @property
    def topic(self) -> Topic[T]:
        """The topic whose objects these are."""
        return self._topic

    @property
    def known(self) -> Iterator[tuple[str, Held[T] | Refused]]:
        """All that a mirror has to know to go on from here, deletions included, by key."""
        for key, held in self._held.items():
            yield key, held
        for key, refused in self._refused.items():
            if key not in self._held:
                yield key, refused

    def __getitem__(self, ident: str) -> T:
        return self._objects[ident]

    def __len__(self) -> int:
        return len(self._objects)

    def _pairs(self) -> Sequence[tuple[str, T]]:
        return list(self._objects.items())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, which is replaced as a whole or not at all. Blocks: for many objects, call it in a thread.

        Args:
            path: the file; what is there is replaced.

        Raises:
            EncodeError: an object cannot be encoded.
            SnapshotError: the file cannot be written.
        """
        target = Path(path)
        try:
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    self._write(file)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).replace(target)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise SnapshotError(f"{target}: cannot be written ({error.strerror}), expected a place for a file") from None

    @staticmethod
    def load(path: str | os.PathLike[str], topic: Topic[R]) -> MirrorSnapshot[R]:
        """Read what `save` wrote. Blocks: for many objects, call it in a thread.

        Objects that the topic cannot read any more are left out; a mirror that begins with it knows of them.

        Args:
            path: the file.
            topic: that of the mirror which saved it.

        Raises:
            SnapshotError: it cannot be read, is no saved mirror, is damaged or incomplete, or is one of another topic.
        """
        with contextlib.closing(_records(Path(path))) as records:
            position, first = next(records)
            try:
                _, name, pattern, epoch, floor, history_epoch = first
                floor_epoch, floor_sequence = floor
            except (TypeError, ValueError):
                raise SnapshotError(f"{path}: got no mirror at byte {position}, expected one", position) from None
            if name != topic.name:
                raise SnapshotError(f"{path}: got a mirror of {name!r}, expected one of {topic.name!r}", position)
            held: dict[str, Held[R]] = {}
            refused: dict[str, Refused] = {}
            read = topic.reader(_CODEC)
            for position, record in records:
                try:
                    kind, key, *facts = record
                    parse_key(key)
                    if kind == "object":
                        envelope = _envelope(facts)
                        try:
                            held[key] = Held(envelope, read(envelope))
                        except (ParseError, SchemaSkewError) as error:
                            refused[key] = Refused(Position.of(envelope), str(error))
                    else:
                        version_epoch, sequence, checksum, reason = facts
                        refused[key] = Refused(Position(Version(version_epoch, sequence), checksum), str(reason))
                except (TypeError, ValueError, AttributeError):
                    raise SnapshotError(f"{path}: got no object at byte {position}, expected one", position) from None
        floor = Version(floor_epoch, floor_sequence)
        return MirrorSnapshot(topic, pattern, held, refused, epoch=epoch, floor=floor, history_epoch=history_epoch)

    def _write(self, file: BinaryIO) -> None:
        topic = self._topic
        encode = topic.writer(_CODEC)
        writer = _Writer(file)
        writer.put(["mirror", topic.name, self.pattern, self.epoch, [*self.floor], self.history_epoch])
        for key, held in self._held.items():
            deleted = held.kind is Kind.TOMBSTONE
            body = None if deleted else bytes(encode(held.value))
            schema = held.schema_version if deleted else _schema_of(topic, held.schema_version)
            place = held.epoch, held.sequence
            writer.put(["object", key, *place, deleted, schema, held.checksum, dict(held.meta), body])
        for key, ((epoch, sequence), checksum), reason in [(key, *refused) for key, refused in self._refused.items()]:
            writer.put(["refused", key, epoch, sequence, checksum, reason])
        writer.put(["end", writer.count - 1])


def _schema_of(topic: Topic[Any], written: str) -> str:
    """In which schema version a topic holds what was written in another one: its own, unless its upcast changes nothing."""
    return written if topic.upcasts.get(SchemaVersion.parse(written).major) is as_written else topic.version


class _Writer:
    """Appends records to a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._checksum = 0
        self.count = 0
        file.write(MAGIC)

    def put(self, record: list[Any]) -> None:
        data = _CODEC.encode_message(record)
        self._checksum = crc32(data, self._checksum)
        self._file.write(_HEAD.pack(len(data), self._checksum) + data)
        self.count += 1


def _records(path: Path) -> Generator[tuple[int, Any], None, None]:
    """The records of a file but the last, each with the byte where it begins.

    Raises:
        SnapshotError: it cannot be read, or is not whole.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise SnapshotError(f"{path}: got something else at byte 0, expected {MAGIC.decode().strip()!r}")
            position, checksum, count = len(MAGIC), 0, 0
            while True:
                head = file.read(_HEAD.size)
                size, expected = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, -1)
                data = file.read(min(size, FRAME_BYTES_MAX))
                checksum = crc32(data, checksum)
                record = _opened(data) if checksum == expected and len(data) == size else None
                if record is None:
                    raise SnapshotError(f"{path}: got a damaged or missing record at byte {position}, expected one", position)
                if record[0] == "end":
                    if record[1:] != [count - 1] or file.read(1):
                        raise SnapshotError(f"{path}: got another end at byte {position}, expected that of the file", position)
                    return
                yield position, record
                position += _HEAD.size + size
                count += 1
    except OSError as error:
        raise SnapshotError(f"{path}: cannot be read ({error.strerror}), expected a saved mirror") from None


def _opened(data: bytes) -> list[Any] | None:
    try:
        record = _CODEC.decode_message(data)
    except DecodeError:
        return None
    return record if isinstance(record, list) and record else None


def _envelope(facts: list[Any]) -> Envelope[Any]:
    epoch, sequence, deleted, schema_version, checksum, meta, body = facts
    if not isinstance(body, bytes | None) or not isinstance(meta, dict) or (body is None) != deleted:
        raise TypeError
    kind = Kind.TOMBSTONE if deleted else Kind.STATE
    value = None if body is None else EncodedBody(body)
    return Envelope(value, schema_version, sequence, epoch, None, kind, meta, checksum)
