"""Bugs on purpose in what an authority keeps of its objects, each of which some life of an authority must show."""

from __future__ import annotations

from functools import partial
from typing import Final

import pytest

from parasync import InProcessTransport
from parasync.protocol import Catalogue, Pulse
from parasync.runtime._desk import Desk
from parasync.runtime._heart import Heart
from parasync.runtime._ledger import Ledger
from parasync.runtime._office import Office
from parasync.runtime._pen import Pen
from parasync.runtime._repairs import Repairs
from parasync.runtime._scanning import Page
from parasync.testing import run
from tests.beating import BeatingTransport
from tests.protocol.mutants import Mutant
from tests.runtime import test_beats, test_heart, test_scanning, test_stock
from tests.runtime.test_stock import a_life_or_two
from tests.simulation.planted import planted

pytestmark = pytest.mark.project

SEEDS: Final = range(200)
"""So many lives must be enough for each."""

PLANTED: Final = (
    Mutant(
        Catalogue, "move", "a version takes the place of the one before",
        "self.digest.move(data, number, old",
        "self.digest.move(data, number, None",
    ),
    Mutant(
        Catalogue, "kept", "tombstones are objects like all others",
        "and position.version <= self.floor",
        "",
    ),
    Mutant(
        Office, "_catalogue_of", "stock is taken anew for each epoch",
        "Catalogue() if self._bus is None",
        "Catalogue() if self._bus is None else self.pulse.catalogue if self.pulse",
    ),
    Mutant(Pulse, "sent", "what is sent moves in the catalogue", "self.catalogue.move(key, position)", "pass"),
    Mutant(Heart, "_made", "what is published is folded in", "pulse.sent(key, position)", "pass"),
    Mutant(Heart, "_made", "what was published after a beat fills the next one", "self.room -= len(self.published)", "pass"),
    Mutant(Heart, "_gather", "what waits is as old as its write", ", self._oldest_s())", ")"),
    Mutant(Heart, "_made", "the store was not asked in this life", "self._office.pulse is not pulse or ", ""),
    Mutant(Pen, "_note", "a beat goes out once it is full", "self._heart.beat_early()", "pass"),
    Mutant(Ledger, "_unsent", "what no beat has told of yet is stored all the same", "unsent |= ", "_ = "),
    Mutant(Heart, "lag_s", "what is under way may be missing", "max(0.0, ", "min(0.0, "),
    Mutant(Desk, "_scan", "what was read in another life stands in another answer", "found.epoch == first.epoch", "True"),
    Mutant(Page, "ask", "what is not named stands at the floor of the asker", "self._other", "None"),
    Mutant(Page, "takes", "the first of an answer goes whatever it takes", "self.keys and ", ""),
    Mutant(Page, "_outcome", "what was named and is nowhere is absent", "key in self._named", "False"),
    Mutant(Repairs, "_repaired", "a repair that comes late takes nothing back", "known in (None, before)", "True"),
)  # fmt: skip



def slow_buses() -> None:
    """Some of them, each slow in its own way."""
    for seed in range(20):
        with pytest.MonkeyPatch.context() as patch:
            test_heart.test_however_slow_the_bus_no_beat_has_to_leave_out_what_was_sent_since_the_last(seed, patch)


BY_NAME = {
    "what was published after a beat fills the next one": slow_buses,
    "what waits is as old as its write": (
        test_heart.test_a_write_that_was_under_way_for_long_and_waits_to_be_sent_is_not_spoken_for
    ),
    "the store was not asked in this life": (
        test_heart.test_who_was_fenced_and_the_next_life_say_nothing_of_what_was_published_before
    ),
    "a beat goes out once it is full": test_beats.test_a_flood_over_more_objects_than_a_beat_names_is_no_reason_to_ask,
    "what no beat has told of yet is stored all the same": test_scanning.test_what_waits_to_be_sent_is_stored_all_the_same,
    "what is under way may be missing": test_scanning.test_a_write_under_way_may_be_missing_and_the_answer_says_so,
    "what was read in another life stands in another answer": test_scanning.test_another_life_gives_another_answer,
    "what is not named stands at the floor of the asker": test_scanning.test_what_is_not_named_stands_at_the_floor_of_the_asker,
    "the first of an answer goes whatever it takes": test_scanning.test_an_object_that_fills_a_message_goes_alone,
    "what was named and is nowhere is absent": test_scanning.test_what_is_nowhere_is_absent_and_what_is_the_same_is_not_told,
    "a repair that comes late takes nothing back": test_stock.test_a_repair_that_comes_late_takes_nothing_back,
}
"""What only one situation shows."""


def some_lives() -> None:
    """All of them, over what loses and what does not."""
    for seed in SEEDS:
        for bus_of in (BeatingTransport, InProcessTransport):
            run(partial(one_life, bus_of, seed))


async def one_life(bus_of: type[InProcessTransport], seed: int) -> None:
    async with bus_of() as bus:
        await a_life_or_two(seed, bus)


@pytest.mark.parametrize("mutant", PLANTED, ids=lambda mutant: mutant.rule)
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    with planted(mutant), pytest.raises((AssertionError, IndexError)):
        BY_NAME.get(mutant.rule, some_lives)()
