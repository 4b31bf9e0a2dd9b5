"""What beats prove, and what they make a replica ask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import attrs
import pytest

from parasync.protocol import (
    ABSENT_OBJECT,
    BEAT_INTERVALS_MAX,
    SAME,
    TOMBSTONE_CHECKSUM,
    Beat,
    Company,
    Position,
    Replica,
    Status,
    Version,
    age_of,
    status_of,
)
from tests.protocol.kit import a_replica, answer, asks, beat, beat_of, keeps_pace, live, proven_at, shown, state, tombstone

EPOCH = 2


def based(version: str = "2.7", *, number: int = 10, asked_s: float = 100.0, uptime_s: float = 40.0) -> Replica[str]:
    """A replica that was told a version after a beat; its authority began to serve at 60 s on the clock here."""
    replica = a_replica(stale_after_s=15.0)
    answer(replica, state(version), epoch=EPOCH, asked_s=asked_s, beat=number, uptime_s=uptime_s)
    assert not asks(replica)
    return replica


# What proves


def test_the_next_beats_prove_what_they_do_not_contradict() -> None:
    replica = based()
    for number in (11, 12, 15, 18):
        beat(replica, number)
        assert not asks(replica)
        assert replica.base.number == number


def test_a_beat_that_names_what_is_held_proves() -> None:
    replica = based()
    beat(replica, 11, state("2.7"))
    assert (asks(replica), replica.base.number) == (False, 11)


def test_a_beat_from_before_the_held_version_proves() -> None:
    """What was stored may be answered long before it is sent."""
    replica = based("2.7")
    beat(replica, 11, state("2.6"))
    assert (asks(replica), replica.base.number) == (False, 11)


def test_a_beat_names_what_came_live_and_so_confirms_it() -> None:
    replica = based()
    live(replica, state("2.8"))
    beat(replica, 11, state("2.8"))
    beat(replica, 14)
    assert (asks(replica), replica.base.number) == (False, 14)


def test_so_does_an_answer() -> None:
    replica = based()
    live(replica, state("2.8"))
    answer(replica, SAME, epoch=EPOCH, asked_s=101.0, beat=10, uptime_s=41.0)
    beat(replica, 11)
    assert (asks(replica), replica.base.number) == (False, 11)


def test_an_answer_below_what_came_live_confirms_nothing() -> None:
    replica = based()
    asked = replica.asked()
    live(replica, state("2.8"))
    answer(replica, SAME, asked, epoch=EPOCH, asked_s=101.0, beat=10, uptime_s=41.0)
    beat(replica, 11)
    assert asks(replica)
    assert replica.need_reason == "a beat does not name what came live"


def test_a_deleted_object_is_held_like_any_other() -> None:
    replica = based()
    live(replica, tombstone("2.8"))
    replica.beat_received(beat_of(11), Position(Version(2, 8), TOMBSTONE_CHECKSUM), now_s=110.0)
    assert (asks(replica), replica.base.number) == (False, 11)


def test_a_refused_version_is_as_good_as_held() -> None:
    replica = a_replica()
    answer(replica, state("2.7"), epoch=EPOCH, beat=10)
    answer(replica, state("2.8", "bad"), epoch=EPOCH, beat=10)
    beat(replica, 11, state("2.8", "bad"))
    assert (asks(replica), replica.base.number) == (False, 11)


def test_nothing_but_a_refused_version_is_proven_too() -> None:
    replica = a_replica()
    answer(replica, state("2.8", "bad"), epoch=EPOCH, beat=10)
    beat(replica, 11)
    assert (asks(replica), replica.base.number) == (False, 11)


def test_a_beat_closes_no_need() -> None:
    replica = based()
    replica.need_raised("interrupted")
    beat(replica, 11, now_s=107.0, uptime_s=46.0)
    assert asks(replica)
    assert age_of(replica, 107.0) == 1.0, "it proves all the same"


# What raises a need


def needs_after(replica: Replica[str], number: int, *named: object, **options: object) -> int:
    before = replica.needs_raised
    beat(replica, number, *named, **options)  # type: ignore[arg-type]
    return replica.needs_raised - before


def test_without_a_base_every_beat_is_a_need() -> None:
    for replica in (a_replica(), proven_at("2.7")):
        assert needs_after(replica, 1) == 1
        assert needs_after(replica, 2) == 1


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_beat_of_another_life_is_a_need_and_no_proof(epoch: int) -> None:
    replica = based()
    assert needs_after(replica, 11, epoch=epoch) == 1
    assert replica.base == (2, 10, 60.0)
    assert replica.current_epoch == max(epoch, EPOCH)


def test_a_life_that_a_beat_was_heard_of_deposes_the_one_before() -> None:
    replica = based()
    beat(replica, 1, epoch=3)
    live(replica, state("2.8"))
    assert shown(replica) == "2.7=v2.7"
    proven_s = replica.proven_s
    assert needs_after(replica, 11, now_s=111.0, uptime_s=51.0) == 1, "its beats prove nothing any more"
    assert replica.proven_s == proven_s
    answer(replica, SAME, epoch=3, beat=1)
    assert not asks(replica)
    assert needs_after(replica, 2, epoch=3) == 0


def test_a_life_that_was_deposed_proves_nothing_by_its_beats() -> None:
    """Whoever deposed it was heard by other means."""
    replica = based()
    live(replica, state("3.1", "bad"))
    beat(replica, 11, now_s=111.0, uptime_s=51.0)
    assert replica.proven_s == 100.0
    assert replica.base.number == 10


def test_too_many_beats_in_a_row_were_missed() -> None:
    assert needs_after(based(), 10 + BEAT_INTERVALS_MAX) == 0
    replica = based()
    assert needs_after(replica, 11 + BEAT_INTERVALS_MAX) == 1
    assert replica.base.number == 10
    assert needs_after(replica, 12) == 0, "one that comes late may still prove"


def test_a_beat_that_could_not_name_all_is_a_need() -> None:
    replica = based()
    assert needs_after(replica, 11, since=11) == 1
    assert replica.base.number == 10


def test_a_beat_that_names_what_was_sent_since_the_base_proves_whatever_it_left_out() -> None:
    replica = based()
    assert needs_after(replica, 12, since=11) == 1
    replica = based()
    assert needs_after(replica, 11, since=10) == 0
    assert needs_after(replica, 40, since=11) == 0
    assert replica.base.number == 40


def test_a_newer_version_that_was_named_is_a_need() -> None:
    replica = based()
    assert needs_after(replica, 11, state("2.8")) == 1
    assert needs_after(replica, 12, state("3.1")) == 1
    assert replica.base.number == 10


def test_other_content_of_the_newest_version_is_a_conflict() -> None:
    replica = based()
    assert needs_after(replica, 11, state("2.7", "other")) == 1
    assert replica.conflicts == 1
    assert replica.base.number == 10


def test_a_beat_that_does_not_name_what_came_live_is_a_need() -> None:
    for named in ((), (state("2.7"),)):
        replica = based()
        live(replica, state("2.8"))
        assert needs_after(replica, 11, *named) == 1
        assert replica.base.number == 10


def test_a_beat_that_was_heard_before_is_nothing_whatever_it_says() -> None:
    replica = based()
    for number in (10, 9):
        assert needs_after(replica, number, state("2.9")) == 0
    assert replica.base.number == 10
    assert replica.conflicts == 0


# Time


def test_a_beat_proves_as_of_when_it_was_made() -> None:
    replica = based()
    beat(replica, 11, now_s=130.0, uptime_s=45.0)
    assert age_of(replica, 130.0) == 25.0
    beat(replica, 12, now_s=130.0, uptime_s=65.0)
    assert age_of(replica, 130.0) == 5.0


def test_no_proof_is_younger_than_the_beat_that_brings_it() -> None:
    """The clock of the authority runs fast."""
    replica = based()
    beat(replica, 11, now_s=105.0, uptime_s=75.0)
    assert replica.proven_s == 105.0


def test_a_backlog_of_beats_is_a_need_and_never_makes_a_proof_older() -> None:
    replica = based()
    assert needs_after(replica, 11, now_s=200.0, uptime_s=20.0) == 1
    assert replica.need_reason == "a beat came too late to prove much"
    assert replica.proven_s == 100.0


def test_each_answer_sets_the_clock_anew() -> None:
    """Clocks drift apart, so the newest answer counts, not the one that promises the youngest age."""
    replica = based()
    answer(replica, SAME, epoch=EPOCH, asked_s=200.0, beat=12, uptime_s=139.0)
    beat(replica, 13, now_s=210.0, uptime_s=149.0)
    assert replica.proven_s == 210.0
    answer(replica, SAME, epoch=EPOCH, asked_s=300.0, beat=13, uptime_s=245.0)
    beat(replica, 14, now_s=310.0, uptime_s=254.0)
    assert replica.proven_s == 309.0


def test_an_answer_that_beats_have_overtaken_sets_no_base_back() -> None:
    replica = based()
    beat(replica, 13)
    answer(replica, SAME, epoch=EPOCH, asked_s=101.0, beat=10, uptime_s=41.0)
    assert replica.base.number == 13
    answer(replica, SAME, epoch=3, asked_s=102.0, beat=1)
    assert replica.base[:2] == (3, 1)


def test_an_answer_from_somebody_who_does_not_beat_leaves_the_base() -> None:
    replica = based()
    answer(replica, SAME, epoch=EPOCH, asked_s=105.0)
    assert replica.base == (2, 10, 60.0)
    assert replica.proven_s == 105.0


def test_beats_say_themselves_when_a_proof_is_too_old() -> None:
    for by_beats, stale_after_s in ((False, 45.0), (True, 6.0)):
        replica = Replica(
            a_replica().read, lossless=False, askable=True, stale_after_s=45.0, stale_by_beats=by_beats
        )
        answer(replica, state("2.7"), epoch=EPOCH, asked_s=100.0, beat=1, uptime_s=10.0)
        assert status_of(replica, 145.0) is Status.OK
        beat(replica, 2, now_s=102.0, uptime_s=12.0, interval_s=2.0)
        assert status_of(replica, 102.0 + stale_after_s) is Status.OK
        assert status_of(replica, 102.1 + stale_after_s) is Status.STALE


# Grace


def test_what_was_named_and_comes_in_time_is_no_need() -> None:
    replica = based()
    assert replica.look_again_s == math.inf
    assert needs_after(replica, 11, state("2.8"), now_s=105.0, grace_s=0.5) == 0
    assert replica.look_again_s == 105.5
    assert keeps_pace(replica)
    live(replica, state("2.8"))
    replica.time_passed(105.5)
    assert not asks(replica)
    assert replica.look_again_s == math.inf
    assert needs_after(replica, 12, state("2.8")) == 0


def test_what_was_named_and_does_not_come_is_a_need() -> None:
    replica = based()
    beat(replica, 11, state("2.9"), now_s=105.0, grace_s=0.5)
    live(replica, state("2.8"))
    replica.time_passed(105.4)
    assert not asks(replica)
    replica.time_passed(105.5)
    assert asks(replica)
    assert replica.look_again_s == math.inf
    needs = replica.needs_raised
    replica.time_passed(106.0)
    assert replica.needs_raised == needs


def test_a_second_name_is_no_second_grace() -> None:
    replica = based()
    beat(replica, 11, state("2.8"), now_s=105.0, grace_s=0.5)
    beat(replica, 12, state("2.9"), now_s=105.4, grace_s=0.5)
    assert replica.look_again_s == 105.5
    live(replica, state("2.8"))
    replica.time_passed(105.5)
    assert asks(replica)


def test_an_older_beat_that_comes_late_is_no_smaller_promise() -> None:
    replica = based()
    beat(replica, 12, state("2.9"), now_s=105.0, grace_s=0.5)
    beat(replica, 11, state("2.8"), now_s=105.4, grace_s=0.5)
    live(replica, state("2.8"))
    replica.time_passed(105.5)
    assert asks(replica)


def test_what_has_come_leaves_the_next_its_own_grace() -> None:
    replica = based()
    beat(replica, 11, state("2.8"), now_s=105.0, grace_s=0.5)
    live(replica, state("2.8"))
    beat(replica, 12, state("2.9"), now_s=105.4, grace_s=0.5)
    assert replica.look_again_s == 105.9


def test_a_refused_version_has_come() -> None:
    replica = based()
    beat(replica, 11, state("2.8", "bad"), now_s=105.0, grace_s=0.5)
    answer(replica, state("2.8", "bad"), epoch=EPOCH, asked_s=105.1, beat=11, uptime_s=45.1)
    replica.time_passed(105.5)
    assert not asks(replica)


# Who does not listen


def test_in_process_beats_have_nothing_to_tell() -> None:
    replica = proven_at("2.7", lossless=True)
    assert needs_after(replica, 5, state("2.9"), epoch=3) == 0
    assert replica.current_epoch == EPOCH


def test_a_closed_replica_hears_no_beats() -> None:
    replica = based()
    beat(replica, 11, state("2.8"), now_s=105.0, grace_s=0.5)
    replica.close()
    replica.time_passed(106.0)
    assert needs_after(replica, 12, state("2.9"), epoch=3) == 0
    assert not asks(replica)
    assert replica.current_epoch == EPOCH


# One beat for many replicas


def paced(version: str = "2.7", *, asked_s: float = 100.0) -> Replica[str]:
    """As `based`, and beats tell how old a proof may become."""
    replica = a_replica(stale_after_s=15.0, stale_by_beats=True)
    answer(replica, state(version), epoch=EPOCH, asked_s=asked_s, beat=10, uptime_s=40.0)
    return replica


def together(*replicas: Replica[str]) -> Company:
    """The company of replicas that the next beat has proven."""
    said = beat_of(11)
    for replica in replicas:
        replica.beat_received(said, None, now_s=101.0)
    company = Company(replicas[0], said, 101.0)
    assert all(company.takes(replica, said, 101.0) for replica in replicas)
    return company


def state_of(replica: Replica[str]) -> list[object]:
    names = {name for kind in type(replica).__mro__ for name in getattr(kind, "__slots__", ())} - {"footing", "held"}
    footing = [getattr(replica, name) for name in ("base", "proven_s", "beats_until_s", "stale_after_s")]
    return [*footing, *[getattr(replica, name) for name in sorted(names)]]


def test_what_a_beat_is_to_most_is_found_once() -> None:
    replicas, lonely = (paced(), paced("2.9")), (paced(), paced("2.9"))
    company = together(*replicas)
    for replica in lonely:
        replica.beat_received(beat_of(11), None, now_s=101.0)
    for number, now_s in ((12, 103.0), (14, 111.0)):
        said = beat_of(number, uptime_s=now_s - 61.0)
        assert company.beat_received(said, now_s)
        for one, other in zip(replicas, lonely, strict=True):
            other.beat_received(said, None, now_s=now_s)
            assert state_of(one) == state_of(other)


def test_a_beat_that_was_heard_before_is_nothing_to_a_company() -> None:
    replica = paced()
    company = together(replica)
    assert company.beat_received(beat_of(12, uptime_s=42.0), 103.0)
    before = state_of(replica)
    assert company.beat_received(beat_of(11, uptime_s=43.0), 104.0)
    assert state_of(replica) == before


def test_whoever_comes_with_a_beat_that_comes_again_does_not_make_it_new() -> None:
    replica, said = paced(), beat_of(11)
    company = together(paced(), replica)
    answer(replica, state("2.7"), epoch=EPOCH, asked_s=104.0, beat=11, uptime_s=43.5)
    assert replica.footing is not company
    assert company.takes(replica, said, 115.0)
    assert company.beats_until_s == 116.0, "it was heard at 101"


@pytest.mark.parametrize(
    ("said", "now_s"),
    [
        (beat_of(15), 103.0),
        (beat_of(12, epoch=EPOCH + 1), 103.0),
        (beat_of(12, epoch=EPOCH - 1), 103.0),
        (beat_of(12, uptime_s=42.0), 102.0 + 16.0),
        (attrs.evolve(beat_of(12), interval_s=1.0), 103.0),
    ],
    ids=["a hole", "a later life", "an earlier life", "too late", "another pace"],
)
def test_what_is_no_proof_is_for_each_to_find_out(said: Beat, now_s: float) -> None:
    replica = paced()
    company = together(replica)
    before = state_of(replica)
    assert not company.beat_received(said, now_s)
    assert state_of(replica) == before


LEAVING: Final[dict[str, Callable[[Replica[str]], object]]] = {
    "it has a need": lambda replica: replica.need_raised("a reason"),
    "it was proven alone": lambda replica: beat(replica, 12, now_s=102.0),
    "it was answered": lambda replica: answer(replica, SAME, epoch=EPOCH, asked_s=102.0),
    "something came live": lambda replica: live(replica, state("2.8")),
    "something came live that it cannot read": lambda replica: live(replica, state("2.8", "bad")),
    "it is told to": lambda replica: replica.stand_alone(),
}


@pytest.mark.parametrize("name", LEAVING)
def test_whoever_is_otherwise_leaves_and_takes_nothing_of_it_along(name: str) -> None:
    replica, other = paced(), paced()
    company = together(replica, other)
    proven_s = company.proven_s
    LEAVING[name](replica)
    assert company.left == [replica]
    assert (replica.footing is not company, other.footing is company, company.proven_s) == (True, True, proven_s)
    assert company.beat_received(beat_of(13, uptime_s=43.0), 104.0)
    assert (replica.base.number < 13, other.base.number) == (True, 13)


DISTURBANCES: Final[dict[str, Callable[[Replica[str]], object]]] = {
    "it stands elsewhere": lambda replica: beat(replica, 12, now_s=102.0),
    "it was closed": lambda replica: replica.close(),
    "it has a need": lambda replica: replica.need_raised("a reason"),
    "it waits for what a beat named": lambda replica: beat(replica, 12, state("2.8"), now_s=101.0, grace_s=1.0),
    "it heard of a later life": lambda replica: setattr(replica, "current_epoch", EPOCH + 1),
    "it has another age of its own": lambda replica: setattr(replica, "stale_by_beats", False),
    "it loses nothing": lambda replica: setattr(replica, "lossless", True),
    "another pace was proven": lambda replica: setattr(replica.footing, "stale_after_s", 46.0),
    "something came live": lambda replica: live(replica, state("2.8")),
    "an answer proved more": lambda replica: setattr(replica.footing, "proven_s", 101.5),
}


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_company_takes_nobody_of_whom_there_is_more_to_say(name: str) -> None:
    company, replica, said = together(paced()), paced(), beat_of(11)
    replica.beat_received(said, None, now_s=101.0)
    DISTURBANCES[name](replica)
    before = state_of(replica)
    assert not company.takes(replica, said, 101.0)
    assert state_of(replica) == before
    assert (company.base.number, company.left) == (11, [])


def test_an_older_beat_brings_nobody_together() -> None:
    replica = paced()
    company = together(paced())
    beat(replica, 12, now_s=102.0)
    company.beat_received(beat_of(12), 102.0)
    assert not company.takes(replica, beat_of(11), 103.0)
    assert company.takes(replica, beat_of(12), 103.0)


def test_the_best_that_is_known_of_a_life_holds_for_all_who_hear_it() -> None:
    """An answer tells when its author began at the earliest: whoever had a faster one knows better."""
    slow, fast, slower = paced(asked_s=100.0), paced(asked_s=100.5), paced(asked_s=99.0)
    said = beat_of(11, uptime_s=41.0)
    for replica in (slow, fast, slower):
        replica.beat_received(said, None, now_s=103.0)
    company = Company(slow, said, 103.0)
    assert [company.takes(replica, said, 103.0) for replica in (slow, fast, slower)] == [True] * 3
    assert [replica.proven_s for replica in (slow, fast, slower)] == [101.5] * 3
    assert [replica.base.started_s for replica in (slow, fast, slower)] == [60.5] * 3
    assert company.beat_received(beat_of(12, uptime_s=42.0), 103.0)
    assert slower.proven_s == 102.5


def test_who_stands_with_others_knows_what_a_beat_names_of_it() -> None:
    replica = paced("2.7")
    together(replica)
    position = Position.of(state("2.7"))
    assert replica.knows(position)
    assert not replica.knows(Position.of(state("2.7", "other")))
    assert not replica.knows(Position.of(state("2.8")))
    assert not a_replica().knows(position)


def test_whoever_says_how_old_a_proof_may_become_stands_with_others_who_do() -> None:
    replicas = [a_replica(stale_after_s=7.0) for _ in range(2)]
    for replica in replicas:
        answer(replica, state("2.7"), epoch=EPOCH, asked_s=100.0, beat=10, uptime_s=40.0)
    company = together(*replicas)
    assert company.beat_received(beat_of(12, uptime_s=42.0), 103.0)
    assert company.beat_received(attrs.evolve(beat_of(14, uptime_s=44.0), interval_s=1.0), 104.0)
    assert (replicas[0].stale_after_s, replicas[0].beats_until_s, replicas[0].proven_s) == (7.0, 107.0, 104.0)
    assert not company.beat_received(beat_of(15, uptime_s=45.0), 112.5), "that proves too little"
    assert company.beat_received(beat_of(15, uptime_s=45.0), 111.5)


def test_an_object_that_never_was_takes_beats_like_others() -> None:
    replica = a_replica(stale_after_s=15.0, stale_by_beats=True)
    answer(replica, ABSENT_OBJECT, epoch=EPOCH, asked_s=100.0, beat=10, uptime_s=40.0)
    company = together(replica)
    assert company.beat_received(beat_of(12, uptime_s=42.0), 103.0)
    assert replica.base.number == 12
