"""An authority knows where all its objects stand, whatever its store and its successors do: its beats say so."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest

from parasync import ABSENT, InProcessTransport, MemoryStore, Version, authority
from parasync.errors import ParasyncError, StoreError
from parasync.protocol import BEAT_NAMES_MAX, Catalogue, Position
from parasync.runtime import _stock
from parasync.runtime._heart import FOLDED_MAX
from parasync.runtime._stock import catalogue_of
from parasync.stores import TopicState
from parasync.testing import FaultyStore, StoreFaults
from tests.beating import BeatingTransport
from tests.runtime.kit import NOTES, terms
from tests.runtime.scanning import buckets_of, compared, reconciled, stored
from tests.virtual_time import in_virtual_time, passing

QUIET_S = 60.0
"""Longer than any repair, silence and take-over."""


def facts(held: dict[str, Position]) -> tuple[int, int]:
    """Count and digest, computed from nothing."""
    digest = Catalogue(held.items()).digest
    return digest.count, digest.total


async def entered(stack: AsyncExitStack, bus: Any, store: Any) -> authority[str]:
    """An authority that began, however often that failed."""
    while True:
        try:
            return await stack.enter_async_context(authority(NOTES, bus, store=store, terms=terms(takeover_after_s=12.0)))
        except StoreError:
            await passing(0.1)


async def some_writes(owners: list[authority[str]], rng: random.Random) -> None:
    """Several at once, on few objects, so that they meet; any may fail."""

    async def one() -> None:
        owner, ident = rng.choice(owners), str(rng.randrange(8))
        with suppress(ParasyncError):
            if rng.random() < 0.3:
                await owner.delete(ident)
            else:
                await owner.put(ident, "x" * rng.randrange(50))

    for _ in range(rng.randrange(1, 8)):
        await asyncio.gather(*(one() for _ in range(rng.randrange(1, 6))))
        await passing(rng.choice([0.0, 0.1, 1.0]))


async def a_life_or_two(seed: int, bus: Any) -> None:
    """Writes, failures, restarts and take-overs, and quiet times in which the authority tells what is stored."""
    rng = random.Random(seed)
    rate = rng.choice([0.0, 0.03, 0.1])
    faults = StoreFaults(seed=seed, before=rate, after=rate, slow=rate, hang=rate / 3, foreign=rate / 3, claim=rate / 10)
    store = FaultyStore(MemoryStore(), faults)
    beats: list[Any] = []
    bus.subscribe_beats("note", beats.append)
    async with AsyncExitStack() as stack:
        owners = [await entered(stack, bus, store)]
        for _ in range(6):
            await some_writes(owners, rng)
            fate = rng.random()
            if fate < 0.3:
                owners.append(await entered(stack, bus, store))
            elif fate < 0.6:
                await owners.pop(rng.randrange(len(owners))).aclose()
                if not owners:
                    owners.append(await entered(stack, bus, store))
            await passing(rng.choice([0.0, 1.0, QUIET_S]))
        store.heal()
        await passing(2 * QUIET_S)
        truth = await stored(store)  # type: ignore[arg-type]
        digests = await compared(bus)
        assert (digests.buckets, digests.count) == (buckets_of(truth), len(truth))
        if isinstance(bus, BeatingTransport):
            assert (beats[-1].count, beats[-1].digest) == facts(truth)
            assert beats[-1].epoch == max(owner.epoch for owner in owners)
        held: dict[str, Position] = {}
        await reconciled(bus, held)
        assert held == truth


@pytest.mark.parametrize("bus_of", [BeatingTransport, InProcessTransport])
@pytest.mark.parametrize("seed", range(40))
@in_virtual_time
async def test_the_digest_is_that_of_what_is_stored(seed: int, bus_of: type[InProcessTransport]) -> None:
    async with bus_of() as bus:
        await a_life_or_two(seed, bus)


# Beginning


class Failing(MemoryStore):
    """Fails to tell where its objects stand, or hangs, or is taken over meanwhile, as told."""

    def __init__(self) -> None:
        super().__init__()
        self.fate: Any = None
        self.pages = 0

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        self.pages += 1
        if self.fate is not None:
            await self.fate()
        return await super().positions(topic, after=after, limit=limit)


async def fail() -> None:
    raise StoreError("got a disk that fails")


async def hang() -> None:
    await asyncio.Event().wait()


@in_virtual_time
async def test_who_cannot_take_stock_does_not_serve_and_may_try_again() -> None:
    store = Failing()
    async with BeatingTransport() as bus:
        store.fate = fail
        with pytest.raises(StoreError):
            async with authority(NOTES, bus, store=store, terms=terms()):
                raise AssertionError("it serves")
        store.fate = hang
        beginning = asyncio.create_task(authority(NOTES, bus, store=store, terms=terms()).__aenter__())  # type: ignore[var-annotated]
        await passing(1.0)
        beginning.cancel()
        await asyncio.wait([beginning])
        assert beginning.cancelled()
        store.fate = None
        async with authority(NOTES, bus, store=store, terms=terms()) as owner:
            await owner.put("a", "x")
            await passing(1.0)
            assert (bus.beats[-1].count, bus.beats[-1].digest) == facts(await stored(store))


@in_virtual_time
async def test_who_cannot_take_stock_of_a_higher_epoch_is_fenced_until_it_can() -> None:
    """It has claimed the higher one in the store already: with the lower one it cannot write any more."""
    store = Failing()
    async with BeatingTransport() as bus, authority(NOTES, bus, store=store, terms=terms(takeover_after_s=1.0)) as owner:
        await owner.put("a", "x")
        before, store.fate = owner.epoch, fail
        async with owner._office.turn:
            with pytest.raises(StoreError):
                await owner._office.claim(0)
        await passing(30.0)
        assert not owner.serving
        store.fate = None
        await passing(30.0)
        assert owner.serving
        assert owner.epoch > before
        await owner.put("b", "x")
        await passing(6.0)
        assert (bus.beats[-1].epoch, bus.beats[-1].count, bus.beats[-1].digest) == (owner.epoch, *facts(await stored(store)))


@in_virtual_time
async def test_what_others_wrote_in_between_is_known_after_a_take_over() -> None:
    store = MemoryStore()
    async with BeatingTransport() as bus, authority(NOTES, bus, store=store, terms=terms(takeover_after_s=1.0)) as owner:
        await owner.put("a", "mine")
        async with authority(NOTES, bus, store=store, terms=terms()) as other:
            await passing(1.0)
            assert (owner.serving, other.serving) == (False, True)
            await other.put("a", "theirs")
            await other.put("b", "theirs")
        await passing(30.0)
        assert owner.serving
        assert (bus.beats[-1].count, bus.beats[-1].digest) == facts(await stored(store))
        assert (await compared(bus)).buckets == buckets_of(await stored(store))


@in_virtual_time
async def test_stock_is_taken_in_pages_without_what_lies_below_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stock, "POSITIONS_MAX", 4)
    store = Failing()
    async with InProcessTransport() as bus:
        async with authority(NOTES, bus, store=store, terms=terms()) as owner:
            for ident in "abcdefgh":
                await owner.put(ident, "x")
            low, _, _ = await owner.delete("a"), await owner.delete("b"), await owner.put("b", "x")
            high = await owner.delete("b")
        store.pages = 0
        whole = await catalogue_of(store, "note", ABSENT)
        assert store.pages == 3
        assert whole.digest.buckets == Catalogue((await stored(store)).items()).digest.buckets
        purged = await catalogue_of(store, "note", Version(low.epoch, 3))
        assert (purged.get("note:a"), purged.get("note:b")) == (None, Position(high, 0))
        assert len(purged) == len(whole) - 1
        store._topics["note"].state = TopicState(low.epoch, Version(low.epoch, 3), low.epoch)
        async with authority(NOTES, bus, store=store, terms=terms()):
            assert (await compared(bus)).count == 7


# Keeping it


@in_virtual_time
async def test_what_no_beat_can_name_is_in_its_digest() -> None:
    async with BeatingTransport() as bus, authority(NOTES, bus, loading=True, terms=terms()) as owner:
        for number in range(BEAT_NAMES_MAX + 5):
            await owner.put(str(number), "x")
        owner.loaded()
        await passing(1.0)
        assert any(beat.since == beat.number for beat in bus.beats)
        truth = await stored(owner._store)  # type: ignore[arg-type]
        assert (bus.beats[-1].count, bus.beats[-1].digest) == facts(truth)


@in_virtual_time
async def test_over_what_loses_nothing_what_was_published_is_kept_until_somebody_looks() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        for number in range(2 * FOLDED_MAX + 1):
            await owner.put(str(number), "x")
        heart = owner._desk.heart
        assert heart.published
        await passing(10.0)
        assert heart.published == {}
        await owner.put("new", "x")
        assert (await compared(bus)).count == 2 * FOLDED_MAX + 2


@in_virtual_time
async def test_a_repair_that_comes_late_takes_nothing_back() -> None:
    """What it read was the newest, and is not any more when it could publish that."""
    store = Slow()
    async with BeatingTransport() as bus, authority(NOTES, bus, store=store, terms=terms()) as owner:
        first = await owner.put("a", "first")
        store.gate = asyncio.Event()
        owner._pen.repairs.begin("note:a", None)
        await passing(0.1)
        second = await owner.put("a", "second")
        await passing(1.0)
        store.gate.set()
        await passing(6.0)
        assert bus.beats[-1].digest == facts(await stored(store))[1]
        named = [beat.named["note:a"].version for beat in bus.beats if "note:a" in beat.named]
        assert (named, set(named)) == (sorted(named), {first, second})


class Slow(MemoryStore):
    """Reads, and takes its time to tell."""

    gate: asyncio.Event | None = None

    async def read(self, *arguments: Any) -> Any:
        found = await super().read(*arguments)
        if self.gate is not None:
            await self.gate.wait()
        return found


@in_virtual_time
async def test_where_nobody_can_ask_nobody_takes_stock() -> None:
    bus = InProcessTransport()
    store = Failing()

    class Mute:
        """Publishes, and no more."""

        capabilities = type(bus.capabilities)(lossless=True, ordered=True, threads=True, ask=False)
        codec = bus.codec
        loop = None
        publish, subscribe, subscribe_topic, key_count = bus.publish, bus.subscribe, bus.subscribe_topic, bus.key_count

    async with bus, authority(NOTES, Mute(), store=store, terms=terms()) as owner:  # type: ignore[arg-type]
        await owner.put("a", "x")
        assert (store.pages, owner._desk.heart.published) == (0, None)
        assert owner._desk.heart.count() == 0
