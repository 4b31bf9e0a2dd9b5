"""Changes as an async iterator: nothing between is lost, and what is left out is counted."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from typing import Any

import pytest

from parasync import ABSENT, CHANGES_MAX, Change, InProcessTransport, Version, synced
from parasync.errors import ClosedError, UsageError
from parasync.testing import Cut, sweep
from tests.runtime.kit import (
    KEY,
    PATIENCE_S,
    A,
    assert_nothing_left,
    envelope,
    in_threads,
    listening,
    pace,
    promptly,
    tombstone,
    turns,
    versions,
)
from tests.virtual_time import in_virtual_time


async def upcoming(changes: Any) -> list[Change[str]]:
    """What waits in a stream now."""
    found = []
    while True:
        following = asyncio.ensure_future(anext(changes))
        await turns(3)
        if not following.done():
            following.cancel()
            await asyncio.wait([following])
            return found
        found.append(following.result())


def made(**options: Any) -> tuple[InProcessTransport, synced[str]]:
    bus = InProcessTransport()
    return bus, synced(A, bus, pace=pace(), **options)


@in_virtual_time
async def test_it_begins_with_what_comes_after_it_was_made() -> None:
    bus, replica = made()
    bus.publish(KEY, envelope(1))
    changes = replica.changes()
    assert await upcoming(changes) == []
    bus.publish(KEY, envelope(2))
    bus.publish(KEY, envelope(3))
    assert [(change.old, change.new, change.skipped, change.cause) for change in await upcoming(changes)] == [
        ("0.1", "0.2", 0, "live"), ("0.2", "0.3", 0, "live"),
    ]  # fmt: skip
    await replica.aclose()


@in_virtual_time
async def test_what_comes_between_making_it_and_reading_it_is_one_step() -> None:
    bus, replica = made()
    bus.publish(KEY, envelope(1))
    changes = replica.changes()
    for sequence in (2, 3, 4):
        bus.publish(KEY, envelope(sequence))
    assert [(change.old, change.new, change.skipped, change.cause) for change in await upcoming(changes)] == [
        ("0.1", "0.4", 2, "since"),
    ]  # fmt: skip
    await replica.aclose()


@in_virtual_time
async def test_entering_it_begins_it() -> None:
    bus, replica = made()
    async with replica.changes() as changes:
        for sequence in (1, 2):
            bus.publish(KEY, envelope(sequence))
        assert versions(await upcoming(changes)) == [(0, 1), (0, 2)]
    bus.publish(KEY, envelope(3))
    assert await upcoming(replica.changes()) == []
    assert listening(replica) == 0
    await replica.aclose()


@in_virtual_time
async def test_an_answer_that_only_confirms_is_no_change() -> None:
    bus, replica = made(seed=envelope(5), refetch=lambda: envelope(5))
    changes = replica.changes()
    await replica.when_idle()
    assert await upcoming(changes) == []
    bus.publish(KEY, envelope(6))
    assert versions(await upcoming(changes)) == [(0, 6)]
    await replica.aclose()


@in_virtual_time
async def test_to_learn_that_an_object_never_was_is_no_change() -> None:
    _, replica = made(refetch=lambda: None)
    changes, told = replica.changes(), []
    replica.subscribe(told.append)
    await replica.when_idle()
    assert replica.snapshot().deleted
    assert (await upcoming(changes), await upcoming(replica.changes()), told) == ([], [], [])
    await replica.aclose()


@in_virtual_time
async def test_an_answer_below_an_unproven_seed_is_a_change() -> None:
    _, replica = made(seed=envelope(5), refetch=lambda: envelope(3))
    changes = replica.changes()
    await replica.when_idle()
    assert [(change.old, change.new, change.skipped) for change in await upcoming(changes)] == [("0.5", "0.3", None)]
    await replica.aclose()


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (ABSENT, [(3, 2, "since")]),
        (Version(0, 1), [(3, 1, "since")]),
        (Version(0, 2), [(3, 0, "since")]),
        (Version(0, 3), [(4, 0, "live"), (9, 4, "live")]),
        (Version(0, 4), [(9, 4, "live")]),
        (Version(0, 7), [(9, 1, "live")]),
        (Version(0, 9), []),
        (Version(1, 1), []),
    ],
)
@in_virtual_time
async def test_since_a_version_nothing_newer_is_lost_and_what_lies_between_is_counted(
    since: Version, expected: list[tuple[int, int, str]]
) -> None:
    bus, replica = made()
    for sequence in (1, 2, 3):
        bus.publish(KEY, envelope(sequence))
    changes = replica.changes(since)
    first = await upcoming(changes)
    bus.publish(KEY, envelope(4))
    bus.publish(KEY, envelope(9))
    found = [(change.version.sequence, change.skipped, change.cause) for change in [*first, *await upcoming(changes)]]
    if expected and expected[0][0] == 3:
        expected = [*expected, (4, 0, "live"), (9, 4, "live")]
    assert found == expected
    assert since.sequence + sum(skipped + 1 for _, skipped, _ in found) in (since.sequence, 9)
    await replica.aclose()


@in_virtual_time
async def test_since_a_version_of_another_life_the_number_between_is_not_known() -> None:
    bus, replica = made()
    bus.publish(KEY, envelope(3, epoch=5))
    assert [change.skipped for change in await upcoming(replica.changes(Version(4, 1)))] == [None]
    await replica.aclose()


@in_virtual_time
async def test_a_deletion_is_a_change() -> None:
    bus, replica = made()
    async with replica.changes() as changes:
        bus.publish(KEY, envelope(1))
        bus.publish(KEY, tombstone(2))
        assert [(change.new, change.deleted) for change in await upcoming(changes)] == [("0.1", False), (None, True)]
    await replica.aclose()


@pytest.mark.parametrize("behind", [CHANGES_MAX, CHANGES_MAX + 1, CHANGES_MAX + 2, 3 * CHANGES_MAX])
@in_virtual_time
async def test_a_slow_reader_gets_one_step_to_the_newest_that_counts_what_it_skipped(behind: int) -> None:
    bus, replica = made()
    async with replica.changes() as changes:
        for sequence in range(1, behind + 1):
            bus.publish(KEY, envelope(sequence))
        found = await upcoming(changes)
    assert len(found) <= CHANGES_MAX
    assert (len(found) == behind) == (behind <= CHANGES_MAX)
    assert found[-1].new == f"0.{behind}"
    assert sum(change.skipped + 1 for change in found) == behind
    assert found[0].old is None
    for sooner, later in itertools.pairwise(found):
        assert later.old == sooner.new
    await replica.aclose()


@in_virtual_time
async def test_several_readers_of_one_stream_share_its_changes() -> None:
    bus, replica = made()
    async with replica.changes() as changes:
        waiting = [asyncio.create_task(anext(changes)) for _ in range(3)]
        await turns()
        for sequence in (1, 2, 3):
            bus.publish(KEY, envelope(sequence))
        found = await asyncio.gather(*waiting)
        assert sorted(versions(found)) == [(0, 1), (0, 2), (0, 3)]
    await replica.aclose()


@in_virtual_time
async def test_it_ends_with_its_replica_when_everything_was_read() -> None:
    bus, replica = made()
    changes = replica.changes(ABSENT)
    bus.publish(KEY, envelope(1))
    waiting = replica.changes()
    reader = asyncio.create_task(anext(waiting))
    await turns()
    bus.publish(KEY, envelope(2))
    assert (await reader).new == "0.2"
    reader = asyncio.create_task(anext(waiting))
    await turns()
    await replica.aclose()
    with pytest.raises(StopAsyncIteration):
        await reader
    assert [change.new async for change in changes] == ["0.2"]
    with pytest.raises(StopAsyncIteration):
        await anext(changes)
    with pytest.raises(ClosedError):
        replica.changes()


async def test_it_can_be_ended_before_while_and_after_it_is_read_also_from_another_thread() -> None:
    bus, replica = made()
    bus.publish(KEY, envelope(1))
    before, between = replica.changes(ABSENT), replica.changes(ABSENT)
    before.end()
    with pytest.raises(StopAsyncIteration):
        await anext(before)
    assert (await anext(between)).new == "0.1"
    promptly(between.end)
    between.end()
    with pytest.raises(StopAsyncIteration):
        await anext(between)
    assert listening(replica) == 0
    await replica.aclose()


async def test_an_end_in_another_thread_wakes_the_reader() -> None:
    bus = InProcessTransport()
    with synced(A, bus) as replica:
        changes = replica.changes()
        reader = asyncio.create_task(anext(changes))
        await turns()
        promptly(changes.end)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(reader, PATIENCE_S)
    assert_nothing_left(bus)


@in_virtual_time
async def test_a_stream_that_nobody_holds_any_more_does_not_fill() -> None:
    bus, replica = made()
    changes = replica.changes()
    bus.publish(KEY, envelope(1))
    await anext(changes)
    forgotten = weakref.ref(changes)
    del changes
    gc.collect()
    assert forgotten() is None
    assert listening(replica) == 0
    bus.publish(KEY, envelope(2))
    await replica.aclose()


def test_a_stream_belongs_to_the_loop_in_which_it_was_begun() -> None:
    bus = InProcessTransport()
    with synced(A, bus) as replica:
        changes = replica.changes(ABSENT)
        bus.publish(KEY, envelope(1))

        async def first() -> Any:
            return await anext(changes)

        assert asyncio.run(first()).new == "0.1"
        bus.publish(KEY, envelope(2))
        with pytest.raises(UsageError, match="another event loop"):
            asyncio.run(first())


@pytest.mark.parametrize("since", [(0, 1), "0.1", 7])
def test_only_a_version_is_a_beginning(since: Any) -> None:
    with synced(A, InProcessTransport()) as replica, pytest.raises(UsageError, match="expected a Version"):
        replica.changes(since)


async def test_changes_of_other_threads_arrive_in_order_and_all_are_counted() -> None:
    bus = InProcessTransport()
    total = 3_000
    async with synced(A, bus, refetch=lambda: None) as replica:
        await replica.when_idle(PATIENCE_S)

        def publish() -> None:
            for sequence in range(1, total + 1):
                bus.publish(KEY, envelope(sequence))

        found = []
        async with replica.changes() as changes:
            publishing = asyncio.get_running_loop().run_in_executor(None, lambda: in_threads(publish, publish))
            async with asyncio.timeout(PATIENCE_S):
                async for change in changes:
                    found.append(change)
                    if change.version.sequence == total:
                        break
            await publishing
        assert versions(found) == sorted(versions(found))
        assert sum(change.skipped + 1 for change in found) == total
        for sooner, later in itertools.pairwise(found):
            assert later.old == sooner.new


async def test_nothing_falls_between_while_another_thread_publishes() -> None:
    """Each stream is begun at a moment of its own; its first change goes on where its beginning was."""
    bus = InProcessTransport()
    rounds, each = 10, 200
    total = rounds * each
    async with synced(A, bus, refetch=lambda: None) as replica:
        await replica.when_idle(PATIENCE_S)
        go = threading.Semaphore(0)

        def publish() -> None:
            for sequence in range(1, total + 1):
                if sequence % each == 1:
                    assert go.acquire(timeout=PATIENCE_S)
                bus.publish(KEY, envelope(sequence))

        publishing = asyncio.get_running_loop().run_in_executor(None, publish)
        streams = []
        for number in range(rounds):
            go.release()
            while (at := replica.version or ABSENT).sequence <= number * each:
                pass
            streams.append((at.sequence, replica.changes(at)))
            await streams[-1][1].__aenter__()
        await publishing
        replica.close()
        for sequence, changes in streams:
            found = [change async for change in changes]
            assert sequence + sum(change.skipped + 1 for change in found) == total


def test_cancelling_a_reader_loses_no_change_and_leaves_nothing() -> None:
    async def attempt(cut: Cut) -> None:
        bus, replica = made()
        changes = replica.changes()
        found: list[Change[str]] = []

        async def read() -> None:
            async for change in changes:
                found.append(change)
                if len(found) == 3:
                    break

        async def publish() -> None:
            for sequence in (1, 2, 3):
                await turns(2)
                bus.publish(KEY, envelope(sequence))

        publishing = asyncio.create_task(publish())
        await cut(read())
        await publishing
        found += await upcoming(changes)
        assert versions(found) == [(0, 1), (0, 2), (0, 3)]
        changes.end()
        assert listening(replica) == 0
        await replica.aclose()
        assert_nothing_left(bus)

    assert sweep(attempt, seed=None) >= 2
