"""Subscriptions on the bus, and how a message that the client hands to a callback reaches the sink of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from parasync.transports._nats_parser import Sink


class Line:
    """One subscription on the bus. `waiting` tells that it was not announced on this connection yet."""

    __slots__ = ("open", "queue", "sid", "sink", "subject", "waiting")

    def __init__(self, sid: int, subject: str, queue: str, sink: Sink) -> None:
        self.sid = sid
        self.subject = subject
        self.queue = queue
        self.sink = sink
        self.open = True
        self.waiting = True


class End(NamedTuple):
    """The end of the subscription with this number."""

    sid: int


def callback_of(line: Line) -> Callable[[Msg], Any]:
    """What the client calls with the messages of a subscription."""

    async def received(message: Msg) -> None:
        if line.open:
            line.sink(message.subject.encode(), message.reply.encode(), message.data, _raw_headers(message.headers))

    return received


def _raw_headers(headers: Mapping[str, str] | None) -> bytes | None:
    if not headers:
        return None
    rest = "".join([f"{name}: {value}\r\n" for name, value in headers.items() if name != "Status"])
    status = f" {headers['Status']}" if "Status" in headers else ""
    return f"NATS/1.0{status}\r\n{rest}\r\n".encode()
