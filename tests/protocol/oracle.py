"""What one replica must do, told once more in other words: positions are pairs, doubts are a set, and nothing is optimised.

It shares no code with the replica. Where the two differ, one of them does not follow the rules.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final, NamedTuple, TypeAlias

import attrs

Place: TypeAlias = tuple[int, int]
"""Epoch and sequence."""
GONE: Final = ("", "gone")
"""The content of a deletion."""


class Word(NamedTuple):
    """What somebody says of the object: at this place it has this content (schema and value)."""

    place: Place
    content: tuple[str, str]

    @property
    def refusal(self) -> str | None:
        """The counter that a gate moves which refuses this content."""
        schema, value = self.content
        if self.content == GONE:
            return None
        if not schema.startswith("1."):
            return "schema_skews"
        return "parse_errors" if value.startswith("bad") else None


class Question(NamedTuple):
    """An ask as it was sent: the doubts that it is to end, and where the replica stood."""

    doubts: frozenset[int]
    stood: Word | None


class Stroke(NamedTuple):
    """A beat of the authority."""

    life: int
    number: int
    uptime_s: float
    interval_s: float
    named: Word | None
    since: int


class Footing(NamedTuple):
    """The last proof: the life and the beat up to which all is known, and when that life began on this clock."""

    life: int
    number: int
    began_s: float


@attrs.define
class Oracle:
    """A replica, by the book."""

    lossless: bool
    askable: bool
    counts_gaps_only: bool
    stale_after_s: float
    shown: Word | None = None
    unproven: bool = False
    barred: Word | None = None
    life: int = 0
    failing: bool = False
    ended: bool = False
    doubts: set[int] = attrs.Factory(set)
    followed: set[int] = attrs.Factory(set)
    counts: Counter[str] = attrs.Factory(Counter)
    proof_s: float = -math.inf
    sure_until_s: float = -math.inf
    was_settled: bool = False
    unsure: bool = False
    doubts_ever: int = 0
    stale_by_beats: bool = False
    stale_in_silence_s: float = 0.0
    beats_until_s: float = -math.inf
    """Until when the beats that proved last are taken to go on."""
    footing: Footing | None = None
    hearsay: bool = False
    """What is shown came live, and nobody has confirmed it."""
    promised: tuple[Place, float] | None = None
    """What a beat named and should have come by some time."""

    def __attrs_post_init__(self) -> None:
        self.stale_in_silence_s = self.stale_after_s
        self.doubt()

    def doubt(self) -> None:
        self.doubts_ever += 1
        self.doubts.add(self.doubts_ever)

    def seed(self, word: Word) -> None:
        self.shown, self.unproven = word, self.askable

    def live(self, word: Word, after: int | None) -> None:
        place, content = word
        if self.ended:
            return
        if self.shown is not None and place <= self.shown.place:
            contradicts = place == self.shown.place and content != self.shown.content
            self.counts["conflicts" if contradicts else "ignored_stale"] += 1
            if contradicts:
                self.doubt()
            if self.unproven and place[0] >= self.life and not self.is_barred(place):
                self.life = place[0]
                self.doubt()
        elif place[0] < self.life or self.is_barred(place):
            self.counts["ignored_stale"] += 1
        else:
            self.new_life(place[0])
            if word.refusal is not None:
                self.bar(word)
                self.doubt()
            else:
                self.follow(word, place[1] - 1 if after is None else after)
                self.show(word)
                self.hearsay = True

    def follow(self, word: Word, after: int) -> None:
        """Does it follow what is known, and what follows from that?"""
        (epoch, _), known = word.place, self.known()
        if known is not None and after > known.place[1] and (known.place[0] == epoch or known.place[1] == 0):
            self.counts["gaps"] += 1
            if not self.counts_gaps_only:
                self.doubt()
        elif (self.lossless or not self.askable) and (self.shown is None or self.shown.place[0] == epoch):
            self.followed = set(self.doubts)
            if self.failing or not self.askable:
                self.settle(self.followed)
                self.failing = False

    def question(self) -> Question:
        self.counts["refetches"] += 1
        return Question(frozenset(self.doubts), None if self.unproven else self.shown)

    def fail(self) -> None:
        if not self.ended:
            self.counts["refetch_failures"] += 1
            settled = self.lossless and self.doubts <= self.followed
            self.failing = not settled
            if settled:
                self.settle(self.followed)

    def answered(
        self, question: Question, word: Word | None, epoch: int, asked_s: float, beat: tuple[int, float] | None = None
    ) -> None:
        """`word` is None for "you hold the newest"; `beat` is the number and the uptime of the author."""
        if self.ended or epoch < self.life:
            return
        if word is None and question.stood is None:
            self.fail()
            return
        self.life, self.failing = epoch, False
        said = word or question.stood
        assert said is not None
        if self.barred is not None and self.barred.place > said.place:
            self.barred = None
            self.doubt()
        confirms = self.shown is None or self.unproven or said.place >= self.shown.place
        agrees = word is None or self.take(word)
        known = self.known()
        assert known is not None
        if agrees and (known == said or (known.place > said.place and known.place[0] == epoch)):
            self.proof_s = max(self.proof_s, asked_s)
            if asked_s > self.beats_until_s:
                self.stale_after_s = self.stale_in_silence_s
            self.settle(set(question.doubts))
            self.hearsay = self.hearsay and not confirms
            if beat is not None:
                overtaken = self.footing is not None and self.footing.life == epoch and self.footing.number > beat[0]
                number = self.footing.number if overtaken and self.footing is not None else beat[0]
                self.footing = Footing(epoch, number, asked_s - beat[1])
        elif not self.doubts:
            self.doubt()

    def beaten(self, stroke: Stroke, now_s: float, grace_s: float) -> None:
        """The authority, or another one, beats."""
        if self.ended or self.lossless:
            return
        self.life = max(self.life, stroke.life)
        footing, known = self.footing, self.known()
        if footing is None or {footing.life, stroke.life} != {self.life}:
            self.doubt()
            return
        if stroke.number <= footing.number:
            return
        at = (-1, -1) if known is None else known.place
        named = None if stroke.named is None else stroke.named.place
        if stroke.since > footing.number:
            self.doubt()
        elif named is not None and named > at:
            self.miss(named, at, now_s, grace_s)
        elif named == at and stroke.named is not None and known is not None and stroke.named.content != known.content:
            self.counts["conflicts"] += 1
            self.doubt()
        elif named != at and self.hearsay:
            self.doubt()
        else:
            self.footing = footing._replace(number=stroke.number)
            self.hearsay = False
            self.proof_s = max(self.proof_s, min(now_s, footing.began_s + stroke.uptime_s))
            self.beats_until_s = now_s + 3 * stroke.interval_s
            if self.stale_by_beats:
                self.stale_after_s = 3 * stroke.interval_s
            if now_s - self.proof_s > self.stale_after_s:
                self.doubt()

    def miss(self, named: Place, at: Place, now_s: float, grace_s: float) -> None:
        """Something newer was named; who is still waiting for something waits no longer for this."""
        if grace_s == 0:
            self.doubt()
        elif self.promised is not None and self.promised[0] > at:
            self.promised = (max(named, self.promised[0]), self.promised[1])
        else:
            self.promised = (named, now_s + grace_s)

    def waited(self, now_s: float) -> None:
        """Is what was promised overdue?"""
        if self.promised is None or now_s < self.promised[1]:
            return
        known = self.known()
        if not self.ended and (known is None or known.place < self.promised[0]):
            self.doubt()
        self.promised = None

    def take(self, word: Word) -> bool:
        """One version out of an answer; returns whether it does not contradict."""
        if self.shown is not None and not self.unproven and word.place <= self.shown.place:
            if word.place == self.shown.place and word.content != self.shown.content:
                self.counts["conflicts"] += 1
                self.doubt()
                return False
        elif word.refusal is not None:
            self.bar(word)
        elif self.shown is not None and self.shown.place == word.place and self.says_the_same(word):
            self.keep(word)
        else:
            self.show(word)
        return True

    def says_the_same(self, word: Word) -> bool:
        """The same value, if perhaps by another schema; a deletion only equals a deletion."""
        assert self.shown is not None
        return (self.shown.content == GONE) == (word.content == GONE) and self.shown.content[1] == word.content[1]

    def show(self, word: Word) -> None:
        old = self.shown
        if old is not None and old.place[0] != word.place[0] and min(old.place[1], word.place[1]) > 0:
            self.counts["resets"] += 1
        self.counts["applied"] += 1
        self.keep(word)

    def keep(self, word: Word) -> None:
        self.shown, self.unproven = word, False
        if self.is_barred_at_most(word.place):
            self.barred = None

    def bar(self, word: Word) -> None:
        assert word.refusal is not None
        self.counts[word.refusal] += 1
        self.barred = word

    def settle(self, doubts: set[int]) -> None:
        self.doubts -= doubts
        self.was_settled = True

    def new_life(self, epoch: int) -> None:
        if epoch > self.life:
            self.life = epoch
            self.doubt()

    def is_barred(self, place: Place) -> bool:
        return self.barred is not None and place <= self.barred.place

    def is_barred_at_most(self, place: Place) -> bool:
        return self.barred is not None and self.barred.place <= place

    def known(self) -> Word | None:
        """The newest of what is shown and what is barred; a seed counts for less."""
        if self.shown is None or (self.unproven and self.barred is not None):
            return self.barred or self.shown
        return self.barred if self.barred is not None and self.barred.place > self.shown.place else self.shown

    def noticed(self, now_s: float) -> None:
        """The driver has looked."""
        if self.doubts and not self.unsure:
            self.sure_until_s = now_s if self.was_settled else -math.inf
        self.unsure = bool(self.doubts)

    def age_s(self, now_s: float) -> float:
        if self.lossless and not self.doubts:
            return 0.0
        return max(0.0, now_s - max(self.proof_s, self.sure_until_s if self.lossless else -math.inf))

    def status(self, now_s: float) -> str:
        if self.ended:
            return "CLOSED"
        if self.shown is None:
            return "REFETCHING" if self.askable and not self.failing and not self.was_settled else "STALE"
        if self.barred is not None:
            return "SKEW"
        alone = bool(self.doubts) and not self.askable
        age_s = self.age_s(now_s)
        if self.unproven or self.failing or alone or age_s > self.stale_after_s or math.isinf(age_s):
            return "STALE"
        return "REFETCHING" if self.doubts else "OK"
