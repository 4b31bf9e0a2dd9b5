"""Any thread wakes a coroutine that waits."""

from __future__ import annotations

import asyncio

from parasync.runtime._bell import Bell, current_loop
from tests.runtime.kit import PATIENCE_S, promptly, turns


async def heard(bell: Bell) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await bell.heard()


async def test_it_is_heard_by_who_waits_and_by_who_comes_later() -> None:
    bell = Bell()
    waiting = asyncio.create_task(heard(bell))
    await turns()
    assert not waiting.done()
    bell.ring()
    await waiting
    bell.ring()
    await heard(bell)


async def test_many_rings_are_heard_once() -> None:
    bell = Bell()
    for _ in range(5):
        bell.ring()
    await heard(bell)
    again = asyncio.create_task(bell.heard())
    await turns()
    assert not again.done()
    again.cancel()


async def test_it_rings_from_other_threads_and_makes_the_loop_do_no_more_than_once_what_it_is_too_busy_for() -> None:
    bell = Bell()
    loop = asyncio.get_running_loop()
    calls = []
    hooked = loop.call_soon_threadsafe
    loop.call_soon_threadsafe = lambda *args, **more: (calls.append(1), hooked(*args, **more))[1]  # type: ignore[method-assign]
    try:
        await asyncio.to_thread(lambda: [bell.ring() for _ in range(1_000)])
        ours = len(calls)
    finally:
        del loop.call_soon_threadsafe  # type: ignore[method-assign]
    await heard(bell)
    assert ours <= 3, "one for the bell, and what the thread pool needs"


async def test_who_is_cancelled_while_it_rings_misses_nothing() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.heard())
    await turns()
    bell.ring()
    waiting.cancel()
    await asyncio.wait([waiting])
    await heard(bell)


def test_ringing_for_a_loop_that_was_closed_does_nothing() -> None:
    async def make() -> Bell:
        return Bell()

    bell = asyncio.run(make())
    bell.ring()
    promptly(bell.ring)


def test_there_is_no_current_loop_outside_of_coroutines() -> None:
    async def inside() -> bool:
        return current_loop() is asyncio.get_running_loop()

    assert current_loop() is None
    assert asyncio.run(inside())
