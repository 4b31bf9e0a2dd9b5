"""Answering over a bus: each topic that is served is a NATS micro service, which the `nats` tool lists with statistics.

The form of what a service says about itself is that of NATS architecture decision record 32.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Final, NamedTuple

from parasync.codec import Codec
from parasync.errors import ClosedError, DecodeError, EncodeError, InvalidKeyError, ParasyncError, TransportError
from parasync.protocol import Ask, Compare, ListKeys, Put, Response, Scan
from parasync.transports._answering import Desk, refusal, replied
from parasync.transports._fanout import report
from parasync.transports._nats_lines import Line
from parasync.transports._nats_wire import Wire
from parasync.transports._protocol import ProbeResponder, Responder
from parasync.transports._seal import sealed, unsealed
from parasync.transports._subjects import SubjectMap, check_subject
from parasync.transports._tasks import Tasks
from parasync.transports._wire import decode_probe, decode_request, encode_probe_reply, encode_response

SERVICE_VERSION: Final = "1.0.0"
"""The version of the requests that authorities answer, as the `nats` tool shows it."""
FAILURE_CHARS_MAX: Final = 300
"""The longest text of a failure that travels to the asker; what is over is cut off."""

_VERBS: Final = (Ask.verb, ListKeys.verb, Put.verb, Compare.verb, Scan.verb)
_ERROR: Final = "Nats-Service-Error"
_ERROR_PATTERN: Final = re.compile(rb"\r\nNats-Service-Error: ?([^\r\n]*)\r\n")


class _Endpoint:
    """The statistics of one verb."""

    __slots__ = ("errors", "last_error", "requests", "subject", "time_ns", "verb")

    def __init__(self, verb: str, subject: str) -> None:
        self.verb = verb
        self.subject = subject
        self.requests = 0
        self.errors = 0
        self.time_ns = 0
        self.last_error = ""

    def about(self, *, statistics: bool) -> dict[str, Any]:
        about: dict[str, Any] = {"name": self.verb, "subject": self.subject, "queue_group": "q"}
        if not statistics:
            return {**about, "metadata": {}}
        mean_ns = self.time_ns // self.requests if self.requests else 0
        return {
            **about,
            "num_requests": self.requests,
            "num_errors": self.errors,
            "last_error": self.last_error,
            "processing_time": self.time_ns,
            "average_processing_time": mean_ns,
            "data": None,
        }


class Service:
    """Serves one topic: answers its requests, and tells what it is and how it does.

    Args:
        topic: what is served.
        responder: who answers.
        wire: what carries requests and answers.
        subjects: where requests arrive.
        codec: how they are encoded.
        tasks: owns the work.
    """

    def __init__(
        self, topic: str, responder: Responder, wire: Wire, subjects: SubjectMap, codec: Codec, tasks: Tasks
    ) -> None:
        self._topic = topic
        self._desk = Desk(topic, responder)
        self._wire = wire
        self._subjects = subjects
        self._codec = codec
        self._tasks = tasks
        self._id = token_hex(11)
        self._name = "parasync-" + re.sub(r"[^A-Za-z0-9_-]", "_", topic)
        self._started = datetime.now(UTC)
        self._endpoints = [_Endpoint(verb, check_subject(subjects.of_ask(topic, verb))) for verb in _VERBS]
        self._lines = [wire.open(endpoint.subject, self._answerer(endpoint), "q") for endpoint in self._endpoints]
        for scope in ("", f".{self._name}", f".{self._name}.{self._id}"):
            self._lines += [wire.open(f"$SRV.{verb}{scope}", self._teller(verb)) for verb in ("PING", "INFO", "STATS")]

    def close(self) -> None:
        """Serve no more; what is being answered is still answered. Idempotent."""
        for line in self._lines:
            self._wire.shut(line)

    def _answerer(self, endpoint: _Endpoint) -> Callable[[bytes, bytes, bytes, bytes | None], None]:
        def received(subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
            if not self._may_answer(reply):
                return
            with contextlib.suppress(ClosedError):
                self._tasks.spawn(self._answer(endpoint, subject, reply, data), f"answer for {self._topic}")

        return received

    async def _answer(self, endpoint: _Endpoint, subject: bytes, reply: bytes, data: bytes) -> None:
        started_ns = time.perf_counter_ns()
        outcome: Response | TransportError
        try:
            request = decode_request(endpoint.verb, unsealed(data, subject), self._codec)
        except ParasyncError as error:
            outcome = refusal(error)
        else:
            outcome = await self._desk.answer(request)
        endpoint.requests += 1
        endpoint.time_ns += time.perf_counter_ns() - started_ns
        if not isinstance(outcome, TransportError):
            outcome = self._sent(reply, outcome, data)
        if isinstance(outcome, TransportError):
            endpoint.errors += 1
            endpoint.last_error = str(outcome)
            self._wire.publish(reply, b"", headers=_failure(outcome))

    def _may_answer(self, reply: bytes) -> bool:
        return is_inbox(reply, self._subjects)

    def _sent(self, reply: bytes, response: Response, asked: bytes) -> Response | TransportError:
        try:
            data = sealed(encode_response(response, self._codec), asked)
        except EncodeError as error:
            return TransportError(f"the answer cannot be encoded: {error}")
        link = self._wire.link
        if link is not None and len(data) > link.payload_bytes_max:
            return TransportError(f"the answer has {len(data)} bytes, and the server takes {link.payload_bytes_max}")
        if not self._wire.publish(reply, data):
            return TransportError("the answer could not be sent: the connection was lost, or too much waits")
        return response

    def _teller(self, verb: str) -> Callable[[bytes, bytes, bytes, bytes | None], None]:
        def received(_: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
            if self._may_answer(reply):
                self._wire.publish(reply, json.dumps(self._about(verb)).encode())

        return received

    def _about(self, verb: str) -> dict[str, Any]:
        about: dict[str, Any] = {
            "type": f"io.nats.micro.v1.{verb.lower()}_response",
            "name": self._name,
            "id": self._id,
            "version": SERVICE_VERSION,
            "metadata": {"topic": self._topic},
        }
        if verb == "INFO":
            about["description"] = "The authority of a topic"
            about["endpoints"] = [endpoint.about(statistics=False) for endpoint in self._endpoints]
        elif verb == "STATS":
            about["started"] = self._started.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            about["endpoints"] = [endpoint.about(statistics=True) for endpoint in self._endpoints]
        return about


class ProbeDesk(NamedTuple):
    """Answers the probes of one topic as they come."""

    topic: str
    responder: ProbeResponder
    wire: Wire
    subjects: SubjectMap
    codec: Codec

    def open(self) -> Line:
        """Begin."""
        return self.wire.open(check_subject(self.subjects.of_probe(self.topic)), self._received)

    def _received(self, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        try:
            probe = decode_probe(unsealed(data, subject), self.codec)
        except DecodeError:
            return
        answer = replied(self.topic, self.responder, probe)
        if answer is None or not is_inbox(reply, self.subjects):
            return
        try:
            self.wire.publish(reply, sealed(encode_probe_reply(answer, self.codec), data))
        except EncodeError as error:
            report("the probe responder of", self.topic, error)


def is_inbox(reply: bytes, subjects: SubjectMap) -> bool:
    """Whether an answer may go there: whoever asks must not make an authority publish where states are read."""
    if not reply or b"*" in reply or b">" in reply:
        return False
    try:
        subjects.key_of(reply.decode())
    except InvalidKeyError:
        return True
    except UnicodeDecodeError:
        return False
    return False


def _failure(error: TransportError) -> bytes:
    text = re.sub(r"[^ -~]+", " ", str(error))[:FAILURE_CHARS_MAX]
    return f"NATS/1.0\r\n{_ERROR}: {text}\r\n{_ERROR}-Code: 500\r\n\r\n".encode()


def failure_of(headers: bytes | None) -> TransportError | None:
    """The failure that an authority reported in the headers of its answer, None for a real answer."""
    found = None if headers is None else _ERROR_PATTERN.search(headers)
    return None if found is None else TransportError(found[1].decode("utf-8", "replace")[:FAILURE_CHARS_MAX])
