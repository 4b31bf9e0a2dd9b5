"""What is said over a NATS transport besides envelopes: requests and answers, probes, and beats."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from parasync.codec import Codec
from parasync.errors import UsageError
from parasync.protocol import Probe, ProbeReply, Request, Response, StatusQuery, check_topic
from parasync.transports import _protocol as contract
from parasync.transports._nats_service import ProbeDesk, Service
from parasync.transports._nats_session import Session
from parasync.transports._nats_status import Heard
from parasync.transports._protocol import Unsubscribe
from parasync.transports._subjects import SubjectMap
from parasync.transports._tasks import Tasks


class Conversation:
    """The optional parts of the contract of transports, for `NatsTransport`."""

    _session: Session
    _subjects: SubjectMap
    _codec: Codec
    _tasks: Tasks

    def publish_beat(self, topic: str, make: contract.BeatMaker) -> None:
        """Put a beat into the outbox; it is made when its turn has come. Without a connection it is left out.

        So is one where `BEATS_WAITING_MAX` of the topic wait already.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with`, or from another thread or loop.
        """
        check_topic(topic)
        self._session.check("publish_beat")
        self._session.beats.publish(topic, make)

    def subscribe_beats(self, topic: str, handler: contract.BeatHandler) -> Unsubscribe:
        """Call `handler` in the loop of this transport with every beat of the topic from now on.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with` or from another thread or loop, or the handler is no plain function.
        """
        check_topic(topic)
        self._session.check("subscribe_beats")
        return self._session.beats.subscribe(topic, handler)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run background work in the running loop until it is done or the transport is closed.

        Raises:
            ClosedError: the transport was closed.
            UsageError: called outside of `async with`, or from another thread or loop.
        """
        try:
            self._session.check("spawn")
        except UsageError:
            work.close()
            raise
        return self._tasks.spawn(work, name)

    def serve(self, topic: str, responder: contract.Responder) -> Unsubscribe:
        """Answer the requests for a topic, as a NATS micro service. Where several serve a topic, they take turns.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with`, or from another thread or loop.
        """
        check_topic(topic)
        self._session.check("serve")
        close = Service(topic, responder, self._session.wire, self._subjects, self._codec, self._tasks).close
        return lambda: self._session.in_loop(close)

    def answer_probes(self, topic: str, responder: contract.ProbeResponder) -> Unsubscribe:
        """Answer probes for a topic, in the read loop of this transport.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with`, or from another thread or loop.
        """
        check_topic(topic)
        self._session.check("answer_probes")
        line = ProbeDesk(topic, responder, self._session.wire, self._subjects, self._codec).open()
        return lambda: self._session.in_loop(self._session.wire.shut, line)

    def answer_status(self, source: contract.StatusSource) -> Unsubscribe:
        """Tell onlookers such as `parasync top` what this source says, on a subject that all processes share.

        Raises:
            ClosedError: the transport was closed.
            UsageError: called outside of `async with`, or from another thread or loop.
        """
        self._session.check("answer_status")
        end = self._session.status.answer(source, self._tasks.spawn)
        return lambda: self._session.in_loop(end)

    async def survey(self, query: StatusQuery, timeout_s: float) -> list[Heard]:
        """Ask every process on the bus how it does; returns as soon as no more answers come.

        Args:
            query: what to ask.
            timeout_s: how long to collect answers at most, in seconds.

        Raises:
            TransportError: the bus is not there, or a permission is missing.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with` or from another loop.
        """
        self._session.check("survey")
        return await self._session.status.survey(query, timeout_s)

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """Ask the authority of a topic. Fails at once where nobody serves it, or there is no connection now.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            EncodeError: the request cannot be encoded or is too large for this bus.
            NoAuthorityError: nobody serves the topic.
            AskTimeoutError: no answer within `timeout_s` seconds.
            DecodeError: what came back is not an answer to this request.
            TransportError: the bus is not there, a permission is missing, or the authority failed.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with` or from another loop, or `timeout_s` is not above 0.
        """
        self._session.check("ask")
        return await self._session.asks.ask(topic, request, timeout_s)

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        """Ask everybody on the topic of the probe for `timeout_s` seconds; returns at once where there is nobody.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            TransportError: the bus is not there, or a permission is missing.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with` or from another loop, or `timeout_s` is not above 0.
        """
        self._session.check("probe")
        return await self._session.asks.probe(probe, timeout_s)
