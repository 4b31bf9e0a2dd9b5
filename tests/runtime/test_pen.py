"""The way of a write: stored, then published, whatever comes between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parasync import InProcessTransport, MemoryStore, Status, Version, authority, synced
from parasync.errors import ClosedError, EncodeError, FencedError, IdempotencyError, IndeterminateError, StoreError
from parasync.protocol import Probe
from parasync.runtime._pen import WRITES_WITHOUT_PAUSE_MAX
from parasync.runtime._repairs import REPAIR_CLOSE_TIMEOUT_S, REPAIR_MAX_S
from parasync.stores import Draft, Outcome
from parasync.testing import Cut, settle, sweep
from tests.runtime.kit import KEY, NOTES, A, assert_nothing_left, pace, terms, turns
from tests.virtual_time import in_virtual_time, now_s, passing


class Faulty(MemoryStore):
    """Raises before or after it has written, when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.before: BaseException | None = None
        self.after: BaseException | None = None
        self.read_error: BaseException | None = None
        self.gate: asyncio.Event | None = None
        self.reads: asyncio.Event | None = None

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        if self.gate is not None:
            await self.gate.wait()
        if self.before is not None:
            raise self.before
        outcome = await super().write(topic, epoch, draft)
        if self.after is not None:
            raise self.after
        return outcome

    async def read(self, topic: str, keys: Sequence[str]) -> Any:
        if self.reads is not None:
            await self.reads.wait()
        if self.read_error is not None:
            raise self.read_error
        return await super().read(topic, keys)


@asynccontextmanager
async def writing(store: MemoryStore | None = None) -> AsyncIterator[tuple[Any, authority[str], synced[str]]]:
    store = store or Faulty()
    async with (
        InProcessTransport() as bus,
        authority(NOTES, bus, store=store, terms=terms()) as owner,
        synced(A, bus, pace=pace()) as replica,
    ):
        await replica.when_idle()
        yield store, owner, replica
    assert_nothing_left(bus)


@in_virtual_time
async def test_a_write_is_seen_by_everybody_when_it_returns() -> None:
    async with writing() as (_, owner, replica):
        for number in range(3):
            version = await owner.put("a", f"{number}", meta={"by": "ada"})
            assert (replica.version, replica.value) == (version, f"{number}")
        version = await owner.delete("a")
        assert (replica.version, replica.snapshot().deleted) == (version, True)
        assert replica.stats.gaps == 0


@pytest.mark.parametrize("error", [FencedError, ClosedError])
@in_virtual_time
async def test_a_write_that_lets_others_go_first_looks_again_whether_it_may(error: type[Exception]) -> None:
    async with writing() as (_, owner, replica):
        for number in range(WRITES_WITHOUT_PAUSE_MAX):
            await owner.put("a", f"{number}")
        # By hand, since nothing but this may come in between.
        pausing = owner.put("a", "late")
        pausing.send(None)
        if error is FencedError:
            await owner._transport.probe(Probe("note", owner.epoch + (1 << 20), True, "somebody"), 1.0)  # type: ignore[attr-defined]
        else:
            await owner.aclose()
        with pytest.raises(error):
            pausing.send(None)
        assert replica.value == f"{WRITES_WITHOUT_PAUSE_MAX - 1}"


@in_virtual_time
async def test_a_transport_of_others_that_fails_does_not_hide_that_a_write_was_stored(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(InProcessTransport):
        def publish(self, key: str, envelope: Any) -> None:
            raise RuntimeError("secret")

    async with Broken() as bus, authority(NOTES, bus, terms=terms()) as owner:
        with caplog.at_level(logging.WARNING, "parasync"):
            version = await owner.put("a", "text")
        assert (await owner.get("a")).version == version
        assert "could not be published: RuntimeError" in caplog.text
        assert "secret" not in caplog.text


@in_virtual_time
async def test_a_store_that_hangs_does_not_keep_an_authority_from_closing(caplog: pytest.LogCaptureFixture) -> None:
    store = Faulty()
    async with InProcessTransport() as bus, authority(NOTES, bus, store=store, terms=terms()) as owner:
        store.after, store.reads = IndeterminateError("nobody knows"), asyncio.Event()
        with pytest.raises(IndeterminateError):
            await owner.put("a", "text")
        await turns()
        began_s = now_s()
        await owner.aclose()
        assert now_s() - began_s == pytest.approx(REPAIR_CLOSE_TIMEOUT_S)
        await turns()
        assert len(owner._pen.repairs) == 0
    assert "1 writes to 'note' may be stored" in caplog.text


@pytest.mark.parametrize("error", [StoreError("down"), FencedError("fenced", 1 << 60)])
@in_virtual_time
async def test_what_is_not_stored_is_not_published(error: StoreError) -> None:
    async with writing() as (store, owner, replica):
        await owner.put("a", "before")
        store.before = error
        with pytest.raises(type(error)):
            await owner.put("a", "after")
        await turns()
        assert replica.value == "before"


@pytest.mark.parametrize("error", [IndeterminateError("no answer"), OSError("secret"), TimeoutError()])
@in_virtual_time
async def test_what_was_stored_after_all_is_published_after_all(error: Exception) -> None:
    async with writing() as (store, owner, replica):
        store.after = error
        with pytest.raises(IndeterminateError) as caught:
            await owner.put("a", "stored")
        assert "secret" not in str(caught.value)
        await turns()
        assert replica.value == "stored"


@in_virtual_time
async def test_what_was_not_stored_when_nobody_knew_is_not_published() -> None:
    async with writing() as (store, owner, replica):
        await owner.put("a", "before")
        store.before = IndeterminateError("no answer")
        with pytest.raises(IndeterminateError):
            await owner.put("a", "after")
        await turns()
        assert replica.value == "before"
        assert replica.stats.conflicts == 0


@in_virtual_time
async def test_a_retry_of_what_was_stored_publishes_it() -> None:
    """The first try was stored, but nobody was told, and the store could not be read either."""
    async with writing() as (store, owner, replica):
        store.after, store.read_error = IndeterminateError("no answer"), OSError("secret")
        with pytest.raises(IndeterminateError):
            await owner.put("a", "stored", idempotency_key="once")
        await turns()
        assert replica.peek() is None
        store.after = store.read_error = None
        version = await owner.put("a", "stored", idempotency_key="once")
        await turns()
        assert (replica.value, replica.version) == ("stored", version)
        assert version.sequence == 1
        with pytest.raises(IdempotencyError):
            await owner.put("a", "another", idempotency_key="once")
        assert replica.value == "stored"


@in_virtual_time
async def test_what_was_stored_is_published_once_the_store_can_be_read_again() -> None:
    """Nobody retries, nobody asks: the bus loses nothing."""
    async with writing() as (store, owner, replica):
        store.after, store.read_error = IndeterminateError("no answer"), OSError("secret")
        with pytest.raises(IndeterminateError):
            await owner.put("a", "stored")
        with pytest.raises(IndeterminateError):
            await owner.put("a", "stored too")
        await passing(60.0)
        assert replica.peek() is None
        assert len(owner._pen.repairs) == 1, "one for each object"
        store.after = store.read_error = None
        await passing(REPAIR_MAX_S)
        assert replica.value == "stored too"
        assert len(owner._pen.repairs) == 0


@in_virtual_time
async def test_a_repair_that_has_just_ended_swallows_no_other() -> None:
    async with writing() as (store, owner, replica):
        for number in range(20):
            store.after = IndeterminateError("no answer")
            with pytest.raises(IndeterminateError):
                await owner.put("a", f"{number}")
            (repair,) = [task for task in asyncio.all_tasks() if task.get_name() == f"parasync-repair {KEY}"]
            # Whoever runs before the end of a task was told to anybody.
            while not repair.done():  # noqa: ASYNC110  # this very moment is what it is about
                await asyncio.sleep(0)
            with pytest.raises(IndeterminateError):
                await owner.put("a", f"{number} again")
            await turns()
            assert replica.value == f"{number} again"
        assert len(owner._pen.repairs) == 0


@in_virtual_time
async def test_a_doubtful_write_hurries_the_repair_of_its_own_object_only() -> None:
    reads: list[str] = []

    class Counting(Faulty):
        async def read(self, topic: str, keys: Sequence[str]) -> Any:
            reads.extend(keys)
            return await super().read(topic, keys)

    async with writing(Counting()) as (store, owner, _):
        store.after, store.read_error = IndeterminateError("no answer"), OSError("secret")
        for number in range(50):
            with pytest.raises(IndeterminateError):
                await owner.put(f"{number}", "stored")
        await turns()
        reads.clear()
        for _ in range(3):
            with pytest.raises(IndeterminateError):
                await owner.put("7", "stored")
            await turns()
        assert reads == ["note:7"] * 3


@in_virtual_time
async def test_a_store_that_cannot_be_read_holds_up_nobody_who_closes() -> None:
    began_s = now_s()
    async with writing() as (store, owner, _):
        store.after, store.read_error = IndeterminateError("no answer"), OSError("secret")
        with pytest.raises(IndeterminateError):
            await owner.put("a", "stored")
        await passing(30.0)
    assert now_s() - began_s < 31.0


@in_virtual_time
async def test_a_retry_after_later_writes_publishes_nothing_old() -> None:
    async with writing() as (_, owner, replica):
        await owner.put("a", "first", idempotency_key="once")
        version = await owner.put("a", "second")
        assert (await owner.put("a", "first", idempotency_key="once")).sequence == 1
        await turns()
        assert (replica.value, replica.version, replica.status) == ("second", version, Status.OK)


@in_virtual_time
async def test_what_another_life_stored_is_not_published_in_its_name() -> None:
    store = Faulty()
    async with InProcessTransport() as bus:
        async with authority(NOTES, bus, store=store, terms=terms()) as first:
            await first.put("a", "first", idempotency_key="once")
        async with authority(NOTES, bus, store=store, terms=terms()) as second:
            heard: list[Any] = []
            bus.subscribe(KEY, heard.append)
            assert (await second.put("a", "first", idempotency_key="once")).epoch == first.epoch
            await turns()
            assert heard == []


@in_virtual_time
async def test_a_write_during_a_claim_of_its_own_authority_takes_the_new_epoch() -> None:
    async with writing() as (store, owner, replica):
        old = owner.epoch
        store.gate = asyncio.Event()
        write = asyncio.create_task(owner.put("a", "text"))
        await turns()
        async with owner._office.turn:
            await owner._office.claim(owner.epoch)
        store.gate.set()
        version = await write
        assert version.epoch == owner.epoch > old
        assert replica.value == "text"
        assert owner.serving


@in_virtual_time
async def test_a_write_of_a_fenced_authority_says_who_fenced_it() -> None:
    async with writing() as (store, owner, replica):
        store.gate = asyncio.Event()
        write = asyncio.create_task(owner.put("a", "text"))
        await turns()
        other = authority(NOTES, InProcessTransport(), store=store, terms=terms())
        async with other:
            store.gate.set()
            with pytest.raises(FencedError) as caught:
                await write
            assert caught.value.epoch == other.epoch
        assert not owner.serving
        assert replica.peek() is None


@in_virtual_time
async def test_a_write_that_was_stored_before_its_authority_was_fenced_stands() -> None:
    async with writing() as (_, owner, replica):
        version = await owner.put("a", "text")
        await replica._seat.transport.probe(Probe("note", owner.epoch + (1 << 30), True, "other"), 1.0)  # type: ignore[attr-defined]
        with pytest.raises(FencedError):
            await owner.put("a", "more")
        assert replica.version == version


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0), (2, 0, 1)])
@in_virtual_time
async def test_overlapping_writes_are_shown_in_the_order_of_their_versions(order: tuple[int, ...]) -> None:
    """A store may finish a later write first; the earlier one is then not published any more."""

    class Gated(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.gates: list[asyncio.Event] = []

        async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
            outcome = await super().write(topic, epoch, draft)
            gate = asyncio.Event()
            self.gates.append(gate)
            await gate.wait()
            return outcome

    store = Gated()
    async with writing(store) as (_, owner, replica):
        told: list[Any] = []
        replica.subscribe(told.append)
        writes = []
        for number in range(3):
            writes.append(asyncio.create_task(owner.put("a", f"{number}")))
            await turns()
        for number in order:
            store.gates[number].set()
            await turns()
        found = [await write for write in writes]
        assert [version.sequence for version in found] == [1, 2, 3]
        assert replica.value == "2"
        assert [change.version for change in told] == sorted(change.version for change in told)
        assert (replica.stats.gaps, replica.stats.ignored_stale) == (0, 0)
        assert owner._pen._under_way == owner._pen._published == {}


@in_virtual_time
async def test_a_bus_that_refuses_a_stored_write_costs_no_acknowledgement() -> None:
    """Replicas learn of it when they ask."""

    class Refusing(InProcessTransport):
        refuses = False

        def publish(self, key: str, envelope: Any) -> None:
            if self.refuses:
                raise EncodeError("too large")
            super().publish(key, envelope)

    bus = Refusing()
    async with bus, authority(NOTES, bus, terms=terms()) as owner, synced(A, bus, pace=pace()) as replica:
        await replica.when_idle()
        bus.refuses = True
        version = await owner.put("a", "text")
        assert replica.peek() is None
        assert await replica.at_least(version) == "text"


@pytest.mark.parametrize("call", ["put", "delete", "update", "get"])
def test_a_call_that_is_cancelled_at_any_await_happened_or_did_not(call: str) -> None:
    """And what happened is seen by everybody."""

    class Suspending(MemoryStore):
        async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
            await asyncio.sleep(0)
            outcome = await super().write(topic, epoch, draft)
            await asyncio.sleep(0)
            return outcome

        async def read(self, topic: str, keys: Sequence[str]) -> Any:
            await asyncio.sleep(0)
            return await super().read(topic, keys)

    async def attempt(cut: Cut) -> None:
        async with writing(Suspending()) as (store, owner, replica):
            await owner.put("a", "before")
            calls = {
                "put": lambda: owner.put("a", "after"), "delete": lambda: owner.delete("a"), "get": lambda: owner.get("a"),
                "update": lambda: owner.update("a", lambda text: text + "+"),
            }  # fmt: skip
            await cut(calls[call]())
            await settle()
            _, stored = await store.read("note", [KEY])
            assert replica.version == stored[KEY].version
            assert replica.version in (Version(owner.epoch, 1), Version(owner.epoch, 2))
            assert owner._pen._under_way == owner._pen._published == {}
            assert len(owner._pen.repairs) == 0
            assert await owner.put("a", "next")
            assert replica.value == "next"

    assert sweep(attempt) >= 1
