"""A checksum over what is asked and answered, as frames have one of their own: a flipped bit must not become another question.

A question is sealed together with its subject, an answer together with the sealed question: one that was delivered to the wrong
place is refused as well.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

from parasync.errors import DecodeError

SEAL_BYTES: Final = 4
"""What a seal adds to a message, in bytes: a CRC-32, the most significant byte first."""


def sealed(data: bytes, about: bytes) -> bytes:
    """A message with its seal at the end.

    Args:
        data: the message.
        about: what it belongs to.
    """
    return data + crc32(data, crc32(about)).to_bytes(SEAL_BYTES, "big")


def unsealed(data: bytes, about: bytes) -> bytes:
    """The message without its seal.

    Args:
        data: what came in.
        about: what it should belong to.

    Raises:
        DecodeError: it is corrupt, or belongs to something else.
    """
    message = data[:-SEAL_BYTES]
    if sealed(message, about) != data:
        raise DecodeError("got a message with a wrong checksum: corrupt, or meant for somebody else")
    return message
