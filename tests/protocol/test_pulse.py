"""What an authority says in its beats, and when, against a second account of what it wrote and sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parasync.protocol import (
    ABSENT,
    BEAT_INTERVALS_MAX,
    BEAT_NAMES_MAX,
    TOMBSTONE_CHECKSUM,
    Beat,
    Catalogue,
    Digest,
    Position,
    Pulse,
    Version,
)

EPOCH = 7


def at(sequence: int, *, deleted: bool = False) -> Position:
    return Position(Version(EPOCH, sequence), TOMBSTONE_CHECKSUM if deleted else 100 + sequence)


def a_pulse(stored: dict[str, Position] | None = None, *, names_max: int = BEAT_NAMES_MAX, started_s: float = 50.0) -> Pulse:
    catalogue = Catalogue((stored or {}).items())
    return Pulse(epoch=EPOCH, started_s=started_s, catalogue=catalogue, interval_s=5.0, names_max=names_max)


def digest_of(objects: dict[str, Position]) -> Digest:
    digest = Digest()
    for key, position in objects.items():
        digest.add(key, position)
    return digest


def beat(pulse: Pulse, now_s: float = 50.0) -> Beat:
    return pulse.beat(now_s, floor=ABSENT, history_epoch=EPOCH)


def test_a_beat_says_who_and_when() -> None:
    pulse = a_pulse({"user:1": at(3)}, started_s=50.0)
    assert pulse.number == 0
    first = pulse.beat(52.5, floor=Version(6, 4), history_epoch=5)
    assert first == Beat(EPOCH, 1, 2.5, 5.0, Version(6, 4), 5, 1, digest_of({"user:1": at(3)}).total, {}, 0)
    assert pulse.number == 1
    assert beat(pulse, 57.5).uptime_s == 7.5
    assert pulse.number == 2


def test_a_beat_is_no_newer_than_what_was_settled() -> None:
    pulse = a_pulse(started_s=50.0)
    said = [pulse.beat(60.0, settled_s=settled_s, floor=ABSENT, history_epoch=EPOCH) for settled_s in (55.0, 70.0, 40.0)]
    assert [beat.uptime_s for beat in said] == [5.0, 10.0, 0.0]


def test_what_was_sent_is_named_by_as_many_beats_as_there_are_intervals() -> None:
    pulse = a_pulse()
    pulse.sent("k", at(1))
    assert [beat(pulse).named for _ in range(BEAT_INTERVALS_MAX + 1)] == [{"k": at(1)}] * BEAT_INTERVALS_MAX + [{}]


def test_the_newest_that_was_sent_is_named() -> None:
    pulse = a_pulse()
    pulse.sent("k", at(1))
    beat(pulse)
    pulse.sent("k", at(2))
    pulse.sent("k", at(3))
    assert beat(pulse).named == {"k": at(3)}


def test_a_beat_says_since_when_it_names_all() -> None:
    pulse = a_pulse()
    assert [beat(pulse).since for _ in range(6)] == [0, 0, 0, 1, 2, 3]


def test_a_beat_that_cannot_name_all_leaves_out_what_was_sent_first_and_says_so() -> None:
    pulse = a_pulse(names_max=2)
    for keys, sequence, named, since in (
        ("ab", 1, {"a": at(1), "b": at(1)}, 0),
        ("b", 2, {"a": at(1), "b": at(2)}, 0),  # an object counts once
        ("c", 3, {"b": at(2), "c": at(3)}, 1),
        ("", 4, {"b": at(2), "c": at(3)}, 1),
        ("abcd", 5, {}, 5),
        ("", 6, {}, 5),
        ("a", 7, {"a": at(7)}, 5),
        ("bc", 8, {"b": at(8), "c": at(8)}, 7),
        ("d", 9, {"d": at(9)}, 8),
    ):
        for key in keys:
            pulse.sent(key, at(sequence))
        said = beat(pulse)
        assert (said.named, said.since) == (named, since)


def test_what_is_published_again_is_named_and_counts_no_second_time() -> None:
    pulse = a_pulse({"k": at(3)})
    pulse.sent("k", at(3))
    again = beat(pulse)
    assert again.named == {"k": at(3)}
    assert (again.count, again.digest) == (1, digest_of({"k": at(3)}).total)


def test_a_tombstone_counts_until_it_is_forgotten() -> None:
    pulse = a_pulse({"k": at(1)})
    pulse.sent("k", at(2, deleted=True))
    deleted = beat(pulse)
    assert (deleted.count, deleted.digest) == (1, digest_of({"k": at(2, deleted=True)}).total)
    pulse.catalogue.move("k", None)
    gone = beat(pulse)
    assert (gone.count, gone.digest) == (0, 0)


def test_what_an_earlier_life_has_written_comes_late() -> None:
    """It was stored, and so was something newer, before its author could publish it; then the next life began."""
    pulse = a_pulse({"k": at(5)})
    before = [Position(Version(EPOCH - 1, sequence), sequence) for sequence in (1, 9)]
    pulse.sent("k", before[1])
    pulse.sent("new", before[0])
    said = beat(pulse)
    assert said.named == {"new": before[0]}
    assert (said.count, said.digest) == (2, digest_of({"k": at(5), "new": before[0]}).total)
    assert [pulse.is_past("k", position) for position in (*before, at(4))] == [True, True, False]


def test_what_was_deleted_at_the_floor_does_not_come_back_late() -> None:
    pulse = a_pulse({"k": Position(Version(EPOCH - 1, 5), TOMBSTONE_CHECKSUM)})
    pulse.catalogue.raise_floor(Version(EPOCH - 1, 5))
    before = [Position(Version(EPOCH - 1, sequence), sequence) for sequence in (4, 9)]
    assert [pulse.is_past("k", position) for position in (*before, at(1))] == [True, False, False]
    pulse.sent("k", before[0])
    pulse.sent("gone", Position(Version(EPOCH - 1, 5), TOMBSTONE_CHECKSUM))
    said = beat(pulse)
    assert (said.count, said.digest, set(said.named)) == (0, 0, {"gone"})


def test_a_store_that_went_back_below_its_own_authority_shows() -> None:
    pulse = a_pulse({"k": at(5)})
    pulse.sent("k", at(4))
    assert beat(pulse).digest == digest_of({"k": at(4)}).total


@given(st.lists(st.text("abcde", max_size=5), max_size=9), st.integers(1, 4))
def test_a_beat_names_all_that_was_sent_since_then_and_reaches_back_as_far_as_it_can(
    history: list[str], names_max: int
) -> None:
    pulse = a_pulse(names_max=names_max)
    for number, keys in enumerate(history, 1):
        for key in keys:
            pulse.sent(key, at(number))
        told: dict[int, dict[str, Position]] = {}
        for since in range(max(0, number - BEAT_INTERVALS_MAX), number):
            told[since] = {key: at(later) for later in range(since + 1, number + 1) for key in history[later - 1]}
        said = beat(pulse)
        assert said.since == min([since for since, named in told.items() if len(named) <= names_max], default=number)
        assert said.named == told.get(said.since, {})


steps = st.lists(st.tuples(st.sampled_from(["send", "send", "send", "delete", "beat"]), st.sampled_from("abc")))


@given(st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)), steps, st.integers(1, 3))
def test_the_digest_is_of_what_was_sent_last(begun: dict[str, int], history: list[tuple[str, str]], names_max: int) -> None:
    sent = {key: at(sequence) for key, sequence in begun.items()}
    pulse = a_pulse(sent, names_max=names_max)
    for step, key in history:
        if step == "beat":
            said = beat(pulse)
            assert (said.count, said.digest) == (len(sent), digest_of(sent).total)
        else:
            last = sent.get(key)
            sent[key] = at(1 if last is None else last.version.sequence + 1, deleted=step == "delete")
            pulse.sent(key, sent[key])
