"""A transport behind a bad network: what is wrong with it, a seed decides."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from parasync.codec import Codec
from parasync.errors import ClosedError, UsageError
from parasync.protocol import Envelope, Probe, ProbeReply, Request, Response, check_topic, parse_key, scope_of
from parasync.testing._faults import Fates, Faults, Struck
from parasync.testing._faulty_asks import FaultyAsks
from parasync.testing._faulty_beats import FaultyBeats
from parasync.testing._line import Line
from parasync.testing._link import Link, Trouble
from parasync.testing._spoiling import EnvelopeSpoiler
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
from parasync.transports._fanout import check_handler
from parasync.transports._protocol import check_transport
from parasync.transports._tasks import Tasks


class FaultyTransport:
    """Connects one party to a bus, badly: loses, repeats, reorders, delays, damages and keeps what it says and hears.

    Works around any transport, with the thread and the event loop that this demands; faults that take time need a running event
    loop, and take none but its own. Faults strike what is published through it, and once more what is heard through it: give
    each party its own around one bus, and each has a connection of its own to lose. `async with` enters the transport below,
    and closes it.

    Args:
        inner: the transport below.
        faults: what strikes, and how often; nothing by default, for faults by hand only.

    Raises:
        UsageError: `inner` is no transport.
    """

    def __init__(self, inner: SyncTransport, faults: Faults | None = None) -> None:
        check_transport(inner)
        self.inner = inner
        self._link = Link(Faults() if faults is None else faults, lambda: self.loop)
        asker = inner if isinstance(inner, AskTransport) else None
        self._asking_half = None if asker is None else (FaultyAsks(asker, self._link), asker)
        self._tasks = Tasks()
        self._names: dict[str, int] = {}
        self._subscriptions: dict[Line, Unsubscribe] = {}
        self._spoiler = EnvelopeSpoiler(inner.codec)
        self._out = Line(self._link, self._fates("out"), "outgoing", self._spoiler, inner.publish, None)
        self._beats: FaultyBeats | None = None
        if inner.capabilities.beats and isinstance(inner, BeatTransport):
            self._beats = FaultyBeats(inner, self._link, self._fates, inner.codec, lambda: self._out.waiting)

    @property
    def faults(self) -> Faults:
        """What strikes, and how often."""
        return self._link.faults

    @property
    def fired(self) -> Mapping[str, int]:
        """How many messages, requests and answers each kind of fault really hit until now."""
        return dict(self._link.tally)

    @property
    def struck(self) -> tuple[Struck, ...]:
        """What the seed let strike until now, in order; `Faults(only=…)` repeats a part of it."""
        return tuple(self._link.strikes.recent)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the transport below, but never lossless, and not ordered where something is reordered."""
        below = self.inner.capabilities
        ordered = below.ordered and not self.faults.reorder
        asks = below.ask and self._asking_half is not None
        beats = self._beats is not None
        return Capabilities(lossless=False, ordered=ordered, threads=below.threads, ask=asks, beats=beats)

    @property
    def codec(self) -> Codec:
        """That of the transport below."""
        return self.inner.codec

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """That of the transport below."""
        return getattr(self.inner, "loop", None)

    @property
    def closed(self) -> bool:
        """Whether this or the transport below was closed."""
        return self._link.closed or getattr(self.inner, "closed", False)

    @property
    def body_bytes_max(self) -> int:
        """That of the transport below; that of the codec where this has none."""
        limit: int = getattr(self.inner, "body_bytes_max", self.codec.frame_bytes_max)
        return limit

    def heal(self) -> None:
        """End all that is wrong, let go all that waits, and let no fault strike any more."""
        self._link.heal()

    def partition(self, *, incoming: bool = True, outgoing: bool = True) -> None:
        """Let nothing pass, in one direction or both, until `heal`; nobody is told.

        Args:
            incoming: nothing that others say is heard.
            outgoing: nobody hears what is said here.
        """
        chosen: tuple[tuple[Trouble, bool], ...] = (("incoming", incoming), ("outgoing", outgoing))
        self._link.begin(*[trouble for trouble, wanted in chosen if wanted])

    def disconnect(self) -> None:
        """Have no connection until `heal`: nothing is heard, asks fail, publishes wait; then subscribers are told."""
        self._link.begin("disconnect")

    def hang(self) -> None:
        """Let nothing move until `heal`; then everything comes."""
        self._link.begin("hang")

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        """See `SyncTransport`; what is wrong with the envelope is only found when, and if, it reaches the transport below.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            ClosedError: the transport was closed.
        """
        parse_key(key)
        self._check_open("publish")
        self._out.put(key, envelope)

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        """See `SyncTransport`."""
        parse_key(key)
        check_handler(handler)
        line = self._heard(key, lambda _, envelope: handler(envelope), interrupted)
        return self._joined(line, lambda: self.inner.subscribe(key, lambda envelope: line.put(key, envelope), _told(line)))

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        """See `SyncTransport`."""
        scope_of(topic, pattern)
        check_handler(handler)
        line = self._heard(pattern or f"{topic}:*", handler, interrupted)
        return self._joined(line, lambda: self.inner.subscribe_topic(topic, line.put, _told(line), pattern=pattern))

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        """See `BeatTransport`; what waits here was not sent.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
        """
        check_topic(topic)
        self._beating().publish(topic, make)

    def subscribe_beats(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        """See `BeatTransport`."""
        check_topic(topic)
        check_handler(handler)
        inner = self.inner
        line = self._beating().heard(topic, handler)
        assert isinstance(inner, BeatTransport)  # noqa: S101  # or there would be no beats
        return self._joined(line, lambda: inner.subscribe_beats(topic, lambda beat: line.put(topic, beat)))

    def key_count(self) -> int:
        """See `SyncTransport`."""
        return self.inner.key_count()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """See `AskTransport`; works on transports that cannot ask, too."""
        return (self._tasks if self._asking_half is None else self._asking_half[1]).spawn(work, name)

    def serve(self, topic: str, responder: Responder) -> Unsubscribe:
        """See `AskTransport`."""
        asks, inner = self._asking()
        return inner.serve(topic, asks.serving(responder))

    def answer_probes(self, topic: str, responder: ProbeResponder) -> Unsubscribe:
        """See `AskTransport`."""
        asks, inner = self._asking()
        return inner.answer_probes(topic, asks.probed(responder))

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """See `AskTransport`. The request may be lost, doubled or late; and so may the answer, which also may be damaged."""
        return await self._asking()[0].ask(topic, request, timeout_s)

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        """See `AskTransport`. It may be that nobody is heard."""
        return await self._asking()[0].probe(probe, timeout_s)

    def close(self) -> None:
        """End everything that waits here, and close the transport below if it can be closed like this. Idempotent."""
        self._end()
        close = getattr(self.inner, "close", None)
        if close is not None:
            close()

    async def aclose(self) -> None:
        """Like `close`, and wait until the transport below is closed."""
        self._end()
        await self._tasks.join()
        aclose: Callable[[], Coroutine[Any, Any, None]] | None = getattr(self.inner, "aclose", None)
        if aclose is not None:
            await aclose()

    async def __aenter__(self) -> Self:
        if isinstance(self.inner, contextlib.AbstractAsyncContextManager):
            await self.inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        await self._tasks.join()
        if isinstance(self.inner, contextlib.AbstractAsyncContextManager):
            await self.inner.__aexit__(kind, error, trace)

    def __repr__(self) -> str:
        return f"<FaultyTransport around {self.inner!r}, seed {self.faults.seed}: {self.fired}>"

    def _fates(self, name: str) -> Fates:
        number = self._names[name] = self._names.get(name, 0) + 1
        return Fates(self._link.faults, f"{name} {number}", self._link.strikes.note)

    def _heard(self, name: str, deliver: Callable[[str, Envelope[Any]], None], interrupted: Interrupted | None) -> Line:
        return Line(self._link, self._fates(f"in {name}"), "incoming", self._spoiler, deliver, interrupted)

    def _joined(self, line: Line, subscribe: Callable[[], Unsubscribe]) -> Unsubscribe:
        try:
            self._check_open("subscribe")
            self._subscriptions[line] = end = subscribe()
        except BaseException:
            line.end()
            raise

        def unsubscribe() -> None:
            line.end()
            self._subscriptions.pop(line, None)
            end()

        return unsubscribe

    def _end(self) -> None:
        """End what is this party's, whoever else uses the transport below."""
        if self._link.closed:
            return
        self._link.close(ClosedError("the transport was closed"))
        self._tasks.cancel()
        for line, end in list(self._subscriptions.items()):
            line.close()
            end()
        self._subscriptions.clear()

    def _check_open(self, what: str) -> None:
        if self._link.closed:
            raise ClosedError(f"got {what} on a closed transport, expected an open one")

    def _beating(self) -> FaultyBeats:
        self._check_open("a beat")
        if self._beats is None:
            raise UsageError(f"got a beat over a {type(self.inner).__name__}, expected a transport that carries beats")
        return self._beats

    def _asking(self) -> tuple[FaultyAsks, AskTransport]:
        self._check_open("an ask")
        if self._asking_half is None:
            raise UsageError(f"got an ask over a {type(self.inner).__name__}, expected a transport that can ask")
        return self._asking_half


def _told(line: Line) -> Interrupted | None:
    return line.tell if line.is_told else None
