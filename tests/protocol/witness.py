"""Who watches the world and blames it: the promises, judged from what was written, sent, delivered and shown.

It shares no rule with the code that it watches: it looks at what a replica holds, whether it has a need, and which status it
gives, and compares that with its own notes.

- P1 what a replica shows strictly rises (an unproven seed is no promise);
- P2 a shown value was written at exactly its version, and no version is written twice;
- P3 a shown value passed the gate;
- P4 whoever missed a version that was sent says so when it shows a newer one of the same life;
- P6 while the status is OK, the replica shows what the authority that it last heard in an answer had then, or something that
  it or a later one wrote since; it has heard of no later life than that, and of no contradiction. An answer ends no doubt that
  arose after its ask; a live envelope that came since ends one only where nobody can be asked, or where nothing is lost and
  an ask failed. A beat ends no doubt, and counts like an answer for what the replica may show; the proof of a replica is not
  younger than what it was told.

P5 is judged by `settle.py`, once faults have stopped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import attrs

from parasync.protocol import ABSENT, Beat, Envelope, Held, Kind, Outcome, Position, Replica, Status, Version, status_of
from tests.protocol import kit
from tests.protocol.kit import Text


class Violation(AssertionError):
    """A promise was broken."""


class Truth(NamedTuple):
    """What an authority knew at some moment."""

    moment: int
    epoch: int
    objects: dict[str, Text]


@attrs.define
class Watched:
    """One replica, as the witness sees it."""

    key: str
    replica: Replica[str]
    shown: Held[str] | None
    seeded: bool
    doubted_at: int
    """The moment of the last doubt that the world knows of: a join, an interruption, another life that says that it serves."""
    gaps: int = 0
    seen: set[Version] = attrs.Factory(set)
    unreadable: Version = ABSENT
    """The newest version that came and does not pass the gate."""
    misled: bool = False
    """Something came that nobody wrote: a rogue frame, or a seed."""
    told: Truth | None = None
    """The newest evidence, a proof or not: that of the highest life, and of those the last."""
    hinted: tuple[Truth, Held[str] | None] | None = None
    """The same from a beat that named what may still be under way, and what was shown then."""
    told_at: int = 0
    """The moment of the youngest evidence of all."""
    exposed: bool = False
    """What is shown came live, and a beat came since that was made later than all evidence before."""
    heard: int = 0
    """The highest life that an envelope came from."""
    asks_failed: int = 0
    """How many asks in a row had no answer."""
    followed: bool = False
    """A live envelope was applied since the last doubt."""

    def is_ok(self) -> bool:
        return status_of(self.replica, 0.0) is Status.OK


class Witness:
    """See the module.

    Args:
        forked: history may have been lost somewhere, or there are two of it: then versions may be written anew.
        lossless: nothing that is published is lost, so that OK means the very newest.
    """

    def __init__(self, *, forked: bool, lossless: bool) -> None:
        self.forked = forked
        self.lossless = lossless
        self.purged = False
        """Tombstones were dropped, so that sequences may have jumped above the floor."""
        self.watched: list[Watched] = []
        self._written: dict[tuple[str, Version], Text] = {}
        self._sent: dict[tuple[str, int], list[int]] = {}

    # What the authorities did

    def wrote(self, key: str, envelope: Text) -> None:
        """A version was stored."""
        if self._written.setdefault((key, envelope.version), envelope) is not envelope:
            raise Violation(f"P2: {key} was written twice at {envelope.version}")

    def sent(self, key: str, envelope: Text) -> None:
        """A version was published."""
        self._sent.setdefault((key, envelope.epoch), []).append(envelope.sequence)

    def reissued(self, key: str) -> None:
        """A version is written anew."""
        if not self.forked:
            raise Violation(f"{key} is written anew though no history was lost")

    # What the replicas did

    def joined(self, key: str, replica: Replica[str], moment: int) -> Watched:
        """Watch one more."""
        seeded = replica.held is not None
        watched = Watched(key, replica, replica.held, seeded, moment, misled=seeded)
        self.watched.append(watched)
        return watched

    def live_came(self, watched: Watched, envelope: Text, had_need: bool) -> None:
        """A live envelope was delivered."""
        before = watched.shown
        may_end = not watched.replica.askable or (self.lossless and watched.asks_failed)
        if had_need and not watched.replica.need_open and not may_end:
            raise Violation(f"P6: a doubt of {watched.key} ended without an answer")
        watched.heard = max(watched.heard, envelope.epoch)
        watched.followed |= watched.replica.held is not before
        if before is not None and contradict(before, envelope) and watched.is_ok():
            raise Violation(f"P6: {watched.key} says OK at {before.version}, and has heard a contradiction")
        held = self._moved(watched, by_answer=False)
        if held is not None and before is not None and (held.epoch == before.epoch or before.version == ABSENT):
            self._check_gap(watched, before, held)
        watched.gaps = watched.replica.gaps
        self._note(watched, envelope)

    def answer_came(self, watched: Watched, outcome: Outcome, asked_at: int, truth: Truth, had_need: bool) -> None:
        """An answer was delivered to the ask that it belongs to."""
        if had_need and not watched.replica.need_open and watched.doubted_at > asked_at:
            raise Violation(f"P6: an answer ended a doubt of {watched.key} that arose after its ask")
        self._moved(watched, by_answer=True)
        watched.asks_failed = 0
        if isinstance(outcome, Envelope):
            self._note(watched, outcome)
        self._tell(watched, truth, by_beat=False)

    def beaten(self, beat: Beat, truth: Truth) -> None:
        """An authority beats."""
        elements = [kit.element(key, Position.of(envelope)) for key, envelope in truth.objects.items()]
        if (beat.count, beat.digest) != (len(elements), sum(elements) % 2**128):
            raise Violation(f"beat {beat.number} of {beat.epoch} has another digest than what was sent")

    def beat_came(self, watched: Watched, truth: Truth, had_need: bool) -> None:
        """A beat was delivered."""
        if had_need and not watched.replica.need_open:
            raise Violation(f"P6: a beat ended a doubt of {watched.key}")
        if watched.replica.look_again_s < math.inf:
            if watched.hinted is None or is_later(truth, watched.hinted[0]):
                watched.hinted = truth, watched.shown
            watched.told_at = max(watched.told_at, truth.moment)
        else:
            self._tell(watched, truth, by_beat=True)

    def grace_passed(self, watched: Watched) -> None:
        """What was named has come by now, or is missed."""
        if watched.replica.look_again_s < math.inf:
            raise Violation(f"{watched.key} waits for ever for what a beat named")
        if watched.hinted is not None:
            truth, shown = watched.hinted
            self._tell(watched, truth, by_beat=shown is watched.shown)

    def _tell(self, watched: Watched, truth: Truth, *, by_beat: bool) -> None:
        watched.told_at = max(watched.told_at, truth.moment)
        if is_later(truth, watched.told):
            watched.told = truth
            watched.exposed |= by_beat

    def doubted(self, watched: Watched, moment: int) -> None:
        """Something may have been lost."""
        watched.doubted_at = moment
        watched.followed = False

    def ask_failed(self, watched: Watched, had_need: bool) -> None:
        """No answer came in time."""
        watched.asks_failed += 1
        if had_need and not watched.replica.need_open and not (self.lossless and watched.followed):
            raise Violation(f"P6: a doubt of {watched.key} ended because nobody answered")

    def look(self, truth: Truth | None) -> None:
        """Something happened. In process, `truth` is what the authority has now, if one serves."""
        for watched in self.watched:
            if watched.replica.held is not watched.shown:
                raise Violation(f"{watched.key} changed though nothing was delivered")
            if watched.replica.proven_s > watched.told_at:
                raise Violation(f"P6: {watched.key} is proven by {watched.replica.proven_s}, and was told at {watched.told_at}")
            held = watched.shown
            if held is not None and watched.is_ok():
                self._check_ok(watched, held, truth)

    def _moved(self, watched: Watched, *, by_answer: bool) -> Held[str] | None:
        """What is shown now if it is something else than before."""
        before, held = watched.shown, watched.replica.held
        watched.shown = held
        if held is None or held is before:
            return None
        replaced_seed = watched.seeded and by_answer
        watched.seeded = watched.exposed = False
        if before is not None and not replaced_seed and held.version <= before.version:
            raise Violation(f"P1: {watched.key} went from {before.version} to {held.version}")
        if held.kind is Kind.STATE:
            self._check_value(watched, held)
        return held

    def _check_value(self, watched: Watched, held: Held[str]) -> None:
        if held.value.startswith("bad") or held.schema_version != "1.0":
            raise Violation(f"P3: {watched.key} shows at {held.version} what does not pass the gate")
        written = self._written.get((watched.key, held.version))
        if held.value not in ("rogue", "seed") and (written is None or written.value != held.value):
            raise Violation(f"P2: {watched.key} shows {held.value} at {held.version}, which was never written there")

    def _check_gap(self, watched: Watched, before: Held[str], held: Held[str]) -> None:
        known = max(before.version, watched.unreadable)
        if known.epoch != held.epoch and known != ABSENT:
            return
        missed = [
            sequence
            for sequence in self._sent.get((watched.key, held.epoch), [])
            if known < (held.epoch, sequence) < held.version and Version(held.epoch, sequence) not in watched.seen
        ]
        said_so = watched.replica.gaps - watched.gaps
        if held.kind is Kind.STATE and held.value == "rogue":
            return
        if missed and not said_so:
            raise Violation(f"P4: {watched.key} skipped {missed} and did not say so")
        if missed and watched.replica.gap == "refetch" and not watched.replica.need_open:
            raise Violation(f"P4: {watched.key} skipped {missed} and does not ask")
        # What was written in another life and never sent, or jumped above a floor, nobody can tell from what was lost.
        certain = before.epoch == held.epoch and not self.purged and not watched.misled and watched.unreadable == ABSENT
        if said_so and not missed and certain:
            raise Violation(f"P4: {watched.key} says that something was lost before {held.version}, and nothing was")

    def _note(self, watched: Watched, envelope: Text) -> None:
        watched.seen.add(envelope.version)
        value = envelope.value or ""
        watched.misled |= "rogue" in value
        if value.startswith("bad") or envelope.schema_version != "1.0":
            watched.unreadable = max(watched.unreadable, envelope.version)

    def _check_ok(self, watched: Watched, held: Held[str], truth: Truth | None) -> None:
        if watched.replica.need_open:
            raise Violation(f"P6: {watched.key} says OK with an open need")
        told = watched.told
        rogue = held.kind is Kind.STATE and held.value == "rogue" and (told is None or held.epoch >= told.epoch)
        if rogue and not watched.exposed:
            return  # It deceives within its life, and no longer than to the next beat.
        if rogue:
            raise Violation(f"P6: {watched.key} says OK at {held.version}, and beats say that nobody sent it")
        if told is not None and not is_current(watched.key, held, told):
            raise Violation(f"P6: {watched.key} says OK at {held.version}, and the answer said {described(watched.key, told)}")
        if not self.lossless and (told is None or told.epoch < watched.heard):
            raise Violation(f"P6: {watched.key} says OK, and was never told so by the life {watched.heard} that it has heard")
        if self.lossless and truth is not None and not is_newest(watched.key, held, truth):
            raise Violation(f"P6: {watched.key} says OK at {held.version}, and there is {described(watched.key, truth)}")


def is_later(truth: Truth, than: Truth | None) -> bool:
    """Whether this is newer evidence: of a higher life, or made later by the same."""
    return than is None or (truth.epoch, truth.moment) > (than.epoch, than.moment)


def contradict(held: Held[str], envelope: Text) -> bool:
    """Whether one version is said to have two contents."""
    value = held.value if held.kind is Kind.STATE else None
    return held.version == envelope.version and (held.kind is not envelope.kind or value != envelope.value)


def is_newest(key: str, held: Held[str], truth: Truth) -> bool:
    """Whether this is what the authority has; of an object that is gone, only that it is gone."""
    envelope = truth.objects.get(key)
    if envelope is None or envelope.kind is Kind.TOMBSTONE:
        return held.kind is Kind.TOMBSTONE
    return held.kind is Kind.STATE and (held.version, held.value) == (envelope.version, envelope.value)


def is_current(key: str, held: Held[str], told: Truth) -> bool:
    """Whether this is what the authority had, or something that it or a later one wrote afterwards."""
    envelope = told.objects.get(key)
    above = held.version > (ABSENT if envelope is None else envelope.version)
    return is_newest(key, held, told) or (above and held.epoch >= told.epoch)


def described(key: str, truth: Truth) -> str:
    """What the authority had, for a message."""
    envelope = truth.objects.get(key)
    return "nothing" if envelope is None else f"{envelope.version} {envelope.value}"
