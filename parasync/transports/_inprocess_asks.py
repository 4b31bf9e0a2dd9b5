"""Asking inside one process: from any thread or loop to the loop in which the authority answers."""

from __future__ import annotations

import asyncio
import threading
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from concurrent.futures import Future as ThreadFuture
from typing import TypeAlias, TypeVar

import attrs

from parasync.errors import AskTimeoutError, ClosedError, NoAuthorityError, TransportError, UsageError
from parasync.protocol import Probe, ProbeReply, Request, Response, check_topic
from parasync.transports._answering import Desk, replied, stopped
from parasync.transports._protocol import ProbeResponder, Responder, Unsubscribe
from parasync.transports._tasks import Tasks, call_in, check_timeout, current_loop, running_loop

T = TypeVar("T")
_Outcome: TypeAlias = Response | TransportError


@attrs.frozen(eq=False)
class _Server:
    """Who answers, and the loop and thread in which it has to."""

    desk: Desk
    loop: AbstractEventLoop
    thread: int


@attrs.frozen(eq=False)
class _Prober:
    responder: ProbeResponder
    loop: AbstractEventLoop | None


class LocalAsks:
    """Who serves which topic in this process, and how they are asked. The methods are those of the transport."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._lock = threading.Lock()
        self._servers: dict[str, tuple[_Server, ...]] = {}
        self._probers: dict[str, tuple[_Prober, ...]] = {}
        self._asked = 0
        self._closed = False

    def serve(self, topic: str, responder: Responder) -> Unsubscribe:
        """Answer in the running loop; see `InProcessTransport.serve`."""
        check_topic(topic)
        return self._join(self._servers, topic, _Server(Desk(topic, responder), running_loop("serve"), threading.get_ident()))

    def answer_probes(self, topic: str, responder: ProbeResponder) -> Unsubscribe:
        """See `InProcessTransport.answer_probes`."""
        check_topic(topic)
        return self._join(self._probers, topic, _Prober(responder, current_loop()))

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """See `InProcessTransport.ask`."""
        server = self._pick(topic, timeout_s)
        future: asyncio.Future[_Outcome]
        if server.loop is asyncio.get_running_loop():
            future = self._tasks.spawn(server.desk.answer(request), f"answer for {topic}")
        else:
            future = asyncio.wrap_future(self._bridge(topic, server, request))
        # Waiting like this neither cancels the authority's work with ours, nor mistakes its cancellation for ours.
        done, _ = await asyncio.wait((future,), timeout=timeout_s)
        return self._checked(topic, None if not done else stopped() if future.cancelled() else future.result(), timeout_s)

    def ask_blocking(self, topic: str, request: Request, timeout_s: float) -> Response:
        """See `InProcessTransport.ask_blocking`."""
        server = self._pick(topic, timeout_s)
        if server.thread == threading.get_ident():
            raise UsageError(f"got ask_blocking for {topic!r} on the thread that has to answer, expected 'await ask' there")
        future = self._bridge(topic, server, request)
        try:
            outcome = future.result(timeout_s)
        except TimeoutError:
            outcome = None
        return self._checked(topic, outcome, timeout_s)

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        """See `InProcessTransport.probe`."""
        check_topic(probe.topic)
        check_timeout(timeout_s)
        self._check_open("probe")
        loop = asyncio.get_running_loop()
        replies = []
        elsewhere = []
        for prober in self._probers.get(probe.topic, ()):
            if prober.loop is None or prober.loop is loop:
                replies.append(replied(probe.topic, prober.responder, probe))
            else:
                elsewhere.append(asyncio.wrap_future(call_in(prober.loop, replied, probe.topic, prober.responder, probe)))
        if elsewhere:
            done, _ = await asyncio.wait(elsewhere, timeout=timeout_s)
            replies += [future.result() for future in elsewhere if future in done]
        return [reply for reply in replies if reply is not None]

    def close(self) -> None:
        """End all serving at once."""
        with self._lock:
            self._closed = True
            self._servers, self._probers = {}, {}

    def _check_open(self, what: str) -> None:
        if self._closed:
            raise ClosedError(f"got {what} on a closed transport, expected an open one")

    def _join(self, table: dict[str, tuple[T, ...]], topic: str, member: T) -> Unsubscribe:
        with self._lock:
            self._check_open("serve")
            table[topic] = (*table.get(topic, ()), member)
        return lambda: self._leave(table, topic, member)

    def _leave(self, table: dict[str, tuple[T, ...]], topic: str, member: T) -> None:
        with self._lock:
            others = tuple([other for other in table.get(topic, ()) if other is not member])
            if others:
                table[topic] = others
            else:
                table.pop(topic, None)

    def _pick(self, topic: str, timeout_s: float) -> _Server:
        check_topic(topic)
        check_timeout(timeout_s)
        self._check_open("ask")
        servers = self._servers.get(topic, ())
        if not servers:
            raise NoAuthorityError(f"nobody serves the topic {topic!r} on this transport")
        self._asked += 1
        return servers[self._asked % len(servers)]

    def _bridge(self, topic: str, server: _Server, request: Request) -> ThreadFuture[_Outcome]:
        future: ThreadFuture[_Outcome] = ThreadFuture()

        def start() -> None:
            try:
                task = self._tasks.spawn(server.desk.answer(request), f"answer for {topic}")
            except ClosedError:
                future.set_result(stopped())
            else:
                task.add_done_callback(finish)

        def finish(task: asyncio.Task[_Outcome]) -> None:
            future.set_result(stopped() if task.cancelled() or task.exception() else task.result())

        try:
            server.loop.call_soon_threadsafe(start)
        except RuntimeError:
            raise NoAuthorityError(f"the event loop of the authority of {topic!r} was closed") from None
        return future

    def _checked(self, topic: str, outcome: _Outcome | None, timeout_s: float) -> Response:
        if outcome is None:
            raise AskTimeoutError(f"got no answer from the authority of {topic!r} within {timeout_s:g} s", timeout_s)
        if isinstance(outcome, TransportError):
            self._check_open("ask")
            raise outcome
        return outcome
