"""Calls of a replica that wait: what they wait for, what ends them, and what a cancelled one leaves behind."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from parasync import Envelope, InProcessTransport, Status, Version, authority, synced
from parasync.errors import (
    AskTimeoutError,
    ClosedError,
    DeletedError,
    HistoryLostError,
    NoAuthorityError,
    ParseError,
    StoreError,
    UsageError,
)
from parasync.protocol import ABSENT_OBJECT, SAME
from parasync.testing import Cut, settle, sweep
from tests.lossy import LossyTransport
from tests.runtime.kit import (
    KEY,
    NOTES,
    PATIENCE_S,
    A,
    Author,
    assert_nothing_left,
    envelope,
    in_threads,
    listening,
    pace,
    promptly,
    terms,
    tombstone,
    turns,
    versions,
)
from tests.runtime.test_seat import Mute
from tests.virtual_time import in_virtual_time, now_s, passing


def quick(bus: Any, **options: Any) -> synced[str]:
    return synced(A, bus, pace=pace(), **options)


# ready


@in_virtual_time
async def test_ready_returns_the_first_value_however_it_comes() -> None:
    bus = InProcessTransport()
    async with quick(bus, seed=envelope(1)) as seeded:
        assert await seeded.ready() == "0.1"
    async with quick(bus) as heard:
        waiting = asyncio.create_task(heard.ready())
        await turns()
        bus.publish(KEY, envelope(2))
        assert await waiting == "0.2"
    async with quick(bus, refetch=lambda: envelope(3)) as answered:
        assert await answered.ready() == "0.3"


@in_virtual_time
async def test_ready_waits_for_a_value_where_there_is_a_deletion_or_a_refusal() -> None:
    bus = InProcessTransport()
    async with quick(bus) as replica:
        waiting = asyncio.create_task(replica.ready())
        for heard in (tombstone(1), envelope(2, 17)):
            bus.publish(KEY, heard)
            await turns()
            assert not waiting.done()
        bus.publish(KEY, envelope(3))
        assert await waiting == "0.3"


@in_virtual_time
async def test_ready_returns_the_value_that_it_saw_though_it_is_gone_a_moment_later() -> None:
    """It promises a value, so it must not look twice."""
    bus = InProcessTransport()
    async with quick(bus) as replica:
        waiting = asyncio.create_task(replica.ready())
        await turns()
        bus.publish(KEY, envelope(1))
        replica._seat.group.watch(replica._member, lambda: None)
        assert await waiting == "0.1"


@in_virtual_time
async def test_ready_gives_up_after_its_time_and_says_why() -> None:
    bus = InProcessTransport()
    async with quick(bus) as replica:
        began_s = now_s()
        with pytest.raises(AskTimeoutError, match="waited 3 s for a first value of 'note:a': nobody serves") as caught:
            await replica.ready(timeout_s=3.0)
        assert caught.value.timeout_s == 3.0
        assert isinstance(caught.value, TimeoutError)
        assert now_s() == pytest.approx(began_s + 3.0)
        assert listening(replica) == 0
        with pytest.raises(AskTimeoutError):
            await replica.ready(timeout_s=-1.0)


@in_virtual_time
async def test_a_timeout_around_a_call_stays_the_callers_own() -> None:
    async with quick(InProcessTransport()) as replica:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1.0):
                await replica.ready(timeout_s=5.0)
        assert not isinstance(caught.value, AskTimeoutError)


@pytest.mark.parametrize("elsewhere", [True, False])
async def test_closing_ends_every_call_that_waits(elsewhere: bool) -> None:
    bus = InProcessTransport()
    replica = synced(A, bus)
    calls = [replica.ready(), replica.fresh(), replica.at_least(Version(0, 1)), replica.when_idle()]
    waiting = [asyncio.create_task(call) for call in calls]
    await turns()
    if elsewhere:
        promptly(replica.close)
    else:
        replica.close()
    async with asyncio.timeout(PATIENCE_S):
        for task in waiting:
            with pytest.raises(ClosedError, match="'note:a' was closed"):
                await task
    for call in (replica.ready(), replica.fresh(), replica.at_least(Version(0, 1)), replica.when_idle()):
        with pytest.raises(ClosedError):
            await call
    with pytest.raises(ClosedError):
        replica.subscribe(print)
    await replica.aclose()
    assert_nothing_left(bus)


# fresh


@in_virtual_time
async def test_fresh_asks_only_if_the_proof_is_too_old() -> None:
    async with LossyTransport() as bus:
        author = Author(bus)
        async with quick(bus) as replica:
            await replica.ready()
            await passing(3.0)
            author.outcome = lambda key: envelope(2)
            assert await replica.fresh(max_stale_s=3.0) == "0.1"
            assert await replica.fresh(max_stale_s=2.9) == "0.2"
            assert len(author.asks) == 2
            assert replica.age_s == 0.0


@in_virtual_time
async def test_fresh_does_not_take_a_proof_of_before() -> None:
    """What was under way when the call came may have been answered before what the caller knows of."""
    async with LossyTransport() as bus:
        author = Author(bus)
        async with quick(bus) as replica:
            author.gate.clear()
            await turns()
            waiting = asyncio.create_task(replica.fresh())
            await turns()
            author.gate.set()
            await waiting
            assert len(author.asks) == 2


@in_virtual_time
async def test_fresh_says_what_is_wrong_with_the_newest() -> None:
    async with LossyTransport() as bus:
        author = Author(bus)
        async with quick(bus) as replica:
            await replica.ready()
            author.outcome = lambda key: envelope(2, 17)
            await passing(1.0)
            with pytest.raises(ParseError, match="cannot be read"):
                await replica.fresh()
            assert replica.value == "0.1"
            author.outcome = lambda key: tombstone(3)
            await passing(1.0)
            with pytest.raises(DeletedError):
                await replica.fresh()
        async with quick(bus) as empty:
            author.outcome = lambda key: ABSENT_OBJECT
            with pytest.raises(DeletedError):
                await empty.fresh()


@in_virtual_time
async def test_fresh_does_not_trust_an_unproven_seed() -> None:
    async with InProcessTransport() as bus:
        Author(bus)
        async with quick(bus, seed=envelope(5)) as replica:
            assert await replica.fresh(max_stale_s=1e9) == "0.1"


@in_virtual_time
async def test_fresh_where_nothing_is_lost_costs_nothing() -> None:
    async with InProcessTransport() as bus:
        author = Author(bus)
        async with quick(bus) as replica:
            await replica.ready()
            await passing(100.0)
            assert await replica.fresh() == "0.1"
            assert len(author.asks) == 1


@in_virtual_time
async def test_fresh_needs_somebody_to_ask() -> None:
    bus = Mute()
    async with quick(bus) as replica:
        with pytest.raises(NoAuthorityError, match="pass refetch="):
            await replica.fresh()
        bus.publish(KEY, envelope(1))
        assert await replica.fresh() == "0.1"


@in_virtual_time
async def test_fresh_waits_through_failures() -> None:
    async with LossyTransport() as bus:
        author = Author(bus)
        author.outcome = lambda key: StoreError("down") if len(author.asks) < 5 else envelope(1)
        async with quick(bus) as replica:
            assert await replica.fresh() == "0.1"
            assert len(author.asks) == 5


async def test_calls_may_be_made_in_another_loop() -> None:
    """In process a replica is bound to no loop; what asks for it is."""
    async with InProcessTransport() as bus, authority(NOTES, bus) as owner:
        version = await owner.put("a", "text")
        async with synced(A, bus) as replica:

            async def elsewhere() -> list[str]:
                found = [await replica.ready(PATIENCE_S), await replica.at_least(version, PATIENCE_S)]
                replica._seat.group.doubt(replica._member, "a reason")
                found.append(await replica.fresh(timeout_s=PATIENCE_S))
                await replica.when_idle(PATIENCE_S)
                await replica.aclose()
                return found

            assert await asyncio.to_thread(lambda: asyncio.run(elsewhere())) == ["text"] * 3
    assert_nothing_left(bus)


@pytest.mark.parametrize("call", ["ready", "at_least", "changes"])
async def test_who_waits_for_a_replica_that_was_made_without_a_loop_sees_its_transport_close(call: str) -> None:
    bus = InProcessTransport()
    replica = promptly(lambda: synced(A, bus))

    async def changes() -> None:
        async for _ in replica.changes():
            raise AssertionError("nothing came")
        raise ClosedError("as it should")

    calls = {"ready": replica.ready, "at_least": lambda: replica.at_least(Version(0, 5)), "changes": changes}
    waiting = asyncio.create_task(calls[call]())
    await turns()
    bus.close()
    with pytest.raises(ClosedError):
        await asyncio.wait_for(waiting, PATIENCE_S)
    replica.close()
    assert_nothing_left(bus)


@pytest.mark.parametrize("seconds", ["1", float("nan"), b"", [1]])
async def test_times_that_are_no_numbers_are_refused(seconds: Any) -> None:
    with synced(A, InProcessTransport()) as replica:
        calls = [lambda time: replica.at_least(Version(0, 5), time), replica.ready, replica.fresh, replica.when_idle]
        for call in [*calls, lambda time: replica.fresh(timeout_s=time)]:
            with pytest.raises(UsageError, match="number of seconds"):
                await call(seconds)


# at_least


@in_virtual_time
async def test_at_least_returns_what_another_service_has_just_written() -> None:
    async with LossyTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        bus.pass_live = lambda key, heard: []
        async with quick(bus) as replica:
            for number in range(5):
                version = await owner.put("a", f"{number}")
                began_s = now_s()
                assert await replica.at_least(version) == f"{number}"
                assert now_s() == began_s
            assert await replica.at_least(version) == "4"
            assert replica.stats.applied == 5


@in_virtual_time
async def test_at_least_waits_for_a_version_that_is_yet_to_come() -> None:
    async with LossyTransport() as bus:
        author = Author(bus, epoch=5)
        author.outcome = lambda key: envelope(1, epoch=5)
        async with quick(bus) as replica:
            waiting = asyncio.create_task(replica.at_least(Version(5, 3)))
            await passing(10.0)
            assert not waiting.done()
            bus.publish(KEY, envelope(2, epoch=5))
            await turns()
            assert not waiting.done()
            bus.publish(KEY, envelope(4, epoch=5))
            assert await waiting == "5.4"
            with pytest.raises(AskTimeoutError, match=r"version 5\.9"):
                await replica.at_least(Version(5, 9), timeout_s=1.0)


@in_virtual_time
async def test_at_least_of_an_earlier_life_is_in_the_history_or_lost() -> None:
    async with LossyTransport() as bus:
        author = Author(bus, epoch=7)
        author.outcome = lambda key: envelope(4, epoch=7)
        author.history_epoch = 6
        async with quick(bus) as replica:
            assert await replica.at_least(Version(6, 99)) == "7.4"
            for version in (Version(5, 1), Version(0, 3)):
                with pytest.raises(HistoryLostError, match="was lost: its history begins at 6"):
                    await replica.at_least(version)


@in_virtual_time
async def test_at_least_asks_whether_the_history_goes_on_after_a_new_life_was_heard() -> None:
    async with LossyTransport() as bus:
        author = Author(bus, epoch=5)
        author.outcome = lambda key: envelope(4, epoch=5)
        async with quick(bus) as replica:
            await replica.ready()
            author.epoch, author.history_epoch, author.outcome = 7, 7, lambda key: SAME
            bus.publish(KEY, envelope(1, epoch=7))
            assert replica.version == Version(7, 1)
            with pytest.raises(HistoryLostError):
                await replica.at_least(Version(5, 3))


@in_virtual_time
async def test_at_least_of_a_life_that_nobody_remembers_is_lost_though_nothing_is_held() -> None:
    """The authority lost everything, and no replica was left to tell it: its history begins with itself."""
    async with InProcessTransport() as bus:
        async with authority(NOTES, bus, terms=terms(wall_clock=lambda: 1000.0)) as first:
            lost = await first.put("a", "lost")
        async with authority(NOTES, bus, terms=terms(wall_clock=lambda: 1010.0)) as second, quick(bus) as replica:
            with pytest.raises(HistoryLostError):
                await replica.at_least(lost)
            await second.put("a", "another")
            with pytest.raises(HistoryLostError):
                await replica.at_least(lost)


@in_virtual_time
async def test_at_least_asks_again_where_a_live_envelope_closed_the_need_and_told_of_no_history() -> None:
    async with InProcessTransport() as bus:
        author = Author(bus, epoch=7)
        author.history_epoch, author.outcome = 7, lambda key: StoreError("down")
        async with quick(bus) as replica:
            waiting = asyncio.create_task(replica.at_least(Version(5, 3), 60.0))
            await turns()
            bus.publish(KEY, envelope(1, epoch=7))
            author.outcome = lambda key: SAME
            with pytest.raises(HistoryLostError):
                await waiting


@in_virtual_time
async def test_at_least_finds_that_the_object_is_gone() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()) as owner, quick(bus) as replica:
        await owner.put("a", "text")
        version = await owner.delete("a")
        with pytest.raises(DeletedError) as caught:
            await replica.at_least(version)
        assert caught.value.version == version


@in_virtual_time
async def test_at_least_does_not_take_an_unproven_seed() -> None:
    async with InProcessTransport() as bus:
        Author(bus)
        async with quick(bus, seed=envelope(5)) as replica:
            with pytest.raises(AskTimeoutError):
                await replica.at_least(Version(0, 5), timeout_s=5.0)
            assert await replica.at_least(Version(0, 1)) == "0.1"


@in_virtual_time
async def test_at_least_without_an_authority_trusts_the_epochs() -> None:
    bus = Mute()
    async with quick(bus) as replica:
        waiting = asyncio.create_task(replica.at_least(Version(0, 2)))
        for sequence in (1, 2):
            await turns()
            bus.publish(KEY, envelope(sequence))
        assert await waiting == "0.2"
        bus.publish(KEY, envelope(1, epoch=3))
        assert await replica.at_least(Version(0, 2)) == "3.1"


@pytest.mark.parametrize("version", [(0, 1), None, "0.1"])
async def test_at_least_takes_versions_only(version: Any) -> None:
    async with synced(A, InProcessTransport()) as replica:
        with pytest.raises(UsageError, match="expected a Version"):
            await replica.at_least(version)


# when_idle


@in_virtual_time
async def test_idle_is_when_nothing_is_left_to_ask() -> None:
    async with LossyTransport() as bus:
        author = Author(bus)
        async with quick(bus) as replica:
            author.gate.clear()
            waiting = asyncio.create_task(replica.when_idle())
            await passing(1.0)
            assert not waiting.done()
            author.gate.set()
            await waiting
            await replica.when_idle()


async def test_idle_is_when_no_thread_calls_a_listener_any_more() -> None:
    bus = InProcessTransport()
    async with synced(A, bus, refetch=lambda: envelope(1)) as replica:
        await replica.when_idle(PATIENCE_S)
        entered, go_on = threading.Event(), threading.Event()

        def block(change: object) -> None:
            entered.set()
            go_on.wait(PATIENCE_S)

        replica.subscribe(block)
        publishing = asyncio.get_running_loop().run_in_executor(None, bus.publish, KEY, envelope(2))
        await asyncio.to_thread(entered.wait, PATIENCE_S)
        waiting = asyncio.create_task(replica.when_idle(PATIENCE_S))
        await turns()
        assert not waiting.done()
        go_on.set()
        await waiting
        await publishing


# subscribe


async def test_a_listener_is_a_plain_function() -> None:
    async def later(change: object) -> None: ...

    async with synced(A, InProcessTransport()) as replica:
        for listener in (later, 7, None):
            with pytest.raises(UsageError):
                replica.subscribe(listener)  # type: ignore[arg-type]
        assert listening(replica) == 0


async def test_the_same_listener_twice_is_two_subscriptions() -> None:
    bus = InProcessTransport()
    async with synced(A, bus) as replica:
        told: list[Any] = []
        first = replica.subscribe(told.append)
        replica.subscribe(told.append)
        bus.publish(KEY, envelope(1))
        first()
        first()
        bus.publish(KEY, envelope(2))
        assert versions(told) == [(0, 1), (0, 1), (0, 2)]


# Many at once


@in_virtual_time
async def test_a_replica_heals_through_every_fault_of_its_authority() -> None:
    """Lost with its data, and back: no replica goes back, and none stays behind."""
    async with LossyTransport() as bus:
        replicas = [quick(bus) for _ in range(3)]
        seen: list[list[Any]] = [[] for _ in replicas]
        for replica, changes in zip(replicas, seen, strict=True):
            replica.subscribe(changes.append)
        for life in range(4):
            async with authority(NOTES, bus, terms=terms()) as owner:
                for number in range(5 - life):
                    version = await owner.put("a", f"{life}.{number}")
                for replica in replicas:
                    assert await replica.at_least(version) == f"{life}.{4 - life}"
            await passing(7.0)
        for replica, changes in zip(replicas, seen, strict=True):
            assert versions(changes) == sorted(versions(changes))
            assert replica.stats.resets >= 3
            await replica.aclose()
        assert_nothing_left(bus)


def test_publishing_subscribing_and_closing_from_many_threads() -> None:
    bus = InProcessTransport()
    kept = synced(A, bus)
    told: list[Any] = []
    kept.subscribe(told.append)
    wrong: list[Any] = []

    def publish(first: int) -> Any:
        def run() -> None:
            for sequence in range(first, 1_000, 3):
                bus.publish(KEY, envelope(sequence))
                if kept.version is None or kept.version.sequence < sequence:
                    wrong.append(sequence)

        return run

    def come_and_go() -> None:
        for _ in range(150):
            heard: list[Any] = []
            with synced(A, bus) as replica:
                stop = replica.subscribe(heard.append)
                replica.subscribe(lambda change: replica.close())
                stop()
                replica.snapshot()
            if versions(heard) != sorted(versions(heard)):
                wrong.append(heard)

    in_threads(publish(1), publish(2), publish(3), come_and_go, come_and_go)
    assert wrong == []
    assert versions(told) == sorted(versions(told))
    assert kept.version == Version(0, 999)
    kept.close()
    assert_nothing_left(bus)


# Cancelled


@pytest.mark.parametrize("call", ["ready", "fresh", "at_least", "when_idle", "aclose", "stream", "whole"])
def test_a_cancelled_call_leaves_nothing_behind(call: str) -> None:
    async def attempt(cut: Cut) -> None:
        async with LossyTransport() as bus:
            author = Author(bus, epoch=5)
            author.outcome = lambda key: StoreError("down") if len(author.asks) < 3 else envelope(2, epoch=5)
            replica = quick(bus)

            async def whole() -> None:
                async with synced(A, bus, pace=pace()) as inner:
                    await inner.ready()
                    await inner.fresh()

            async def stream() -> None:
                async with replica.changes() as changes:
                    await anext(changes)

            calls = {
                "ready": replica.ready, "fresh": replica.fresh, "at_least": lambda: replica.at_least(Version(5, 2)),
                "when_idle": replica.when_idle, "aclose": replica.aclose, "whole": whole, "stream": stream,
            }  # fmt: skip
            await cut(calls[call]())
            assert listening(replica) == 0
            if call != "aclose":
                assert await replica.ready() == "5.2"
            await replica.aclose()
            await settle()
            assert_nothing_left(bus)
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert not any(name.startswith("parasync") for name in names), names

    assert sweep(attempt) >= 1


@in_virtual_time
async def test_a_reader_that_is_cancelled_takes_nobody_along() -> None:
    async with LossyTransport() as bus:
        author = Author(bus)
        author.gate.clear()
        async with quick(bus) as replica:
            first, second = (asyncio.create_task(replica.ready()) for _ in range(2))
            await turns()
            first.cancel()
            await turns()
            author.gate.set()
            assert await second == "0.1"
            assert first.cancelled()


@in_virtual_time
async def test_a_callback_may_close_while_others_wait() -> None:
    async with LossyTransport() as bus:
        replica = quick(bus)
        replica.subscribe(lambda change: replica.close())
        waiting = asyncio.create_task(replica.at_least(Version(0, 2)))
        await turns()
        bus.publish(KEY, envelope(1))
        with pytest.raises(ClosedError):
            await waiting
        await replica.aclose()
        assert replica.status is Status.CLOSED
        assert_nothing_left(bus)


@in_virtual_time
async def test_a_refetch_may_close_its_own_replica() -> None:
    async with LossyTransport() as bus:
        made: list[synced[str]] = []

        async def newest() -> Envelope[str]:
            await made[0].aclose()
            return envelope(1)

        made.append(quick(bus, refetch=newest))
        await turns()
        await made[0].aclose()
        assert made[0].peek() is None
        assert_nothing_left(bus)


@pytest.mark.parametrize("transport", ["nats://127.0.0.1:4222", None, InProcessTransport, object()])
def test_what_is_no_transport_is_refused(transport: Any) -> None:
    for make in (lambda: synced(A, transport), lambda: authority(NOTES, transport)):
        with pytest.raises(UsageError, match=r"as transport, expected a bus: what connect\(url\) returns"):
            make()
