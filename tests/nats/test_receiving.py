"""What comes in: foreign bytes, poison, floods and handlers that fail cost what they concern, and it is said in order."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.protocol.parser import Parser

from parasync import Envelope, MsgpackCodec
from parasync.errors import UsageError
from parasync.transports._nats_link import direct_works
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport, PrefixedSubjects
from tests.nats.kit import DEADLINE_S, Ear, big, envelope, eventually, in_thread, monitored, raw, round_trip

pytestmark = pytest.mark.nats

QUICK = {"reconnect_max_s": 0.05, "connect_timeout_s": 0.5, "ping_interval_s": 0.2}


def frame(key: str, sequence: int) -> bytes:
    return MsgpackCodec().encode_frame(key, envelope(sequence))


def pub(subject: str | bytes, data: bytes) -> bytes:
    return b"PUB %b %d\r\n%b\r\n" % (subject.encode() if isinstance(subject, str) else subject, len(data), data)


async def test_a_malformed_frame_interrupts_its_key_in_order_and_no_other(server: NatsServer, direct: bool | None) -> None:
    ears = {key: Ear() for key in ("user:1", "user:2")}
    mirror = Ear()
    async with NatsTransport(server.url, direct=direct) as bus, raw(server.url) as say:
        for key, ear in ears.items():
            bus.subscribe(key, ear, ear.interrupted)
        bus.subscribe_topic("user", mirror.topic, mirror.interrupted)
        await bus.flush()
        good, bad = frame("user:1", 1), bytearray(frame("user:1", 2))
        bad[10] ^= 1
        for data in (good, bytes(bad), frame("user:1", 3), b"", good[:-1], frame("user:2", 9), b"\xc1" * 50):
            await say(pub("synced.user.state.1", data))
        await say(pub("synced.user.state.1", frame("user:1", 4)))
        await say(pub("synced.user.state.2", frame("user:2", 1)))
        await ears["user:2"].until(lambda heard: heard == [1])
        order = [1, "malformed frame", 3, *["malformed frame"] * 4, 4]
        assert ears["user:1"].heard == order
        await mirror.until(lambda heard: ("user:2", 1) in heard)
        assert [what if isinstance(what, str) else what[1] for what in mirror.heard] == [*order, 1]
        assert bus.stats.malformed == 10


async def test_an_interrupted_callback_that_raises_is_skipped(server: NatsServer) -> None:
    ear = Ear()

    def bad(_: str) -> None:
        raise asyncio.CancelledError

    async with NatsTransport(server.url) as bus, raw(server.url) as say:
        bus.subscribe("user:1", ear, bad)
        bus.subscribe("user:1", ear, ear.interrupted)
        await bus.flush()
        await say(pub("synced.user.state.1", b"?"))
        await ear.until(lambda heard: heard == ["malformed frame"])


async def test_subjects_below_a_topic_that_are_no_keys(server: NatsServer, direct: bool | None) -> None:
    """A beat and whatever a later version may send are passed over; a state of an impossible key is malformed."""
    mirror = Ear()
    async with NatsTransport(server.url, direct=direct) as bus, raw(server.url) as say:
        bus.subscribe_topic("user", mirror.topic, mirror.interrupted)
        await bus.flush()
        for subject in ("synced.user.beat", "synced.user.news.of.a.kind", "synced.user.state.=41", "synced.user.state.a=3Ab"):
            await say(pub(subject, frame("user:1", 1)))
        await say(pub("synced.user.state.a=3Ab", frame("", 1)))
        await say(pub("synced.user.state", frame("user", 2)))
        await mirror.until(lambda heard: ("user", 2) in heard)
        assert mirror.heard == [*["malformed frame"] * 3, ("user", 2)]


POISON = {
    "a subject that is not UTF-8": pub(b"synced.user.state.\xff\xfe", b"x"),
    "a status that is not UTF-8": b"HPUB synced.user.state.1 16 16\r\nNATS/1.0 \xff\xfe\xfd\r\n\r\n\r\n",
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_poison_costs_neither_the_connection_nor_another_key(server: NatsServer, poison: bytes) -> None:
    ear, mirror = Ear(), Ear()
    async with NatsTransport(server.url) as bus, raw(server.url) as say:
        bus.subscribe("other:1", ear, ear.interrupted)
        bus.subscribe_topic("user", mirror.topic, mirror.interrupted)
        await bus.flush()
        await say(poison)
        await say(pub("synced.user.state.2", frame("user:2", 2)))
        await say(pub("synced.other.state.1", frame("other:1", 3)))
        await mirror.until(lambda heard: ("user:2", 2) in heard)
        await ear.until(lambda heard: 3 in heard)
        assert mirror.heard == ["malformed frame", ("user:2", 2)]
        assert ear.heard == [3]
        assert bus.stats.reconnects == 0


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON)
async def test_poison_that_kills_the_read_loop_of_the_client_is_noticed_at_once(server: NatsServer, poison: bytes) -> None:
    """Through its callbacks the client cannot be saved from it; it stays 'connected' and never reads again."""
    mirror = Ear()
    async with NatsTransport(server.url, direct=False, **{**QUICK, "ping_interval_s": 60.0}) as bus, raw(server.url) as say:
        bus.subscribe_topic("user", mirror.topic, mirror.interrupted)
        await bus.flush()
        await say(poison)
        await mirror.reconnected()
        assert mirror.heard == ["disconnected: the connection was lost", "reconnected"]
        await round_trip(bus)


async def test_poison_kills_the_bare_client(server: NatsServer) -> None:
    """The reason for all this; when it no longer does, `direct` is a matter of speed alone."""
    client = await nats.connect(server.url, ping_interval=3600)
    try:
        async with asyncio.timeout(DEADLINE_S), raw(server.url) as say:
            await client.subscribe("synced.user.>", cb=_nothing)
            while not client._reading_task.done():
                await say(POISON["a subject that is not UTF-8"])
            assert client.is_connected
    finally:
        await client.close()


async def _nothing(_: object) -> None: ...


async def test_a_reader_that_is_too_slow_for_the_server_is_told(server: NatsServer) -> None:
    """The loop stands still while others publish, until the server gives us up."""
    server.config = 'write_deadline: "100ms"\nmax_pending: 1MB'
    server.restart()
    ear = Ear()
    blocked = threading.Event()

    def flood() -> None:
        asyncio.run(_flood(server, blocked))

    async with NatsTransport(server.url, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        await bus.flush()
        thread = in_thread(flood)
        assert blocked.wait(30), "this thread is the loop's, which so stands still"
        await ear.reconnected()
        bus.publish("user:1", envelope(77))
        await ear.until(lambda heard: 77 in heard)
        await asyncio.to_thread(thread.join)
    assert any("Slow Consumer" in line for line in server.log)


async def _flood(server: NatsServer, told_off: threading.Event) -> None:
    async with NatsTransport(server.url) as bus:
        sequence = 0
        while not any("Slow Consumer" in line for line in server.log):
            sequence += 1
            bus.publish("user:1", big(sequence, 60_000))
            await bus.flush()
    told_off.set()


async def test_a_reader_that_is_slow_for_a_while_loses_nothing(server: NatsServer) -> None:
    """No queue of the client's drops anything: what is not read waits in the network."""
    ear = Ear()
    async with NatsTransport(server.url) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        await bus.flush()

        def publish() -> None:
            asyncio.run(_publish(server, 300))

        thread = in_thread(publish)
        thread.join(60)
        assert not thread.is_alive()
        await ear.until(lambda heard: 300 in heard)
        assert ear.heard == list(range(1, 301))


async def _publish(server: NatsServer, count: int) -> None:
    async with NatsTransport(server.url) as bus:
        for sequence in range(1, count + 1):
            bus.publish("user:1", big(sequence, 20_000))
            await asyncio.sleep(0)
            await bus.flush()


async def test_what_the_client_drops_interrupts_the_key(server: NatsServer) -> None:
    """Through its callbacks the client has queues with limits, at which it drops the newest."""
    ear, other = Ear(), Ear()
    async with NatsTransport(server.url, direct=False) as bus, raw(server.url) as say:
        bus.subscribe("user:1", ear, ear.interrupted)
        bus.subscribe("user:2", other, other.interrupted)
        await bus.flush()
        for subscription in bus._session.wire._subscribed.values():
            subscription._pending_bytes_limit = 1_000
        await say(b"".join(pub("synced.user.state.1", frame("user:1", sequence)) for sequence in range(1, 201)))
        await ear.until(lambda heard: "slow consumer" in heard)
        await say(pub("synced.user.state.1", frame("user:1", 500)) + pub("synced.user.state.2", frame("user:2", 1)))
        await other.until(lambda heard: heard)
        await ear.until(lambda heard: 500 in heard)
        assert len(ear.sequences) < 200, "some were dropped"
        assert set(ear.reasons) == {"slow consumer"}
        assert other.heard == [1]
        assert "reads too slowly" in str(bus.last_error)


async def test_a_handler_that_raises_does_not_end_the_subscription(server: NatsServer, direct: bool | None) -> None:
    ear = Ear()

    def bad(_: Envelope[Any]) -> None:
        raise asyncio.CancelledError

    async with NatsTransport(server.url, direct=direct) as bus:
        bus.subscribe("user:1", bad)
        bus.subscribe("user:1", ear)
        for sequence in (1, 2, 3):
            bus.publish("user:1", envelope(sequence))
            await ear.until(lambda heard, sequence=sequence: sequence in heard)


async def test_a_sink_that_raises_all_the_same_ends_nothing(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    def sink(*_: object) -> None:
        raise ValueError("the payload")

    async with NatsTransport(server.url) as bus, raw(server.url) as say:
        bus._session.wire.open("box", sink)
        await bus.flush()
        await say(pub("box", b"x"))
        await round_trip(bus)
        assert bus.stats.reconnects == 0
        assert "the sink of 'box' raised ValueError" in caplog.text
        assert "payload" not in caplog.text


async def test_a_flush_waits_for_all_that_was_published_before(server: NatsServer, direct: bool | None) -> None:
    """More than is written at a time; what confirms it must not go ahead of the rest."""
    ear = Ear()
    async with NatsTransport(server.url) as reader, NatsTransport(server.url, direct=direct) as bus:
        reader.subscribe_topic("user", ear.topic)
        await reader.flush()
        for number in range(200):
            bus.publish(f"user:{number}", big(1, 60_000))
        await bus.flush()
        await reader.flush()
        assert len(ear.heard) == 200


async def test_the_installed_client_hands_messages_over_directly() -> None:
    assert await direct_works()


@pytest.mark.parametrize("change", ["another parser", "an error"])
async def test_a_client_that_changed_is_used_through_its_callbacks(
    server: NatsServer, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_loop(self: Client) -> None:
        await self._other_parser.parse(b"")

    def reset(self: Parser) -> None:
        raise ValueError

    with monkeypatch.context() as changed:
        if change == "another parser":
            changed.setattr(Client, "_read_loop", read_loop)
        else:
            changed.setattr(Parser, "reset", reset)
        assert not await direct_works()
    async with NatsTransport(server.url, direct=False) as bus:
        await round_trip(bus)
        assert not bus._session.wire.link.direct


async def test_n_local_subscribers_share_one_subscription_which_ends_with_the_last(
    server: NatsServer, direct: bool | None
) -> None:
    async def subscriptions() -> int:
        await bus.flush()
        page = await monitored(server, "connz?subs=1")
        return int(page["connections"][0]["subscriptions"])

    async with NatsTransport(server.url, direct=direct) as bus:
        base = await subscriptions()
        ends = [bus.subscribe("user:1", print) for _ in range(100)]
        assert await subscriptions() == base + 1
        for end in ends[:-1]:
            end()
        assert await subscriptions() == base + 1
        ends[-1]()
        assert await subscriptions() == base
        for moments in range(20):
            end = bus.subscribe("user:1", print)
            for _ in range(moments):
                await asyncio.sleep(0)
            end()
        bus.subscribe_topic("user", print)()
        assert await subscriptions() == base
        assert (bus.key_count(), bus._session.wire.lines) == (0, ())


async def test_a_subscription_that_ends_on_another_thread_ends_on_the_bus(server: NatsServer) -> None:
    """As when the garbage collector drops a replica there."""
    async with NatsTransport(server.url) as bus:
        end = bus.subscribe("user:1", print)
        await bus.flush()
        await asyncio.to_thread(end)
        assert bus.key_count() == 0
        await eventually(lambda: bus._session.wire.lines == ())


async def test_thousands_of_subscriptions_need_no_task_each(server: NatsServer) -> None:
    ear = Ear()
    async with NatsTransport(server.url) as bus:
        tasks = len(asyncio.all_tasks())
        began_s = time.perf_counter()
        for number in range(20_000):
            bus.subscribe(f"user:{number}", ear)
        await bus.flush(30)
        assert time.perf_counter() - began_s < 20
        assert len(asyncio.all_tasks()) == tasks
        for number in (0, 9_999, 19_999):
            bus.publish(f"user:{number}", envelope(number + 1))
        await ear.until(lambda heard: len(heard) == 3)
        assert ear.sequences == [1, 10_000, 20_000]


async def test_a_map_whose_subjects_no_server_takes_is_refused(server: NatsServer) -> None:
    class Wild(PrefixedSubjects):
        def of_key(self, key: str) -> str:
            return key * 1000 if key == "long" else key

    async with NatsTransport(server.url, subjects=Wild()) as bus:
        await round_trip(bus, "plain")
        for key in ("a.*", "a.>", "a b", "a\r\nPUB x 0\r\n", "a..b", "a.", "\x00", "*", "long", "ü" * 1901, "\ud800"):
            with pytest.raises(UsageError, match="no server takes"):
                bus.publish(key, envelope(1))
            with pytest.raises(UsageError, match="no server takes"):
                bus.subscribe(key, print)
        assert bus.key_count() == 0
        await round_trip(bus, "plain")


async def test_another_prefix_is_another_bus(server: NatsServer) -> None:
    ear = Ear()
    async with (
        NatsTransport(server.url, subjects=PrefixedSubjects("stage.two")) as bus,
        NatsTransport(server.url) as other,
    ):
        bus.subscribe("user:1", ear)
        await bus.flush()
        other.publish("user:1", envelope(1))
        await other.flush()
        bus.publish("user:1", envelope(2))
        await ear.until(lambda heard: 2 in heard)
        assert ear.heard == [2]
