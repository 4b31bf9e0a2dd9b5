"""Who calls the listeners of a replica, and what happens to changes that come faster than they are heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from parasync import Change, Version
from parasync.protocol import NO_META, Backoff
from parasync.runtime._member import LISTENER_PENDING_MAX, Call, Listener, Member, enlist, report, take_turn
from tests.runtime.kit import half


def member() -> Member[str]:
    return Member("note:a", lambda envelope: envelope.value, Backoff(1, 1, half), lossless=True, askable=False, gap="refetch",
                  stale_after_s=1.0)  # fmt: skip


def change(sequence: int) -> Change[str]:
    return Change(f"{sequence - 1}", f"{sequence}", Version(0, sequence), "live", 0, deleted=False, meta=NO_META)


def sequences(changes: Iterable[tuple[Change[str], Any]]) -> list[int]:
    return [change.version.sequence for change, _ in changes]


def listened(*calls: Callable[[Change[str]], None]) -> Member[str]:
    made = member()
    for call in calls:
        made.add(Listener(call))
    return made


def enlist_all(busy: Member[str], *numbers: int) -> list[Call]:
    calls: list[Call] = []
    for number in numbers:
        assert busy.listener is not None
        enlist(calls, busy, busy.listener, change(number))
    return calls


def test_the_first_takes_the_turn_and_later_ones_leave_their_changes_to_it() -> None:
    busy = listened(print)
    assert sequences(enlist_all(busy, 1, 2, 3)) == [1]
    assert sequences(busy.pending) == [2, 3]
    assert busy.turn is busy.listener


def test_who_finds_the_turn_given_back_takes_the_oldest_change() -> None:
    """The one that gave it back is about to come for what is pending; to overtake it would turn the order around."""
    busy = listened(print)
    enlist_all(busy, 1, 2)
    busy.turn = None
    assert sequences(enlist_all(busy, 3)) == [2]
    assert sequences(busy.pending) == [3]
    calls: list[Call] = []
    take_turn(calls, busy)
    assert calls == [], "somebody has it"


def test_beyond_the_limit_the_newest_are_merged() -> None:
    busy = listened(print)
    total = LISTENER_PENDING_MAX + 51
    enlist_all(busy, *range(1, total + 1))
    assert len(busy.pending) == LISTENER_PENDING_MAX
    last = busy.pending[-1][0]
    assert (last.old, last.new, last.skipped) == (f"{LISTENER_PENDING_MAX}", f"{total}", total - LISTENER_PENDING_MAX - 1)
    assert 1 + sum((waiting.skipped or 0) + 1 for waiting, _ in busy.pending) == total


def test_who_began_to_listen_late_is_not_told_of_what_came_before() -> None:
    early: list[Change[str]] = []
    late: list[Change[str]] = []
    busy = listened(early.append)
    enlist_all(busy, *range(1, LISTENER_PENDING_MAX + 3))
    busy.add(Listener(late.append))
    enlist_all(busy, LISTENER_PENDING_MAX + 3)
    for waiting, listener in busy.pending:
        listener.call(waiting)
    assert [(told.old, told.skipped) for told in late] == [(f"{LISTENER_PENDING_MAX + 2}", 0)]
    assert sum((told.skipped or 0) + 1 for told in early) == LISTENER_PENDING_MAX + 2


def test_listeners_come_and_go() -> None:
    told: list[str] = []
    busy = member()
    assert busy.listener is None
    listeners = [Listener(lambda _, name=name: told.append(name)) for name in "abc"]
    for listener in listeners:
        busy.add(listener)
    assert busy.listener is not None
    busy.listener.call(change(1))
    busy.remove(listeners[1])
    busy.listener.call(change(2))
    listeners[0].active = False
    busy.listener.call(change(3))
    busy.remove(listeners[0])
    busy.listener.call(change(4))
    busy.remove(listeners[2])
    assert told == [*"abc", *"ac", "c", "c"]
    assert busy.listener is None


def test_of_several_one_that_raises_stops_no_other() -> None:
    told: list[Any] = []

    def fail(_: object) -> None:
        raise asyncio.CancelledError

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    busy = listened(fail, interrupt, told.append)
    assert busy.listener is not None
    with pytest.raises(KeyboardInterrupt):
        busy.listener.call(change(1))
    assert len(told) == 1
    assert busy.handler_errors == 1


def test_closing_silences_every_listener_at_once() -> None:
    told: list[Any] = []
    busy = listened(told.append, told.append)
    combined = busy.listener
    busy.close()
    assert combined is not None
    combined.call(change(1))
    assert told == []
    assert busy.closed


def test_what_a_listener_raises_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    broken = member()
    with caplog.at_level(logging.ERROR, "parasync"):
        assert report(broken, ValueError()) is None
    assert broken.handler_errors == 1
    assert "'note:a' raised ValueError" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_what_must_end_the_program_is_handed_back(error: BaseException) -> None:
    broken = member()
    assert report(broken, error) is error
    assert broken.handler_errors == 1


def test_a_broken_logging_set_up_silences_nobody() -> None:
    def broken_filter(record: logging.LogRecord) -> bool:
        raise ValueError

    logger = logging.getLogger("parasync")
    logger.addFilter(broken_filter)
    try:
        assert report(member(), ValueError()) is None
    finally:
        logger.removeFilter(broken_filter)
