"""The place of one mirror in its process: what it hears, what it makes of answers, and how it ends.

As in a group of replicas, no user code runs under the lock: values are read before it, replaced ones are destroyed after it.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from parasync.errors import ParseError, RefusedError, SchemaSkewError, UsageError
from parasync.protocol import (
    UNANSWERED,
    Beat,
    Compare,
    Digests,
    Envelope,
    Face,
    Held,
    Mirror,
    Outcome,
    Page,
    Probe,
    ProbeReply,
    Refused,
    Response,
    Scan,
    Scanned,
    Unreadable,
)
from parasync.runtime._bell import current_loop
from parasync.runtime._mirror_audience import Audience
from parasync.runtime._recovery import Pace
from parasync.runtime._sources import check_envelope
from parasync.runtime._views import Cause
from parasync.transports._fanout import report as report_handler
from parasync.transports._protocol import AskTransport, SyncTransport, Unsubscribe, beats_over

T = TypeVar("T")

logger: Final = logging.getLogger("parasync")

LEARNED_WITHOUT_PAUSE_MAX: Final = 128
"""How many objects of an answer are taken in before other tasks of the loop get their turn."""


def _nothing(_heard: bool, /) -> None:
    """Nobody attends yet."""


def _silent() -> None:
    """Nobody wants to know."""


class MirrorSeat(Audience[T], Generic[T]):
    """A mirror that listens until `close`.

    Args:
        name: of the mirror, for reports.
        topic: the name of its topic.
        core: the rules.
        transport: where to listen.
        pace: whose clock it goes by.
        loop: in which it was made.
    """

    def __init__(
        self, name: str, topic: str, core: Mirror[T], transport: AskTransport, pace: Pace, loop: AbstractEventLoop
    ) -> None:
        super().__init__(name, core)
        self.face = Face(core)
        self.pace = pace
        self.transport = transport
        self.loop = loop
        self.attend: Callable[[bool], None] = _nothing
        """Called without the lock after inputs that may matter to whoever asks; says whether the topic was heard."""
        self.advanced: Callable[[], None] = _silent
        """Called after each attempt to ask."""
        self.ended: Callable[[], None] = _silent
        """Called when the mirror was closed."""
        self.refusing: Callable[[], None] = _silent
        """Called without the lock when the newest version of an object is refused."""
        self.refusals: dict[str, tuple[str, str]] = {}
        """Of what was refused the schema version, and the name of the error."""
        self.ends: list[Unsubscribe] = []
        """What is to be done on the bus when the mirror is closed."""
        self._topic = topic

    @property
    def over(self) -> bool:
        """Whether the transport was closed, so that nothing will come any more."""
        return bool(getattr(self.transport, "closed", False))

    def open(self) -> None:
        """Listen: to the objects first, so that nothing is missed between an answer and the first of them.

        Raises:
            ParasyncError: what the transport raises; then nothing is left behind.
        """
        transport = self.transport
        assert isinstance(transport, SyncTransport)  # noqa: S101  # checked by whoever made this
        try:
            pattern = f"{self.core.prefix}*" if self.core.prefix else None
            self.ends.append(transport.subscribe_topic(self._topic, self.deliver, self.interrupted, pattern=pattern))
            bus = beats_over(transport)
            if bus is not None:
                self.ends.append(bus.subscribe_beats(self._topic, self.beaten))
            self.ends.append(transport.answer_probes(self._topic, self.probed))
        except BaseException:
            self.close()
            raise

    def close(self, *, dropped: bool = False) -> None:
        """Silent at once, and from any thread; what is left to do on the bus is done in its loop.

        Args:
            dropped: called by a destructor, which may run in the middle of whatever this thread does.
        """
        self.core.rules.close()
        self._silence()
        transport = self.transport
        threads = isinstance(transport, SyncTransport) and transport.capabilities.threads
        if threads or (current_loop() is self.loop and not dropped):
            self._leave()
            return
        try:
            self.loop.call_soon_threadsafe(self._leave)
        except RuntimeError:  # the loop was closed, and the bus with it: nobody is left who could be disturbed
            self._leave()

    def _leave(self) -> None:
        ends, self.ends = self.ends, []
        for end in ends:
            try:
                end()
            except Exception as error:  # noqa: BLE001  # the transport is not ours
                logger.warning("a subscription could not be ended: %s", type(error).__name__)
        self.ended()
        self.wake()

    # What comes in

    def deliver(self, key: str, envelope: Envelope[Any]) -> None:
        """A live envelope came; called by the transport."""
        if self.core.concerns(key):
            self._step(key, envelope, partial(self.core.live_received, key, envelope), "live")
            self._settled(heard=True)

    def interrupted(self, reason: str) -> None:
        """Live envelopes may have been lost; called by the transport."""
        self.doubt(reason)

    def beaten(self, beat: Beat) -> None:
        """An authority beats; called by the transport."""
        with self.lock:
            self.core.beat_received(beat, now_s=self.pace.clock(), grace_s=self.pace.beat_grace_s)
        self.attend(True)
        self.wake()

    def probed(self, probe: Probe) -> ProbeReply | None:
        """An authority looks who is there: tell it of an epoch above its own, and learn from it of a new life."""
        heard = self.core.rules.current_epoch
        if probe.serving and probe.epoch > heard:
            self.doubt("another life of the authority was heard", heard=True)
        return ProbeReply(heard, serving=False) if heard > probe.epoch else None

    def doubt(self, reason: str, *, heard: bool = False) -> int:
        """Raise a need; returns its number, to compare with `needs_closed`."""
        with self.lock:
            self.core.rules.need_raised(reason)
            number = self.core.rules.needs_raised
        self.attend(heard)
        self.wake()
        return number

    def look_again(self, now_s: float) -> None:
        """What a beat told of had its time to come."""
        with self.lock:
            self.core.time_passed(now_s)
        self.wake()

    def failed(self, reason: str) -> None:
        """An ask has failed."""
        with self.lock:
            self.core.ask_failed(reason)
        self.wake()

    async def take(self, request: Compare | Scan, response: Response, ask_on: Callable[[], None] = _silent) -> None:
        """An answer came.

        Args:
            request: what was asked.
            response: the answer.
            ask_on: called where what lies behind it can be asked for while it is learned.

        Raises:
            RemoteError: it cannot be used.
        """
        if isinstance(request, Compare) and isinstance(response, Digests):
            with self.lock:
                self.core.digests_received(response)
        elif isinstance(request, Scan) and isinstance(response, Scanned):
            with self.lock:
                page = self.core.scanned(request, response)
                more = self.core.ahead(page)
            if more:
                ask_on()
            found = page.outcomes()
            while part := dict(islice(found, LEARNED_WITHOUT_PAUSE_MAX)):
                learned = self._learn_firsts(page, part)
                for key, outcome in part.items() if len(learned) < len(part) else ():
                    if key not in learned:
                        self._learn(page, key, outcome)
                self._settled(heard=False)
                await asyncio.sleep(0)
            with self.lock:
                self.core.page_read(page)
                for key in [key for key in self.refusals if key not in self.core.refused]:
                    del self.refusals[key]
        else:
            reason = getattr(response, "reason", f"got a {type(response).__name__}, expected digests or a scanned range")
            raise RefusedError(f"the authority refused to answer: {reason}")
        with self.lock:
            self.core.rules.noticed(self.pace.clock())
        self._settled(heard=False)

    def _learn_firsts(self, page: Page, found: dict[str, Outcome]) -> set[str]:
        """Take in objects of which nothing is known, without what all the rules would cost; returns which those were."""
        core, values = self.core, {}
        read = core.rules.read
        for key, envelope in core.firsts(page, found.items()):
            try:
                check_envelope(envelope, "the authority")
                values[key] = envelope, read(envelope)
            except (UsageError, SchemaSkewError, ParseError):
                continue
        with self.lock:
            learned = core.learn_firsts(page, values)
            if self._listeners:
                for key in learned:
                    self._enlist(key, None, core.held[key], "answer")
        return set(learned)

    def _learn(self, page: Page, key: str, outcome: Outcome) -> None:
        envelope = outcome if isinstance(outcome, Envelope) else None
        if envelope is not None:
            try:
                check_envelope(envelope, "the authority")
            except UsageError as error:  # it harms its own object only, and is asked for again
                report_handler("an answer for", key, error)
                envelope, outcome = None, UNANSWERED
        self._step(key, envelope, partial(self.core.learn, page, key, outcome), "answer")

    def _step(
        self, key: str, envelope: Envelope[Any] | None, rule: Callable[[object], bool | None], cause: Cause
    ) -> None:
        """Let the rules take an input about one object."""
        core = self.core
        changed: bool | None = None
        old: Held[T] | None = None  # kept until the lock is released: the destructor of a value is the user's
        while changed is None:
            reading = None if envelope is None else core.prepare(key, envelope)
            with self.lock:
                old, before = core.held.get(key), core.refused.get(key)
                changed = rule(reading)
                refused = core.refused.get(key)
                if refused is not before:
                    self._note_refusal(key, envelope, refused, reading)
                if changed and self._listeners:
                    self._enlist(key, old, core.moved, cause)
        if refused is not before and refused is not None:
            self.refusing()

    def _note_refusal(self, key: str, envelope: Envelope[Any] | None, refused: Refused | None, reading: object) -> None:
        """Under the lock: keep of what and why an object was refused, as long as it is."""
        if refused is None:
            self.refusals.pop(key, None)
        elif envelope is not None and isinstance(reading, Unreadable):
            self.refusals[key] = (envelope.schema_version, type(reading.error).__name__)

    def _settled(self, *, heard: bool) -> None:
        """After inputs, without the lock."""
        try:
            if self.core.rules.need_open:
                self.attend(heard)
        finally:
            self._drain()
            self.wake()
