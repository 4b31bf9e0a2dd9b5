"""The mirror: random histories of a whole topic, and single rules."""

from __future__ import annotations

import math
import zlib
from typing import Any, Final

import pytest

from parasync.errors import DecodeError, RemoteError
from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    BUCKETS,
    SAME,
    SCAN_KEYS_MAX,
    UNANSWERED,
    Beat,
    Compare,
    Digests,
    Envelope,
    Face,
    Held,
    Mirror,
    Outcome,
    Page,
    Position,
    Refused,
    Scan,
    Scanned,
    Status,
    Version,
    bucket_of,
)
from tests.protocol import kit
from tests.protocol.kit import Text, state, tombstone
from tests.protocol.topics import live_through, place, plan, take

SEEDS: Final = 400
EPOCH: Final = 2


@pytest.mark.parametrize("portion", range(8))
def test_histories_of_a_topic_keep_every_promise(portion: int) -> None:
    for seed in range(portion, SEEDS, 8):
        live_through(seed)


# Single rules

A: Final = ("t:a", state("2.1", "a"))
B: Final = ("t:b", state("2.1", "b"))


def digests(*objects: tuple[str, Text], epoch: int = EPOCH, beat: int = 10, uptime_s: float = 40.0, **more: Any) -> Digests:
    buckets = [0] * BUCKETS
    for key, envelope in objects:
        number = place(key)[0]
        buckets[number] = (buckets[number] + kit.element(key, Position.of(envelope))) % 2**128
    floor, lag_s = more.get("floor", ABSENT), more.get("lag_s", 0.0)
    return Digests(epoch, beat, uptime_s, floor, epoch, lag_s, len(objects), tuple(buckets))


def told(*found: tuple[str, Outcome], covered: str | None = None, epoch: int = EPOCH, **more: Any) -> Scanned:
    beat, floor, lag_s = more.get("beat", 10), more.get("floor", ABSENT), more.get("lag_s", 0.0)
    keys, outcomes = tuple(key for key, _ in found), tuple(outcome for _, outcome in found)
    return Scanned(epoch, beat, 40.0, floor, epoch, lag_s, 7, covered, keys, outcomes)


def an_empty_mirror(**options: Any) -> Mirror[str]:
    return Mirror("t", kit.read, **options)


def ask(mirror: Mirror[str], at_s: float = 100.0) -> Compare | Scan:
    asking = mirror.round or mirror.asked(at_s)
    plan(mirror, asking)
    return mirror.request(at_s, 1_000_000)


def proven(*held: tuple[str, Text], floor: Version = ABSENT, **options: Any) -> Mirror[str]:
    """A mirror that a round has brought to this, after the tenth beat, 40 s after its authority began."""
    mirror = an_empty_mirror(**{"stale_after_s": 15.0, **options})
    request = ask(mirror)
    take(mirror, request, told(*sorted(held, key=lambda each: place(each[0])), floor=floor))
    assert not mirror.rules.need_open
    return mirror


def live(mirror: Mirror[str], key: str, envelope: Text) -> bool | None:
    return mirror.live_received(key, envelope, mirror.prepare(key, envelope))


def beat_of(*objects: tuple[str, Text], number: int = 11, epoch: int = EPOCH, floor: Version = ABSENT) -> Beat:
    total = sum(kit.element(key, Position.of(envelope)) for key, envelope in objects) % 2**128
    return Beat(epoch, number, 45.0, 2.0, floor, epoch, len(objects), total, {}, kit.usual(number))


HOLE = "beats were missed, or more was sent than they name"


def naming(*objects: tuple[str, Text], number: int = 11, since: int | None = None) -> Beat:
    named = {key: Position.of(envelope) for key, envelope in objects}
    return Beat(EPOCH, number, 45.0, 2.0, ABSENT, EPOCH, None, None, named, kit.usual(number) if since is None else since)


def need_of(mirror: Mirror[str]) -> str:
    return mirror.rules.need_reason if mirror.rules.need_open else ""


def test_an_equal_digest_proves_the_topic_as_of_the_beat() -> None:
    mirror = proven(A, B)
    assert {key: held.value for key, held in mirror.held.items()} == {"t:a": "a", "t:b": "b"}
    assert (mirror.shown, mirror.total) == (2, 7)
    face = Face(mirror)
    assert face.age_s(105.0) == 5.0
    mirror.beat_received(beat_of(A, B, number=99), now_s=106.0)
    assert (mirror.base.number, mirror.rules.need_open) == (99, False)
    assert face.age_s(106.0) == 1.0
    mirror.beat_received(beat_of(A, number=98), now_s=106.0)
    assert not mirror.rules.need_open, "an older beat says nothing"


def test_another_digest_is_a_need_at_once_or_after_its_time() -> None:
    mirror = proven(A)
    mirror.beat_received(beat_of(A, B), now_s=105.0)
    assert need_of(mirror) == "the digest of a beat differs"
    mirror = proven(A)
    mirror.beat_received(beat_of(A, B), now_s=105.0, grace_s=0.5)
    mirror.beat_received(beat_of(A, B, number=12), now_s=105.4, grace_s=0.5)
    assert (mirror.rules.need_open, mirror.look_again_s) == (False, 105.5)
    mirror.time_passed(105.4)
    assert not mirror.rules.need_open
    mirror.time_passed(105.5)
    assert (mirror.rules.need_open, mirror.look_again_s) == (True, math.inf)


def test_what_comes_in_its_time_is_no_need() -> None:
    mirror = proven(A)
    mirror.beat_received(beat_of(A, B), now_s=105.0, grace_s=0.5)
    assert live(mirror, *B)
    mirror.time_passed(105.5)
    assert (mirror.base.number, mirror.rules.need_open) == (11, False)


def test_beats_say_when_a_proof_is_too_old_and_a_late_one_is_a_need() -> None:
    mirror = proven(A, stale_by_beats=True)
    mirror.beat_received(beat_of(A), now_s=106.0)
    assert mirror.rules.stale_after_s == 6.0
    assert not mirror.rules.need_open
    mirror.beat_received(beat_of(A, number=12), now_s=120.0)
    assert mirror.rules.need_open
    take(mirror, ask(mirror, 130.0), digests(A, beat=12))
    assert mirror.rules.stale_after_s == 15.0, "the beats have fallen silent"


def test_a_beat_of_another_life_is_a_need_and_deposes_the_lower_one() -> None:
    for epoch in (1, 3):
        mirror = proven(A)
        mirror.beat_received(beat_of(A, epoch=epoch), now_s=105.0)
        assert mirror.rules.need_open
        assert mirror.rules.current_epoch == max(epoch, EPOCH)
    request = ask(mirror, 106.0)
    with pytest.raises(RemoteError, match="deposed"):
        take(mirror, request, digests())
    mirror.beat_received(beat_of(A, number=11), now_s=107.0)
    assert mirror.base.number == 10, "its beats prove nothing any more"


def test_a_beat_before_the_first_load_is_done_says_nothing_yet() -> None:
    mirror = an_empty_mirror()
    mirror.beat_received(beat_of(A), now_s=99.0)
    assert mirror.rules.needs_raised == 2, "nobody asks yet"
    request = ask(mirror)
    mirror.beat_received(beat_of(A, number=12), now_s=101.0)
    take(mirror, request, told(A))
    assert not mirror.rules.need_open


def test_beats_that_name_prove_where_there_is_no_digest_to_compare() -> None:
    mirror = proven(A)
    live(mirror, "t:a", state("2.2"))
    mirror.beat_received(naming(("t:a", state("2.2")), number=12), now_s=106.0)
    assert (mirror.base.number, need_of(mirror)) == (12, "")
    for beat, reason in (
        (naming(number=16), HOLE),
        (naming(number=13, since=13), HOLE),
        (naming(B, number=15), "a beat names a newer version"),
        (naming(("t:a", state("2.2", "other")), number=15), "one version has two contents"),
    ):
        mirror.rules.needs_closed = mirror.rules.needs_raised
        mirror.beat_received(beat, now_s=106.0)
        assert need_of(mirror) == reason
    mirror.rules.needs_closed = mirror.rules.needs_raised
    live(mirror, *B)
    mirror.beat_received(naming(number=13), now_s=106.0)
    assert need_of(mirror) == "a beat does not name what came live"


def test_a_pattern_hears_of_nothing_else() -> None:
    mirror = proven(("t:eu:a", A[1]), prefix="t:eu:")
    assert (mirror.digest, mirror.total) == (None, None)
    assert [key for key in ("t:eu:b", "t:us:b", "t", "t:eu:") if mirror.concerns(key)] == ["t:eu:b", "t:eu:"]
    assert [key for key in ("t:eu:b", "t", "u:b", "tt") if an_empty_mirror().concerns(key)] == ["t:eu:b", "t"]
    mirror.beat_received(naming(("t:us:b", B[1])), now_s=105.0)
    assert (mirror.base.number, mirror.rules.need_open) == (11, False)
    mirror.rules.need_raised("interrupted")
    request = ask(mirror)
    assert isinstance(request, Scan), "it has no digests to compare"
    assert (request.prefix, request.keys, len(request.buckets)) == ("t:eu:", ("t:eu:a",), BUCKETS)


def test_beats_during_a_round_are_judged_at_its_end() -> None:
    for beats, number, need in (
        ((naming(A, number=11), naming(number=14)), 14, ""),
        ((naming(A, number=14),), 10, HOLE),
        ((naming(B, number=8, since=7), naming(number=11, since=10), naming(number=13, since=11)), 13, ""),
        ((naming(B, number=10, since=9), naming(number=11, since=10)), 10, "a beat names a newer version"),
        ((naming(number=11), naming(number=13, since=12)), 10, HOLE),
        ((naming(number=11, since=11), naming(number=13, since=10)), 13, ""),
        ((naming(B, number=11), naming(number=13)), 10, "a beat names a newer version"),
        ((naming(number=9), naming(number=9)), 10, ""),
        ((naming(number=11, since=11),), 10, HOLE),
    ):
        mirror = proven(A, prefix="t:")
        mirror.rules.need_raised("interrupted")
        request = ask(mirror, 106.0)
        for beat in beats:
            mirror.beat_received(beat, now_s=107.0)
        take(mirror, request, told())
        assert (mirror.base.number, need_of(mirror)) == (number, need)


def test_the_beats_of_an_earlier_life_say_nothing_at_the_end_of_a_round() -> None:
    mirror = proven(A, prefix="t:")
    mirror.rules.need_raised("interrupted")
    request = ask(mirror, 106.0)
    mirror.beat_received(naming(B), now_s=107.0)
    mirror.beat_received(Beat(3, 1, 1.0, 2.0, ABSENT, 3, None, None, {}, 0), now_s=107.0)
    take(mirror, request, told(epoch=3, beat=0))
    assert mirror.base.epoch == 3
    assert mirror.base.number == 1


def test_what_may_be_late_makes_an_older_base() -> None:
    mirror = proven(A)
    mirror.beat_received(beat_of(A, number=11), now_s=101.0)
    mirror.beat_received(beat_of(A, number=12), now_s=104.0)
    mirror.base = mirror.base._replace(epoch=1)
    mirror.rules.need_raised("interrupted")
    take(mirror, ask(mirror, 106.0), digests(A, beat=12, lag_s=3.0))
    assert mirror.base.number == 11
    mirror = an_empty_mirror()
    take(mirror, ask(mirror), told(A, lag_s=1.0))
    assert mirror.rules.proven_s == 99.0
    mirror.beat_received(naming(number=1), now_s=101.0)
    assert mirror.rules.need_open, "what was stored before the first beat may never have been sent"


def test_a_floor_forgets_tombstones_and_drops_what_comes_late() -> None:
    mirror = proven(A, B)
    live(mirror, "t:a", tombstone("2.5", after=1))
    assert (mirror.digest and mirror.digest.count, mirror.shown) == (2, 1)
    mirror.beat_received(beat_of(B, floor=Version(2, 5)), now_s=105.0)
    assert not mirror.rules.need_open, "a tombstone at the floor of the beat is as good as none"
    assert (set(mirror.held), mirror.floor) == ({"t:b"}, Version(2, 5))
    assert live(mirror, "t:a", state("2.4", "late")) is False
    forgotten = mirror.place("t:a")
    assert forgotten is not None
    assert (forgotten.version, an_empty_mirror().place("t:a")) == (Version(2, 5), None)
    assert live(mirror, "t:a", state("2.6", "new"))
    assert mirror.rules.resets == mirror.rules.gaps == 0


def test_a_tombstone_above_the_floor_counts() -> None:
    mirror = proven(A, B)
    live(mirror, "t:a", tombstone("2.5", after=1))
    mirror.beat_received(beat_of(B, ("t:a", tombstone("2.5")), floor=Version(2, 4)), now_s=105.0)
    assert (mirror.base.number, mirror.floor, "t:a" in mirror.held) == (11, Version(2, 4), True)


def test_a_late_beat_with_a_lower_floor_changes_nothing() -> None:
    mirror = proven(A, floor=Version(2, 4))
    mirror.beat_received(beat_of(A), now_s=105.0)
    assert (mirror.base.number, mirror.floor) == (11, Version(2, 4))


def test_what_is_refused_counts_as_held_and_leaves_what_was_there() -> None:
    bad = ("t:c", state("2.7", "bad"))
    mirror = proven(A, floor=Version(2, 4))
    live(mirror, "t:c", state("2.7", "bad", after=0))
    face = Face(mirror)
    assert mirror.rules.need_open
    mirror.beat_received(beat_of(A, bad, floor=Version(2, 4)), now_s=105.0)
    assert mirror.base.number == 11
    assert face.status(105.0) is Status.SKEW
    assert face.reason(105.0) == "1 object is newer than what can be read, the last one: expected something that is not bad"
    live(mirror, "t:d", state("2.8", "bad", after=0))
    assert face.reason(105.0).startswith("2 objects are newer than what can be read, the last one: ")
    take(mirror, ask(mirror, 106.0), digests(A, bad, floor=Version(2, 4)))
    request = ask(mirror)
    assert isinstance(request, Scan)
    assert set(request.keys) == {"t:c", "t:d"}, "what was refused is tried again"
    take(mirror, request, told(bad, floor=Version(2, 4)))
    assert set(mirror.refused) == {"t:c"}, "the authority does not know the other"
    assert mirror.held.keys() == {"t:a"}, "where it was before, nobody has told"
    assert mirror.place("t:c") is None
    assert mirror.digest is not None
    assert mirror.digest.count == 2


def test_what_is_first_refused_and_then_read_is_new_whatever_the_floor() -> None:
    mirror = proven(A, floor=Version(2, 4))
    live(mirror, "t:c", state("3.1", "bad"))
    assert live(mirror, "t:c", state("3.2", "good"))
    assert (mirror.rules.resets, mirror.rules.gaps, mirror.refused) == (0, 0, {})
    assert mirror.held["t:c"].value == "good"


def test_what_was_refused_and_is_not_told_of_is_gone() -> None:
    mirror = an_empty_mirror()
    saved = [("t:b", Refused(Position(Version(2, 5), 5), "it was bad"))]
    mirror.warmed(saved, epoch=EPOCH, floor=Version(2, 3), history_epoch=1)
    take(mirror, ask(mirror), digests(floor=Version(2, 7)))
    take(mirror, ask(mirror), told(floor=Version(2, 7)))
    assert (mirror.refused, mirror.held, mirror.round) == ({}, {}, None)


def test_an_answer_that_names_no_place_proves_nothing() -> None:
    for outcome in (UNANSWERED, SAME):
        mirror = an_empty_mirror()
        request = ask(mirror)
        take(mirror, request, told(("t:a", outcome)))
        assert mirror.rules.need_open
        assert mirror.round is not None
        assert mirror.round.passes == 1
        again = ask(mirror)
        assert isinstance(again, Scan)
        assert again.buckets == (bucket_of("t:a"),)
        take(mirror, again, told(A))
        assert not mirror.rules.need_open


def test_an_answer_below_the_ask_proves_nothing() -> None:
    mirror = proven(("t:a", state("2.3")))
    for outcome in (state("2.2"), ABSENT_OBJECT):
        mirror.rules.need_raised("interrupted")
        take(mirror, ask(mirror), digests())
        take(mirror, ask(mirror), told(("t:a", outcome)))
        assert mirror.rules.need_open
        assert mirror.held["t:a"].sequence == 3
        mirror.round = None


def test_a_deletion_below_another_floor_is_one_all_the_same() -> None:
    mirror = proven(("t:a", tombstone("2.3")))
    mirror.rules.need_raised("interrupted")
    take(mirror, ask(mirror), digests(A, floor=Version(2, 2)))
    take(mirror, ask(mirror), told(("t:a", ABSENT_OBJECT), floor=Version(2, 2)))
    assert mirror.rules.need_open, "it was deleted above that floor"
    mirror.round = None
    take(mirror, ask(mirror), digests(A, floor=Version(2, 4)))
    take(mirror, ask(mirror), told(("t:a", ABSENT_OBJECT), floor=Version(2, 4)))
    assert not mirror.rules.need_open
    assert mirror.held == {}


def test_a_round_that_two_lives_answer_proves_nothing() -> None:
    mirror = an_empty_mirror()
    request = ask(mirror)
    take(mirror, request, told(A, covered="t:a"))
    with pytest.raises(RemoteError, match="another life"):
        take(mirror, ask(mirror), told(epoch=3))
    assert mirror.round is None
    assert mirror.rules.need_open
    with pytest.raises(RemoteError, match="no round"):
        take(mirror, request, told(A))


def test_what_another_life_sends_during_a_page_ends_it() -> None:
    mirror = proven(B)
    mirror.rules.need_raised("interrupted")
    take(mirror, ask(mirror), digests(A, B))
    request = ask(mirror)
    assert isinstance(request, Scan)
    page = mirror.scanned(request, told(A))
    live(mirror, "t:a", state("3.1"))
    mirror.page_read(page)
    assert mirror.round is not None, "its answer says nothing any more"
    assert live(mirror, "t:b", state("2.9")) is False, "it is deposed"


def test_a_content_that_differs_is_no_proof() -> None:
    mirror = proven(A)
    mirror.rules.need_raised("interrupted")
    take(mirror, ask(mirror), digests())
    take(mirror, ask(mirror), told(("t:a", state("2.1", "other"))))
    assert mirror.rules.conflicts == 1
    assert mirror.round is not None
    mirror.beat_received(naming(("t:a", state("2.1", "other"))), now_s=105.0)
    assert mirror.rules.conflicts == 1, "a round is under way"


def test_what_comes_live_during_a_page_is_no_news_to_the_same_life() -> None:
    key = "t:a"
    for epoch, floor, open_buckets in ((EPOCH, ABSENT, 0), (EPOCH, Version(2, 9), 1), (1, ABSENT, 1)):
        mirror = an_empty_mirror()
        request = ask(mirror)
        live(mirror, key, state(f"{epoch}.1"))
        take(mirror, request, told(floor=floor))
        assert bool(mirror.round) == bool(open_buckets)
        if open_buckets:
            again = ask(mirror)
            assert isinstance(again, Scan)
            assert (again.keys, again.buckets) == ((key,), (bucket_of(key),))


def test_late_echoes_of_what_was_forgotten_are_dropped_during_a_round() -> None:
    mirror = an_empty_mirror()
    take(mirror, ask(mirror), told(A, covered="t:a", floor=Version(2, 5)))
    assert live(mirror, "t:z", state("2.5")) is False
    assert live(mirror, "t:z", state("2.6")) is True


def test_a_range_that_is_too_long_is_asked_for_in_parts() -> None:
    keys = sorted((f"t:{number}" for number in range(3 * SCAN_KEYS_MAX)), key=place)
    mirror = proven(*[(key, A[1]) for key in keys], prefix="t:")
    mirror.rules.need_raised("interrupted")
    asked: list[str] = []
    rounds = 0
    while mirror.rules.need_open:
        rounds += 1
        request = ask(mirror)
        assert isinstance(request, Scan)
        assert len(request.keys) <= SCAN_KEYS_MAX
        asked += request.keys
        take(mirror, request, told())
    assert (asked, rounds) == (keys, 3)


def test_a_message_has_room_for_few_names() -> None:
    same_bucket = [f"t:{number}" for number in range(2000) if place(f"t:{number}")[0] == 7]
    other = next(f"t:{number}" for number in range(2000) if place(f"t:{number}")[0] == 8)
    keys = [*sorted(same_bucket), other]
    mirror = proven(*[(key, A[1]) for key in keys], prefix="t:")
    mirror.rules.need_raised("interrupted")
    asking = mirror.asked(200.0)
    plan(mirror, asking)
    parts = []
    while mirror.rules.need_open:
        scan = mirror.request(200.0, 1)
        assert isinstance(scan, Scan)
        parts.append((scan.keys, scan.upto, scan.buckets[-1]))
        take(mirror, scan, told())
    assert [keys for keys, _, _ in parts] == [(key,) for key in keys]
    assert parts[0][1:] == (keys[0], 7)
    assert parts[-2][1:] == ("", 7), "a whole bucket needs no end"
    assert parts[-1][1:] == ("", 255)


def test_a_round_begins_with_the_attempt_that_is_answered() -> None:
    mirror = proven(A, B)
    mirror.rules.need_raised("interrupted")
    ask(mirror, 200.0)
    mirror.ask_failed("no answer within 1 s")
    mirror.rules.need_raised("a version was lost")
    take(mirror, ask(mirror, 203.0), digests(A, ("t:b", state("2.2")), uptime_s=143.0))
    take(mirror, ask(mirror, 209.0), told(("t:b", state("2.2"))))
    assert not mirror.rules.need_open, "both were raised before that attempt was sent"
    assert mirror.rules.proven_s == 203.0
    assert mirror.base.started_s == 60.0, "not 57: beats would prove three seconds less for as long as this life lasts"


def test_what_becomes_known_or_is_forgotten_during_a_round_is_named_or_not() -> None:
    keys = sorted(("t:a", "t:b", "t:c"), key=place)
    mirror = proven(*[(key, tombstone("2.3")) for key in keys[:2]], prefix="t:", floor=Version(2, 1))
    mirror.rules.need_raised("interrupted")
    asking = mirror.asked(200.0)
    known = mirror.known()
    live(mirror, keys[2], state("2.4"))
    asking.plan(asking.spread(known))
    mirror._adopt(Version(2, 3))
    scan = mirror.request(200.0, 1_000_000)
    assert isinstance(scan, Scan)
    assert scan.keys == (keys[2],)


def test_what_nobody_answers_is_asked_anew_and_proves_as_of_then() -> None:
    mirror = proven(A)
    mirror.rules.need_raised("interrupted")
    ask(mirror, 110.0)
    mirror.ask_failed("no answer")
    mirror.rules.need_raised("interrupted once more")
    take(mirror, ask(mirror, 120.0), digests(A, B, beat=11, uptime_s=58.0))
    mirror.rules.need_raised("interrupted in the middle")
    request = ask(mirror, 130.0)
    mirror.ask_failed("no answer")
    assert ask(mirror, 140.0) == request
    take(mirror, request, told(B))
    assert (mirror.rules.proven_s, mirror.base.started_s) == (120.0, 62.0)
    assert (mirror.rules.needs_raised - mirror.rules.needs_closed, mirror.rules.refetches) == (1, 2)


def test_what_is_nowhere_in_the_range_is_no_answer() -> None:
    mirror = proven(A, B)
    mirror.rules.need_raised("interrupted")
    take(mirror, ask(mirror), digests(A, ("t:b", state("2.2"))))
    request = ask(mirror)
    assert isinstance(request, Scan)
    elsewhere = next(f"t:{number}" for number in range(999) if bucket_of(f"t:{number}") != bucket_of("t:b"))
    foreign = next(f"u:{number}" for number in range(9999) if bucket_of(f"u:{number}") == bucket_of("t:b"))
    for answer in (
        told((elsewhere, A[1])),
        told((foreign, A[1])),
        told(covered=elsewhere),
        told(B, covered=None).__class__(*[*kit_fields(told(B))[:-1], ()]),
    ):
        with pytest.raises(DecodeError):
            take(mirror, request, answer)
    mirror.round = None
    ask(mirror)
    with pytest.raises(DecodeError, match="256"):
        mirror.digests_received(Digests(EPOCH, 1, 1.0, ABSENT, EPOCH, 0.0, 1, (0,)))


def kit_fields(answer: Scanned) -> tuple[Any, ...]:
    return (
        answer.epoch,
        answer.beat,
        answer.uptime_s,
        answer.floor,
        answer.history_epoch,
        answer.lag_s,
        answer.count,
        answer.covered,
        answer.keys,
        answer.outcomes,
    )


def test_an_answer_may_cover_nothing_twice() -> None:
    mirror = an_empty_mirror()
    take(mirror, ask(mirror), told(A, covered="t:a"))
    again = ask(mirror)
    assert isinstance(again, Scan)
    assert (again.buckets[0], again.after) == (bucket_of("t:a"), "t:a")
    with pytest.raises(DecodeError, match="covers nothing"):
        take(mirror, again, told(covered="t:a"))


def test_what_was_saved_is_shown_and_not_proven() -> None:
    mirror = an_empty_mirror()
    face = Face(mirror)
    assert face.status(0.0) is Status.REFETCHING
    bad = Refused(Position(Version(1, 5), 5), "it was bad")
    saved: list[tuple[str, Held[str] | Refused]] = [
        ("t:a", Held(state("1.4", "a"), "a")),
        ("t:b", bad),
        ("t:c", Held(tombstone("1.2"), None)),
        ("t:d", Held(tombstone("1.7"), None)),
    ]
    mirror.warmed(saved, epoch=EPOCH, floor=Version(1, 3), history_epoch=1)
    assert (mirror.loaded, mirror.proven, mirror.shown, set(mirror.held)) == (True, False, 1, {"t:a", "t:d"})
    assert (face.status(0.0), mirror.rules.current_epoch) == (Status.SKEW, EPOCH)
    request = ask(mirror)
    assert isinstance(request, Compare)
    objects = [("t:a", state("1.4", "a")), ("t:b", state("1.5", "good")), ("t:d", tombstone("1.7"))]
    take(mirror, request, digests(*objects, floor=Version(1, 3)))
    request = ask(mirror)
    assert isinstance(request, Scan)
    assert (request.keys, request.positions, request.floor) == (("t:b",), (None,), Version(1, 3))
    take(mirror, request, told(objects[1], floor=Version(1, 3)))
    assert (mirror.shown, mirror.proven, mirror.rules.applied) == (2, True, 1)


def test_a_mirror_of_a_lossless_transport_is_current_while_no_need_is_open() -> None:
    mirror = proven(A, lossless=True)
    face = Face(mirror)
    assert (face.status(1e9), face.age_s(1e9), face.reason(1e9)) == (Status.OK, 0.0, "")
    mirror.beat_received(beat_of(B), now_s=101.0)
    assert not mirror.rules.need_open, "nobody beats there"
    assert live(mirror, *B)
    mirror.rules.need_raised("another life")
    mirror.ask_failed("nobody there")
    assert live(mirror, "t:a", state("2.2"))
    assert mirror.rules.need_open, "what follows in one object says nothing of the others"


def test_a_closed_mirror_hears_nothing() -> None:
    mirror = proven(A)
    mirror.rules.need_raised("interrupted")
    mirror.beat_received(beat_of(A, B), now_s=105.0, grace_s=0.5)
    request = ask(mirror, 106.0)
    mirror.rules.close()
    mirror.time_passed(106.0)
    mirror.beat_received(beat_of(A, B, epoch=3), now_s=105.0)
    assert live(mirror, *B) is False
    with pytest.raises(RemoteError):
        take(mirror, request, digests(A, B))
    assert mirror.rules.needs_raised == 2
    assert mirror.rules.current_epoch == EPOCH


def test_a_reading_that_was_made_too_early_is_made_again() -> None:
    mirror = proven(A)
    newer = state("2.2")
    early = mirror.prepare("t:a", state("2.1", "a"))
    assert mirror.live_received("t:a", newer, early) is None
    mirror.rules.need_raised("interrupted")
    take(mirror, ask(mirror), digests())
    request = ask(mirror)
    assert isinstance(request, Scan)
    page: Page = mirror.scanned(request, told(("t:a", newer)))
    assert mirror.learn(page, "t:a", newer, early) is None
    assert mirror.held["t:a"].sequence == 1


def test_objects_share_their_epoch_and_schema() -> None:
    epoch = int("9007199254740000")
    mirror = an_empty_mirror()
    for number in range(2):
        envelope = state(f"{epoch}.1", checksum=True)
        envelope.schema_version = f"{number // 9 + 1}.0"
        envelope.epoch = int(str(epoch))
        live(mirror, f"t:{number}", envelope)
    one, two = mirror.held.values()
    assert one.epoch is two.epoch
    assert one.schema_version is two.schema_version


def test_the_buckets_of_the_tests_are_those_of_the_code() -> None:
    assert bucket_of("t:a") == zlib.crc32(b"t:a") % 256


BEFORE: Final = next(key for key in (f"t:{number}" for number in range(1000)) if place(key) < place("t:a"))
BEHIND: Final = next(key for key in (f"t:{number}" for number in range(1000)) if place(key) > place("t:a"))


def two_pages(mirror: Mirror[str], *, before: tuple[str, Text] | None = None) -> tuple[Page, Scan]:
    """The first of two pages, not learned yet, and the ask for the second."""
    request = ask(mirror)
    if before is not None:
        live(mirror, *before)
    assert isinstance(request, Scan)
    page = mirror.scanned(request, told(A, covered="t:a"))
    assert mirror.ahead(page)
    onward = mirror.request(101.0, 1_000_000)
    assert isinstance(onward, Scan)
    assert (onward.buckets[0], onward.after) == (bucket_of("t:a"), "t:a")
    return page, onward


def learn(mirror: Mirror[str], page: Page) -> None:
    for key, outcome in page.outcomes():
        assert isinstance(outcome, Envelope)
        assert mirror.learn(page, key, outcome, mirror.prepare(key, outcome))
    mirror.page_read(page)


def test_what_lies_behind_an_answer_is_asked_for_before_that_is_learned() -> None:
    mirror = an_empty_mirror()
    page, onward = two_pages(mirror)
    learn(mirror, page)
    last = mirror.scanned(onward, told((BEHIND, state("2.1", "b"))))
    assert not mirror.ahead(last), "nothing is left to ask for"
    learn(mirror, last)
    assert (mirror.proven, mirror.shown, mirror.round) == (True, 2, None)
    assert not mirror.ahead(last), "the round is over"


def test_an_answer_that_was_not_learned_to_its_end_is_asked_for_again() -> None:
    mirror = an_empty_mirror()
    _, onward = two_pages(mirror)
    with pytest.raises(RemoteError, match="not learned to its end"):
        mirror.scanned(onward, told((BEHIND, state("2.1", "b"))))
    assert (mirror.round, mirror.proven) == (None, False)


def test_what_came_before_the_next_ask_is_judged_by_the_answer_to_the_last() -> None:
    """It was there when nobody was asked, and its author is not the one that answers."""
    mirror = an_empty_mirror()
    page, onward = two_pages(mirror, before=(BEFORE, state("1.9")))
    learn(mirror, page)
    take(mirror, onward, told((BEHIND, state("2.1", "b"))))
    again = ask(mirror)
    assert isinstance(again, Scan)
    assert again.keys == (BEFORE,)


def test_what_came_meanwhile_is_not_learned_as_the_first_of_its_object() -> None:
    mirror = an_empty_mirror()
    page, _ = two_pages(mirror)
    ((key, envelope),) = mirror.firsts(page, page.outcomes())
    newer = state("2.2", "newer")
    assert live(mirror, key, newer)
    assert mirror.learn_firsts(page, {key: (envelope, "a")}) == []
    assert mirror.firsts(page, page.outcomes()) == []
    assert mirror.held[key].value == "newer"
    mirror.rules.close()
    assert mirror.learn_firsts(page, {"t:x": (envelope, "a")}) == []
