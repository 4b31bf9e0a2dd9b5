"""A lock that those who end something never wait for."""

from __future__ import annotations

from functools import partial

import pytest

from parasync.runtime._locks import NotedLock
from tests.runtime.kit import in_threads, promptly


def test_a_note_is_carried_out_at_once_where_nobody_holds_the_lock() -> None:
    lock, done = NotedLock(), []
    lock.note(lambda: done.append(lock.raw.locked()))
    assert done == [True], "and under the lock"
    assert not lock.raw.locked()


def test_the_holder_carries_out_what_was_noted_meanwhile() -> None:
    lock, done = NotedLock(), []
    with lock:
        lock.note(lambda: done.append("same thread"))
        promptly(lambda: lock.note(lambda: done.append("other thread")))
        assert done == []
    assert done == ["same thread", "other thread"]
    assert not lock.raw.locked()


def test_also_when_the_change_failed() -> None:
    lock, done = NotedLock(), []

    def change() -> None:
        with lock:
            lock.note(lambda: done.append(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert done == [1]


def test_a_note_may_be_left_by_a_note() -> None:
    lock, done = NotedLock(), []
    lock.note(lambda: lock.note(lambda: done.append(1)))
    assert done == [1]


def test_what_a_note_refers_to_is_destroyed_after_the_lock() -> None:
    lock, held = NotedLock(), []

    class Precious:
        def __del__(self) -> None:
            held.append(lock.raw.locked())

    with lock:
        lock.note(partial(id, Precious()))
    assert held == [False]


def test_no_note_is_lost_between_threads() -> None:
    lock, count = NotedLock(), [0]

    def increment() -> None:
        count[0] += 1

    def leave_notes() -> None:
        for _ in range(2_000):
            lock.note(increment)

    def change() -> None:
        for _ in range(2_000):
            with lock:
                increment()

    in_threads(leave_notes, leave_notes, change, change)
    assert count == [8_000]
    assert not lock.notes
