"""Who serves what on a bus: authorities on our subjects, and nothing that others say."""

from __future__ import annotations

import asyncio
import json

import nats
import pytest

from parasync import Topic, authority
from parasync.errors import TransportError
from parasync.protocol import Put
from parasync.transports._nats_discovery import discover
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport, PrefixedSubjects
from tests.nats.kit import DEADLINE_S, eventually

pytestmark = pytest.mark.nats


async def test_only_authorities_on_these_subjects_are_found(server: NatsServer) -> None:
    mine, theirs = PrefixedSubjects("mine"), PrefixedSubjects("theirs")
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url, subjects=mine) as bus,
        NatsTransport(server.url, subjects=theirs) as other,
        authority(Topic("a b*", object), bus),
        authority(Topic("hidden", object), other),
    ):
        await bus.flush()
        await other.flush()
        assert [found.topic for found in await discover(bus, 1.0)] == ["a b*"]
        assert [found.topic for found in await discover(other, 1.0)] == ["hidden"]


async def test_two_authorities_of_a_topic_are_two(server: NatsServer) -> None:
    topic = Topic("twice", object)
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url) as bus,
        NatsTransport(server.url) as other,
    ):
        stops = [each.serve(topic.name, unanswering) for each in (bus, other)]
        await bus.flush()
        await other.flush()
        first, second = await discover(bus, 1.0)
        assert (first.topic, second.topic) == ("twice", "twice")
        assert first.service != second.service
        assert first.started_s <= second.started_s
        for stop in stops:
            stop()
        await bus.flush()
        await other.flush()
        assert await discover(bus, 1.0) == []


async def unanswering(_: object) -> object:
    raise AssertionError("nobody asks")


async def test_what_other_services_say_is_left_out(server: NatsServer) -> None:
    good = {
        "metadata": {"topic": "t"},
        "id": "x",
        "started": "2026-11-21T12:00:00Z",
        "endpoints": [
            {"subject": f"synced-ask.t.{verb}", "num_requests": 1, "num_errors": 0} for verb in ("state", "list", Put.verb)
        ],
    }
    said = [b"", b"\xff", b"[]", b"null", b"{}", b"7", b'{"metadata": null}']
    said += [json.dumps(good | {name: value}).encode() for name in good for value in (None, 5, "x", [], [{}], {"topic": "a:b"})]
    async with asyncio.timeout(DEADLINE_S), NatsTransport(server.url) as bus:
        client = await nats.connect(server.url)

        async def answer(message: nats.aio.msg.Msg) -> None:
            for data in said:
                await client.publish(message.reply, data)

        await client.subscribe("$SRV.STATS", cb=answer)
        await client.flush()
        found = await discover(bus, 1.0)
        # What is as it should be but for its identity is a service like any other.
        assert {served.topic for served in found} <= {"t"}
        assert all(served.asks == 1 for served in found)
        await client.close()


async def test_without_a_connection_it_says_so() -> None:
    with NatsServer() as server:
        async with asyncio.timeout(DEADLINE_S), NatsTransport(server.url) as bus:
            server.kill()
            await eventually(lambda: not bus.connected)
            with pytest.raises(TransportError, match="no connection"):
                await discover(bus, 1.0)
