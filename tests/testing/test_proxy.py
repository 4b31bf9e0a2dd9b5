"""A real server behind a bad network: each fault happens to live connections, and is healed from; nothing wrong is shown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from parasync import Envelope, Pace, Status, Terms, Topic, authority, synced
from parasync.errors import UsageError
from parasync.testing import ChaosProxy, Ends, NatsServer, check_transport
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, Ear, eventually, fake_server

pytestmark = pytest.mark.nats

SEED = 20_240
NOTES = Topic("note", str, version="1.0")
PACE = Pace(reconcile_interval_s=0.5, ask_timeout_s=0.3, backoff_max_s=0.2)
QUICK: dict[str, float] = {"ping_interval_s": 0.2, "connect_timeout_s": 0.3, "reconnect_max_s": 0.1}


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@attrs.define(eq=False)
class Scene:
    """An authority with a good connection, a replica with a bad one, and a writer that goes on and on."""

    proxy: ChaosProxy
    bus: NatsTransport
    replica: synced[str]
    owner: authority[str]
    written: dict[Any, str] = attrs.Factory(dict)
    changes: list[Any] = attrs.Factory(list)

    async def write(self, count: int = 1) -> str:
        """Write notes, at most a thousand a second, and return the last."""
        text = ""
        for _ in range(count):
            text = f"note {len(self.written)} {'x' * 50}"
            self.written[await self.owner.put("a", text)] = text
            await passing(0.001)
        return text

    async def until(self, condition: Callable[[], object], *, writing: bool = True) -> None:
        """Write, or only wait, until something holds."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await (self.write() if writing else passing(0.001))

    async def healed(self) -> None:
        """Nothing is wrong any more: the replica gets the newest note, and knows that it has."""
        self.proxy.heal()
        last = await self.write()
        await self.until(lambda: self.replica.peek() == last and self.replica.status is Status.OK, writing=False)
        versions = [change.version for change in self.changes]
        assert versions == sorted(set(versions)), "the replica went back"
        assert [change.new for change in self.changes] == [self.written[version] for version in versions]


@asynccontextmanager
async def scene(server: NatsServer, seed: int = SEED, **options: Any) -> AsyncIterator[Scene]:
    print(f"seed {seed}")
    async with (
        ChaosProxy(server.url, seed=seed) as proxy,
        NatsTransport(server.url) as good,
        NatsTransport(proxy.url, **QUICK) as bad,  # type: ignore[arg-type]
        authority(NOTES, good, terms=Terms(probe_timeout_s=0.05)) as owner,
        synced(NOTES["a"], bad, pace=PACE, **options) as replica,
    ):
        found = Scene(proxy, bad, replica, owner)
        replica.subscribe(found.changes.append)
        first = await found.write()
        await found.until(lambda: replica.peek() == first, writing=False)
        yield found


async def passing(seconds: float) -> None:
    """Let a moment pass."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    timer = loop.call_later(seconds, over.set)
    try:
        await over.wait()
    finally:
        timer.cancel()


@pytest.mark.parametrize("ways", ["both", "to_client", "to_server"])
async def test_stalled(server: NatsServer, ways: Any) -> None:
    async with scene(server) as it:
        shown = it.replica.version
        it.proxy.stall(ways)
        await it.until(lambda: it.proxy.fired.get("stall") and not it.bus.connected)
        if ways != "to_server":
            assert it.replica.version == shown
        await it.healed()


async def test_what_stalled_for_a_moment_only_is_not_lost(server: NatsServer) -> None:
    async with scene(server) as it:
        it.proxy.stall("to_client")
        await it.write(20)
        await it.until(lambda: it.proxy.fired.get("stall"), writing=False)
        it.proxy.heal()
        last = it.written[max(it.written)]
        await it.until(lambda: it.replica.peek() == last, writing=False)
        assert it.bus.stats.reconnects == 0
        await it.healed()


async def test_reset(server: NatsServer) -> None:
    async with scene(server) as it:
        it.proxy.reset()
        assert it.proxy.fired == {"reset": 1}
        await it.until(lambda: it.bus.stats.reconnects == 1)
        await it.healed()


async def test_half_open(server: NatsServer) -> None:
    async with scene(server) as it:
        shown = it.replica.version
        it.proxy.half_open()
        assert it.bus.connected
        await it.until(lambda: it.proxy.fired.get("half_open", 0) > 2 and not it.bus.connected)
        assert it.replica.version == shown
        await it.healed()
        assert it.bus.stats.reconnects == 1


async def test_throttled(server: NatsServer) -> None:
    async with scene(server) as it:
        it.proxy.throttle(20_000)
        start, start_s = it.proxy.passed["to_client"], asyncio.get_running_loop().time()
        await it.write(50)
        await it.until(lambda: it.proxy.passed["to_client"] > start + 5_000)
        took_s = asyncio.get_running_loop().time() - start_s
        # What goes through beyond the rate is one piece at the most.
        assert it.proxy.passed["to_client"] - start <= 20_000 * (took_s + 0.1)
        assert took_s >= 0.2
        assert it.proxy.fired["throttle"] > 5
        await it.healed()


@pytest.mark.parametrize(("ways", "rate", "times"), [("both", 0.002, 30), ("to_client", 0.002, 30), ("to_server", 0.02, 20)])
@pytest.mark.parametrize("seed", [20240, 20243])
async def test_corrupted(server: NatsServer, seed: int, ways: Any, rate: float, times: int) -> None:
    async with scene(server, seed) as it:
        epoch = it.owner.epoch
        it.proxy.corrupt(rate, ways)
        await it.until(lambda: it.proxy.fired.get("corrupt", 0) >= times)
        await it.healed()
        assert it.owner.epoch == epoch, "a corrupt question is no news of another epoch"


@pytest.mark.parametrize("ways", ["both", "to_client", "to_server"])
@pytest.mark.parametrize("seed", [SEED, SEED + 1])
async def test_of_a_corrupted_stream_nothing_wrong_is_delivered(server: NatsServer, ways: Any, seed: int) -> None:
    print(f"seed {seed}")
    async with (
        ChaosProxy(server.url, seed=seed) as proxy,
        NatsTransport(proxy.url, **QUICK) as mouth,  # type: ignore[arg-type]
        NatsTransport(proxy.url, **QUICK) as bad,  # type: ignore[arg-type]
    ):
        ear = Ear()
        for ident in range(10):
            bad.subscribe(f"note:{ident}", ear, ear.interrupted)
        await bad.flush()
        proxy.corrupt(0.002, ways)
        sent = 0
        while proxy.fired.get("corrupt", 0) < 30:
            sent += 1
            mouth.publish(f"note:{sent % 10}", Envelope(f"note {sent}", "1.0", sent))
            await passing(0.001)
        proxy.heal()
        # A subscription that was corrupted on its way to the server is none; the next connection makes it again.
        proxy.reset()
        await eventually(lambda: mouth.connected and bad.connected and proxy.connections == 2)
        async with asyncio.timeout(DEADLINE_S):
            while not ear.sequences or ear.sequences[-1] <= sent:
                mouth.publish("note:0", Envelope(f"note {sent + 1}", "1.0", sent + 1))
                await passing(0.01)
        assert ear.reasons, "what was lost was told"
        decoded = [bad.codec.decode_body(found.value) for found in ear.envelopes]
        assert decoded == [f"note {found.sequence}" for found in ear.envelopes]


async def test_cut_in_the_middle(server: NatsServer) -> None:
    async with scene(server) as it:
        it.proxy.cut_after(3_000, "to_client")
        await it.until(lambda: it.proxy.fired.get("cut", 0) >= 3)
        await it.healed()


async def test_refused(server: NatsServer) -> None:
    async with scene(server) as it:
        it.proxy.refuse()
        assert it.bus.connected, "who is connected stays so"
        it.proxy.reset()
        await it.until(lambda: it.proxy.fired.get("refuse", 0) >= 3)
        await it.healed()


async def test_a_server_that_is_gone_behind_the_proxy() -> None:
    with NatsServer() as server:
        async with scene(server) as it:
            server.kill()
            await it.until(lambda: not it.bus.connected)
            server.restart()
            await it.healed()


async def test_nats_behind_the_proxy_keeps_the_contract(server: NatsServer) -> None:
    @asynccontextmanager
    async def ends() -> AsyncIterator[Ends]:
        async with (
            ChaosProxy(server.url) as proxy,
            NatsTransport(proxy.url, **QUICK) as writer,  # type: ignore[arg-type]
            NatsTransport(proxy.url, **QUICK) as reader,  # type: ignore[arg-type]
        ):

            async def reset(_: str) -> None:
                before = writer.stats.reconnects, reader.stats.reconnects
                proxy.reset()
                await eventually(lambda: writer.stats.reconnects > before[0] and reader.stats.reconnects > before[1])

            yield Ends(writer, reader, losses=(reset,))

    report = await check_transport(ends)
    assert {finding.clause.number for finding in report.not_claimed} == {12, 13}


async def test_one_seed_corrupts_the_same_places() -> None:
    async def heard(seed: int) -> list[bytes]:
        async with fake_server(b"x" * 2_000) as fake, ChaosProxy(f"tcp://{fake.address}", seed=seed) as proxy:
            proxy.corrupt(0.05, "to_client")
            found = []
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*proxy.url.removeprefix("tcp://").split(":"))
                found.append(await reader.readexactly(2_000))
                writer.close()
                await writer.wait_closed()
            return found

    first = await heard(1)
    assert first == await heard(1)
    assert first[0] != first[1], "each connection has its own luck"
    assert first != await heard(2)
    assert 50 < sum(byte != ord("x") for byte in first[0]) < 200


async def test_a_connection_is_cut_after_so_many_bytes_and_not_before() -> None:
    async with fake_server(b"x" * 2_000) as fake, ChaosProxy(f"tcp://{fake.address}") as proxy:
        proxy.cut_after(700, "to_client")
        reader, writer = await asyncio.open_connection(*proxy.url.removeprefix("tcp://").split(":"))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(701)
        assert (proxy.passed, proxy.fired) == ({"to_client": 700}, {"cut": 1})
        writer.transport.abort()
        await eventually(lambda: proxy.connections == 0)


async def test_it_closes_with_everything_that_goes_through_it(server: NatsServer) -> None:
    for spoil in (ChaosProxy.stall, ChaosProxy.half_open, lambda proxy: proxy.throttle(1.0)):
        async with ChaosProxy(server.url) as proxy:
            reader, writer = await asyncio.open_connection(*proxy.url.removeprefix("nats://").split(":"))
            assert (await reader.readline()).startswith(b"INFO ")
            spoil(proxy)
            writer.write(b"PING\r\n" * 100)
        assert proxy.connections == 0
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.transport.abort()


@pytest.mark.parametrize("url", ["nats://", "nats://host", "127.0.0.1:4222"])
async def test_it_must_know_where_to(url: str) -> None:
    with pytest.raises(UsageError, match="expected scheme://host:port"):
        ChaosProxy(url)


async def test_what_makes_no_sense_is_refused() -> None:
    proxy = ChaosProxy("nats://user:secret@localhost:4222")
    with pytest.raises(UsageError, match="does not listen"):
        _ = proxy.url
    for call in (
        lambda: proxy.throttle(0),
        lambda: proxy.corrupt(1.5),
        lambda: proxy.cut_after(-1),
        lambda: proxy.stall("up"),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match="expected"):
            call()
    async with proxy:
        assert proxy.url.startswith("nats://user:secret@127.0.0.1:")
        assert "secret" not in repr(proxy)
        with pytest.raises(UsageError, match="second"):
            await proxy.__aenter__()
