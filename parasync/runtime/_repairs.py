"""What may have been stored without being published is published in the background."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from parasync.errors import ParasyncError
from parasync.protocol import Backoff, EncodedBody, Envelope, Kind
from parasync.runtime._guard import GuardedStore
from parasync.runtime._heart import Heart
from parasync.runtime._office import Office
from parasync.runtime._world import uniform

REPAIR_BASE_S: Final = 0.1
"""The longest first pause, in seconds, before it is read again what a write left in the store, if that failed."""
REPAIR_MAX_S: Final = 5.0
"""The longest of these pauses, in seconds; they go on for as long as the authority serves."""
REPAIR_CLOSE_TIMEOUT_S: Final = 5.0
"""How long a store may take, in seconds, to tell an authority that is being closed what a write left in it."""

logger: Final = logging.getLogger("parasync")


class _Repair:
    """One object that is being repaired, and the writes of which nobody knows whether they were stored."""

    __slots__ = ("again", "task", "writes")

    def __init__(self) -> None:
        self.again = asyncio.Event()
        """It has to be looked at once more, and now."""
        self.writes: list[object] = []
        self.task: asyncio.Task[None]


class Repairs:
    """Reads what is stored of objects whose writes came to nobody knows what, and publishes it; one task for each object.

    Where nothing is lost nobody asks, so whatever the store raises, it is tried again as long as the authority serves.

    Args:
        topic: the name of the topic.
        store: where the objects are.
        office: knows whether this authority serves, and in which epoch.
        heart: is told of each write that is not in doubt any more, and knows what was published.
        publish: publishes what is stored.
    """

    def __init__(
        self,
        topic: str,
        store: GuardedStore,
        office: Office,
        heart: Heart,
        publish: Callable[[str, Envelope[Any]], None],
    ) -> None:
        self._topic = topic
        self._store = store
        self._office = office
        self._publish = publish
        self._heart = heart
        self._under_way: dict[str, _Repair] = {}
        self._closing = False

    def __len__(self) -> int:
        return len(self._under_way)

    def begin(self, key: str, write: object) -> None:
        """Publish what is stored of an object; the write, if any, ends when that was read."""
        repair = self._under_way.get(key)
        # One that has ended looks no more, though its end was told to nobody yet.
        if repair is None or repair.task.done():
            repair = self._under_way[key] = _Repair()
            repair.task = asyncio.get_running_loop().create_task(self._repaired(key, repair), name=f"parasync-repair {key}")
            repair.task.add_done_callback(partial(self._over, key, repair))
        if write is not None:
            repair.writes.append(write)
        repair.again.set()

    async def aclose(self) -> None:
        """Wait for those that are under way, a while; what the store does not tell now is not tried again."""
        self._closing = True
        under_way = list(self._under_way.values())
        for repair in under_way:
            repair.again.set()
        if under_way:
            _, hanging = await asyncio.wait([repair.task for repair in under_way], timeout=REPAIR_CLOSE_TIMEOUT_S)
            for task in hanging:
                task.cancel()
            if hanging:
                logger.warning("%d writes to %r may be stored, and nobody was told of them", len(hanging), self._topic)

    def _over(self, key: str, repair: _Repair, _task: asyncio.Task[None]) -> None:
        self._end(repair, len(repair.writes))
        if self._under_way[key] is repair:
            del self._under_way[key]

    def _end(self, repair: _Repair, count: int) -> None:
        ended, repair.writes = repair.writes[:count], repair.writes[count:]
        for write in ended:
            self._heart.write_ends(write)

    async def _repaired(self, key: str, repair: _Repair) -> None:
        pauses = Backoff(REPAIR_BASE_S, REPAIR_MAX_S, uniform)
        while True:
            repair.again.clear()
            count = len(repair.writes)
            before = self._heart.version_of(key)
            try:
                state, stored = await self._store.read(self._topic, [key])
            except ParasyncError:
                if self._closing or not self._office.serving:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pauses.next_delay_s()):
                        await repair.again.wait()
                continue
            epoch = self._office.epoch
            known = self._heart.version_of(key)
            # Whoever claimed the topic meanwhile may have other data, and what was published meanwhile may be newer.
            read: Envelope[EncodedBody | None] | None = stored.get(key)
            if read is None and known is not None and known < state.floor:
                # It was deleted by a write that came to nobody knew what, and the tombstone was dropped.
                read = Envelope(None, "0.0", state.floor.sequence, state.floor.epoch, kind=Kind.TOMBSTONE, checksum=0)
            if read is not None and read.epoch == epoch == state.epoch and (known in (None, before) or known <= read.version):
                self._publish(key, read)
            self._end(repair, count)
            if not repair.again.is_set():
                return
