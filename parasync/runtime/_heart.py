"""The heart of an authority: it beats over a transport that may lose, so that replicas notice what was lost.

A beat proves as of a moment up to which all that the store held had been sent. So it speaks for no later moment than that at
which the store was asked whether this authority still holds the topic; nor than the beginning of the oldest write of which
nobody knows yet whether it was stored; nor than that of the oldest one that still waits to be sent.

What is published is only noted on its way out, and moves in the catalogue later: when a beat is made, or somebody asks.

Once as many objects were published as a beat names, the next beat goes out behind them: if more were sent, it could not name
them, and everybody would have to ask. It does not wait for the store, and speaks for the moment at which that was asked last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Collection
from typing import Final

from parasync.protocol import Beat, Position, Pulse, Version
from parasync.runtime._guard import GuardedStore, ends_this_task, named
from parasync.runtime._ledger import Ledger
from parasync.runtime._office import Office, Terms
from parasync.stores import TopicState
from parasync.transports._protocol import AskTransport, SyncTransport

logger: Final = logging.getLogger("parasync")

FOLDED_MAX: Final = 512
"""How many objects that were published are moved in the catalogue in one turn of the event loop, where no beat does it."""


class Heart(Ledger):
    """Beats in the name of one authority while it serves; not at all over a transport that loses nothing.

    Args:
        topic: the name of the topic.
        transport: where to beat.
        store: where the objects are.
        terms: times.
        office: knows whether this authority serves.
        loading: whether its first objects are still being put.
    """

    def __init__(
        self,
        topic: str,
        transport: SyncTransport,
        store: GuardedStore,
        terms: Terms,
        office: Office,
        loading: Callable[[], bool],
    ) -> None:
        super().__init__(transport, office)
        self._transport = transport
        self._topic = topic
        self._store = store
        self._terms = terms
        self._loading = loading
        self._lossless = transport.capabilities.lossless
        self.room: float = math.inf
        """How many objects there may be in `published` before the next beat has to be called for."""
        self._known: tuple[Pulse, TopicState, float] | None = None
        """What the last look into the store has told, in which life, and when that began."""
        self._writing: dict[object, float] = {}
        self._rising: tuple[Version, float] | None = None
        self._tried_s = self._made_s = -math.inf
        self._ended_s = math.inf
        """When the oldest write began that has ended since the last beat."""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.sweep: Callable[[], None] = _nothing
        """Called now and then while the office is open."""
        office.began = self._began
        office.looked = self._looked

    def open(self) -> None:
        """Beat from now on."""
        if self._bus is not None and isinstance(self._transport, AskTransport):
            self._task = self._transport.spawn(self._run(), f"parasync-heart {self._topic}")

    async def close(self) -> None:
        """Beat no more; may be called again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def begin(self) -> None:
        """There is something to say at once: a new life, or all was loaded."""
        self._tried_s = -math.inf
        self._made_s = self._terms.clock()
        self._news.set()

    def quicken(self) -> None:
        """Something is published for the first time since the last beat."""
        self._news.set()

    def beat_early(self) -> None:
        """Call for a beat that speaks of what was published up to now, and not of what is published next."""
        if self._known is not None:
            try:
                self._call(*self._known)
            except BaseException as error:
                # Transports are written by others, and whoever writes must go on.
                if ends_this_task(error):
                    raise
                logger.warning("the authority of %r could not beat: %s", self._topic, named(error))

    def write_begins(self) -> object:
        """A write begins that may be stored without anybody knowing for a while; returns what to end it with."""
        write = object()
        self._writing[write] = self._terms.clock()
        return write

    def write_ends(self, write: object) -> None:
        """It was published, or not stored. May be called again."""
        self._ended_s = min(self._ended_s, self._writing.pop(write, math.inf))

    def floor_is(self, floor: Version) -> None:
        """The store says where its floor is. It is told once all that was stored until now was sent.

        What is new and stands below may still be on its way here: whoever took this floor over would take that for deleted.
        """
        if floor > (self.floor if self._rising is None else self._rising[0]):
            self._rising = floor, self._terms.clock()

    def lag_s(self) -> float:
        """How long ago the oldest write began of which nobody knows yet whether it was stored; 0 without one."""
        # Where nothing is lost, what is missed in an answer comes live.
        return 0.0 if self._lossless else max(0.0, self._terms.clock() - self._oldest_s())

    def _oldest_s(self) -> float:
        """When the oldest write began of which nobody knows yet whether it was stored."""
        return next(iter(self._writing.values()), math.inf)

    def _began(self) -> None:
        # What an earlier life has stored is in the catalogue with which this one begins.
        if self.published is not None:
            self.published.clear()
        self._late.clear()
        self._rising = None
        self.begin()

    async def _looked(self) -> None:
        # What comes meanwhile waits for the next time: whoever writes all the time must not keep this from ending.
        for _ in range(0, len(self.published or ()) if self._bus is None else 0, FOLDED_MAX):
            self._fold(FOLDED_MAX)
            await asyncio.sleep(0)
        if self._bus is None:
            self._rise(self._oldest_s())
        self.sweep()

    def _rise(self, settled_s: float) -> None:
        """Tell of a higher floor from now on, if what was stored before that was known is settled."""
        pulse = self._office.pulse
        if pulse is not None and self._rising is not None and settled_s > self._rising[1]:
            pulse.catalogue.raise_floor(self._rising[0])
            self._rising = None

    async def _run(self) -> None:
        terms = self._terms
        while True:
            self._news.clear()
            interval_s = terms.beat_min_interval_s if self.published or self._late else terms.beat_interval_s
            pause_s = self._tried_s + interval_s - terms.clock()
            if pause_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._news.wait()
                continue
            self._tried_s = terms.clock()
            try:
                await self._beat()
            except BaseException as error:
                # Stores and transports are written by others, and this task must live.
                if ends_this_task(error):
                    raise
                logger.warning("the authority of %r could not beat: %s", self._topic, named(error))

    async def _beat(self) -> None:
        office, bus = self._office, self._bus
        pulse = office.pulse
        if bus is None or pulse is None or not office.serving or self._loading():
            # Nobody is told of it, so that it matters to nobody whether it was sent yet.
            self._fold()
            return
        asked_s = self._terms.clock()
        state = await self._store.state(self._topic)
        office.check_epoch(state)
        if state.epoch != pulse.epoch:
            return
        self.floor_is(state.floor)
        self._known = pulse, state, asked_s
        self._call(pulse, state, asked_s)

    def _call(self, pulse: Pulse, state: TopicState, asked_s: float) -> None:
        """Let a beat be made as soon as all was sent that was published before."""
        if self._bus is not None:
            self._gather()
            self.room = pulse.names_max
            self._bus.publish_beat(self._topic, lambda waiting: self._made(pulse, state, asked_s, waiting))

    def _gather(self) -> None:
        """What was published since the last beat was written after it, or was under way then and stored who knows when."""
        began_s, self._ended_s = min(self._made_s, self._ended_s, self._oldest_s()), math.inf
        published = self.published or {}
        for key, envelope in published.items():
            _, since_s = self._late.get(key, (None, began_s))
            self._late[key] = (Position.of(envelope), since_s)
        published.clear()

    def _made(self, pulse: Pulse, state: TopicState, asked_s: float, waiting: Collection[str]) -> Beat | None:
        """It is the turn of the beat: what was published and does not wait was sent."""
        if self._office.pulse is not pulse or not self._office.serving or self.published is None:
            return None
        # What was published after this beat was called for belongs to the next one.
        self.room -= len(self.published)
        self._gather()
        # Very much may wait behind each of many beats.
        for key in [key for key in self._late if key not in waiting]:
            position, _ = self._late.pop(key)
            pulse.sent(key, position)
        waits_s = min((since_s for _, since_s in self._late.values()), default=math.inf)
        settled_s = min(asked_s, self._oldest_s(), waits_s)
        self._made_s = self._terms.clock()
        self._rise(settled_s)
        return pulse.beat(self._made_s, settled_s=settled_s, floor=self.floor, history_epoch=state.history_epoch)


def _nothing() -> None:
    """There is nothing else to do."""
