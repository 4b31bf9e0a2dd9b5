"""A store as its contract wants it, whoever wrote it: what it raises is an error of parasync."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from parasync.errors import IndeterminateError, ParasyncError, StoreError
from parasync.protocol import EncodedBody, Envelope, Position, Version
from parasync.stores import Draft, MemoryStore, Outcome, Store, TopicState


class GuardedStore:
    """Passes all calls on; what is no error of parasync becomes a `StoreError`, or an `IndeterminateError` for a write."""

    __slots__ = ("_store", "write_now")

    def __init__(self, store: Store) -> None:
        self._store = store
        # Of this very class only: what extends it may have a `write` of its own, which waits.
        self.write_now = store.write_now if type(store) is MemoryStore else None
        """`write` without waiting, of a store that never does; None for all others."""

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        """See `Store`."""
        with _as(StoreError, "nobody knows whether it was claimed"):
            return await self._store.claim(topic, epoch, lost=lost)

    async def history_lost(self, topic: str, epoch: int) -> TopicState:
        """See `Store`."""
        with _as(StoreError, "nobody knows whether it was noted"):
            return await self._store.history_lost(topic, epoch)

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        """See `Store`."""
        with _as(StoreError, "nobody knows whether the floor was raised"):
            return await self._store.raise_floor(topic, epoch, before_s=before_s)

    async def state(self, topic: str) -> TopicState:
        """See `Store`."""
        with _as(StoreError, "nothing was read"):
            return await self._store.state(topic)

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        """See `Store`."""
        with _as(IndeterminateError, "the write may have happened"):
            return await self._store.write(topic, epoch, draft)

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        """See `Store`."""
        with _as(StoreError, "nothing was read"):
            return await self._store.read(topic, keys)

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        """See `Store`."""
        with _as(StoreError, "nothing was read"):
            return await self._store.page(topic, prefix=prefix, after=after, limit=limit)

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        """See `Store`."""
        with _as(StoreError, "nothing was read"):
            return await self._store.positions(topic, after=after, limit=limit)


@contextlib.contextmanager
def _as(kind: type[StoreError], consequence: str) -> Iterator[None]:
    try:
        yield
    except ParasyncError:
        raise
    except BaseException as error:
        if ends_this_task(error):
            raise
        raise _foreign(kind, error, consequence) from error


def named(error: BaseException) -> str:
    """What may be said of an error in a log: the texts of others may hold payload."""
    return str(error) if isinstance(error, ParasyncError) else type(error).__name__


def ends_this_task(error: BaseException) -> bool:
    """Whether an exception is meant for the running task or the program, and not only says how what it awaited has failed.

    Something else may have been cancelled: the connection of a store, or what a function of the user waited for.
    """
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)


def _foreign(kind: type[StoreError], error: BaseException, consequence: str) -> StoreError:
    return kind(f"the store raised {type(error).__name__}, expected a StoreError: {consequence}")
