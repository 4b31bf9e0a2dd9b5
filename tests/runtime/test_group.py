"""Replicas of one key: one subscription, every step in order, and nobody harmed by the callbacks of others."""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from parasync import Change, InProcessTransport, Pace, Topic, Version, synced
from parasync.errors import ParseError
from tests.runtime.kit import (
    KEY,
    PATIENCE_S,
    A,
    assert_nothing_left,
    envelope,
    in_threads,
    listening,
    promptly,
    served,
    tombstone,
    versions,
)


def watched(count: int, bus: InProcessTransport, **options: Any) -> tuple[list[synced[str]], list[list[Change[str]]]]:
    """Replicas, and what a listener of each was told."""
    replicas = list(served(count, bus, **options))
    told: list[list[Change[str]]] = [[] for _ in replicas]
    for replica, changes in zip(replicas, told, strict=True):
        replica.subscribe(changes.append)
    return replicas, told


def end(*replicas: synced[Any]) -> None:
    for replica in replicas:
        replica.close()


def test_all_replicas_of_a_key_share_one_subscription() -> None:
    bus = InProcessTransport()
    replicas = served(3, bus)
    assert bus.key_count() == 1
    for replica in replicas:
        assert bus.key_count() == 1
        replica.close()
    assert_nothing_left(bus)


def test_replicas_that_start_apart_show_the_same_and_tell_the_same() -> None:
    """Whatever they came from: the shortcut for replicas in lockstep leads where the rules lead."""
    bus = InProcessTransport()
    seeds = [None, envelope(1), envelope(3), envelope(3, "other"), envelope(9), tombstone(2)]
    still = Pace(clock=lambda: 0.0)
    replicas = [synced(A, bus, seed=seed, pace=still) for seed in seeds]
    lone = []
    for seed in seeds:
        alone = InProcessTransport()
        lone.append((alone, synced(A, alone, seed=seed, pace=still)))
    told: list[list[Any]] = [[] for _ in seeds]
    told_alone: list[list[Any]] = [[] for _ in seeds]
    for number, replica in enumerate(replicas):
        replica.subscribe(told[number].append)
        lone[number][1].subscribe(told_alone[number].append)
    rng = random.Random(7)
    stream = [
        envelope(rng.randrange(1, 30), epoch=rng.choice([0, 0, 0, 1]), after=rng.choice([None, None, 0])) for _ in range(60)
    ]
    stream += [tombstone(31, epoch=1), envelope(32, epoch=1), envelope(33, 17, epoch=1), envelope(34, epoch=1)]
    for heard in stream:
        bus.publish(KEY, heard)
        for alone, _ in lone:
            alone.publish(KEY, heard)
    for number, (_, one) in enumerate(lone):
        assert replicas[number].version == one.version
        assert replicas[number].peek() == one.peek()
        assert replicas[number].stats == one.stats
        assert replicas[number].status == one.status
        assert told[number] == told_alone[number]
        one.close()
    end(*replicas)


def test_replicas_in_lockstep_share_one_reading() -> None:
    read = []

    def parse(plain: object) -> list[object]:
        read.append(plain)
        return [plain]

    topic = Topic("note", list[object], parse=parse)
    bus = InProcessTransport()
    replicas = [synced(topic["a"], bus, seed=envelope(1)) for _ in range(5)]
    read.clear()
    for sequence in (2, 3, 4):
        bus.publish(KEY, envelope(sequence, sequence))
    assert read == [2, 3, 4]
    assert all(replica.value is replicas[0].value for replica in replicas)
    end(*replicas)


def test_replicas_with_other_gates_read_for_themselves() -> None:
    numbers: Topic[int] = Topic("note", int, version="1.0")
    bus = InProcessTransport()
    with synced(A, bus) as text, synced(numbers["a"], bus) as number:
        bus.publish(KEY, envelope(1, "one"))
        bus.publish(KEY, envelope(2, 2))
        assert (text.value, number.value) == ("one", 2)
        assert (text.stats.parse_errors, number.stats.parse_errors) == (1, 1)


def test_a_conflict_is_one_only_for_those_who_hold_other_content() -> None:
    bus = InProcessTransport()
    held = {text: envelope(5, text) for text in ("this", "that")}
    with synced(A, bus, refetch=lambda: held["this"]) as this, synced(A, bus, refetch=lambda: held["that"]) as that:
        for text, conflicts in (("this", (0, 1)), ("that", (1, 1))):
            bus.publish(KEY, envelope(5, text))
            assert (this.value, that.value) == ("this", "that")
            assert (this.stats.conflicts, that.stats.conflicts) == conflicts


def test_listeners_are_called_after_all_replicas_of_the_key_show_the_version() -> None:
    bus = InProcessTransport()
    replicas = served(3, bus)
    seen = []
    for replica in replicas:
        replica.subscribe(lambda change: seen.append([other.version for other in replicas]))
    bus.publish(KEY, envelope(1))
    assert seen == [[Version(0, 1)] * 3] * 3
    end(*replicas)


@pytest.mark.parametrize("error", [ValueError(), asyncio.CancelledError(), GeneratorExit()])
def test_a_listener_that_raises_harms_nobody(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    bus = InProcessTransport()
    (broken, good), (_, told) = watched(2, bus)

    def fail(_: object) -> None:
        raise error

    broken.subscribe(fail)
    after: list[Any] = []
    broken.subscribe(after.append)
    with caplog.at_level(logging.CRITICAL, "parasync"):
        for sequence in (1, 2):
            bus.publish(KEY, envelope(sequence))
    assert versions(after) == versions(told) == [(0, 1), (0, 2)]
    assert (broken.stats.handler_errors, good.stats.handler_errors) == (2, 0)
    end(broken, good)


def test_what_must_end_the_program_reaches_the_publisher_when_the_others_were_served() -> None:
    bus = InProcessTransport()
    (broken, good), (_, told) = watched(2, bus)
    errors = [KeyboardInterrupt()]

    def fail(_: object) -> None:
        if errors:
            raise errors.pop()

    broken.subscribe(fail)
    with pytest.raises(KeyboardInterrupt):
        bus.publish(KEY, envelope(1))
    bus.publish(KEY, envelope(2))
    assert versions(told) == [(0, 1), (0, 2)]
    end(broken, good)


def test_a_callback_may_close_its_replica_and_is_not_called_again() -> None:
    bus = InProcessTransport()
    (replica, other), (told, others) = watched(2, bus)
    replica.subscribe(lambda change: replica.close())
    later: list[Any] = []
    replica.subscribe(later.append)
    bus.publish(KEY, envelope(1))
    bus.publish(KEY, envelope(2))
    assert versions(told) == [(0, 1)]
    assert later == [], "closing is silent at once, also for those who stand behind"
    assert versions(others) == [(0, 1), (0, 2)]
    assert replica.value == "0.1"
    other.close()
    assert_nothing_left(bus)


def test_a_callback_may_close_all_others() -> None:
    bus = InProcessTransport()
    replicas, told = watched(3, bus)
    replicas[0].subscribe(lambda change: end(*replicas))
    bus.publish(KEY, envelope(1))
    assert [versions(changes) for changes in told] == [[(0, 1)], [], []]
    assert_nothing_left(bus)


def test_a_callback_may_subscribe_and_unsubscribe() -> None:
    bus = InProcessTransport()
    late: list[Any] = []
    with synced(A, bus) as replica:
        stops: list[Callable[[], None]] = []

        def turn(change: Change[str]) -> None:
            stops.pop()()
            replica.subscribe(late.append)

        stops.append(replica.subscribe(turn))
        for sequence in (1, 2, 3):
            bus.publish(KEY, envelope(sequence))
    assert versions(late) == [(0, 2), (0, 3)]


def test_an_unsubscribed_listener_is_not_called_by_the_delivery_under_way() -> None:
    bus = InProcessTransport()
    with synced(A, bus) as replica:
        told: list[Any] = []
        stops: list[Callable[[], None]] = []
        replica.subscribe(lambda change: stops[0]())
        stops.append(replica.subscribe(told.append))
        bus.publish(KEY, envelope(1))
        assert told == []
        stops[0]()


def test_a_callback_may_publish_and_make_replicas() -> None:
    bus = InProcessTransport()
    made = []
    with synced(A, bus) as replica:
        told: list[Any] = []
        replica.subscribe(told.append)

        def answer(change: Change[str]) -> None:
            if change.version.sequence < 5:
                bus.publish(KEY, envelope(change.version.sequence + 1))
                made.append(synced(A, bus))

        replica.subscribe(answer)
        bus.publish(KEY, envelope(1))
        assert versions(told) == [(0, sequence) for sequence in range(1, 6)]
        assert [late.version for late in made] == [Version(0, 5)] * 4
        end(*made)
    assert_nothing_left(bus)


def test_a_listener_that_blocks_delays_only_the_later_steps_of_its_own_replica() -> None:
    bus = InProcessTransport()
    (slow, quick), (_, told) = watched(2, bus)
    entered, go_on = threading.Event(), threading.Event()
    heard: list[Any] = []

    def block(change: Change[str]) -> None:
        entered.set()
        assert go_on.wait(PATIENCE_S)
        heard.append(change)

    slow.subscribe(block)
    first = threading.Thread(target=bus.publish, args=(KEY, envelope(1)))
    first.start()
    assert entered.wait(PATIENCE_S)
    for sequence in (2, 3):
        promptly(lambda sequence=sequence: bus.publish(KEY, envelope(sequence)))
        assert slow.version == quick.version == Version(0, sequence)
    assert heard == []
    assert versions(told) == [(0, 2), (0, 3)] or versions(told) == []
    go_on.set()
    first.join(PATIENCE_S)
    assert versions(heard) == [(0, 1), (0, 2), (0, 3)]
    assert versions(told)[-1] == (0, 3)
    end(slow, quick)


def test_replaced_values_are_destroyed_after_the_lock_and_may_close_replicas() -> None:
    """A destructor is user code like any other: under the lock it would wait for the lock."""
    replicas: list[synced[Any]] = []
    topic = Topic("note", object, version="1.0", parse=lambda plain: plain)

    class Last:
        def __del__(self) -> None:
            while replicas:
                replicas.pop().close()

    bus = InProcessTransport()
    replicas += [synced(topic["a"], bus, seed=envelope(number, Last())) for number in (1, 2, 3)]
    survivor = synced(topic["a"], bus)
    promptly(lambda: bus.publish(KEY, envelope(4, "next")))
    assert replicas == []
    assert survivor.value == "next"
    survivor.close()
    assert_nothing_left(bus)


def test_closing_and_unsubscribing_never_wait_for_the_lock_of_the_group() -> None:
    """The collector may run them on the thread that holds it."""
    bus = InProcessTransport()
    replica, other = served(2, bus)
    stop = replica.subscribe(print)
    group = replica._seat.group

    def inside() -> None:
        with group._lock:
            stop()
            replica.close()
            assert replica.status.value == "closed"

    promptly(inside)
    assert replica not in group.members
    assert listening(replica) == 0
    assert len(group.members) == 1
    other.close()
    assert_nothing_left(bus)


def test_a_reader_that_breaks_its_word_stops_no_other() -> None:
    """Gates raise two errors only; should one raise another, those of other types are served all the same."""
    bus = InProcessTransport()
    with synced(A, bus) as plain, synced(A, bus) as broken:

        def read(envelope: object) -> str:
            raise MemoryError

        broken._member.read = read  # type: ignore[method-assign]
        bus.publish(KEY, envelope(1))
        assert plain.value == "0.1"
        assert broken.peek() is None


def test_a_version_that_only_one_replica_missed_is_read_for_it_alone() -> None:
    """The reading is made for the first replica; who stands behind it needs another."""
    bus = InProcessTransport()
    with synced(A, bus, seed=envelope(5)) as ahead, synced(A, bus, seed=envelope(1)) as behind:
        bus.publish(KEY, envelope(4))
        assert (ahead.value, behind.value) == ("0.5", "0.4")
        bus.publish(KEY, envelope(5, "same version"))
        assert (ahead.value, behind.value) == ("0.5", "same version")


def test_a_refused_version_is_refused_by_all_and_named_by_all() -> None:
    bus = InProcessTransport()
    replicas, told = watched(3, bus, seed=envelope(1))
    bus.publish(KEY, envelope(2, 17))
    bus.publish(KEY, envelope(3))
    for replica, changes in zip(replicas, told, strict=True):
        assert replica.stats.parse_errors == 1
        assert [(change.old, change.new, change.skipped) for change in changes] == [("0.1", "0.3", 1)]
    end(*replicas)


def test_two_threads_leave_no_replica_behind_the_newest_and_call_listeners_in_order() -> None:
    """P1, as seen from outside; the seed draws who publishes what."""
    bus = InProcessTransport()
    replicas, told = watched(3, bus)
    shuffled = list(range(1, 1_501))
    random.Random(11).shuffle(shuffled)
    backwards: list[Any] = []

    def publish(mine: list[int]) -> Callable[[], None]:
        def run() -> None:
            for sequence in mine:
                bus.publish(KEY, envelope(sequence))
                for replica in replicas:
                    if replica.version is None or replica.version.sequence < sequence:
                        backwards.append((replica.version, sequence))

        return run

    def read() -> None:
        last = [Version(0, 0)] * len(replicas)
        while any(version != Version(0, 1_500) for version in last):
            for number, replica in enumerate(replicas):
                snapshot = replica.snapshot()
                if snapshot.version is not None:
                    if snapshot.version < last[number] or snapshot.value != f"0.{snapshot.version.sequence}":
                        backwards.append(snapshot)
                    last[number] = snapshot.version

    in_threads(*(publish(shuffled[number::3]) for number in range(3)), read)
    assert backwards == []
    for changes in told:
        seen = versions(changes)
        assert seen == sorted(seen)
        assert seen[-1] == (0, 1_500)
        assert sum(change.skipped + 1 for change in changes) == 1_500 - seen[0][1] + 1
    end(*replicas)


def test_the_gate_runs_without_the_lock() -> None:
    """A gate that waits for another thread which publishes the same key would wait for ever under it."""
    bus = InProcessTransport()
    inner: list[Any] = []

    def parse(plain: object) -> object:
        if plain == "outer" and not inner:
            inner.append(1)
            promptly(lambda: bus.publish(KEY, envelope(2, "inner")))
        if plain == "bad":
            raise ParseError("bad")
        return plain

    topic = Topic("note", object, version="1.0", parse=parse)
    with synced(topic["a"], bus) as replica:
        bus.publish(KEY, envelope(1, "outer"))
        assert replica.value == "inner"
        assert replica.stats.ignored_stale == 1
