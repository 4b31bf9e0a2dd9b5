"""Members of sets and keys of maps that were chosen to share one hash.

Python hashes texts with a secret, but numbers, decimals, UUIDs and tuples without one: whoever writes a body can choose
thousands of them that all fall on one place of a hash table, and building a set of those takes time that grows with the
square.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any, Final

SHARED_HASH_MAX: Final = 100
"""The most members of a set, or keys of a map, that may share one hash; values with more are refused by readers."""

_SECRET: Final = (str, bytes)


def demand_spread(members: Collection[Any]) -> None:
    """Raise a `ValueError` if more than `SHARED_HASH_MAX` members share one hash."""
    if len(members) <= SHARED_HASH_MAX or all(type(member) in _SECRET for member in members):
        return
    if max(Counter(map(hash, members)).values()) > SHARED_HASH_MAX:
        raise ValueError("too many members share one hash")


def spread_dict(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The dict of these pairs; raises a `ValueError` if its keys crowd in one place."""
    demand_spread([key for key, _ in pairs])
    return dict(pairs)
