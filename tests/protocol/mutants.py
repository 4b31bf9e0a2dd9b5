"""Rules of the protocol, switched off one by one: small changes to the real code, made in memory.

A mutant is the source of one function with one piece of text replaced. A walk that breaks a promise kills it; one that survived
would mean that the rule is not needed, or that the walks do not look. Where a rule matters in few worlds, those are walked.
"""

from __future__ import annotations
import __future__ as future

import inspect
import sys
import textwrap
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, TypeAlias

import attrs

from parasync.protocol import Catalogue, Pulse, Replica, _authority, _currency, _reading
from tests.protocol.walks import Scope

Fits: TypeAlias = Callable[[Scope], bool]


def anywhere(_scope: Scope) -> bool:
    return True


def in_process(scope: Scope) -> bool:
    return scope.lossless and scope.askable


def seeded_in_process(scope: Scope) -> bool:
    return in_process(scope) and scope.seed in ("same life", "far life")


def with_rogues(scope: Scope) -> bool:
    return scope.budget["rogue"] > 0


def with_rogues_and_reasons(scope: Scope) -> bool:
    """Nobody asks without a reason in the end."""
    return with_rogues(scope) and scope.reasons_only


def with_two_histories(scope: Scope) -> bool:
    return scope.disks == ("disk", "other") and scope.budget["start"] > 0


def with_beats(scope: Scope) -> bool:
    """Where beats alone must tell what is amiss."""
    return scope.beats and scope.reasons_only


def with_beats_and_rogues(scope: Scope) -> bool:
    return with_beats(scope) and with_rogues(scope)


def with_beats_and_two_histories(scope: Scope) -> bool:
    return with_beats(scope) and with_two_histories(scope)


def with_beats_and_loss(scope: Scope) -> bool:
    return with_beats(scope) and (scope.budget["lose"] > 0 or scope.fate == "lost")


def with_crowded_beats(scope: Scope) -> bool:
    return with_beats(scope) and scope.names_max == 1 and len(scope.keys) > 1


def with_patience(scope: Scope) -> bool:
    return with_beats_and_loss(scope) and scope.grace_s > 0


def with_purges_and_beats(scope: Scope) -> bool:
    return scope.beats and scope.budget["purge"] > 0


@attrs.frozen
class Mutant:
    """One rule less.

    Args:
        owner: the class or module whose function is changed.
        function: its name.
        rule: what no longer holds.
        text: what stands there, exactly once.
        instead: what stands there now.
        fits: the worlds in which the rule matters.
    """

    owner: Any
    function: str
    rule: str
    text: str
    instead: str
    fits: Fits = anywhere

    def made(self) -> Callable[..., Any]:
        """The changed function.

        Raises:
            LookupError: the text does not stand there exactly once: the rule was moved or written anew.
        """
        original = getattr(self.owner, self.function)
        source = textwrap.dedent(inspect.getsource(original))
        if source.count(self.text) != 1:
            raise LookupError(f"{self.rule}: expected once in {self.function}: {self.text!r}")
        changed = source.replace(self.text, self.instead)
        code = compile(changed, f"<{self.function}>", "exec", future.annotations.compiler_flag, dont_inherit=True)
        scope: dict[str, Any] = {}
        exec(code, vars(sys.modules[original.__module__]), scope)
        made = scope[self.function]
        assert isinstance(made, FunctionType)
        return made


MUTANTS: Final = (
    Mutant(
        Replica,
        "live_received",
        "what is older is dropped",
        "epoch < held.epoch or (epoch == held.epoch and envelope.sequence <= held.sequence)",
        "envelope.version == held.version",
    ),
    Mutant(
        Replica,
        "live_received",
        "what a deposed authority publishes is dropped",
        "epoch < self.current_epoch or ",
        "",
        with_two_histories,
    ),
    Mutant(
        Replica,
        "live_received",
        "a higher epoch is remembered",
        "self.current_epoch:\n        self.current_epoch = epoch\n",
        "self.current_epoch:\n",
    ),
    Mutant(
        Replica,
        "live_received",
        "a higher epoch raises a need",
        'self.need_raised("another life of the authority was heard")',
        "pass",
    ),
    Mutant(
        Replica,
        "live_received",
        "a contradiction is seen live",
        "contradicts(held, envelope, reading, provisional=self.provisional)",
        "False",
        with_rogues,
    ),
    Mutant(
        Replica,
        "live_received",
        "a refusal raises a need",
        'self.need_raised("a version was refused")',
        "pass",
        with_rogues_and_reasons,
    ),
    Mutant(
        Replica,
        "live_received",
        "a refusal leaves the value",
        "isinstance(reading, Unreadable)",
        "isinstance(reading, Unreadable) and not isinstance(reading := envelope.value, str)",
    ),
    Mutant(
        Replica,
        "live_received",
        "what is dropped for a seed raises a need",
        "self.provisional and epoch",
        "False and epoch",
        seeded_in_process,
    ),
    Mutant(
        Replica,
        "live_received",
        "a gap raises a need",
        'self.need_raised("a version was lost")',
        "pass",
    ),
    Mutant(
        Replica,
        "live_received",
        "an envelope ends a doubt only where nothing is lost",
        "(self.lossless or not self.askable)",
        "True",
    ),
    Mutant(
        Replica,
        "live_received",
        "an envelope ends a doubt only if no answer comes",
        "if not self.askable or self.failed is not None:",
        "if True:",
    ),
    Mutant(
        Replica,
        "live_received",
        "where nobody answers an envelope ends a doubt",
        "if not self.askable or self.failed is not None:",
        "if False:",
    ),
    Mutant(
        Replica,
        "_conflict",
        "a contradiction raises a need",
        'self.need_raised("one version has two contents")',
        "pass",
        with_rogues,
    ),
    Mutant(
        Replica,
        "_is_gap",
        "a gap is seen",
        "after > sequence",
        "after > sequence + 1",
    ),
    Mutant(
        Replica,
        "_is_gap",
        "the loss of the first version is seen",
        " or not sequence",
        "",
    ),
    Mutant(
        Replica,
        "_is_gap",
        "what follows is no gap",
        "after > sequence",
        "after >= sequence",
    ),
    Mutant(
        Replica,
        "_is_gap",
        "what was not sent is no gap",
        "envelope.sequence - 1 if envelope.after is None else envelope.after",
        "envelope.sequence - 1",
    ),
    Mutant(
        Replica,
        "ask_failed",
        "an envelope ends only doubts before it",
        "self.lossless and self.needs_followed == self.needs_raised",
        "self.lossless",
        in_process,
    ),
    Mutant(
        Replica,
        "answer_received",
        "an answer of a deposed authority is dropped",
        "epoch < self.current_epoch or ",
        "",
    ),
    Mutant(
        Replica,
        "answer_received",
        "the life of an answer is remembered",
        "self.current_epoch = epoch",
        "pass",
    ),
    Mutant(
        Replica,
        "answer_received",
        "an answer ends a failure",
        "self.failed = None",
        "pass",
    ),
    Mutant(
        Replica,
        "answer_received",
        "an answer ends only doubts before its ask",
        "max(self.needs_closed, asked.needs)",
        "self.needs_raised",
    ),
    Mutant(
        Replica,
        "answer_received",
        "an answer that proves ends doubts",
        "max(self.needs_closed, asked.needs)",
        "self.needs_closed",
    ),
    Mutant(
        Replica,
        "answer_received",
        "an absent object is a tombstone at the floor",
        "floor.sequence, floor.epoch",
        "0, 0",
    ),
    Mutant(
        Replica,
        "_proves",
        "an answer that was overtaken proves",
        "newest.version > answered.version and",
        "False and",
    ),
    Mutant(
        Replica,
        "_newest",
        "a refused version counts as known",
        "self.refused is not None and",
        "False and",
    ),
    Mutant(
        Replica,
        "_forget_refused_above",
        "an answer clears what its authority does not know",
        "self.refused = None",
        "pass",
    ),
    Mutant(
        Replica,
        "_hold",
        "a newer version ends a refusal",
        "self.refused = None",
        "pass",
    ),
    Mutant(
        Replica,
        "_hold",
        "whatever is applied replaces a seed",
        "self.provisional = False",
        "pass",
    ),
    Mutant(
        Replica,
        "would_read",
        "an answer replaces a seed",
        "self.provisional or ",
        "",
    ),
    Mutant(
        Replica,
        "asked",
        "a seed is no position",
        "held is None or self.provisional",
        "held is None",
    ),
    Mutant(
        Replica,
        "seed_received",
        "a seed is unproven",
        "self.provisional = self.askable",
        "self.provisional = False",
    ),
    Mutant(
        _reading,
        "prepare_reading",
        "an answer is read also below a seed",
        "held is None or provisional or",
        "held is None or",
    ),
    Mutant(
        _authority,
        "next_epoch",
        "an epoch is above the stored one",
        "stored >> EPOCH_BITS",
        "0",
    ),
    Mutant(
        _authority,
        "next_epoch",
        "an epoch is above those that were heard",
        "heard >> EPOCH_BITS",
        "0",
    ),
    Mutant(
        _authority,
        "next_epoch",
        "an epoch is above, not beside",
        "floor + 1",
        "floor",
    ),
    Mutant(
        _authority,
        "next_epoch",
        "an epoch ends in random bits",
        "random_bits & ",
        "0 & ",
    ),
    Mutant(
        _authority,
        "next_version",
        "sequences go on",
        "sequence + 1",
        "1",
    ),
    Mutant(
        _authority,
        "next_version",
        "what begins anew is above the floor",
        "current is None or deletes",
        "deletes",
    ),
    Mutant(
        _authority,
        "plan_answer",
        "what is higher than here was lost here",
        "position.version > mine.version or (",
        "False or (",
    ),
    Mutant(
        _authority,
        "plan_answer",
        "what differs from here was lost here",
        "not is_same(position, mine)",
        "False",
        with_rogues,
    ),
    Mutant(
        _authority,
        "plan_answer",
        "positions of this life above need another life",
        "above_own and highest <= epoch",
        "False",
    ),
    Mutant(
        _authority,
        "plan_answer",
        "an epoch above is a rival",
        "highest if highest > epoch else None",
        "None",
    ),
    Mutant(
        _authority,
        "plan_answer",
        "also one that only was heard",
        "highest = ask.epoch",
        "highest = 0",
    ),
    Mutant(
        _authority,
        "plan_answer",
        "an absent object is at the floor",
        "Position(floor, TOMBSTONE_CHECKSUM)",
        "Position(ABSENT, TOMBSTONE_CHECKSUM)",
    ),
    Mutant(
        _authority,
        "is_same",
        "checksums tell contents apart",
        "(unknown or mine == theirs)",
        "True",
        with_rogues,
    ),
    Mutant(
        Replica,
        "beat_received",
        "a higher epoch of a beat is remembered",
        "self.current_epoch = max(self.current_epoch, beat.epoch)",
        "pass",
        with_beats,
    ),
    Mutant(
        Replica,
        "beat_received",
        "a beat of a lower life raises a need",
        "elif finding is not Finding.REPEATED:",
        "elif finding is not Finding.REPEATED and beat.epoch >= self.current_epoch:",
        with_beats_and_two_histories,
    ),
    Mutant(
        Replica,
        "beat_received",
        "a beat that proves is the next base",
        "own.base = Base(base.epoch, beat.number, base.started_s)",
        "pass",
        with_beats,
    ),
    Mutant(
        Replica,
        "beat_received",
        "a beat proves as of when it was made",
        "min(now_s, base.started_s + beat.uptime_s)",
        "now_s",
        with_beats,
    ),
    Mutant(
        Replica,
        "time_passed",
        "what was named and has not come raises a need",
        "if late and",
        "if False and",
        with_patience,
    ),
    Mutant(
        Replica,
        "_proven",
        "an answer makes a base",
        "if beat is not None:",
        "if False:",
        with_beats,
    ),
    Mutant(
        Replica,
        "_proven",
        "its base is the last beat before it",
        "Base(epoch, number,",
        "Base(epoch, number + 1,",
        with_beats_and_loss,
    ),
    Mutant(
        Replica,
        "_proven",
        "it tells how old a beat is",
        "asked_s - uptime_s",
        "asked_s",
        with_beats,
    ),
    Mutant(
        Replica,
        "_proven",
        "it confirms what it tells",
        "confirmed=told",
        "confirmed=False",
        with_beats,
    ),
    Mutant(
        Replica,
        "_proven",
        "it confirms nothing above that",
        "confirmed=told",
        "confirmed=True",
        with_beats_and_rogues,
    ),
    Mutant(
        _currency,
        "judge_beat",
        "a beat of another life proves nothing",
        "beat.epoch != base.epoch",
        "False",
        with_beats,
    ),
    Mutant(
        _currency,
        "judge_beat",
        "a beat that does not name all that was sent since the last proof proves nothing",
        "base.number < beat.since",
        "False",
        with_crowded_beats,
    ),
    Mutant(
        _currency,
        "judge_beat",
        "a beat that names something newer proves nothing",
        "named.version > newest.version",
        "False",
        with_beats,
    ),
    Mutant(
        _currency,
        "judge_beat",
        "beats name checksums beside versions",
        "if is_same(named, newest) else",
        "if True else",
        with_beats_and_rogues,
    ),
    Mutant(
        _currency,
        "judge_beat",
        "what came live and is not named raises a need",
        "if confirmed else",
        "if True else",
        with_beats_and_rogues,
    ),
    Mutant(
        Pulse,
        "sent",
        "what is named was sent of late, not written of late",
        "names = self._intervals[-1]",
        "names = self._intervals[0]",
        with_beats_and_loss,
    ),
    Mutant(
        Pulse,
        "sent",
        "the digest is of what was sent",
        "self.catalogue.move(key, position)",
        "pass",
        with_beats,
    ),
    Mutant(
        Pulse,
        "beat",
        "a beat names what was sent in three intervals",
        "in reversed(self._intervals):",
        "in reversed([{}, {}, self._intervals[-1]][-len(self._intervals):]):",
        with_beats_and_loss,
    ),
    Mutant(
        Pulse,
        "beat",
        "a beat says since when it names all",
        "            break",
        "            more = named",
        with_crowded_beats,
    ),
    Mutant(
        Pulse,
        "beat",
        "a beat reaches back no further than it says",
        "since = self.number",
        "since = max(0, self.number - 1)",
        with_beats_and_loss,
    ),
    Mutant(
        Catalogue,
        "move",
        "what was dropped below the floor is in no digest",
        "self.digest.move(data, number, old, new)",
        "self.digest.move(data, number, old, new or old)",
        with_purges_and_beats,
    ),
    Mutant(
        Catalogue,
        "move",
        "in the digest, a version takes the place of the one before",
        "self.digest.move(data, number, old, new)",
        "self.digest.move(data, number, None, new)",
        with_beats,
    ),
)
