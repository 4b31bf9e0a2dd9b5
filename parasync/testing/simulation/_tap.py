"""The onlooker at a connection: sees all that one party says and hears, and changes nothing, until the party is killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from typing import Any, Final, Protocol

import attrs

from parasync.codec import Codec
from parasync.errors import ParasyncError, TransportError
from parasync.protocol import (
    Answer,
    Ask,
    Beat,
    Digests,
    Envelope,
    Kind,
    Probe,
    ProbeReply,
    Report,
    Request,
    Response,
    Scanned,
)
from parasync.testing.simulation._journal import Journal
from parasync.transports import (
    AskTransport,
    BeatHandler,
    BeatMaker,
    BeatTransport,
    Capabilities,
    Handler,
    Interrupted,
    ProbeResponder,
    Responder,
    SyncTransport,
    TopicHandler,
    Unsubscribe,
)

CONFLATES_S: Final = 0.02
"""How long an envelope waits for a newer one of its object, where the topology says so."""


class Bus(SyncTransport, AskTransport, BeatTransport, Protocol):
    """A transport that can ask and carry beats."""


class Onlooker(Protocol):
    """Who is told what passes."""

    def publishes(self, who: str, key: str, envelope: Envelope[Any]) -> None:
        """A party is about to publish."""

    def hears(self, who: str, key: str, envelope: Envelope[Any], deliver: Callable[[], None]) -> None:
        """An envelope has come; `deliver` hands it to the party."""

    def answers(self, who: str, keys: Iterable[str], epoch: int) -> None:
        """An answer has come from an authority of this epoch."""

    def interrupted(self, who: str, key: str) -> None:
        """A party was told that envelopes may have been lost."""

    def beats(self, beat: Beat, deliver: Callable[[], None]) -> None:
        """A beat has come; `deliver` hands it to the party."""

    def scanned(self, request: Request, response: Response) -> None:
        """An answer has come to a party that compares what it holds."""


class Tap:
    """One party's transport.

    Args:
        who: the party.
        inner: the transport below.
        journal: where to note asks and answers.
        onlooker: is told of envelopes.
        conflates: publish a little later, and of several versions of one object the last only.
        encodes: publish bytes, as is done between processes.
        beats: whether this transport carries beats.
        shares: it has only replicas that share their asks, or a mirror, so that it asks once at a time about one topic.
        bytes_max: the largest body; 0 for what the transport below takes.
    """

    def __init__(
        self, who: str, inner: Bus, journal: Journal, onlooker: Onlooker, *, conflates: bool = False, encodes: bool = False,
        beats: bool = True, shares: bool = False, bytes_max: int = 0,
    ) -> None:  # fmt: skip
        self.who = who
        self.inner = inner
        self.dead = False
        self.asking: Counter[str] = Counter()
        self.asked_s: list[float] = []
        self._journal = journal
        self._capabilities = attrs.evolve(inner.capabilities, beats=inner.capabilities.beats and beats)
        self._conflates = conflates
        self._encodes = encodes
        self._shares = shares
        self._bytes_max = bytes_max
        self.onlooker = onlooker
        self._waiting: dict[str, Envelope[Any]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """Those of the transport below, with beats or without."""
        return self._capabilities

    @property
    def codec(self) -> Codec:
        """That of the transport below."""
        return self.inner.codec

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """That of the transport below."""
        return self.inner.loop

    @property
    def closed(self) -> bool:
        """Whether the transport below was closed."""
        return bool(getattr(self.inner, "closed", False))

    @property
    def body_bytes_max(self) -> int:
        """The largest body."""
        limit: int = getattr(self.inner, "body_bytes_max", self.codec.frame_bytes_max)
        return self._bytes_max or limit

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        """See `SyncTransport`."""
        if self.dead:
            return
        self.onlooker.publishes(self.who, key, envelope)
        if self._encodes and envelope.body is not None and envelope.kind is Kind.STATE:
            envelope = attrs.evolve(envelope, value=envelope.body)
        if not self._conflates:
            self.inner.publish(key, envelope)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_later(CONFLATES_S, self._send)
        older = self._waiting.pop(key, None)
        if older is not None and older.epoch == envelope.epoch:
            envelope = attrs.evolve(envelope, after=min(after(older), after(envelope)))
            self._journal.reached["a version was not sent since a newer one was there"] += 1
        self._waiting[key] = envelope

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for key, envelope in waiting.items():
            if not self.dead and not self.closed:
                self.inner.publish(key, envelope)

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        """See `SyncTransport`."""

        def heard(envelope: Envelope[Any]) -> None:
            self.onlooker.hears(self.who, key, envelope, lambda: handler(envelope))

        return self.inner.subscribe(key, heard, None if interrupted is None else self._telling(key, interrupted))

    def _telling(self, key: str, interrupted: Interrupted) -> Interrupted:
        def told(reason: str) -> None:
            self._journal.note(self.who, f"is told for {key}: {reason}")
            self._journal.reached["interruption"] += 1
            interrupted(reason)
            self.onlooker.interrupted(self.who, key)

        return told

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        """See `SyncTransport`."""

        def heard(key: str, envelope: Envelope[Any]) -> None:
            self.onlooker.hears(self.who, key, envelope, lambda: handler(key, envelope))

        telling = None if interrupted is None else self._telling(topic, interrupted)
        return self.inner.subscribe_topic(topic, heard, telling, pattern=pattern)

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        """See `BeatTransport`."""

        def made(waiting: Collection[str]) -> Beat | None:
            if self.dead:
                return None
            beat = make({*waiting, *self._waiting})
            if beat is not None:
                self._journal.reached["a beat that names what was sent" if beat.named else "a beat"] += 1
            return beat

        if not self.dead:
            self.inner.publish_beat(topic, made)

    def subscribe_beats(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        """See `BeatTransport`."""
        return self.inner.subscribe_beats(topic, lambda beat: self.onlooker.beats(beat, lambda: handler(beat)))

    def key_count(self) -> int:
        """See `SyncTransport`."""
        return self.inner.key_count()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """See `AskTransport`."""
        return self.inner.spawn(work, name)

    def serve(self, topic: str, responder: Responder) -> Unsubscribe:
        """See `AskTransport`."""

        async def respond(request: Request) -> Response:
            self._alive()
            response = await responder(request)
            self._alive()
            return response

        return self.inner.serve(topic, respond)

    def answer_probes(self, topic: str, responder: ProbeResponder) -> Unsubscribe:
        """See `AskTransport`."""
        return self.inner.answer_probes(topic, lambda probe: None if self.dead else responder(probe))

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """See `AskTransport`."""
        self._alive()
        if isinstance(request, Report):
            # Nobody's state depends on it, and it goes beside the asks.
            return await self.inner.ask(topic, request, timeout_s)
        self.asked_s.append(self._journal.now_s())
        self.asking[topic] += 1
        if self.asking[topic] > 1 and self._shares:
            said = f"{self.asking[topic]} asks are under way at once, expected one a topic and process"
            self._journal.broken("P8", self.who, said)
        asked = ", ".join(map(_at, request.keys, request.positions)) if isinstance(request, Ask) else type(request).__name__
        self._journal.note(self.who, f"asks for {asked}")
        try:
            response = await self.inner.ask(topic, request, timeout_s)
        except ParasyncError as error:
            self._journal.note(self.who, f"gets no answer: {type(error).__name__}")
            self._journal.reached[f"an ask ended in {type(error).__name__}"] += 1
            raise
        except asyncio.CancelledError:
            self._journal.reached["an ask was cancelled"] += 1
            raise
        finally:
            self.asking[topic] -= 1
        if isinstance(response, Answer) and isinstance(request, Ask):
            told = ", ".join(map(_told, request.keys, response.outcomes))
            self.onlooker.answers(self.who, request.keys, response.epoch)
            author = self._journal.authors.get(response.epoch, "nobody")
            self._journal.step("message", author, self.who, f"answers {told}")
        elif isinstance(response, Digests | Scanned):
            self._journal.step("message", self._journal.authors.get(response.epoch, "nobody"), self.who, _summary(response))
            self.onlooker.scanned(request, response)
        return response

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        """See `AskTransport`."""
        self._alive()
        return await self.inner.probe(probe, timeout_s)

    def _alive(self) -> None:
        if self.dead:
            raise TransportError("got a call from a process that was killed")


def after(envelope: Envelope[Any]) -> int:
    """The sequence that was sent before this one."""
    return envelope.sequence - 1 if envelope.after is None else envelope.after


def _summary(response: Digests | Scanned) -> str:
    if isinstance(response, Digests):
        return f"answers digests of {response.count} objects"
    told = ", ".join(map(_told, response.keys, response.outcomes)) or "nothing new"
    return f"answers {told}" + ("" if response.covered is None else f", up to {response.covered}")


def _at(key: str, position: object) -> str:
    return f"{key} at {getattr(position, 'version', 'nothing')}"


def _told(key: str, outcome: object) -> str:
    if isinstance(outcome, Envelope):
        return f"{key} {'deleted ' if outcome.value is None else ''}{outcome.version}"
    return f"{key} {getattr(outcome, 'name', type(outcome).__name__).lower()}"
