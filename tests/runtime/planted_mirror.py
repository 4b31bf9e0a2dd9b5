"""Bugs on purpose in the mirror and what drives it, each with the test that must find it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from parasync.protocol._round import Round
from parasync.runtime import _mirror_file
from parasync.runtime._index import _Shelves
from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._mirror_stream import MirrorChanges
from parasync.runtime._mirror_waits import Waits
from parasync.runtime._mirrored import Mirrored
from parasync.runtime._mirroring import Mirroring
from tests.protocol.mutants import Mutant
from tests.runtime import test_mirror as found_by
from tests.runtime import test_mirror_ahead as ahead


class Planted(NamedTuple):
    """A bug, and who finds it."""

    mutant: Mutant
    test: Callable[..., None]


def planted(test: Callable[..., None], owner: Any, function: str, rule: str, text: str, instead: str) -> Planted:
    return Planted(Mutant(owner, function, rule, text, instead), test)


PLANTED: Final = (
    planted(
        found_by.test_the_floor_of_a_lost_history_reaches_no_version_of_it,
        Waits, "_at", "a floor is a version of no object", "and key in core.held", "",
    ),
    planted(
        found_by.test_before_the_first_load_nobody_knows_what_is_not_there,
        Mirrored, "_check_ready", "nothing is read before it is known", "not self._core.loaded", "False",
    ),
    planted(
        found_by.test_a_pattern_chooses_those_whose_ids_begin_so,
        MirrorSeat, "deliver", "what a pattern does not choose is not heard", "self.core.concerns(key)", "True",
    ),
    planted(
        found_by.test_what_was_lost_without_a_trace_is_found_by_a_beat,
        MirrorSeat, "beaten", "beats are judged",
        "self.core.beat_received(beat, now_s=self.pace.clock(), grace_s=self.pace.beat_grace_s)", "pass",
    ),
    planted(
        found_by.test_what_was_lost_without_a_trace_is_found_by_a_beat,
        Mirroring, "_run", "what a beat told of is looked for again", "self._seat.look_again(now_s)", "pass",
    ),
    planted(
        found_by.test_an_interruption_and_a_probe_are_reasons_to_ask,
        MirrorSeat, "interrupted", "an interruption is a reason to ask", "self.doubt(reason)", "pass",
    ),
    planted(
        found_by.test_where_nobody_beats_a_round_is_due_once_in_an_interval,
        Mirroring, "_reconcile", "without beats a round is due by itself", "not rules.lossless and", "False and",
    ),
    planted(
        found_by.test_who_does_not_answer_is_asked_ever_less_often_and_for_ever,
        Mirroring, "_ask", "who does not answer is asked less often",
        "self._pace.clock() + self._backoff.next_delay_s()", "now_s",
    ),
    planted(
        found_by.test_changes_say_of_which_object_and_why,
        MirrorChanges, "_take", "steps that become one say what they skip", "change = merged", "pass",
    ),
    planted(
        found_by.test_an_index_is_kept_up_to_date,
        _Shelves, "_move", "an object leaves its old place", "old is not _NOWHERE and", "False and",
    ),
    planted(
        found_by.test_a_function_of_an_index_that_raises_leaves_its_object_out,
        _Shelves, "_put", "an object without a place stands nowhere", "self._move(ident, _NOWHERE, None)", "pass",
    ),
    planted(
        found_by.test_what_was_saved_is_served_where_nobody_answers,
        Waits, "_at", "what was saved proves no version", "(core.proven or not core.loaded)", "True",
    ),
    planted(
        found_by.test_a_version_of_a_lost_history_is_not_waited_for,
        Waits, "_at", "a lost history is noticed", "version.epoch < core.history_epoch", "False",
    ),
    planted(
        found_by.test_a_damaged_file_is_refused_wherever_it_is_damaged,
        _mirror_file, "_records", "a file is whole or refused", "record[1:] != [count - 1] or file.read(1)", "False",
    ),
    planted(
        ahead.test_the_next_page_is_asked_for_while_the_last_is_learned,
        MirrorSeat, "take", "the next page is asked for ahead", "ask_on()", "pass",
    ),
    planted(
        ahead.test_a_mirror_that_is_closed_asks_no_more,
        Mirroring, "_run", "an ask under way ends with its mirror", "self._drop()", "pass",
    ),
    planted(
        found_by.test_a_load_is_paged_and_tells_how_it_goes_on,
        Round, "_pass", "a page is followed by the next one", "self._at, self._after = index, key",
        "self._at, self._after = len(self._todo), ''",
    ),
)  # fmt: skip
