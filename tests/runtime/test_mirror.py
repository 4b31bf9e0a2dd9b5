"""The mirror as its users see it: reads, changes, indexes, snapshots, and calls that wait."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import weakref
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest

from parasync import (
    ABSENT,
    Envelope,
    InProcessTransport,
    Kind,
    Loaded,
    MemoryStore,
    MirrorSnapshot,
    Status,
    Topic,
    Version,
    authority,
    mirror,
)
from parasync.errors import (
    AskTimeoutError,
    ClosedError,
    DeletedError,
    HistoryLostError,
    InvalidKeyError,
    NotReadyError,
    SnapshotError,
    UsageError,
)
from parasync.protocol import Digests, Probe, Request, Response, Scanned
from parasync.testing import Cut, Faults, FaultyTransport, settle, sweep
from tests.lossy import LossyTransport
from tests.runtime.kit import in_threads, pace, promptly, terms, turns
from tests.virtual_time import in_virtual_time, passing


@attrs.frozen
class User:
    """One of those who are mirrored."""

    name: str
    city: str = "Paris"


USERS = Topic("user", User, version="1.0")


def user(sequence: int, name: str, *, epoch: int = 1, **more: Any) -> Envelope[Any]:
    """One version of a user, by hand."""
    return Envelope(User(name), more.pop("schema_version", "1.0"), sequence, epoch, **more)


def gone(sequence: int, *, epoch: int = 1) -> Envelope[Any]:
    """A deletion, by hand."""
    return Envelope(None, "1.0", sequence, epoch, kind=Kind.TOMBSTONE)


def a_mirror(bus: Any, **options: Any) -> mirror[User]:
    return mirror(USERS, bus, pace=options.pop("pace", None) or pace(), **options)


async def served(stack: AsyncExitStack, bus: Any, *names: str, store: Any = None) -> authority[User]:
    """An authority with some users, whose ids are their names."""
    owner = await stack.enter_async_context(authority(USERS, bus, store=store or MemoryStore(), terms=terms()))
    for name in names:
        await owner.put(name, User(name))
    return owner


# Reads


@in_virtual_time
async def test_before_the_first_load_nobody_knows_what_is_not_there() -> None:
    bus = InProcessTransport()
    async with a_mirror(bus) as users:
        bus.publish("user:ada", user(1, "Ada"))
        for read in (
            lambda: users["ada"],
            lambda: users.get("ada"),
            lambda: len(users),
            lambda: list(users),
            lambda: "ada" in users,
            lambda: list(users.items()),
            lambda: list(users.values()),
            users.snapshot,
            lambda: users.index(str)["x"],
            lambda: len(users.where(bool)),
            lambda: list(users.unique(lambda user: user.name)),
        ):
            with pytest.raises(NotReadyError, match="ready"):
                read()
        assert users.status is Status.REFETCHING
        await turns()
        assert users.status is Status.STALE
        assert "nobody serves" in users.reason
        assert users.loaded == Loaded(1, None, done=False)
        with pytest.raises(AskTimeoutError, match="the first load of 'user:\\*'"):
            await users.ready(0.5)
        async with AsyncExitStack() as stack:
            await served(stack, bus)
            await users.ready()
            await users.when_idle()
            assert users.status is Status.OK
            assert len(users) == 0, "who serves has never heard of her"


@in_virtual_time
async def test_a_mirror_is_a_mapping_of_all_objects_by_id() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada", "bob", "eve:2")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        assert isinstance(users, Mapping)
        assert users["ada"] == User("ada")
        assert dict(users) == {name: User(name) for name in ("ada", "bob", "eve:2")}
        assert sorted(users) == sorted(users.keys()) == ["ada", "bob", "eve:2"]
        assert sorted(value.name for value in users.values()) == sorted(users)
        assert ("ada", User("ada")) in users.items()
        assert (len(users), "bob" in users, "zoe" in users, 17 in users) == (3, True, False, False)
        assert users.get("zoe") is None
        for absent in ("zoe", 17, ""):
            with pytest.raises(KeyError):
                users[absent]  # type: ignore[index]
        await owner.delete("ada")
        assert "ada" not in users
        assert users.version_of("ada") is not None, "it was deleted"
        assert users.version_of("zoe") is None
        assert users != {}
        assert {users: 1}[users] == 1
        await users.when_idle()
        assert repr(users) == "<mirror 'user:*' ok, 2 objects>"
        assert (users.topic, users.pattern, users.age_s, users.reason) == (USERS, None, 0.0, "")
        assert users.stats.applied == 4
        for name, value in users.items():
            await owner.delete(name)
            assert value.name == name, "what is iterated over is what there was"


@in_virtual_time
async def test_the_object_without_an_id_is_there_too() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada")
        await owner.put(None, User("all"))
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        assert dict(users) == {"": User("all"), "ada": User("ada")}
        assert (users[""], len(users)) == (User("all"), 2)


@in_virtual_time
async def test_a_pattern_chooses_those_whose_ids_begin_so() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "eu:ada", "us:bob", "eu")
        users = await stack.enter_async_context(a_mirror(bus, pattern="user:eu:*"))
        await users.ready()
        await owner.put("eu:zoe", User("zoe"))
        await owner.put("us:zoe", User("zoe"))
        assert sorted(users) == ["eu:ada", "eu:zoe"]
        assert (users.pattern, users.loaded.total) == ("user:eu:*", None)
        for pattern in ("user:eu", "other:*", ""):
            with pytest.raises(InvalidKeyError):
                a_mirror(bus, pattern=pattern)
        everyone = await stack.enter_async_context(a_mirror(bus, pattern="user:*"))
        await everyone.ready()
        assert len(everyone) == 5


@in_virtual_time
async def test_a_load_is_paged_and_tells_how_it_goes_on() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        await served(stack, bus, *[f"u{number}" for number in range(3000)])
        seen: list[Loaded] = []

        def progress(loaded: Loaded) -> None:
            seen.append(loaded)
            raise ValueError

        users = await stack.enter_async_context(a_mirror(bus, progress=progress))
        await users.ready()
        assert seen == [Loaded(2048, 3000, done=False), Loaded(3000, 3000, done=True)]
        assert (users.loaded, len(users), users.stats.handler_errors) == (seen[-1], 3000, 2)


# Changes


@in_virtual_time
async def test_changes_say_of_which_object_and_why() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada")
        users = await stack.enter_async_context(a_mirror(bus))
        heard: list[Any] = []
        stop = users.subscribe(heard.append)
        changes = await stack.enter_async_context(users.changes())
        await users.ready()
        await owner.put("ada", User("Ada L."))
        await owner.delete("ada")
        assert [(change.key, change.id, change.old, change.new, change.cause) for change in heard] == [
            ("user:ada", "ada", None, User("ada"), "answer"),
            ("user:ada", "ada", User("ada"), User("Ada L."), "live"),
            ("user:ada", "ada", User("Ada L."), None, "live"),
        ]
        assert [change.skipped for change in heard] == [0, 0, 0]
        one = await anext(changes)
        assert (one.old, one.new, one.deleted, one.skipped, one.version) == (None, None, True, 2, heard[-1].version)
        stop()
        stop()
        await owner.put("bob", User("bob"))
        assert len(heard) == 3
        assert (await anext(changes)).id == "bob"
        waiting = asyncio.ensure_future(anext(changes))
        await turns()
        users.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
        for call in (users.changes, lambda: users.subscribe(heard.append)):
            with pytest.raises(ClosedError):
                call()


@in_virtual_time
async def test_a_slow_reader_costs_no_more_than_there_are_objects() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada", "bob")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        changes = users.changes()
        for number in range(500):
            await owner.put("ada", User(f"{number}"))
            await owner.put("bob", User(f"{number}"))
        assert len(changes._waiting) == 2
        last = [await anext(changes) for _ in range(2)]
        assert [(change.id, change.new, change.skipped) for change in last] == [
            ("ada", User("499"), 499),
            ("bob", User("499"), 499),
        ]
        changes.end()
        with pytest.raises(StopAsyncIteration):
            await anext(changes)


@in_virtual_time
async def test_a_listener_that_raises_or_writes_harms_nobody() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus)
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        heard: list[Any] = []

        def echo(change: Any) -> None:
            heard.append((change.id, change.version.sequence))
            if change.id == "ada" and change.version.sequence < 4:
                bus.publish("user:ada", user(change.version.sequence + 1, "x", epoch=change.version.epoch))
            raise asyncio.CancelledError

        users.subscribe(echo)
        late: list[Any] = []
        users.subscribe(lambda change: late.append(change.version.sequence))
        await owner.put("ada", User("ada"))
        assert heard == [("ada", 1), ("ada", 2), ("ada", 3), ("ada", 4)]
        assert late == [1, 2, 3, 4]
        assert users.stats.handler_errors == 4

        def leave(_: Any) -> None:
            raise KeyboardInterrupt

        users.subscribe(leave)
        with pytest.raises(KeyboardInterrupt):
            bus.publish("user:bob", user(1, "bob", epoch=users.snapshot().epoch))
        assert late[-1] == 1
        assert "bob" in users


def test_a_stream_belongs_to_one_loop() -> None:
    bus = InProcessTransport()

    async def begin() -> Any:
        users = a_mirror(bus)
        changes = users.changes()
        async with changes:
            await users.aclose()
        return changes

    changes = asyncio.run(begin())

    async def other() -> None:
        with pytest.raises(UsageError, match="another event loop"):
            await anext(changes)

    asyncio.run(other())


# Indexes


@in_virtual_time
async def test_an_index_is_kept_up_to_date() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada", "bob")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        by_city = users.index(lambda user: user.city)
        paris = by_city["Paris"]
        assert (sorted(paris), len(by_city), list(by_city)) == (["ada", "bob"], 1, ["Paris"])
        await owner.put("ada", User("ada", "Rome"))
        assert {city: dict(found) for city, found in by_city.items()} == {
            "Paris": {"bob": User("bob")},
            "Rome": {"ada": User("ada", "Rome")},
        }
        await owner.put("bob", User("Bob"))
        assert paris["bob"] == User("Bob"), "also where its place stays the same"
        await owner.delete("bob")
        assert (list(by_city), dict(paris), len(paris)) == (["Rome"], {}, 0)
        with pytest.raises(KeyError):
            by_city["Paris"]
        assert by_city.get("Paris", {}) == {}
        await owner.put("zoe", User("zoe"))
        assert list(paris.values()) == [User("zoe")]
        assert "zoe" in paris
        assert "_matches" not in repr(paris)


@in_virtual_time
async def test_a_unique_index_shows_one_object_and_tells_of_the_others() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada", "bob")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        by_name = users.unique(lambda user: user.name)
        assert (by_name["ada"], len(by_name), by_name.conflicts) == (User("ada"), 2, {})
        await owner.put("bob", User("ada", "Rome"))
        assert (by_name["ada"], list(by_name)) == (User("ada"), ["ada"]), "that with the lowest id"
        assert by_name.conflicts == {"ada": ("ada", "bob")}
        await owner.delete("ada")
        assert (dict(by_name), by_name.conflicts) == ({"ada": User("ada", "Rome")}, {})
        with pytest.raises(KeyError):
            by_name["bob"]


@in_virtual_time
async def test_what_a_predicate_chooses_is_a_mapping_of_its_own() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada", "bob")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        short = users.where(lambda user: len(user.name) < 4)
        assert sorted(short) == ["ada", "bob"]
        await owner.put("ada", User("Ada Lovelace"))
        await owner.put("zoe", User("zoe"))
        assert (sorted(short), len(short), short["zoe"]) == (["bob", "zoe"], 2, User("zoe"))
        with pytest.raises(KeyError):
            short["ada"]


@in_virtual_time
async def test_a_function_of_an_index_that_raises_leaves_its_object_out() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada", "bad")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()

        def place(user: User) -> Any:
            if user.name == "bad":
                raise ValueError
            return [] if user.name == "list" else user.name

        names = users.index(place)
        assert (sorted(names), users.stats.handler_errors) == (["ada"], 1)
        await owner.put("ada", User("list"))
        assert (sorted(names), users.stats.handler_errors) == ([], 2)
        await owner.put("ada", User("ada"))
        await owner.put("ada", User("bad"))
        assert (sorted(names), users.stats.handler_errors) == ([], 3)
        assert users["ada"] == User("bad")
        for wrong in (None, asyncio.sleep):
            for make in (users.index, users.unique, users.where):
                with pytest.raises(UsageError):
                    make(wrong)  # type: ignore[arg-type]
        with pytest.raises(KeyboardInterrupt):
            users.index(_interrupting)


def _interrupting(_: User) -> str:
    raise KeyboardInterrupt


@in_virtual_time
async def test_an_index_that_nobody_holds_costs_nothing() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        names = users.index(lambda user: user.name)
        held = weakref.ref(names._shelves)
        stream = users.changes()
        assert len(users._seat._listeners) == 2
        del names, stream
        gc.collect()
        assert held() is None
        assert users._seat._listeners == ()
        assert users._seat._watchers == ()
        await owner.put("ada", User("Ada"))


def test_an_index_misses_nothing_that_other_threads_write_while_it_is_made() -> None:
    async def main() -> None:
        bus = InProcessTransport()
        async with AsyncExitStack() as stack:
            await served(stack, bus, *[f"u{number}" for number in range(50)])
            users = await stack.enter_async_context(a_mirror(bus, pace=pace(clock=asyncio.get_running_loop().time)))
            await users.ready()
            epoch = users.snapshot().epoch
            made: list[Any] = []

            def write() -> None:
                for sequence in range(2, 30):
                    for number in range(50):
                        bus.publish(f"user:u{number}", user(sequence, f"{sequence % 7}", epoch=epoch))

            def make() -> None:
                for _ in range(20):
                    made.append(users.index(lambda user: user.name))

            def read() -> None:
                for _ in range(200):
                    assert len(dict(users)) == 50
                    assert users["u7"].name

            await asyncio.to_thread(in_threads, write, make, read, make)
            for names in made:
                found = {name: set(matches) for name, matches in names.items()}
                assert found == {"1": set(users)}

    asyncio.run(main())


# Snapshots


@in_virtual_time
async def test_a_mirror_begins_with_what_another_one_saved(tmp_path: Path) -> None:
    path = tmp_path / "users.mirror"
    async with AsyncExitStack() as stack:
        bus = LossyTransport()
        owner = await served(stack, bus, "ada", "bob", "old")
        async with a_mirror(bus) as users:
            await users.ready()
            await owner.put("bad", User("bad"), meta={"by": "me"})
            await owner.delete("old")
            snapshot = users.snapshot()
            await owner.put("zoe", User("zoe"))
            assert sorted(snapshot) == ["ada", "bad", "bob"], "it does not change any more"
            assert (snapshot["ada"], len(snapshot), dict(snapshot.items())["bob"]) == (User("ada"), 3, User("bob"))
        snapshot.save(path)
        snapshot.save(path)
        assert [each.name for each in os.scandir(tmp_path)] == [path.name]
        loaded = MirrorSnapshot.load(path, USERS)
        assert dict(loaded) == dict(snapshot)
        assert (loaded.topic, loaded.pattern, loaded.epoch, loaded.floor) == (USERS, None, snapshot.epoch, snapshot.floor)
        await owner.delete("bob")
        asks = bus.asks
        for warm in (path, str(path), snapshot, loaded):
            async with a_mirror(bus, warm=warm) as again:
                assert sorted(again) == ["ada", "bad", "bob"], "it is served at once"
                assert again.status is Status.STALE
                await again.ready()
                assert again.version_of("ada") == users.version_of("ada")
                await again.when_idle()
                assert (sorted(again), again.status) == (["ada", "bad", "zoe"], Status.OK)
                assert again.stats.applied == 2, "only what differs is loaded"
                assert again._core.digest is not None
                assert again._core.digest.count == 5
        assert bus.asks - asks == 8


@in_virtual_time
async def test_what_was_saved_is_served_where_nobody_answers(tmp_path: Path) -> None:
    path = tmp_path / "users.mirror"
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        await served(stack, bus, "ada")
        async with a_mirror(bus) as users:
            await users.ready()
            users.snapshot().save(path)
            version = users.version_of("ada")
            assert version is not None
    async with a_mirror(InProcessTransport(), warm=path) as users:
        await passing(30)
        assert (users["ada"], users.status) == (User("ada"), Status.STALE)
        with pytest.raises(AskTimeoutError):
            await users.at_least(version, "ada", 0.5)
        with pytest.raises(AskTimeoutError):
            await users.fresh(1e9, 0.5)


@in_virtual_time
async def test_what_cannot_be_read_any_more_is_known_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "users.mirror"
    async with AsyncExitStack() as stack:
        bus = LossyTransport()
        await served(stack, bus, "ada", "bad")
        async with a_mirror(bus) as users:
            await users.ready()
            users.snapshot().save(path)
        strict = Topic("user", User, version="1.0", parse=_no_bad)
        async with mirror(strict, bus, warm=path, pace=pace()) as again:
            assert (list(again), again.status) == (["ada"], Status.SKEW)
            assert again.reason.startswith("1 object is newer than what can be read")
            await again.when_idle()
            again.snapshot().save(path)
            assert dict(again.snapshot()) == {"ada": User("ada")}
            assert again._core.refused
        assert len(MirrorSnapshot.load(path, strict)._refused) == 1


def _no_bad(data: Any) -> User:
    if data["name"] == "bad":
        raise ValueError
    return User(**data)


@in_virtual_time
async def test_a_damaged_file_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "users.mirror"
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        await served(stack, bus, "ada", "bob")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        users.snapshot().save(path)
        whole = path.read_bytes()
        damaged = [whole[:cut] for cut in range(len(whole))]
        damaged += [whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :] for at in range(len(whole))]
        damaged.append(whole + b"\0")
        for data in damaged:
            path.write_bytes(data)
            with pytest.raises(SnapshotError) as raised:
                MirrorSnapshot.load(path, USERS)
            assert 0 <= raised.value.position <= len(whole)
        path.write_bytes(whole)
        with pytest.raises(SnapshotError, match="expected one of 'other'"):
            MirrorSnapshot.load(path, Topic("other", User))
        with pytest.raises(SnapshotError, match="pattern"):
            a_mirror(bus, warm=path, pattern="user:eu:*")
        with pytest.raises(UsageError, match="as warm"):
            a_mirror(bus, warm=17)
        with pytest.raises(SnapshotError, match="cannot be read"):
            a_mirror(bus, warm=tmp_path / "none")
        with pytest.raises(SnapshotError, match="cannot be written"):
            users.snapshot().save(tmp_path / "none" / "there")
        assert [each.name for each in os.scandir(tmp_path)] == [path.name]


# Waiting


@in_virtual_time
async def test_reads_demand_a_proof_or_a_version() -> None:
    async with AsyncExitStack() as stack:
        bus = LossyTransport()
        owner = await served(stack, bus, "ada")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        bus.pass_live = lambda _key, _envelope: []
        version = await owner.put("ada", User("Ada"))
        assert await users.at_least(version, "ada") == User("Ada")
        await owner.put("bob", User("bob"))
        await users.fresh()
        assert (users.age_s, users["bob"]) == (0.0, User("bob"))
        asks = bus.asks
        await users.fresh(max_stale_s=5)
        assert bus.asks == asks, "that was young enough"
        version = await owner.delete("ada")
        with pytest.raises(DeletedError):
            await users.at_least(version, "ada")
        await users.when_idle()
        with pytest.raises(AskTimeoutError):
            await users.at_least(Version(version.epoch, 99), "zoe", 0.5)
        for call in (users.at_least("1.2", "ada"), users.ready("x"), users.fresh("x")):  # type: ignore[arg-type]
            with pytest.raises(UsageError):
                await call
        users.close()
        for waits in (users.fresh(), users.at_least(Version(version.epoch, 99), "ada"), users.when_idle(), users.ready()):
            if waits.__name__ in ("fresh", "at_least"):
                with pytest.raises(ClosedError):
                    await waits
            else:
                await asyncio.wait_for(waits, 1)


class _Lagging(LossyTransport):
    """Its authority answers for an earlier moment, as one does whose store is slow."""

    lag_s = 0.0

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """See `AskTransport`."""
        response = await super().ask(topic, request, timeout_s)
        return attrs.evolve(response, lag_s=self.lag_s) if isinstance(response, Digests | Scanned) else response


@in_virtual_time
async def test_a_proof_of_an_earlier_moment_is_not_what_a_read_demands() -> None:
    async with AsyncExitStack() as stack:
        bus = _Lagging()
        await served(stack, bus, "ada")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        await passing(1.0)
        bus.lag_s, asks = 5.0, bus.asks
        reading = asyncio.create_task(users.fresh())
        await users.fresh(max_stale_s=6.0)
        await passing(3.0)
        assert not reading.done()
        assert bus.asks < asks + 10, "it backs off"
        bus.lag_s = 0.0
        await reading
        assert users.age_s < 3.0


@in_virtual_time
async def test_where_nobody_beats_reconciling_is_not_seen() -> None:
    async with AsyncExitStack() as stack:
        bus = LossyTransport()
        await served(stack, bus, "ada")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        await users.when_idle()
        asks, seen = bus.asks, set()
        while bus.asks < asks + 3:
            await passing(0.01)
            seen.add(users.status)
        assert seen == {Status.OK}


@in_virtual_time
async def test_a_version_of_a_lost_history_is_not_waited_for() -> None:
    async with AsyncExitStack() as stack:
        bus = LossyTransport()
        users = await stack.enter_async_context(a_mirror(bus))
        async with AsyncExitStack() as first:
            owner = await served(first, bus, "ada")
            await users.ready()
            version = await owner.put("zoe", User("zoe"))
        await served(stack, bus, "bob")
        await users.fresh()
        assert sorted(users) == ["bob"]
        with pytest.raises(HistoryLostError):
            await users.at_least(Version(version.epoch, version.sequence + 1), "zoe")


@in_virtual_time
async def test_the_floor_of_a_lost_history_reaches_no_version_of_it() -> None:
    async with AsyncExitStack() as stack:
        bus = LossyTransport()
        users = await stack.enter_async_context(a_mirror(bus))
        async with AsyncExitStack() as first:
            short = terms(tombstone_ttl_s=60.0)
            owner = await first.enter_async_context(authority(USERS, bus, store=MemoryStore(), terms=short))
            written = await owner.put("ada", User("Ada"))
            await owner.delete("ada")
            await users.ready()
            while users.snapshot().floor == ABSENT:
                await passing(10.0)
            with pytest.raises(DeletedError):
                await users.at_least(written, "ada")
        floor = users.snapshot().floor
        await served(stack, bus, "bob")
        await users.fresh()
        assert (sorted(users), users.snapshot().floor, users.version_of("ada")) == (["bob"], floor, None)
        with pytest.raises(HistoryLostError):
            await users.at_least(written, "ada")


@in_virtual_time
async def test_who_waits_is_told_of_the_end() -> None:
    for end in ("mirror", "bus"):
        bus = InProcessTransport()
        users = a_mirror(bus)
        waiting = [asyncio.create_task(call) for call in (users.ready(), users.fresh(), users.when_idle())]
        await turns()
        if end == "mirror":
            users.close()
        else:
            await bus.aclose()
        for task in waiting:
            with pytest.raises(ClosedError):
                await task
        await users.aclose()
        await users.aclose()
        assert bus.key_count() == 0


def test_every_call_that_waits_may_be_cancelled_anywhere() -> None:
    async def calls(users: mirror[User], call: str, version: Version) -> None:
        if call == "changes":
            async with users.changes() as changes:
                await anext(changes)
        elif call == "context":
            async with users:
                await users.ready()
        elif call == "at_least":
            await users.at_least(version, "zoe")
        else:
            await getattr(users, call)()

    for call in ("ready", "fresh", "when_idle", "at_least", "changes", "context", "aclose"):

        async def scene(cut: Cut, call: str = call) -> None:
            async with AsyncExitStack() as stack:
                bus = LossyTransport()
                owner = await served(stack, bus, "ada")
                version = await owner.put("zoe", User("zoe"))
                users = await stack.enter_async_context(a_mirror(bus))
                await cut(calls(users, call, version))
                if call not in ("context", "aclose"):
                    await users.ready()
                    await users.fresh()
                    assert sorted(users) == ["ada", "zoe"]
                    gc.collect()
                    assert users._seat._watchers == ()
                    assert users._seat._listeners == ()
                await users.aclose()
                assert bus.key_count() == 0

        assert sweep(scene) >= 1


# Faults


@in_virtual_time
async def test_what_was_lost_without_a_trace_is_found_by_a_beat() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        out, back = FaultyTransport(bus), FaultyTransport(bus)
        owner = await served(stack, out, "ada")
        for pattern in (None, "user:eu:*"):
            await owner.put("ada", User("ada"))
            async with a_mirror(back, pattern=pattern) as users:
                await users.ready()
                back.partition(incoming=True, outgoing=False)
                await owner.put("eu:zoe", User("zoe"))
                await owner.delete("ada")
                back.heal()
                assert "eu:zoe" not in users
                await passing(6)
                assert list(users) == ["eu:zoe"]
                assert users.status is Status.OK
                assert users.age_s < 6
                await owner.delete("eu:zoe")


@in_virtual_time
async def test_where_nobody_beats_a_round_is_due_once_in_an_interval() -> None:
    async with AsyncExitStack() as stack:
        bus = LossyTransport()
        owner = await served(stack, bus, "ada")
        users = await stack.enter_async_context(a_mirror(bus, pace=pace(reconcile_interval_s=20.0)))
        await users.when_idle()
        bus.pass_live = lambda _key, _envelope: []
        await owner.put("ada", User("Ada"))
        asks = bus.asks
        await passing(100)
        assert users["ada"] == User("Ada")
        assert 5 <= bus.asks - asks <= 8


@in_virtual_time
async def test_who_does_not_answer_is_asked_ever_less_often_and_for_ever() -> None:
    bus = LossyTransport()
    async with a_mirror(bus) as users:
        await passing(1000)
        assert 150 < bus.asks < 600
        assert users.stats.refetch_failures == bus.asks
        assert users.stats.refetches == 1, "it is one round all the time"
        async with AsyncExitStack() as stack:
            await served(stack, bus, "ada")
            await users.ready(6)


@in_virtual_time
async def test_a_load_goes_on_where_it_stood_and_is_proven_anew_if_it_took_long() -> None:
    async with AsyncExitStack() as stack:
        bus = LossyTransport()
        await served(stack, bus, *[f"u{number}" for number in range(5000)])
        seen: list[Loaded] = []

        def progress(loaded: Loaded) -> None:
            # The second page is under way when the first was learned.
            bus.cut = len(seen) < 60
            seen.append(loaded)

        users = await stack.enter_async_context(a_mirror(bus, progress=progress))
        await users.ready()
        assert [loaded.objects for loaded in seen] == [2048] + [4096] * 60 + [5000]
        assert users.stats.applied == 5000
        assert users.age_s > 100, "it proves as of its first ask that was answered"
        await users.when_idle()
        assert (users.status, users.age_s < 1) == (Status.OK, True), "it is asked once more"
        bus.cut = True
        users._seat.interrupted("to ask")
        await passing(100)
        assert users.status is Status.STALE
        bus.cut = False
        await passing(6)
        assert (users.status, users.age_s < 6) == (Status.OK, True), "what nobody has answered is asked anew"
        assert (users.status, users.stats.refetches) == (Status.OK, 3), "the attempt that was answered proves as of itself"


@in_virtual_time
async def test_an_authority_that_falls_silent_leaves_a_mirror_stale() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        async with AsyncExitStack() as first:
            await served(first, FaultyTransport(bus), "ada")
            users = await stack.enter_async_context(a_mirror(FaultyTransport(bus)))
            await users.ready()
            await passing(11)
            assert users.status is Status.OK
        await passing(21)
        assert users.status is Status.STALE
        assert users["ada"] == User("ada")
        assert users.reason


@in_virtual_time
async def test_what_cannot_be_read_is_counted_and_harms_nobody_else() -> None:
    async with AsyncExitStack() as stack:
        bus = InProcessTransport()
        owner = await served(stack, bus, "ada", "bob")
        strict = Topic("user", User, version="1.0", parse=_no_bad)
        users = await stack.enter_async_context(mirror(strict, bus, pace=pace()))
        await users.ready()
        bus.publish("user:ada", Envelope(User("new"), "2.0", 9, users.snapshot().epoch))
        assert (users.status, users["ada"], users.stats.schema_skews) == (Status.SKEW, User("ada"), 1)
        await owner.put("bob", User("Bob"))
        assert users["bob"] == User("Bob")


@in_virtual_time
async def test_an_interruption_and_a_probe_are_reasons_to_ask() -> None:
    async with AsyncExitStack() as stack:
        bus = LossyTransport()
        owner = await served(stack, bus, "ada")
        users = await stack.enter_async_context(a_mirror(bus))
        await users.when_idle()
        bus.pass_live = lambda _key, _envelope: []
        await owner.put("ada", User("Ada"))
        assert users.status is Status.OK
        bus.interrupt("reconnected")
        assert users.status is Status.REFETCHING
        await users.when_idle()
        assert users["ada"] == User("Ada")
        epoch = users.snapshot().epoch
        asks = bus.asks
        assert users._seat.probed(Probe("user", epoch - 1, serving=True, sender="x")) is not None
        assert users._seat.probed(Probe("user", epoch + 1, serving=True, sender="x")) is None
        await users.when_idle()
        assert bus.asks > asks


@in_virtual_time
async def test_a_topic_survives_loss_and_restarts_without_its_data() -> None:
    """Loss of three messages in ten, a new life with nothing, one with all: in the end both hold the same."""
    draw = random.Random(3)
    bus = InProcessTransport()
    faults = {"drop": 0.3, "duplicate": 0.1, "reorder": 0.1, "delay_s": (0.01, 0.3)}
    async with AsyncExitStack() as stack:
        near = FaultyTransport(bus, Faults(seed=2, **faults))  # type: ignore[arg-type]
        chosen = FaultyTransport(bus, Faults(seed=4, **faults))  # type: ignore[arg-type]
        users = await stack.enter_async_context(a_mirror(near))
        some = await stack.enter_async_context(a_mirror(chosen, pattern="user:eu:*"))
        store = MemoryStore()
        deleted: set[str] = set()
        for life in range(4):
            async with AsyncExitStack() as one:
                out = FaultyTransport(bus, Faults(seed=10 + life, **faults))  # type: ignore[arg-type]
                if life == 2:
                    store, deleted = MemoryStore(), set()
                owner = await served(one, out, store=store)
                for _ in range(120):
                    name = f"{draw.choice(('eu', 'us'))}:{draw.randrange(30)}"
                    if draw.random() < 0.3 and name in await contents(owner):
                        await owner.delete(name)
                        deleted.add(name)
                    else:
                        await owner.put(name, User(f"{draw.random()}"))
                        deleted.discard(name)
                    await passing(draw.random() * 0.2)
                if life == 3:
                    for each in (near, chosen, out):
                        each.heal()
                    await passing(30)
                    await users.fresh()
                    await some.fresh()
                    truth = await contents(owner)
                    assert dict(users) == truth
                    assert dict(some) == {name: value for name, value in truth.items() if name.startswith("eu:")}
                    assert not deleted & set(users)
                    assert (users.status, some.status) == (Status.OK, Status.OK)
                    digest, mine = owner._desk.heart.digest(), users._core.digest
                    assert mine is not None
                    assert (mine.total, mine.count) == (digest.total, digest.count)


async def contents(owner: authority[User]) -> dict[str, User]:
    """What an authority has, from its store."""
    store = owner._store
    keys = [key for key, _ in await store.page("user", prefix="", after="", limit=1000)]
    _, found = await store.read("user", keys)
    read = USERS.reader(owner._transport.codec)
    values = [(key.partition(":")[2], read(envelope)) for key, envelope in found.items() if envelope.kind is Kind.STATE]
    return {ident: value for ident, value in values if value is not None}


# Where it is made, and how it ends


def test_a_mirror_needs_a_loop_and_somebody_to_ask() -> None:
    with pytest.raises(UsageError, match="no event loop"):
        mirror(USERS, InProcessTransport())

    async def main() -> None:
        bus = InProcessTransport()
        for wrong in ({"gap": "x"}, {"pace": 3}, {"stale_after_s": 0}, {"progress": 3}):
            with pytest.raises(UsageError):
                mirror(USERS, bus, **wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="Topic"):
            mirror("user", bus)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="transport"):
            mirror(USERS, "nats://")  # type: ignore[arg-type]

        class Mute:
            capabilities = attrs.evolve(bus.capabilities, ask=False)

        with pytest.raises(UsageError, match="cannot ask"):
            mirror(USERS, Mute())  # type: ignore[arg-type]
        bus.close()
        with pytest.raises(ClosedError):
            mirror(USERS, bus)

    asyncio.run(main())


@in_virtual_time
async def test_a_plain_with_ends_a_mirror_where_threads_may() -> None:
    bus = InProcessTransport()
    with a_mirror(bus) as users:
        assert users.status is Status.REFETCHING
    assert users.status is Status.CLOSED
    assert bus.key_count() == 0
    await users.aclose()
    lossy = LossyTransport()
    users = a_mirror(lossy)
    with pytest.raises(UsageError, match="async with"), users:
        raise AssertionError
    await users.aclose()
    assert lossy.key_count() == 0


@in_virtual_time
async def test_a_mirror_that_is_dropped_cleans_up_and_warns() -> None:
    bus = LossyTransport()
    users = a_mirror(bus)
    await settle()
    holders = [users]
    del users
    with pytest.warns(ResourceWarning, match="dropped without being closed"):
        holders.clear()
    gc.collect()
    await settle()
    assert bus.key_count() == 0


def test_a_mirror_may_be_closed_in_another_thread() -> None:
    async def main() -> None:
        for bus in (LossyTransport(), InProcessTransport()):
            users = mirror(USERS, bus)
            promptly(users.close)
            await users.aclose()
            assert (bus.key_count(), users.status) == (0, Status.CLOSED)

    asyncio.run(main())


def test_a_mirror_may_be_closed_after_its_loop() -> None:
    bus = LossyTransport()

    async def main() -> mirror[User]:
        return mirror(USERS, bus)

    users = asyncio.run(main())
    users.close()
    assert (bus.key_count(), users.status) == (0, Status.CLOSED)
