"""One replica as its onlooker sees it."""

from __future__ import annotations

from typing import Any

import attrs

from parasync.runtime._synced import synced
from parasync.runtime._views import Snapshot
from parasync.testing.simulation._journal import Place, place_of


@attrs.define(eq=False)
class Watched:
    """One replica, and what was seen of it.

    Args:
        name: for people.
        reader: the process that it lives in.
        key: its object.
        replica: the thing itself.
        seed: where the envelope stood that it was given at first, if any.
        shown: where it stood when it was last seen.
        heard: the highest epoch that surely reached it, live or by what it showed.
        told: the highest epoch that may have reached it, by answers too.
        unproven: whether it may still go back to the first answer.
        follows: whether somebody follows its changes.
        followed: where it stood when that one was last told.
        raises: whether its listener raises.
        raised: how often that did.
        stood: where it ever stood, as its listener was told.
    """

    name: str
    reader: str
    key: str
    replica: synced[Any]
    seed: Place | None = None
    shown: Place | None = None
    heard: int = 0
    told: int = 0
    unproven: bool = False
    follows: bool = False
    followed: Place | None = None
    raises: bool = False
    raised: int = 0
    stood: list[Place] = attrs.field(factory=list, repr=False)


def where(snapshot: Snapshot[Any]) -> Place | None:
    """Where a replica stands; None before its first version."""
    return None if snapshot.version is None else place_of(snapshot.version)
