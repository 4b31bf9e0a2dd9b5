"""Old tombstones are dropped, the floor rises, and nobody is told anything wrong by that, however late or early it is."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

import pytest

from parasync import (
    ABSENT,
    Capabilities,
    InProcessTransport,
    MemoryStore,
    MsgpackCodec,
    Status,
    Terms,
    Version,
    authority,
    mirror,
    synced,
)
from parasync.errors import IndeterminateError, UsageError
from parasync.protocol import ABSENT_OBJECT, TOMBSTONE_CHECKSUM, Digest, Position
from parasync.runtime._mirroring import FORGET_INTERVAL_S, TOMBSTONES_MAX
from parasync.runtime._sweeper import SWEEP_INTERVAL_MAX_S
from parasync.stores import Draft, Outcome, Store, TopicState
from tests.beating import BeatingTransport
from tests.lossy import LossyTransport
from tests.runtime.kit import KEY, NOTES, A, pace, terms
from tests.runtime.scanning import compared, scanned
from tests.virtual_time import in_virtual_time, now_s, passing

TTL_S = 80.0
LONG_S = TTL_S * 1.5
"""By then, what was deleted at the beginning is dropped, and everybody who listens was told."""


class Disk(MemoryStore):
    """Fails, hangs and answers late, as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.after: BaseException | None = None
        self.told = asyncio.Event()
        self.told.set()
        self.raised = 0

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        self.raised += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return await super().raise_floor(topic, epoch, before_s=before_s)

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        outcome = await super().write(topic, epoch, draft)
        await self.told.wait()
        if self.after is not None:
            raise self.after
        return outcome


def owner_of(bus: Any, store: MemoryStore | None = None, **options: Any) -> authority[str]:
    return authority(NOTES, bus, store=store, terms=terms(**{"tombstone_ttl_s": TTL_S, **options}))


def mirror_of(bus: Any) -> mirror[str]:
    return mirror(NOTES, bus, pace=pace())


def readers_of(bus: Any) -> tuple[mirror[str], synced[str]]:
    return mirror_of(bus), synced(A, bus, pace=pace())


async def gone(owner: authority[str], *idents: str) -> Version:
    """Write and delete; the last one was deleted there."""
    version = ABSENT
    for ident in idents:
        await owner.put(ident, "x")
        version = await owner.delete(ident)
    return version


def sweepers() -> list[str]:
    """The tasks that are under way."""
    return [task.get_name() for task in asyncio.all_tasks() if "sweeper" in task.get_name()]


async def dropped(owner: authority[str]) -> None:
    """All tombstones are dropped now, as if they were old."""
    await owner._desk.sweeper.sweep(ttl_s=-1.0)


@pytest.mark.parametrize("ttl_s", [0, -1.0, 14.9, math.nan, True, "7 days", None])
def test_a_time_that_makes_no_sense_is_refused(ttl_s: Any) -> None:
    with pytest.raises(UsageError, match=r"got tombstone_ttl_s=.*, expected at least takeover_after_s=15.0"):
        Terms(tombstone_ttl_s=ttl_s)
    assert Terms().tombstone_ttl_s == 7 * 24 * 3600.0
    assert Terms(tombstone_ttl_s=15).tombstone_ttl_s == 15


def test_a_store_that_cannot_drop_tombstones_hears_what_is_missing() -> None:
    methods = {name: getattr(MemoryStore, name) for name in vars(Store) if not name.startswith("_") and name != "raise_floor"}
    older = type("Older", (), methods)()
    with pytest.raises(UsageError, match="got a Older without raise_floor as store, expected one such as MemoryStore"):
        owner_of(InProcessTransport(), older)
    with pytest.raises(UsageError, match="got a dict as store, expected"):
        owner_of(InProcessTransport(), {})  # type: ignore[arg-type]


@in_virtual_time
async def test_the_floor_rises_in_time_and_everybody_forgets_together() -> None:
    store = MemoryStore()
    async with BeatingTransport() as bus, owner_of(bus, store) as owner:
        notes, note = readers_of(bus)
        async with notes, note:
            lives = await owner.put("lives", "here")
            floor = await gone(owner, *map(str, range(300)), "a")
            await passing(6.0)
            asked = len(bus.asks)
            assert (bus.beats[-1].floor, bus.beats[-1].count) == (ABSENT, 302)
            await passing(LONG_S)
            assert (await store.state("note")).floor == bus.beats[-1].floor == notes._core.floor == floor
            assert [key for key, _ in await store.positions("note", after="", limit=9)] == ["note:lives"]
            digest = Digest()
            digest.add("note:lives", Position.of((await store.read("note", ["note:lives"]))[1]["note:lives"]))
            assert (bus.beats[-1].count, bus.beats[-1].digest) == (1, digest.total)
            assert dict(notes) == {"lives": "here"}
            assert (notes._core.held.keys(), notes._core.tombstones) == ({"note:lives"}, {})
            assert notes.version_of("lives") == lives
            assert (notes.status, note.status, len(bus.asks)) == (Status.OK, Status.OK, asked), "and nobody asked for that"
            version = await owner.put("a", "again")
            assert version == Version(floor.epoch, floor.sequence + 1)
            await passing(6.0)
            assert (notes["a"], note.get(), notes.status, note.status) == ("again", "again", Status.OK, Status.OK)


@in_virtual_time
async def test_a_deletion_that_is_put_above_the_floor_is_no_gap() -> None:
    async with BeatingTransport() as bus, owner_of(bus) as owner:
        notes, note = readers_of(bus)
        async with notes, note:
            version = await owner.put("a", "x")
            await gone(owner, *"bbbb")
            await dropped(owner)
            await passing(20.0)
            asked = len(bus.asks)
            assert await owner.delete("a") == Version(version.epoch, 9)
            await passing(20.0)
            assert (dict(notes), note.peek(), notes.status, note.status) == ({}, None, Status.OK, Status.OK)
            assert (notes.stats.gaps, note.stats.gaps, len(bus.asks)) == (0, 0, asked)


@in_virtual_time
async def test_young_tombstones_stay_and_never_means_never() -> None:
    for ttl_s, days in ((7 * 24 * 3600.0, 6.9), (math.inf, 1000.0)):
        store = MemoryStore()
        async with InProcessTransport() as bus, owner_of(bus, store, tombstone_ttl_s=ttl_s) as owner:
            tombstone = await gone(owner, "a")
            owner._desk.sweeper._due_s -= ttl_s  # nobody waits for days here
            now_s = owner._terms.wall_clock()
            object.__setattr__(owner._terms, "wall_clock", lambda now_s=now_s, days=days: now_s + days * 24 * 3600.0)
            await passing(20.0)
            assert await store.positions("note", after="", limit=9) == [(KEY, Position(tombstone, TOMBSTONE_CHECKSUM))]
            assert owner._desk.sweeper._interval_s <= SWEEP_INTERVAL_MAX_S


@in_virtual_time
async def test_a_reader_that_was_away_for_longer_hears_of_the_deletion() -> None:
    store = MemoryStore()
    async with BeatingTransport() as bus, owner_of(bus, store) as owner:
        notes, note = readers_of(bus)
        async with notes, note:
            await owner.put("a", "to go")
            await owner.put("b", "to go")
            await passing(6.0)
            saved = notes.snapshot()
            bus.lost, bus.silent = {KEY, "note:b"}, True
            await owner.delete("a")
            await owner.delete("b")
            await dropped(owner)
            assert (dict(notes), note.get()) == ({"a": "to go", "b": "to go"}, "to go")
            bus.lost, bus.silent = set(), False
            await passing(20.0)
            floor = (await store.state("note")).floor
            assert (dict(notes), notes.status, notes._core.floor) == ({}, Status.OK, floor)
            assert (note.snapshot().deleted, note.version, note.status) == (True, floor, Status.OK)
        async with mirror(NOTES, bus, warm=saved, pace=pace()) as warm:
            assert dict(warm) == {"a": "to go", "b": "to go"}
            await passing(6.0)
            assert (dict(warm), warm.status, warm._core.tombstones) == ({}, Status.OK, {})
            await owner.put("b", "again")
            assert dict(warm) == {"b": "again"}


@in_virtual_time
async def test_a_floor_is_told_once_all_that_was_stored_below_it_was_sent() -> None:
    store = Disk()
    async with BeatingTransport() as bus, owner_of(bus, store, beat_interval_s=1.0) as owner, mirror_of(bus) as notes:
        floor = await gone(owner, "b", "b", "b")
        await passing(3.0)
        store.told.clear()
        writing = asyncio.create_task(owner.put("a", "below the floor"))
        await passing(1.0)
        await dropped(owner)
        assert (await store.state("note")).floor == floor
        await passing(3.0)
        assert {beat.floor for beat in bus.beats} == {ABSENT}, "what was stored is not sent yet"
        assert (await compared(bus)).floor == ABSENT
        bus.unsent = {KEY}
        store.told.set()
        version = await writing
        assert version < floor
        await passing(3.0)
        assert {beat.floor for beat in bus.beats} == {ABSENT}, "nor is it now"
        bus.unsent = set()
        await passing(3.0)
        assert (bus.beats[-1].floor, notes._core.floor) == (floor, floor)
        assert (dict(notes), notes.status) == ({"a": "below the floor"}, Status.OK)
        assert owner.epoch == floor.epoch, "and nobody took it for a loss of history"


@in_virtual_time
async def test_until_then_answers_tell_what_the_store_has_forgotten() -> None:
    store = Disk()
    async with BeatingTransport() as bus, owner_of(bus, store, beat_interval_s=30.0) as owner:
        bus.silent = True
        floor = await gone(owner, "a")
        other = await gone(owner, "b", "b")
        await owner.put("c", "lives")
        await passing(31.0)
        store.told.clear()
        writing = asyncio.create_task(owner.put("d", "x"))
        await passing(1.0)
        await dropped(owner)
        before = owner._desk.heart.digest()
        assert (before.count, owner._desk.heart.count()) == (3, 3)
        held = {
            "note:a": Position(floor, TOMBSTONE_CHECKSUM),
            "note:b": Position(Version(other.epoch, 1), 7),
            "note:z": Position(ABSENT, TOMBSTONE_CHECKSUM),
        }
        answer = await scanned(bus, held)
        said = dict(zip(answer.keys, answer.outcomes, strict=True))
        assert answer.floor == ABSENT
        assert (Position.of(said["note:b"]), said["note:z"]) == (Position(other, 0), ABSENT_OBJECT)  # type: ignore[arg-type]
        assert "note:a" not in said, "it is where the asker says"
        store.told.set()
        await writing
        await passing(65.0)
        assert (await scanned(bus)).floor == (await compared(bus)).floor == other
        assert (owner._desk.heart.digest().count, owner._desk.heart.count()) == (2, 2)


@in_virtual_time
async def test_what_is_sent_late_and_was_dropped_meanwhile_is_not_counted() -> None:
    async with BeatingTransport() as bus, owner_of(bus, beat_interval_s=1.0) as owner, mirror_of(bus) as notes:
        await owner.put("a", "x")
        await gone(owner, "b", "b", "b")
        await passing(3.0)
        bus.unsent = {KEY}
        await owner.delete("a")
        await dropped(owner)
        heart = owner._desk.heart
        await passing(3.0)
        bus.unsent = set()
        await passing(3.0)
        assert (bus.beats[-1].count, bus.beats[-1].digest, heart.count(), heart.digest().total) == (0, 0, 0, 0)
        assert (dict(notes), notes.status) == ({}, Status.OK)


@in_virtual_time
async def test_a_deletion_of_which_nobody_knew_and_that_was_dropped_is_told() -> None:
    store = Disk()
    async with BeatingTransport() as bus, owner_of(bus, store, beat_interval_s=1.0) as owner:
        notes, note = readers_of(bus)
        async with notes, note:
            await owner.put("a", "x")
            floor = await gone(owner, "b", "b", "b")
            await passing(3.0)
            store.after = IndeterminateError("got no answer, expected one")
            store.told.clear()
            deleting = asyncio.create_task(owner.delete("a"))
            await passing(1.0)
            await dropped(owner)
            store.told.set()
            with pytest.raises(IndeterminateError):
                await deleting
            store.after = None
            await passing(6.0)
            assert (dict(notes), notes.status) == ({}, Status.OK)
            assert (note.snapshot().deleted, note.status) == (True, Status.OK)
            assert note.version == floor


@in_virtual_time
async def test_a_store_that_tells_nonsense_only_keeps_its_tombstones(caplog: pytest.LogCaptureFixture) -> None:
    class Mute(Disk):
        async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> Any:
            await super().raise_floor(topic, epoch, before_s=before_s)

    # Over a bus where nobody can ask, one task looks for all time.
    bus, store = LossyTransport(), Mute()
    bus.capabilities = Capabilities(lossless=False, ordered=True, threads=False, ask=False)  # type: ignore[misc]
    async with owner_of(bus, store) as owner:
        with caplog.at_level(logging.WARNING, "parasync"):
            await passing(20.0)
        assert "could not drop old tombstones: AttributeError" in caplog.text
        assert (store.raised, len(sweepers())) == (2, 1)
        await gone(owner, "a")
        await passing(LONG_S)
        assert await store.positions("note", after="", limit=9) == []


@in_virtual_time
async def test_a_store_that_fails_only_keeps_its_tombstones(caplog: pytest.LogCaptureFixture) -> None:
    store = Disk()
    async with BeatingTransport() as bus, owner_of(bus, store) as owner:
        floor = await gone(owner, "a")
        store.error = OSError("the disk is on fire")
        with caplog.at_level(logging.WARNING, "parasync"):
            await passing(LONG_S)
        assert "could not drop old tombstones: the store raised OSError" in caplog.text
        assert store.raised > 5
        assert (await store.state("note")).floor == ABSENT
        store.error = None
        await passing(30.0)
        assert bus.beats[-1].floor == floor


@in_virtual_time
async def test_a_store_that_hangs_is_left_behind() -> None:
    store = Disk()
    async with BeatingTransport() as bus, owner_of(bus, store) as owner:
        floor = await gone(owner, "a")
        store.open.clear()
        await passing(LONG_S)
        assert store.raised > 5
        assert len(bus.beats) > 20, "nobody waits for it"
        store.open.set()
        await passing(30.0)
        assert bus.beats[-1].floor == floor


@in_virtual_time
async def test_who_was_closed_looks_no_more() -> None:
    store = Disk()
    async with BeatingTransport() as bus:
        async with owner_of(bus, store):
            store.open.clear()
            await passing(13.0)
            assert sweepers()
            closing_s = now_s()
        assert (now_s(), sweepers()) == (closing_s, []), "a store that hangs holds nobody up"
        raised = store.raised
        await passing(LONG_S)
        assert store.raised == raised


@in_virtual_time
async def test_only_who_serves_drops_anything() -> None:
    store = Disk()
    async with InProcessTransport() as bus, owner_of(bus, store) as owner:
        await gone(owner, "a")
        owner._office.fence(owner.epoch + 1)
        owner._office.looked = owner._desk.heart._looked
        owner._desk.sweeper._due_s = -math.inf
        owner._desk.heart.sweep()
        assert owner._desk.sweeper._task is None
        await store.claim("note", owner.epoch + 5)
        await dropped(owner)
        assert (await store.state("note")).floor == ABSENT, "nor does who has not noticed yet"


class Silent:
    """Carries envelopes, and nobody can ask over it."""

    capabilities = Capabilities(lossless=True, ordered=True, threads=True, ask=False)
    codec = MsgpackCodec()

    def __init__(self) -> None:
        self._inner = InProcessTransport()

    def publish(self, key: str, envelope: Any) -> None:
        self._inner.publish(key, envelope)

    def subscribe(self, key: str, handler: Any, interrupted: Any = None) -> Any:
        return self._inner.subscribe(key, handler, interrupted)

    def key_count(self) -> int:
        return self._inner.key_count()


@in_virtual_time
async def test_where_nobody_can_ask_the_store_forgets_as_well() -> None:
    store = Disk()
    async with owner_of(Silent(), store) as owner:
        floor = await gone(owner, "a")
        await passing(LONG_S)
        assert (await store.state("note")).floor == floor
        owner._office.fence(owner.epoch + 1)
        raised = store.raised
        await passing(LONG_S)
        assert store.raised == raised
    assert not sweepers()


@pytest.mark.parametrize(("count", "left"), [(TOMBSTONES_MAX, TOMBSTONES_MAX), (TOMBSTONES_MAX + 1, 0)])
@in_virtual_time
async def test_where_nothing_is_lost_a_mirror_asks_now_and_then_what_it_may_forget(count: int, left: int) -> None:
    async with InProcessTransport() as bus, owner_of(bus) as owner, mirror_of(bus) as notes:
        await notes.ready()
        await gone(owner, *map(str, range(count)))
        await passing(FORGET_INTERVAL_S / 2)
        assert len(notes._core.tombstones) == len(notes._core.held) == count
        await passing(FORGET_INTERVAL_S)
        assert len(notes._core.tombstones) == len(notes._core.held) == left
        assert notes.status is Status.OK


@in_virtual_time
async def test_a_clock_that_jumps_a_day_ahead_harms_nobody() -> None:
    async with BeatingTransport() as bus, owner_of(bus, tombstone_ttl_s=24 * 3600.0) as owner:
        notes, note = readers_of(bus)
        async with notes, note:
            await owner.put("b", "stays")
            await gone(owner, "a", "a")
            ahead_s = owner._terms.wall_clock() + 25 * 3600.0
            object.__setattr__(owner._terms, "wall_clock", lambda: ahead_s)
            await owner._desk.sweeper.sweep()
            await owner.put("a", "again")
            await passing(20.0)
            assert (dict(notes), notes.status, note.get()) == ({"a": "again", "b": "stays"}, Status.OK, "again")
            assert bus.beats[-1].floor > ABSENT
