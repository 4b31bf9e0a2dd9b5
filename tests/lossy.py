"""A bus that a test can make as bad as it likes: it loses, repeats, reorders, cuts off, and admits that it may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

from parasync import Capabilities, Codec, Envelope, InProcessTransport
from parasync.errors import NoAuthorityError
from parasync.protocol import Probe, ProbeReply, Request, Response
from parasync.transports._protocol import Handler, Interrupted, ProbeResponder, Responder, TopicHandler, Unsubscribe


class LossyTransport:
    """An in-process transport behind a network that obeys the test, in one event loop.

    `pass_live(key, envelope)` returns what becomes of each published envelope: a list of those that arrive, in order, empty
    for a loss. While `cut` is set, nothing passes, and asks find nobody.
    """

    capabilities = Capabilities(lossless=False, ordered=True, threads=False, ask=True)

    def __init__(self, inner: InProcessTransport | None = None) -> None:
        self.inner = inner or InProcessTransport()
        self.pass_live: Callable[[str, Envelope[Any]], list[Envelope[Any]]] = lambda _, envelope: [envelope]
        self.cut = False
        self.asked = asyncio.Event()
        self.asks = 0
        self._interrupted: list[Interrupted] = []

    @property
    def codec(self) -> Codec:
        """That of the transport behind."""
        return self.inner.codec

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """Bound to none."""
        return None

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        """Hand over what the test lets pass."""
        if not self.cut:
            for arriving in self.pass_live(key, envelope):
                self.inner.publish(key, arriving)

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        """See `SyncTransport`."""
        if interrupted is not None:
            self._interrupted.append(interrupted)

        def hear(envelope: Envelope[Any]) -> None:
            if not self.cut:
                handler(envelope)

        return self.inner.subscribe(key, hear, interrupted)

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        """See `SyncTransport`."""
        if interrupted is not None:
            self._interrupted.append(interrupted)

        def hear(key: str, envelope: Envelope[Any]) -> None:
            if not self.cut:
                handler(key, envelope)

        return self.inner.subscribe_topic(topic, hear, interrupted, pattern=pattern)

    def interrupt(self, reason: str) -> None:
        """Tell all subscribers that something may have been lost."""
        for interrupted in self._interrupted:
            interrupted(reason)

    def key_count(self) -> int:
        """See `SyncTransport`."""
        return self.inner.key_count()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """See `AskTransport`."""
        return self.inner.spawn(work, name)

    def serve(self, topic: str, responder: Responder) -> Unsubscribe:
        """See `AskTransport`."""
        return self.inner.serve(topic, responder)

    def answer_probes(self, topic: str, responder: ProbeResponder) -> Unsubscribe:
        """See `AskTransport`."""
        return self.inner.answer_probes(topic, responder)

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """Counted; and nobody is there while the network is cut."""
        self.asks += 1
        self.asked.set()
        if self.cut:
            raise NoAuthorityError(f"nobody serves {topic!r}")
        return await self.inner.ask(topic, request, timeout_s)

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        """Nobody hears it while the network is cut."""
        return () if self.cut else await self.inner.probe(probe, timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.inner.aclose()
