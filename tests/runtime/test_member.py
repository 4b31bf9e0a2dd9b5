"""Whose turn it is to call the listeners of a replica, and in which order they hear of what happened."""

from __future__ import annotations

import pytest

from parasync import Change, Envelope, InProcessTransport, Topic, Version, synced
from parasync.runtime._member import LISTENER_PENDING_MAX, Call, Listener, Member, enlist, take_turn

NUMBERS = Topic("number", int)
KEY = NUMBERS["1"].key


def member() -> Member[int]:
    with InProcessTransport() as bus, synced(NUMBERS["1"], bus) as replica:
        return replica._member


def change(sequence: int) -> Change[int]:
    return Change(sequence - 1, sequence, Version(0, sequence), "live", 0, False, {})


def test_a_change_that_waits_is_called_before_a_newer_one_although_nobody_has_the_turn() -> None:
    """Who gives the turn back has not looked yet at what waits; who comes in between must not overtake it."""
    replica, listener, calls = member(), Listener(print), list[Call]()
    replica.pending.append((change(1), listener))
    enlist(calls, replica, listener, change(2))
    assert calls == [(change(1), [replica])]
    assert list(replica.pending) == [(change(2), listener)]


def test_while_another_thread_has_the_turn_changes_wait() -> None:
    replica, listener, calls = member(), Listener(print), list[Call]()
    replica.turn = listener
    enlist(calls, replica, listener, change(1))
    enlist(calls, replica, listener, change(2))
    assert calls == []
    replica.turn = None
    take_turn(calls, replica)
    assert calls == [(change(1), [replica])]


def test_beyond_the_limit_the_newest_changes_become_one_that_says_so() -> None:
    replica, listener = member(), Listener(print)
    replica.turn = listener
    for sequence in range(1, LISTENER_PENDING_MAX + 3):
        enlist([], replica, listener, change(sequence))
    assert len(replica.pending) == LISTENER_PENDING_MAX
    last = replica.pending[-1][0]
    assert (last.old, last.new, last.skipped) == (LISTENER_PENDING_MAX - 1, LISTENER_PENDING_MAX + 2, 2)


def test_who_begins_to_listen_is_not_told_of_what_was_before() -> None:
    replica, first, second = member(), Listener(print), Listener(print)
    replica.turn = first
    for sequence in range(1, LISTENER_PENDING_MAX + 2):
        enlist([], replica, first, change(sequence))
    enlist([], replica, second, change(LISTENER_PENDING_MAX + 2))
    assert [(waiting.skipped, who) for waiting, who in list(replica.pending)[-2:]] == [(1, first), (0, second)]


@pytest.mark.parametrize("listeners", [1, 2, 3])
def test_each_listener_hears_everything_in_order(listeners: int) -> None:
    heard: list[list[int | None]] = [[] for _ in range(listeners)]
    with InProcessTransport() as bus, synced(NUMBERS["1"], bus) as replica:
        for each in heard:
            replica.subscribe(lambda change, each=each: each.append(change.new))
        for sequence in range(1, 6):
            bus.publish(KEY, Envelope(sequence, "1.0", sequence))
    assert heard == [[1, 2, 3, 4, 5]] * listeners


def test_a_listener_that_is_ended_by_the_one_before_is_not_called() -> None:
    heard = []
    with InProcessTransport() as bus, synced(NUMBERS["1"], bus) as replica:
        replica.subscribe(lambda _: end())
        end = replica.subscribe(heard.append)
        bus.publish(KEY, Envelope(1, "1.0", 1))
    assert heard == []


def test_a_replica_that_a_listener_closes_calls_nobody_any_more() -> None:
    heard = []
    with InProcessTransport() as bus, synced(NUMBERS["1"], bus) as replica:
        replica.subscribe(lambda _: replica.close())
        replica.subscribe(heard.append)
        bus.publish(KEY, Envelope(1, "1.0", 1))
    assert heard == []


def test_listeners_that_raise_are_counted_one_by_one_and_the_others_are_called() -> None:
    heard = []
    with InProcessTransport() as bus, synced(NUMBERS["1"], bus) as replica:
        replica.subscribe(lambda _: 1 / 0)
        replica.subscribe(heard.append)
        replica.subscribe(lambda _: 1 / 0)
        bus.publish(KEY, Envelope(1, "1.0", 1))
        assert replica.stats.handler_errors == 2
    assert len(heard) == 1


def test_what_must_end_the_program_is_raised_once_all_were_called_and_counted_once() -> None:
    heard = []

    def stop(_: Change[int]) -> None:
        raise KeyboardInterrupt

    with InProcessTransport() as bus, synced(NUMBERS["1"], bus) as replica, synced(NUMBERS["1"], bus) as other:
        replica.subscribe(stop)
        replica.subscribe(heard.append)
        other.subscribe(heard.append)
        with pytest.raises(KeyboardInterrupt):
            bus.publish(KEY, Envelope(1, "1.0", 1))
        assert replica.stats.handler_errors == 1
    assert len(heard) == 2
