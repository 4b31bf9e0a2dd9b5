"""Bugs on purpose: small changes to protocol and runtime, made in memory, each of which the simulation must find.

`python -m tests.simulation.planted` plants one after the other, runs seeds until one breaks a promise, and prints the table.
Names of bugs as arguments plant only those; `--seeds N` tries more than `SEEDS_MAX`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final, NamedTuple

from parasync.codec import _msgpack
from parasync.protocol import Held, Pulse, Replica, _currency
from parasync.protocol._currency import Currency
from parasync.protocol._standing import Standing
from parasync.runtime import _desk, _group, _judging, _readable, _sources
from parasync.runtime._desk import Desk
from parasync.runtime._group import Group
from parasync.runtime._heart import Heart
from parasync.runtime._hub import Hub
from parasync.runtime._member import Member
from parasync.runtime._office import Office
from parasync.runtime._pen import Pen
from parasync.runtime._recovery import Recovery
from parasync.runtime._stream import Changes
from parasync.runtime._synced import synced
from parasync.stores import _memory
from parasync.stores._memory import MemoryStore
from parasync.testing.simulation._course import Violation
from parasync.testing.simulation._simulate import course_of
from parasync.topic import Topic
from parasync.transports._fanout import Fanout
from tests.protocol.mutants import Mutant
from tests.simulation.planted_floors import FLOORS
from tests.simulation.planted_mirrors import MIRRORS

SEEDS_MAX: Final = 500
"""So many seeds must be enough for each."""

HANGS_AFTER_S: Final = 120.0
"""How much time of a processor one bug may take."""

PLANTED: Final = (
    Mutant(Held, "precedes", "what is older is dropped", "sequence > held and ", ""),
    Mutant(
        Replica, "live_received", "a higher epoch raises a need",
        'self.need_raised("another life of the authority was heard")',
        "pass",
    ),
    Mutant(
        Replica, "live_received", "a contradiction is seen live",
        "contradicts(held, envelope, reading, provisional=self.provisional)",
        "False",
    ),
    Mutant(
        Replica, "live_received", "a refusal leaves the value",
        "isinstance(reading, Unreadable)",
        "isinstance(reading, Unreadable) and not isinstance(reading := envelope.value, bytes)",
    ),
    Mutant(Replica, "live_received", "a gap raises a need", 'self.need_raised("a version was lost")', "pass"),
    Mutant(Replica, "live_received", "a gap is counted", "self.gaps += 1", "pass"),
    Mutant(
        Replica, "live_received", "an envelope ends a doubt only where nothing is lost",
        "(self.lossless or not self.askable)",
        "True",
    ),
    Mutant(Standing, "_is_gap", "the gap check is exact", "after > sequence", "after > sequence + 1"),
    Mutant(Standing, "_is_gap", "what follows is no gap", "after > sequence", "after >= sequence"),
    Mutant(
        Standing, "_is_gap", "what was not sent is no gap",
        "envelope.sequence - 1 if envelope.after is None else envelope.after",
        "envelope.sequence - 1",
    ),
    Mutant(
        Replica, "answer_received", "an answer ends only doubts before its ask",
        "max(self.needs_closed, asked.needs)",
        "self.needs_raised",
    ),
    Mutant(
        Replica, "answer_received", "an answer that proves ends doubts",
        "max(self.needs_closed, asked.needs)",
        "self.needs_closed",
    ),
    Mutant(Replica, "answer_received", "an answer ends a failure", "self.failed = None", "pass"),
    Mutant(
        Replica, "_forget_refused_above", "an answer clears what its authority does not know",
        "self.refused = None",
        "pass",
    ),
    Mutant(Replica, "_hold", "a newer version ends a refusal", "self.refused = None", "pass"),
    Mutant(Standing, "would_read", "an answer replaces a seed", "self.provisional or ", ""),
    Mutant(Replica, "asked", "a seed is no position", "held is None or self.provisional", "held is None"),
    Mutant(_memory, "next_version", "sequences go on", "sequence + 1", "1"),
    Mutant(
        _desk, "plan_answer", "what is higher than here was lost here",
        "position.version > mine.version or (",
        "False or (",
    ),
    Mutant(_desk, "plan_answer", "what differs from here was lost here", "not is_same(position, mine)", "False"),
    Mutant(_readable, "status_of", "a refusal is told", "replica.refused is not None", "False"),
    Mutant(
        _readable, "status_of", "an open need is told",
        "Status.REFETCHING if replica.need_open else Status.OK",
        "Status.OK",
    ),
    Mutant(_readable, "age_of", "the age is counted from the proof", "now_s - (", "0.5 * now_s - 0.5 * ("),
    Mutant(_group, "change_between", "skipped versions are counted", "new.sequence - old.sequence - 1", "0"),
    Mutant(
        _group, "change_between", "other epochs cannot be counted",
        "old.epoch == new.epoch or not old.sequence",
        "True",
    ),
    Mutant(_group, "report", "errors of listeners are counted", "member.handler_errors += 1", "pass"),
    Mutant(Group, "interrupted", "an interruption raises a need", "self.doubt(member, reason)", "pass"),
    Mutant(
        Group, "deliver", "everybody of a key is served",
        "for member in self.members:",
        "for member in self.members[:1]:",
    ),
    Mutant(
        Group, "deliver", "who stands elsewhere goes elsewhere",
        "if held is not before or member.pace is not read:",
        "if member.pace is not read:",
    ),
    Mutant(
        Group, "leave", "who left is not served",
        "tuple([other for other in self.members if other is not member])",
        "self.members",
    ),
    Mutant(
        Group, "_call", "a raising listener harms nobody",
        "fatal = report(member, error) or fatal",
        "fatal = error",
    ),
    Mutant(Hub, "_remove", "the last of a key ends its subscription", "end(group.unsubscribe)", "pass"),
    Mutant(
        Recovery, "_run", "what was not proven for long is asked for",
        "if now_s >= self._reconcile_s:",
        "if False:",
    ),
    Mutant(
        Recovery, "_fail", "what failed is tried again",
        "max(self._not_before_s, self._pace.clock() + self._backoff.next_delay_s())",
        "math.inf",
    ),
    Mutant(Recovery, "_fail", "failures make pauses", "self._backoff.next_delay_s()", "0.0"),
    Mutant(Recovery, "_ask", "a failure does not end asking", "if ends_this_task(error):", "if True:"),
    Mutant(
        Recovery, "_ask", "an answer proves as of its ask",
        "self._use(member, asked, found, now_s, progress)",
        "self._use(member, asked, found, self._pace.clock(), progress)",
    ),
    Mutant(Recovery, "attend", "a need is attended to", "self._doubted[member] = None", "pass"),
    Mutant(
        _sources, "_results", "each replica gets its own answer",
        "outcomes[entry] if entry",
        "outcomes[0] if entry",
    ),
    Mutant(
        _judging, "_answered", "an answer proves no more than it says",
        "asked_s=asked_s",
        "asked_s=asked_s + 5.0",
    ),
    Mutant(synced, "fresh", "a demand waits for its proof", "self._member.needs_closed >= number", "True"),
    Mutant(Member, "at", "a demanded version is waited for", "held.version >= version", "True"),
    Mutant(synced, "fresh", "who waits for a proof gets it", "self._member.needs_closed >= number", "False"),
    Mutant(synced, "ready", "who waits for a value gets it", "self._showing,", "lambda: None,"),
    Mutant(synced, "when_idle", "who waits for rest gets it", "not self._member.need_open and", "False and"),
    Mutant(Changes, "_take", "who follows slowly gets one step", "len(self._waiting) > CHANGES_MAX", "False"),
    Mutant(
        Office, "_look", "who is fenced takes over when all are silent",
        "elif self._lossless or now_s - self._silent_since_s >= self._terms.takeover_after_s:",
        "elif False:",
    ),
    Mutant(
        Office, "claim", "an epoch is claimed before it is served",
        "await self._store.claim(self._topic, epoch, lost=heard > stored)",
        "await self._store.state(self._topic)",
    ),
    Mutant(Desk, "_found", "lost history is repaired", "if found.needs_repair:", "if False:"),
    Mutant(Pen, "write", "what is stored is published", "self._publish(value, draft, version)", "pass"),
    Mutant(
        Fanout, "_add", "unsubscribing ends a subscription",
        "return sub.end",
        "return lambda: None",
    ),
    Mutant(
        _memory, "_check_expected", "an expected version is compared",
        "exists if draft.expected == ABSENT else draft.expected != where",
        "False",
    ),
    Mutant(MemoryStore, "_remembered", "a retry is recognised", "return done.version", "return None"),
    Mutant(MemoryStore, "_remembered", "another value is no retry", "done.checksum != draft.checksum", "False"),
    Mutant(_msgpack, "read_frame", "a frame is checked", "crc32(frame[:-4], _key_seed(key)) != crc", "False"),
    Mutant(Topic, "_upcast", "another major is refused", "if upcast is None:", "if major > 99:"),
    Mutant(
        _currency, "judge_beat", "a beat that names a newer version is no proof",
        "named is not None and named.version > newest.version",
        "False",
    ),
    Mutant(
        _currency, "judge_beat", "who missed too many beats asks",
        "base.number < beat.since",
        "False",
    ),
    Mutant(
        _currency, "judge_beat", "what no beat confirms is asked for",
        "Finding.PROOF if confirmed else Finding.UNCONFIRMED",
        "Finding.PROOF",
    ),
    Mutant(
        Currency, "beat_received", "a beat proves as of its author's uptime",
        "min(now_s, base.started_s + beat.uptime_s)",
        "now_s",
    ),
    Mutant(
        Pulse, "beat", "a beat names what was sent in three intervals",
        "in reversed(self._intervals):",
        "in reversed([{}, {}, self._intervals[-1]][-len(self._intervals):]):",
    ),
    Mutant(
        Pulse, "beat", "a beat reaches back no further than it says",
        "since = self.number",
        "since = max(0, self.number - 2)",
    ),
    Mutant(
        Heart, "_made", "a write under way is no beat's to speak for",
        "asked_s, self._oldest_s()",
        "asked_s",
    ),
    Mutant(Heart, "_made", "what waits to be sent is no beat's to speak for", ", waits_s)", ")"),
    Mutant(Pen, "_send", "what is published is named", "self._note(fresh, draft.key, envelope)", "pass"),
    Mutant(Desk, "_read", "an answer tells the uptime", "self._terms.clock() - pulse.started_s", "0.0"),
    *MIRRORS,
    *FLOORS,
)


class Kill(NamedTuple):
    """Which seed found a bug, and how; None if none did."""

    rule: str
    seed: int | None
    violation: Violation | None


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The code without one of its rules."""
    original = vars(mutant.owner)[mutant.function]
    setattr(mutant.owner, mutant.function, mutant.made())
    try:
        yield
    finally:
        setattr(mutant.owner, mutant.function, original)


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """A bug may also let the code go round for ever; the simulation then ends in an error, which is a broken promise."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise RuntimeError(f"no end within {HANGS_AFTER_S} s")

    before = signal.signal(signal.SIGVTALRM, interrupt)
    # Again and again, since whatever runs may report the first and go on.
    signal.setitimer(signal.ITIMER_VIRTUAL, HANGS_AFTER_S, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def kill(index: int, seeds_max: int = SEEDS_MAX) -> Kill:
    """Plant a bug, and look for the first seed that finds it."""
    mutant = PLANTED[index]
    with planted(mutant), _patience():
        for seed in range(seeds_max):
            violations = course_of(seed=seed).violations
            if violations:
                return Kill(mutant.rule, seed, violations[0])
    return Kill(mutant.rule, None, None)


def kills(indices: Sequence[int], seeds_max: int = SEEDS_MAX) -> Iterator[Kill]:
    """Plant several bugs, each in a process of its own."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), max_tasks_per_child=8) as pool:
        yield from pool.map(kill, indices, [seeds_max] * len(indices))


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 if a bug survived."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rules", nargs="*")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX)
    chosen: Any = parser.parse_args(arguments)
    indices = [index for index, mutant in enumerate(PLANTED) if not chosen.rules or mutant.rule in chosen.rules]
    survived = 0
    for rule, seed, violation in kills(indices, chosen.seeds):
        survived += seed is None
        found = f"survived {chosen.seeds} seeds"
        if violation is not None:
            found = f"seed {seed:3}  {violation.promise} {violation.text[:70]}"
        print(f"{rule:52} {found}", flush=True)
    print(f"{len(indices) - survived} of {len(indices)} bugs were found")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
