"""Where somebody stands with an object, and what an authority says to that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from parasync.protocol._envelope import Envelope, Kind
from parasync.protocol._version import Version

if TYPE_CHECKING:
    from parasync.protocol._held import Held

TOMBSTONE_CHECKSUM: Final = 0
"""The checksum that stands for "deleted" in a position, whatever the schema."""


class Position(NamedTuple):
    """Where somebody stands with one object: its version, and the checksum of its content (None where unknown)."""

    version: Version
    checksum: int | None

    @classmethod
    def of(cls, held: Held[Any] | Envelope[Any]) -> Position:
        """The position that holding this version amounts to."""
        return cls(held.version, held.checksum if held.kind is Kind.STATE else TOMBSTONE_CHECKSUM)


class Same(NamedTuple):
    """The outcome "you hold the newest": it speaks of the position that was asked with."""


class Absent(NamedTuple):
    """The outcome "there is no such object": a tombstone at the floor of the answer."""


class Unanswered(NamedTuple):
    """The outcome "this did not fit into the answer": ask again. With a reason: it came, but cannot be read."""

    reason: str = ""


SAME: Final = Same()
ABSENT_OBJECT: Final = Absent()
UNANSWERED: Final = Unanswered()

Outcome: TypeAlias = Same | Absent | Unanswered | Envelope[Any]
