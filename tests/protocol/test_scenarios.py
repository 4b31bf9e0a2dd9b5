"""Histories with a name: for each rule of replicas and authorities, one in which it matters."""

from __future__ import annotations

import pytest

from parasync.protocol import Status, Version, status_of
from tests.protocol.kit import shown
from tests.protocol.realm import LIFE, Asking, Serving
from tests.protocol.settle import ask_all, drain, settle
from tests.protocol.witness import Violation
from tests.protocol.world import Listener, World


def running(
    *disks: str, lossless: bool = False, askable: bool = True, beats: bool = False, names_max: int = 9, grace_s: float = 0.0
) -> tuple[World, Listener]:
    """Authority A has written one version, and a replica is current with it."""
    world = World(*disks, lossless=lossless, askable=askable, beats=beats, names_max=names_max, grace_s=grace_s)
    world.start("A")
    world.write("A")
    listener = world.join()
    if askable:
        update(world)
        assert status(listener) is Status.OK
    return world, listener


def publish(world: World, name: str = "A", *, bad: bool = False) -> None:
    """Write and send, so that the envelope is the last of those under way."""
    world.write(name, bad=bad)
    world.send(name)


def update(world: World) -> None:
    """All that is under way arrives, and whoever has a need asks."""
    for name, authority in world.authorities.items():
        while authority.outbox:
            world.send(name)
    drain(world, max)
    ask_all(world, max)


def ask_and_answer(world: World, name: str = "A") -> None:
    """An ask arrives at once; its answer stays under way, as the last message."""
    world.ask()
    world.deliver(len(world.network) - 1, name)


def status(listener: Listener) -> Status:
    return status_of(listener.replica, 0.0)


def sequence_of(listener: Listener) -> int:
    assert listener.replica.held is not None
    return listener.replica.held.sequence


def epoch_of(world: World, name: str = "A") -> int:
    return world.authorities[name].epoch


# What comes live


def test_an_envelope_that_comes_late_or_twice_changes_nothing() -> None:
    world, listener = running()
    for _ in range(3):
        publish(world)
    for index in (2, 0, 0):
        world.duplicate(index)
        world.deliver(index)
        world.check()
        assert sequence_of(listener) == 4
    update(world)
    assert listener.replica.ignored_stale == 5
    assert status(listener) is Status.OK


def test_a_gap_shows_the_newest_at_once_and_asks() -> None:
    world, listener = running()
    publish(world)
    publish(world)
    world.lose(0)
    world.deliver(0)
    assert (sequence_of(listener), listener.replica.gaps, status(listener)) == (3, 1, Status.REFETCHING)
    update(world)
    assert status(listener) is Status.OK


def test_what_an_outbox_left_out_is_no_gap() -> None:
    world, listener = running()
    for _ in range(3):
        world.write("A")
    world.send("A")
    world.deliver(0)
    assert (sequence_of(listener), listener.replica.gaps, status(listener)) == (4, 0, Status.OK)


def test_a_lost_last_message_is_found_by_asking_without_a_reason() -> None:
    world, listener = running()
    publish(world)
    world.lose(0)
    assert sequence_of(listener) == 1
    settle(world)
    assert sequence_of(listener) > 1


def test_what_a_deposed_authority_sent_is_dropped_when_it_comes_late() -> None:
    world, listener = running("disk", "disk")
    publish(world, "A")
    world.start("B")
    late = world.network.pop(0)
    publish(world, "B")
    update(world)
    assert listener.replica.current_epoch == epoch_of(world, "B")
    before = shown(listener.replica)
    world.network.append(late)
    world.deliver(0)
    world.check()
    assert shown(listener.replica) == before


def test_a_deposed_authority_cannot_bring_a_refused_replica_back_to_life() -> None:
    """The replica has heard of B only what it cannot read; A's next version must not pass for the newest."""
    world, listener = running("disk", "other")
    world.start("B")
    world.network.clear()
    publish(world, "B", bad=True)
    world.deliver(0)
    assert status(listener) is Status.SKEW
    publish(world, "A")
    world.deliver(0)
    world.check()
    assert (sequence_of(listener), status(listener)) == (1, Status.SKEW)
    settle(world)


def test_a_contradiction_is_asked_for_and_written_anew() -> None:
    world, listener = running()
    world.rogue(form="next")
    world.deliver(0)
    assert (shown(listener.replica) or "").endswith("rogue")
    publish(world)
    world.deliver(0)
    assert (listener.replica.conflicts, listener.replica.need_open) == (1, True)
    update(world)
    assert (shown(listener.replica) or "").endswith("k2")
    assert status(listener) is Status.OK


# Refusals


def test_a_refused_version_leaves_the_last_good_one_until_a_newer_one_comes() -> None:
    world, listener = running()
    publish(world, bad=True)
    world.deliver(0)
    assert (sequence_of(listener), status(listener)) == (1, Status.SKEW)
    update(world)
    assert (status(listener), listener.replica.need_open) == (Status.SKEW, False)
    publish(world)
    world.deliver(0)
    assert (sequence_of(listener), listener.replica.gaps, status(listener)) == (3, 0, Status.OK)


def test_a_refused_frame_that_nobody_wrote_is_cleared_by_an_answer() -> None:
    world, listener = running()
    world.rogue(form="far, unreadable")
    world.deliver(0)
    assert status(listener) is Status.SKEW
    update(world)
    assert status(listener) is Status.REFETCHING, "it may have hidden something"
    update(world)
    assert status(listener) is Status.OK


def test_what_a_refused_frame_hid_is_asked_for_once_the_frame_is_cleared() -> None:
    """The answer was given before the hidden version was written, and must not be the last word."""
    world, listener = running()
    world.rogue(form="far, unreadable")
    world.deliver(0)
    ask_and_answer(world)
    publish(world)
    world.deliver(1)
    world.deliver(0)
    assert listener.replica.refused is None
    assert (sequence_of(listener), listener.replica.need_open) == (1, True)
    update(world)
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)


# Asks and answers


def test_an_answer_ends_only_the_doubts_that_are_older_than_its_ask() -> None:
    world, listener = running()
    world.interrupt()
    ask_and_answer(world)
    publish(world)
    world.lose(1)
    world.interrupt()
    world.deliver(0)
    world.check()
    assert (sequence_of(listener), status(listener)) == (1, Status.REFETCHING)
    update(world)
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)


def test_an_answer_below_what_another_life_wrote_proves_nothing() -> None:
    """The last version of the first life arrives late; the second life has older data and does not know of it."""
    world, listener = running()
    world.write()
    world.backup()
    world.interrupt()
    world.ask()
    publish(world)
    world.crash()
    world.start("A", "older")
    world.network[:] = [message for message in world.network if not isinstance(message, Serving)]
    world.deliver(1)
    assert (sequence_of(listener), listener.replica.gaps) == (3, 0)
    world.deliver(0)
    world.deliver(0)
    world.check()
    assert (sequence_of(listener), status(listener)) == (3, Status.REFETCHING)
    settle(world)
    assert listener.replica.held is not None
    assert listener.replica.held.epoch >= epoch_of(world)


def test_the_same_by_another_life_says_nothing_of_what_came_since() -> None:
    world, listener = running()
    world.backup()
    world.interrupt()
    world.ask()
    publish(world)
    world.crash()
    world.start("A", "older")
    world.network[:] = [message for message in world.network if not isinstance(message, Serving)]
    world.deliver(0)
    world.deliver(0)
    assert sequence_of(listener) == 2
    world.deliver(0)
    world.check()
    assert status(listener) is Status.REFETCHING
    settle(world)


def test_an_answer_that_its_own_life_has_overtaken_proves() -> None:
    world, listener = running()
    world.interrupt()
    ask_and_answer(world)
    publish(world)
    world.deliver(1)
    world.deliver(0)
    world.check()
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)


def test_an_answer_that_comes_after_its_time_is_not_heard() -> None:
    world, listener = running()
    world.interrupt()
    ask_and_answer(world)
    world.timeout()
    assert status(listener) is Status.STALE
    world.deliver(0)
    assert status(listener) is Status.STALE
    update(world)
    assert status(listener) is Status.OK


def test_an_answer_that_comes_twice_is_heard_once() -> None:
    world, listener = running()
    world.interrupt()
    ask_and_answer(world)
    world.duplicate(0)
    world.deliver(0)
    world.interrupt()
    world.deliver(0)
    world.check()
    assert status(listener) is Status.REFETCHING


def test_replicas_of_a_process_share_one_ask() -> None:
    world, listener = running()
    world.interrupt()
    late = world.join()
    other = world.join(key="l")
    world.ask()
    (asking,) = world.network
    assert isinstance(asking, Asking)
    assert asking.ask.keys == ("k", "k", "l")
    assert [position is None for position in asking.ask.positions] == [False, True, True]
    drain(world, max)
    assert [status(each) for each in (listener, late, other)] == [Status.OK] * 3
    assert shown(other.replica) == "0.0 deleted"


# Seeds


def test_a_seed_of_a_far_life_is_replaced_by_the_first_answer() -> None:
    world, _ = running()
    listener = world.join(seed=Version(epoch_of(world) + 99 * LIFE, 5))
    assert status(listener) is Status.STALE
    update(world)
    assert (sequence_of(listener), status(listener)) == (1, Status.OK)
    assert not world.witness.forked, "a seed is no position, and so no reason to write anything anew"


def test_a_live_version_above_a_seed_is_not_replaced_by_an_older_answer() -> None:
    world, _ = running()
    listener = world.join("Q", seed=Version(1, 1))
    world.ask("Q")
    world.deliver(0)
    publish(world)
    world.deliver(2)
    assert sequence_of(listener) == 2
    drain(world, max)
    assert sequence_of(listener) == 2


def test_what_was_dropped_for_a_seed_is_shown_in_the_end() -> None:
    for lossless in (False, True):
        world, _ = running(lossless=lossless)
        listener = world.join("Q", seed=Version(epoch_of(world), 50))
        world.ask("Q")
        world.deliver(0)
        world.write()
        update(world)
        assert (sequence_of(listener), status(listener)) == (2, Status.OK)


# Lives of authorities


def test_a_version_that_was_stored_and_never_sent_is_not_lost() -> None:
    world, listener = running()
    world.write()
    world.crash()
    world.start()
    settle(world)
    assert sequence_of(listener) >= 2


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("data", ["kept", "lost", "older"])
def test_a_new_life_is_above_all_earlier_ones_whatever_became_of_disk_and_clock(data: str, back: bool) -> None:
    world, _ = running()
    world.backup()
    first = epoch_of(world)
    world.crash()
    world.start("A", data, back=back, low=True)  # type: ignore[arg-type]
    assert epoch_of(world) > first


def test_two_lives_that_begin_in_the_same_second_unheard_write_no_version_twice() -> None:
    world = World("disk", "other")
    world.start("A", heard=False)
    world.start("B", heard=False)
    assert epoch_of(world, "A") // LIFE == epoch_of(world, "B") // LIFE
    publish(world, "A")
    publish(world, "B")
    assert epoch_of(world, "A") != epoch_of(world, "B")


def test_who_lost_the_disk_can_neither_write_nor_answer() -> None:
    world, listener = running("disk", "disk")
    world.start("B")
    world.network.clear()
    assert world.serving() == ["A", "B"]
    before = dict(world.disk_of("A").objects)
    world.write("A")
    assert world.serving() == ["B"]
    assert world.disk_of("A").objects == before
    world.authorities["A"].mode = "serving"
    world.interrupt()
    world.ask()
    world.deliver(0, "A")
    assert (world.network, world.serving()) == ([], ["B"])
    world.timeout()
    settle(world)
    assert listener.replica.current_epoch >= epoch_of(world, "B")


def test_an_authority_that_hears_of_a_higher_one_steps_down_and_takes_over_when_nobody_serves() -> None:
    world, listener = running("disk", "other")
    world.start("B")
    drain(world, max)
    assert world.serving() == ["B"]
    world.resume("A")
    assert world.serving() == ["B"]
    world.crash("B")
    world.resume("A")
    assert world.serving() == ["A"]
    settle(world)
    assert listener.replica.current_epoch == epoch_of(world, "A")


def test_two_fenced_authorities_do_not_wait_for_each_other() -> None:
    world, _ = running("disk", "other")
    world.start("B")
    far = epoch_of(world, "B") + 50 * LIFE
    world.told_of("A", far)
    world.told_of("B", far)
    assert world.serving() == []
    settle(world)
    assert len(world.serving()) == 1
    assert epoch_of(world, world.serving()[0]) > far


def test_an_authority_learns_from_an_ask_that_another_life_was_heard() -> None:
    """The replica holds nothing of B: only that it heard of B tells A."""
    for heard, serves in [(True, ["B"]), (False, ["A", "B"])]:
        world, _ = running("disk", "other")
        world.start("B")
        world.network.clear()
        publish(world, "B", bad=True)
        world.deliver(0)
        highest = epoch_of(world, "B")
        world.ask()
        world.deliver(0, "A", heard=heard)
        assert world.serving() == serves
        assert (epoch_of(world, "A") > highest) is not heard
        settle(world)


def test_a_restart_without_data_writes_anew_what_replicas_hold() -> None:
    world, listener = running()
    for _ in range(3):
        publish(world)
    update(world)
    world.crash()
    world.start("A", "lost")
    update(world)
    assert listener.replica.held is not None
    assert shown(listener.replica) == f"{epoch_of(world)}.1 deleted"
    assert status(listener) is Status.OK


def test_a_restart_with_older_data_writes_it_anew() -> None:
    world, listener = running()
    world.backup()
    publish(world)
    update(world)
    world.crash()
    world.start("A", "older")
    update(world)
    assert shown(listener.replica) == f"{epoch_of(world)}.2=k1"
    assert status(listener) is Status.OK


def test_a_frame_far_above_all_versions_makes_the_authority_take_a_new_epoch() -> None:
    for form in ("far", "of a far life"):
        world, listener = running()
        first = epoch_of(world)
        world.rogue(form=form)
        world.deliver(0)
        assert (shown(listener.replica) or "").endswith("rogue")
        update(world)
        update(world)
        assert epoch_of(world) > first
        assert (shown(listener.replica) or "").endswith("k1")
        assert status(listener) is Status.OK


# Deletions


def test_an_object_that_comes_back_is_above_its_dropped_tombstone() -> None:
    world, listener = running()
    world.delete()
    update(world)
    world.purge()
    assert world.disk_of("A").objects == {}
    world.interrupt()
    update(world)
    assert shown(listener.replica) == f"{epoch_of(world)}.2 deleted"
    publish(world)
    update(world)
    assert (sequence_of(listener), listener.replica.gaps, status(listener)) == (3, 0, Status.OK)


def test_a_deletion_is_above_the_floor() -> None:
    world, listener = running()
    for _ in range(4):
        world.write(key="l")
    world.delete(key="l")
    update(world)
    world.purge(key="l")
    world.delete()
    update(world)
    assert (sequence_of(listener), listener.replica.gaps) == (6, 0)
    late = world.join()
    update(world)
    assert shown(late.replica) == shown(listener.replica)


# In process, and where nobody can be asked


def test_in_process_an_authority_that_never_answers_does_not_make_a_replica_stale_for_ever() -> None:
    world, listener = running(lossless=True)
    world.interrupt()
    world.ask()
    world.timeout()
    assert status(listener) is Status.STALE
    world.write()
    world.check()
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)


def test_in_process_a_new_life_without_data_is_noticed_though_nothing_is_published() -> None:
    world, listener = running(lossless=True)
    world.crash()
    world.start("A", "lost")
    assert status(listener) is Status.REFETCHING
    update(world)
    update(world)
    assert (shown(listener.replica) or "").endswith("deleted")
    assert status(listener) is Status.OK


def test_without_anybody_to_ask_a_replica_is_current_after_two_envelopes_in_a_row() -> None:
    world, listener = running(lossless=True, askable=False)
    assert status(listener) is Status.REFETCHING or status(listener) is Status.STALE
    world.write()
    assert status(listener) is Status.OK
    world.interrupt()
    assert status(listener) is Status.STALE
    world.write()
    world.check()
    assert status(listener) is Status.OK


# The witness


def test_the_witness_sees_a_replica_that_changes_behind_its_back() -> None:
    world, listener = running()
    world.check()
    listener.replica.held = None
    with pytest.raises(Violation, match="though nothing was delivered"):
        world.check()
