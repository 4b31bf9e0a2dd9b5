"""Each way back to the truth works alone: with every other one switched off, and not without it.

A path is a reason to ask. All others are ignored, reconciling never comes by itself, and the replica must be proven again by
this one; and with this one ignored too it must not be, or the test would show nothing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias

import attrs
import pytest

from parasync import Envelope, InProcessTransport, MemoryStore, Pace, Status, Topic, Version, authority, synced
from parasync.codec import body_checksum
from parasync.errors import AskTimeoutError
from parasync.protocol import Kind, Replica
from parasync.runtime._office import Terms
from parasync.testing import FaultyTransport, settle
from tests.virtual_time import in_virtual_time, now_s, passing

NOTES: Final = Topic("note", str, version="1.0")
KEY: Final = "note:a"
NEVER_S: Final = 1e9
PACE: Final = Pace(reconcile_interval_s=NEVER_S, ask_timeout_s=1.0, backoff_max_s=1.0)
TERMS: Final = Terms(probe_interval_s=NEVER_S, probe_timeout_s=0.1, takeover_after_s=NEVER_S, tombstone_ttl_s=math.inf)
HEALS_WITHIN_S: Final = 10.0


@attrs.define
class Scene:
    """One replica behind a bad connection, and whoever writes."""

    wire: InProcessTransport
    bus: FaultyTransport
    replica: synced[str]
    owner: authority[str]
    stack: contextlib.AsyncExitStack

    async def restart(self) -> None:
        """Another life of the authority, which has all the data."""
        store = self.owner._store
        await self.owner.__aexit__(None, None, None)
        self.owner = await self.stack.enter_async_context(authority(NOTES, self.wire, store=store, terms=TERMS))

    def forge(self, value: object, version: Version) -> None:
        """A frame of nobody."""
        body = Topic("note", object).encode(value, self.wire.codec)
        checksum = body_checksum(Kind.STATE, "1.0", body)
        self.wire.publish(KEY, Envelope(body, "1.0", version.sequence, version.epoch, checksum=checksum))


@contextlib.asynccontextmanager
async def scene(pace: Pace = PACE) -> AsyncIterator[Scene]:
    async with contextlib.AsyncExitStack() as stack:
        wire = await stack.enter_async_context(InProcessTransport())
        bus = await stack.enter_async_context(FaultyTransport(wire))
        owner = await stack.enter_async_context(authority(NOTES, wire, store=MemoryStore(), terms=TERMS))
        await owner.put("a", "first")
        replica = await stack.enter_async_context(synced(NOTES["a"], bus, pace=pace))
        await replica.ready()
        await replica.when_idle()
        yield Scene(wire, bus, replica, owner, stack)


Trouble: TypeAlias = Callable[[Scene], Awaitable[None]]


async def a_version_was_lost(at: Scene) -> None:
    at.bus.partition(outgoing=False)
    await at.owner.put("a", "lost")
    at.bus.heal()
    await at.owner.put("a", "newest")


async def an_interruption(at: Scene) -> None:
    at.bus.disconnect()
    await at.owner.put("a", "newest")
    at.bus.heal()


async def a_value_that_cannot_be_read(at: Scene) -> None:
    assert at.replica.version is not None
    at.forge(7, Version(at.replica.version.epoch, at.replica.version.sequence + 1))
    await settle()


async def two_contents_of_one_version(at: Scene) -> None:
    assert at.replica.version is not None
    at.forge("another", at.replica.version)


async def another_life_that_writes(at: Scene) -> None:
    at.bus.partition(outgoing=False)
    await at.restart()
    at.bus.heal()
    await at.owner.put("a", "newest")


async def another_life_that_only_serves(at: Scene) -> None:
    await at.restart()


async def a_read_that_demands(at: Scene) -> None:
    at.bus.partition(outgoing=False)
    await at.owner.put("a", "newest")
    at.bus.heal()
    with contextlib.suppress(AskTimeoutError):
        await at.replica.fresh(timeout_s=HEALS_WITHIN_S)


async def nothing_but_time(at: Scene) -> None:
    at.bus.partition(outgoing=False)
    await at.owner.put("a", "newest")
    at.bus.heal()


PATHS: Final[dict[str, tuple[Trouble, Pace]]] = {
    "a version was lost": (a_version_was_lost, PACE),
    "reconnected": (an_interruption, PACE),
    "a version was refused": (a_value_that_cannot_be_read, PACE),
    "one version has two contents": (two_contents_of_one_version, PACE),
    "another life of the authority was heard": (another_life_that_writes, PACE),
    "a read demands a fresh value": (a_read_that_demands, PACE),
    "not proven for a reconcile interval": (nothing_but_time, attrs.evolve(PACE, reconcile_interval_s=5.0)),
}
"""The reason that is left, what happens, and how the replica asks."""


@contextlib.contextmanager
def hearing_only(*reasons: str) -> Any:
    """Replicas have no other reasons to ask than these, and that they joined."""
    original = Replica.need_raised

    def need_raised(self: Replica[Any], reason: str) -> None:
        if reason in reasons or reason == "joined":
            original(self, reason)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Replica, "need_raised", need_raised)
        yield


async def proven_again(trouble: Trouble, pace: Pace) -> bool:
    """Whether the replica, after a trouble, comes to show the newest version with a proof of after it."""
    async with scene(pace) as at:
        await passing(1.0)
        began_s = now_s()
        await trouble(at)
        await passing(HEALS_WITHIN_S)
        newest = (await at.owner.get("a")).version
        replica = at.replica
        return replica.status is Status.OK and replica.version == newest and replica.age_s <= now_s() - began_s


@pytest.mark.parametrize("reason", PATHS)
@in_virtual_time
async def test_it_heals_alone(reason: str) -> None:
    with hearing_only(reason):
        assert await proven_again(*PATHS[reason])


@pytest.mark.parametrize("reason", PATHS)
@in_virtual_time
async def test_nothing_else_heals(reason: str) -> None:
    with hearing_only():
        assert not await proven_again(*PATHS[reason])


@in_virtual_time
async def test_a_probe_alone_tells_of_another_life() -> None:
    with hearing_only("another life of the authority was heard"):
        assert await proven_again(another_life_that_only_serves, PACE)
    with hearing_only():
        assert not await proven_again(another_life_that_only_serves, PACE)


@in_virtual_time
async def test_a_join_alone_brings_the_value() -> None:
    with hearing_only():
        async with scene() as at, synced(NOTES["a"], at.bus, pace=PACE) as late:
            await passing(1.0)
            assert (late.peek(), late.status) == ("first", Status.OK)


@in_virtual_time
async def test_a_failed_ask_is_repeated_without_any_other_reason() -> None:
    with hearing_only():
        async with scene() as at:
            at.bus.partition()
            async with synced(NOTES["a"], at.bus, pace=PACE) as late:
                await passing(5.0)
                assert late.status is Status.STALE
                at.bus.heal()
                await passing(PACE.ask_timeout_s + PACE.backoff_max_s)
                assert (late.peek(), late.status) == ("first", Status.OK)


@in_virtual_time
async def test_where_nothing_is_lost_what_follows_heals_alone() -> None:
    with hearing_only("for the test"):
        async with InProcessTransport() as wire, synced(NOTES["a"], wire, pace=PACE) as replica:
            wire.publish(KEY, Envelope("first", "1.0", 1))
            replica._seat.group.doubt(replica._member, "for the test")
            await passing(1.0)
            assert replica.status is Status.STALE, "nobody serves the topic"
            wire.publish(KEY, Envelope("second", "1.0", 2))
            assert replica.status is Status.OK
