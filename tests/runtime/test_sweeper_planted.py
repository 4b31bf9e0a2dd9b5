"""Bugs on purpose in how the floor rises and who is told, each of which one of the tests of that must show."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pytest

from parasync.protocol import Catalogue, Mirror, Pulse
from parasync.protocol._holdings import Holdings
from parasync.protocol._proofs import Proofs
from parasync.runtime._desk import Desk
from parasync.runtime._heart import Heart
from parasync.runtime._ledger import Ledger
from parasync.runtime._mirroring import TOMBSTONES_MAX, Mirroring
from parasync.runtime._pen import Pen
from parasync.runtime._repairs import Repairs
from parasync.runtime._sweeper import Sweeper
from tests.protocol import test_mirror, test_pulse
from tests.protocol.mutants import Mutant
from tests.runtime import test_sweeper
from tests.simulation.planted import planted

pytestmark = pytest.mark.project

PLANTED: Final[tuple[tuple[Mutant, Callable[..., Any]], ...]] = (
    (
        Mutant(Heart, "_rise", "a floor is told when all below was sent", "settled_s > self._rising[1]", "True"),
        test_sweeper.test_a_floor_is_told_once_all_that_was_stored_below_it_was_sent,
    ),
    (
        Mutant(Heart, "_made", "a floor is told", "self._rise(settled_s)", "pass"),
        test_sweeper.test_the_floor_rises_in_time_and_everybody_forgets_together,
    ),
    (
        Mutant(
            Heart, "_looked", "a floor is told where nobody beats",
            "self._rise(self._oldest_s())", "pass",
        ),
        partial(test_sweeper.test_where_nothing_is_lost_a_mirror_asks_now_and_then_what_it_may_forget, TOMBSTONES_MAX + 1, 0),
    ),
    (
        Mutant(Ledger, "dead", "what the store forgets is told meanwhile", "unsent.get(key) or catalogue.get(key)", "None"),
        test_sweeper.test_until_then_answers_tell_what_the_store_has_forgotten,
    ),
    (
        Mutant(Desk, "_scan", "a scan tells the floor that is told", "first.head(floor)", "first.head(first.state.floor)"),
        test_sweeper.test_until_then_answers_tell_what_the_store_has_forgotten,
    ),
    (
        Mutant(Repairs, "_repaired", "what nobody remembers is told", "known < state.floor", "False"),
        test_sweeper.test_a_deletion_of_which_nobody_knew_and_that_was_dropped_is_told,
    ),
    (
        Mutant(
            Pulse, "is_past", "what was forgotten does not come back late",
            "position.version < (",
            "last is not None and position.version < (",
        ),
        test_pulse.test_what_was_deleted_at_the_floor_does_not_come_back_late,
    ),
    (
        Mutant(Catalogue, "raise_floor", "a catalogue forgets", "self.move(key, None)", "pass"),
        test_sweeper.test_the_floor_rises_in_time_and_everybody_forgets_together,
    ),
    (
        Mutant(Holdings, "_adopt", "a mirror forgets with the authority", "if version <= floor]", "if False]"),
        test_sweeper.test_the_floor_rises_in_time_and_everybody_forgets_together,
    ),
    (
        Mutant(Holdings, "_digest_at", "tombstones are compared above the floor", "floor <= self.floor", "True"),
        test_sweeper.test_the_floor_rises_in_time_and_everybody_forgets_together,
    ),
    (
        Mutant(Proofs, "_proven_by", "a beat that proves brings its floor", "self._adopt(beat.floor)", "pass"),
        test_mirror.test_a_floor_forgets_tombstones_and_drops_what_comes_late,
    ),
    (
        Mutant(Mirror, "request", "an ask carries the floor", "floor=self.floor", "floor=type(self.floor)(0, 0)"),
        test_mirror.test_what_was_saved_is_shown_and_not_proven,
    ),
    (
        Mutant(Mirror, "learn", "absent in a mirror is deleted at the floor", "floor=floor", "floor=type(floor)(0, 0)"),
        test_sweeper.test_a_reader_that_was_away_for_longer_hears_of_the_deletion,
    ),
    (
        Mutant(Pen, "_publish", "a deletion that jumps is no gap", "elif draft.kind is TOMBSTONE:", "elif False:"),
        test_sweeper.test_a_deletion_that_is_put_above_the_floor_is_no_gap,
    ),
    (
        Mutant(Mirroring, "_reconcile", "where nothing is lost a mirror forgets too", "> TOMBSTONES_MAX", "< 0"),
        partial(test_sweeper.test_where_nothing_is_lost_a_mirror_asks_now_and_then_what_it_may_forget, TOMBSTONES_MAX + 1, 0),
    ),
    (
        Mutant(Sweeper, "_look", "who is fenced drops nothing", " and self._office.serving", ""),
        test_sweeper.test_only_who_serves_drops_anything,
    ),
    (
        Mutant(Sweeper, "sweep", "who hangs is left behind", "asyncio.timeout(self._interval_s)", "asyncio.timeout(None)"),
        test_sweeper.test_a_store_that_hangs_is_left_behind,
    ),
    (
        Mutant(Sweeper, "close", "who was closed looks no more", "self._task.cancel()", "pass"),
        test_sweeper.test_who_was_closed_looks_no_more,
    ),
)  # fmt: skip


@pytest.mark.parametrize(("mutant", "test"), PLANTED, ids=lambda each: getattr(each, "rule", ""))
def test_a_planted_bug_is_found(mutant: Mutant, test: Callable[..., Any]) -> None:
    test()
    with planted(mutant), pytest.raises(Exception):  # noqa: B017  # whatever it is that the bug does
        test()
