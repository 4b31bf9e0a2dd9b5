"""Every coroutine of `NatsTransport` may be cancelled at any of its awaits, on a real server: nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from parasync import ABSENT
from parasync.protocol import Answer, Ask, Probe, ProbeReply, Request, StatusQuery
from parasync.testing import Cut, sweep
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import envelope

pytestmark = pytest.mark.nats

DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer(monitor=True) as server:
        yield server


async def answer(request: Request) -> Answer:
    assert isinstance(request, Ask)
    return Answer(1, 0, 0.0, ABSENT, 0, tuple(envelope(1) for _ in request.keys))


CALLS: dict[str, Callable[[NatsTransport], Awaitable[Any]]] = {
    "ask": lambda bus: bus.ask("note", Ask(0, ("note:a",), (None,)), DEADLINE_S),
    "probe": lambda bus: bus.probe(Probe("note", 1, True, "sweep"), 0.05),
    "survey": lambda bus: bus.survey(StatusQuery(), 0.05),
    "flush": lambda bus: bus.flush(DEADLINE_S),
}


async def call(url: str, name: str, cut: Cut) -> None:
    """Afterwards the same connection must still serve."""
    async with NatsTransport(url) as other, NatsTransport(url) as bus:
        other.serve("note", answer)
        other.answer_probes("note", lambda probe: ProbeReply(probe.epoch, serving=True))
        other.answer_status(lambda: iter(()))
        heard = asyncio.Event()
        bus.subscribe("note:a", lambda _: heard.set())
        await other.flush(DEADLINE_S)
        await bus.flush(DEADLINE_S)
        bus.publish("note:b", envelope(1))
        await cut(CALLS[name](bus), unchanged=[bus.key_count])
        other.publish("note:a", envelope(1))
        async with asyncio.timeout(DEADLINE_S):
            await heard.wait()
        assert await bus.ask("note", Ask(0, ("note:a",), (None,)), DEADLINE_S)
        assert bus.connected


async def begin(url: str, cut: Cut) -> None:
    bus = NatsTransport(url)
    if await cut(bus.__aenter__()) is not None:
        await bus.flush(DEADLINE_S)
    await bus.aclose()
    assert not bus.connected


async def end(url: str, cut: Cut, *, leave: bool) -> None:
    """What was published before is heard all the same."""
    async with NatsTransport(url) as other:
        heard = asyncio.Event()
        other.subscribe("note:a", lambda _: heard.set())
        await other.flush(DEADLINE_S)
        bus = await NatsTransport(url).__aenter__()
        bus.subscribe("note:b", lambda _: None)
        bus.publish("note:a", envelope(1))
        await cut(bus.__aexit__(None, None, None) if leave else bus.aclose())
        await bus.aclose()
        assert bus.closed
        assert not bus.connected
        assert bus.key_count() == 0
        async with asyncio.timeout(DEADLINE_S):
            await heard.wait()


SCENES: dict[str, Callable[[str, Cut], Any]] = {
    **{name: lambda url, cut, name=name: call(url, name, cut) for name in CALLS},
    "__aenter__": begin,
    "aclose": partial(end, leave=False),
    "__aexit__": partial(end, leave=True),
}


def test_every_coroutine_is_swept() -> None:
    members = inspect.getmembers(NatsTransport, inspect.iscoroutinefunction)
    assert set(SCENES) == {name for name, _ in members if not name.startswith("_") or name.startswith("__")}


@pytest.mark.parametrize("name", sorted(SCENES))
def test_a_coroutine_may_be_cancelled_anywhere(server: NatsServer, name: str) -> None:
    assert sweep(partial(SCENES[name], server.url), real=True) >= 1
    gc.collect()  # a socket that was left open would complain
