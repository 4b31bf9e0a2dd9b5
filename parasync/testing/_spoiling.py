"""What becomes of messages that a fault strikes on their way."""

from __future__ import annotations

from random import Random
from typing import Any, Final, Protocol

from parasync.codec import Codec
from parasync.errors import DecodeError, EncodeError
from parasync.protocol import NO_META, EncodedBody, Envelope, Kind, SchemaVersion

_FLIPS_MAX: Final = 4
"""How many bytes of a message change when it is corrupted."""
_NO_BODY: Final = EncodedBody(b"\xc1")
"""No codec has made this: msgpack never uses the byte, and it is no UTF-8."""


class Spoiler(Protocol):
    """Knows what becomes of one kind of message that a fault strikes."""

    def damaged(self, key: str, what: Any, kind: str, chance: Random) -> Any:
        """What the codec makes of a message that changed on the way, None if it refuses it."""

    def poisoned(self, key: str, what: Any, chance: Random) -> Any:
        """A message of nobody that comes as well, or the reason why its receiver refuses it."""


class EnvelopeSpoiler:
    """What becomes of envelopes.

    Args:
        codec: refuses what was damaged.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def damaged(self, key: str, what: Any, kind: str, chance: Random) -> Any:
        """See `Spoiler`."""
        return damaged(key, what, kind, chance, self._codec)

    def poisoned(self, key: str, what: Any, chance: Random) -> Any:
        """See `Spoiler`."""
        return poisoned(what, chance)


def damaged(key: str, envelope: Envelope[Any], kind: str, chance: Random, codec: Codec) -> Envelope[Any] | None:
    """What the codec makes of a frame that changed on the way, None if it refuses it."""
    try:
        frame = bytearray(codec.encode_frame(key, envelope))
    except EncodeError:
        return None
    spoil(frame, kind, chance)
    try:
        return codec.decode_frame(key, bytes(frame))
    except DecodeError:
        return None


def spoil(frame: bytearray, kind: str, chance: Random) -> None:
    """Change some bytes, or cut off the end."""
    if kind == "truncate":
        del frame[int(chance.random() * len(frame)) :]
    else:
        for _ in range(1 + int(chance.random() * _FLIPS_MAX)):
            frame[int(chance.random() * len(frame))] ^= 1 + int(chance.random() * 255)


def poisoned(envelope: Envelope[Any], chance: Random) -> Envelope[Any] | str:
    """What nobody wrote, and nobody may show: no frame, no body, or a body of another shape, at about the same version."""
    kind = int(chance.random() * 3)
    if kind == 0:
        return "malformed frame"
    sequence = envelope.sequence + int(chance.random() * 3)
    version = SchemaVersion.parse(envelope.schema_version)
    schema = envelope.schema_version if kind == 1 else str(SchemaVersion(version.major + 1, 0))
    checksum = int(chance.random() * 2**32)
    return Envelope(_NO_BODY, schema, sequence, envelope.epoch, None, Kind.STATE, NO_META, checksum)
