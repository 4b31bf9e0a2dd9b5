"""The transport inside one process: a fan-out with no bus behind it."""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import AbstractEventLoop
from collections.abc import Coroutine, Sequence
from functools import lru_cache
from typing import Any, Final, Self

from parasync.codec import Codec, MsgpackCodec
from parasync.errors import ClosedError
from parasync.protocol import Envelope, Probe, ProbeReply, Request, Response, scope_of
from parasync.transports import _protocol as contract
from parasync.transports._beats import Beats
from parasync.transports._fanout import Fanout
from parasync.transports._inprocess_asks import LocalAsks
from parasync.transports._protocol import BeatHandler, BeatMaker, Capabilities, Handler, Interrupted, TopicHandler, Unsubscribe
from parasync.transports._tasks import Tasks

_CAPABILITIES: Final = Capabilities(lossless=True, ordered=True, threads=True, ask=True, beats=True)


@lru_cache(maxsize=1)
def _shared_codec() -> Codec:
    return MsgpackCodec()


class InProcessTransport:
    """Carries envelopes between threads and tasks of one process: lossless, ordered, without serialising anything.

    `publish` calls the handlers on the thread that publishes, before it returns; no event loop is needed. Only
    asking needs one: a responder runs in the loop in which `serve` was called. Every method may be called from any thread.

    `with` and `async with` are optional; where several enter the same transport, it is closed when the last one leaves.

    Args:
        codec: what publishers and subscribers use where they need encoded bodies; by default one that all in-process
            transports share.
    """

    def __init__(self, *, codec: Codec | None = None) -> None:
        self._fanout = Fanout()
        self._beats = Beats()
        self._codec = codec
        self._tasks = Tasks()
        self._asks = LocalAsks(self._tasks)
        self._entering = threading.Lock()
        self._entered = 0
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """Lossless, ordered, usable from any thread, and able to ask."""
        return _CAPABILITIES

    @property
    def codec(self) -> Codec:
        """Encodes and decodes bodies; what publishers and subscribers of one bus share."""
        return _shared_codec() if self._codec is None else self._codec

    @property
    def loop(self) -> AbstractEventLoop | None:
        """None: any loop will do."""
        return None

    @property
    def closed(self) -> bool:
        """Whether the transport was closed."""
        return self._closed

    @property
    def body_bytes_max(self) -> int:
        """No limit, since nothing is encoded."""
        return sys.maxsize

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        """Call the handler of every current subscriber of the key, and return when all were called.

        Inside a handler: after the delivery that is under way.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: handlers publish more than they receive, without end.
        """
        fanout = self._fanout
        targets = fanout.routes.get(key)
        if targets is None:
            targets = fanout.merge(key)
        if targets:
            fanout.deliver(targets, key, envelope)

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        """Call `handler` with every envelope that is published for the key from now on, on the publishing thread.

        Args:
            key: the full key.
            handler: a plain function that takes the envelope and does not block.
            interrupted: called when the transport is closed, and never before, since nothing is ever lost.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: the handler is not a plain function.
        """
        return self._fanout.subscribe(key, handler, interrupted)

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        """Call `handler` with the key and envelope of every object of the topic from now on, whatever the pattern.

        Raises:
            InvalidKeyError: the topic does not follow the grammar, or the pattern is not one of this topic.
            ClosedError: the transport was closed.
            UsageError: the handler is not a plain function.
        """
        scope_of(topic, pattern)
        return self._fanout.subscribe_topic(topic, handler, interrupted)

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        """Call the handlers of everybody who listens to the beats of the topic. No authority does: nothing is ever lost here.

        Args:
            topic: the name of the topic.
            make: makes the beat; a plain function that must not block.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
        """
        self._beats.check(topic)
        beat = make(())
        if beat is not None:
            self._beats.deliver(topic, beat)

    def subscribe_beats(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        """Call `handler` with every beat of the topic from now on, on the thread that publishes it.

        Args:
            topic: the name of the topic.
            handler: a plain function that gets each beat; it must not block.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: the handler is not a plain function.
        """
        return self._beats.subscribe(topic, handler)

    def key_count(self) -> int:
        """The number of keys (and topics) with at least one live subscriber."""
        return self._fanout.key_count()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run background work in the running loop until it is done or the transport is closed.

        Raises:
            ClosedError: the transport was closed.
            UsageError: there is no running event loop in this thread.
        """
        return self._tasks.spawn(work, name)

    def serve(self, topic: str, responder: contract.Responder) -> Unsubscribe:
        """Answer the requests for a topic, in the running loop. Where several serve a topic, they take turns.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: there is no running event loop in this thread.
        """
        return self._asks.serve(topic, responder)

    def answer_probes(self, topic: str, responder: contract.ProbeResponder) -> Unsubscribe:
        """Answer probes for a topic: in the running loop, or on the thread of the prober where there is none now.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
        """
        return self._asks.answer_probes(topic, responder)

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """Ask the authority of a topic. An asker that is cancelled or stops waiting does not stop the authority.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            UsageError: `timeout_s` is not a number above 0.
            NoAuthorityError: nobody serves the topic.
            AskTimeoutError: no answer within `timeout_s` seconds.
            TransportError: the authority failed or stopped while it answered.
            ClosedError: the transport was closed.
        """
        return await self._asks.ask(topic, request, timeout_s)

    def ask_blocking(self, topic: str, request: Request, timeout_s: float) -> Response:
        """Ask the authority of a topic from a thread that has no event loop to wait in; the arguments are those of `ask`.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            UsageError: the authority has to answer on this very thread; or `timeout_s` is not a number above 0.
            NoAuthorityError: nobody serves the topic.
            AskTimeoutError: no answer within `timeout_s` seconds.
            TransportError: the authority failed or stopped while it answered.
            ClosedError: the transport was closed.
        """
        return self._asks.ask_blocking(topic, request, timeout_s)

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        """Ask everybody on the topic of the probe; waits up to `timeout_s` seconds for those in other event loops only.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            UsageError: `timeout_s` is not a number above 0.
            ClosedError: the transport was closed.
        """
        return await self._asks.probe(probe, timeout_s)

    def close(self) -> None:
        """End all subscriptions and serving at once and cancel the background work, without waiting for it. Idempotent."""
        self._closed = True
        # First, so that who is told by the fan-out finds nobody to ask any more.
        self._asks.close()
        try:
            self._fanout.stop()
        finally:
            self._beats.stop()
            self._tasks.cancel()

    async def aclose(self) -> None:
        """Like `close`, and wait until the background work has ended."""
        self.close()
        await self._tasks.join()

    def __enter__(self) -> Self:
        with self._entering:
            if self._closed:
                raise ClosedError("got 'with' on a closed transport, expected an open one")
            self._entered += 1
        return self

    def __exit__(self, *_: object) -> None:
        if self._left():
            self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        if self._left():
            await self.aclose()

    def __repr__(self) -> str:
        return f"<InProcessTransport{' closed' if self._closed else ''}: {self.key_count()} keys>"

    def _left(self) -> bool:
        with self._entering:
            self._entered -= 1
            if self._entered == 0:
                self._closed = True
            return self._entered == 0
