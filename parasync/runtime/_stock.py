"""Taking stock: an authority that begins learns where all its objects stand."""

from __future__ import annotations

import asyncio
from typing import Final

from parasync.protocol import Catalogue, Version
from parasync.stores import Store

POSITIONS_MAX: Final = 4096
"""How many objects an authority asks its store for at a time when it learns where they all stand."""


async def catalogue_of(store: Store, topic: str, floor: Version) -> Catalogue:
    """Where the objects of a topic stand, but for tombstones at and below the floor. Nobody may write meanwhile.

    Raises:
        StoreError: the store did not do its part.
    """
    catalogue, after = Catalogue(floor=floor), ""
    while True:
        page = await store.positions(topic, after=after, limit=POSITIONS_MAX)
        for key, position in page:
            catalogue.move(key, position)
        if len(page) < POSITIONS_MAX:
            return catalogue
        after = page[-1][0]
        # A store in memory never lets anybody else have a turn.
        await asyncio.sleep(0)
