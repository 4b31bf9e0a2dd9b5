"""How one beat is heard by many: judged once for those who stand together, and alone by whoever does not."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import attrs
import pytest

from parasync import Status, Version, authority, synced
from parasync.protocol import Beat, Company
from tests.beating import BeatingTransport
from tests.runtime.kit import NOTES, assert_nothing_left, envelope, pace, terms
from tests.virtual_time import in_virtual_time, now_s, passing

COUNT = 30


class Watchwork:
    """A clock that does something else first, once, when it is looked at; it equals others, and so has no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self) -> None:
        self.first: Callable[[], object] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Watchwork)

    def __call__(self) -> float:
        first, self.first = self.first, None
        if first is not None:
            first()
        return now_s()


@asynccontextmanager
async def crowd(
    clock: Callable[[], float] = now_s, **options: Any
) -> AsyncIterator[tuple[BeatingTransport, authority[str], list[synced[str]]]]:
    """An authority, and replicas that beats have proven."""
    async with BeatingTransport() as bus, AsyncExitStack() as stack:
        owner = await stack.enter_async_context(authority(NOTES, bus, terms=terms()))
        for number in range(COUNT):
            await owner.put(f"{number}", "first")
        replicas = []
        for number in range(COUNT):  # each has an ask of its own
            replica = synced(NOTES[f"{number}"], bus, pace=pace(clock=clock), **options)
            replicas.append(await stack.enter_async_context(replica))
            await replicas[-1].ready()
            await passing(0.3)
        await passing(11.0)
        yield bus, owner, replicas
    assert_nothing_left(bus)


def companies(replicas: list[synced[str]]) -> int:
    """How many companies there are; a replica that stands alone is one."""
    return len({id(replica._member.footing) for replica in replicas})


async def settled(bus: BeatingTransport) -> int:
    """How often was asked, after all that was written has been named for the last time."""
    await passing(16.0)
    return len(bus.asks)


@pytest.mark.parametrize("options", [{}, {"stale_after_s": 20.0}])
@in_virtual_time
async def test_whoever_beats_have_proven_stands_together_whenever_it_was_opened(options: dict[str, Any]) -> None:
    async with crowd(**options) as (bus, owner, replicas):
        assert companies(replicas) == 1
        await owner.put("3", "second")
        await passing(0.1)
        asked = await settled(bus)
        assert companies(replicas) == 1, "it has come back"
        [ear] = replicas[0]._seat.hub._ears.values()
        assert (replicas[3]._member.footing.left, ear._alone) == ([], {}), "and the next beats are nothing to it"
        await replicas[5].fresh()
        assert companies(replicas) == 2, "an answer has proven it alone"
        assert len(bus.asks) == asked + 1
        await settled(bus)
        assert companies(replicas) == 1
        assert {replica.status for replica in replicas} == {Status.OK}


@in_virtual_time
async def test_what_nobody_has_sent_is_not_proven_for_all() -> None:
    async with crowd() as (bus, _, replicas):
        asked, version = await settled(bus), replicas[7].version
        assert version is not None
        bus.publish("note:7", envelope(version.sequence + 1, "forged", epoch=version.epoch))
        assert replicas[7].value == "forged"
        await passing(5.2)
        assert len(bus.asks) > asked
        assert replicas[7].version > version
        assert replicas[7].value == "first", "it was written anew"


@in_virtual_time
async def test_a_hole_in_the_beats_is_one_to_each_of_them() -> None:
    async with crowd() as (bus, owner, replicas):
        asked, bus.silent = await settled(bus), True
        bus.lost = {"note:4"}
        await owner.put("4", "lost")
        await passing(14.0)
        bus.silent, bus.lost = False, set()
        await passing(12.0)
        assert (replicas[4].value, len(bus.asks)) == ("lost", asked + 1)
        assert companies(replicas) == 1


@in_virtual_time
async def test_whoever_leaves_is_held_by_nobody() -> None:
    async with crowd() as (bus, owner, replicas):
        [ear] = replicas[0]._seat.hub._ears.values()
        member, group = replicas[2]._member, replicas[2]._seat.group
        other = synced(NOTES["2"], bus, pace=pace())
        await other.ready()
        await owner.put("2", "third")
        assert group in ear._touched
        replicas[2].close()
        assert member not in ear.members
        assert member not in ear._alone
        assert group.touched == ear._noted, "the other one is there still"
        other.close()
        assert (group.touched, group in ear._touched) == ((), False)
        await settled(bus)
        company = replicas[3]._member.footing
        assert isinstance(company, Company)
        assert (company.left, company.count) == ([], COUNT - 1)
        assert not ear._alone


@in_virtual_time
async def test_a_company_in_which_nobody_is_left_is_forgotten() -> None:
    async with crowd() as (bus, _, replicas):
        [ear] = replicas[0]._seat.hub._ears.values()
        options: list[dict[str, Any]] = [{"pace": pace(clock=Watchwork())}, {"pace": pace(), "stale_after_s": 9.0}]
        async with AsyncExitStack() as stack:
            for each in options:
                await (await stack.enter_async_context(synced(NOTES["2"], bus, **each))).ready()
            await settled(bus)
            assert len(ear._companies) == 3
        await settled(bus)
        assert companies(replicas) == len(ear._companies) == 1


@in_virtual_time
async def test_who_has_a_need_is_alone_until_it_is_answered() -> None:
    async with crowd() as (bus, owner, replicas):
        await settled(bus)
        for replica in replicas:
            replica._seat.group.interrupted("a reason")
        assert companies(replicas) == COUNT
        assert {replica.status for replica in replicas} == {Status.REFETCHING}
        await settled(bus)
        assert {replica.status for replica in replicas} == {Status.OK}
        assert companies(replicas) == 1
        assert await owner.put("1", "after") > Version(owner.epoch, 0)


@in_virtual_time
async def test_who_leaves_while_a_beat_is_judged_is_judged_by_the_next() -> None:
    clock = Watchwork()
    async with crowd(clock) as (bus, owner, replicas):
        await settled(bus)
        assert companies(replicas) == 1
        clock.first = lambda: replicas[4]._seat.group.interrupted("at this very moment")
        bus.say("note", attrs.evolve(bus.beats[-1], epoch=owner.epoch - 1))
        asked = await settled(bus)
        assert companies(replicas) == 1
        await passing(60.0)
        assert len(bus.asks) == asked


@in_virtual_time
async def test_what_one_raises_while_a_beat_is_judged_leaves_nobody_out(caplog: pytest.LogCaptureFixture) -> None:
    async with crowd() as (bus, owner, replicas):
        await settled(bus)
        member = replicas[3]._member
        attend, member.attend = member.attend, cast("Any", lambda _: 1 / 0)
        bus.say("note", attrs.evolve(bus.beats[-1], epoch=owner.epoch - 1))
        member.attend = attend
        assert "ZeroDivisionError" in caplog.text
        asked = await settled(bus)
        assert companies(replicas) == 1
        await passing(60.0)
        assert len(bus.asks) == asked


@in_virtual_time
async def test_authorities_may_beat_in_several_threads(caplog: pytest.LogCaptureFixture) -> None:
    clock = Watchwork()
    async with crowd(clock) as (bus, owner, replicas):
        await settled(bus)
        strange = attrs.evolve(bus.beats[-1], epoch=owner.epoch - 1)
        [ear] = replicas[0]._seat.hub._ears.values()
        clock.first = lambda: ear.beaten(strange)  # as another thread may, at any point
        with caplog.at_level(logging.ERROR):
            bus.say("note", strange)
        assert caplog.text == ""
        await settled(bus)
        assert companies(replicas) == 1
        assert {replica.status for replica in replicas} == {Status.OK}


@in_virtual_time
async def test_nobody_else_lets_a_replica_take_a_step_while_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with crowd() as (bus, owner, replicas):
        locked: list[bool] = []
        takes = Company.takes

        def looked(company: Company, replica: Any, beat: Beat, now_s: float) -> bool:
            locked.append(replicas[3]._seat.group._lock.raw.locked())
            return takes(company, replica, beat, now_s)

        monkeypatch.setattr(Company, "takes", looked)
        await owner.put("3", "second")
        await settled(bus)
        assert set(locked) == {True}
