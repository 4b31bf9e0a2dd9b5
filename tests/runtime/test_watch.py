"""A coroutine waits for the steps of a replica, whichever thread makes them."""

from __future__ import annotations

import asyncio
from typing import Any

from parasync import InProcessTransport, synced
from parasync.runtime._watch import Watch
from tests.runtime.kit import KEY, PATIENCE_S, A, envelope, listening, promptly, turns


def watching(replica: synced[Any]) -> Watch:
    member, group = replica._member, replica._seat.group
    return Watch(lambda poke: group.listen(member, poke)[0], lambda poke: group.watch(member, poke))


async def stepped(watch: Watch) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await watch.step()


async def test_it_wakes_for_every_kind_of_input_and_for_the_end() -> None:
    bus = InProcessTransport()
    replica = await asyncio.to_thread(lambda: synced(A, bus))
    with watching(replica) as watch:
        for heard in (envelope(1), envelope(2), envelope(2), envelope(5), envelope(6, 17)):
            bus.publish(KEY, heard)
            if heard.sequence == 2 and replica.stats.ignored_stale:
                continue
            await stepped(watch)
        replica._seat.group.doubt(replica._member, "a reason")
        await stepped(watch)
        promptly(lambda: bus.publish(KEY, envelope(7)))
        await stepped(watch)
        replica.close()
        await stepped(watch)


async def test_it_does_not_wake_for_nothing_and_leaves_nothing_behind() -> None:
    bus = InProcessTransport()
    with synced(A, bus, refetch=lambda: envelope(1)) as replica:
        await replica.when_idle(PATIENCE_S)
        with watching(replica) as watch:
            waiting = asyncio.create_task(watch.step())
            await turns()
            assert not waiting.done()
            waiting.cancel()
        assert listening(replica) == 0


async def test_it_wakes_when_the_listeners_have_been_called() -> None:
    """Who waits for idleness looks after they were."""
    bus = InProcessTransport()
    with synced(A, bus, refetch=lambda: envelope(1)) as replica:
        await replica.when_idle(PATIENCE_S)
        draining: list[bool] = []
        unwatch = replica._seat.group.watch(replica._member, lambda: draining.append(replica._member.turn is not None))
        replica.subscribe(lambda change: None)
        bus.publish(KEY, envelope(2))
        unwatch()
        assert draining[-1:] == [False]
