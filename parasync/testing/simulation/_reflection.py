"""What was seen of one mirror."""

from __future__ import annotations

from typing import Any, Final
from zlib import crc32

import attrs

from parasync.runtime._index import Index, UniqueIndex, Where
from parasync.runtime._mirror import mirror
from parasync.testing.simulation._journal import Place

GROUPS: Final = 3
"""How many groups the objects are arranged in."""


def group_of(value: Any) -> int:
    """The group of a value, the same on every Python."""
    return crc32(repr(value).encode()) % GROUPS


@attrs.define(eq=False)
class Reflection:
    """One mirror, and what was seen of it.

    Args:
        name: for people.
        mirror: the thing itself.
        shown: where each object stood when it was last seen, also before it was opened again.
        raised: how often functions of the user have raised.
        warm: whether it began with what was saved, and was not proven since.
        heard: the highest epoch that surely reached it.
        told: the highest epoch that may have reached it, by answers and beats too.
        followed: where each object stood when the one who follows was last told.
        index: its objects by group.
        unique: likewise, one of each group; the function raises for the last group.
        where: the objects of the first group.
    """

    name: str
    mirror: mirror[Any]
    shown: dict[str, Place]
    raised: list[int]
    warm: bool = False
    heard: int = 0
    told: int = 0
    followed: dict[str, Place] = attrs.field(factory=dict)
    index: Index[int, Any] | None = None
    unique: UniqueIndex[int, Any] | None = None
    where: Where[Any] | None = None
