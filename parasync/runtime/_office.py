"""The office of an authority: which epoch it holds, and whether it serves. One at a time serves a topic.

An authority starts by claiming an epoch above all that is stored or heard. It is *fenced* when it hears of another one that
serves with a higher epoch, or finds a higher epoch in its store; it serves again, with an epoch above, once nobody else does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs

from parasync.errors import ClosedError, FencedError, UsageError
from parasync.protocol import Beat, Catalogue, Probe, ProbeReply, Pulse, next_epoch
from parasync.runtime._checks import TOMBSTONE_TTL_S, check_ttl
from parasync.runtime._guard import ends_this_task, named
from parasync.runtime._recovery import check_seconds
from parasync.runtime._stock import catalogue_of
from parasync.runtime._world import Clock, monotonic_s, random_bits, uniform, wall_s
from parasync.stores import Store, TopicState
from parasync.transports._protocol import Responder, SyncTransport, Unsubscribe, asks_over, beats_over

logger: Final = logging.getLogger("parasync")

CLAIMS_MAX: Final = 16
"""How often a claim is tried again when others claim epochs above at the same time; then the authority stays fenced."""


@attrs.frozen
class Terms:
    """The times and limits of an authority.

    Args:
        probe_interval_s: seconds between two looks at who else serves the topic.
        probe_timeout_s: seconds to collect answers to a probe over a bus.
        takeover_after_s: seconds of silence after which a fenced authority takes over again.
        beat_interval_s: seconds between two beats over a transport that may lose; replicas take three for a silence.
        beat_min_interval_s: seconds between two beats where something was published in between.
        tombstone_ttl_s: seconds after which the trace of a deletion is dropped, 7 days unless told otherwise; `math.inf` keeps
            all. Who was away for longer learns of the deletion all the same. It is `takeover_after_s` or more; days are good.
        reissues_per_s_max: how many objects of a lost history are written anew each second; the rest is asked for again.
        clock: monotonic seconds.
        wall_clock: seconds since 1970, for epochs and for the window of idempotency keys.
        random: numbers in [0, 1), for jitter.
        random_bits: a source of random bits, for epochs.

    Raises:
        UsageError: a time is out of its range, the shorter interval is the longer one, or the limit is below 1.
    """

    probe_interval_s: float = 5.0
    probe_timeout_s: float = 0.2
    takeover_after_s: float = 15.0
    beat_interval_s: float = 5.0
    beat_min_interval_s: float = 0.5
    tombstone_ttl_s: float = TOMBSTONE_TTL_S
    reissues_per_s_max: int = 10_000
    clock: Clock = monotonic_s
    wall_clock: Clock = wall_s
    random: Callable[[], float] = uniform
    random_bits: Callable[[int], int] = random_bits

    def __attrs_post_init__(self) -> None:
        check_seconds(self, "probe_interval_s", "probe_timeout_s", "takeover_after_s", "beat_interval_s", "beat_min_interval_s")
        if self.beat_min_interval_s > self.beat_interval_s:
            longest = f"at most beat_interval_s={self.beat_interval_s!r}"
            raise UsageError(f"got beat_min_interval_s={self.beat_min_interval_s!r}, expected {longest}")
        check_ttl(self.tombstone_ttl_s, self.takeover_after_s)
        if not isinstance(self.reissues_per_s_max, int) or self.reissues_per_s_max < 1:
            raise UsageError(f"got reissues_per_s_max={self.reissues_per_s_max!r}, expected an int above 0")


class Office:
    """Holds the epoch of one authority.

    Args:
        topic: the name of the topic.
        transport: where it is asked and probed, if the transport can do that.
        store: where the objects are.
        terms: times and limits.
        respond: answers the requests for the topic, while this authority serves.
    """

    def __init__(self, topic: str, transport: SyncTransport, store: Store, terms: Terms, respond: Responder) -> None:
        self._topic = topic
        self._bus = asks_over(transport)
        self._beats = beats_over(transport)
        self._lossless = transport.capabilities.lossless
        self._store = store
        self._terms = terms
        self._respond = respond
        self._identity = f"{random_bits(64):016x}"
        self._stop_serving: Unsubscribe | None = None
        self._stop_hearing: list[Unsubscribe] = []
        self._task: asyncio.Task[None] | None = None
        self._claimed = asyncio.Event()
        self._heard = 0
        self._silent_since_s = 0.0
        self._closed = False
        self.turn = asyncio.Lock()
        """Held while an epoch is claimed, or lost history is repaired."""
        self.epoch = 0
        self.serving = False
        self.pulse: Pulse | None = None
        """The beats of this epoch, whether anybody beats or not."""
        self.began: Callable[[], None] = _nothing
        """Called when an epoch was claimed."""
        self.looked: Callable[[], Awaitable[None]] = _nothing_more
        """Called now and then while it is open."""

    async def open(self) -> None:
        """Claim an epoch above all that is stored or heard, and serve.

        Raises:
            FencedError: others claimed higher epochs again and again.
            StoreError: the store did not do its part.
            TransportError: the bus did not do its part.
            ClosedError: it was closed meanwhile.
        """
        async with self.turn:
            await self.claim(0)
        if self._bus is not None:
            self._stop_hearing.append(self._bus.answer_probes(self._topic, self._probed))
            if self._beats is not None:
                self._stop_hearing.append(self._beats.subscribe_beats(self._topic, self._beaten))
            self._task = self._bus.spawn(self._watch(), f"parasync-authority {self._topic}")

    async def close(self) -> None:
        """Stop answering and watching, for good; may be called again."""
        self._closed = True
        self._stop()
        for stop in self._stop_hearing:
            stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def fence(self, epoch: int) -> None:
        """Stop serving: another authority holds this epoch."""
        self._heard = max(self._heard, epoch)
        self._silent_since_s = self._terms.clock()
        if self.serving:
            logger.warning("the authority of %r was fenced by epoch %d", self._topic, epoch)
        self._stop()

    def _stop(self) -> None:
        self.serving = False
        if self._stop_serving is not None:
            self._stop_serving()
            self._stop_serving = None

    def check_serving(self) -> None:
        """Raise unless this authority may write.

        Raises:
            ClosedError: it was closed.
            FencedError: another authority took the topic over.
        """
        self._check_open()
        if not self.serving:
            raise FencedError(
                f"another authority took {self._topic!r} over: write there, or wait until this one may serve again", self._heard
            )

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the authority of {self._topic!r} was closed")

    def check_epoch(self, state: TopicState) -> None:
        """Raise, and stop serving, if the store says that another authority took over.

        Raises:
            FencedError: it did.
        """
        if state.epoch > self.epoch and not self.turn.locked():
            self.fence(state.epoch)
            self.check_serving()

    async def claim(self, above: int) -> None:
        """Take an epoch above all that is known, and serve with it. Under `turn`.

        Raises:
            FencedError: others claimed higher epochs again and again.
            ClosedError: the authority was closed meanwhile.
        """
        heard = max(above, self._heard)
        for attempt in range(CLAIMS_MAX):
            stored = (await self._store.state(self._topic)).epoch
            # Whoever has heard of an epoch above the stored one says so.
            replies = await self.probe(stored, serving=False) if attempt == 0 else ()
            heard = max([heard, *(reply.epoch for reply in replies)])
            epoch = self._next_epoch(stored, heard)
            # Who was heard before this look and is not stored by now had another store. What it wrote there is lost here.
            stored = (await self._store.state(self._topic)).epoch
            try:
                state = await self._store.claim(self._topic, epoch, lost=heard > stored)
            except FencedError as error:
                heard = max(heard, error.epoch or 0)
                continue
            # Nobody writes now: others may not any more, and this authority does not yet with the epoch that it claimed.
            catalogue = await self._catalogue_of(state)
            # An answer that is being repaired outlives its authority, and must not make it serve again.
            self._check_open()
            if self._heard > epoch:  # somebody announced himself meanwhile
                heard = self._heard
                continue
            self.epoch = epoch
            terms = self._terms
            self.pulse = Pulse(
                epoch=epoch, started_s=terms.clock(), catalogue=catalogue, interval_s=terms.beat_interval_s
            )
            self.serving = True
            self.began()
            self._claimed.set()
            if self._bus is not None and self._stop_serving is None:
                self._stop_serving = self._bus.serve(self._topic, self._respond)
            return
        raise FencedError(f"others claimed {self._topic!r} {CLAIMS_MAX} times in a row", heard)

    async def _catalogue_of(self, state: TopicState) -> Catalogue:
        # Where nobody can ask, nobody wants to know where all the objects stand.
        return Catalogue() if self._bus is None else await catalogue_of(self._store, self._topic, state.floor)

    def _next_epoch(self, stored: int, heard: int) -> int:
        terms = self._terms
        return next_epoch(stored=stored, heard=heard, wall_s=terms.wall_clock(), random_bits=terms.random_bits(20))

    async def _watch(self) -> None:
        """Look who else is there: now and then, and to announce each new epoch."""
        while True:
            self._claimed.clear()
            try:
                await self._look()
                await self.looked()
            except BaseException as error:
                # Stores and transports are written by others, and this task must live.
                if ends_this_task(error):
                    raise
                logger.warning("the authority of %r could not look for others: %s", self._topic, named(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._terms.probe_interval_s * (0.75 + 0.5 * self._terms.random())):
                    await self._claimed.wait()

    async def _look(self) -> None:
        """Tell that this authority serves, and hear who else does; fenced, take over once nobody has been serving for long."""
        async with self.turn:
            was_serving, known = self.serving, self._heard
            stored = (await self._store.state(self._topic)).epoch
            if self.serving and stored > self.epoch:
                self.fence(stored)
            replies = await self.probe(self.epoch, serving=self.serving)
            others = [reply.epoch for reply in replies if reply.serving]
            heard = max([self._heard, stored, *(reply.epoch for reply in replies)])
            now_s = self._terms.clock()
            if self.serving:
                if any(epoch > self.epoch for epoch in others):
                    self.fence(max(others))
                elif heard > self.epoch or self.epoch in others:
                    await self.claim(heard)
            elif others:
                self._heard, self._silent_since_s = heard, now_s
            elif was_serving or self._heard > known:
                pass  # fenced while it looked, by somebody who may not have served yet when the others answered
            elif self._lossless or now_s - self._silent_since_s >= self._terms.takeover_after_s:
                await self.claim(heard)
                logger.warning("nobody serves %r: this authority does again", self._topic)

    async def probe(self, epoch: int, *, serving: bool) -> Sequence[ProbeReply]:
        """Ask everybody on the topic who serves, or has heard of an epoch above this one."""
        if self._bus is None:
            return ()
        return await self._bus.probe(Probe(self._topic, epoch, serving, self._identity), self._terms.probe_timeout_s)

    def _beaten(self, beat: Beat) -> None:
        """An authority beats, maybe this one: who does so with a higher epoch has taken over."""
        if beat.epoch > self.epoch:
            self.fence(beat.epoch)

    def _probed(self, probe: Probe) -> ProbeReply | None:
        """Somebody looks who is there."""
        if probe.sender == self._identity:
            return None
        if probe.serving and probe.epoch > self.epoch:
            self.fence(probe.epoch)
        if self.serving:
            return ProbeReply(self.epoch, serving=True)
        known = max(self.epoch, self._heard)
        return ProbeReply(known, serving=False) if known > probe.epoch else None


def _nothing() -> None:
    """Nobody wants to know."""


async def _nothing_more() -> None:
    """Nobody has anything else to do."""
