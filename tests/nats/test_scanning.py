"""Mirrors that compare and scan over a real bus, whatever they hold and whatever the objects weigh."""

from __future__ import annotations

import asyncio
import random

import pytest

from parasync import MemoryStore, Terms, Topic, Version, authority
from parasync.errors import EncodeError
from parasync.protocol import SCAN_KEYS_MAX, Answer, Ask, Beat, Envelope, Position, Scan, bucket_of
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, eventually
from tests.runtime.scanning import WHOLE, buckets_of, compared, reconciled, stored

pytestmark = pytest.mark.nats

NOTES = Topic("note", str)
TERMS = Terms(beat_interval_s=0.2, beat_min_interval_s=0.05)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_a_mirror_holds_it_comes_to_what_is_stored(server: NatsServer, seed: int) -> None:
    rng, store, beats = random.Random(seed), MemoryStore(), list[Beat]()
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url) as bus,
        NatsTransport(server.url) as other,
        authority(NOTES, bus, store=store, terms=TERMS) as owner,
    ):
        other.subscribe_beats("note", beats.append)
        for number in range(SCAN_KEYS_MAX + 300):
            await owner.put(f"ü {number}", "x" * rng.choice([1, 50, 2_000]))
            if rng.random() < 0.1:
                await owner.delete(f"ü {number}")
        truth = await stored(store)
        await compared(bus)  # by now the server knows who serves
        digests = await compared(other)
        assert (digests.count, digests.buckets) == (len(truth), buckets_of(truth))
        held = {key: at for key, at in truth.items() if rng.random() < 0.7}
        held[rng.choice(sorted(held))] = Position(Version(owner.epoch - 1, 1), 7)
        held["note:lost"] = Position(Version(owner.epoch, 9), 7)
        messages = await reconciled(other, held)
        assert messages < 8
        assert held == await stored(store)
        await eventually(lambda: beats[-1].epoch == owner.epoch and beats[-1].digest == sum(buckets_of(held)) % 2**128)
        assert beats[-1].count == len(held)


async def test_objects_that_fill_a_message_together_are_told_of_one_after_the_other(server: NatsServer) -> None:
    """A server takes more than the longest message of the codec."""
    store = MemoryStore()
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url) as bus,
        NatsTransport(server.url) as other,
        authority(NOTES, bus, store=store) as owner,
    ):
        sizes = [bus.body_bytes_max - 8, *[99_500] * 10, 10]
        keys = [f"note:{number}" for number in range(len(sizes))]
        for number, size in enumerate(sizes):
            await owner.put(str(number), "x" * size)
        assert (await compared(bus)).count == len(keys)  # by now the server knows who serves
        held: dict[str, Position] = {}
        assert await reconciled(other, held) <= 4
        assert held == await stored(store)
        answer = await other.ask("note", Ask(0, tuple(keys[1:]), (None,) * len(keys[1:])), 5.0)
        assert isinstance(answer, Answer)
        assert sum(isinstance(outcome, Envelope) for outcome in answer.outcomes) >= 9


async def test_what_no_message_takes_is_not_sent(server: NatsServer) -> None:
    async with asyncio.timeout(DEADLINE_S), NatsTransport(server.url) as bus, authority(NOTES, bus):
        keys = sorted((f"note:{number}".ljust(500, "x") for number in range(SCAN_KEYS_MAX)), key=bucket_of)
        with pytest.raises(EncodeError):
            await bus.ask("note", Scan(0, Version(0, 0), "", WHOLE, keys=tuple(keys), positions=(None,) * len(keys)), 5.0)
