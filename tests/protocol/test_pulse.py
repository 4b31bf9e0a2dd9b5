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
    Digest,
    Position,
    Pulse,
    Version,
)

EPOCH = 7


def at(sequence: int, *, deleted: bool = False) -> Position:
    return Position(Version(EPOCH, sequence), TOMBSTONE_CHECKSUM if deleted else 100 + sequence)


def a_pulse(stored: dict[str, Position] | None = None, *, names_max: int = BEAT_NAMES_MAX, started_s: float = 50.0) -> Pulse:
    digest = digest_of(stored or {})
    return Pulse(epoch=EPOCH, started_s=started_s, digest=digest, interval_s=5.0, names_max=names_max)


def digest_of(objects: dict[str, Position]) -> Digest:
    digest = Digest()
    for key, position in objects.items():
        digest.add(key, position)
    return digest


def facts(digest: Digest) -> tuple[int, int, list[int]]:
    return digest.count, digest.total, digest.buckets


def beat(pulse: Pulse, now_s: float = 50.0) -> Beat:
    return pulse.beat(now_s, floor=ABSENT, history_epoch=EPOCH)


def write_and_send(pulse: Pulse, key: str, sequence: int) -> None:
    pulse.written(key, at(sequence - 1) if sequence > 1 else None, at(sequence))
    pulse.sent(key, at(sequence))


def test_a_beat_says_who_and_when() -> None:
    pulse = a_pulse({"user:1": at(3)}, started_s=50.0)
    assert pulse.number == 0
    first = pulse.beat(52.5, floor=Version(6, 4), history_epoch=5)
    assert first == Beat(EPOCH, 1, 2.5, 5.0, Version(6, 4), 5, 1, digest_of({"user:1": at(3)}).total, {})
    assert pulse.number == 1
    assert beat(pulse, 57.5).uptime_s == 7.5
    assert pulse.number == 2


def test_a_beat_is_no_newer_than_what_was_settled() -> None:
    pulse = a_pulse(started_s=50.0)
    said = [pulse.beat(60.0, settled_s=settled_s, floor=ABSENT, history_epoch=EPOCH) for settled_s in (55.0, 70.0, 40.0)]
    assert [beat.uptime_s for beat in said] == [5.0, 10.0, 0.0]


def test_who_keeps_no_digest_tells_none() -> None:
    pulse = Pulse(epoch=EPOCH, started_s=50.0, digest=None, interval_s=5.0)
    write_and_send(pulse, "k", 1)
    said = beat(pulse)
    assert (said.count, said.digest, said.named) == (None, None, {"k": at(1)})
    pulse.forgotten("k", at(1))
    assert pulse.stored().count == 0


def test_a_flood_is_told_for_as_many_beats_as_there_are_intervals() -> None:
    pulse = a_pulse()
    pulse.flooded()
    assert [beat(pulse).overflow for _ in range(BEAT_INTERVALS_MAX + 1)] == [True] * BEAT_INTERVALS_MAX + [False]


def test_what_was_sent_is_named_by_as_many_beats_as_there_are_intervals() -> None:
    pulse = a_pulse()
    write_and_send(pulse, "k", 1)
    assert [beat(pulse).named for _ in range(BEAT_INTERVALS_MAX + 1)] == [{"k": at(1)}] * BEAT_INTERVALS_MAX + [{}]


def test_the_newest_that_was_sent_is_named() -> None:
    pulse = a_pulse()
    write_and_send(pulse, "k", 1)
    beat(pulse)
    write_and_send(pulse, "k", 2)
    write_and_send(pulse, "k", 3)
    pulse.written("k", at(3), at(4))
    assert beat(pulse).named == {"k": at(3)}


def test_what_was_written_long_before_it_was_sent_is_named_from_then_on() -> None:
    pulse = a_pulse()
    pulse.written("k", None, at(1))
    assert [beat(pulse).named for _ in range(4)] == [{}] * 4
    pulse.sent("k", at(1))
    assert [beat(pulse).named for _ in range(4)] == [{"k": at(1)}] * 3 + [{}]


def test_a_beat_that_cannot_name_all_names_none_and_says_so() -> None:
    pulse = a_pulse(names_max=2)
    write_and_send(pulse, "a", 1)
    write_and_send(pulse, "b", 1)
    assert not beat(pulse).overflow
    write_and_send(pulse, "b", 2)
    assert not beat(pulse).overflow, "an object counts once"
    write_and_send(pulse, "c", 1)
    together = beat(pulse)
    assert (together.overflow, together.named) == (True, {})
    assert not beat(pulse).overflow, "what was sent first is not named any more"
    for key in "abcd":
        write_and_send(pulse, key, 5)
    assert [beat(pulse).overflow for _ in range(BEAT_INTERVALS_MAX + 1)] == [True] * BEAT_INTERVALS_MAX + [False]


def test_what_is_published_again_is_named_and_counts_no_second_time() -> None:
    pulse = a_pulse({"k": at(3)})
    pulse.sent("k", at(3))
    again = beat(pulse)
    assert again.named == {"k": at(3)}
    assert (again.count, again.digest) == (1, digest_of({"k": at(3)}).total)


def test_a_tombstone_counts_until_it_is_forgotten() -> None:
    pulse = a_pulse({"k": at(1)})
    pulse.written("k", at(1), at(2, deleted=True))
    pulse.sent("k", at(2, deleted=True))
    deleted = beat(pulse)
    assert (deleted.count, deleted.digest) == (1, digest_of({"k": at(2, deleted=True)}).total)
    pulse.forgotten("k", at(2, deleted=True))
    gone = beat(pulse)
    assert (gone.count, gone.digest) == (0, 0)


kinds = st.sampled_from(["write", "write", "write", "send", "send", "beat", "late"])
steps = st.lists(st.tuples(kinds, st.sampled_from("abc")))


@given(st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)), steps)
def test_the_digest_is_that_of_what_was_sent_last(begun: dict[str, int], history: list[tuple[str, str]]) -> None:
    """Every history of writes, of which an outbox sends the newest, sometimes noted only after the next write."""
    written = {key: at(sequence) for key, sequence in begun.items()}
    sent, waiting = dict(written), dict[str, Position]()
    pulse = a_pulse(written)
    for step, key in history:
        if step in ("write", "late"):
            before = written.get(key)
            written[key] = at(1 if before is None else before.version.sequence + 1)
            pulse.written(key, before, written[key])
            if step == "late" and key in waiting:
                sent[key] = waiting[key]
                pulse.sent(key, waiting[key])
            waiting[key] = written[key]
        elif step == "send" and key in waiting:
            sent[key] = waiting.pop(key)
            pulse.sent(key, sent[key])
        elif step == "beat":
            said = beat(pulse)
            assert (said.count, said.digest) == (len(sent), digest_of(sent).total)
        assert facts(pulse.stored()) == facts(digest_of(written))
