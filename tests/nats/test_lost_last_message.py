"""A last message that nobody misses: in a thousand of a thousand trials the next beat tells of it, and one ask brings it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from parasync import Pace, Status, Terms, Topic, authority, synced
from parasync.testing import ChaosProxy, FaultyTransport
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S

pytestmark = pytest.mark.nats

NOTES = Topic("note", int, version="1.0")
TERMS = Terms(beat_interval_s=30.0, beat_min_interval_s=0.05, probe_interval_s=3600.0)
# Nothing but a beat makes anybody ask.
PACE = Pace(reconcile_interval_s=3600.0, ask_timeout_s=30.0)
OBJECTS, ROUNDS = 100, 10


@pytest.mark.parametrize("deletes", [False, True], ids=["written", "deleted"])
async def test_a_lost_last_message_is_noticed_by_the_next_beat(server: NatsServer, deletes: bool) -> None:
    async with AsyncExitStack() as stack:
        # The writer's transport loses what it is told to, and says nothing; the readers are behind a slow line.
        proxy = await stack.enter_async_context(ChaosProxy(server.url))
        writer = await stack.enter_async_context(FaultyTransport(NatsTransport(server.url)))
        reader = await stack.enter_async_context(NatsTransport(proxy.url, ping_interval_s=3600.0))
        owner = await stack.enter_async_context(authority(NOTES, writer, terms=TERMS))
        for number in range(OBJECTS):
            await owner.put(str(number), 0)
        replicas = [
            await stack.enter_async_context(synced(NOTES[str(number)], reader, pace=PACE, stale_after_s=3600.0))
            for number in range(OBJECTS)
        ]
        async with asyncio.timeout(DEADLINE_S):
            for replica in replicas:
                await replica.ready()
                await replica.when_idle()
        proxy.throttle(1_000_000)
        for trial in range(1, (ROUNDS if not deletes else 1) + 1):
            asked = [replica.stats.refetches for replica in replicas]
            writer.partition(incoming=False)
            for number in range(OBJECTS):
                if deletes:
                    await owner.delete(str(number))
                else:
                    await owner.put(str(number), trial)
            writer.heal()
            lost = [replica.peek() for replica in replicas]
            assert lost == [trial - 1 if not deletes else 0] * OBJECTS, "the messages are lost, all of them"
            async with asyncio.timeout(DEADLINE_S):
                for replica in replicas:
                    async with replica.changes(since=None) as changes:
                        while replica.peek() == trial - 1:
                            await anext(changes)
                for replica in replicas:
                    await replica.when_idle()
            shown = [(replica.peek(), replica.status) for replica in replicas]
            assert shown == [(None if deletes else trial, Status.OK)] * OBJECTS
            again = [replica.stats.refetches - before for replica, before in zip(replicas, asked, strict=True)]
            assert again == [1] * OBJECTS, "the first ask after the beat healed it"
