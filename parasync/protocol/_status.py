"""What a replica says of itself: computed when it is read, from its state and the time."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parasync.protocol._replica import Replica


class Status(enum.Enum):
    """What a replica says of itself; computed when it is read."""

    OK = "ok"
    """Surely current, by a proof younger than `stale_after_s`."""
    REFETCHING = "refetching"
    """Something may have been missed; an ask is under way."""
    STALE = "stale"
    """Not proven, or not for too long."""
    SKEW = "skew"
    """The authority has a newer version that this replica cannot read; it shows the last good one."""
    CLOSED = "closed"
    """Closed; it shows what it last held."""


def age_of(replica: Replica[Any], now_s: float) -> float:
    """Seconds since the replica was surely current; infinite before the first proof, 0 while nothing can be lost."""
    if replica.lossless and not replica.need_open:
        return 0.0
    return max(0.0, now_s - (max(replica.proven_s, replica.current_until_s) if replica.lossless else replica.proven_s))


def status_of(replica: Replica[Any], now_s: float) -> Status:
    """The first that holds: closed, without a value, skewed, stale, asking, current."""
    if replica.closed:
        return Status.CLOSED
    if replica.held is None:
        asking = replica.askable and replica.failed is None and not replica.needs_closed
        return Status.REFETCHING if asking else Status.STALE
    if replica.refused is not None:
        return Status.SKEW
    if replica.provisional or replica.failed is not None or (replica.need_open and not replica.askable):
        return Status.STALE
    age_s = age_of(replica, now_s)
    if age_s > replica.stale_after_s or age_s == math.inf:
        return Status.STALE
    return Status.REFETCHING if replica.need_open else Status.OK


def reason_of(replica: Replica[Any], now_s: float) -> str:
    """Why the status is not OK, in words for a person, without payload text; "" if it is."""
    status = status_of(replica, now_s)
    if status in (Status.OK, Status.CLOSED):
        return "" if status is Status.OK else "closed"
    if replica.refused is not None:
        return replica.refused.reason
    if replica.failed is not None:
        return replica.failed
    if replica.need_open:
        return replica.need_reason if replica.askable else f"{replica.need_reason}, and there is nobody to ask"
    never = age_of(replica, now_s) == math.inf
    return "not proven yet" if never else f"not proven for more than {replica.stale_after_s:g} s"
