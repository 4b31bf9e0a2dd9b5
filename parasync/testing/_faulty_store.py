"""A store that fails as stores do: before, after, late, for good, and with the wrong data."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Final, Literal, TypeAlias, TypeVar, cast

from parasync.errors import FencedError, IndeterminateError, StoreError, UsageError
from parasync.protocol import EncodedBody, Envelope, Position, Version
from parasync.stores import Draft, Outcome, Store, TopicState
from parasync.testing._faults import Fates, Span, StoreFaults, Strikes, Struck, Tally
from parasync.testing._link import between

T = TypeVar("T")
_Step: TypeAlias = Callable[[Store], Awaitable[object]]

_EPOCHS_AHEAD: Final = 1 << 20
"""How far above the last one an epoch is that another authority claims: the next life of one whose clock is right."""


class FaultyStore:
    """Keeps objects in a store below, badly: each call may fail, hang, or find other data than it should.

    It is one disk: authorities that share it share its faults. Where data are lost, or older data come back, a new store takes
    the place of the old one, and gets the writes of before that moment again.

    Args:
        store: makes an empty store: a class or function without arguments; or a store, if no data are ever lost.
        faults: what strikes, and how often; nothing by default, for faults by hand only.

    Raises:
        UsageError: data are to be lost, and `store` does not make stores.
    """

    def __init__(self, store: Store | Callable[[], Store], faults: StoreFaults | None = None) -> None:
        self._faults = StoreFaults() if faults is None else faults
        made = isinstance(store, type) or not isinstance(store, Store)
        self._make = cast("Callable[[], Store]", store) if made else None
        self.inner: Store = self._make() if self._make is not None else cast("Store", store)
        """The store below, at the moment."""
        if self._make is None and (self._faults.lose or self._faults.go_back):
            raise UsageError(f"got a {type(store).__name__} whose data are to be lost, expected what makes one, e.g. its class")
        self._done: list[_Step] = []
        self._epochs: dict[str, int] = {}
        self._tally = Tally()
        self._strikes = Strikes()
        self._fates: dict[str, Fates] = {}
        self._hung: dict[asyncio.Future[None], None] = {}
        self._calm = False

    @property
    def faults(self) -> StoreFaults:
        """What strikes, and how often."""
        return self._faults

    @property
    def fired(self) -> Mapping[str, int]:
        """How many calls each kind of fault really hit until now."""
        return dict(self._tally)

    @property
    def struck(self) -> tuple[Struck, ...]:
        """What the seed let strike until now, in order; `StoreFaults(only=…)` repeats a part of it."""
        return tuple(self._strikes.recent)

    def heal(self) -> None:
        """Let what hangs go on, and no fault strike any more. Lost data stay lost."""
        self._calm = True
        for hung in tuple(self._hung):
            if not hung.done():
                hung.set_result(None)

    async def lose(self) -> None:
        """Lose all data now.

        Raises:
            UsageError: this store cannot make another one.
        """
        await self.go_back(0)

    async def go_back(self, steps: int) -> None:
        """Go back now to what was held after the first `steps` changes; a claim, a lost history, a raised floor
        and a write are one each.

        Args:
            steps: how many changes to keep, 0 or more.

        Raises:
            UsageError: this store cannot make another one, or `steps` is no count.
        """
        if self._make is None or not isinstance(steps, int) or steps < 0:
            raise UsageError(f"got {steps!r} steps to keep, expected 0 or more, in a FaultyStore that makes its stores")
        kept, older = self._done[:steps], self._make()
        for step in kept:
            await step(older)
        self.inner, self._done = older, kept

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        """See `Store`."""
        state = await self._change("claim", topic, lambda store: store.claim(topic, epoch, lost=lost))
        self._epochs[topic] = max(epoch, self._epochs.get(topic, 0))
        return state

    async def history_lost(self, topic: str, epoch: int) -> TopicState:
        """See `Store`."""
        return await self._change("history_lost", topic, lambda store: store.history_lost(topic, epoch))

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        """See `Store`."""
        return await self._change("raise_floor", topic, lambda store: store.raise_floor(topic, epoch, before_s=before_s))

    async def state(self, topic: str) -> TopicState:
        """See `Store`."""
        return await self._faulty("state", topic, lambda store: store.state(topic))

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        """See `Store`."""
        return await self._change("write", topic, lambda store: store.write(topic, epoch, draft))

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        """See `Store`."""
        return await self._faulty("read", topic, lambda store: store.read(topic, keys))

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        """See `Store`."""
        return await self._faulty("page", topic, lambda store: store.page(topic, prefix=prefix, after=after, limit=limit))

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        """See `Store`."""
        return await self._faulty("positions", topic, lambda store: store.positions(topic, after=after, limit=limit))

    def __repr__(self) -> str:
        return f"<FaultyStore around {self.inner!r}, seed {self.faults.seed}: {self.fired}>"

    async def _change(self, method: str, topic: str, call: Callable[[Store], Awaitable[T]]) -> T:
        async def changed(store: Store) -> T:
            result = await call(store)
            if self._make is not None:
                self._done.append(call)
            return result

        return await self._faulty(method, topic, changed)

    async def _faulty(self, method: str, topic: str, call: Callable[[Store], Awaitable[T]]) -> T:
        fates = self._fates.get(method)
        if fates is None:
            fates = self._fates[method] = Fates(self._faults, method, self._strikes.note)
        struck = {} if self._calm else fates.next()
        if not struck:
            return await call(self.inner)
        await self._spoiled(topic, struck)
        await self._waiting("slow", self._faults.slow_s, struck)
        hangs_after = "hang" in struck and struck["hang"].random() < 0.5
        if not hangs_after:
            await self._waiting("hang", self._faults.hang_s, struck)
        self._refused(struck)
        result = await call(self.inner)
        if hangs_after:
            await self._waiting("hang", self._faults.hang_s, struck)
        if "after" in struck:
            self._tally.hit("after")
            kind = IndeterminateError if method == "write" else StoreError
            raise kind(f"got no answer from the store, expected one: a fault after it did {method}")
        return result

    async def _spoiled(self, topic: str, struck: dict[str, Random]) -> None:
        """Change what the store holds."""
        if "lose" in struck:
            self._tally.hit("lose")
            await self.lose()
        if "go_back" in struck and self._done:
            self._tally.hit("go_back")
            await self.go_back(int(struck["go_back"].random() * len(self._done)))
        if "claim" in struck and topic in self._epochs:
            epoch = self._epochs[topic] = self._epochs[topic] + _EPOCHS_AHEAD
            claim: Callable[[Store], Awaitable[TopicState]] = partial(_claim, topic=topic, epoch=epoch)
            try:
                await claim(self.inner)
            except FencedError:
                return
            self._tally.hit("claim")
            if self._make is not None:
                self._done.append(claim)

    def _refused(self, struck: dict[str, Random]) -> None:
        if "foreign" in struck:
            self._tally.hit("foreign")
            raise OSError("the disk is on fire: a fault")
        if "before" in struck:
            self._tally.hit("before")
            raise StoreError("got a store that does nothing, expected one that works: a fault")

    async def _waiting(self, kind: Literal["slow", "hang"], span: Span, struck: dict[str, Random]) -> None:
        if kind not in struck or self._calm:
            return
        self._tally.hit(kind)
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(between(span, struck[kind]), _end, over)
        self._hung[over] = None
        try:
            await over
        finally:
            timer.cancel()
            self._hung.pop(over, None)


async def _claim(store: Store, *, topic: str, epoch: int) -> TopicState:
    return await store.claim(topic, epoch)


def _end(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
