"""What is deleted for long leaves no trace: an authority lets its store drop old tombstones, and the floor rises.

When that happens decides nothing: whoever was away for longer hears that what is gone was deleted at the floor or below. So a
wall clock that jumps costs no more than a few answers, and a store that fails or hangs only keeps its tombstones for longer.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Final

from parasync.runtime._guard import GuardedStore, ends_this_task, named
from parasync.runtime._heart import Heart
from parasync.runtime._office import Office, Terms
from parasync.transports._protocol import SyncTransport, asks_over

logger: Final = logging.getLogger("parasync")

SWEEP_INTERVAL_MAX_S: Final = 3600.0
"""The longest time in seconds between two looks for tombstones that are old enough; it is an eighth of their age where that is
less."""


class Sweeper:
    """Raises the floor of a topic now and then, in the name of one authority and while it serves.

    Args:
        topic: the name of the topic.
        transport: in whose life it works.
        store: where the objects are.
        terms: how old tombstones become.
        office: knows whether this authority serves, and calls now and then.
        heart: tells of the floor.
    """

    def __init__(
        self, topic: str, transport: SyncTransport, store: GuardedStore, terms: Terms, office: Office, heart: Heart
    ) -> None:
        self._topic = topic
        self._bus = asks_over(transport)
        self._store = store
        self._terms = terms
        self._office = office
        self._heart = heart
        self._interval_s = min(SWEEP_INTERVAL_MAX_S, terms.tombstone_ttl_s / 8)
        self._due_s = math.inf
        self._task: asyncio.Task[None] | None = None
        heart.sweep = self._look

    def open(self) -> None:
        """Begin; the first look comes after an interval."""
        if self._terms.tombstone_ttl_s == math.inf:
            return
        self._due_s = self._terms.clock() + self._interval_s
        if self._bus is None:  # and nobody looks for others
            self._task = asyncio.create_task(self._run(), name=f"parasync-sweeper {self._topic}")

    async def close(self) -> None:
        """Stop for good; may be called again."""
        self._due_s = math.inf
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _look(self) -> None:
        now_s, busy = self._terms.clock(), self._task is not None and not self._task.done()
        if self._bus is not None and now_s >= self._due_s and self._office.serving and not busy:
            self._due_s = now_s + self._interval_s
            self._task = self._bus.spawn(self.sweep(), f"parasync-sweeper {self._topic}")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            if self._office.serving:
                await self.sweep()

    async def sweep(self, ttl_s: float | None = None) -> None:
        """Let the store drop what is old enough. Nothing but its own end is raised.

        Args:
            ttl_s: how old that is, in seconds; None for what the terms say.
        """
        epoch = self._office.epoch
        before_s = self._terms.wall_clock() - (self._terms.tombstone_ttl_s if ttl_s is None else ttl_s)
        try:
            async with asyncio.timeout(self._interval_s):
                state = await self._store.raise_floor(self._topic, epoch, before_s=before_s)
            if state.epoch == epoch == self._office.epoch:
                self._heart.floor_is(state.floor)
        except BaseException as error:
            # Stores are written by others, and who finds that it was fenced tells the office when it writes.
            if ends_this_task(error):
                raise
            logger.warning("the authority of %r could not drop old tombstones: %s", self._topic, named(error))
