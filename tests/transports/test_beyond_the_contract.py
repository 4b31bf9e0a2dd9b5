"""What both of our transports do beyond the contract, which `tests/testing` checks clause by clause."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from parasync import Envelope, InProcessTransport
from parasync.errors import AskTimeoutError, NoAuthorityError, TransportError, UsageError
from parasync.protocol import KeyPage, ListKeys, Probe, Request, Response
from parasync.transports import AskTransport, LimitedTransport, SyncTransport
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport

KEY = "topic:1"
DEADLINE_S = 20.0
PAGE = KeyPage(1, (), (), False)


@dataclass
class Ends:
    """`writer` publishes and asks, `reader` subscribes and serves; in process they are one."""

    writer: Any
    reader: Any
    heard: list[Any] = field(default_factory=list)

    async def settle(self) -> None:
        """Wait until everything that was said on either end has arrived wherever it goes."""
        if isinstance(self.writer, NatsTransport):
            await self.writer.flush(DEADLINE_S)
            await self.reader.flush(DEADLINE_S)
            for _ in range(10):  # where the client queues what it received, its tasks take their turns
                await asyncio.sleep(0)


def envelope(sequence: int) -> Envelope[Any]:
    return Envelope({"n": sequence}, "1.0", sequence)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@pytest.fixture(
    params=[
        "in process",
        pytest.param("nats", marks=pytest.mark.nats),
        pytest.param("nats by callbacks", marks=pytest.mark.nats),
    ]
)
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    if request.param == "in process":
        async with InProcessTransport() as bus:
            yield Ends(bus, bus)
        return
    server: NatsServer = request.getfixturevalue("shared_server")
    direct = None if request.param == "nats" else False
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(NatsTransport(server.url, direct=direct))
        reader = await stack.enter_async_context(NatsTransport(server.url, direct=direct))
        yield Ends(writer, reader)


async def test_what_a_handler_raises_is_logged_without_its_text(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    def raising(error: BaseException) -> Any:
        def handler(_: Any) -> None:
            raise error

        return handler

    for error in (ValueError("the payload"), asyncio.CancelledError()):
        ends.reader.subscribe(KEY, raising(error), raising(error))
    await ends.settle()
    ends.writer.publish(KEY, envelope(1))
    await ends.settle()
    assert "ValueError" in caplog.text
    assert "CancelledError" in caplog.text
    assert "payload" not in caplog.text


async def test_a_writer_never_blocks_and_what_is_conflated_says_what_it_follows(ends: Ends) -> None:
    arrived: list[Any] = []
    ends.reader.subscribe(KEY, arrived.append)
    await ends.settle()
    for sequence in range(1, 1001):
        ends.writer.publish(KEY, envelope(sequence))
    await ends.settle()
    followed = [got.sequence - 1 if got.after is None else got.after for got in arrived]
    assert followed == [0, *[got.sequence for got in arrived[:-1]]], "each follows the one that was sent before it"
    assert arrived[-1].sequence == 1000
    conflated = 0 if ends.writer.capabilities.lossless else ends.writer.stats.conflated
    assert len(arrived) == 1000 - conflated


async def test_capabilities_are_what_the_transport_does(ends: Ends) -> None:
    bus = ends.writer
    assert isinstance(bus, SyncTransport)
    assert isinstance(bus, AskTransport)
    assert isinstance(bus, LimitedTransport)
    assert not bus.closed
    assert bus.loop is (None if bus.capabilities.threads else asyncio.get_running_loop())
    assert bus.body_bytes_max > 100_000


async def test_who_needs_a_loop_refuses_to_be_called_from_elsewhere(ends: Ends) -> None:
    bus, failures = ends.writer, []

    def elsewhere() -> None:
        for call, what in ((bus.subscribe, print), (bus.publish, envelope(1))):
            try:
                call("elsewhere", what)
            except UsageError as error:
                failures.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(failures) == (0 if bus.capabilities.threads else 2)
    assert all("from another thread or event loop" in failure for failure in failures)


async def test_closing_says_that_it_was_closed_whoever_raises(ends: Ends) -> None:
    told: list[str] = []
    ends.reader.subscribe(KEY, print, lambda reason: 1 / 0)  # type: ignore[arg-type, return-value]
    ends.reader.subscribe(KEY, print, told.append)
    ends.reader.subscribe_topic("topic", print, told.append)
    await ends.reader.aclose()
    assert told == ["the transport was closed"] * 2
    assert ends.reader.closed


async def test_background_work_that_fails_is_reported(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("the payload")

    await asyncio.wait([ends.reader.spawn(work(), "some work")])
    await asyncio.sleep(0)
    assert "the task 'some work' raised ValueError" in caplog.text
    assert "payload" not in caplog.text


async def test_errors_of_asks_say_what_happened(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NoAuthorityError, match="nobody serves the topic 'topic'"):
        await ends.writer.ask("topic", ListKeys(), DEADLINE_S)
    never = asyncio.Event()

    async def responder(request: Request) -> Any:
        if request == ListKeys("slow"):
            await never.wait()
        return "no response of the protocol: the payload"

    ends.reader.serve("topic", responder)
    await ends.settle()
    with pytest.raises(AskTimeoutError, match="no answer from the authority") as caught:
        await ends.writer.ask("topic", ListKeys("slow"), 0.01)
    assert caught.value.timeout_s == 0.01
    with pytest.raises(TransportError, match="the authority returned") as failed:
        await ends.writer.ask("topic", ListKeys(), DEADLINE_S)
    assert "payload" not in str(failed.value) + caplog.text
    never.set()


async def test_those_who_serve_one_topic_take_turns(ends: Ends) -> None:
    served: set[str] = set()

    def responder(name: str) -> Any:
        async def answer(_: Request) -> Response:
            served.add(name)
            return PAGE

        return answer

    stops = [ends.reader.serve("topic", responder(name)) for name in ("first", "second")]
    await ends.settle()
    for _ in range(100):
        await ends.writer.ask("topic", ListKeys(), DEADLINE_S)
    assert served == {"first", "second"}
    stops[0]()
    await ends.settle()
    served.clear()
    for _ in range(20):
        await ends.writer.ask("topic", ListKeys(), DEADLINE_S)
    assert served == {"second"}


async def test_a_probe_to_nobody_returns_at_once(ends: Ends) -> None:
    async with asyncio.timeout(DEADLINE_S):
        assert list(await ends.writer.probe(Probe("topic", 5, True, "me"), 1000 * DEADLINE_S)) == []
