"""Who serves a topic: epochs that only rise, one authority at a time, and somebody else when it falls silent."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from parasync import InProcessTransport, MemoryStore, Terms, authority, synced
from parasync.errors import FencedError, HistoryLostError, NoAuthorityError, StoreError, UsageError
from parasync.protocol import Ask, Probe, ProbeReply
from parasync.runtime._office import CLAIMS_MAX
from parasync.stores import TopicState
from tests.lossy import LossyTransport
from tests.runtime.kit import KEY, NOTES, A, assert_nothing_left, envelope, pace, terms, turns
from tests.virtual_time import in_virtual_time, now_s, passing

LOOK_S = 5.0
"""The longest time between two looks, with the jitter that the kit draws."""


def owner_on(bus: Any, **options: Any) -> authority[str]:
    return authority(NOTES, bus, terms=options.pop("terms", None) or terms(), **options)


@asynccontextmanager
async def owners(bus: Any, *stores: MemoryStore) -> AsyncIterator[list[authority[str]]]:
    """Authorities of one topic, each entered when the ones before had looked around."""
    async with AsyncExitStack() as stack:
        entered = []
        for store in stores:
            entered.append(await stack.enter_async_context(owner_on(bus, store=store)))
            await turns()
        yield entered


# Epochs


@in_virtual_time
async def test_an_epoch_tells_the_second_in_which_it_was_taken() -> None:
    clock = terms(wall_clock=lambda: 1_000.7, random_bits=lambda count: (1 << count) - 1)
    async with InProcessTransport() as bus, owner_on(bus, terms=clock) as owner:
        assert owner.epoch == (1_001 << 20) | 0xFFFFF


@pytest.mark.parametrize("bits", list(itertools.permutations([0, 7, 2**20 - 1])))
@in_virtual_time
async def test_a_life_that_begins_within_the_same_second_is_above_all_that_anybody_heard(bits: tuple[int, ...]) -> None:
    """However the random bits fall: the epoch that was probed for is the one that is taken."""
    drawn = itertools.cycle(bits)
    async with InProcessTransport() as bus, synced(A, bus, pace=pace()) as replica:
        epochs = []
        for _ in range(4):
            async with owner_on(bus, terms=terms(wall_clock=lambda: 1_000.0, random_bits=lambda _: next(drawn))) as owner:
                await owner.put("a", "text")
                epochs.append(owner.epoch)
            assert replica.version is not None
            assert replica.version.epoch == owner.epoch
        assert epochs == sorted(set(epochs))


@in_virtual_time
async def test_a_clock_that_was_set_back_is_no_matter_if_the_store_or_a_replica_remembers() -> None:
    store = MemoryStore()
    async with LossyTransport() as bus:
        async with owner_on(bus, store=store, terms=terms(wall_clock=lambda: 5_000.0)) as first:
            await first.put("a", "text")
        async with owner_on(bus, store=store, terms=terms(wall_clock=lambda: 1_000.0)) as second:
            assert second.epoch > first.epoch
            async with synced(A, bus, pace=pace()) as replica:
                await replica.at_least(await second.put("a", "more"))
                await second.aclose()
                async with owner_on(bus, terms=terms(wall_clock=lambda: 1_000.0)) as third:
                    assert third.epoch > second.epoch


@in_virtual_time
async def test_what_a_fenced_authority_has_heard_counts_too() -> None:
    async with InProcessTransport() as bus, owners(bus, MemoryStore()) as (standby,):
        async with owner_on(bus, terms=terms(wall_clock=lambda: 10**9)) as second:
            await turns()
            assert not standby.serving
            heard = second.epoch
        async with owner_on(bus) as third:
            assert third.epoch > heard


@in_virtual_time
async def test_what_another_store_held_is_lost_where_it_is_not_known() -> None:
    """An empty disk, a clock that was set back, and nobody who tells of the life before but who comes later."""
    async with LossyTransport() as bus:
        async with owner_on(bus, terms=terms(wall_clock=lambda: 5_000.0)) as first:
            lost = await first.put("a", "text")
        async with owner_on(bus, terms=terms(wall_clock=lambda: 1_000.0)) as second:
            assert second.epoch < lost.epoch
            await second.put("a", "other")
            async with synced(A, bus, pace=pace()) as replica:
                await bus.ask("note", Ask(lost.epoch, (), ()), 5.0)
                assert second.epoch > lost.epoch, "it has risen above what the asker has heard"
                await second.put("a", "more")
                with pytest.raises(HistoryLostError):
                    await replica.at_least(lost, 60.0)


@in_virtual_time
async def test_who_begins_with_an_old_backup_hears_of_the_lives_after_it() -> None:
    backup = MemoryStore()
    async with LossyTransport() as bus:
        async with owner_on(bus, store=backup, terms=terms(wall_clock=lambda: 1_000.0)) as first:
            kept = await first.put("a", "text")
        async with synced(A, bus, pace=pace()) as replica:
            async with owner_on(bus, terms=terms(wall_clock=lambda: 2_000.0)) as second:
                lost = await second.put("a", "other")
                await replica.at_least(lost, 60.0)
            async with owner_on(bus, store=backup, terms=terms(wall_clock=lambda: 3_000.0)) as third:
                newest = await third.put("a", "more")
                await replica.at_least(newest, 60.0)
                for version in (kept, lost):
                    with pytest.raises(HistoryLostError):
                        await replica.at_least(version, 60.0)


@in_virtual_time
async def test_a_life_that_used_the_same_store_has_lost_nothing() -> None:
    store = MemoryStore()
    async with LossyTransport() as bus, owners(bus, store) as (standby,):
        async with owner_on(bus, store=store) as second:
            written = await second.put("a", "text")
            await turns()
            assert not standby.serving
        await passing(60.0)
        assert standby.serving
        await standby.put("a", "more")
        async with synced(A, bus, pace=pace()) as replica:
            assert await replica.at_least(written, 60.0) == "more"


class Contested(MemoryStore):
    """Somebody else claims the topic first, as often as told."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        if self.times:
            self.times -= 1
            await super().claim(topic, epoch + (1 << 20))
        return await super().claim(topic, epoch, lost=lost)


@in_virtual_time
async def test_a_claim_that_others_overtake_is_made_again_above_theirs() -> None:
    async with InProcessTransport() as bus:
        async with owner_on(bus, store=Contested(CLAIMS_MAX - 1)) as owner:
            assert owner.serving
            await owner.put("a", "text")
        losing = owner_on(bus, store=Contested(CLAIMS_MAX))
        with pytest.raises(FencedError, match=f"{CLAIMS_MAX} times in a row") as caught:
            await losing.__aenter__()
        assert caught.value.epoch is not None
        assert not losing.serving
        with pytest.raises(NoAuthorityError):
            await bus.ask("note", None, 1.0)  # type: ignore[arg-type]


@in_virtual_time
async def test_one_that_is_fenced_while_it_claims_does_not_serve_below() -> None:
    """Somebody announces a higher epoch while the store takes its time."""
    gate, claims = asyncio.Event(), []

    class Slow(MemoryStore):
        async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
            claims.append(epoch)
            state = await super().claim(topic, epoch, lost=lost)
            await gate.wait()
            return state

    async with InProcessTransport() as bus:
        gate.set()
        async with owner_on(bus, store=Slow()) as owner:
            await turns()
            await bus.probe(Probe("note", owner.epoch + (1 << 20), True, "somebody"), 1.0)
            gate.clear()
            while len(claims) == 1:
                await passing(0.1)
            announced = claims[-1] + (5 << 20)
            await bus.probe(Probe("note", announced, True, "somebody"), 1.0)
            gate.set()
            await turns()
            assert owner.serving
            assert owner.epoch > announced


# One at a time


@in_virtual_time
async def test_the_newer_one_serves_and_the_older_one_stands_by() -> None:
    async with InProcessTransport() as bus, owners(bus, MemoryStore(), MemoryStore()) as (older, newer):
        assert (older.serving, newer.serving) == (False, True)
        assert newer.epoch > older.epoch
        with pytest.raises(FencedError, match="another authority took 'note' over") as caught:
            await older.put("a", "zombie")
        assert caught.value.epoch == newer.epoch
        with pytest.raises(FencedError):
            await older.get("a")
        await newer.put("a", "text")
        assert "fenced" in repr(older)
        assert "serving" in repr(newer)
        await passing(10 * LOOK_S)
        assert (older.serving, newer.serving) == (False, True), "and stays so"


@in_virtual_time
async def test_only_the_one_that_serves_is_asked() -> None:
    async with InProcessTransport() as bus, owners(bus, MemoryStore(), MemoryStore()) as (_, newer):
        await newer.put("a", "text")
        for _ in range(4):
            async with synced(A, bus, pace=pace()) as replica:
                assert await replica.ready() == "text"
                assert replica.stats.refetch_failures == 0


@pytest.mark.parametrize("lossless", [True, False])
@in_virtual_time
async def test_the_one_that_stands_by_takes_over_when_nobody_serves_any_more(lossless: bool) -> None:
    bus = InProcessTransport() if lossless else LossyTransport()
    store = MemoryStore()
    async with bus, owners(bus, store, store) as (standby, serving), synced(A, bus, pace=pace()) as replica:
        await replica.at_least(await serving.put("a", "before"))
        await serving.aclose()
        gone_s = now_s()
        while not standby.serving:
            await passing(0.1)
        waited_s = now_s() - gone_s
        assert waited_s < LOOK_S + 0.2 if lossless else 15.0 - LOOK_S <= waited_s < 15.0 + LOOK_S + 0.2
        assert standby.epoch > serving.epoch
        version = await standby.put("a", "after")
        assert await replica.at_least(version) == "after"
        assert version.sequence == 2


@in_virtual_time
async def test_two_that_stand_by_do_not_wait_for_each_other_and_only_one_takes_over() -> None:
    async with LossyTransport() as bus, owners(bus, *(MemoryStore() for _ in range(3))) as (first, second, serving):
        assert [each.serving for each in (first, second, serving)] == [False, False, True]
        await serving.aclose()
        await passing(15.0 + 2 * LOOK_S)
        assert sorted([first.serving, second.serving]) == [False, True]
        await passing(10 * LOOK_S)
        assert sorted([first.serving, second.serving]) == [False, True]


@in_virtual_time
async def test_one_that_takes_over_announces_itself_at_once() -> None:
    """Replicas on an idle topic hear of the new life by its probe; others that stand by hear that they need not."""
    heard: list[Probe] = []
    async with LossyTransport() as bus, owners(bus, MemoryStore(), MemoryStore()) as (standby, serving):
        bus.answer_probes("note", heard.append)  # type: ignore[func-returns-value]
        await serving.aclose()
        while not standby.serving:
            await passing(0.01)
        await turns()
        assert any(probe.serving and probe.epoch == standby.epoch for probe in heard)


@in_virtual_time
async def test_a_frozen_authority_that_wakes_up_is_fenced_and_what_it_says_is_dropped() -> None:
    """It slept through the rise of another one, with a store of its own."""
    async with LossyTransport() as zombies, InProcessTransport() as rest:
        zombies.inner = rest
        async with owner_on(zombies) as zombie, synced(A, rest, pace=pace()) as replica:
            await replica.at_least(await zombie.put("a", "old"))
            zombies.cut = True
            async with owner_on(rest) as owner:
                version = await owner.put("a", "new")
                zombies.cut = False
                late = await zombie.put("a", "late")
                assert late < version
                assert replica.value == "new"
                await passing(2 * LOOK_S)
                assert (zombie.serving, owner.serving) == (False, True)
                assert replica.value == "new"


@in_virtual_time
async def test_the_store_fences_an_authority_that_no_probe_reaches() -> None:
    store = MemoryStore()
    async with (
        InProcessTransport() as here,
        InProcessTransport() as there,
        owner_on(here, store=store) as first,
        owner_on(there, store=store) as second,
    ):
        version = await second.put("a", "text")
        for _ in range(2):
            with pytest.raises(FencedError):
                await first.put("a", "zombie")
        assert not first.serving
        assert (await second.get("a")).version == version


@in_virtual_time
async def test_a_read_notices_another_one_in_the_store() -> None:
    store = MemoryStore()
    async with InProcessTransport() as here, InProcessTransport() as there, owner_on(here, store=store) as first:
        await first.put("a", "text")
        async with owner_on(there, store=store):
            with pytest.raises(FencedError):
                await first.get("a")
            assert not first.serving


@in_virtual_time
async def test_two_with_the_same_epoch_part() -> None:
    """The random bits may be equal after all, on two machines that cannot hear each other when they start."""
    same = {"wall_clock": lambda: 1_000.0, "random_bits": lambda _: 7}
    async with InProcessTransport() as bus:
        cut = LossyTransport(bus)
        cut.cut = True
        async with owner_on(bus, terms=terms(**same)) as first, owner_on(cut, terms=terms(**same)) as second:
            assert first.epoch == second.epoch
            cut.cut = False
            await passing(4 * LOOK_S)
            assert first.epoch != second.epoch
            assert first.serving != second.serving


@in_virtual_time
async def test_a_replica_that_has_heard_of_more_lifts_the_authority_above_it() -> None:
    async with LossyTransport() as bus, owner_on(bus) as owner, synced(A, bus, pace=pace()) as replica:
        await owner.put("a", "text")
        bus.publish(KEY, envelope(9, "from nobody knows where", epoch=owner.epoch + 5))
        await replica.when_idle()
        assert replica.value == "text"
        assert replica.version is not None
        assert replica.version.epoch == owner.epoch


@in_virtual_time
async def test_a_look_finds_the_epoch_that_a_replica_heard_of_also_if_it_does_not_ask() -> None:
    async with LossyTransport() as bus, owner_on(bus) as owner:
        await turns()  # its first look is over
        replica = synced(A, bus, refetch=lambda: envelope(1, epoch=owner.epoch + 5), pace=pace())
        await replica.ready()
        heard = replica._member.current_epoch
        assert owner.epoch < heard
        await passing(2 * LOOK_S)
        assert owner.serving
        assert owner.epoch > heard
        await replica.aclose()


# What a look meets


class Flaky(MemoryStore):
    """Fails when told to."""

    error: BaseException | None = None

    async def state(self, topic: str) -> TopicState:
        if self.error is not None:
            raise self.error
        return await super().state(topic)


@pytest.mark.parametrize("error", [StoreError("down"), OSError("secret"), asyncio.CancelledError("secret")])
@in_virtual_time
async def test_a_store_that_fails_does_not_end_the_looking(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    store = Flaky()
    async with InProcessTransport() as bus, owners(bus, store, MemoryStore()) as (standby, serving):
        store.error = error
        with caplog.at_level(logging.WARNING, "parasync"):
            await serving.aclose()
            await passing(4 * LOOK_S)
        assert not standby.serving
        assert "could not look for others" in caplog.text
        assert "secret" not in caplog.text
        store.error = None
        await passing(2 * LOOK_S)
        assert standby.serving


@in_virtual_time
async def test_a_transport_that_fails_does_not_end_the_looking() -> None:
    class Broken(LossyTransport):
        broken = False

        async def probe(self, probe: Probe, timeout_s: float) -> Any:
            if self.broken:
                raise OSError("secret")
            return await super().probe(probe, timeout_s)

    bus = Broken()
    async with bus, owners(bus, MemoryStore(), MemoryStore()) as (standby, serving):
        bus.broken = True
        await serving.aclose()
        await passing(100.0)
        assert not standby.serving, "who cannot look does not take over"
        bus.broken = False
        await passing(15.0 + 2 * LOOK_S)
        assert standby.serving


@in_virtual_time
async def test_a_standby_that_hears_of_a_newcomer_while_it_looks_lets_it_be() -> None:
    """The newcomer claims while the probe of the standby is under way: it did not serve yet, but it does now."""
    announce: list[Probe] = []

    class Slow(LossyTransport):
        async def probe(self, probe: Probe, timeout_s: float) -> Any:
            replies = await super().probe(probe, timeout_s)
            if announce:
                await self.inner.probe(announce.pop(), 1.0)
            return replies

    bus = Slow()
    async with bus, owners(bus, MemoryStore()) as (owner,):
        claimed = owner.epoch
        announce.append(Probe("note", owner.epoch + (1 << 20), True, "newcomer"))
        await passing(LOOK_S + 1.0)
        assert announce == []
        assert (owner.serving, owner.epoch) == (False, claimed)
        await passing(100.0)
        assert owner.serving, "it never served"


@in_virtual_time
async def test_it_answers_probes_as_what_it_is() -> None:
    async with InProcessTransport() as bus:
        owner = owner_on(bus)
        async with owner:
            await turns()
            for epoch in (0, owner.epoch + 1):
                assert await bus.probe(Probe("note", epoch, False, "me"), 1.0) == [ProbeReply(owner.epoch, serving=True)]
            higher = owner.epoch + (1 << 20)
            assert await bus.probe(Probe("note", higher, True, "me"), 1.0) == []
            assert await bus.probe(Probe("note", 0, False, "me"), 1.0) == [ProbeReply(higher, serving=False)]
            assert await bus.probe(Probe("note", higher, False, "me"), 1.0) == []
            assert not owner.serving
        assert await bus.probe(Probe("note", 0, False, "me"), 1.0) == []


@in_virtual_time
async def test_a_loading_authority_keeps_others_from_taking_over() -> None:
    async with InProcessTransport() as bus, owners(bus, MemoryStore()) as (standby,), owner_on(bus, loading=True) as loading:
        await passing(10 * LOOK_S)
        assert (standby.serving, loading.serving) == (False, True)
        await loading.put("a", "text")


# The end


@in_virtual_time
async def test_a_closed_authority_leaves_nothing_behind_whoever_closes_first() -> None:
    for bus_first in (True, False):
        bus = InProcessTransport()
        owner = owner_on(bus)
        await owner.__aenter__()
        replica = synced(A, bus, pace=pace())
        await replica.when_idle()
        for closing in ([bus, replica, owner] if bus_first else [owner, replica, bus]):
            await closing.aclose()
        await owner.aclose()
        assert not owner.serving
        assert "closed" in repr(owner)
        assert_nothing_left(bus)


@pytest.mark.parametrize("name", ["probe_interval_s", "probe_timeout_s", "takeover_after_s"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1"])
def test_times_that_nobody_can_wait_for_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        Terms(**{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, "1"])
def test_an_authority_that_may_never_write_anew_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="reissues_per_s_max"):
        Terms(reissues_per_s_max=value)


@in_virtual_time
async def test_a_history_that_begins_says_so() -> None:
    store = MemoryStore()
    async with InProcessTransport() as bus:
        async with owner_on(bus, store=store) as first:
            assert (await store.state("note")).history_epoch == first.epoch
            version = await first.put("a", "text")
        async with owner_on(bus, store=store) as second:
            assert (await store.state("note")).history_epoch == first.epoch
            assert second.epoch > first.epoch
            async with synced(A, bus, pace=pace()) as replica:
                assert await replica.at_least(version) == "text"
