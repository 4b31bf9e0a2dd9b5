"""The heart of an authority: when it beats, and that no beat says more than is sure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest

from parasync import InProcessTransport, MemoryStore, Terms, authority, synced
from parasync.errors import FencedError, IndeterminateError, StoreError, UsageError
from parasync.protocol import BEAT_NAMES_MAX, Ask, Position, Version
from parasync.runtime._heart import Heart
from parasync.stores import Draft, Outcome, TopicState
from tests.beating import BeatingTransport
from tests.runtime.kit import KEY, NOTES, A, pace, terms
from tests.virtual_time import in_virtual_time, now_s, passing


class Slow(MemoryStore):
    """Lets its caller wait, and fail, as told."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.after: BaseException | None = None
        self.state_error: BaseException | None = None
        self.read_error: BaseException | None = None

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        outcome = await super().write(topic, epoch, draft)
        await self.gate.wait()
        if self.after is not None:
            raise self.after
        return outcome

    async def state(self, topic: str) -> TopicState:
        if self.state_error is not None:
            raise self.state_error
        return await super().state(topic)

    async def read(self, topic: str, keys: Sequence[str]) -> Any:
        if self.read_error is not None:
            raise self.read_error
        return await super().read(topic, keys)


@asynccontextmanager
async def beating(store: MemoryStore | None = None, **options: Any) -> AsyncIterator[tuple[BeatingTransport, authority[str]]]:
    async with BeatingTransport() as bus, authority(NOTES, bus, store=store, terms=terms(**options)) as owner:
        yield bus, owner
    assert bus.listeners == 0


@in_virtual_time
async def test_it_beats_at_once_and_then_every_interval() -> None:
    async with beating(beat_interval_s=4.0) as (bus, owner):
        await passing(13.0)
        assert [beat.number for beat in bus.beats] == [1, 2, 3, 4]
        assert [round(beat.uptime_s) for beat in bus.beats] == [0, 4, 8, 12]
        assert {(beat.epoch, beat.interval_s, beat.history_epoch) for beat in bus.beats} == {(owner.epoch, 4.0, owner.epoch)}
        assert {(beat.count, beat.digest) for beat in bus.beats} == {(0, 0)}
    made = len(bus.beats)
    await passing(20.0)
    assert len(bus.beats) == made, "who was closed beats no more"


@in_virtual_time
async def test_a_write_makes_the_next_beat_early_but_not_each_write_one_of_its_own() -> None:
    async with beating(beat_min_interval_s=0.5) as (bus, owner):
        await passing(2.0)
        version = [await owner.put("a", f"{number}") for number in range(50)][-1]
        await passing(0.01)
        assert len(bus.beats) == 2, "the last one is long ago"
        assert bus.beats[1].named.keys() == {KEY}
        assert bus.beats[1].named[KEY].version == version
        for number in range(50):
            await owner.put("a", f"{number}")
            await passing(0.02)
        assert len(bus.beats) in (3, 4)


@in_virtual_time
async def test_over_what_loses_nothing_nobody_beats() -> None:
    heard: list[object] = []
    async with InProcessTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        bus.subscribe_beats("note", heard.append)
        await owner.put("a", "x")
        await passing(20.0)
        assert heard == []
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("parasync-heart")]


@in_virtual_time
async def test_who_is_loading_does_not_beat_and_begins_when_all_is_there() -> None:
    async with BeatingTransport() as bus, authority(NOTES, bus, loading=True, terms=terms()) as owner:
        for number in range(BEAT_NAMES_MAX + 2):
            await owner.put(str(number), "x")
        await passing(6.0)
        assert bus.beats == []
        assert not owner._desk.heart.published, "what no beat can name is not kept"
        owner.loaded()
        await passing(0.01)
        assert [beat.overflow for beat in bus.beats] == [True]


@in_virtual_time
async def test_what_waits_to_be_sent_is_not_named_and_nothing_is_proven_since() -> None:
    async with beating(beat_interval_s=1.0) as (bus, owner):
        await passing(5.5)
        bus.unsent = {KEY}
        version = await owner.put("a", "waits")
        await owner.put("b", "sent")
        await passing(2.0)
        late = bus.beats[6:]
        assert late
        assert all(KEY not in beat.named and beat.uptime_s <= 5.5 for beat in late)
        assert "note:b" in late[0].named
        bus.unsent = set()
        await passing(1.0)
        assert bus.beats[-1].named[KEY].version == version
        assert bus.beats[-1].uptime_s > 7.0


@in_virtual_time
async def test_no_beat_speaks_for_a_moment_after_the_beginning_of_a_write_that_is_under_way() -> None:
    store = Slow()
    async with beating(store, beat_interval_s=1.0) as (bus, owner):
        await passing(3.5)
        store.gate.clear()
        write = asyncio.create_task(put(owner))
        await passing(3.0)
        assert bus.beats[-1].uptime_s == pytest.approx(3.5)
        assert len(bus.beats) > 5
        store.gate.set()
        await write
        await passing(1.1)
        assert bus.beats[-1].uptime_s > 6.0
        assert bus.beats[-1].named.keys() == {KEY}


@in_virtual_time
async def test_a_write_that_was_stored_before_the_last_beat_and_waits_to_be_sent_is_not_spoken_for() -> None:
    store = Slow()
    async with beating(store, beat_interval_s=1.0) as (bus, owner):
        await passing(3.5)
        store.gate.clear()
        write = asyncio.create_task(put(owner))
        await passing(3.0)
        bus.unsent = {KEY}
        store.gate.set()
        await write
        await passing(3.0)
        assert bus.beats[-1].uptime_s == pytest.approx(3.5)
        bus.unsent = set()
        await passing(1.1)
        assert bus.beats[-1].uptime_s > 9.0


@in_virtual_time
async def test_what_was_written_anew_and_is_told_of_late_takes_no_beat_back() -> None:
    gate = asyncio.Event()

    class Late(MemoryStore):
        async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
            outcome = await super().write(topic, epoch, draft)
            if draft.reissue:
                await gate.wait()
            return outcome

    async with beating(Late(), beat_interval_s=1.0) as (bus, owner):
        lost = Ask(0, (KEY,), (Position(Version(owner.epoch - 1, 9), 99),))
        asking = asyncio.create_task(bus.ask("note", lost, 60.0))
        await passing(1.0)
        newest = await owner.put("a", "newest")
        await passing(2.0)
        gate.set()
        await asking
        await passing(5.0)
        named = [beat.named[KEY].version for beat in bus.beats if KEY in beat.named]
        assert named == [newest] * len(named)
        assert bus.beats[-1].uptime_s > 7.0


async def put(owner: authority[str]) -> None:
    await owner.put("a", "slow")


@in_virtual_time
async def test_a_write_of_which_nobody_knows_is_looked_for_until_the_store_tells() -> None:
    store = Slow()
    async with beating(store, beat_interval_s=1.0) as (bus, owner):
        await passing(3.5)
        store.after, store.read_error = IndeterminateError("lost"), StoreError("away")
        with pytest.raises(IndeterminateError):
            await owner.put("a", "stored all the same")
        await passing(20.0)
        assert bus.beats[-1].uptime_s == pytest.approx(3.5)
        store.read_error = None
        await passing(7.0)
        assert bus.beats[-1].uptime_s > 20.0
        stored = (await store.read("note", [KEY]))[1][KEY]
        assert any(beat.named.get(KEY) == Position.of(stored) for beat in bus.beats)


@in_virtual_time
async def test_a_writer_that_closes_does_not_wait_for_a_store_that_tells_nothing() -> None:
    store = Slow()
    async with beating(store) as (_, owner):
        store.after, store.read_error = IndeterminateError("lost"), StoreError("away")
        with pytest.raises(IndeterminateError):
            await owner.put("a", "x")
        await passing(30.0)
        closing_s = now_s()
    assert now_s() == closing_s


@in_virtual_time
async def test_more_than_a_beat_can_name_is_told_and_not_kept() -> None:
    async with beating(beat_interval_s=1.0) as (bus, owner):
        await passing(0.5)
        for number in range(BEAT_NAMES_MAX + 1):
            await owner.put(str(number), "x")
        await passing(4.0)
        overflows = [beat.overflow for beat in bus.beats]
        assert True in overflows
        assert not overflows[-1]
        assert all(len(beat.named) <= BEAT_NAMES_MAX for beat in bus.beats)


@in_virtual_time
async def test_a_store_that_fails_costs_a_beat_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    store = Slow()
    async with beating(store, beat_interval_s=1.0) as (bus, _):
        await passing(1.5)
        with caplog.at_level(logging.WARNING, "parasync"):
            store.state_error = ValueError("with payload")
            await passing(1.0)
        assert "with payload" not in caplog.text
        made = len(bus.beats)
        store.state_error = None
        await passing(1.5)
        assert len(bus.beats) > made


@in_virtual_time
async def test_who_finds_another_epoch_in_the_store_when_it_would_beat_is_fenced() -> None:
    store = MemoryStore()
    async with beating(store, probe_interval_s=1e6, beat_interval_s=1.0) as (bus, owner):
        await passing(1.5)
        made = len(bus.beats)
        await store.claim("note", owner.epoch + 1)
        await passing(1.0)
        assert not owner.serving
        await passing(5.0)
        assert len(bus.beats) == made


@in_virtual_time
async def test_who_hears_a_beat_of_a_higher_epoch_is_fenced_and_its_own_or_a_lower_one_does_nothing() -> None:
    async with beating(probe_interval_s=1e6) as (bus, owner):
        await passing(1.0)
        bus.say("note", attrs.evolve(bus.beats[0], epoch=owner.epoch - 1))
        bus.say("other", attrs.evolve(bus.beats[0], epoch=owner.epoch + 1))
        assert owner.serving
        bus.say("note", attrs.evolve(bus.beats[0], epoch=owner.epoch + 1))
        assert not owner.serving
        with pytest.raises(FencedError):
            await owner.put("a", "x")


@in_virtual_time
async def test_an_answer_tells_the_beat_before_it_and_the_uptime() -> None:
    async with beating(beat_interval_s=1.0) as (bus, owner):
        await owner.put("a", "x")
        await passing(4.25)
        async with synced(A, bus, pace=pace()) as replica:
            await replica.ready()
            base = replica._member.base
            assert (base.epoch, base.number) == (owner.epoch, bus.beats[-1].number)
            assert base.started_s == pytest.approx(now_s() - 4.25)


@in_virtual_time
async def test_what_is_written_anew_is_named_and_its_write_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way: list[int] = []
    ends = Heart.write_ends

    def noted(self: Heart, write: object) -> None:
        under_way.append(len(self._writing))
        ends(self, write)

    monkeypatch.setattr(Heart, "write_ends", noted)
    async with BeatingTransport() as bus:
        async with authority(NOTES, bus, terms=terms()) as first:
            await first.put("a", "x")
            replica = synced(A, bus, pace=pace())
            await replica.ready()
        async with authority(NOTES, bus, terms=terms()) as second, replica:
            await passing(10.0)
            assert 1 in under_way
            assert second._desk.heart._writing == {}
            assert any(KEY in beat.named and beat.epoch == second.epoch for beat in bus.beats)


@pytest.mark.parametrize("options", [{"beat_interval_s": 0}, {"beat_min_interval_s": -1}, {"beat_min_interval_s": 6.0}])
def test_times_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Terms(**options)
