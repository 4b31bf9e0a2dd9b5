"""What a type checker knows without being told. This file is never run: checkers read it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypedDict, assert_type

import attrs

from parasync import (
    Change,
    Codec,
    Envelope,
    Index,
    InProcessTransport,
    Loaded,
    MemoryStore,
    MirrorChange,
    MirrorSnapshot,
    MsgpackCodec,
    Ref,
    ReplicaMeta,
    SchemaVersion,
    Snapshot,
    Status,
    SyncTransport,
    Topic,
    UniqueIndex,
    Version,
    Where,
    authority,
    connect,
    mirror,
    synced,
    threads,
)
from parasync.http import reads
from parasync.testing import Ends, Report, check_store, check_transport
from parasync.transports.nats import NatsTransport


@attrs.frozen
class User:
    id: int
    name: str


class Movie(TypedDict):
    title: str


USERS = Topic("user", User, version="2.1")
NUMBERS = Topic("number", int, version="1.0")
TAGS = Topic("tags", list[str], version="1.0")
MOVIES = Topic("movie", Movie, version="1.0")


def topics_know_their_type() -> None:
    assert_type(USERS, Topic[User])
    assert_type(USERS["123"], Ref[User])
    assert_type(NUMBERS["1"], Ref[int])
    assert_type(TAGS["1"], Ref[list[str]])
    assert_type(MOVIES["1"], Ref[Movie])


async def replicas_know_their_type() -> None:
    async with connect("nats://127.0.0.1:4222") as bus, synced(USERS["123"], bus) as ada:
        assert_type(ada, synced[User])
        assert_type(ada.value, User)
        assert_type(ada.value.name, str)
        assert_type(ada.peek(), User | None)
        assert_type(ada.get(), User)
        assert_type(await ada.ready(), User)
        assert_type(await ada.fresh(max_stale_s=2), User)
        assert_type(await ada.at_least(Version(1, 1)), User)
        assert_type(ada.snapshot(), Snapshot[User])
        assert_type(ada.snapshot().value, User | None)
        assert_type(ada.status, Status)
        assert_type(ada.version, Version | None)
        assert_type(ada.meta, ReplicaMeta)
        assert_type(ada.age_s, float)
        assert_type(ada.reason, str)
        async for change in ada.changes():
            assert_type(change, Change[User])
            assert_type(change.new, User | None)
            assert_type(change.skipped, int | None)


async def authorities_know_their_type() -> None:
    async with connect("inproc://shop") as bus, authority(USERS, bus) as owner:
        assert_type(owner, authority[User])
        assert_type(await owner.put("123", User(123, "Ada")), Version)
        assert_type(await owner.update("123", lambda user: attrs.evolve(user, name=user.name.upper())), Version)
        assert_type((await owner.get("123")).value, User | None)
        assert_type(await owner.delete("123"), Version)


def listeners_know_their_type() -> None:
    bus = InProcessTransport()
    seed = Envelope(value=User(123, "Ada"), schema_version="2.1", sequence=1)
    assert_type(seed, Envelope[User])
    with synced(USERS["123"], bus, seed=seed, refetch=lambda: seed) as ada:

        def listener(change: Change[User]) -> None:
            assert_type(change.old, User | None)

        ada.subscribe(listener)
        ada.subscribe(lambda change: print(change.version.sequence))


def parts_are_what_the_contracts_ask_for(transport: SyncTransport) -> None:
    bus: SyncTransport = InProcessTransport()
    codec: Codec = MsgpackCodec()
    authority(USERS, transport, store=MemoryStore())
    assert_type(SchemaVersion.parse("2.1"), SchemaVersion)
    del bus, codec


async def the_kit_takes_whatever_makes_a_bus() -> None:
    url = "nats://127.0.0.1:4222"

    @asynccontextmanager
    async def pair() -> AsyncIterator[tuple[NatsTransport, NatsTransport]]:
        async with NatsTransport(url) as writer, NatsTransport(url) as reader:
            yield writer, reader

    @asynccontextmanager
    async def ends() -> AsyncIterator[Ends]:
        async with NatsTransport(url) as writer, NatsTransport(url) as reader:
            yield Ends(writer, reader, losses=(lose,))

    async def lose(key: str) -> None:
        print(key)

    async def made() -> InProcessTransport:
        return InProcessTransport()

    assert_type(await check_transport(InProcessTransport), Report)
    await check_transport(lambda: NatsTransport(url))
    await check_transport(made)
    await check_transport(pair)
    await check_transport(ends)
    assert_type(await check_store(MemoryStore), Report)
    await check_store(lambda: (MemoryStore(), MemoryStore()))


def threads_know_their_type() -> None:
    with threads.connect("nats://127.0.0.1:4222") as bus, threads.synced(USERS["123"], bus) as ada:
        assert_type(ada, threads.synced[User])
        assert_type(ada.value, User)
        assert_type(ada.ready(timeout_s=5), User)
        assert_type(threads.reads(ada), User)
        for change in ada.changes(timeout_s=5):
            assert_type(change, Change[User])
        users = threads.mirror(USERS, bus)
        assert_type(users, threads.mirror[User])
        assert_type(users["123"], User)
        assert_type(threads.reads(users.one("123")), User)
        for step in users.changes():
            assert_type(step, MirrorChange[User])
        owner = threads.authority(USERS, bus)
        assert_type(owner, threads.authority[User])
        assert_type(owner.put("1", User(1, "Ada")), Version)
        assert_type(owner.get("1"), Snapshot[User])
    once = threads.per_process(lambda: threads.connect("inproc://here"))
    assert_type(once(), threads.Bus)


async def sessions_know_their_type(ada: synced[User]) -> None:
    assert_type(await reads(ada), User)


async def mirrors_know_their_type() -> None:
    async with connect("nats://127.0.0.1:4222") as bus, mirror(USERS, bus, pattern="user:eu:*") as users:
        assert_type(users, mirror[User])
        mapping: Mapping[str, User] = users
        assert_type(await users.ready(), None)
        assert_type(users["123"], User)
        assert_type(users.get("123"), User | None)
        assert_type(list(users), list[str])
        assert_type(list(users.values()), list[User])
        assert_type(list(users.items()), list[tuple[str, User]])
        assert_type(users.loaded, Loaded)
        assert_type(users.status, Status)
        assert_type(users.version_of("123"), Version | None)
        assert_type(await users.at_least(Version(1, 2), "123"), User)
        assert_type(await reads(users.one("123")), User)
        by_name = users.index(lambda user: user.name)
        assert_type(by_name, Index[str, User])
        assert_type(by_name["Ada"], Mapping[str, User])
        assert_type(users.unique(lambda user: user.id), UniqueIndex[int, User])
        assert_type(users.unique(lambda user: user.id)[1], User)
        assert_type(users.where(lambda user: user.id > 1), Where[User])
        assert_type(users.snapshot(), MirrorSnapshot[User])
        assert_type(MirrorSnapshot.load("users.mirror", USERS), MirrorSnapshot[User])
        async for change in users.changes():
            assert_type(change, MirrorChange[User])
            assert_type(change.new, User | None)
            assert_type(change.id, str)
        del mapping
