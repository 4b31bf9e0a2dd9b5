"""What an authority answers, and what it writes anew where history was lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parasync import ABSENT, Envelope, InProcessTransport, Kind, MemoryStore, Version, authority, synced
from parasync.errors import ConflictError, FencedError, IndeterminateError, NoAuthorityError, StoreError
from parasync.protocol import (
    ABSENT_OBJECT,
    PAGE_KEYS_MAX,
    SAME,
    TOMBSTONE_CHECKSUM,
    UNANSWERED,
    Answer,
    Ask,
    Compare,
    EncodedBody,
    KeyPage,
    ListKeys,
    Position,
    Probe,
    Refusal,
    Request,
    Scan,
)
from parasync.stores import Draft, Outcome, TopicState
from tests.lossy import LossyTransport
from tests.runtime.kit import KEY, NOTES, A, envelope, pace, terms, turns
from tests.runtime.scanning import WHOLE
from tests.virtual_time import in_virtual_time, passing


@asynccontextmanager
async def owning(store: MemoryStore | None = None, **options: Any) -> AsyncIterator[tuple[InProcessTransport, authority[str]]]:
    bus = options.pop("bus", None) or InProcessTransport()
    async with bus, authority(NOTES, bus, store=store, terms=terms(**options)) as owner:
        yield bus, owner


async def answered(bus: Any, *positions: tuple[str, Position | None], epoch: int = 0) -> Answer:
    keys, places = tuple(key for key, _ in positions), tuple(place for _, place in positions)
    answer = await bus.ask("note", Ask(epoch, keys, places), 5.0)
    assert isinstance(answer, Answer), answer
    return answer


def bodies(outcomes: Sequence[Any]) -> list[Any]:
    return [outcome.sequence if isinstance(outcome, Envelope) else outcome for outcome in outcomes]


# What is newer


@in_virtual_time
async def test_each_position_is_told_what_is_newer() -> None:
    async with owning() as (bus, owner):
        for text in ("one", "two"):
            version = await owner.put("a", text)
        await owner.put("gone", "x")
        await owner.delete("gone")
        full = await answered(bus, (KEY, None), ("note:gone", None), ("note:never", None))
        here, gone, never = full.outcomes
        assert isinstance(here, Envelope)
        assert isinstance(gone, Envelope)
        assert (here.version, here.kind, type(here.value)) == (version, Kind.STATE, EncodedBody)
        assert (gone.sequence, gone.kind, gone.value) == (2, Kind.TOMBSTONE, None)
        assert never is ABSENT_OBJECT
        first = Position(Version(owner.epoch, 1), 7)
        assert bodies((await answered(bus, (KEY, first), (KEY, Position.of(here)), (KEY, None))).outcomes) == [2, SAME, 2]
        deleted = Position(gone.version, TOMBSTONE_CHECKSUM)
        assert (await answered(bus, ("note:gone", deleted))).outcomes == (SAME,)
        assert full.epoch == owner.epoch
        assert full.history_epoch == owner.epoch
        assert full.floor == ABSENT


@in_virtual_time
async def test_every_outcome_can_be_put_on_a_bus() -> None:
    async with owning() as (bus, owner):
        await owner.put("a", "text", meta={"by": "ada"})
        await owner.delete("a")
        await owner.put("b", "text", meta={"by": "ada"})
        for outcome in (await answered(bus, (KEY, None), ("note:b", None))).outcomes:
            assert isinstance(outcome, Envelope)
            again = bus.codec.decode_frame("0", bus.codec.encode_frame("0", outcome))
            assert (again.version, again.kind, again.checksum) == (outcome.version, outcome.kind, outcome.checksum)


@in_virtual_time
async def test_the_uptime_counts_from_the_claim() -> None:
    async with owning() as (bus, _):
        await passing(12.0)
        assert (await answered(bus, (KEY, None))).uptime_s == pytest.approx(12.0)


@in_virtual_time
async def test_what_rides_along_counts_as_well_for_what_fits() -> None:
    class Tight(InProcessTransport):
        body_bytes_max = 10_000

    async with owning(bus=Tight()) as (bus, owner):
        for ident in "abc":
            await owner.put(ident, "x" * 10, meta={"note": "y" * 4_000})
        asked = [(f"note:{ident}", None) for ident in "abc"]
        assert bodies((await answered(bus, *asked)).outcomes) == [1, UNANSWERED, UNANSWERED]


@in_virtual_time
async def test_a_limit_that_shrinks_holds_for_the_next_answer_and_what_no_message_takes_is_left_out() -> None:
    class Shrinking(InProcessTransport):
        body_bytes_max = 100_000

    async with owning(bus=Shrinking()) as (bus, owner):
        await owner.put("huge", "x" * 50_000)
        for ident in "abc":
            await owner.put(ident, "x" * 8_000)
        bus.body_bytes_max = 10_000
        asked = [(f"note:{ident}", None) for ident in ("huge", "a", "b", "c")]
        assert bodies((await answered(bus, *asked)).outcomes) == [UNANSWERED, 1, UNANSWERED, UNANSWERED]
        bus.body_bytes_max = 30_000
        assert bodies((await answered(bus, *asked)).outcomes) == [UNANSWERED, 1, 1, 1]


# What is there


@in_virtual_time
async def test_keys_are_listed_in_pages() -> None:
    async with owning() as (bus, owner):
        for ident in ("b", "a", "x:2", "x:1", "c"):
            await owner.put(ident, "text")
        await owner.delete("c")

        async def listed(**options: Any) -> tuple[list[str], bool]:
            page = await bus.ask("note", ListKeys(**options), 5.0)
            assert isinstance(page, KeyPage)
            assert (page.epoch, len(page.versions)) == (owner.epoch, len(page.keys))
            return [key.removeprefix("note:") for key in page.keys], page.more

        assert await listed() == (["a", "b", "x:1", "x:2"], False)
        assert await listed(limit=2) == (["a", "b"], True)
        assert await listed(limit=2, after="note:b") == (["x:1", "x:2"], False)
        assert await listed(prefix="x:") == (["x:1", "x:2"], False)
        assert await listed(limit=-5) == (["a"], True)
        assert await listed(limit=10**9) == (["a", "b", "x:1", "x:2"], False)


@in_virtual_time
async def test_no_page_is_larger_than_the_limit() -> None:
    async with owning() as (bus, owner):
        for number in range(PAGE_KEYS_MAX + 5):
            await owner.put(f"{number:05}", "x")
        page = await bus.ask("note", ListKeys(limit=10**9), 5.0)
        assert isinstance(page, KeyPage)
        assert (len(page.keys), page.more) == (PAGE_KEYS_MAX, True)


@in_virtual_time
async def test_no_page_is_larger_than_the_bus_takes() -> None:
    class Tight(InProcessTransport):
        body_bytes_max = 1_000

    async with owning(bus=Tight()) as (bus, owner):
        for number in range(5):
            await owner.put(f"{number}{'k' * 400}", "x")
        page = await bus.ask("note", ListKeys(), 5.0)
        assert isinstance(page, KeyPage)
        assert (len(page.keys), page.more) == (2, True)


# Lost history


@in_virtual_time
async def test_what_was_lost_is_written_anew_above_it_and_published() -> None:
    """The store was restored from a backup: two writes are missing."""
    async with owning() as (bus, owner):
        await owner.put("a", "as in the backup")
        heard: list[Any] = []
        bus.subscribe(KEY, heard.append)
        lost = Position(Version(owner.epoch - 1, 3), 99)
        above_own = Position(Version(owner.epoch, 3), 99)
        before = owner.epoch
        assert (await answered(bus, (KEY, lost))).outcomes[0].version == (before, 1), "an older life was not ahead of it"
        answer = await answered(bus, (KEY, above_own))
        assert owner.epoch > before, "a position of its own epoch above what is stored needs an epoch above"
        assert answer.epoch == answer.history_epoch == owner.epoch
        (outcome,) = answer.outcomes
        assert isinstance(outcome, Envelope)
        assert outcome.version > above_own.version
        assert [told.version for told in heard] == [outcome.version]
        assert (await owner.get("a")).value == "as in the backup"


@in_virtual_time
async def test_the_same_version_with_another_content_is_lost_history_too() -> None:
    """A foreign frame, or a restored backup that went another way."""
    async with owning() as (bus, owner):
        version = await owner.put("a", "text")
        answer = await answered(bus, (KEY, Position(version, 99)))
        (outcome,) = answer.outcomes
        assert isinstance(outcome, Envelope)
        assert outcome.version > version
        assert outcome.epoch == owner.epoch == version.epoch, "no new epoch is needed to be above it"
        assert answer.history_epoch == owner.epoch


@in_virtual_time
async def test_what_does_not_exist_here_is_deleted_anew() -> None:
    async with owning() as (bus, owner):
        outcome = (await answered(bus, (KEY, Position(Version(owner.epoch - 1, 3), 99)))).outcomes[0]
        assert isinstance(outcome, Envelope)
        assert (outcome.kind, outcome.epoch) == (Kind.TOMBSTONE, owner.epoch)
        assert bodies((await answered(bus, (KEY, Position(outcome.version, TOMBSTONE_CHECKSUM)))).outcomes) == [SAME]


@in_virtual_time
async def test_many_askers_that_lost_the_same_are_served_by_one_epoch_and_one_writing() -> None:
    store = Slow()
    async with owning(store) as (bus, owner):
        await owner.put("a", "text")
        epochs: list[int] = []
        store.claimed = epochs
        heard: list[Any] = []
        bus.subscribe(KEY, heard.append)
        above = Position(Version(owner.epoch, 9), 99)
        answers = await asyncio.gather(*(answered(bus, (KEY, above)) for _ in range(20)))
        assert len(epochs) == 1
        assert len(heard) == 1
        assert {answer.outcomes[0].version for answer in answers} == {heard[0].version}


class Slow(MemoryStore):
    """Suspends in each call, as a store over a network would, and remembers who claimed."""

    def __init__(self) -> None:
        super().__init__()
        self.claimed: list[int] = []
        self.between: Any = None
        self.read_gate: asyncio.Event | None = None
        self.claim_gate: asyncio.Event | None = None
        self.claimed_gate: asyncio.Event | None = None

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        self.claimed.append(epoch)
        await asyncio.sleep(0)
        if self.claim_gate is not None:
            await self.claim_gate.wait()
        state = await super().claim(topic, epoch, lost=lost)
        if self.claimed_gate is not None:
            await self.claimed_gate.wait()
        return state

    async def read(self, topic: str, keys: Sequence[str]) -> Any:
        found = await super().read(topic, keys)
        await asyncio.sleep(0)
        if self.read_gate is not None:
            gate, self.read_gate = self.read_gate, None
            await gate.wait()
        return found

    async def history_lost(self, topic: str, epoch: int) -> TopicState:
        if self.between is not None:
            await self.between()
        return await super().history_lost(topic, epoch)

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        await asyncio.sleep(0)
        return await super().write(topic, epoch, draft)


@pytest.mark.parametrize("exists", [True, False])
@in_virtual_time
async def test_a_write_that_comes_between_is_not_overwritten_by_what_is_written_anew(exists: bool) -> None:
    store = Slow()
    async with owning(store) as (bus, owner):
        if exists:
            await owner.put("a", "before")

        async def between() -> None:
            await owner.put("a", "acknowledged")

        store.between = between
        answer = await answered(bus, (KEY, Position(Version(owner.epoch, 9), 99)))
        assert (await owner.get("a")).value == "acknowledged"
        (outcome,) = answer.outcomes
        assert isinstance(outcome, Envelope)
        assert outcome.kind is Kind.STATE


@in_virtual_time
async def test_an_answer_carries_the_epoch_of_what_was_read() -> None:
    """What was read before a claim must not vouch for the history after it."""
    store = Slow()
    async with owning(store) as (bus, owner):
        await owner.put("a", "text")
        old_epoch = owner.epoch
        gate = store.read_gate = asyncio.Event()
        early = asyncio.create_task(answered(bus, ("note:b", None)))
        await turns()
        late = await answered(bus, (KEY, Position(Version(owner.epoch, 9), 99)))
        assert late.epoch == late.history_epoch > old_epoch
        gate.set()
        assert ((await early).epoch, (await early).history_epoch) == (old_epoch, old_epoch)


@in_virtual_time
async def test_a_store_that_fails_in_the_middle_is_tried_again_with_the_next_ask(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(MemoryStore):
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[Exception] = []

        async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
            if draft.reissue and self.errors:
                raise self.errors.pop()
            return await super().write(topic, epoch, draft)

    store = Failing()
    async with owning(store) as (bus, owner):
        await owner.put("a", "text")
        store.errors = [OSError("secret"), StoreError("down")]
        lost = Ask(0, (KEY,), (Position(Version(owner.epoch, 9), 99),))
        with caplog.at_level(logging.CRITICAL, "parasync"):
            for _ in range(2):
                refusal = await bus.ask("note", lost, 5.0)
                assert isinstance(refusal, Refusal)
                assert "secret" not in refusal.reason
        answer = await bus.ask("note", lost, 5.0)
        assert isinstance(answer, Answer)
        assert answer.outcomes[0].version > (owner.epoch, 0)


@in_virtual_time
async def test_what_may_have_been_written_anew_is_published() -> None:
    """The asker gets no answer; on a bus that loses nothing the others would never ask."""

    class Forgetful(MemoryStore):
        async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
            outcome = await super().write(topic, epoch, draft)
            if draft.reissue:
                raise IndeterminateError("no answer")
            return outcome

    async with owning(Forgetful()) as (bus, owner), synced(NOTES["a"], bus, pace=pace()) as replica:
        await replica.when_idle()
        before = await owner.put("a", "text")
        lost = Ask(0, (KEY,), (Position(Version(owner.epoch, 9), 99),))
        assert isinstance(await bus.ask("note", lost, 5.0), Refusal)
        await turns()
        assert replica.version is not None
        assert replica.version > before
        assert replica.version == (await owner.get("a")).version


@in_virtual_time
async def test_one_that_asks_with_a_higher_epoch_finds_out_who_serves() -> None:
    async with owning() as (bus, owner):
        await owner.put("a", "text")
        heard = owner.epoch + 5
        answer = await answered(bus, (KEY, None), epoch=heard)
        assert answer.epoch == owner.epoch > heard, "nobody serves with it, so this one rises above"
        assert answer.history_epoch == answer.epoch, "what that one may have written is not here"


@in_virtual_time
async def test_one_that_was_replaced_learns_it_from_who_asks() -> None:
    async with LossyTransport() as cut, InProcessTransport() as rest:
        cut.inner = rest
        async with authority(NOTES, cut, terms=terms()) as old, authority(NOTES, rest, terms=terms()) as new:
            await turns()
            old._office.serving = True  # it has not heard yet
            response = await old._desk.respond(Ask(0, (KEY,), (None,)))
            assert isinstance(response, Answer)
            with pytest.raises(FencedError):
                await old._desk.respond(Ask(new.epoch, (KEY,), (None,)))
            assert not old.serving


@pytest.mark.parametrize("how", ["above its own", "of a rival"])
@in_virtual_time
async def test_one_that_is_fenced_while_it_repairs_does_not_rise_above_who_serves(how: str) -> None:
    store = Slow()
    async with owning(store) as (bus, owner):
        await owner.put("a", "text")
        await turns()
        lost = Position(Version(owner.epoch + (how == "of a rival"), 9), 99)
        async with owner._office.turn:
            asking = asyncio.create_task(bus.ask("note", Ask(lost.version.epoch, (KEY,), (lost,)), 5.0))
            await turns()
            gate = store.read_gate = asyncio.Event()
        await turns()
        serves = owner.epoch + (1 << 20)
        await bus.probe(Probe("note", serves, True, "somebody"), 1.0)
        gate.set()
        refusal = await asking
        assert isinstance(refusal, Refusal)
        assert refusal.error == "FencedError"
        assert (owner.serving, owner.epoch < serves) == (False, True)


@pytest.mark.parametrize(
    "request_",
    [Ask(0, (KEY,), (None,)), Compare(0), Scan(0, ABSENT, "", WHOLE), ListKeys("", "", 5)],
    ids=["ask", "compare", "scan", "list"],
)
@in_virtual_time
async def test_one_that_looks_around_answers_nobody_once_another_has_claimed(request_: Request) -> None:
    """Its catalogue does not know what the other one writes."""
    store = Slow()
    async with owning(store) as (bus, owner):
        await owner.put("a", "text")
        await turns()
        async with owner._office.turn:
            await store.claim("note", owner.epoch + (1 << 20))
            asking = asyncio.create_task(bus.ask("note", request_, 5.0))
            await turns()
            assert not asking.done()
        refusal = await asking
        assert isinstance(refusal, Refusal)
        assert (refusal.error, owner.serving) == ("FencedError", False)


@in_virtual_time
async def test_who_asks_while_an_epoch_is_claimed_hears_of_the_new_one() -> None:
    store = Slow()
    async with owning(store) as (bus, owner):
        await owner.put("a", "text")
        await turns()
        before, gate = owner.epoch, asyncio.Event()
        store.claimed_gate = gate
        lost = Position(Version(owner.epoch, 9), 99)
        first = asyncio.create_task(bus.ask("note", Ask(0, (KEY,), (lost,)), 5.0))
        await turns()
        second = asyncio.create_task(bus.ask("note", Ask(0, (KEY,), (None,)), 5.0))
        await turns()
        assert not second.done()
        gate.set()
        answers = [await first, await second]
        assert owner.epoch > before
        assert [answer.epoch for answer in answers if isinstance(answer, Answer)] == [owner.epoch] * 2


@in_virtual_time
async def test_one_that_is_closed_while_it_repairs_does_not_serve_again() -> None:
    store = Slow()
    async with owning(store) as (bus, owner):
        await owner.put("a", "text")
        await turns()
        store.claim_gate = asyncio.Event()
        lost = Position(Version(owner.epoch, 9), 99)
        asking = asyncio.create_task(bus.ask("note", Ask(0, (KEY,), (lost,)), 5.0))
        await turns()
        await owner.aclose()
        store.claim_gate.set()
        refusal = await asking
        assert isinstance(refusal, Refusal)
        assert refusal.error == "ClosedError"
        assert not owner.serving
        with pytest.raises(NoAuthorityError):
            await bus.ask("note", Ask(0, (KEY,), (None,)), 5.0)


@in_virtual_time
async def test_replicas_go_on_after_their_authority_lost_everything() -> None:
    async with LossyTransport() as bus:
        async with authority(NOTES, bus, terms=terms()) as first:
            for number in range(7):
                await first.put("a", f"{number}")
            replica = synced(A, bus, pace=pace())
            await replica.ready()
        async with authority(NOTES, bus, terms=terms()) as second:
            await turns()
            await replica.when_idle()
            snapshot = replica.snapshot()
            assert snapshot.deleted
            assert snapshot.version is not None
            assert snapshot.version.epoch == second.epoch
            version = await second.put("a", "again", expected=ABSENT)
            assert await replica.at_least(version) == "again"
            with pytest.raises(ConflictError):
                await second.put("a", "blind", expected=Version(first.epoch, 7))
            await replica.aclose()


@in_virtual_time
async def test_more_replicas_than_fit_into_an_ask_all_hear_that_history_was_lost() -> None:
    """600 objects, of which the new life has none; the rate of writing anew is limited, and so is that of asking."""
    async with LossyTransport() as bus:
        replicas = []
        async with authority(NOTES, bus, terms=terms()) as first:
            for number in range(600):
                await first.put(f"{number}", "x")
                replicas.append(synced(NOTES[f"{number}"], bus, pace=pace()))
            for replica in replicas:
                await replica.ready()
        async with authority(NOTES, bus, terms=terms(reissues_per_s_max=100)) as second:
            asked = bus.asks
            await turns()
            for replica in replicas:
                await replica.when_idle()
            assert all(replica.snapshot().deleted for replica in replicas)
            assert {replica.version.epoch for replica in replicas if replica.version} == {second.epoch}
            assert bus.asks - asked < 60
        for replica in replicas:
            await replica.aclose()


@in_virtual_time
async def test_a_foreign_frame_is_overruled() -> None:
    """Somebody published in the authority's name what it never wrote."""
    async with LossyTransport() as bus, authority(NOTES, bus, terms=terms()) as owner, synced(A, bus, pace=pace()) as replica:
        version = await owner.put("a", "true")
        await replica.at_least(version)
        bus.publish(KEY, envelope(50, "forged", epoch=owner.epoch))
        assert replica.value == "forged"
        await replica.when_idle()
        assert replica.value == "true"
        assert replica.version is not None
        assert replica.version > Version(version.epoch, 50)
