"""A mirror asks for the next page while it learns the last one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from parasync import Loaded, MemoryStore, Status, authority, mirror
from parasync.errors import TransportError
from parasync.protocol import Request, Response, Scan
from parasync.testing import Cut, Faults, FaultyTransport, settle, sweep
from tests.lossy import LossyTransport
from tests.runtime.kit import terms
from tests.runtime.test_mirror import USERS, User, a_mirror, served
from tests.virtual_time import in_virtual_time, passing

NAMES = [f"u{number}" for number in range(60)]


class PagedBus(LossyTransport):
    """Messages are small, so that a load takes several of them; it knows which scans are under way."""

    body_bytes_max = 1500

    def __init__(self) -> None:
        super().__init__()
        self.scans = self.under_way = self.most_under_way = 0
        self.before: Callable[[int], Awaitable[None]] | None = None
        """Called with the number of each scan before it is asked."""

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        if not isinstance(request, Scan):
            return await super().ask(topic, request, timeout_s)
        self.scans += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.before is not None:
                await self.before(self.scans)
            return await super().ask(topic, request, timeout_s)
        finally:
            self.under_way -= 1


def asks_under_way() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "parasync-ask"]


@in_virtual_time
async def test_the_next_page_is_asked_for_while_the_last_is_learned() -> None:
    async with AsyncExitStack() as stack:
        bus = PagedBus()
        await served(stack, bus, *NAMES)
        ahead: list[bool] = []

        def progress(loaded: Loaded) -> None:
            ahead.append(bus.scans > len(ahead) + 1 or asks_under_way() != [])
            assert (loaded.objects < len(NAMES)) is ahead[-1]

        users = await stack.enter_async_context(a_mirror(bus, progress=progress))
        await users.ready()
        assert len(ahead) == bus.scans > 4
        assert ahead == [True] * (bus.scans - 1) + [False], "when a page was learned, the next one had been asked for"
        assert bus.most_under_way == 1, "there is one ask at a time all the same"
        assert users.stats.applied == len(users) == len(NAMES)
        assert users.stats.refetches == 1
        assert asks_under_way() == []


@in_virtual_time
async def test_a_page_that_was_asked_for_ahead_and_got_lost_is_asked_for_again() -> None:
    async with AsyncExitStack() as stack:
        bus = PagedBus()
        await served(stack, bus, *NAMES)

        async def lost(number: int) -> None:
            if number % 2 == 0:
                raise TransportError("the connection broke")

        bus.before = lost
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        assert users.stats.refetch_failures >= 4
        assert users.stats.applied == len(users) == len(NAMES)
        await users.when_idle()
        assert users.status is Status.OK


@in_virtual_time
async def test_another_life_that_answers_the_next_page_begins_the_load_anew() -> None:
    async with AsyncExitStack() as stack:
        bus, store = PagedBus(), MemoryStore()
        first = await served(stack, bus, *NAMES, store=store)
        epochs: list[int] = []

        async def another(number: int) -> None:
            if number == 3:
                await first.aclose()
                owner = await stack.enter_async_context(authority(USERS, bus, store=store, terms=terms()))
                epochs.append((await owner.put("u1", User("new"))).epoch)

        bus.before = another
        users = await stack.enter_async_context(a_mirror(bus))
        await users.ready()
        await users.when_idle()
        assert users["u1"] == User("new")
        assert len(users) == len(NAMES)
        assert users._seat.core.rules.current_epoch == epochs[0]
        assert users.stats.refetches >= 2


@in_virtual_time
async def test_a_mirror_that_is_closed_asks_no_more() -> None:
    async with AsyncExitStack() as stack:
        bus = PagedBus()
        await served(stack, bus, *NAMES)
        never = asyncio.Event()

        async def late(number: int) -> None:
            if number > 1:
                await never.wait()

        def progress(_: Loaded) -> None:
            assert asks_under_way() != []
            users._seat.close()

        bus.before = late
        users = await stack.enter_async_context(a_mirror(bus, progress=progress))
        await settle()
        assert (asks_under_way(), bus.under_way) == ([], 0)


def test_a_load_may_be_ended_at_any_of_its_steps() -> None:
    async def scene(cut: Cut) -> None:
        async with AsyncExitStack() as stack:
            bus = PagedBus()
            await served(stack, bus, *NAMES[:24])

            async def load() -> None:
                async with a_mirror(bus) as users:
                    await users.ready()

            await cut(load())
            await settle()
            assert (asks_under_way(), bus.under_way, bus.key_count()) == ([], 0, 0)

    assert sweep(scene) >= 3


@pytest.mark.parametrize("seed", range(12))
def test_under_faults_and_writes_a_load_ends_with_what_is_there(seed: int) -> None:
    @in_virtual_time
    async def scene() -> None:
        draw = random.Random(seed)
        async with AsyncExitStack() as stack:
            bus = PagedBus()
            owner = await served(stack, bus, *NAMES)
            line = FaultyTransport(bus, Faults(seed=seed, drop=0.1, duplicate=0.1, reorder=0.1, delay=0.3))
            there = {name: User(name) for name in NAMES}

            async def write(_: int) -> None:
                for _ in range(draw.randrange(4)):
                    name = draw.choice([*NAMES, *(f"n{number}" for number in range(40))])
                    if name in there and draw.random() < 0.3:
                        await owner.delete(name)
                        del there[name]
                    else:
                        there[name] = User(name, f"city {draw.random()}")
                        await owner.put(name, there[name])

            bus.before = write
            users: mirror[User] = await stack.enter_async_context(a_mirror(line))
            await users.ready(600)
            bus.before = None
            line.heal()
            await passing(100)
            assert (dict(users), users.status) == (there, Status.OK), f"seed {seed}"

    scene()
