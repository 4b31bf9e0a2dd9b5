"""What an authority answers to mirrors that compare and scan, against what its store holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from parasync import ABSENT, Envelope, InProcessTransport, Kind, MemoryStore, Version, authority
from parasync.errors import NoAuthorityError
from parasync.protocol import (
    ABSENT_OBJECT,
    BUCKETS,
    SCAN_KEYS_MAX,
    UNANSWERED,
    Compare,
    EncodedBody,
    Position,
    ProbeReply,
    Refusal,
    Scan,
    bucket_of,
)
from parasync.stores import Draft, Outcome, TopicState
from tests.beating import BeatingTransport
from tests.runtime.kit import NOTES, terms
from tests.runtime.scanning import WHOLE, buckets_of, compared, order, reconciled, scanned, stored
from tests.virtual_time import in_virtual_time, passing


class Tight(InProcessTransport):
    """Takes no large messages."""

    body_bytes_max = 2_000


BUSES = [InProcessTransport, BeatingTransport, Tight]


async def grown(owner: authority[str], rng: random.Random, count: int, *, size: int = 40) -> None:
    """Write and delete at random."""
    for _ in range(count):
        ident = str(rng.randrange(count // 2))
        if rng.random() < 0.2:
            if f"note:{ident}" in await stored_of(owner):
                await owner.put(ident, "to be deleted")
                await owner.delete(ident)
        else:
            await owner.put(ident, "x" * rng.randrange(size))


async def stored_of(owner: authority[str]) -> dict[str, Position]:
    return dict(await owner._store.positions("note", after="", limit=10**9))


def holdings(truth: dict[str, Position], rng: random.Random) -> dict[str, Position]:
    """What a mirror may hold: some of it, some of it older, and what is no more or never was."""
    held: dict[str, Position] = {}
    for key, (version, checksum) in truth.items():
        fate = rng.random()
        if fate < 0.6:
            held[key] = Position(version, checksum)
        elif fate < 0.8 and version.sequence > 1:
            held[key] = Position(Version(version.epoch, rng.randrange(1, version.sequence)), rng.randrange(2**32))
    return held


# Whatever a mirror holds


@pytest.mark.parametrize("bus_of", BUSES)
@pytest.mark.parametrize("seed", range(12))
@in_virtual_time
async def test_whatever_a_mirror_holds_it_comes_to_what_is_stored(bus_of: type[InProcessTransport], seed: int) -> None:
    rng = random.Random(seed)
    async with bus_of() as bus, authority(NOTES, bus, terms=terms()) as owner:
        await grown(owner, rng, rng.choice([0, 5, 600]))
        if rng.random() < 0.5:
            await passing(1.0)  # a beat has moved what was written
            await grown(owner, rng, 20)
        truth = await stored_of(owner)
        held = holdings(truth, rng)
        digests = await compared(bus)
        assert (digests.buckets, digests.count, digests.lag_s) == (buckets_of(truth), len(truth), 0.0)
        missing = len(set(truth.items()) - set(held.items()))
        messages = await reconciled(bus, held)
        assert held == truth
        assert messages <= (1 if bus_of is not Tight else 2 + missing // 8)
        assert await stored_of(owner) == truth, "nothing was written anew"
        assert await reconciled(bus, held) == 1, "there is nothing to tell any more"


@pytest.mark.parametrize("seed", range(6))
@in_virtual_time
async def test_a_mirror_that_is_ahead_makes_its_authority_write_anew(seed: int) -> None:
    """The store was restored from a backup, and the mirror holds what came after it."""
    rng = random.Random(seed)
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        await grown(owner, rng, 60)
        truth = await stored_of(owner)
        held = holdings(truth, rng)
        ahead = {key: Position(Version(owner.epoch, 1000), 7) for key in rng.sample(sorted(truth), 5)}
        ahead |= {f"note:lost {number}": Position(Version(owner.epoch + number, 3), 7) for number in range(5)}
        held |= ahead
        await reconciled(bus, held)
        assert held == await stored_of(owner)
        assert all(held[key].version > version for key, (version, _) in ahead.items())
        assert (await compared(bus)).buckets == buckets_of(held)
        assert await reconciled(bus, held) == 1


@in_virtual_time
async def test_a_part_of_a_topic_is_scanned_like_all_of_it() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        for number in range(300):
            await owner.put(f"{'ab'[number % 2]}:{number}", "x")
        held = {"note:a:0": Position(Version(1, 1), 7)}
        await reconciled(bus, held, prefix="note:a:")
        assert held == {key: at for key, at in (await stored_of(owner)).items() if key.startswith("note:a:")}
        keys = sorted(await stored_of(owner), key=order)
        first, last = keys[40], keys[90]
        buckets = tuple(range(bucket_of(first), bucket_of(last) + 1))
        answer = await scanned(bus, after=first, upto=last, buckets=buckets)
        assert list(answer.keys) == keys[41:91]
        assert (answer.covered, answer.count) == (None, 300)
        some = (bucket_of(keys[7]), bucket_of(keys[200]))
        assert list((await scanned(bus, buckets=some)).keys) == [key for key in keys if bucket_of(key) in some]


@in_virtual_time
async def test_what_is_not_named_stands_at_the_floor_of_the_asker() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        below = [await owner.put("old", "x"), await owner.put("gone", "x"), await owner.delete("gone")]
        floor = Version(owner.epoch, below[-1].sequence)
        for _ in range(3):
            above = await owner.put("new", "x")
        answer = await scanned(bus, floor=floor)
        told = dict(zip(answer.keys, answer.outcomes, strict=True))
        assert told["note:new"].version == above
        assert "note:gone" not in told, "its tombstone is at the floor"
        assert told["note:old"].version > floor, "it is written anew, above what the asker stands at"
        assert told["note:old"].kind is Kind.STATE


@in_virtual_time
async def test_what_is_nowhere_is_absent_and_what_is_the_same_is_not_told() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        await owner.put("a", "x")
        truth = await stored_of(owner)
        answer = await scanned(bus, {**truth, "note:never": None})
        assert (answer.keys, answer.outcomes) == (("note:never",), (ABSENT_OBJECT,))
        assert (answer.epoch, answer.history_epoch, answer.floor, answer.count) == (owner.epoch, owner.epoch, ABSENT, 1)
        assert (await scanned(bus, truth)).keys == ()


# What fits


@in_virtual_time
async def test_an_answer_names_no_more_than_the_limit_and_the_next_goes_on_behind_it() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        for number in range(SCAN_KEYS_MAX + 1):
            await owner.put(str(number), "x")
        keys = sorted(await stored_of(owner), key=order)
        answer = await scanned(bus)
        assert list(answer.keys) == keys[:-1]
        assert answer.covered == keys[-2]
        rest = await scanned(bus, after=answer.covered, buckets=tuple(range(bucket_of(answer.covered), BUCKETS)))
        assert (list(rest.keys), rest.covered) == (keys[-1:], None)
        assert await reconciled(bus, await stored_of(owner)) == 2, "as many as may be named, and one"


@in_virtual_time
async def test_one_that_no_message_takes_keeps_no_other_from_its_answer() -> None:
    async with Tight() as bus, authority(NOTES, bus, terms=terms()) as owner:
        bus.body_bytes_max = 10**6
        for ident, size in (("a", 10), ("huge", 5_000), ("b", 10), ("large", 1_900), ("c", 10)):
            await owner.put(ident, "x" * size)
        bus.body_bytes_max = 2_000
        told: dict[str, Any] = {}
        buckets, after = WHOLE, ""
        while after is not None:
            answer = await scanned(bus, buckets=buckets, after=after)
            assert answer.keys, "each message comes further"
            told |= dict(zip(answer.keys, answer.outcomes, strict=True))
            after = answer.covered
            buckets = tuple(range(bucket_of(after or ""), BUCKETS))
        assert sorted(told) == [f"note:{ident}" for ident in ("a", "b", "c", "huge", "large")]
        assert [key for key, outcome in told.items() if outcome is UNANSWERED] == ["note:huge"]
        bus.body_bytes_max = 0
        assert UNANSWERED not in (await scanned(bus)).outcomes, "where nobody knows the limit, it is tried"


@in_virtual_time
async def test_an_object_that_fills_a_message_goes_alone() -> None:
    """With what is around it, it takes more than the limit of bodies."""
    async with Tight() as bus, authority(NOTES, bus, terms=terms()) as owner:
        for ident in "ab":
            await owner.put(ident, "x" * (Tight.body_bytes_max - 5))
        held: dict[str, Position] = {}
        assert await reconciled(bus, held) == 2
        assert held == await stored_of(owner)


@in_virtual_time
async def test_what_may_not_be_written_anew_yet_is_asked_for_again() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms(reissues_per_s_max=2)) as owner:
        held = {f"note:{number}": Position(Version(owner.epoch - 1, 1), 7) for number in range(5)}
        answer = await scanned(bus, held)
        assert [outcome is UNANSWERED for outcome in answer.outcomes] == [False, False, True, True, True]
        await passing(1.0)
        assert (await scanned(bus, held)).outcomes.count(UNANSWERED) == 1


# Other lives


class Slow(MemoryStore):
    """Lets its caller wait, and fail, as told."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: dict[str, asyncio.Event] = {}
        self.before_read: Any = None

    async def passes(self, method: str) -> None:
        gate = self.gates.get(method)
        if gate is not None:
            await gate.wait()

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        outcome = await super().write(topic, epoch, draft)
        await self.passes("write")
        return outcome

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        await self.passes("positions")
        return await super().positions(topic, after=after, limit=limit)

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        if self.before_read is not None:
            await self.before_read(keys)
        return await super().read(topic, keys)


@in_virtual_time
async def test_another_life_gives_another_answer() -> None:
    store, reads = Slow(), 0

    async def take_another_epoch(_: Sequence[str]) -> None:
        nonlocal reads
        reads += 1
        if reads == 2:
            async with owner._office.turn:
                await owner._office.claim(0)

    async with InProcessTransport() as bus, authority(NOTES, bus, store=store, terms=terms()) as owner:
        for number in range(600):
            await owner.put(str(number), "x")
        before = owner.epoch
        store.before_read = take_another_epoch
        answer = await scanned(bus)
        assert owner.epoch > before
        assert (answer.epoch, len(answer.keys)) == (before, 256), "the second part was read in the next life"
        assert answer.covered == answer.keys[-1]


@in_virtual_time
async def test_who_has_heard_of_a_higher_epoch_makes_the_authority_look_who_serves() -> None:
    for ask in (Compare, lambda epoch: Scan(epoch, ABSENT, "", WHOLE)):
        async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
            heard = owner.epoch + (5 << 20)
            answer: Any = await bus.ask("note", ask(heard), 5.0)
            assert answer.epoch == owner.epoch > heard
            end = bus.answer_probes("note", lambda probe: ProbeReply(probe.epoch + 1, serving=True))
            answer = await bus.ask("note", ask(owner.epoch + 1), 5.0)
            assert isinstance(answer, Refusal)
            assert answer.error == "FencedError"
            assert not owner.serving
            end()


@in_virtual_time
async def test_who_is_loading_does_not_answer() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, loading=True, terms=terms()) as owner:
        for request in (Compare(0), Scan(0, ABSENT, "", WHOLE)):
            answer = await bus.ask("note", request, 5.0)
            assert isinstance(answer, Refusal)
            assert answer.error == NoAuthorityError.__name__
        owner.loaded()
        await compared(bus)


# What is not known yet


@in_virtual_time
async def test_a_write_under_way_may_be_missing_and_the_answer_says_so() -> None:
    store = Slow()
    async with BeatingTransport() as bus, authority(NOTES, bus, store=store, terms=terms()) as owner:
        await owner.put("a", "x")
        store.gates["write"] = asyncio.Event()
        writing = asyncio.create_task(owner.put("b", "x"))  # type: ignore[var-annotated]
        await passing(2.5)
        digests, answer = await compared(bus), await scanned(bus)
        assert digests.lag_s == answer.lag_s == pytest.approx(2.5)
        assert (digests.count, answer.count, answer.keys) == (1, 1, ("note:a",))
        named = await scanned(bus, {"note:b": None})
        assert set(named.keys) == {"note:a", "note:b"}, "what is named is read"
        store.gates["write"].set()
        await writing
        assert ((await compared(bus)).lag_s, (await scanned(bus)).lag_s) == (0.0, 0.0)
        assert (await compared(bus)).buckets == buckets_of(await stored(store))


@in_virtual_time
async def test_over_what_loses_nothing_a_write_under_way_comes_live() -> None:
    store = Slow()
    async with InProcessTransport() as bus, authority(NOTES, bus, store=store, terms=terms()) as owner:
        store.gates["write"] = asyncio.Event()
        heard: list[Any] = []
        bus.subscribe("note:b", heard.append)
        writing = asyncio.create_task(owner.put("b", "x"))  # type: ignore[var-annotated]
        await passing(2.5)
        assert ((await compared(bus)).count, (await compared(bus)).lag_s) == (0, 0.0)
        store.gates["write"].set()
        await writing
        assert len(heard) == (await compared(bus)).count == 1


@in_virtual_time
async def test_what_waits_to_be_sent_is_stored_all_the_same() -> None:
    async with BeatingTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        await owner.put("a", "x")
        await passing(6.0)
        bus.unsent = {"note:a", "note:b"}
        await owner.put("a", "y")
        await owner.put("b", "y")
        await passing(6.0)
        await owner.put("c", "y")
        truth = await stored_of(owner)
        digests, answer = await compared(bus), await scanned(bus)
        assert (digests.count, digests.buckets) == (3, buckets_of(truth))
        assert (set(answer.keys), answer.count) == (set(truth), 3)
        assert bus.beats[-1].digest != sum(digests.buckets) % 2**128, "a beat tells of what was sent"


# What nobody should ask


@pytest.mark.parametrize(
    "changes",
    [
        {"buckets": ()},
        {"buckets": (5, 4)},
        {"buckets": (BUCKETS,)},
        {"after": "note:a", "buckets": ((bucket_of("note:a") + 1) % BUCKETS,)},
        {"keys": ("other:a",), "positions": (None,)},
        {"keys": ("notes",), "positions": (None,)},
        {"keys": ("note:a",), "positions": ()},
        {"keys": ("note:a",), "positions": (None,), "prefix": "note:b"},
    ],
)
@in_virtual_time
async def test_what_is_no_range_of_the_topic_is_refused(changes: dict[str, Any]) -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()):
        answer = await bus.ask("note", attrs.evolve(Scan(0, ABSENT, "", WHOLE), **changes), 5.0)
        assert isinstance(answer, Refusal)
        assert answer.error == "UsageError"
        assert "expected" in answer.reason
