"""One replica against the oracle: whatever comes in whatever order, both say the same, and the promises P1 to P4 hold."""

from __future__ import annotations

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parasync.protocol import (
    ABSENT_OBJECT,
    SAME,
    UNANSWERED,
    Asked,
    Beat,
    Company,
    Envelope,
    Kind,
    Outcome,
    Position,
    Replica,
    Version,
    age_of,
    prepare_reading,
    reason_of,
    status_of,
)
from tests.protocol import kit
from tests.protocol.kit import COUNTERS, Text, state, tombstone
from tests.protocol.oracle import GONE, Oracle, Place, Question, Stroke, Word

epochs = st.integers(1, 3)
places = st.tuples(epochs, st.integers(1, 6))
contents = st.sampled_from([("1.0", "x"), ("1.0", "y"), ("1.1", "x"), ("1.0", "bad"), ("2.0", "x"), GONE])
words = st.builds(Word, places, contents)
afters = st.sampled_from([None, None, 0, 1, 2, 3, 4])
floors = st.one_of(st.just((0, 0)), places)
names = st.sampled_from(["nothing", "nothing", "the newest", "the newest", "the next", "other content", "an older one"])
SERVES_SINCE_S = 20.0
INTERVAL_S = 2.0


def envelope_of(word: Word, after: int | None = None) -> Text:
    """The envelope that says this."""
    version = f"{word.place[0]}.{word.place[1]}"
    schema, value = word.content
    return tombstone(version, after=after) if word.content == GONE else state(version, value, after=after, schema=schema)


class ReplicaMachine(RuleBasedStateMachine):
    """The replica, the oracle, and a driver that sends one ask at a time."""

    replica: Replica[str]
    oracle: Oracle
    now_s: float = 100.0
    asked: tuple[Asked, Question, float] | None = None
    read: tuple[Text, Word, int | None, object] | None = None
    shown: Place | None = None
    unproven = False
    beats: int | None = None
    """The number of the last beat that answers know of; None where those who answer do not beat."""

    @initialize(
        lossless=st.sampled_from([False, False, True]),
        askable=st.sampled_from([True, True, True, False]),
        counts_only=st.booleans(),
        stale_after_s=st.sampled_from([10.0, math.inf]),
        by_beats=st.booleans(),
        beats=st.sampled_from([0, 3, 5, None]),
        first=st.one_of(places, places, st.none()),
        seed=st.one_of(st.none(), words.filter(lambda word: word.refusal is None)),
    )
    def join(
        self,
        lossless: bool,
        askable: bool,
        counts_only: bool,
        stale_after_s: float,
        by_beats: bool,
        beats: int | None,
        first: Place | None,
        seed: Word | None,
    ) -> None:
        self.replica = Replica(
            kit.read,
            lossless=lossless,
            askable=askable,
            gap="apply" if counts_only else "refetch",
            stale_after_s=stale_after_s,
            stale_by_beats=by_beats,
        )
        self.oracle = Oracle(lossless, askable, counts_only, stale_after_s, stale_by_beats=by_beats)
        self.beats = beats
        if seed is not None:
            envelope = envelope_of(seed)
            self.replica.seed_received(envelope, envelope.value)
            self.oracle.seed(seed)
            self.shown, self.unproven = seed.place, askable
        self.notice()
        if first is not None and askable:
            self.it_asks()
            self.an_envelope_is_answered(Word(first, ("1.0", "x")), 0)

    def notice(self) -> None:
        """What a driver does after each input."""
        self.replica.noticed(self.now_s)
        self.oracle.noticed(self.now_s)

    # Live

    @rule(word=words, after=afters)
    def live_comes(self, word: Word, after: int | None) -> None:
        envelope = envelope_of(word, after)
        self.lands(envelope, word, after, prepare_reading(self.replica, envelope))

    @rule(distance=st.integers(1, 2), content=contents, after=afters)
    def the_next_comes(self, distance: int, content: tuple[str, str], after: int | None) -> None:
        """Random places seldom follow each other."""
        known = self.oracle.known()
        epoch, sequence = (1, 0) if known is None else known.place
        self.live_comes(Word((epoch, sequence + distance), content), after)

    @rule(distance=st.integers(1, 3), content=st.sampled_from([("1.0", "bad"), ("2.0", "x")]))
    def the_next_is_refused(self, distance: int, content: tuple[str, str]) -> None:
        self.the_next_comes(distance, content, None)

    @precondition(lambda self: self.read is None)
    @rule(word=words, after=afters)
    def live_is_read(self, word: Word, after: int | None) -> None:
        """In another thread; it is judged later, when the replica may have moved on."""
        envelope = envelope_of(word, after)
        self.read = (envelope, word, after, prepare_reading(self.replica, envelope))

    @precondition(lambda self: self.read is not None)
    @rule()
    def what_was_read_lands(self) -> None:
        assert self.read is not None
        envelope, word, after, reading = self.read
        self.read = None
        self.lands(envelope, word, after, reading)

    def lands(self, envelope: Text, word: Word, after: int | None, reading: object) -> None:
        gaps, before = self.replica.gaps, self.oracle.shown
        held, refused = self.replica.held, self.oracle.barred
        changed = self.replica.live_received(envelope, reading)
        if changed is None:
            changed = self.replica.live_received(envelope, prepare_reading(self.replica, envelope))
        self.oracle.live(word, after)
        assert changed is (self.replica.held is not held)
        if changed and after is None and before is not None and refused is None:
            (epoch, sequence), (old_epoch, old_sequence) = word.place, before.place
            # What never was belongs to no life, and the first version of any follows it.
            skipped = (epoch == old_epoch or not old_sequence) and sequence > old_sequence + 1
            assert self.replica.gaps == gaps + skipped, "P4: a skip of which nobody is told, or the other way round"
        self.moved(by_answer=False)

    # Asks

    @precondition(lambda self: self.asked is None and self.replica.askable and self.replica.need_open)
    @rule()
    def it_asks(self) -> None:
        self.asked = (self.replica.asked(), self.oracle.question(), self.now_s)

    @precondition(lambda self: self.asked is not None)
    @rule()
    def the_ask_fails(self) -> None:
        self.asked = None
        self.replica.ask_failed("no answer")
        self.oracle.fail()
        self.notice()

    @precondition(lambda self: self.asked is not None)
    @rule(epoch=epochs)
    def same_is_answered(self, epoch: int) -> None:
        self.answered(SAME, None, epoch, (0, 0))

    @precondition(lambda self: self.asked is None and self.replica.askable and self.replica.need_open)
    @rule(later=st.integers(0, 1), behind=st.integers(0, 2), content=contents, same=st.booleans())
    def it_asks_and_is_answered_at_once(self, later: int, behind: int, content: tuple[str, str], same: bool) -> None:
        self.it_asks()
        if same and self.oracle.life:
            self.same_is_answered(self.oracle.life + later)
        else:
            self.what_was_known_is_answered(later, behind, content)

    @precondition(lambda self: self.asked is not None)
    @rule(word=words, later=st.integers(0, 1))
    def an_envelope_is_answered(self, word: Word, later: int) -> None:
        self.answered(envelope_of(word), word, word.place[0] + later, (0, 0))

    @precondition(lambda self: self.asked is not None)
    @rule(later=st.integers(0, 1), behind=st.integers(0, 2), content=contents)
    def what_was_known_is_answered(self, later: int, behind: int, content: tuple[str, str]) -> None:
        """Random places seldom equal what is known, or come shortly before it."""
        known = self.oracle.known() or Word((1, 1), content)
        place = (known.place[0], max(1, known.place[1] - behind))
        word = known if behind == 0 and known.place[1] else Word(place, content)
        self.answered(envelope_of(word), word, word.place[0] + later, (0, 0))

    @precondition(lambda self: self.asked is not None)
    @rule(floor=floors, epoch=epochs)
    def absence_is_answered(self, floor: Place, epoch: int) -> None:
        self.answered(ABSENT_OBJECT, Word(floor, GONE), epoch, floor)

    @precondition(lambda self: self.asked is not None)
    @rule(epoch=epochs)
    def nothing_is_answered(self, epoch: int) -> None:
        assert self.asked is not None
        before = vars_of(self.replica)
        self.replica.answer_received(self.asked[0], UNANSWERED, None, epoch=epoch, asked_s=self.now_s)
        self.asked = None
        assert vars_of(self.replica) == before

    def answered(self, outcome: Outcome, word: Word | None, epoch: int, floor: Place) -> None:
        assert self.asked is not None
        asked, question, asked_s = self.asked
        self.asked = None
        before = self.replica.held
        reading = prepare_reading(self.replica, outcome) if isinstance(outcome, Envelope) else None
        uptime_s = self.now_s - SERVES_SINCE_S
        changed = self.replica.answer_received(
            asked,
            outcome,
            reading,
            epoch=epoch,
            beat=self.beats,
            uptime_s=uptime_s,
            floor=Version(*floor),
            asked_s=asked_s,
        )
        self.oracle.answered(question, word, epoch, asked_s, None if self.beats is None else (self.beats, uptime_s))
        assert changed is not None
        assert not changed or self.replica.held is not before
        self.moved(by_answer=True)

    def moved(self, *, by_answer: bool) -> None:
        """P1: from the first answer on, or the first live version above a seed, versions strictly rise."""
        held = self.replica.held
        place = None if held is None else (held.epoch, held.sequence)
        if place != self.shown:
            assert place is not None
            assert self.shown is None or place > self.shown or (by_answer and self.unproven)
        self.unproven = self.unproven and self.oracle.unproven
        self.shown = place
        self.notice()

    # Beats

    @rule(
        ahead=st.sampled_from([1, 1, 1, 2, 3, 4, 0]),
        later=st.sampled_from([0, 0, 0, 0, 0, 0, 1, -1]),
        name=names,
        delay_s=st.sampled_from([0.0, 0.0, 5.0, 30.0, -10.0]),
        grace_s=st.sampled_from([0.0, 2.0]),
        reach=st.sampled_from([3, 3, 3, 2, 1, 0]),
        for_all=st.booleans(),
    )
    def it_beats(
        self, ahead: int, later: int, name: str, delay_s: float, grace_s: float, reach: int, *, for_all: bool = True
    ) -> None:
        """A beat near the last one that proved; it names something near to what is known. A negative delay is a fast clock."""
        footing, known = self.oracle.footing, self.oracle.known() or Word((1, 1), ("1.0", "x"))
        number = max(1, ahead + (0 if footing is None else footing.number))
        (epoch, sequence), content = known
        named = {
            "nothing": None,
            "the newest": known,
            "the next": Word((epoch, sequence + 1), content),
            "other content": Word(known.place, ("1.0", "z")),
            "an older one": Word((epoch, max(0, sequence - 1)), content),
        }["nothing" if reach == 0 else name]
        life = max(1, self.oracle.life + later)
        uptime_s = max(0.0, self.now_s - SERVES_SINCE_S - delay_s)
        beat = Beat(life, number, uptime_s, INTERVAL_S, Version(0, 0), life, 1, 0, {}, max(0, number - reach))
        position = None if named is None else Position.of(envelope_of(named))
        self.hears(beat, position, grace_s, for_all=for_all)
        self.oracle.beaten(Stroke(life, number, uptime_s, INTERVAL_S, named, beat.since), self.now_s, grace_s)
        self.beats = number if self.beats is not None else None
        self.notice()

    def hears(self, beat: Beat, position: Position | None, grace_s: float, *, for_all: bool) -> None:
        """As drivers do it who let many replicas stand together."""
        replica, company = self.replica, self.replica.footing
        known = position is None or replica.knows(position)
        if not (known and isinstance(company, Company) and company.beat_received(beat, self.now_s)):
            replica.beat_received(beat, position, now_s=self.now_s, grace_s=grace_s)
            if for_all and replica.at_ease and replica.base[:2] == (beat.epoch, beat.number):
                Company(replica, beat, self.now_s).takes(replica, beat, self.now_s)

    @precondition(lambda self: self.oracle.footing is not None)
    @rule(ahead=st.integers(1, 3), name=names, delay_s=st.sampled_from([0.0, 30.0, -10.0]), grace_s=st.sampled_from([0.0, 2.0]))
    def the_next_beat_comes(self, ahead: int, name: str, delay_s: float, grace_s: float) -> None:
        """Random beats seldom follow each other."""
        self.it_beats(ahead, 0, name, delay_s, grace_s, reach=3)

    @precondition(lambda self: self.oracle.footing is not None and self.oracle.known() is not None)
    @rule(name=names, content=st.sampled_from([("1.0", "x"), ("1.0", "bad"), GONE]), ahead=st.integers(1, 3))
    def the_next_comes_and_then_a_beat(self, name: str, content: tuple[str, str], ahead: int) -> None:
        self.the_next_comes(1, content, None)
        self.it_beats(ahead, 0, name, 0.0, 0.0, reach=3)

    @precondition(lambda self: self.oracle.footing is not None)
    @rule(ahead=st.integers(1, 2), later_s=st.sampled_from([1.0, 3.0]))
    def the_next_is_named_and_time_passes(self, ahead: int, later_s: float) -> None:
        self.it_beats(ahead, 0, "the next", 0.0, 2.0, reach=3)
        self.time_passes(later_s)
        self.it_looks_again()

    @rule()
    def it_looks_again(self) -> None:
        self.replica.time_passed(self.now_s)
        self.oracle.waited(self.now_s)
        self.notice()

    # Everything else

    @rule()
    def something_may_be_lost(self) -> None:
        self.replica.need_raised("interrupted")
        self.oracle.doubt()
        self.notice()

    @rule(seconds=st.sampled_from([0.5, 6.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @precondition(lambda self: self.replica.applied > 8)
    @rule()
    def it_is_closed(self) -> None:
        self.replica.close()
        self.oracle.ended = True

    # What must be so

    @invariant()
    def both_show_the_same(self) -> None:
        held, shown = self.replica.held, self.oracle.shown
        if held is None or shown is None:
            assert held is None
            assert shown is None
            return
        assert (held.epoch, held.sequence) == shown.place
        assert (held.kind is Kind.TOMBSTONE) == (shown.content == GONE)
        if held.kind is Kind.STATE:
            assert (held.schema_version, held.value) == shown.content
            assert shown.refusal is None, "P3: what does not pass the gate is never shown"
        assert self.replica.provisional == self.oracle.unproven

    @invariant()
    def both_have_refused_the_same(self) -> None:
        refused, barred = self.replica.refused, self.oracle.barred
        assert (None if refused is None else refused.position.version) == (None if barred is None else barred.place)

    @invariant()
    def both_have_the_same_doubts(self) -> None:
        assert self.replica.needs_raised == self.oracle.doubts_ever
        assert self.replica.need_open == bool(self.oracle.doubts)
        assert self.replica.current_epoch == self.oracle.life
        assert (self.replica.failed is not None) == self.oracle.failing

    @invariant()
    def both_have_the_same_footing(self) -> None:
        footing, base = self.oracle.footing, self.replica.base
        assert base[:2] == (-1, 0) if footing is None else base == footing
        assert self.replica.look_again_s == (math.inf if self.oracle.promised is None else self.oracle.promised[1])
        assert self.replica.proven_s <= self.now_s
        assert self.replica.stale_after_s == self.oracle.stale_after_s

    @invariant()
    def both_have_counted_the_same(self) -> None:
        assert {name: getattr(self.replica, name) for name in COUNTERS} == {name: self.oracle.counts[name] for name in COUNTERS}

    @invariant()
    def both_say_the_same_of_themselves(self) -> None:
        status = status_of(self.replica, self.now_s)
        assert status.name == self.oracle.status(self.now_s)
        assert age_of(self.replica, self.now_s) == self.oracle.age_s(self.now_s)
        assert (reason_of(self.replica, self.now_s) == "") == (status.name == "OK")

    @invariant()
    def who_keeps_pace_has_nothing_to_decide(self) -> None:
        if self.replica.pace is not None:
            assert status_of(self.replica, self.oracle.proof_s).name == "OK" or not self.replica.askable
            assert self.oracle.shown is not None
            assert self.oracle.shown.place[0] == self.oracle.life


def vars_of(replica: Replica[str]) -> dict[str, object]:
    slots = [name for base in Replica.__mro__ for name in getattr(base, "__slots__", ())]
    return {name: getattr(replica, name) for name in slots}


ReplicaMachine.TestCase.settings = settings(stateful_step_count=40, print_blob=True)
TestReplicaMachine = ReplicaMachine.TestCase
