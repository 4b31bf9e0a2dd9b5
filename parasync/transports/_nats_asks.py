"""Asking and probing over a bus: requests with replies to an inbox of our own, and nobody waits for what cannot come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from itertools import count
from secrets import token_hex
from typing import Final

from parasync.codec import Codec
from parasync.errors import AskTimeoutError, DecodeError, EncodeError, NoAuthorityError, ParasyncError, TransportError
from parasync.protocol import Probe, ProbeReply, Request, Response
from parasync.transports._nats_diagnosis import Denial
from parasync.transports._nats_lines import Line
from parasync.transports._nats_service import failure_of
from parasync.transports._nats_wire import Wire
from parasync.transports._seal import sealed, unsealed
from parasync.transports._subjects import SubjectMap, check_subject
from parasync.transports._tasks import check_timeout
from parasync.transports._wire import decode_response, encode_request
from parasync.transports._wire_probe import decode_probe_reply, encode_probe

UNANSWERED_MAX: Final = 3
"""After so many unanswered requests in a row the inbox is subscribed to anew."""
PROBE_REPLIES_MAX: Final = 1024
"""The most replies to one probe that are kept; more are ignored."""

_NO_RESPONDERS: Final = b"NATS/1.0 503"


class _Pending:
    """One question under way. `arrived` gets data and headers of each reply."""

    __slots__ = ("arrived", "failed", "subject")

    def __init__(
        self, subject: str, arrived: Callable[[bytes, bytes | None], None], failed: Callable[[ParasyncError], None]
    ) -> None:
        self.subject = subject
        self.arrived = arrived
        self.failed = failed


class NatsAsks:
    """The asking side of a connection to a bus.

    Args:
        wire: what carries requests.
        subjects: where authorities are.
        codec: how requests and answers are encoded.
        inbox_prefix: where replies arrive; a name of one's own keeps other users from reading them.
        why_down: why there is no connection now.
    """

    def __init__(
        self, wire: Wire, subjects: SubjectMap, codec: Codec, inbox_prefix: str, why_down: Callable[[], TransportError]
    ) -> None:
        self._wire = wire
        self._subjects = subjects
        self._codec = codec
        self._inbox = f"{inbox_prefix}.{token_hex(11)}"
        self._why_down = why_down
        self._line: Line | None = None
        self._pending: dict[bytes, _Pending] = {}
        self._tokens = count(1)
        self._unanswered = 0

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """See `NatsTransport.ask`."""
        check_timeout(timeout_s)
        subject = self._subjects.of_ask(topic, request.verb)
        data = sealed(encode_request(request, self._codec), subject.encode())
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def arrived(data: bytes, headers: bytes | None) -> None:
            if answer.done():
                return
            if headers is not None and headers.startswith(_NO_RESPONDERS):
                answer.set_exception(NoAuthorityError(f"nobody serves the topic {topic!r} on this bus"))
                return
            failure = failure_of(headers)
            if failure is None:
                answer.set_result(data)
            else:
                answer.set_exception(failure)

        token = self._say(subject, data, _Pending(subject, arrived, _fail(answer)))
        try:
            async with asyncio.timeout(timeout_s):
                body = await answer
        except TimeoutError:
            raise AskTimeoutError(f"got no answer from the authority of {topic!r} within {timeout_s:g} s", timeout_s) from None
        finally:
            self._pending.pop(token, None)
            # Whoever asks may have a timeout of his own, which then ends this one.
            if not answer.done() or answer.cancelled():
                self._not_answered()
            _settle(answer)
        return decode_response(request, unsealed(body, data), self._codec)

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        """See `NatsTransport.probe`."""
        check_timeout(timeout_s)
        subject = self._subjects.of_probe(probe.topic)
        data = sealed(encode_probe(probe, self._codec), subject.encode())
        replies: list[ProbeReply] = []

        def arrived(reply: bytes) -> None:
            if len(replies) < PROBE_REPLIES_MAX:
                with contextlib.suppress(DecodeError):
                    replies.append(decode_probe_reply(unsealed(reply, data), self._codec))

        await self.gather(subject, data, arrived, timeout_s)
        return replies

    async def gather(
        self,
        subject: str,
        data: bytes,
        arrived: Callable[[bytes], None],
        timeout_s: float,
        *,
        quiet_s: float | None = None,
        spread_s: float = 0.0,
    ) -> None:
        """Ask everybody on a subject, and hand on what each of them answers.

        Args:
            subject: where they listen.
            data: the sealed question.
            arrived: gets each answer.
            timeout_s: how long to wait for answers, in seconds; it ends at once where nobody listens.
            quiet_s: how long to wait for the next answer, in seconds; None for as long as there is time.
            spread_s: within how many seconds answers are to come, however long nobody answers meanwhile.

        Raises:
            TransportError: there is no connection, or a permission is missing.
        """
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        clock = asyncio.get_running_loop().time
        begun_s = clock()
        end_s = begun_s + timeout_s
        deadline = asyncio.timeout_at(end_s)

        def replied(reply: bytes, headers: bytes | None) -> None:
            if headers is None or not headers.startswith(_NO_RESPONDERS):
                arrived(reply)
                if quiet_s is not None and not deadline.expired():
                    deadline.reschedule(min(end_s, max(clock(), begun_s + spread_s) + quiet_s))
            elif not over.done():
                over.set_result(None)

        token = self._say(subject, data, _Pending(subject, replied, _fail(over)))
        try:
            async with deadline:
                await over
        except TimeoutError:
            pass
        finally:
            self._pending.pop(token, None)
            _settle(over)

    def _not_answered(self) -> None:
        """Several in a row: it may be the inbox, since nobody tells of a subscription that got damaged on its way."""
        self._unanswered += 1
        if self._unanswered >= UNANSWERED_MAX and self._line is not None:
            self._unanswered = 0
            self._wire.again(self._line)

    def denied(self, denial: Denial) -> None:
        """Take note of a missing permission: questions that it concerns fail, later ones try again."""
        if self._line is not None and not denial.publishing and denial.subject == self._line.subject.lower():
            self._wire.shut(self._line)
            self._line = None
            self.fail(TransportError(str(denial)))
        for pending in list(self._pending.values()):
            if denial.publishing and pending.subject.lower() == denial.subject:
                pending.failed(TransportError(str(denial)))

    def fail(self, error: ParasyncError) -> None:
        """Nothing will arrive any more for what is under way."""
        pending, self._pending = self._pending, {}
        for question in pending.values():
            question.failed(error)

    def _say(self, subject: str, data: bytes, pending: _Pending) -> bytes:
        link = self._wire.link
        if link is None:
            raise self._why_down()
        if len(data) > link.payload_bytes_max:
            raise EncodeError(f"got a request of {len(data)} bytes, expected at most {link.payload_bytes_max} on this bus")
        if self._line is None:
            self._line = self._wire.open(f"{self._inbox}.*", self._received)
        token = b"%d" % next(self._tokens)
        if not self._wire.publish(check_subject(subject).encode(), data, reply=b"%b.%b" % (self._inbox.encode(), token)):
            raise TransportError("the outbox is full of requests and answers that the network does not take; ask again later")
        self._pending[token] = pending
        return token

    def _received(self, subject: bytes, _: bytes, data: bytes, headers: bytes | None) -> None:
        self._unanswered = 0
        pending = self._pending.get(subject.rpartition(b".")[2])
        if pending is not None:
            pending.arrived(data, headers)


def _fail(future: asyncio.Future[bytes] | asyncio.Future[None]) -> Callable[[ParasyncError], None]:
    def failed(error: ParasyncError) -> None:
        if not future.done():
            future.set_exception(error)

    return failed


def _settle(future: asyncio.Future[bytes] | asyncio.Future[None]) -> None:
    # A failure that came in the moment of a cancellation has nobody else to be seen by.
    if future.done() and not future.cancelled():
        future.exception()
