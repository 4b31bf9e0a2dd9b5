"""Whatever becomes of the connection, subscribers are told in order, and everything works again afterwards, by itself."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from parasync.errors import AskTimeoutError, ClosedError, EncodeError, TransportError
from parasync.protocol import ListKeys, Written
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, Ear, big, envelope, eventually, fake_server, line_to, raw, round_trip

pytestmark = pytest.mark.nats

QUICK = {"reconnect_max_s": 0.05, "connect_timeout_s": 0.5, "ping_interval_s": 0.2}


async def test_a_killed_server_interrupts_in_order_and_subscriptions_come_back(server: NatsServer, direct: bool | None) -> None:
    ear, mirror = Ear(), Ear()
    async with NatsTransport(server.url, direct=direct, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        bus.subscribe_topic("user", mirror.topic, mirror.interrupted)
        bus.publish("user:1", envelope(1))
        await ear.until(lambda heard: heard == [1])
        server.kill()
        await ear.until(lambda heard: len(heard) == 2)
        assert not bus.connected
        bus.publish("user:1", envelope(2))
        bus.publish("user:1", envelope(3))
        server.start()
        await ear.until(lambda heard: 3 in heard)
        await mirror.until(lambda heard: ("user:1", 3) in heard)
        assert ear.heard[0] == 1
        assert ear.heard[1].startswith("disconnected: ")
        assert ear.heard[2:] == ["reconnected", 3]
        assert mirror.heard[2:] == ["reconnected", ("user:1", 3)]
        assert (bus.connected, bus.stats.reconnects, bus.stats.conflated) == (True, 1, 1)
        assert "disconnected" in str(bus.last_error)


async def test_closing_takes_no_longer_than_the_connection_lasts(
    server: NatsServer, direct: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    bus = NatsTransport(server.url, direct=direct)
    await bus.__aenter__()
    server.freeze()
    bus.publish("user:1", envelope(1))
    closing = asyncio.create_task(bus.aclose())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing.done()
    server.kill()
    await closing
    assert "closed without a confirmation: the connection was lost: " in caplog.text


async def test_ten_kills_leave_one_subscription_each_and_nothing_twice(server: NatsServer, direct: bool | None) -> None:
    ear = Ear()
    async with NatsTransport(server.url, direct=direct, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        for times in range(1, 11):
            server.kill()
            server.start()
            await ear.reconnected(times)
        bus.publish("user:1", envelope(1))
        await bus.flush()
        await ear.until(lambda heard: 1 in heard)
        assert ear.sequences == [1]
        assert len(ear.reasons) == 20


async def test_what_is_published_while_disconnected_is_conflated_without_end_and_sent_afterwards(server: NatsServer) -> None:
    """Ten megabytes in all, five times what the client would buffer before it raises."""
    ear, end = Ear(), Ear()
    async with NatsTransport(server.url, **QUICK) as bus:
        for number in range(50):
            bus.subscribe(f"user:{number}", ear)
        bus.subscribe("end:1", end)
        await bus.flush()
        server.kill()
        await eventually(lambda: not bus.connected)
        for sequence in range(1, 5):
            for number in range(50):
                bus.publish(f"user:{number}", big(sequence, 50_000))
        assert (bus.stats.conflated, bus.stats.dropped) == (150, 0)
        server.start()
        bus.publish("end:1", envelope(9))
        await end.until(lambda heard: 9 in heard)
        assert ear.heard == [4] * 50
        assert {got.after for got in ear.envelopes} == {0}, "each follows what was sent last"


async def test_the_newest_key_wins_at_the_limit_of_the_outbox(server: NatsServer) -> None:
    ear = Ear()
    async with NatsTransport(server.url, outbox_keys_max=3, **QUICK) as bus:
        bus.subscribe_topic("user", ear.topic, ear.interrupted)
        await bus.flush()
        server.kill()
        await ear.until(lambda heard: len(heard) == 1)
        for number in range(6):
            bus.publish(f"user:{number}", envelope(1))
        bus.publish("user:3", envelope(2))
        assert (bus.stats.dropped, bus.stats.conflated) == (3, 1)
        server.start()
        await ear.until(lambda heard: len(heard) == 5)
        assert ear.heard[1:] == ["reconnected", ("user:4", 1), ("user:5", 1), ("user:3", 2)]


async def test_a_rotated_password_closes_the_client_for_good_but_not_us(server: NatsServer) -> None:
    def config(password: str) -> str:
        return f'authorization {{ users = [ {{ user: "ada", password: "{password}" }} ] }}'

    ear, secret = Ear(), ["first"]
    server.config = config("first")
    server.restart()
    async with NatsTransport(server.url, user="ada", password=lambda: secret[0], **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        await bus.flush()
        server.reload(config("second"))
        await ear.until(lambda heard: len(heard) == 1)
        await eventually(lambda: "refused the credentials" in str(bus.last_error))
        with pytest.raises(TransportError, match="refused the credentials"):
            await bus.ask("user", ListKeys(), 1)
        secret[0] = "second"
        await ear.reconnected()
        await round_trip(bus)


async def test_an_error_that_closes_the_client_for_good_does_not_close_us(server: NatsServer, direct: bool | None) -> None:
    """The server ends a connection that says nonsense; the client never connects again by itself."""
    ear = Ear()
    async with NatsTransport(server.url, direct=direct, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        await bus.flush()
        link = bus._session.wire.link
        assert link is not None
        link.socket.write(b"NONSENSE\r\n")
        await ear.reconnected()
        assert link.client.is_closed
        await round_trip(bus)


async def test_it_tries_again_for_ever(server: NatsServer) -> None:
    ear, attempts = Ear(), []
    async with NatsTransport(server.url, **{**QUICK, "reconnect_max_s": 0.001}) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        server.kill()
        guard = bus._session._guard
        noticed = guard._noticed
        guard._noticed = lambda error: (attempts.append(error), noticed(error))[1]
        await eventually(lambda: len(attempts) > 100)
        assert "nobody listens there" in str(bus.last_error)
        server.start()
        await ear.reconnected()
        await round_trip(bus)


async def test_an_oversize_value_is_refused_at_the_writer_and_harms_nobody(server: NatsServer) -> None:
    ear = Ear()
    server.config = "max_payload: 5000"
    server.restart()
    async with NatsTransport(server.url, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        assert bus.body_bytes_max < 5000
        with pytest.raises(EncodeError, match=r"got a frame of \d+ bytes, expected at most 5000 on this bus"):
            bus.publish("user:1", big(1, 5001))
        bus.publish("user:1", envelope(2))
        await ear.until(lambda heard: 2 in heard)
        assert ear.heard == [2]


async def test_a_limit_that_shrank_meanwhile_costs_the_frame_and_not_the_connection(server: NatsServer) -> None:
    ear = Ear()
    async with NatsTransport(server.url, **QUICK) as bus:
        bus.subscribe_topic("user", ear.topic, ear.interrupted)
        await bus.flush()
        server.kill()
        await ear.until(lambda heard: len(heard) == 1)
        bus.publish("user:1", big(1, 50_000))
        bus.publish("user:2", envelope(2))
        server.config = "max_payload: 5000"
        server.start()
        await ear.until(lambda heard: ("user:2", 2) in heard)
        assert ear.heard[1:] == ["reconnected", ("user:2", 2)]
        assert bus.stats.dropped == 1


@pytest.mark.parametrize("pending", [False, True], ids=["idle", "with writes pending"])
async def test_a_frozen_server_is_found_out_and_another_takes_over(server: NatsServer, pending: bool) -> None:
    ear, last = Ear(), Ear()
    with NatsServer() as second:
        async with NatsTransport(server.url, **QUICK) as bus:
            bus._session._guard._servers += NatsTransport(second.url)._servers
            bus.subscribe("user:1", ear, ear.interrupted)
            bus.subscribe("other:399", last)
            await bus.flush()
            server.freeze()
            began_s = time.perf_counter()
            for number in range(400 if pending else 0):
                bus.publish(f"other:{number}", big(1, 60_000))
            assert time.perf_counter() - began_s < 5, "a writer never blocks"
            await ear.reconnected()
            bus.publish("user:1", envelope(3))
            await ear.until(lambda heard: 3 in heard)
            assert "did not answer a ping" in ear.reasons[0]
            if pending:  # it still waited here
                await last.until(lambda heard: heard == [1])
            server.kill()


async def test_silence_is_found_out_long_before_deafness(server: NatsServer) -> None:
    """A server that says nothing at all is given up after one interval, one that only does not answer after several."""
    ear = Ear()
    async with NatsTransport(server.url, **{**QUICK, "ping_interval_s": 1.0}) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        await bus.flush()
        server.freeze()
        began_s = time.perf_counter()
        await ear.until(lambda heard: len(heard) == 1)
        assert time.perf_counter() - began_s < 6
        server.kill()


@pytest.mark.parametrize("how", ["aborted", "ended by the server", "declared dead"])
async def test_what_is_published_before_the_loss_is_acted_upon_is_sent_on_the_next_connection(
    server: NatsServer, how: str, direct: bool | None
) -> None:
    ear = Ear()
    async with NatsTransport(server.url) as reader, NatsTransport(server.url, direct=direct, **QUICK) as bus:
        reader.subscribe_topic("user", ear.topic, ear.interrupted)
        await reader.flush()
        link = bus._session.wire.link
        if how == "aborted":
            link.socket.abort()
        elif how == "declared dead":
            link.lose("for the test")
        else:
            link.socket._io_reader.feed_eof()
        for number in range(3):
            bus.publish(f"user:{number}", envelope(1))
        assert len(bus._session._outbox) == 3
        await ear.until(lambda heard: len(heard) == 3)
        assert ear.heard == [(f"user:{number}", 1) for number in range(3)]
        assert bus.stats.reconnects == 1


async def test_a_request_that_waited_dies_with_its_connection(server: NatsServer) -> None:
    """Its asker was told that it failed; nobody must work on it later."""
    served: list[object] = []

    async def responder(request: object) -> Written:
        served.append(request)
        raise AssertionError

    with NatsServer() as second:
        async with NatsTransport(second.url) as authority, NatsTransport(server.url, **QUICK) as bus:
            authority.serve("user", responder)
            await authority.flush()
            bus._session._guard._servers += NatsTransport(second.url)._servers
            server.freeze()
            for number in range(400):
                bus.publish(f"other:{number}", big(1, 60_000))
            with pytest.raises(TransportError, match="there is no connection"):
                await bus.ask("user", ListKeys(), DEADLINE_S)
            await eventually(lambda: bus.connected)
            await bus.flush()
            await authority.flush()
            assert served == []
            server.kill()


async def test_an_answer_that_is_late_while_others_come_in_costs_nothing(server: NatsServer) -> None:
    ear = Ear()
    async with line_to(server.port) as line, raw(server.url) as say, NatsTransport(line.url, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        bus.subscribe_topic("noise", ear.topic, ear.interrupted)
        await bus.flush()
        noise = asyncio.create_task(_noise(say))
        line.flows.clear()
        until_s = time.perf_counter() + 0.7  # some intervals
        while time.perf_counter() < until_s:
            count = len(ear.heard)
            await ear.until(lambda heard, count=count: len(heard) > count)
        line.flows.set()
        await bus.flush()
        noise.cancel()
        await asyncio.wait([noise])
        assert [what for what in ear.reasons if what != "malformed frame"] == []


async def test_a_server_that_thaws_is_used_again(server: NatsServer, direct: bool | None) -> None:
    ear = Ear()
    async with NatsTransport(server.url, direct=direct, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        await bus.flush()
        server.freeze()
        await ear.until(lambda heard: len(heard) == 1)
        bus.publish("user:1", envelope(4))
        server.thaw()
        await ear.until(lambda heard: 4 in heard)
        assert ear.heard[1:] == ["reconnected", 4]


async def test_waiting_for_a_frozen_server_can_be_cancelled_and_times_out(server: NatsServer) -> None:
    async with NatsTransport(server.url, **{**QUICK, "ping_interval_s": 60.0}) as bus:
        server.freeze()
        for number in range(200):
            bus.publish(f"other:{number}", big(1, 60_000))
        flushing = asyncio.create_task(bus.flush())
        await asyncio.sleep(0)
        flushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flushing
        with pytest.raises(AskTimeoutError, match="did not confirm"):
            await bus.flush(0.05)
        with pytest.raises(AskTimeoutError):
            await bus.ask("user", ListKeys(), 0.05)
        server.thaw()
        await bus.flush()


async def test_what_the_network_does_not_take_waits_where_it_conflates_and_not_below(server: NatsServer) -> None:
    async with NatsTransport(server.url, **{**QUICK, "ping_interval_s": 60.0}) as bus:
        server.freeze()
        for sequence in range(1, 1_001):
            bus.publish("user:1", big(sequence, 60_000))
            await asyncio.sleep(0)
        writer = bus._session.wire.link.socket._io_writer
        assert writer.transport.get_write_buffer_size() < 1_000_000
        assert bus.stats.conflated > 500
        server.thaw()
        await bus.flush()


async def test_closing_does_not_wait_for_a_frozen_server(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("parasync.transports.nats.CLOSE_TIMEOUT_S", 0.05)
    async with NatsTransport(server.url, **{**QUICK, "ping_interval_s": 60.0}) as bus:
        server.freeze()
        for number in range(200):
            bus.publish(f"other:{number}", big(1, 60_000))
        async with asyncio.timeout(DEADLINE_S):
            await bus.aclose()
    assert "messages unsent" in caplog.text


async def test_who_waits_for_a_flush_hears_that_the_transport_was_closed(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parasync.transports.nats.CLOSE_TIMEOUT_S", 0.05)
    async with NatsTransport(server.url, **{**QUICK, "ping_interval_s": 60.0}) as bus:
        server.freeze()
        pinging = asyncio.create_task(bus.flush(10 * DEADLINE_S))
        await asyncio.sleep(0)
        for number in range(200):
            bus.publish(f"other:{number}", big(1, 60_000))
        waiting = asyncio.create_task(bus.flush(10 * DEADLINE_S))
        await asyncio.sleep(0)
        await bus.aclose()
        async with asyncio.timeout(DEADLINE_S):
            for flushing in (pinging, waiting):
                with pytest.raises(ClosedError):
                    await flushing


async def test_what_was_never_sent_is_said_at_the_end(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    async with NatsTransport(server.url, **QUICK) as bus:
        server.kill()
        await eventually(lambda: not bus.connected)
        bus.publish("user:1", envelope(1))
    assert "closed with 1 messages unsent" in caplog.text


async def test_what_was_published_last_is_sent_before_closing(server: NatsServer) -> None:
    ear = Ear()
    async with NatsTransport(server.url) as reader:
        reader.subscribe_topic("user", ear.topic)
        await reader.flush()
        async with NatsTransport(server.url) as bus:
            for number in range(2_000):
                bus.publish(f"user:{number}", envelope(number + 1))
        await ear.until(lambda heard: len(heard) == 2_000)
        assert [sequence for _, sequence in ear.heard] == list(range(1, 2_001))


async def test_closing_twice_or_cancelled_still_closes(server: NatsServer) -> None:
    bus = NatsTransport(server.url)
    await bus.__aenter__()
    closing = [asyncio.create_task(bus.aclose()) for _ in range(3)]
    await asyncio.sleep(0)
    closing[0].cancel()
    await asyncio.wait(closing)
    assert [task.cancelled() for task in closing] == [True, False, False]
    assert not bus.connected
    unused = NatsTransport(server.url)
    await unused.aclose()
    assert unused.closed


@pytest.mark.parametrize("state", ["connected", "looking for a server", "in a handshake"])
async def test_closing_leaves_nothing_behind(server: NatsServer, state: str, direct: bool | None) -> None:
    tasks = asyncio.all_tasks()
    async with NatsTransport(server.url, direct=direct, **{**QUICK, "connect_timeout_s": DEADLINE_S}) as bus:
        bus.subscribe("user:1", print)
        bus.serve("user", print)  # type: ignore[arg-type]
        await bus.flush()
        if state != "connected":
            server.kill()
            await eventually(lambda: not bus.connected)
        if state == "in a handshake":
            async with fake_server(b"", port=server.port) as fake:
                await eventually(lambda: fake.clients == 1)
                await bus.aclose()
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("broken", ["to_server", "to_client", "both"])
async def test_a_network_that_swallows_what_is_said_is_found_out(server: NatsServer, broken: str) -> None:
    """Half-open and one-way connections: the socket stays open, and bytes may still come in."""
    ear = Ear()
    async with line_to(server.port) as line, raw(server.url) as say, NatsTransport(line.url, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        bus.subscribe_topic("noise", ear.topic)
        await bus.flush()
        line.to_server, line.to_client = broken == "to_client", broken == "to_server"
        noise = asyncio.create_task(_noise(say))
        await ear.until(lambda heard: len(ear.reasons) >= 1)
        assert "did not answer a ping" in ear.reasons[0]
        line.to_server = line.to_client = True
        await ear.reconnected()
        noise.cancel()
        await asyncio.wait([noise])
        await round_trip(bus)


async def _noise(say: object) -> None:
    while True:
        await say(b"PUB synced.noise.state.1 1\r\nx\r\n")  # type: ignore[operator]


async def test_a_process_that_stood_still_does_not_blame_the_server(server: NatsServer) -> None:
    ear = Ear()
    async with NatsTransport(server.url, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        for sequence in range(1, 4):
            await bus.flush()
            until_s = time.perf_counter() + 0.5  # far beyond the ping interval
            while time.perf_counter() < until_s:
                pass
            bus.publish("user:1", envelope(sequence))
            await ear.until(lambda heard, sequence=sequence: sequence in heard)
        assert ear.heard == [1, 2, 3]


async def test_asks_under_way_fail_at_once_when_the_connection_is_lost(server: NatsServer) -> None:
    began = asyncio.Event()

    async def responder(_: object) -> Written:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with NatsTransport(server.url, **QUICK) as bus:
        bus.serve("user", responder)
        asking = asyncio.create_task(bus.ask("user", ListKeys(), DEADLINE_S))
        await began.wait()
        server.kill()
        with pytest.raises(TransportError, match="there is no connection to the bus now"):
            await asking
        with pytest.raises(TransportError, match="there is no connection to the bus now"):
            await bus.ask("user", ListKeys(), DEADLINE_S)


async def test_many_clients_do_not_come_back_all_at_once(server: NatsServer) -> None:
    came_back_s: list[float] = []

    def interrupted(reason: str) -> None:
        if reason == "reconnected":
            came_back_s.append(time.perf_counter())

    async with AsyncExitStack() as stack:
        for _ in range(30):
            bus = await stack.enter_async_context(NatsTransport(server.url))
            bus.subscribe("user:1", print, interrupted)
        server.restart()
        await eventually(lambda: len(came_back_s) == 30)
    assert max(came_back_s) - min(came_back_s) > 0.05, "without jitter they come back within 10 ms"
