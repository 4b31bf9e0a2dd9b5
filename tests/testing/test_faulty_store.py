"""A store that fails as stores do: every fault happens, is counted, and an authority comes through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parasync import InProcessTransport, Kind, MemoryStore, Status, Version, authority, synced
from parasync.codec import body_checksum
from parasync.errors import FencedError, IndeterminateError, ParasyncError, StoreError, UsageError
from parasync.protocol import EncodedBody
from parasync.stores import Draft, Store
from parasync.testing import FaultyStore, FaultyTransport, StoreFaults, check_store, settle
from tests.runtime.kit import NOTES, A, pace, terms
from tests.virtual_time import in_virtual_time, now_s, passing

pytestmark = pytest.mark.project

KEY = "note:a"
EPOCH = 5
KINDS = ("before", "after", "slow", "hang", "foreign", "lose", "go_back", "claim")


def draft(text: bytes = b"\xa1x", **more: Any) -> Draft:
    return Draft(KEY, EncodedBody(text), Kind.STATE, "1.0", body_checksum(Kind.STATE, "1.0", text), **more)


async def claimed(faults: StoreFaults | None = None, make: Any = MemoryStore) -> FaultyStore:
    """A store that was claimed before anything went wrong."""
    store = FaultyStore(make, faults)
    await store.inner.claim("note", EPOCH)
    return store


async def stored(store: Store) -> Version | None:
    """What the store below holds of the key."""
    _, found = await store.read("note", [KEY])
    return found[KEY].version if KEY in found else None


CALLS: dict[str, Callable[[Store], Awaitable[Any]]] = {
    "claim": lambda store: store.claim("note", EPOCH + 1),
    "history_lost": lambda store: store.history_lost("note", EPOCH),
    "state": lambda store: store.state("note"),
    "raise_floor": lambda store: store.raise_floor("note", EPOCH, before_s=1.0),
    "write": lambda store: store.write("note", EPOCH, draft()),
    "read": lambda store: store.read("note", [KEY]),
    "page": lambda store: store.page("note", prefix="note:", after="", limit=5),
    "positions": lambda store: store.positions("note", after="", limit=5),
}


@pytest.mark.parametrize("method", CALLS)
@in_virtual_time
async def test_without_a_fault_it_is_the_store_below(method: str) -> None:
    store, plain = await claimed(), MemoryStore()
    await plain.claim("note", EPOCH)
    assert await CALLS[method](store) == await CALLS[method](plain)
    assert (store.fired, store.faults, isinstance(store, Store)) == ({}, StoreFaults(), True)


@pytest.mark.parametrize("method", CALLS)
@in_virtual_time
async def test_every_call_fails_before_or_after_it_was_done(method: str) -> None:
    store = await claimed(StoreFaults(before=1.0))
    with pytest.raises(StoreError) as caught:
        await CALLS[method](store)
    assert type(caught.value) is StoreError
    assert (store.fired, await stored(store.inner)) == ({"before": 1}, None)
    store = await claimed(StoreFaults(after=1.0))
    with pytest.raises(StoreError) as caught:
        await CALLS[method](store)
    assert type(caught.value) is (IndeterminateError if method == "write" else StoreError)
    assert (store.fired, await stored(store.inner)) == ({"after": 1}, Version(EPOCH, 1) if method == "write" else None)
    store = await claimed(StoreFaults(foreign=1.0))
    with pytest.raises(OSError, match="fire"):
        await CALLS[method](store)
    assert (store.fired, await stored(store.inner)) == ({"foreign": 1}, None)


@pytest.mark.parametrize("method", CALLS)
@in_virtual_time
async def test_every_call_takes_a_while_or_very_long(method: str) -> None:
    store = await claimed(StoreFaults(slow=1.0, slow_s=(0.25, 0.25)))
    await CALLS[method](store)
    assert (store.fired, now_s()) == ({"slow": 1}, 1_000.25)
    store = await claimed(StoreFaults(hang=1.0, hang_s=(100.0, 100.0)))
    await CALLS[method](store)
    assert (store.fired, now_s()) == ({"hang": 1}, 1_100.25)


@in_virtual_time
async def test_what_hangs_hangs_before_the_write_or_after_it() -> None:
    found = set()
    for seed in range(8):
        store = await claimed(StoreFaults(seed=seed, hang=1.0))
        writing = asyncio.create_task(store.write("note", EPOCH, draft()))
        await passing(1.0)
        found.add(await stored(store.inner))
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert found == {None, Version(EPOCH, 1)}


@pytest.mark.parametrize(("faults", "struck"), [(StoreFaults(hang=1.0), "hang"), (StoreFaults(hang=1.0, slow=1.0), "slow")])
@in_virtual_time
async def test_healing_lets_go_on_what_hangs_and_nothing_hangs_after_it(faults: StoreFaults, struck: str) -> None:
    store = await claimed(faults)
    begun_s = now_s()
    writing = asyncio.create_task(store.write("note", EPOCH, draft()))
    await settle()
    store.heal()
    assert (await writing).version == Version(EPOCH, 1)
    await store.write("note", EPOCH, draft())
    assert (store.fired, now_s()) == ({struck: 1}, begun_s)


@in_virtual_time
async def test_data_are_lost_and_come_back_older() -> None:
    store = FaultyStore(MemoryStore)
    await store.claim("note", EPOCH)
    for text in (b"\xa1a", b"\xa1b", b"\xa1c"):
        await store.write("note", EPOCH, draft(text))
    await store.go_back(3)
    assert await stored(store) == Version(EPOCH, 2)
    assert (await store.state("note")).epoch == EPOCH
    assert (await store.write("note", EPOCH, draft(b"\xa1d"))).version == Version(EPOCH, 3)
    await store.go_back(4)
    assert await stored(store) == Version(EPOCH, 3), "what was written since is older data too"
    await store.lose()
    assert await stored(store) is None
    assert (await store.state("note")).epoch == 0
    with pytest.raises(FencedError):
        await store.write("note", EPOCH, draft())


@pytest.mark.parametrize("kind", ["lose", "go_back"])
@in_virtual_time
async def test_they_do_so_by_chance_too(kind: str) -> None:
    store = FaultyStore(MemoryStore, StoreFaults(seed=4, **{kind: 0.05}))
    epoch, lost = 0, 0
    for _ in range(200):
        try:
            await store.write("note", epoch, draft())
        except FencedError:
            lost += 1
            epoch += 1
            await store.claim("note", epoch)
    assert 2 <= store.fired[kind] <= 30
    assert lost >= 1
    assert (await store.inner.read("note", [KEY]))[1][KEY].sequence < 200


@in_virtual_time
async def test_another_epoch_claims_the_topic() -> None:
    store = FaultyStore(MemoryStore, StoreFaults(seed=1, claim=0.3))
    await store.claim("note", EPOCH)
    outcomes = [await asyncio.gather(store.write("note", EPOCH, draft()), return_exceptions=True) for _ in range(50)]
    (first, *_), (last, *_) = outcomes[0], outcomes[-1]
    assert first == (Version(EPOCH, 1), True)
    assert isinstance(last, FencedError)
    assert (last.epoch or 0) >> 20 == store.fired["claim"]


@in_virtual_time
async def test_one_seed_is_one_course() -> None:
    async def course(seed: int) -> list[str]:
        store = FaultyStore(MemoryStore, StoreFaults(seed=seed, **dict.fromkeys(KINDS, 0.1)))
        happened, epoch = [], 0
        for number in range(100):
            try:
                happened.append(repr(await store.write("note", epoch, draft(b"\xa1%d" % (number % 10)))))
            except (ParasyncError, OSError) as error:
                happened.append(repr(error))
                if isinstance(error, FencedError):
                    epoch = (error.epoch or 0) + 1
                    try:
                        await store.claim("note", epoch)
                    except (ParasyncError, OSError) as failure:
                        happened.append(repr(failure))
        assert set(store.fired) == set(KINDS)
        return [*happened, repr(now_s())]

    first, start_s = await course(9), now_s()
    assert first[:-1] == (await course(9))[:-1]
    assert now_s() > start_s
    assert first[:-1] != (await course(10))[:-1]


@in_virtual_time
async def test_what_is_to_be_lost_must_be_made() -> None:
    shared = MemoryStore()
    store = FaultyStore(shared, StoreFaults(before=0.5))
    assert store.inner is shared
    with pytest.raises(UsageError, match="makes its stores"):
        await store.lose()
    for kind in ("lose", "go_back"):
        with pytest.raises(UsageError, match="what makes one"):
            FaultyStore(shared, StoreFaults(**{kind: 0.1}))
    with pytest.raises(UsageError, match="expected 0 or more"):
        await FaultyStore(MemoryStore).go_back(-1)
    with pytest.raises(UsageError, match="rate"):
        StoreFaults(lose=2)


BAD = {
    **dict.fromkeys(("before", "after", "slow", "foreign"), 0.05),
    **dict.fromkeys(("hang", "lose", "go_back", "claim"), 0.04),
}


@pytest.mark.parametrize("rates", [*[{kind: rate} for kind, rate in BAD.items()], BAD], ids=[*BAD, "all"])
@pytest.mark.parametrize("seed", [1, 2])
@in_virtual_time
async def test_an_authority_comes_through(seed: int, rates: dict[str, float]) -> None:
    print(f"seed {seed}")
    await one_course(seed, rates)


@asynccontextmanager
async def entered(store: FaultyStore, bus: FaultyTransport) -> AsyncIterator[authority[str]]:
    """An authority that was tried to start until it did."""
    while True:
        owner = authority(NOTES, bus, store=store, terms=terms(probe_interval_s=1.0, takeover_after_s=3.0))
        with contextlib.suppress(StoreError):
            await owner.__aenter__()
            break
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(owner)
        yield owner


async def one_course(seed: int, rates: dict[str, float], count: int = 150) -> None:
    """An authority on a bad store, and replicas that hear it well, and show nothing that was never written."""
    store = FaultyStore(MemoryStore, StoreFaults(seed=seed, hang_s=(1.0, 5.0), **rates))
    shown: list[Any] = []
    tried: set[str] = set()
    async with FaultyTransport(InProcessTransport()) as bus:
        pace_ = pace(reconcile_interval_s=5.0, ask_timeout_s=0.5)
        async with entered(store, bus) as owner, synced(A, bus, pace=pace_) as replica:
            replica.subscribe(shown.append)
            for number in range(count):
                tried.add(f"text {number}")
                with contextlib.suppress(StoreError):
                    await owner.put("a", f"text {number}")
                await passing(0.1)
            assert store.fired, "nothing happened"
            store.heal()
            await passing(30.0)
            version = await owner.put("a", "the last")
            await passing(2 * 5.0 + 2 * 0.5 + 2.0)
            assert (replica.value, replica.version) == ("the last", version)
            assert (await replica.fresh(timeout_s=2.0), replica.status) == ("the last", Status.OK)
    versions = [change.version for change in shown]
    assert versions == sorted(set(versions)), "a replica went back"
    assert {change.new for change in shown if change.new is not None} <= tried | {"the last"}


async def test_without_faults_it_keeps_the_contract() -> None:
    report = await check_store(lambda: FaultyStore(MemoryStore))
    assert report.not_claimed == ()
