"""Replicas that hear beats: proven without asking, and quick to notice what was lost, who fell silent and who came anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import pytest

from parasync import InProcessTransport, MemoryStore, Status, Version, authority, synced
from parasync.errors import NotReadyError
from parasync.protocol import Position
from tests.beating import BeatingTransport
from tests.runtime.kit import KEY, NOTES, A, assert_nothing_left, envelope, half, pace, terms, until
from tests.virtual_time import in_virtual_time, now_s, passing

SOON_S = 0.2
"""More than the grace, the jitter and a round trip."""


@asynccontextmanager
async def heard(**options: Any) -> AsyncIterator[tuple[BeatingTransport, authority[str], synced[str]]]:
    """An authority that has beaten before, and a replica that one more beat has proven."""
    async with BeatingTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        await owner.put("a", "first")
        async with synced(A, bus, pace=pace(), **options) as replica:
            await replica.ready()
            await passing(5.5)
            yield bus, owner, replica
    assert bus.listeners == 0
    assert_nothing_left(bus)


@in_virtual_time
async def test_beats_prove_and_nobody_asks_any_more() -> None:
    async with heard() as (bus, owner, replica):
        more = [synced(NOTES[f"{number}"], bus, pace=pace()) for number in range(20)]
        await passing(1.0)
        asked = len(bus.asks)
        for _ in range(600):
            await passing(1.0)
            assert replica.status is Status.OK
            assert replica.age_s <= 5.1
        assert len(bus.asks) == asked
        assert bus.listeners == 2, "the authority, and all replicas of the process together"
        for other in more:
            other.close()
        await owner.put("a", "second")
        await passing(SOON_S)
        assert (replica.value, len(bus.asks)) == ("second", asked)


@in_virtual_time
async def test_the_age_is_that_of_the_beat_at_every_moment() -> None:
    async with heard() as (bus, _, replica):
        beats = len(bus.beats)
        while len(bus.beats) == beats:
            await passing(0.25)
        begun_s = now_s() - replica.age_s
        for step in range(1, 12):
            await passing(0.4)
            assert replica.age_s == pytest.approx(now_s() - begun_s), step
        assert replica.snapshot().age_s == replica.age_s


@asynccontextmanager
async def crowd(objects: int, count: int) -> AsyncIterator[tuple[BeatingTransport, authority[str], list[synced[str]]]]:
    """An authority of many objects, and as many replicas that beats have proven."""
    async with BeatingTransport() as bus, authority(NOTES, bus, terms=terms()) as owner, AsyncExitStack() as stack:
        for number in range(objects):
            await owner.put(f"{number}", "first")
        replicas = [await stack.enter_async_context(synced(NOTES[f"{number}"], bus, pace=pace())) for number in range(count)]
        for replica in replicas:
            await replica.ready()
        await passing(11.0)
        yield bus, owner, replicas


@in_virtual_time
async def test_a_flood_over_more_objects_than_a_beat_names_is_no_reason_to_ask() -> None:
    async with crowd(5_000, 3_000) as (bus, owner, replicas):
        asked = len(bus.asks)
        for turn in range(3):
            for number in range(5_000):
                await owner.put(f"{number}", f"{turn}")
                if number % 1_000 == 0:
                    await passing(0.1)
        await passing(11.0)
        assert len(bus.asks) == asked
        bus.lost = {"note:7"}
        await owner.put("7", "lost")
        for number in range(2_500, 5_000):
            await owner.put(f"{number}", "last")
        bus.lost = set()
        await passing(11.0)
        assert len(bus.asks) == asked + 1, "for what was lost"
        assert replicas[7].value == "lost"
        assert {replica.status for replica in replicas} == {Status.OK}
        assert max(replica.age_s for replica in replicas) < 5.1


@in_virtual_time
async def test_a_flood_that_a_lost_beat_told_of_is_asked_for_once() -> None:
    async with crowd(50, 50) as (bus, owner, replicas):
        asked = len(bus.asks)
        for number in range(5_000):
            bus.silent = 2_000 < number < 3_500
            await owner.put(f"{number}", "x")
            if number % 100 == 0:
                await passing(0.1)
        await passing(30.0)
        assert len(bus.asks) == asked + 1, "all in one, and not again"
        assert {replica.status for replica in replicas} == {Status.OK}


@in_virtual_time
async def test_a_lost_last_message_is_healed_within_a_beat_and_a_round_trip() -> None:
    async with heard() as (bus, owner, replica):
        for number in range(10):
            bus.lost = {KEY}
            await owner.put("a", f"lost {number}")
            bus.lost = set()
            assert replica.value != f"lost {number}"
            await passing(terms().beat_interval_s + SOON_S)
            assert (replica.value, replica.status) == (f"lost {number}", Status.OK)


@in_virtual_time
async def test_what_a_beat_names_has_its_time_to_come() -> None:
    async with heard() as (bus, owner, replica):
        asked = len(bus.asks)
        kept: list[Any] = []
        bus.publish, publish = lambda *what: kept.append(what), bus.publish  # type: ignore[method-assign]
        await owner.put("a", "late")
        await passing(0.01)
        assert KEY in bus.beats[-1].named
        await passing(pace().beat_grace_s - 0.02)
        publish(*kept.pop())
        await passing(1.0)
        assert (replica.value, len(bus.asks)) == ("late", asked)
        await passing(3.0)
        await owner.put("a", "later")
        await passing(pace().beat_grace_s - 0.02)
        assert len(bus.asks) == asked
        await passing(0.1)
        assert (replica.value, len(bus.asks)) == ("later", asked + 1)


@in_virtual_time
async def test_an_authority_that_falls_silent_is_noticed_after_three_beats_and_then_asked() -> None:
    async with heard() as (bus, _, replica):
        bus.silent = True
        asked, proven_s = len(bus.asks), now_s() - replica.age_s
        while replica.status is Status.OK:
            await passing(0.1)
        assert now_s() - proven_s == pytest.approx(15.0, abs=0.21)
        assert replica.reason == "no beat has proven it of late"
        await passing(0.5)
        assert len(bus.asks) == asked + 1
        assert replica.status is Status.OK
        for _ in range(60):
            await passing(1.0)
            assert replica.status is not Status.STALE, "it answers, and is asked as one that never beat"
        assert asked + 2 <= len(bus.asks) <= asked + 4
        bus.silent = False
        await passing(6.0)
        asked = len(bus.asks)
        await passing(60.0)
        assert len(bus.asks) == asked, "it beats again"
        assert replica._member.stale_after_s == 15.0


@in_virtual_time
async def test_an_authority_that_is_gone_leaves_stale_replicas() -> None:
    async with BeatingTransport() as bus:
        async with authority(NOTES, bus, terms=terms()) as owner:
            await owner.put("a", "x")
            replica = synced(A, bus, pace=pace())
            await passing(6.0)
            assert replica.status is Status.OK
        async with replica:
            await passing(16.0)
            assert (replica.status, replica.value) == (Status.STALE, "x")


@in_virtual_time
async def test_a_new_life_is_noticed_by_its_first_beat() -> None:
    store = MemoryStore()
    async with BeatingTransport() as bus:
        quiet = terms(probe_interval_s=1e6)
        async with authority(NOTES, bus, store=store, terms=quiet) as owner:
            await owner.put("a", "x")
            replica = synced(A, bus, pace=pace())
            await passing(6.0)
        bus.answer_probes, bus.probe = None, nobody  # type: ignore[assignment,method-assign]
        bus.lost = {KEY}
        async with replica:
            bus.answer_probes = lambda *_: lambda: None  # type: ignore[method-assign]
            async with authority(NOTES, bus, store=store, terms=quiet) as owner:
                await owner.put("a", "y")
                await passing(SOON_S)
                assert (replica.value, replica.status) == ("y", Status.OK)
                assert replica._member.base.epoch == owner.epoch


async def nobody(*_: Any) -> tuple[()]:
    return ()


@in_virtual_time
async def test_a_backlog_of_old_beats_proves_little() -> None:
    async with heard(stale_after_s=8.0) as (bus, _, replica):
        bus.silent = True
        first = len(bus.beats)
        await passing(14.9)
        backlog, proven_s = bus.beats[first:], now_s() - replica.age_s
        assert backlog
        asked = len(bus.asks)
        bus.say("note", backlog[0])
        assert now_s() - replica.age_s == pytest.approx(proven_s + 5.0, abs=0.01)
        assert replica.age_s > 8.0
        assert replica.status is Status.STALE
        await passing(SOON_S)
        assert len(bus.asks) == asked + 1, "too little"


@in_virtual_time
async def test_beats_of_another_topic_or_that_come_again_change_nothing() -> None:
    async with heard() as (bus, _, replica):
        last = bus.beats[-1]
        before = replica.age_s, replica._member.base
        bus.say("other", attrs.evolve(last, number=last.number + 1, uptime_s=last.uptime_s + 1))
        bus.say("note", last)
        assert (replica.age_s, replica._member.base) == before
        assert replica.status is Status.OK


@pytest.mark.parametrize("change", ["nothing named", "hole", "life", "content"])
@in_virtual_time
async def test_a_beat_that_does_not_fit_is_a_reason_to_ask(change: str) -> None:
    async with heard() as (bus, owner, replica):
        last, asked = bus.beats[-1], len(bus.asks)
        assert replica.version is not None
        forged = {
            "nothing named": attrs.evolve(last, number=last.number + 1, since=last.number + 1),
            "hole": attrs.evolve(last, number=last.number + 4, since=last.number + 1),
            "life": attrs.evolve(last, epoch=last.epoch - 1),
            "content": attrs.evolve(last, number=last.number + 1, named={KEY: Position(replica.version, 12345)}),
        }[change]
        bus.say("note", forged)
        assert replica.status is Status.REFETCHING
        await passing(SOON_S)
        assert (replica.status, len(bus.asks)) == (Status.OK, asked + 1)
        assert replica.stats.conflicts == (change == "content")
        assert owner.serving


@in_virtual_time
async def test_what_was_refused_is_asked_for_now_and_then_though_beats_prove() -> None:
    async with heard() as (bus, _, replica):
        assert replica.version is not None
        # A bad frame, and an answer that says the same: as if its way were bad for a while.
        following = Version(replica.version.epoch, replica.version.sequence + 1)
        bad = envelope(following.sequence, 7, epoch=following.epoch, checksum=1)
        bus.publish(KEY, bad)
        ask = bus.ask

        async def spoiled(*what: Any) -> Any:
            return attrs.evolve(await ask(*what), outcomes=(bad,))

        bus.ask = spoiled  # type: ignore[method-assign]
        await passing(1.0)
        assert (replica.status, replica._member.need_open) == (Status.SKEW, False)
        bus.ask = ask  # type: ignore[method-assign]
        await passing(30.0)
        assert (replica.status, replica.value) == (Status.OK, "first")


@in_virtual_time
async def test_a_stale_time_of_the_user_stays() -> None:
    async with heard(stale_after_s=3.0) as (bus, _, replica):
        bus.silent = True
        await passing(5.0)
        assert replica._member.stale_after_s == 3.0
        assert replica.status is Status.STALE


@in_virtual_time
async def test_who_fetches_elsewhere_listens_to_no_beats() -> None:
    async with BeatingTransport() as bus, synced(A, bus, refetch=lambda: None, pace=pace()):
        assert bus.listeners == 0
        async with synced(A, bus, pace=pace()):
            assert bus.listeners == 1


async def test_a_replica_without_a_loop_hears_beats_on_the_thread_that_brings_them() -> None:
    async with BeatingTransport() as bus, authority(NOTES, bus) as owner:
        await owner.put("a", "x")

        def read() -> tuple[Any, ...]:
            with synced(A, bus) as replica:
                base = replica._member.base
                said = attrs.evolve(bus.beats[-1], number=base.number + 1, uptime_s=1e6)
                bus.say("note", said)
                proven = replica._member.base.number
                bus.say("note", attrs.evolve(said, number=said.number + 9, since=said.number + 6))
                return replica.value, proven - base.number, len(bus.asks)

        await until(lambda: bus.beats)
        value, steps, _ = await asyncio.to_thread(read)
        assert (value, steps) == ("x", 1)
    assert bus.listeners == 0


@in_virtual_time
async def test_a_subscription_that_fails_leaves_nothing_behind() -> None:
    class Refuses(BeatingTransport):
        def subscribe_beats(self, topic: str, handler: Any) -> Any:
            raise NotReadyError("no beats today")

    async with Refuses() as bus:
        with pytest.raises(NotReadyError):
            synced(A, bus, pace=pace())
        assert_nothing_left(bus)
        assert bus._asks._probers == {}


@in_virtual_time
async def test_where_nothing_is_lost_nobody_listens_to_beats() -> None:
    async with InProcessTransport() as bus, synced(A, bus, pace=pace(random=half)):
        assert not bus._beats.listens("note")
