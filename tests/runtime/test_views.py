"""The plain views that users are shown, and how two steps become one."""

from __future__ import annotations

import attrs
import pytest

from parasync import Envelope, Kind, Version
from parasync.protocol import Held
from parasync.runtime._views import Change, change_between, merge
from tests.runtime.kit import envelope, tombstone


def held(of: Envelope[str]) -> Held[str]:
    return Held(of, of.value)


@pytest.mark.parametrize(
    ("old", "new", "skipped"),
    [
        (None, envelope(7), 0),
        (envelope(1), envelope(2), 0),
        (envelope(1), envelope(5), 3),
        (tombstone(0), envelope(1, epoch=7), 0),
        (tombstone(0), envelope(5, epoch=7), 4),
        (envelope(5), envelope(5), None),
        (envelope(5), envelope(3), None),
        (envelope(1), envelope(2, epoch=1), None),
        (envelope(9, epoch=1), envelope(2, epoch=2), None),
    ],
)
def test_a_step_says_how_many_versions_lie_between(old: Envelope[str] | None, new: Envelope[str], skipped: int | None) -> None:
    change: Change[str] = change_between(None if old is None else held(old), held(new), "live")
    assert change.skipped == skipped
    assert (change.old, change.new) == (None if old is None else old.value, new.value)
    assert (change.version, change.cause, change.deleted) == (new.version, "live", False)


def test_a_deletion_is_told_apart_from_the_value_none() -> None:
    gone: Change[str] = change_between(held(envelope(1)), held(tombstone(2)), "answer")
    assert (gone.old, gone.new, gone.deleted, gone.skipped) == ("0.1", None, True, 0)
    back: Change[str] = change_between(held(tombstone(2)), held(envelope(3)), "live")
    assert (back.old, back.new, back.deleted) == (None, "0.3", False)
    none: Change[None] = change_between(None, Held(Envelope(None, "1.0", 1), None), "live")
    assert (none.new, none.deleted) == (None, False)
    assert Kind.TOMBSTONE is held(tombstone(2)).kind


def test_a_step_carries_what_the_writer_attached() -> None:
    assert change_between(None, held(envelope(1, meta={"by": "ada"})), "live").meta == {"by": "ada"}


@pytest.mark.parametrize(
    ("steps", "skipped"), [([1, 2, 3], 1), ([1, 4, 9], 7), ([1, 2, (1, 3)], None), ([(1, 1), 2, 3], None)]
)
def test_two_steps_as_one_lose_no_count(steps: list[int | tuple[int, int]], skipped: int | None) -> None:
    envelopes = [envelope(step) if isinstance(step, int) else envelope(step[1], epoch=step[0]) for step in steps]
    first, second, third = map(held, envelopes)
    one: Change[str] = merge(change_between(first, second, "live"), change_between(second, third, "answer"))
    assert (one.old, one.new, one.version, one.cause) == (first.value, third.value, third.version, "answer")
    assert one.skipped == skipped


def test_a_first_value_merged_counts_what_was_left_out() -> None:
    first: Change[str] = change_between(None, held(envelope(7)), "since")
    assert merge(first, change_between(held(envelope(7)), held(envelope(8)), "live")).skipped == 1


def test_a_step_to_nothing_and_the_first_ever_count_as_one() -> None:
    first: Change[str] = change_between(None, held(tombstone(0)), "answer")
    assert merge(first, change_between(held(tombstone(0)), held(envelope(5, epoch=7)), "live")).skipped == 5


@pytest.mark.parametrize(("again", "skipped"), [(envelope(3), 1), (envelope(9), None), (envelope(3, epoch=1), None)])
def test_what_came_after_a_forgotten_deletion_nobody_counts(again: Envelope[str], skipped: int | None) -> None:
    deleted: Change[str] = change_between(held(envelope(1)), held(tombstone(2)), "live")
    assert merge(deleted, change_between(None, held(again), "live")).skipped == skipped


def test_merging_changes_neither() -> None:
    first: Change[str] = change_between(held(envelope(1)), held(envelope(2)), "live")
    second: Change[str] = change_between(held(envelope(2)), held(envelope(3)), "live")
    before = attrs.evolve(first), attrs.evolve(second)
    merge(first, second)
    assert (first, second) == before
    assert merge(first, second).version == Version(0, 3)
