"""A transport that is closed at a bad moment, outlives its loop or is taken into a child process leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import warnings
from collections.abc import AsyncIterator

import pytest

from parasync.errors import ClosedError, UsageError
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, Ear, envelope, eventually, line_to, round_trip

pytestmark = pytest.mark.nats

QUICK = {"reconnect_max_s": 0.05, "connect_timeout_s": 0.5, "ping_interval_s": 0.2}


async def at_every_moment(url: str) -> AsyncIterator[tuple[NatsTransport, asyncio.Task[NatsTransport]]]:
    """First connections that are being made, each for one turn of the loop more; no task of any may be left."""
    tasks = asyncio.all_tasks()
    for turns in range(200):
        bus = NatsTransport(url)
        entering = asyncio.create_task(bus.__aenter__())
        for _ in range(turns):
            await asyncio.sleep(0)
        if entering.done():
            await bus.aclose()
            break
        yield bus, entering
        await eventually(lambda: asyncio.all_tasks() == tasks)


async def test_closing_ends_a_first_connection_that_is_being_made_at_every_moment(server: NatsServer) -> None:
    ended = 0
    async for bus, entering in at_every_moment(server.url):
        async with asyncio.timeout(DEADLINE_S):
            await bus.aclose()
            with pytest.raises(ClosedError, match=r"on a closed transport|closed while it was being connected"):
                await entering
        ended += 1
        assert (bus.connected, bus.closed) == (False, True)
    assert ended > 5


async def test_closing_in_the_moment_in_which_the_connection_comes_up(server: NatsServer) -> None:
    bus = NatsTransport(server.url)
    guard, closing = bus._session._guard, []
    up = guard._up
    guard._up = lambda link: (up(link), closing.append(asyncio.create_task(bus.aclose())))[0]
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ClosedError, match="closed while it was being connected"):
            await bus.__aenter__()
        await closing[0]
    assert (bus.connected, bus.closed) == (False, True)


async def test_closing_does_not_wait_for_a_server_that_never_answers(server: NatsServer) -> None:
    async with line_to(server.port) as line:
        line.flows.clear()
        bus = NatsTransport(line.url, connect_timeout_s=DEADLINE_S)
        entering = asyncio.create_task(bus.__aenter__())
        await eventually(lambda: line.pumps)
        async with asyncio.timeout(DEADLINE_S / 2):
            await bus.aclose()
        with pytest.raises(ClosedError, match="closed while it was being connected"):
            await entering
        line.flows.set()


async def test_cancelling_a_first_connection_at_every_moment_leaves_nothing_behind(server: NatsServer) -> None:
    cancelled = 0
    async for bus, entering in at_every_moment(server.url):
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        cancelled += 1
        assert not bus.connected
        await bus.aclose()
    assert cancelled > 5


async def test_one_that_was_closed_before_does_not_connect(server: NatsServer) -> None:
    bus = NatsTransport(server.url)
    await bus.aclose()
    with pytest.raises(ClosedError, match="on a closed transport"):
        await bus.__aenter__()
    assert not bus.connected


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_one_whose_loop_is_gone_can_be_closed(server: NatsServer) -> None:
    async def leave() -> NatsTransport:
        bus = NatsTransport(server.url)
        await bus.__aenter__()
        bus.subscribe("user:1", print)
        return bus

    bus = asyncio.run(leave())
    with pytest.raises(UsageError, match="from another thread or event loop"):
        bus.publish("user:1", envelope(1))
    asyncio.run(bus.aclose())
    asyncio.run(bus.aclose())
    assert (bus.closed, bus.key_count()) == (True, 0)
    with pytest.raises(ClosedError):
        bus.publish("user:1", envelope(1))
    del bus
    gc.collect()


async def test_closing_in_another_loop_is_refused(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus:
        with pytest.raises(UsageError, match="got aclose from another event loop"):
            await asyncio.to_thread(asyncio.run, bus.aclose())
        await round_trip(bus)


@pytest.mark.parametrize("state", ["idle", "in the middle of a turn"])
async def test_a_child_process_that_shares_the_connection_cannot_speak_on_it(server: NatsServer, state: str) -> None:
    async with NatsTransport(server.url) as bus:
        ear = Ear()
        bus.subscribe_topic("user", ear.topic, ear.interrupted)
        await bus.flush()
        if state != "idle":
            bus.publish("user:1", envelope(1))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            code = 1
            try:
                bus.publish("user:2", envelope(2))
            except UsageError:
                code = 42
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 42
        bus.publish("user:3", envelope(3))
        await ear.until(lambda heard: ("user:3", 3) in heard)
        assert ("user:2", 2) not in ear.heard


async def test_churn_while_there_is_no_server_is_not_kept(server: NatsServer) -> None:
    ear = Ear()
    async with NatsTransport(server.url, **QUICK) as bus:
        server.kill()
        await eventually(lambda: not bus.connected)
        bus.publish("user:0", envelope(1))
        bus.subscribe("user:0", ear)
        for number in range(10_000):
            bus.subscribe(f"user:{number % 7}", print)()
            with pytest.raises(UsageError):
                bus.subscribe("user:1", None)  # type: ignore[arg-type]
        for _ in range(100):
            flushing = asyncio.create_task(bus.flush())
            await asyncio.sleep(0)
            flushing.cancel()
            await asyncio.wait([flushing])
        assert len(bus._session._outbox) < 2_000
        server.start()
        await eventually(lambda: bus.connected)
        await bus.flush()
        bus.publish("user:0", envelope(2))
        await ear.until(lambda heard: 2 in heard)
        assert ear.heard == [2], "what was published before it subscribed is not for it"


async def test_thousands_of_missing_permissions_do_not_stop_the_loop(server: NatsServer) -> None:
    denied = 'permissions: { subscribe: { deny: ["synced.>"] } }'
    server.config = f'authorization {{ users = [ {{ user: "a", password: "x", {denied} }} ] }}'
    server.restart()
    reasons: list[str] = []
    async with NatsTransport(server.url, user="a", password="x") as bus:
        ends = [bus.subscribe(f"User:{number}", print, reasons.append) for number in range(5_000)]
        began_s = time.perf_counter()
        await eventually(lambda: len(reasons) == len(ends))
        assert time.perf_counter() - began_s < 5
        assert len(set(reasons)) == len(ends)
        for end in ends:
            end()
        assert bus._session._exchange._of_subject == {}
