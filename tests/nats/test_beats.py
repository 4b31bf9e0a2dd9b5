"""Beats over a real server: made when their turn comes, heard once a process, and good for what they promise."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import Any

import attrs
import pytest

from parasync import MemoryStore, Pace, Status, Terms, Topic, authority, synced
from parasync.errors import ClosedError, InvalidKeyError, UsageError
from parasync.protocol import Beat, Position, Version
from parasync.testing import FaultyTransport
from parasync.transports._nats_beats import BEATS_WAITING_MAX
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, Ear, envelope, eventually, raw

pytestmark = pytest.mark.nats

QUICK = {"reconnect_max_s": 0.05, "connect_timeout_s": 0.5, "ping_interval_s": 0.2}
NOTES = Topic("note", str, version="1.0")
EPOCH = 1_700_000_000 << 20
TERMS = Terms(beat_interval_s=0.2, beat_min_interval_s=0.05, probe_interval_s=60.0)
PACE = Pace(reconcile_interval_s=60.0, ask_timeout_s=1.0)


def beat(number: int, **more: Any) -> Beat:
    return Beat(EPOCH, number, 1.5, 5.0, Version(0, 0), EPOCH, None, None, **{"named": {}, "since": 0, **more})


async def test_the_replicas_of_a_process_share_one_subscription_on_the_bus(server: NatsServer, direct: bool | None) -> None:
    async with NatsTransport(server.url, direct=direct) as bus:
        heard: list[tuple[str, Beat]] = []
        ends = [bus.subscribe_beats("user", lambda beat, n=n: heard.append((n, beat))) for n in "ab"]  # type: ignore[misc]
        assert [line.subject for line in bus._session.wire.lines if line.subject.endswith(".beat")] == ["synced.user.beat"]
        said = beat(1, named={"user:1": Position(Version(EPOCH, 3), 5)})
        bus.publish_beat("user", lambda _: said)
        bus.publish_beat("user", lambda _: None)
        bus.publish_beat("other", lambda _: beat(2))
        await eventually(lambda: len(heard) == 2)
        assert heard == [("a", said), ("b", said)]
        ends[0]()
        assert bus._session.wire.lines
        ends[1]()
        assert not [line for line in bus._session.wire.lines if line.subject.endswith(".beat")]


async def test_a_beat_knows_what_waits_behind_it(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus:
        waited: list[set[str]] = []

        def make(waiting: Collection[str]) -> Beat:
            waited.append({key for key in ("user:1", "user:2", "user:3") if key in waiting})
            return beat(1)

        # A turn that waits already: what is written now comes after it, or moves behind it.
        session = bus._session
        session.wire._in_turn = True
        bus.publish("user:1", envelope(1))
        bus.publish("user:2", envelope(1))
        bus.publish_beat("user", make)
        bus.publish("user:2", envelope(2))
        bus.publish("user:3", envelope(1))
        session.wire._in_turn = False
        session.wire.wake()
        await bus.flush()
        assert waited == [{"user:2", "user:3"}]


async def test_without_a_connection_no_beat_is_made_and_none_waits_for_one(server: NatsServer) -> None:
    ear, made = Ear(), []
    async with NatsTransport(server.url, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        await bus.flush()

        def make(_: Collection[str]) -> None:
            made.append(1)

        await asyncio.to_thread(server.kill)
        await ear.until(lambda heard: heard)
        bus.publish_beat("user", make)
        await asyncio.to_thread(server.start)
        await ear.reconnected()
        await bus.flush()
        assert made == []
        bus.publish_beat("user", make)
        await bus.flush()
        assert made == [1]


async def test_beats_that_wait_are_limited(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus:
        made: list[int] = []
        bus._session.wire._in_turn = True
        for number in range(BEATS_WAITING_MAX + 5):
            bus.publish_beat("user", lambda _, number=number: made.append(number))  # type: ignore[misc]
        bus._session.wire._in_turn = False
        bus.publish_beat("other", lambda _: None)
        await bus.flush()
        assert made == list(range(BEATS_WAITING_MAX))
        bus.publish_beat("user", lambda _: made.append(99))
        await bus.flush()
        assert made[-1] == 99


@pytest.mark.parametrize("waits", [False, True])
async def test_a_flood_over_more_objects_than_a_beat_names_is_no_reason_to_ask(server: NatsServer, waits: bool) -> None:
    async with AsyncExitStack() as stack:
        near, bus = [await stack.enter_async_context(NatsTransport(server.url)) for _ in range(2)]
        owner = await stack.enter_async_context(authority(NOTES, bus, terms=attrs.evolve(TERMS, beat_interval_s=5.0)))
        for number in range(300):
            await owner.put(f"{number}", "first")
        replicas = [await stack.enter_async_context(synced(NOTES[f"{number}"], near, pace=PACE)) for number in range(300)]
        for replica in replicas:
            await replica.ready()
        await eventually(lambda: all(replica.status is Status.OK for replica in replicas))
        refetches = sum(replica.stats.refetches for replica in replicas)
        wire = bus._session.wire
        wire._in_turn = waits or wire._in_turn
        for number in range(20_000):
            await owner.put(f"{number}", "last")
        assert (len(wire._outbox) > 20_000) == waits
        wire._in_turn = wire._in_turn and not waits
        wire.wake()
        number = owner._office.pulse.number
        await eventually(lambda: all(replica._member.base.number > number + 22 * waits for replica in replicas))
        assert all(replica.value == "last" for replica in replicas)
        assert sum(replica.stats.refetches for replica in replicas) == refetches


async def test_a_beat_that_is_too_large_for_the_bus_says_that_it_names_none() -> None:
    with NatsServer("max_payload: 2048") as server:
        async with NatsTransport(server.url) as bus:
            heard: list[Beat] = []
            bus.subscribe_beats("user", heard.append)
            named = {f"user:{number:0100}": Position(Version(EPOCH, 3), 5) for number in range(50)}
            bus.publish_beat("user", lambda _: beat(1, named=named))
            await eventually(lambda: heard)
            assert heard == [beat(1, since=1)]


async def test_a_maker_that_raises_harms_nobody(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    async with NatsTransport(server.url) as bus:
        ear = Ear()
        bus.subscribe("user:1", ear)

        def make(_: Collection[str]) -> Beat:
            raise ValueError("with payload")

        bus.publish_beat("user", make)
        bus.publish("user:1", envelope(1))
        await ear.until(lambda heard: heard == [1])
        assert "the beat of 'user' raised ValueError" in caplog.text
        assert "payload" not in caplog.text


async def test_a_poison_beat_is_counted_and_the_next_one_heard(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus, raw(server.url) as say:
        heard: list[Beat] = []
        bus.subscribe_beats("user", heard.append)
        await bus.flush()
        for junk in (b"", b"?", b"\xc1" * 200):
            await say(b"PUB synced.user.beat %d\r\n%b\r\n" % (len(junk), junk))
        bus.publish_beat("user", lambda _: beat(7))
        await eventually(lambda: heard)
        assert [each.number for each in heard] == [7]
        assert bus.stats.malformed == 3


async def test_what_is_no_topic_and_what_comes_too_late_is_refused(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus:
        with pytest.raises(InvalidKeyError):
            bus.publish_beat("user:1", lambda _: None)
        with pytest.raises(InvalidKeyError):
            bus.subscribe_beats("user:1", print)
        with pytest.raises(UsageError):
            await asyncio.to_thread(bus.publish_beat, "user", lambda _: None)
    with pytest.raises(ClosedError):
        bus.publish_beat("user", lambda _: None)
    with pytest.raises(ClosedError):
        bus.subscribe_beats("user", print)


async def test_a_lost_last_message_is_healed_by_the_next_beat(server: NatsServer, direct: bool | None) -> None:
    async with (
        NatsTransport(server.url, direct=direct) as writer,
        FaultyTransport(NatsTransport(server.url, direct=direct)) as reader,
        authority(NOTES, writer, terms=TERMS) as owner,
        synced(NOTES["a"], reader, pace=PACE) as replica,
    ):
        for number in range(5):
            reader.partition(outgoing=False)
            await owner.put("a", f"lost {number}")
            await writer.flush()
            # What the server has, it has sent on by the time at which it answers.
            await reader.inner.flush()  # type: ignore[attr-defined]
            reader.heal()
            assert replica.peek() != f"lost {number}"
            async with asyncio.timeout(DEADLINE_S):
                await eventually(lambda number=number: replica.peek() == f"lost {number}")  # type: ignore[misc]
            await replica.when_idle()
            assert replica.status is Status.OK


async def test_beats_go_on_after_the_server_came_back_and_a_new_life_is_noticed(server: NatsServer) -> None:
    store = MemoryStore()
    async with (
        NatsTransport(server.url, **QUICK) as writer,
        NatsTransport(server.url, **QUICK) as reader,
    ):
        async with authority(NOTES, writer, store=store, terms=TERMS) as owner:
            await owner.put("a", "x")
            replica = synced(NOTES["a"], reader, pace=PACE)
            await replica.ready()
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            number = replica._member.base.number
            await eventually(lambda: replica._member.base.number > number + 3)
        async with replica, authority(NOTES, writer, store=store, terms=TERMS) as owner:
            await eventually(lambda: replica._member.base.epoch == owner.epoch)
            await eventually(lambda: replica.status is Status.OK)
