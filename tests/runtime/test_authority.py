"""The one writer of a topic: what it refuses, what it promises, and who of two may write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parasync import ABSENT, InProcessTransport, MemoryStore, Status, Topic, Version, authority, synced
from parasync.errors import (
    ClosedError,
    ConflictError,
    DeletedError,
    EncodeError,
    FencedError,
    IndeterminateError,
    InvalidKeyError,
    InvalidTypeError,
    NoAuthorityError,
    UsageError,
)
from parasync.protocol import Ask, EncodedBody, Put, Refusal, Written
from parasync.runtime._pen import WRITES_WITHOUT_PAUSE_MAX
from parasync.stores import Draft, Outcome
from parasync.testing import Cut, settle, sweep
from parasync.transports._wire import IDEMPOTENCY_CHARS_MAX
from tests.runtime.kit import NOTES, A, assert_nothing_left, pace, promptly, terms, turns, versions
from tests.virtual_time import in_virtual_time, passing


class GatedStore(MemoryStore):
    """Holds each write up, before or after it happened, until the test lets it pass."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[asyncio.Event] = []
        self.after: list[asyncio.Event] = []
        self.error: Exception | None = None

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        if self.before:
            await self.before.pop(0).wait()
        outcome = await super().write(topic, epoch, draft)
        if self.after:
            await self.after.pop(0).wait()
        if self.error is not None:
            raise self.error
        return outcome


class YieldingStore(MemoryStore):
    """Suspends before and after everything that it does, as a store over a network would."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        await asyncio.sleep(0)
        outcome = await super().write(topic, epoch, draft)
        await asyncio.sleep(0)
        return outcome

    async def read(self, topic: str, keys: Any) -> Any:
        await asyncio.sleep(0)
        found = await super().read(topic, keys)
        await asyncio.sleep(0)
        return found


@asynccontextmanager
async def owning(bus: Any = None, **options: Any) -> AsyncIterator[tuple[authority[str], InProcessTransport]]:
    async with bus or InProcessTransport() as transport, authority(NOTES, transport, terms=terms(), **options) as owner:
        yield owner, transport


async def raises_nothing_stored(store: MemoryStore, error: type[Exception], call: Awaitable[Any]) -> None:
    before = await store.page("note", prefix="", after="", limit=100)
    with pytest.raises(error):
        await call
    assert await store.page("note", prefix="", after="", limit=100) == before


@in_virtual_time
async def test_what_is_wrong_with_a_write_is_said_before_anything_is_stored() -> None:
    store = MemoryStore()

    async def later(text: str) -> str:
        return text

    async with owning(store=store) as (owner, bus):
        version = await owner.put("a", "first")
        heard: list[Any] = []
        stop = bus.subscribe("note:a", heard.append)
        for error, call in [
            (InvalidTypeError, owner.put("a", 5)),  # type: ignore[arg-type]
            (InvalidKeyError, owner.put("", "x")),
            (InvalidKeyError, owner.put("x" * 600, "x")),
            (InvalidKeyError, owner.put(5, "x")),  # type: ignore[arg-type]
            (EncodeError, owner.put("a", "x" * 2_000_000)),
            (EncodeError, owner.put("a", "\ud800")),
            (EncodeError, owner.put("a", "x", meta={"a": 5})),  # type: ignore[dict-item]
            (ConflictError, owner.put("a", "x", expected=ABSENT)),
            (ConflictError, owner.put("a", "x", expected=Version(version.epoch, 9))),
            (ConflictError, owner.put("b", "x", expected=version)),
            (ConflictError, owner.delete("a", expected=Version(version.epoch, 9))),
            (DeletedError, owner.delete("b")),
            (DeletedError, owner.get("b")),
            (DeletedError, owner.update("b", lambda text: text)),
            (UsageError, owner.put("a", "x", expected="1.1")),  # type: ignore[arg-type]
            (UsageError, owner.put("a", "x", idempotency_key=5)),  # type: ignore[arg-type]
            (UsageError, owner.put("a", "x", idempotency_key="k" * (IDEMPOTENCY_CHARS_MAX + 1))),
            (UsageError, owner.update("a", "text")),  # type: ignore[arg-type]
            (UsageError, owner.update("a", later)),  # type: ignore[arg-type]
        ]:
            await raises_nothing_stored(store, error, call)
        assert heard == []
        assert (await owner.get("a")).value == "first"
        stop()


@in_virtual_time
async def test_a_conflict_tells_where_the_object_is() -> None:
    async with owning() as (owner, _):
        first = await owner.put("a", "x", expected=ABSENT)
        second = await owner.put("a", "y", expected=first)
        with pytest.raises(ConflictError) as raised:
            await owner.put("a", "z", expected=first)
        assert raised.value.current == second


async def test_it_is_used_where_it_was_entered_while_it_is_entered() -> None:
    async with InProcessTransport() as bus:
        owner = authority(NOTES, bus)
        with pytest.raises(UsageError, match="async with"):
            await owner.put("a", "x")
        async with owner:
            with pytest.raises(UsageError, match="another event loop"):
                promptly(lambda: asyncio.run(owner.put("a", "x")))
            with pytest.raises(UsageError, match="entered before"):
                await owner.__aenter__()
            await owner.put("a", "x")
        with pytest.raises(ClosedError):
            await owner.put("a", "y")
        await owner.aclose()
    with pytest.raises(UsageError, match="Topic"):
        authority(str, bus)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a bus"):
        authority(NOTES, "nats://127.0.0.1")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="as store"):
        authority(NOTES, bus, store={})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="as terms"):
        authority(NOTES, bus, terms=5.0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="as remote_writes"):
        authority(NOTES, bus, remote_writes="yes")  # type: ignore[arg-type]


async def test_a_write_on_a_closed_transport_is_not_stored() -> None:
    store, bus = MemoryStore(), InProcessTransport()
    async with bus, authority(NOTES, bus, store=store) as owner:
        await owner.put("a", "x")
        await bus.aclose()
        await raises_nothing_stored(store, ClosedError, owner.put("b", "y"))


@in_virtual_time
async def test_an_update_is_tried_again_until_it_wins() -> None:
    tries: list[str] = []

    def change(text: str) -> str:
        tries.append(text)
        return str(int(text) + 1)

    async with owning(store=YieldingStore()) as (owner, _):
        await owner.put("a", "0")
        await asyncio.gather(*(owner.update("a", change) for _ in range(12)))
        assert (await owner.get("a")).value == "12"
        assert len(tries) > 12


class OwnStore(MemoryStore):
    """Never waits either, but nobody can know that."""


@pytest.mark.parametrize("store", [MemoryStore, OwnStore])
@in_virtual_time
async def test_a_writer_that_never_waits_lets_others_have_their_turn(store: type[MemoryStore]) -> None:
    rounds = []
    loop = asyncio.get_running_loop()

    def live() -> None:
        # Not a task, which could be later than the writer each time.
        rounds.append(loop.call_soon(live))

    async with owning(store=store()) as (owner, _):
        live()
        for number in range(1_000):
            await owner.put(str(number), "x")
        rounds[-1].cancel()
        assert len(rounds) > 1_000 // WRITES_WITHOUT_PAUSE_MAX


@in_virtual_time
async def test_a_write_that_was_cancelled_after_it_was_stored_is_published() -> None:
    store = GatedStore()
    async with owning(store=store) as (owner, bus):
        await owner.put("a", "first")
        async with synced(A, bus, pace=pace()) as note:
            await note.ready()
            store.after = [asyncio.Event()]
            writing = asyncio.ensure_future(owner.put("a", "second"))
            await turns()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            assert writing.cancelled()
            await turns()
            assert note.value == "second"
            assert note.stats.gaps == 0


@in_virtual_time
async def test_a_write_that_was_cancelled_before_it_was_stored_never_happened() -> None:
    store = GatedStore()
    async with owning(store=store) as (owner, bus):
        await owner.put("a", "first")
        async with synced(A, bus, pace=pace()) as note:
            await note.ready()
            store.before = [asyncio.Event()]
            writing = asyncio.ensure_future(owner.put("a", "second"))
            await turns()
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await turns()
            assert note.value == (await owner.get("a")).value == "first"


@in_virtual_time
async def test_a_store_that_does_not_answer_says_so_and_what_happened_is_published() -> None:
    store = GatedStore()
    async with owning(store=store) as (owner, bus), synced(A, bus, pace=pace()) as note:
        store.error = IndeterminateError("no answer in time")
        with pytest.raises(IndeterminateError):
            await owner.put("a", "perhaps")
        await turns()
        assert note.value == "perhaps"


@in_virtual_time
async def test_a_later_write_that_is_stored_first_leaves_no_gap_and_never_goes_back() -> None:
    store = GatedStore()
    async with owning(store=store) as (owner, bus):
        await owner.put("a", "0")
        async with synced(A, bus, pace=pace()) as note:
            await note.ready()
            await note.when_idle()
            seen: list[Any] = []
            note.subscribe(seen.append)
            slow, quick = asyncio.Event(), asyncio.Event()
            store.after = [slow, quick]
            first = asyncio.ensure_future(owner.put("a", "1"))
            await turns()
            second = asyncio.ensure_future(owner.put("a", "2"))
            await turns()
            quick.set()
            later = await second
            slow.set()
            earlier = await first
            assert later == (earlier.epoch, earlier.sequence + 1)
            assert versions(seen) == [later]
            assert seen[0].skipped == 1
            assert note.stats.gaps == 0
            assert note.status is Status.OK
            assert await owner.put("a", "3") == (later.epoch, later.sequence + 1)
            assert note.value == "3"
            assert note.stats.gaps == 0


@in_virtual_time
async def test_of_two_authorities_on_one_bus_the_newer_writes() -> None:
    async with owning() as (older, bus):
        await older.put("a", "older")
        async with synced(A, bus, pace=pace()) as note:
            await note.ready()
            async with authority(NOTES, bus, terms=terms()) as newer:
                await turns()
                assert newer.epoch > older.epoch
                assert (older.serving, newer.serving) == (False, True)
                with pytest.raises(FencedError):
                    await older.put("a", "zombie")
                await newer.put("a", "newer")
                assert note.value == "newer"
            await passing(60.0)
            assert older.serving
            version = await older.put("a", "older again")
            assert version.epoch > newer.epoch
            assert note.value == "older again"


@in_virtual_time
async def test_the_store_fences_whom_no_probe_reaches() -> None:
    store = MemoryStore()
    async with owning(store=store) as (older, bus), owning(store=store) as (newer, _):
        await newer.put("a", "newer")
        assert older.serving
        for call in (older.put("a", "zombie"), older.put("b", "zombie")):
            with pytest.raises(FencedError):
                await call
        assert not older.serving
        assert (await newer.get("a")).value == "newer"
        answer = bus.ask("note", Ask(0, ("note:a",), (None,)), 1.0)
        with pytest.raises(NoAuthorityError):
            await answer


@in_virtual_time
async def test_an_authority_finds_a_newer_one_in_its_store_before_it_answers() -> None:
    store = MemoryStore()
    async with owning(store=store) as (older, bus):
        await turns()  # its first look at the store is over
        async with owning(store=store):
            response = await bus.ask("note", Ask(0, ("note:a",), (None,)), 1.0)
            assert isinstance(response, Refusal)
            assert response.error == "FencedError"
            assert not older.serving


@in_virtual_time
async def test_two_fenced_authorities_do_not_wait_for_each_other() -> None:
    async with owning() as (one, bus), authority(NOTES, bus, terms=terms()) as two:
        async with authority(NOTES, bus, terms=terms()) as three:
            await turns()
            assert [one.serving, two.serving, three.serving] == [False, False, True]
        await passing(120.0)
        assert [one.serving, two.serving].count(True) == 1


@in_virtual_time
async def test_a_lost_history_is_written_anew_at_a_limited_rate() -> None:
    idents = [str(number) for number in range(6)]
    async with InProcessTransport() as bus:
        replicas = []
        async with authority(NOTES, bus, terms=terms()) as first:
            for ident in idents:
                await first.put(ident, "old")
                replicas.append(synced(NOTES[ident], bus, pace=pace()))
            for replica in replicas:
                await replica.ready()
        old = [replica.version for replica in replicas]
        async with authority(NOTES, bus, terms=terms(reissues_per_s_max=2)) as second:
            await second.put("0", "new")
            await passing(60.0)
            for replica in replicas:
                await replica.when_idle()
            assert [replica.peek() for replica in replicas] == ["new", None, None, None, None, None]
            assert all(replica.version > before for replica, before in zip(replicas, old, strict=True))
            assert all(replica.status is Status.OK for replica in replicas)
        for replica in replicas:
            await replica.aclose()
        assert_nothing_left(bus)


@in_virtual_time
async def test_while_it_loads_it_does_not_say_that_all_is_gone() -> None:
    async with InProcessTransport() as bus:
        async with authority(NOTES, bus, terms=terms()) as first:
            await first.put("a", "kept")
            note = synced(A, bus, pace=pace())
            await note.ready()
        async with authority(NOTES, bus, terms=terms(), loading=True) as second:
            await passing(20.0)
            assert note.value == "kept"
            await second.put("a", "loaded")
            second.loaded()
            await note.when_idle()
            assert note.value == "loaded"
        await note.aclose()


@pytest.mark.parametrize(("count", "limit_bytes"), [(3, 5_000), (600, 1_000_000)])
@in_virtual_time
async def test_what_does_not_fit_into_one_answer_comes_with_the_next(count: int, limit_bytes: int) -> None:
    class NarrowTransport(InProcessTransport):
        body_bytes_max = limit_bytes

    async with owning(NarrowTransport()) as (owner, bus):
        for number in range(count):
            await owner.put(str(number), "x" * 3_000)
        replicas = [synced(NOTES[str(number)], bus, pace=pace()) for number in range(count)]
        for replica in replicas:
            assert len(await replica.ready()) == 3_000
        for replica in replicas:
            await replica.aclose()


@in_virtual_time
async def test_others_may_write_only_where_that_is_allowed() -> None:
    body = EncodedBody(NOTES.encode("theirs", InProcessTransport().codec))
    put = Put("note:a", body, "1.0")
    async with owning() as (_, bus):
        refused = await bus.ask("note", put, 1.0)
        assert isinstance(refused, Refusal)
        assert refused.error == "RefusedError"
    async with owning(remote_writes=True) as (owner, bus):
        written = await bus.ask("note", put, 1.0)
        assert isinstance(written, Written)
        assert (await owner.get("a")).value == "theirs"
        conflict = await bus.ask("note", Put("note:a", body, "1.0", ABSENT), 1.0)
        assert isinstance(conflict, Refusal)
        assert (conflict.error, conflict.current) == ("ConflictError", written.version)
        for wrong in (Put("note:a", EncodedBody(b"\x05"), "1.0"), Put("note:a", body, "2.0"), Put("user:a", body, "1.0")):
            response = await bus.ask("note", wrong, 1.0)
            assert isinstance(response, Refusal), wrong
        assert (await owner.get("a")).version == written.version
        gone = await bus.ask("note", Put("note:a", None, "1.0", written.version), 1.0)
        assert isinstance(gone, Written)
        with pytest.raises(DeletedError):
            await owner.get("a")


@in_virtual_time
async def test_a_writer_of_ones_own_decides_over_the_writes_of_others() -> None:
    asked: list[Any] = []

    async def write(ident: str | None, value: str | None, request: Put) -> Version:
        asked.append((ident, value, request.key))
        return Version(1, 1)

    async with owning(remote_writes=write) as (_, bus):
        body = NOTES.encode("theirs", bus.codec)
        assert await bus.ask("note", Put("note:a", body, "1.0"), 1.0) == Written(Version(1, 1))
        assert await bus.ask("note", Put("note", None, "1.0"), 1.0) == Written(Version(1, 1))
        assert asked == [("a", "theirs", "note:a"), (None, None, "note")]


@in_virtual_time
async def test_an_object_without_an_id_has_the_key_of_its_topic() -> None:
    settings = Topic("settings", dict[str, int])
    async with InProcessTransport() as bus, authority(settings, bus, terms=terms()) as owner:
        await owner.put(None, {"a": 1})
        async with synced(settings.ref(), bus, pace=pace()) as replica:
            assert await replica.ready() == {"a": 1}
            assert replica.key == "settings"


CALLS: dict[str, Callable[[authority[str]], Any]] = {
    "put": lambda owner: owner.put("a", "swept"),
    "update": lambda owner: owner.update("a", lambda _: "swept"),
    "delete": lambda owner: owner.delete("a"),
    "get": lambda owner: owner.get("a"),
    "aclose": lambda owner: owner.aclose(),
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_call_may_be_cancelled_anywhere(name: str) -> None:
    """Whatever was stored is shown; nothing is left behind."""

    async def attempt(cut: Cut) -> None:
        store = YieldingStore()
        async with owning(store=store) as (owner, bus):
            await owner.put("a", "first")
            async with synced(A, bus, pace=pace()) as note:
                await note.ready()
                await cut(CALLS[name](owner))
                await settle()
                _, stored = await store.read("note", ["note:a"])
                assert note.version == stored["note:a"].version
                assert note.peek() in ("first", "swept", None)
        assert_nothing_left(bus)

    assert sweep(attempt) >= 1


def test_entering_may_be_cancelled_anywhere() -> None:
    async def attempt(cut: Cut) -> None:
        async with InProcessTransport() as bus:
            owner = authority(NOTES, bus, store=YieldingStore(), terms=terms())
            await cut(owner.__aenter__())
            await owner.aclose()
            with pytest.raises(NoAuthorityError):
                await bus.ask("note", Ask(0, ("note:a",), (None,)), 1.0)

    sweep(attempt)
