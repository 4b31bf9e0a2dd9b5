"""The promises and the non-promises of `explanation/consistency.md`, one test each, through the public names only.

They look from outside at what other tests show from inside: at the rules in `tests/protocol`, under random faults, and on real
servers. Time is a number that the test sets where it matters, and short where it has to pass.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
import pytest

from parasync import (
    ABSENT,
    CHANGES_MAX,
    Change,
    Envelope,
    InProcessTransport,
    MemoryStore,
    Pace,
    Status,
    Terms,
    Topic,
    Version,
    authority,
    synced,
)
from parasync.errors import (
    ConflictError,
    DeletedError,
    FencedError,
    HistoryLostError,
    InvalidTypeError,
    NotReadyError,
    StoreError,
)
from parasync.protocol import Request, Response
from parasync.stores import Draft, Outcome
from tests.lossy import LossyTransport
from tests.virtual_time import in_virtual_time, now_s, passing

PATIENCE_S = 30.0


@attrs.frozen
class User:
    name: str
    credits: int = 0


USERS = Topic("user", User, version="2.1")
ADA = USERS["ada"]


def envelope(sequence: int, value: Any = None, *, epoch: int = 0, **more: Any) -> Envelope[Any]:
    return Envelope(User(f"v{sequence}") if value is None else value, more.pop("schema", "2.1"), sequence, epoch, **more)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@contextlib.contextmanager
def alone(**options: Any):
    """A replica in process, with nobody to ask; and what it hears."""
    bus = InProcessTransport()
    with synced(ADA, bus, **options) as replica:
        yield replica, lambda heard: bus.publish("user:ada", heard)


async def until(replica: synced[Any], done: Callable[[], bool]) -> None:
    """Wait for the changes of a replica until something holds."""
    async with asyncio.timeout(PATIENCE_S), replica.changes() as changes:
        while not done():
            await anext(changes)


@contextlib.asynccontextmanager
async def kept(bus: Any, **options: Any) -> AsyncIterator[tuple[authority[User], synced[User]]]:
    """An authority and a replica on one bus."""
    async with authority(USERS, bus, **options) as owner, synced(ADA, bus, pace=QUICK) as replica:
        yield owner, replica


QUICK = Pace(reconcile_interval_s=0.05, ask_timeout_s=PATIENCE_S, backoff_base_s=0.001, backoff_max_s=0.01)


# Never backwards


def test_late_and_repeated_envelopes_change_nothing() -> None:
    with alone() as (ada, hear):
        for sequence in (1, 3, 2, 3, 1, 4, 3):
            before = ada.version
            hear(envelope(sequence))
            assert before is None or ada.version >= before
            assert ada.value.name == f"v{ada.version.sequence}"
        assert ada.version == Version(0, 4)


async def test_an_authority_that_forgot_everything_writes_above_what_was_lost() -> None:
    bus = LossyTransport()
    async with bus, synced(ADA, bus, pace=QUICK) as ada:
        async with authority(USERS, bus) as first:
            for credits in range(5):
                await first.put("ada", User("Ada", credits))
            await ada.at_least(Version(first.epoch, 5), PATIENCE_S)
        held = ada.version
        async with authority(USERS, bus, store=MemoryStore()) as second:
            version = await second.put("ada", User("Ada", 9))
            assert version.sequence <= 5
            assert version > held
            await until(ada, lambda: ada.value.credits == 9)
            assert ada.version >= version


async def test_a_clock_that_was_set_back_does_no_harm() -> None:
    bus = InProcessTransport()
    with synced(ADA, bus) as ada:
        async with authority(USERS, bus, terms=Terms(wall_clock=Clock(1_800_000_000.0))) as first:
            await first.put("ada", User("Ada", 1))
        async with authority(USERS, bus, terms=Terms(wall_clock=Clock(1_000_000_000.0))) as second:
            assert second.epoch > first.epoch
            await second.put("ada", User("Ada", 2))
        assert ada.value.credits == 2


async def test_two_starts_within_one_second_take_rising_epochs() -> None:
    """The random end of an epoch may fall either way; what replicas have heard decides."""
    bus, clock = InProcessTransport(), Clock(1_800_000_000.0)
    with synced(ADA, bus) as ada:
        async with authority(USERS, bus, terms=Terms(wall_clock=clock, random_bits=lambda _: 500)) as first:
            await first.put("ada", User("Ada", 1))
        bits = iter((900, 100, 800, 200, 700, 300))
        async with authority(USERS, bus, terms=Terms(wall_clock=clock, random_bits=lambda _: next(bits))) as second:
            assert second.epoch > first.epoch
            await second.put("ada", User("Ada", 2))
        assert ada.value.credits == 2


def test_what_a_deposed_authority_says_is_dropped() -> None:
    with alone() as (ada, hear):
        hear(envelope(1, epoch=7))
        hear(envelope(99, User("zombie"), epoch=6))
        assert ada.value.name == "v1"
        assert ada.stats.ignored_stale == 1


async def test_an_unproven_seed_gives_way_to_the_first_answer() -> None:
    bus = InProcessTransport()
    async with authority(USERS, bus) as owner:
        version = await owner.put("ada", User("Ada", 1))
        with synced(ADA, bus, seed=envelope(99, User("guess"), epoch=version.epoch + 1)) as ada:
            assert (ada.value.name, ada.status) == ("guess", Status.STALE)
            await until(ada, lambda: ada.value.name == "Ada")
            assert ada.status is Status.OK


# Never invented, never unparsed


def test_two_contents_of_one_version_raise_a_doubt() -> None:
    asked, clock = [], Clock()
    with alone(refetch=lambda: asked.append(1) or envelope(1), pace=Pace(clock=clock)) as (ada, hear):
        before = len(asked)
        clock.now_s += 1.0
        hear(envelope(1, User("other")))
        assert ada.value.name == "v1"
        assert ada.stats.conflicts == 1
        assert len(asked) == before + 1


@pytest.mark.parametrize("value", [{"name": 5}, {"credits": 1}, "Ada", None, {"name": "Ada", "credits": "7"}, 7.5])
def test_a_value_of_the_wrong_shape_is_never_shown(value: object) -> None:
    with alone() as (ada, hear):
        hear(envelope(1))
        hear(Envelope(value, "2.1", 2))
        assert ada.value.name == "v1"
        assert (ada.status, ada.stats.parse_errors) == (Status.SKEW, 1)
        hear(envelope(3))
        assert ada.value.name == "v3"


def test_a_reason_contains_no_payload() -> None:
    with alone() as (ada, hear):
        hear(envelope(1))
        hear(Envelope({"name": {"password": "hunter2"}}, "2.1", 2))
        assert "$.name: expected str" in ada.reason
        assert "hunter2" not in ada.reason
        assert "password" not in ada.reason


def test_another_schema_major_is_not_guessed_at() -> None:
    with alone() as (ada, hear):
        hear(envelope(1))
        hear(envelope(2, {"name": "Ada"}, schema="3.0"))
        assert ada.value.name == "v1"
        assert (ada.status, ada.stats.schema_skews) == (Status.SKEW, 1)


def test_another_schema_major_is_shown_where_an_upcast_was_registered() -> None:
    users = Topic("user", User, version="2.1", upcasts={3: lambda value: {"name": value["names"][0]}})
    bus = InProcessTransport()
    with synced(users["ada"], bus) as ada:
        bus.publish("user:ada", envelope(1))
        bus.publish("user:ada", envelope(2, {"names": ["Ada"]}, schema="3.0"))
        assert (ada.value, ada.status, ada.stats.schema_skews) == (User("Ada"), Status.OK, 0)


def test_a_newer_minor_is_read() -> None:
    with alone() as (ada, hear):
        hear(envelope(1, {"name": "Ada", "credits": 3, "colour": "green"}, schema="2.9"))
        assert ada.value == User("Ada", 3)


async def test_a_wrong_type_is_refused_before_anything_happens() -> None:
    bus, store, heard = InProcessTransport(), MemoryStore(), []
    bus.subscribe("user:ada", heard.append)
    async with authority(USERS, bus, store=store) as owner:
        with pytest.raises(InvalidTypeError) as refused:
            await owner.put("ada", User(5))  # type: ignore[arg-type]
        assert any("$.name" in problem for problem in refused.value.problems)
        assert await store.page("user", prefix="user", after="", limit=10) == []
        assert heard == []


# A subsequence, and it says so


def test_every_change_says_how_many_were_skipped() -> None:
    changes: list[Change[User]] = []
    with alone(gap="apply") as (ada, hear):
        ada.subscribe(changes.append)
        for sequence in (1, 2, 5, 6, 10):
            hear(envelope(sequence))
        assert [change.skipped for change in changes] == [0, 0, 2, 0, 3]
        assert sum(change.skipped + 1 for change in changes) == 10
        hear(envelope(12, epoch=1))
        assert changes[-1].skipped is None


def test_a_refused_version_counts_as_skipped() -> None:
    changes: list[Change[User]] = []
    with alone() as (ada, hear):
        hear(envelope(1))
        ada.subscribe(changes.append)
        hear(envelope(2, {"name": 5}))
        hear(envelope(3))
        assert [change.skipped for change in changes] == [1]


def test_a_hole_is_noticed_and_counted() -> None:
    asked, clock = [], Clock()
    with alone(refetch=lambda: asked.append(1) or envelope(5), pace=Pace(clock=clock)) as (ada, hear):
        hear(envelope(6))
        before = len(asked)
        clock.now_s += 1.0
        hear(envelope(9))
        assert ada.stats.gaps == 1
        assert len(asked) == before + 1


def test_a_hole_may_be_trusted() -> None:
    asked, clock = [], Clock()
    with alone(gap="apply", refetch=lambda: asked.append(1) or envelope(5), pace=Pace(clock=clock)) as (ada, hear):
        before = len(asked)
        clock.now_s += 1.0
        hear(envelope(9))
        assert (ada.status, ada.stats.gaps, len(asked)) == (Status.OK, 1, before)


def test_what_a_bus_left_out_on_purpose_is_no_hole() -> None:
    with alone() as (ada, hear):
        hear(envelope(1))
        hear(envelope(7, after=1))
        assert (ada.stats.gaps, ada.status) == (0, Status.OK)


async def test_a_slow_reader_gets_the_newest_and_the_number_of_those_it_skipped() -> None:
    with alone() as (ada, hear):
        hear(envelope(1))
        async with ada.changes() as changes:
            for sequence in range(2, 3 * CHANGES_MAX):
                hear(envelope(sequence))
            seen = [await anext(changes)]
            while seen[-1].version != ada.version:
                seen.append(await anext(changes))
        assert len(seen) <= CHANGES_MAX
        assert sum(change.skipped + 1 for change in seen) == 3 * CHANGES_MAX - 2


# Converges


async def test_a_lost_last_message_is_healed() -> None:
    bus = LossyTransport()
    async with bus, kept(bus) as (owner, ada):
        await owner.put("ada", User("Ada", 1))
        await ada.ready(PATIENCE_S)
        bus.pass_live = lambda _key, _envelope: []
        version = await owner.put("ada", User("Ada", 2))
        await until(ada, lambda: ada.version == version)
        assert ada.value.credits == 2


class HangingTransport(LossyTransport):
    """While it is cut, asks find nobody, and nobody says so."""

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        if self.cut:
            await asyncio.Event().wait()
        return await super().ask(topic, request, timeout_s)


@pytest.mark.parametrize("cut_s", [0.01, 10.0, 29.9, 30.1, 31.9, 32.1, 40.0, 100.0, 1000.0])
@pytest.mark.parametrize("luck", [0.1, 0.5, 0.999])
@pytest.mark.parametrize("kind", [LossyTransport, HangingTransport])
@in_virtual_time
async def test_it_catches_up_within_the_stated_bound(kind: type[LossyTransport], luck: float, cut_s: float) -> None:
    pace = Pace(clock=now_s, random=lambda: luck)
    bound_s = pace.reconcile_interval_s + pace.backoff_max_s + 2 * pace.ask_timeout_s + 0.05
    bus = kind()
    async with bus, authority(USERS, bus) as owner, synced(ADA, bus, pace=pace) as ada:
        await owner.put("ada", User("Ada", 1))
        await ada.ready(PATIENCE_S)
        bus.cut = True
        version = await owner.put("ada", User("Ada", 2))
        await passing(cut_s)
        assert ada.value.credits == 1
        bus.cut = False
        await passing(bound_s)
        assert (ada.version, ada.status) == (version, Status.OK)


async def test_asks_are_repeated_until_one_is_answered() -> None:
    bus = LossyTransport()
    async with bus, kept(bus) as (owner, ada):
        await owner.put("ada", User("Ada", 1))
        await ada.ready(PATIENCE_S)
        bus.cut = True
        await owner.put("ada", User("Ada", 2))
        bus.interrupt("a cable was pulled")
        goal = bus.asks + 5
        async with asyncio.timeout(PATIENCE_S):
            while bus.asks < goal:
                bus.asked.clear()
                await bus.asked.wait()
        assert (ada.value.credits, ada.status) == (1, Status.STALE)
        bus.cut = False
        await until(ada, lambda: ada.value.credits == 2)


def test_a_newer_object_repairs_the_value_at_once() -> None:
    def unreachable() -> Envelope[User]:
        raise ConnectionError

    with alone(refetch=unreachable) as (ada, hear):
        hear(envelope(1))
        hear(envelope(8))
        assert ada.value.name == "v8"


async def test_objects_that_a_restarted_authority_does_not_have_are_gone() -> None:
    bus = LossyTransport()
    async with bus, synced(ADA, bus, pace=QUICK) as ada:
        async with authority(USERS, bus) as first:
            await first.put("ada", User("Ada"))
            await ada.ready(PATIENCE_S)
        async with authority(USERS, bus, store=MemoryStore()):
            await until(ada, lambda: ada.peek() is None)
        with pytest.raises(DeletedError):
            print(ada.value)


async def test_a_version_of_a_lost_history_is_not_waited_for() -> None:
    bus = LossyTransport()
    async with bus, synced(ADA, bus, pace=QUICK) as ada:
        async with authority(USERS, bus) as first:
            await first.put("ada", User("Ada", 1))
            version = await first.put("ada", User("Ada", 2))
            await ada.at_least(version, PATIENCE_S)
        async with authority(USERS, bus, store=MemoryStore()) as second:
            await until(ada, lambda: ada.peek() is None)
            await second.put("ada", User("Ada", 3))
            await until(ada, lambda: ada.peek() == User("Ada", 3))
            with pytest.raises(HistoryLostError):
                await ada.at_least(Version(version.epoch, version.sequence + 1), PATIENCE_S)


# Knows when it does not know


async def test_ok_needs_a_young_proof() -> None:
    clock = Clock()
    bus = LossyTransport()
    pace = Pace(reconcile_interval_s=1e6, clock=clock)
    async with bus, authority(USERS, bus) as owner, synced(ADA, bus, pace=pace, stale_after_s=60.0) as ada:
        await owner.put("ada", User("Ada"))
        await ada.fresh(timeout_s=PATIENCE_S)
        assert (ada.status, ada.age_s) == (Status.OK, 0.0)
        clock.now_s += 59.0
        assert (ada.status, ada.age_s) == (Status.OK, 59.0)
        clock.now_s += 2.0
        assert (ada.status, ada.age_s) == (Status.STALE, 61.0)
        assert "60" in ada.reason


async def test_a_live_envelope_makes_no_proof_younger() -> None:
    clock = Clock()
    bus = LossyTransport()
    pace = Pace(reconcile_interval_s=1e6, clock=clock)
    async with bus, authority(USERS, bus) as owner, synced(ADA, bus, pace=pace, stale_after_s=60.0) as ada:
        await owner.put("ada", User("Ada", 1))
        await ada.fresh(timeout_s=PATIENCE_S)
        clock.now_s += 61.0
        await owner.put("ada", User("Ada", 2))
        assert (ada.value.credits, ada.status, ada.age_s) == (2, Status.STALE, 61.0)


def test_before_the_first_value_it_says_so() -> None:
    with alone() as (ada, _):
        assert ada.peek() is None
        assert ada.status is not Status.OK
        with pytest.raises(NotReadyError):
            print(ada.value)


def test_a_failed_question_makes_it_stale_and_keeps_the_value() -> None:
    def unreachable() -> Envelope[User]:
        raise ConnectionError

    with alone(seed=envelope(1), refetch=unreachable) as (ada, _):
        assert (ada.value.name, ada.status) == ("v1", Status.STALE)
        assert ada.reason


def test_in_process_it_stays_current() -> None:
    clock = Clock()
    with alone(seed=envelope(1), pace=Pace(clock=clock)) as (ada, hear):
        hear(envelope(2))
        clock.now_s += 1e6
        assert (ada.status, ada.age_s) == (Status.OK, 0.0)


# One bad neighbour harms nobody


def test_a_handler_that_raises_harms_no_other() -> None:
    heard: list[Change[User]] = []

    def broken(_: Change[User]) -> None:
        raise asyncio.CancelledError

    with alone() as (ada, hear):
        ada.subscribe(broken)
        ada.subscribe(heard.append)
        hear(envelope(1))
        assert (ada.value.name, len(heard), ada.stats.handler_errors) == ("v1", 1, 1)


def test_a_poisoned_key_leaves_the_others_alone() -> None:
    bus = InProcessTransport()
    with synced(ADA, bus) as ada, synced(USERS["eve"], bus) as eve:
        for sequence in range(1, 5):
            bus.publish("user:eve", Envelope({"name": None}, "2.1", sequence))
            bus.publish("user:ada", envelope(sequence))
        assert (ada.status, ada.value.name) == (Status.OK, "v4")
        assert eve.peek() is None
        assert eve.stats.parse_errors == 4


async def test_a_cancelled_reader_leaves_the_others_alone() -> None:
    with alone() as (ada, hear):
        cancelled, patient = asyncio.create_task(ada.ready()), asyncio.create_task(ada.ready())
        await asyncio.sleep(0)
        cancelled.cancel()
        hear(envelope(1))
        assert (await patient).name == "v1"
        with pytest.raises(asyncio.CancelledError):
            await cancelled


# Durable as its store says


class FailingStore(MemoryStore):
    """A disk that is full."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        raise StoreError("the disk is full")


async def test_what_is_not_stored_is_not_published() -> None:
    bus, heard = InProcessTransport(), []
    bus.subscribe("user:ada", heard.append)
    async with authority(USERS, bus, store=FailingStore()) as owner:
        with pytest.raises(StoreError, match="full"):
            await owner.put("ada", User("Ada"))
    assert heard == []


async def test_what_is_acknowledged_is_in_the_store() -> None:
    store = MemoryStore()
    async with authority(USERS, InProcessTransport(), store=store) as owner:
        version = await owner.put("ada", User("Ada", 3))
    async with authority(USERS, InProcessTransport(), store=store) as successor:
        found = await successor.get("ada")
        assert (found.value, found.version) == (User("Ada", 3), version)


async def test_a_restart_without_the_store_loses_what_was_acknowledged() -> None:
    async with authority(USERS, InProcessTransport()) as owner:
        await owner.put("ada", User("Ada", 3))
    async with authority(USERS, InProcessTransport()) as successor:
        with pytest.raises(DeletedError):
            await successor.get("ada")


async def test_a_write_that_is_tried_again_happens_once() -> None:
    async with authority(USERS, InProcessTransport()) as owner:
        first = await owner.put("ada", User("Ada", 3), idempotency_key="payment-1")
        assert await owner.put("ada", User("Ada", 3), idempotency_key="payment-1") == first
        assert (await owner.get("ada")).version == first


async def test_a_write_over_a_newer_version_is_refused() -> None:
    async with authority(USERS, InProcessTransport()) as owner:
        old = await owner.put("ada", User("Ada", 1), expected=ABSENT)
        new = await owner.put("ada", User("Ada", 2), expected=old)
        with pytest.raises(ConflictError) as conflict:
            await owner.put("ada", User("Ada", 3), expected=old)
        assert conflict.value.current == new
        assert (await owner.get("ada")).value == User("Ada", 2)


async def test_an_authority_that_was_replaced_cannot_write() -> None:
    store, heard = MemoryStore(), []
    bus, elsewhere = InProcessTransport(), InProcessTransport()
    elsewhere.subscribe("user:ada", heard.append)
    async with authority(USERS, elsewhere, store=store) as old, authority(USERS, bus, store=store) as new:
        await new.put("ada", User("new"))
        with pytest.raises(FencedError) as fenced:
            await old.put("ada", User("old"))
        assert fenced.value.epoch == new.epoch
        assert (await new.get("ada")).value == User("new")
    assert heard == []


# Not promised


async def test_there_is_no_order_across_objects() -> None:
    bus = LossyTransport()
    bus.pass_live = lambda key, envelope: [] if key == "user:ada" else [envelope]
    slow = Pace(reconcile_interval_s=1e6)
    ada, eve = (synced(USERS[ident], bus, pace=slow) for ident in ("ada", "eve"))
    async with bus, authority(USERS, bus) as owner, ada, eve:
        await owner.put("ada", User("first", 0))
        await owner.put("eve", User("first", 0))
        await ada.fresh(timeout_s=PATIENCE_S)
        await eve.fresh(timeout_s=PATIENCE_S)
        await owner.put("ada", User("second", 1))
        await owner.put("eve", User("third", 2))
        assert (ada.value.name, eve.value.name) == ("first", "third")


async def test_a_cut_off_replica_shows_an_old_value_and_finds_out_only_in_time() -> None:
    clock = Clock()
    bus = LossyTransport()
    pace = Pace(reconcile_interval_s=1e6, clock=clock)
    async with bus, authority(USERS, bus) as owner, synced(ADA, bus, pace=pace, stale_after_s=60.0) as ada:
        await owner.put("ada", User("Ada", 1))
        await ada.fresh(timeout_s=PATIENCE_S)
        bus.cut = True
        await owner.put("ada", User("Ada", 2))
        clock.now_s += 30.0
        assert (ada.value.credits, ada.status) == (1, Status.OK)
        clock.now_s += 31.0
        assert (ada.value.credits, ada.status) == (1, Status.STALE)


async def test_two_sides_of_a_partition_may_both_have_an_authority() -> None:
    here, there = InProcessTransport(), InProcessTransport()
    async with authority(USERS, here) as left, authority(USERS, there) as right:
        with synced(ADA, here) as ada, synced(ADA, there) as eve:
            await left.put("ada", User("left"))
            await right.put("ada", User("right"))
            await ada.fresh(timeout_s=PATIENCE_S)
            await eve.fresh(timeout_s=PATIENCE_S)
            assert (ada.value.name, eve.value.name) == ("left", "right")
            assert (ada.status, eve.status) == (Status.OK, Status.OK)


async def test_a_handler_may_be_told_the_same_value_again() -> None:
    seen: list[User | None] = []
    bus = LossyTransport()
    async with bus, synced(ADA, bus, pace=QUICK) as ada:
        ada.subscribe(lambda change: seen.append(change.new))
        for life in (1, 2):
            async with authority(USERS, bus, store=MemoryStore()) as owner:
                await owner.put("ada", User("Ada", 1))
                await until(ada, lambda life=life: seen.count(User("Ada", 1)) >= life)


def test_whoever_may_publish_is_believed() -> None:
    with alone() as (ada, hear):
        hear(envelope(1, epoch=5))
        hear(envelope(1, User("forged"), epoch=6))
        assert ada.value.name == "forged"
