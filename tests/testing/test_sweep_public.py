"""Every public coroutine of parasync may be cancelled at any of its awaits: nothing leaks, and what is shown is what is stored.

Those of `NatsTransport` wait for a real server, which virtual time does not reach: `tests/nats/test_sweep.py`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

import parasync
from parasync import ABSENT, InProcessTransport, MemoryStore, Topic, Version, authority, connect, mirror, synced
from parasync.errors import ClosedError, DeletedError, NoAuthorityError
from parasync.protocol import Answer, Ask, EncodedBody, Envelope, Probe, Request
from parasync.runtime._hub import _hubs
from parasync.runtime._mirror_stream import MirrorChanges
from parasync.runtime._stream import Changes
from parasync.stores import Draft, Outcome, TopicState
from parasync.testing import Cut, settle, sweep

pytestmark = pytest.mark.project

NOTES = Topic("note", str, version="1.0")
SEEDS = (None, 0, 1)
STORE_S = 0.25
"""How long the store takes to begin and to end, each: what is under way when its caller goes away is done within a second."""


class SlowStore(MemoryStore):
    """Waits before and after everything that it does, as a store over a network would."""

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        return await self._slowly(super().claim(topic, epoch, lost=lost))

    async def state(self, topic: str) -> TopicState:
        return await self._slowly(super().state(topic))

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        return await self._slowly(super().write(topic, epoch, draft))

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        return await self._slowly(super().read(topic, keys))

    async def _slowly(self, work: Awaitable[Any]) -> Any:
        try:
            await asyncio.sleep(STORE_S)
        except BaseException:
            work.close()  # type: ignore[attr-defined]  # a coroutine
            raise
        result = await work
        await asyncio.sleep(STORE_S)
        return result


@dataclass
class House:
    """A running service with one object, and one reader of it."""

    store: SlowStore
    bus: InProcessTransport
    owner: authority[str]
    note: synced[str]

    async def cut_here(self, cut: Cut, work: Awaitable[Any]) -> Any:
        """Cancel the work; it may not leave more than a write under way, which ends within a second."""
        return await cut(work, unchanged=[self.bus.key_count, lambda: len(_hubs)], within_s=4 * STORE_S)

    async def check(self) -> None:
        """What is shown is what is stored, and the next write is seen by everybody."""
        await asyncio.sleep(4 * STORE_S)
        _, stored = await self.store.read("note", ["note:a"])
        assert self.note.version == stored["note:a"].version
        assert self.note.peek() in ("first", "swept", None)
        version = await self.owner.put("a", "next")
        assert await self.note.at_least(version) == self.note.value == (await self.owner.get("a")).value == "next"


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    store = SlowStore()
    async with (
        InProcessTransport() as bus,
        authority(NOTES, bus, store=store) as owner,
        synced(NOTES["a"], bus) as note,
    ):
        await owner.put("a", "first")
        await note.ready()
        yield House(store, bus, owner, note)
    assert bus.key_count() == 0
    assert id(bus) not in _hubs


CALLS: dict[str, Callable[[House], Awaitable[Any]]] = {
    "authority.put": lambda home: home.owner.put("a", "swept"),
    "authority.update": lambda home: home.owner.update("a", lambda _: "swept"),
    "authority.delete": lambda home: home.owner.delete("a"),
    "authority.get": lambda home: home.owner.get("a"),
    "synced.fresh": lambda home: home.note.fresh(),
    "synced.__aenter__": lambda home: home.note.__aenter__(),
    "InProcessTransport.ask": lambda home: home.bus.ask("note", Ask(0, ("note:a",), (None,)), 5.0),
    "InProcessTransport.probe": lambda home: home.bus.probe(Probe("note", 0, False, "sweep"), 5.0),
}
"""Calls that change no lifetime: afterwards the whole house must be as it was."""

STORE = ("claim", "history_lost", "raise_floor", "state", "write", "read", "page", "positions")
NEVER_WAIT = {"synced.__aenter__", "InProcessTransport.probe", "Changes.__aenter__", "Changes.__aexit__"}
NEVER_WAIT |= {"InProcessTransport.__aenter__"}
NEVER_WAIT |= {f"MemoryStore.{name}" for name in STORE}


async def call(name: str, cut: Cut) -> None:
    async with house() as home:
        await home.cut_here(cut, CALLS[name](home))
        await home.check()


# Beginnings and ends


async def begin_authority(cut: Cut) -> None:
    async with InProcessTransport() as bus:
        owner = authority(NOTES, bus, store=SlowStore())
        await cut(owner.__aenter__(), unchanged=[bus.key_count], within_s=4 * STORE_S)
        if cut.cancelled:
            with pytest.raises(NoAuthorityError):
                await bus.ask("note", Ask(0, ("note:a",), (None,)), 1.0)
        await owner.aclose()


async def end_authority(cut: Cut, *, leave: bool) -> None:
    store = SlowStore()
    async with InProcessTransport() as bus, synced(NOTES["a"], bus) as note:
        owner = await authority(NOTES, bus, store=store).__aenter__()
        writing = asyncio.create_task(owner.put("a", "first"))
        await asyncio.sleep(STORE_S / 2)
        writing.cancel()
        await settle()
        await cut(owner.__aexit__(None, None, None) if leave else owner.aclose(), unchanged=[bus.key_count])
        await owner.aclose()
        mine = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("parasync-repair")]
        assert mine == [], "nobody knows what became of the write, and it is still being looked for"
        with pytest.raises(ClosedError):
            await owner.put("a", "late")
        async with authority(NOTES, bus, store=store) as successor:
            assert await note.at_least(await successor.put("a", "next")) == "next"


class Author:
    """Answers asks after a while: the other side of a recovery."""

    async def answer(self, request: Request) -> Answer:
        await asyncio.sleep(0.5)
        assert isinstance(request, Ask)
        return Answer(5, 0, 0.0, ABSENT, 0, tuple(Envelope("5.2", "1.0", 2, 5) for _ in request.keys))


async def wait_for(name: str, cut: Cut) -> None:
    """A call that waits for an answer; nobody may go on listening or asking for it when it is gone."""
    calls: dict[str, Callable[[synced[str]], Awaitable[Any]]] = {
        "ready": lambda note: note.ready(),
        "at_least": lambda note: note.at_least(Version(5, 2)),
        "when_idle": lambda note: note.when_idle(),
    }
    async with InProcessTransport() as bus:
        stop = bus.serve("note", Author().answer)
        async with synced(NOTES["a"], bus) as note:
            await cut(calls[name](note), unchanged=[bus.key_count], within_s=2.0)
            assert not note._member.watchers
            assert await note.ready() == "5.2"
        stop()
        assert bus.key_count() == 0


async def end_replica(cut: Cut, *, leave: bool) -> None:
    async with InProcessTransport() as bus:
        stop = bus.serve("note", Author().answer)
        note = synced(NOTES["a"], bus)
        await settle()
        await cut(note.__aexit__(None, None, None) if leave else note.aclose(), within_s=1.0)
        assert bus.key_count() == 0
        with pytest.raises(ClosedError):
            await note.ready()
        await note.aclose()
        stop()
        assert id(bus) not in _hubs


async def read_changes(cut: Cut) -> None:
    """A change that was on its way to a reader who was cancelled is there for the next one."""
    async with house() as home, home.note.changes() as changes:
        asyncio.get_running_loop().call_later(1.0, lambda: writes.append(asyncio.create_task(home.owner.put("a", "swept"))))
        writes: list[asyncio.Task[Version]] = []
        found = await cut(anext(changes), unchanged=[home.bus.key_count], within_s=3.0)
        await asyncio.sleep(3.0)
        change = await anext(changes) if cut.cancelled else found
        assert change is not None
        assert (change.new, change.version) == ("swept", await writes[0])
        changes.end()
        await home.check()


async def stream(name: str, cut: Cut) -> None:
    async with house() as home:
        changes = home.note.changes()
        if name == "__aenter__":
            await cut(changes.__aenter__())
        else:
            await cut(changes.__aexit__(None, None, None))
        changes.end()
        await home.check()


async def end_transport(cut: Cut, *, leave: bool) -> None:
    """With work in the background that takes its time to end, and somebody who listens."""
    bus = await InProcessTransport().__aenter__()
    bus.subscribe("note:a", lambda _: None)

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1.0)

    task = bus.spawn(work(), "slow to end")
    await settle()
    await cut(bus.__aexit__(None, None, None) if leave else bus.aclose(), within_s=2.0)
    assert bus.key_count() == 0
    assert bus.closed
    assert task.done()
    await bus.aclose()


async def enter_transport(cut: Cut) -> None:
    bus = InProcessTransport()
    await cut(bus.__aenter__())
    await bus.aclose()


async def connected(cut: Cut) -> None:
    """A whole program, from `connect` on; whoever takes the name afterwards gets a new transport."""
    buses: list[Any] = []

    async def program() -> None:
        async with connect("inproc://swept") as bus:
            buses.append(bus)
            async with authority(NOTES, bus, store=SlowStore()) as owner, synced(NOTES["a"], bus) as note:
                await owner.put("a", "first")
                await note.ready()
                await note.fresh()
                await owner.update("a", lambda text: text + "+")
                async with note.changes(ABSENT) as changes:
                    assert (await anext(changes)).new == "first+"
                await owner.delete("a")
                with pytest.raises(DeletedError):
                    await note.fresh()

    await cut(program(), within_s=4 * STORE_S)
    assert buses[0].closed
    assert buses[0].key_count() == 0
    async with connect("inproc://swept") as again:
        assert again is not buses[0]


async def mirrored(name: str, cut: Cut) -> None:
    """A mirror that is just loading, or ends while it does."""
    async with house() as home:
        notes = mirror(NOTES, home.bus)
        changes = notes.changes()
        version = home.note.version
        assert version is not None
        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "mirror.ready": notes.ready,
            "mirror.fresh": notes.fresh,
            "mirror.at_least": lambda: notes.at_least(version, "a"),
            "MirrorObject.at_least": lambda: notes.one("a").at_least(version),
            "mirror.when_idle": notes.when_idle,
            "mirror.aclose": notes.aclose,
            "mirror.__aenter__": notes.__aenter__,
            "mirror.__aexit__": lambda: notes.__aexit__(None, None, None),
            "MirrorChanges.__anext__": changes.__anext__,
            "MirrorChanges.__aenter__": changes.__aenter__,
            "MirrorChanges.__aexit__": lambda: changes.__aexit__(None, None, None),
        }
        await cut(calls[name](), within_s=4 * STORE_S)
        if name not in ("mirror.aclose", "mirror.__aexit__"):
            await notes.ready()
            assert dict(notes) == {"a": "first"}
            await notes.when_idle()
        changes.end()
        await notes.aclose()
        await home.check()


MIRRORS = (
    "MirrorObject.at_least",
    *(f"mirror.{name}" for name in ("ready", "fresh", "at_least", "when_idle", "aclose", "__aenter__", "__aexit__")),
    *(f"MirrorChanges.{name}" for name in ("__anext__", "__aenter__", "__aexit__")),
)
NEVER_WAIT |= {"mirror.__aenter__", "MirrorChanges.__aenter__", "MirrorChanges.__aexit__"}


async def store(name: str, cut: Cut) -> None:
    """The store in memory never waits."""
    kept = MemoryStore()
    await kept.claim("note", 1)
    draft = Draft("note:a", EncodedBody(b""), parasync.Kind.STATE, "1.0", 0, {}, None, None, 0.0)
    calls: dict[str, Callable[[], Awaitable[Any]]] = {
        "claim": lambda: kept.claim("note", 2),
        "history_lost": lambda: kept.history_lost("note", 1),
        "state": lambda: kept.state("note"),
        "raise_floor": lambda: kept.raise_floor("note", 1, before_s=1.0),
        "write": lambda: kept.write("note", 1, draft),
        "read": lambda: kept.read("note", ["note:a"]),
        "page": lambda: kept.page("note", prefix="", after="", limit=1),
        "positions": lambda: kept.positions("note", after="", limit=1),
    }
    await cut(calls[name]())


SCENES: dict[str, Callable[[Cut], Any]] = {
    **{name: partial(call, name) for name in CALLS},
    "authority.__aenter__": begin_authority,
    "authority.aclose": partial(end_authority, leave=False),
    "authority.__aexit__": partial(end_authority, leave=True),
    **{f"synced.{name}": partial(wait_for, name) for name in ("ready", "at_least", "when_idle")},
    "synced.aclose": partial(end_replica, leave=False),
    "synced.__aexit__": partial(end_replica, leave=True),
    "Changes.__anext__": read_changes,
    **{f"Changes.{name}": partial(stream, name) for name in ("__aenter__", "__aexit__")},
    "InProcessTransport.__aenter__": enter_transport,
    "InProcessTransport.aclose": partial(end_transport, leave=False),
    "InProcessTransport.__aexit__": partial(end_transport, leave=True),
    **{f"MemoryStore.{name}": partial(store, name) for name in STORE},
    **{name: partial(mirrored, name) for name in MIRRORS},
}


def public_coroutines() -> Iterator[str]:
    """Those of the exported classes, and of what their methods return; contracts are kept by classes that implement them."""
    exported = [getattr(parasync, name) for name in parasync.__all__]
    for item in [*exported, Changes, MirrorChanges]:
        if inspect.iscoroutinefunction(item):
            yield item.__name__
        if inspect.isclass(item) and not getattr(item, "_is_protocol", False):
            for name, member in inspect.getmembers(item, inspect.iscoroutinefunction):
                if not name.startswith("_") or name.startswith("__"):
                    assert member.__module__.startswith("parasync")
                    yield f"{item.__name__}.{name}"


def test_every_public_coroutine_is_swept() -> None:
    assert set(SCENES) == set(public_coroutines())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", sorted(SCENES))
def test_a_public_coroutine_may_be_cancelled_anywhere(name: str, seed: int | None) -> None:
    assert (sweep(SCENES[name], seed=seed) == 0) == (name in NEVER_WAIT)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_whole_program_may_be_cancelled_anywhere(seed: int | None) -> None:
    assert sweep(connected, seed=seed) >= 10
