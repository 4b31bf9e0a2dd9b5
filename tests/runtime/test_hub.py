"""What replicas of one transport share, and that it goes with the last of them, from whichever thread."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from parasync import Envelope, InProcessTransport, Pace, Status, authority, synced
from parasync.errors import ClosedError
from parasync.protocol import Probe
from parasync.runtime import _hub
from tests.lossy import LossyTransport
from tests.runtime.kit import (
    KEY,
    NOTES,
    PATIENCE_S,
    A,
    assert_nothing_left,
    envelope,
    in_threads,
    pace,
    promptly,
    served,
    terms,
    turns,
)
from tests.virtual_time import in_virtual_time, now_s


def test_replicas_of_one_transport_share_a_hub_and_others_do_not() -> None:
    here, there = InProcessTransport(), InProcessTransport()
    with synced(A, here) as first, synced(NOTES["b"], here) as second, synced(A, there) as third:
        assert first._seat.hub is second._seat.hub
        assert first._seat.hub is not third._seat.hub
    assert_nothing_left(here, there)


def test_what_cannot_subscribe_leaves_nothing_behind() -> None:
    bus = InProcessTransport()
    bus.close()
    with pytest.raises(ClosedError):
        synced(A, bus)
    assert_nothing_left(bus)


def test_one_that_cannot_subscribe_leaves_the_others_alone() -> None:
    bus = LossyTransport()
    with pytest.raises(ClosedError):
        synced(A, Refusing(bus, refused=KEY))
    refusing = Refusing(bus, refused="note:b")
    kept = synced(A, refusing)
    with pytest.raises(ClosedError):
        synced(NOTES["b"], refusing)
    bus.publish(KEY, envelope(1))
    assert kept.value == "0.1"
    kept.close()
    assert_nothing_left(refusing)


class Refusing(LossyTransport):
    """Refuses to subscribe to one key."""

    def __init__(self, behind: LossyTransport, refused: str) -> None:
        super().__init__(behind.inner)
        self.refused = refused

    def subscribe(self, key: str, handler: Any, interrupted: Any = None) -> Any:
        if key == self.refused:
            raise ClosedError("refused")
        return super().subscribe(key, handler, interrupted)


def test_leaving_twice_ends_no_later_replica() -> None:
    bus = InProcessTransport()
    first = synced(A, bus)
    seat = first._seat
    first.close()
    with synced(A, bus) as second:
        seat.close()
        bus.publish(KEY, envelope(1))
        assert second.value == "0.1"
        with synced(A, bus) as third:
            assert third._seat.hub is second._seat.hub
            assert third._seat.group is second._seat.group
    assert_nothing_left(bus)


def test_leaving_never_waits_for_the_lock_of_the_hub() -> None:
    bus = InProcessTransport()
    first, second = served(2, bus)
    hub = first._seat.hub

    def inside() -> None:
        with hub._lock:
            first.close()
            second.close()
        assert_nothing_left(bus)

    promptly(inside)


def test_a_subscription_that_cannot_be_ended_is_forgotten_all_the_same() -> None:
    class Stubborn(LossyTransport):
        def subscribe(self, key: str, handler: Any, interrupted: Any = None) -> Any:
            stop = super().subscribe(key, handler, interrupted)

            def refuse() -> None:
                stop()
                raise OSError

            return refuse

    bus = Stubborn()
    synced(A, bus).close()
    assert_nothing_left(bus)
    again = synced(A, bus)
    bus.publish(KEY, envelope(1))
    assert again.value == "0.1"
    again.close()


def test_joining_and_leaving_from_many_threads_keeps_the_books_right() -> None:
    bus = InProcessTransport()
    wrong: list[Any] = []

    def come_and_go(ident: str) -> Callable[[], None]:
        def run() -> None:
            for sequence in range(1, 200):
                with synced(NOTES[ident], bus) as replica:
                    if bus.key_count() not in (1, 2) or id(bus) not in _hub._hubs:
                        wrong.append(bus.key_count())
                    bus.publish(f"note:{ident}", envelope(sequence))
                    if replica.peek() is None:
                        wrong.append((ident, sequence))

        return run

    in_threads(come_and_go("a"), come_and_go("a"), come_and_go("b"))
    assert wrong == []
    assert_nothing_left(bus)


def test_a_replica_that_is_dropped_in_a_cycle_is_cleaned_up_by_the_collector_wherever_it_runs() -> None:
    """The collector may run on a thread that holds the locks of the very replicas that it destroys."""
    bus = InProcessTransport()
    kept = synced(A, bus)

    class Owner:
        def __init__(self) -> None:
            self.me = self
            self.replica = synced(A, bus)
            self.stream = self.replica.changes()

    def drop_inside() -> None:
        Owner()
        with kept._seat.hub._lock, kept._seat.group._lock, pytest.warns(ResourceWarning, match="'note:a' was dropped"):
            gc.collect()

    gc.collect()
    gc.disable()
    try:
        promptly(drop_inside)
    finally:
        gc.enable()
    assert len(kept._seat.group.members) == 1
    kept.close()
    assert_nothing_left(bus)


@in_virtual_time
async def test_replicas_share_the_way_to_ask_if_their_pace_is_the_same() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()):
        first, second = served(2, bus)
        other = synced(NOTES["b"], bus, pace=Pace())
        slow = synced(A, bus, pace=Pace(ask_timeout_s=9.0))
        assert first._seat.recovery is second._seat.recovery is other._seat.recovery
        assert slow._seat.recovery is not first._seat.recovery
        for replica in (first, second, other, slow):
            await replica.aclose()


@in_virtual_time
async def test_a_refetch_is_shared_by_those_who_pass_the_same_function_also_if_it_is_a_method() -> None:
    class Source:
        calls = 0

        def __eq__(self, other: object) -> bool:
            raise AssertionError("nobody compares what belongs to the user")

        __hash__ = None  # type: ignore[assignment]

        def newest(self) -> Envelope[str]:
            self.calls += 1
            return envelope(1)

        def __call__(self) -> Envelope[str]:
            return self.newest()

    source, elsewhere = Source(), Source()
    async with InProcessTransport() as bus:
        ways = (source.newest, source.newest, elsewhere.newest, source, elsewhere)
        replicas = [synced(A, bus, refetch=way) for way in ways]
        for replica in replicas:
            await replica.ready()
        assert (source.calls, elsewhere.calls) == (2, 2)
        for replica in replicas:
            await replica.aclose()
    assert_nothing_left(bus)


@in_virtual_time
async def test_a_replica_tells_a_probe_of_a_higher_epoch_only() -> None:
    async with InProcessTransport() as bus:
        replica = synced(A, bus)
        bus.publish(KEY, envelope(1, epoch=7))
        for epoch, answers in ((6, [(7, False)]), (7, []), (8, [])):
            replies = await bus.probe(Probe("note", epoch, False, "me"), 1.0)
            assert [(reply.epoch, reply.serving) for reply in replies] == answers
        await replica.aclose()
        assert await bus.probe(Probe("note", 6, False, "me"), 1.0) == []


@in_virtual_time
async def test_a_life_is_announced_once_to_a_replica_whose_refetch_tells_no_epoch() -> None:
    calls: list[float] = []

    def newest() -> Envelope[str]:
        calls.append(now_s())
        return envelope(3)

    async with InProcessTransport() as bus, synced(A, bus, refetch=newest, pace=pace()) as replica:
        await replica.ready()
        for epoch in (50, 50, 40, 60, 60):
            await bus.probe(Probe("note", epoch, True, "somebody"), 1.0)
            await replica.when_idle()
        assert len(calls) == 3
        assert replica.status is Status.OK


@in_virtual_time
async def test_the_probe_of_a_new_life_that_serves_is_a_reason_to_ask() -> None:
    async with InProcessTransport() as bus:
        asked = []

        def newest() -> Envelope[str]:
            asked.append(1)
            return envelope(1, epoch=7)

        replica = synced(A, bus, refetch=newest)
        await replica.when_idle()
        for probe in (Probe("note", 7, True, "me"), Probe("note", 8, False, "me"), Probe("other", 9, True, "me")):
            await bus.probe(probe, 1.0)
            assert replica.status.value == "ok"
        await bus.probe(Probe("note", 8, True, "me"), 1.0)
        assert replica.status.value == "refetching"
        await replica.when_idle()
        assert len(asked) == 2
        await replica.aclose()


async def test_probes_are_heard_by_replicas_whose_loop_still_runs() -> None:
    """The first replica of a topic was made in a loop that has ended: those of other loops answer all the same."""
    bus = InProcessTransport()
    kept: list[synced[str]] = []

    async def make() -> None:
        kept.append(synced(A, bus))

    thread = threading.Thread(target=asyncio.run, args=(make(),))
    thread.start()
    thread.join(PATIENCE_S)
    replica = synced(A, bus)
    bus.publish(KEY, envelope(1, epoch=7))
    replies = await bus.probe(Probe("note", 6, False, "me"), PATIENCE_S)
    assert [reply.epoch for reply in replies] == [7]
    await replica.aclose()
    kept[0].close()
    assert_nothing_left(bus)


async def test_a_new_recovery_takes_the_place_of_one_that_ended() -> None:
    """As when a program cancels all tasks, or the transport went and came."""
    async with InProcessTransport() as bus, authority(NOTES, bus) as owner:
        await owner.put("a", "text")
        first = synced(A, bus)
        await first.ready(PATIENCE_S)
        assert first._seat.recovery is not None
        first._seat.recovery.task.cancel()
        await turns()
        second = synced(A, bus)
        assert await second.ready(PATIENCE_S) == "text"
        assert second._seat.recovery is not first._seat.recovery
        await first.aclose()
        assert await second.fresh(timeout_s=PATIENCE_S) == "text"
        await second.aclose()
    assert_nothing_left(bus)
