"""Messages cut out of a stream: exactly those that the client's own parser finds, however the stream was split."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from parasync.transports._nats_parser import CONTROL_LINE_BYTES_MAX, MessageParser


class Recorder:
    """Stands where the client does: notes what it is told, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self.heard.append(("message", sid, subject, reply, data, headers))

    async def _process_ping(self) -> None:
        self.heard.append(("ping",))

    async def _process_pong(self) -> None:
        self.heard.append(("pong",))

    async def _process_err(self, text: str) -> None:
        self.heard.append(("err", text))

    async def _process_info(self, info: Any) -> None:
        self.heard.append(("info", info))


SIDS = range(1, 4)


def heard(stream: list[bytes]) -> list[tuple[Any, ...]]:
    """What comes of a stream in these parts."""
    recorder = Recorder()
    sinks = {
        sid: lambda subject, reply, data, headers, sid=sid: recorder.heard.append(
            ("message", sid, subject, reply, data, headers)
        )
        for sid in SIDS
    }
    parser = MessageParser(sinks, recorder)

    async def feed() -> None:
        for part in stream:
            await parser.parse(part)

    asyncio.run(feed())
    return recorder.heard


def heard_by_the_client(stream: bytes) -> list[tuple[Any, ...]]:
    recorder = Recorder()
    asyncio.run(Parser(recorder).parse(stream))
    return recorder.heard


def split(stream: bytes, at: list[int]) -> list[bytes]:
    cuts = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in at)})
    return [stream[one:other] for one, other in pairwise(cuts)]


def message(subject: bytes, sid: int, reply: bytes, headers: bytes, data: bytes) -> bytes:
    replied = reply + b" " if reply else b""
    if headers:
        head = b"NATS/1.0" + headers + b"\r\n\r\n"
        return b"HMSG %b %d %b%d %d\r\n%b%b\r\n" % (subject, sid, replied, len(head), len(head) + len(data), head, data)
    return b"MSG %b %d %b%d\r\n%b\r\n" % (subject, sid, replied, len(data), data)


SUBJECTS = st.text("ab.$_\x80ü", min_size=1).map(str.encode)
MESSAGES = st.builds(
    message, SUBJECTS, st.sampled_from(SIDS), st.just(b"") | SUBJECTS, st.sampled_from([b"", b" 503", b"\r\na: b"]),
    st.binary(max_size=30) | st.sampled_from([b"\r\n", b"MSG a 1 3\r\nabc\r\n", b"PING\r\n"]),
)  # fmt: skip
LINES = st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'slow consumer'\r\n", b'INFO {"max_payload":5}\r\n'])


@given(st.lists(MESSAGES | LINES, max_size=8).map(b"".join), st.lists(st.integers(0, 10_000), max_size=12))
def test_it_hears_what_the_client_would(stream: bytes, at: list[int]) -> None:
    assert heard(split(stream, at)) == heard_by_the_client(stream)


def test_byte_by_byte() -> None:
    stream = message(b"a.b", 1, b"_INBOX.x", b" 503", b"hi") + b"PING\r\n" + message(b"a", 2, b"", b"", b"")
    assert heard([bytes([byte]) for byte in stream]) == heard_by_the_client(stream)


def test_a_large_message_is_put_together_once() -> None:
    data = bytes(5_000_000)
    stream = message(b"a", 1, b"", b"", data) + b"PING\r\n"
    parts = [stream[at : at + 32_768] for at in range(0, len(stream), 32_768)]
    assert heard(parts) == [("message", 1, b"a", b"", data, None), ("ping",)]


def test_messages_of_subscriptions_that_ended_are_skipped() -> None:
    assert heard([message(b"a", 9, b"", b"", b"old"), message(b"a", 1, b"", b"", b"new")]) == [
        ("message", 1, b"a", b"", b"new", None)
    ]


@pytest.mark.parametrize("odd", [b"\x0b", b"\x00", b"\x0c", b"\xff\xfe", b"\x85", b"\xa0"])
def test_odd_bytes_in_a_subject_are_part_of_it(odd: bytes) -> None:
    assert heard([message(b"a" + odd + b"b", 1, b"", b"", b"x")]) == [("message", 1, b"a" + odd + b"b", b"", b"x", None)]


@pytest.mark.parametrize(
    "stream",
    [
        b"MSG\r\n",
        b"MSG a\r\n",
        b"MSG a 1\r\n",
        b"MSG a b 1\r\nx\r\n",
        b"MSG a 1 -1\r\n\r\n",
        b"MSG a 1 r s 1\r\nx\r\n",
        b"HMSG a 1 5\r\nhello\r\n",
        b"HMSG a 1 9 5\r\nhello\r\n",
        b"HMSG a 1 -2 5\r\nhello\r\n",
        b"HMSG a 1 x 5\r\nhello\r\n",
        b"\r\n",
        b"HELLO\r\n",
        b"INFO {\r\n",
        b"MSG\ta 1 1\r\nx\r\n",
        b"x" * (CONTROL_LINE_BYTES_MAX + 1),
    ],
)
def test_what_no_server_sends_ends_the_connection(stream: bytes) -> None:
    with pytest.raises(ProtocolError):
        heard([stream])


@given(
    st.lists(st.binary(max_size=20) | MESSAGES | st.sampled_from([b"MSG ", b"HMSG ", b" 1 ", b"\r\n", b"5"])),
    st.lists(st.integers(0, 500)),
)
def test_hostile_bytes_raise_nothing_else(parts: list[bytes], at: list[int]) -> None:
    with contextlib.suppress(ProtocolError):
        heard(split(b"".join(parts), at))


def test_a_sink_that_raises_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    got: list[bytes] = []

    def bad(*_: object) -> None:
        raise RuntimeError

    parser = MessageParser({1: bad, 2: lambda _, __, data, ___: got.append(data)}, Recorder())
    asyncio.run(parser.parse(message(b"a", 1, b"", b"", b"x") + message(b"a", 2, b"", b"", b"y")))
    assert got == [b"y"]
    assert "RuntimeError" in caplog.text


def test_after_a_reset_the_next_stream_begins_anew() -> None:
    got: list[bytes] = []
    parser = MessageParser({1: lambda _, __, data, ___: got.append(data)}, Recorder())
    asyncio.run(parser.parse(b"MSG a 1 5\r\nhe"))
    parser.reset()
    asyncio.run(parser.parse(message(b"a", 1, b"", b"", b"new")))
    assert got == [b"new"]
