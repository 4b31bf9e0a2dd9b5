"""Histories with a name in which beats matter: what is lost, late or foreign comes to light by beats alone."""

from __future__ import annotations

import pytest

from parasync.protocol import BEAT_INTERVALS_MAX, Status, age_of
from tests.protocol.kit import asks
from tests.protocol.realm import Beating
from tests.protocol.settle import drain, settle
from tests.protocol.test_scenarios import epoch_of, publish, running, sequence_of, status, update
from tests.protocol.witness import Violation
from tests.protocol.world import World


def beat(world: World, name: str = "A") -> None:
    """A beat that arrives at once, with all that was under way before it."""
    world.beat(name)
    drain(world, max)


def lose_all(world: World) -> None:
    while world.network:
        world.lose()


# What was lost


def test_a_lost_last_message_is_found_by_the_next_beat() -> None:
    world, listener = running(beats=True)
    publish(world)
    lose_all(world)
    world.check()
    assert status(listener) is Status.OK, "nobody can know yet"
    beat(world)
    assert status(listener) is Status.REFETCHING
    update(world)
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)


@pytest.mark.parametrize("lost", range(BEAT_INTERVALS_MAX))
def test_it_is_found_if_not_too_many_beats_are_lost_with_it(lost: int) -> None:
    world, listener = running(beats=True)
    publish(world)
    for _ in range(lost):
        world.beat()
    lose_all(world)
    beat(world)
    assert listener.replica.need_reason == "a beat names a newer version"
    update(world)
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)


def test_where_too_many_beats_are_lost_it_is_asked_for() -> None:
    world, listener = running(beats=True)
    publish(world)
    for _ in range(BEAT_INTERVALS_MAX):
        world.beat()
    lose_all(world)
    beat(world)
    assert asks(listener.replica)
    assert listener.replica.need_reason == "beats were missed, or more was sent than they name"
    update(world)
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)


def test_lost_beats_alone_are_no_reason_to_ask() -> None:
    world, listener = running(beats=True)
    for _ in range(4):
        for _ in range(BEAT_INTERVALS_MAX - 1):
            world.beat()
        lose_all(world)
        beat(world)
        assert status(listener) is Status.OK
    assert listener.replica.refetches == 1


def test_what_a_dead_authority_stored_and_never_sent_is_found_by_the_first_beat_of_the_next() -> None:
    world, listener = running(beats=True)
    world.write()
    world.crash()
    world.start()
    beat(world)
    assert status(listener) is Status.REFETCHING
    update(world)
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)


# What was not sent yet


def test_what_waits_to_be_sent_is_no_reason_to_ask() -> None:
    world, listener = running(beats=True)
    world.write()
    for _ in range(5):
        beat(world)
    assert status(listener) is Status.OK
    world.send()
    beat(world)
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)
    assert listener.replica.refetches == 1


def test_an_answer_may_tell_what_is_sent_only_later() -> None:
    world, listener = running(beats=True)
    world.write()
    world.interrupt()
    world.ask()
    drain(world, max)
    assert sequence_of(listener) == 2
    for _ in range(5):
        beat(world)
    update(world)
    beat(world)
    assert status(listener) is Status.OK
    assert listener.replica.refetches == 2


# What overtakes


def test_a_beat_that_overtakes_what_it_names_waits_for_it() -> None:
    world, listener = running(beats=True, grace_s=0.5)
    publish(world)
    world.beat()
    world.deliver(1)
    world.check()
    assert status(listener) is Status.OK
    world.deliver(0)
    world.look_again()
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)
    beat(world)
    assert listener.replica.refetches == 1


def test_a_backlog_of_beats_proves_no_more_than_its_last() -> None:
    world, listener = running(beats=True)
    for _ in range(4):
        world.beat()
    made = world.moment
    for _ in range(50):
        world.interrupt()
    drain(world, max)
    assert listener.replica.proven_s <= made
    assert age_of(listener.replica, float(world.moment)) >= 50


def test_an_old_beat_says_nothing_after_an_answer() -> None:
    world, listener = running(beats=True)
    publish(world)
    lose_all(world)
    world.beat()
    world.interrupt()
    world.ask()
    world.deliver(1, "A")
    world.deliver(1)
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)
    world.deliver(0)
    assert status(listener) is Status.OK


# Others


def test_what_nobody_sent_comes_to_light_with_the_next_beat() -> None:
    for form in ("next", "far"):
        world, listener = running(beats=True)
        world.rogue(form=form)
        world.deliver()
        beat(world)
        assert status(listener) is Status.REFETCHING
        settle(world, reasons_only=True)


def test_of_two_authorities_the_one_with_the_lower_epoch_steps_down_when_it_hears_a_beat() -> None:
    world, listener = running("disk", "other", beats=True)
    world.start("B")
    assert world.serving() == ["A", "B"]
    beat(world, "A")
    assert world.serving() == ["A", "B"]
    beat(world, "B")
    assert world.serving() == ["B"]
    assert listener.replica.current_epoch == epoch_of(world, "B")
    settle(world, reasons_only=True)


def test_a_beat_of_a_lower_life_makes_a_replica_ask_so_that_its_author_learns_of_the_higher_one() -> None:
    world, listener = running("disk", "other", beats=True)
    world.crash("A")
    world.start("B", heard=False, back=True, low=True)
    assert epoch_of(world, "B") < listener.replica.current_epoch
    beat(world, "B")
    assert status(listener) is Status.REFETCHING
    update(world)
    assert epoch_of(world, "B") == listener.replica.base.epoch
    assert status(listener) is Status.OK
    settle(world, reasons_only=True)


def test_where_a_beat_cannot_name_all_everybody_asks() -> None:
    world, listener = running(beats=True, names_max=1)
    world.join(key="l")
    update(world)
    beat(world)
    refetches = listener.replica.refetches
    for key in ("k", "l"):
        world.write("A", key)
        world.send()
    lose_all(world)
    beat(world)
    assert listener.replica.need_reason == "beats were missed, or more was sent than they name"
    update(world)
    assert (sequence_of(listener), status(listener)) == (2, Status.OK)
    assert listener.replica.refetches == refetches + 1


# The witness


def test_the_witness_sees_a_proof_that_is_too_young() -> None:
    world, listener = running(beats=True)
    listener.replica.footing.proven_s = float(world.moment + 1)
    with pytest.raises(Violation, match="is proven by"):
        world.check()


def test_the_witness_sees_a_digest_that_is_not_of_what_was_sent() -> None:
    world, _ = running(beats=True)
    pulse = world.authorities["A"].pulse
    assert pulse is not None
    pulse.catalogue.digest.count += 1
    with pytest.raises(Violation, match="another digest"):
        world.beat()


def test_the_witness_sees_a_doubt_that_ends_with_a_beat() -> None:
    world, listener = running(beats=True)
    world.interrupt()
    world.beat()
    message = world.network[0]
    assert isinstance(message, Beating)
    listener.replica.needs_closed = listener.replica.needs_raised
    with pytest.raises(Violation, match="a beat ended a doubt"):
        world.witness.beat_came(listener.watched, message.truth, had_need=True)


def test_the_witness_sees_a_replica_that_waits_for_ever() -> None:
    world, listener = running(beats=True, grace_s=0.5)
    publish(world)
    lose_all(world)
    world.beat()
    world.deliver()
    with pytest.raises(Violation, match="waits for ever"):
        world.witness.grace_passed(listener.watched)


def test_the_witness_sees_a_replica_that_trusts_what_nobody_sent() -> None:
    world, listener = running(beats=True)
    world.rogue(form="next")
    world.deliver()
    world.check()
    world.beat()
    message = world.network.pop()
    assert isinstance(message, Beating)
    world.witness.beat_came(listener.watched, message.truth, had_need=False)
    with pytest.raises(Violation, match="nobody sent it"):
        world.check()
