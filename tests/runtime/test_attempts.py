"""Replicas in programs without an event loop: they ask when they are made, when something arrives, and on `get()`."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from parasync import Envelope, InProcessTransport, Pace, Status, Version, authority, synced
from parasync.errors import NotReadyError, UsageError
from parasync.runtime._recovery import ASK_FLOOR_S
from parasync.testing.machines import LossyBus
from tests.runtime.kit import KEY, NOTES, PATIENCE_S, A, assert_nothing_left, envelope, half, promptly, versions


class Source:
    """Returns or raises what it is told to, and counts."""

    def __init__(self, *found: Any) -> None:
        self.found = list(found)
        self.calls = 0

    def __call__(self) -> Envelope[str] | None:
        self.calls += 1
        found = self.found[0] if len(self.found) == 1 else self.found.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@contextmanager
def asking(*found: Any, **options: Any) -> Iterator[tuple[InProcessTransport, Source, Clock, synced[str]]]:
    bus, source, clock = InProcessTransport(), Source(*found), Clock()
    with synced(A, bus, refetch=source, pace=Pace(clock=clock, random=half), **options) as replica:
        yield bus, source, clock, replica
    assert_nothing_left(bus)


def test_it_asks_when_it_is_made() -> None:
    with asking(envelope(3)) as (_, source, _, replica):
        assert (replica.value, replica.status, source.calls) == ("0.3", Status.OK, 1)
        assert replica.get() == "0.3"
        assert source.calls == 1, "no need, no ask"


def test_a_read_asks_where_the_last_proof_is_too_old() -> None:
    bus, source, clock = LossyBus(), Source(envelope(3), envelope(9)), Clock()
    pace = Pace(clock=clock, random=half)
    with synced(A, bus, refetch=source, pace=pace, stale_after_s=10.0) as replica:
        clock.now_s += 10.0
        assert (replica.get(), source.calls) == ("0.3", 1)
        clock.now_s += 0.5
        assert (replica.value, replica.status) == ("0.3", Status.STALE)
        assert (replica.get(), replica.status, source.calls) == ("0.9", Status.OK, 2)
    bus.close()


def test_it_asks_when_an_envelope_shows_that_one_was_lost() -> None:
    with asking(envelope(3), envelope(9)) as (bus, source, clock, replica):
        clock.now_s += ASK_FLOOR_S
        bus.publish(KEY, envelope(7))
        assert (replica.value, replica.stats.gaps, source.calls) == ("0.9", 1, 2)


def test_listeners_hear_first_what_arrived_and_then_what_was_asked_for() -> None:
    with asking(envelope(3), envelope(9)) as (bus, _, clock, replica):
        told: list[Any] = []
        replica.subscribe(told.append)
        clock.now_s += ASK_FLOOR_S
        bus.publish(KEY, envelope(7))
        assert versions(told) == [(0, 7), (0, 9)]
        assert [change.cause for change in told] == ["live", "answer"]


def test_it_asks_on_get_after_a_failure_but_not_too_soon() -> None:
    with asking(OSError(), OSError(), envelope(4)) as (_, source, clock, replica):
        assert replica.status is Status.STALE
        assert replica.reason == "refetch raised OSError"
        for _ in range(3):
            with pytest.raises(NotReadyError):
                replica.get()
        assert source.calls == 1
        clock.now_s += 0.05
        with pytest.raises(NotReadyError):
            replica.get()
        assert source.calls == 2
        clock.now_s += 0.09
        with pytest.raises(NotReadyError):
            replica.get()
        clock.now_s += 0.02
        assert replica.get() == "0.4"
        assert source.calls == 3


@pytest.mark.parametrize("error", [asyncio.CancelledError(), MemoryError(), StopAsyncIteration(), BaseException()])
def test_whatever_a_refetch_raises_is_a_failure(error: BaseException) -> None:
    with asking(error, envelope(4)) as (_, _, clock, replica):
        assert replica.stats.refetch_failures == 1
        clock.now_s += 1.0
        assert replica.get() == "0.4"


def test_what_must_end_the_program_does_and_leaves_the_replica_in_order() -> None:
    with asking(envelope(1), KeyboardInterrupt(), envelope(9)) as (bus, _, clock, replica):
        told: list[Any] = []
        replica.subscribe(told.append)
        clock.now_s += 1.0
        with pytest.raises(KeyboardInterrupt):
            bus.publish(KEY, envelope(7))
        clock.now_s += 1.0
        assert replica.get() == "0.9"
        assert versions(told) == [(0, 7), (0, 9)]


def test_an_older_life_and_an_older_version_are_failures() -> None:
    found = [envelope(5, epoch=5), envelope(6, epoch=4), envelope(4, epoch=5), envelope(6, epoch=5)]
    with asking(*found) as (bus, _, clock, replica):
        for failures in (1, 2):
            clock.now_s += 10.0
            bus.publish(KEY, envelope(5, "another content", epoch=5))
            assert (replica.version, replica.stats.refetch_failures) == (Version(5, 5), failures)
            assert replica.status is Status.STALE
        clock.now_s += 10.0
        assert replica.get() == "5.6"
        assert replica.status is Status.OK


def test_a_version_that_cannot_be_read_is_not_asked_for_with_every_envelope() -> None:
    """Each ask blocks who publishes."""
    with asking(envelope(1), envelope(2, 17)) as (bus, source, clock, replica):
        for _ in range(1_000):
            clock.now_s += 0.02
            bus.publish(KEY, envelope(2, 17))
        assert replica.status is Status.SKEW
        assert source.calls < 15, "within 20 seconds"


def test_a_refetch_may_publish_and_read_the_replica() -> None:
    bus = InProcessTransport()
    made: list[synced[str]] = []

    def refetch() -> Envelope[str]:
        bus.publish(KEY, envelope(8))
        for replica in made:
            replica.get()
        return envelope(7)

    made.append(synced(A, bus, refetch=refetch))
    assert made[0].value == "0.8"
    assert made[0].status is Status.OK
    made[0].close()


def test_one_thread_asks_while_the_others_go_on() -> None:
    entered, go_on = threading.Event(), threading.Event()
    bus = InProcessTransport()

    def refetch() -> Envelope[str]:
        if not entered.is_set():
            return envelope(1)
        go_on.wait(PATIENCE_S)
        return envelope(9)

    with synced(A, bus, refetch=refetch, pace=Pace(clock=iter(range(10_000)).__next__, random=half)) as replica:
        entered.set()
        first = threading.Thread(target=bus.publish, args=(KEY, envelope(5)))
        first.start()
        while replica.peek() != "0.5":
            pass
        promptly(lambda: bus.publish(KEY, envelope(6)))
        assert promptly(replica.get) == "0.6"
        go_on.set()
        first.join(PATIENCE_S)
        assert replica.value == "0.9"


def test_an_async_refetch_is_refused_where_nobody_could_await_it() -> None:
    async def later() -> Envelope[str]:
        return envelope(1)

    class Later:
        async def __call__(self) -> Envelope[str]:
            return envelope(1)

    bus = InProcessTransport()
    with pytest.raises(UsageError, match="no event loop"):
        synced(A, bus, refetch=later)
    with synced(A, bus, refetch=Later()) as replica:
        assert "no event loop" in replica.reason
    assert_nothing_left(bus)


async def test_the_authority_of_another_loop_is_asked_as_well() -> None:
    async with InProcessTransport() as bus, authority(NOTES, bus) as owner:
        await owner.put("a", "text")

        def work() -> str:
            with synced(A, bus) as replica:
                return replica.value

        assert await asyncio.to_thread(work) == "text"


async def test_a_thread_that_would_have_to_answer_itself_is_told_so() -> None:
    """Made in a thread without a loop, and then read in the loop of the authority."""
    bus = InProcessTransport()
    always_later = Pace(clock=itertools.count(0.0, 10.0).__next__)
    replica = await asyncio.to_thread(lambda: synced(A, bus, pace=always_later))
    async with bus, authority(NOTES, bus) as owner:
        version = await owner.put("a", "text")
        bus.publish(KEY, envelope(9, "later", epoch=version.epoch + 1))
        with pytest.raises(UsageError, match="made without an event loop"):
            await replica.fresh()
        assert "on the thread that has to answer" in replica.reason
        assert replica.get() == "later"
    replica.close()


async def test_at_least_waits_for_what_is_published() -> None:
    bus = InProcessTransport()
    replica = await asyncio.to_thread(lambda: synced(A, bus, refetch=lambda: envelope(1, epoch=5)))
    waiting = asyncio.create_task(replica.at_least(Version(5, 2), PATIENCE_S))
    await asyncio.sleep(0)
    bus.publish(KEY, envelope(2, epoch=5))
    assert await waiting == "5.2"
    assert await replica.at_least(Version(4, 99), PATIENCE_S) == "5.2"
    replica.close()
