"""The heart of an authority: when it beats, and that no beat says more than is sure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from random import Random
from typing import Any

import attrs
import pytest

from parasync import InProcessTransport, MemoryStore, Terms, authority, synced
from parasync.errors import FencedError, IndeterminateError, StoreError, UsageError
from parasync.protocol import BEAT_NAMES_MAX, Ask, Beat, Position, Pulse, Version
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
        assert [(beat.since, beat.named) for beat in bus.beats] == [(1, {})]


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
async def test_a_beat_goes_out_once_as_much_was_published_as_it_names() -> None:
    async with beating(beat_interval_s=4.0) as (bus, owner):
        await passing(5.5)
        bus.beats.clear()
        for number in range(5 * BEAT_NAMES_MAX):
            await owner.put(str(number), "x")
        await passing(0.6)
        assert [beat.since < beat.number for beat in bus.beats] == [True] * len(bus.beats)
        assert len(bus.beats) <= 7, "five, and those that come with time"
        assert len({key for beat in bus.beats for key in beat.named}) == 5 * BEAT_NAMES_MAX
        assert {round(beat.uptime_s, 1) for beat in bus.beats[:-1]} <= {4.0, 5.5}, "nobody has asked the store since"
        made = len(bus.beats)
        await passing(1.0)
        assert len(bus.beats) == made, "all was said"


@in_virtual_time
async def test_an_early_beat_that_fails_fails_no_write(caplog: pytest.LogCaptureFixture) -> None:
    async with beating() as (bus, owner):
        await passing(1.0)
        publish_beat = bus.publish_beat
        with caplog.at_level(logging.WARNING, "parasync"):
            bus.publish_beat = failing  # type: ignore[method-assign]
            for number in range(BEAT_NAMES_MAX + 2):
                await owner.put(str(number), "x")
        assert "could not beat: ValueError" in caplog.text
        assert "payload" not in caplog.text
        bus.publish_beat = publish_beat  # type: ignore[method-assign]
        await passing(6.0)
        assert (bus.beats[-1].count, bus.beats[-1].since) == (BEAT_NAMES_MAX + 2, bus.beats[-1].number - 1)
        assert bus.beats[-1].named == {}


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt])
@in_virtual_time
async def test_what_ends_an_early_beat_loses_no_write(error: type[BaseException]) -> None:
    def ending(*_: Any) -> None:
        raise error

    async with beating() as (bus, owner), synced(A, bus, pace=pace()) as replica:
        await passing(6.0)
        publish_beat = bus.publish_beat
        bus.publish_beat, owner._desk.heart.room = ending, 0  # type: ignore[method-assign]
        # Nothing but the bus was cancelled; a program that is to end is ended.
        with pytest.raises(KeyboardInterrupt) if error is KeyboardInterrupt else nullcontext():
            await owner.put("a", "x")
        bus.publish_beat = publish_beat  # type: ignore[method-assign]
        await passing(20.0)
        assert (bus.beats[-1].count, replica.value) == (1, "x")


def failing(*_: Any) -> None:
    raise ValueError("payload")


@in_virtual_time
async def test_an_early_beat_is_no_younger_than_the_last_look_into_the_store() -> None:
    store = Slow()
    async with beating(store, beat_interval_s=1.0) as (bus, owner):
        await passing(3.5)
        store.state_error = StoreError("away")
        await passing(5.0)
        for number in range(BEAT_NAMES_MAX + 1):
            await owner.put(str(number), "x")
        assert (len(bus.beats), round(bus.beats[-1].uptime_s)) == (5, 3)
        assert len(bus.beats[-1].named) == BEAT_NAMES_MAX


@in_virtual_time
async def test_who_was_fenced_and_the_next_life_say_nothing_of_what_was_published_before() -> None:
    async with beating(probe_interval_s=1e6) as (bus, owner):
        await passing(1.0)
        bus.say("note", attrs.evolve(bus.beats[0], epoch=owner.epoch + 1))
        made = len(bus.beats)
        owner._desk.heart.beat_early()
        assert len(bus.beats) == made
        async with owner._office.turn:
            await owner._office.claim(0)
        owner._desk.heart.beat_early()
        assert len(bus.beats) == made, "the store was not asked in this life"
        await passing(0.01)
        owner._desk.heart.beat_early()
        assert [beat.number for beat in bus.beats[made:]] == [1, 2]


class Queueing(BeatingTransport):
    """Sends in order, when it is told to; what is written anew goes to the end, as over a bus."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[Any, Any] = {}
        self.sends_as_it_publishes = 0

    def publish(self, key: str, envelope: Any) -> None:
        self.waiting.pop(key, None)
        self.waiting[key] = envelope
        if self.sends_as_it_publishes:
            self.send(self.sends_as_it_publishes)

    def publish_beat(self, topic: str, make: Any) -> None:
        self.waiting[make] = topic

    def send(self, count: int) -> None:
        for what in list(self.waiting)[:count]:
            found = self.waiting.pop(what)
            if isinstance(what, str):
                BeatingTransport.publish(self, what, found)
            else:
                self.unsent = {key for key in self.waiting if isinstance(key, str)}
                BeatingTransport.publish_beat(self, found, what)


@in_virtual_time
async def test_a_write_that_was_under_way_for_long_and_waits_to_be_sent_is_not_spoken_for() -> None:
    store = Slow()
    async with Queueing() as bus, authority(NOTES, bus, store=store, terms=terms(beat_interval_s=1.0)) as owner:
        await passing(3.5)
        store.gate.clear()
        write = asyncio.create_task(put(owner))
        for _ in range(30):
            await passing(0.1)
            bus.send(9)
        owner._desk.heart.beat_early()
        bus.sends_as_it_publishes = 1
        store.gate.set()
        await write
        assert next(iter(bus.waiting)) == KEY, "a beat was made before the write had ended"
        bus.sends_as_it_publishes = 0
        await passing(0.01)
        await owner.put("a", "waits again")
        bus.send(1)
        assert list(bus.waiting) == [KEY]
        assert bus.beats[-1].uptime_s == pytest.approx(3.5)


@pytest.mark.parametrize("seed", range(20))
@in_virtual_time
async def test_however_slow_the_bus_no_beat_has_to_leave_out_what_was_sent_since_the_last(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parasync.runtime._office.Pulse", partial(Pulse, names_max=5))
    chance = Random(seed)
    async with Queueing() as bus, authority(NOTES, bus, terms=terms()) as owner:
        since: set[str] = set()

        missed: list[tuple[Beat, set[str]]] = []

        def heard(beat: Beat) -> None:
            unnamed = since - bus.unsent - beat.named.keys()
            if beat.since == beat.number or unnamed:
                missed.append((beat, unnamed))
            since.clear()

        bus.subscribe_topic("note", lambda key, _: since.add(key))
        bus.subscribe_beats("note", heard)
        await passing(0.01)
        bus.send(1)
        pace = chance.choice([0.3, 1.0, 1.5])
        for number in range(400):
            await owner.put(str(chance.randrange(chance.choice([3, 30, 300]))), f"{number}")
            if chance.random() < 0.2:
                bus.send(chance.randrange(int(12 * pace) + 1))
            if chance.random() < 0.02:
                await passing(chance.choice([0.1, 1.0]))
        await passing(1.0)
        bus.send(10**6)
        assert (len(bus.beats) > 20, missed, since) == (True, [], set())


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
