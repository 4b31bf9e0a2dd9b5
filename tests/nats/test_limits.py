"""A server that takes less than before, or less than others, costs what does not fit and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from parasync import Pace, Topic, authority, synced
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, Ear, envelope, eventually

pytestmark = pytest.mark.nats

QUICK = {"reconnect_max_s": 0.05, "connect_timeout_s": 0.5, "ping_interval_s": 0.2}
NOTES = Topic("note", str)
PACE = Pace(reconcile_interval_s=2.0, ask_timeout_s=1.0, backoff_max_s=0.2)


async def test_a_limit_that_shrank_leaves_replicas_only_without_what_does_not_fit(server: NatsServer) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url, **QUICK) as bus,
        NatsTransport(server.url, **QUICK) as other,
        authority(NOTES, bus) as owner,
    ):
        await owner.put("huge", "x" * 300_000)
        for number in range(5):
            await owner.put(str(number), "x" * 30_000)
        server.config = "max_payload: 65536"
        server.restart()
        await eventually(lambda: bus.stats.reconnects and other.stats.reconnects)
        replicas = [synced(NOTES[ident], other, pace=PACE) for ident in ("huge", *"01234")]
        for replica in replicas[1:]:
            assert await replica.ready() == "x" * 30_000
        assert replicas[0].peek() is None
        await owner.put("huge", "small again")
        assert await replicas[0].ready() == "small again"
        for replica in replicas:
            await replica.aclose()


async def test_more_replicas_than_one_ask_can_carry_are_all_answered(server: NatsServer) -> None:
    server.config = "max_payload: 65536"
    server.restart()
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url, **QUICK) as bus,
        NatsTransport(server.url, **QUICK) as other,
        authority(NOTES, bus) as owner,
    ):
        idents = [f"{number:03}{'k' * 400}" for number in range(300)]
        for ident in idents:
            await owner.put(ident, ident[:3])
        replicas = [synced(NOTES[ident], other, pace=PACE) for ident in idents]
        for replica, ident in zip(replicas, idents, strict=True):
            assert await replica.ready() == ident[:3]
        for replica in replicas:
            await replica.aclose()


async def test_a_subscription_too_many_costs_itself_and_not_the_connection(
    server: NatsServer, direct: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    server.config = "max_subscriptions: 3"
    server.restart()
    ears = [Ear() for _ in range(8)]
    async with NatsTransport(server.url, direct=direct, **QUICK) as bus:
        for number, ear in enumerate(ears):
            bus.subscribe(f"user:{number}", ear, ear.interrupted)
        await bus.flush()
        for number in range(8):
            bus.publish(f"user:{number}", envelope(1))
        await ears[2].until(lambda heard: heard)
        await bus.flush()
        assert [ear.heard for ear in ears] == [[1]] * 3 + [[]] * 5
        assert (bus.stats.reconnects, bus.connected) == (0, True)
        assert "maximum subscriptions exceeded" in str(bus.last_error)
        assert caplog.text.count("takes no more subscriptions") == 1
