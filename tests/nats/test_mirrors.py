"""Mirrors over a real server: whole topics through a bad network, killed servers, and authorities that lost their memory."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest

from parasync import MemoryStore, Pace, Status, Terms, Topic, authority, mirror
from parasync.testing import Faults, FaultyTransport
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, eventually

pytestmark = pytest.mark.nats

QUICK: Final[dict[str, Any]] = {"reconnect_max_s": 0.05, "connect_timeout_s": 0.5, "ping_interval_s": 0.2}
NOTES: Final = Topic("note", str, version="1.0")
TERMS: Final = Terms(beat_interval_s=0.3, beat_min_interval_s=0.05, probe_interval_s=60.0)
PACE: Final = Pace(reconcile_interval_s=60.0, ask_timeout_s=1.0, backoff_max_s=0.3)
OBJECTS: Final = 5_000


async def test_a_mirror_follows_a_topic(server: NatsServer) -> None:
    async with NatsTransport(server.url) as near, NatsTransport(server.url) as bus, AsyncExitStack() as stack:
        owner = await stack.enter_async_context(authority(NOTES, bus, terms=TERMS))
        for number in range(10):
            await owner.put(f"eu:{number}", f"{number}")
        notes = await stack.enter_async_context(mirror(NOTES, near, pace=PACE))
        some = await stack.enter_async_context(mirror(NOTES, near, pace=PACE, pattern="note:eu:*"))
        await notes.ready(DEADLINE_S)
        await some.ready(DEADLINE_S)
        assert len(notes) == len(some) == 10
        async with notes.changes() as changes:
            version = await owner.put("us:1", "x")
            assert await notes.at_least(version, "us:1", DEADLINE_S) == "x"
            assert (await anext(changes)).id == "us:1"
        await owner.delete("eu:3")
        await eventually(lambda: len(notes) == 10 and len(some) == 9)
        await eventually(lambda: notes.status is some.status is Status.OK)
        refetches = notes.stats.refetches, some.stats.refetches
        bases = notes._core.base.number, some._core.base.number
        await eventually(lambda: notes._core.base.number > bases[0] + 4 and some._core.base.number > bases[1] + 4)
        assert (notes.stats.refetches, some.stats.refetches) == refetches, "beats prove them, and nobody asks"


async def test_values_that_fill_a_message_come_page_by_page() -> None:
    with NatsServer("max_payload: 65536") as server:
        async with AsyncExitStack() as stack:
            near, bus = [await stack.enter_async_context(NatsTransport(server.url)) for _ in range(2)]
            owner = await stack.enter_async_context(authority(NOTES, bus, terms=TERMS))
            for number in range(40):
                await owner.put(f"{number}" * 200, "x" * 10_000)
            notes = await stack.enter_async_context(mirror(NOTES, near, pace=PACE))
            await notes.ready(DEADLINE_S)
            assert len(notes) == 40
            notes._seat.interrupted("to compare it")
            await notes.when_idle(DEADLINE_S)
            assert notes.stats.applied == 40, "what is there already is not sent again"


async def test_thousands_of_objects_survive_a_bad_network_and_lost_memory(server: NatsServer) -> None:
    """Loss of three messages in ten, a killed server, an authority that lost all: in the end both ends hold the same."""
    draw = random.Random(7)
    faults = Faults(seed=1, drop=0.3)
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(FaultyTransport(NatsTransport(server.url, **QUICK), faults))
        notes = await stack.enter_async_context(mirror(NOTES, line, pace=PACE))
        bus = await stack.enter_async_context(NatsTransport(server.url, **QUICK))
        resurrected: list[str] = []
        deleted: set[str] = set()
        notes.subscribe(lambda change: resurrected.append(change.id) if change.new and change.id in deleted else None)
        async with authority(NOTES, bus, store=MemoryStore(), terms=TERMS) as owner:
            for number in range(OBJECTS):
                await owner.put(f"{number}", f"first {number}")
            await notes.ready(DEADLINE_S)
            server.restart()
            for number in range(0, OBJECTS, 5):
                deleted.add(f"{number}")
                await owner.delete(f"{number}")
            await same(notes, owner)
        again = [f"{number}" for number in draw.sample(range(OBJECTS), OBJECTS // 2)]
        deleted |= {f"{number}" for number in range(OBJECTS)} - set(again)
        deleted -= set(again)
        async with authority(NOTES, bus, store=MemoryStore(), terms=TERMS, loading=True) as owner:
            for name in again:
                await owner.put(name, f"second {name}")
            owner.loaded()
            for name in again[:500]:
                await owner.put(name, f"third {name}")
            server.restart()
            line.heal()
            await same(notes, owner)
            third = {name: f"third {name}" for name in again[:500]}
            assert dict(notes) == {name: f"second {name}" for name in again[500:]} | third
        assert resurrected == []


async def same(notes: mirror[str], owner: authority[str]) -> None:
    """Wait until a mirror is proven to hold what its authority does."""
    async with asyncio.timeout(DEADLINE_S):
        await notes.fresh()
    await eventually(lambda: notes.status is Status.OK and notes.age_s < 1.0 and equal(notes, owner))


def equal(notes: mirror[str], owner: authority[str]) -> bool:
    mine, digest = notes._core.digest, owner._desk.heart.digest()
    assert mine is not None
    return (mine.total, mine.count, mine.buckets) == (digest.total, digest.count, digest.buckets)
