"""Virtual time: what a program sees in it, and what it may not do."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from functools import partial
from queue import Queue
from typing import Any

import pytest

from parasync import InProcessTransport, Pace, Terms, Topic, authority, synced
from parasync.errors import DeadlockError, EscapeError, LeakError, LivelockError, UsageError
from parasync.runtime._world import monotonic_s
from parasync.testing import Trace, run, settle
from parasync.testing._real import _REAL

NOTES = Topic("note", str, version="1.0")
SEEDS = [None, *range(20)]


def in_order(order: list[Any], name: Any) -> Callable[[], None]:
    return lambda: order.append(name)


async def nothing() -> None:
    """A program that ends at once."""


# Time


def test_time_passes_only_when_everybody_waits() -> None:
    async def main() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(asyncio.sleep(3_600.0 * number) for number in range(24)))
        return began, loop.time() - began

    before_s = time.monotonic()
    assert run(main) == (1_000.0, 23 * 3_600.0)
    assert run(main, start_s=5.0)[0] == 5.0
    assert time.monotonic() - before_s < 60.0


def test_what_is_due_now_is_not_starved_by_a_busy_program() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        due = asyncio.Event()
        loop.call_later(0.0, due.set)
        while not due.is_set():  # noqa: ASYNC110  # it is busy on purpose
            await asyncio.sleep(0)

    for seed in SEEDS:
        run(main, seed=seed, steps_max=10_000)


def test_a_cancelled_timer_lets_no_time_pass() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(100.0):
            await asyncio.sleep(1.0)
        await asyncio.sleep(0)
        await settle()
        return loop.time()

    assert run(main, start_s=0.0) == 1.0


def test_settle_waits_for_all_that_can_happen_now() -> None:
    async def main() -> None:
        reached: list[int] = []

        async def go() -> None:
            for number in range(10):
                await asyncio.sleep(0)
                reached.append(number)
            await asyncio.sleep(1.0)
            reached.append(-1)

        going = asyncio.create_task(go())
        await settle()
        assert reached == [*range(10)]
        assert asyncio.get_running_loop().time() == 1_000.0
        await going

    for seed in SEEDS:
        run(main, seed=seed)


def test_settle_belongs_to_virtual_time() -> None:
    with pytest.raises(UsageError, match="run"):
        asyncio.run(settle())


# Order


def test_callbacks_keep_their_order() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        order: list[int] = []
        others = [asyncio.create_task(asyncio.sleep(0)) for _ in range(5)]
        for number in range(10):
            loop.call_soon(in_order(order, number))
        await settle()
        await asyncio.gather(*others)
        return order

    assert all(run(main, seed=seed) == [*range(10)] for seed in SEEDS)


def test_no_step_overtakes_a_callback_that_was_ready_before() -> None:
    async def main() -> list[str]:
        order: list[str] = []

        async def step() -> None:
            order.append("step")

        asyncio.get_running_loop().call_soon(in_order(order, "callback"))
        await asyncio.create_task(step())
        return order

    assert all(run(main, seed=seed) == ["callback", "step"] for seed in SEEDS)


def test_steps_take_any_order_and_without_a_seed_that_of_asyncio() -> None:
    settled = partial(order_of_steps, lambda _: settle())
    assert run(settled, seed=None) == asyncio.run(order_of_steps(asyncio.wait)) == "-abc+"
    found = {run(settled, seed=seed) for seed in range(500)}
    assert len(found) == 24, "all orders of a, b, c and +, which a step may be later than"


async def order_of_steps(wait: Callable[[list[asyncio.Task[None]]], Awaitable[object]]) -> str:
    order: list[str] = []

    async def step(name: str) -> None:
        order.append(name)

    asyncio.get_running_loop().call_soon(in_order(order, "-"))
    tasks = [asyncio.create_task(step(name)) for name in "abc"]
    asyncio.get_running_loop().call_soon(in_order(order, "+"))
    await wait(tasks)
    assert all(task.done() for task in tasks)
    return "".join(order)


def test_methods_of_tasks_are_callbacks_like_others() -> None:
    async def main() -> list[str]:
        order: list[str] = []
        sleeping = asyncio.create_task(asyncio.sleep(10.0))
        await settle()
        sleeping.add_done_callback(lambda _: order.append("done"))
        asyncio.get_running_loop().call_soon(in_order(order, "first"))
        asyncio.get_running_loop().call_soon(sleeping.cancel)
        asyncio.get_running_loop().call_soon(in_order(order, "second"))
        await settle()
        return order

    assert all(run(main, seed=seed) == ["first", "second", "done"] for seed in SEEDS)


# What parasync sees


def test_replicas_and_authorities_live_in_virtual_time_without_being_told() -> None:
    async def main() -> tuple[float, float]:
        pace, terms = Pace(), Terms()
        async with InProcessTransport() as bus, authority(NOTES, bus) as owner, synced(NOTES["a"], bus) as note:
            await owner.put("a", "x")
            assert await note.ready() == "x"
            began_s = pace.clock(), terms.clock(), terms.wall_clock()
            await asyncio.sleep(60.0)
            passed_s = (pace.clock() - began_s[0], terms.clock() - began_s[1], terms.wall_clock() - began_s[2])
            assert passed_s == (60.0, 60.0, 60.0)
            return terms.random(), float(owner.epoch)

    real_s = monotonic_s()
    assert run(main) == run(main) != run(main, seed=1)
    assert real_s <= monotonic_s() < real_s + 60.0


# What does not end


async def waits_for_ever() -> None:
    async def helper() -> None:
        await asyncio.Event().wait()

    await asyncio.create_task(helper(), name="a helper")


def test_a_deadlock_names_who_waits_and_where() -> None:
    with pytest.raises(DeadlockError) as caught:
        run(waits_for_ever, seed=7)
    main, helper = caught.value.tasks
    assert "'main' in waits_for_ever (test_run.py:" in main
    assert "waiting for task 'a helper'" in main
    assert "'a helper' in waits_for_ever.<locals>.helper (test_run.py:" in helper
    assert "> Event.wait (locks.py:" in helper
    assert str(caught.value).endswith(f"{main}\n{helper}")
    assert caught.value.__notes__ == ["in virtual time: seed=7, 2 steps, 0.000000 s"]


def test_a_livelock_names_the_busiest() -> None:
    async def busy() -> None:
        while True:  # noqa: ASYNC110  # it is busy on purpose
            await asyncio.sleep(0)

    async def main() -> None:
        quiet = asyncio.create_task(asyncio.sleep(1.0))
        await asyncio.create_task(busy())
        await quiet

    with pytest.raises(LivelockError, match=r"within 5000 steps.*busy \(task 2\): 1000") as caught:
        run(main, steps_max=5_000)
    main_task, *others = caught.value.tasks
    assert main_task.startswith("task 'main' in ")
    assert len(others) == 2


def test_a_program_that_beats_for_ever_does_not_end_either() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110  # it beats on purpose
            await asyncio.sleep(0.5 + 0.5)

    with pytest.raises(LivelockError, match="of virtual time"):
        run(main, steps_max=5_000)


# What reaches for the real world


async def in_a_thread() -> None:
    await asyncio.to_thread(len, "")


async def over_a_socket() -> None:
    await asyncio.open_connection("127.0.0.1", 1)


async def in_a_process() -> None:
    await asyncio.create_subprocess_exec(sys.executable)


def plainly(work: Callable[[], object]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def main() -> None:
        work()

    return main


@pytest.mark.parametrize(
    ("what", "main"),
    [
        ("time.sleep", plainly(lambda: time.sleep(0))),
        ("the start of a thread", plainly(lambda: threading.Thread(target=len, args=("",)).start())),
        ("a wait for another thread", plainly(threading.Event().wait)),
        ("a wait for another thread", plainly(Future().result)),
        ("a wait for another thread", plainly(Queue().get)),
        ("a socket", plainly(lambda: socket.create_server(("127.0.0.1", 0)))),
        ("socket.getaddrinfo", plainly(lambda: socket.getaddrinfo("localhost", 1))),
        ("a process", plainly(lambda: subprocess.run([sys.executable, "-c", ""], check=True))),
        ("loop.run_in_executor", in_a_thread),
        ("loop.create_connection", over_a_socket),
        ("loop.subprocess_exec", in_a_process),
    ],
)
def test_what_is_real_is_refused(what: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with pytest.raises(EscapeError, match=f"got {what} by task 'main' in .*test_run.py"):
        run(main)


def test_a_refusal_that_is_caught_ends_the_run_all_the_same() -> None:
    went_on: list[str] = []

    async def main() -> None:
        try:
            time.sleep(0)  # noqa: ASYNC251  # as others may
        except EscapeError:
            went_on.append("caught")
        await asyncio.sleep(1.0)
        went_on.append("went on")

    with pytest.raises(EscapeError):
        run(main)
    assert went_on == ["caught"]


def test_the_real_world_is_given_back() -> None:
    real = [getattr(owner, name) for owner, name, _ in _REAL]
    with pytest.raises(EscapeError):
        run(in_a_thread)
    assert [getattr(owner, name) for owner, name, _ in _REAL] == real


def test_another_thread_may_sleep_but_not_take_part() -> None:
    refused: list[BaseException] = []
    loops: list[asyncio.AbstractEventLoop] = []
    entered, slept = threading.Lock(), threading.Lock()
    assert entered.acquire()
    assert slept.acquire()

    def other() -> None:
        assert entered.acquire(timeout=20.0)
        time.sleep(0)
        try:
            loops[0].call_soon_threadsafe(len, "")
        except EscapeError as error:
            refused.append(error)
        slept.release()

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        entered.release()
        assert slept.acquire(timeout=20.0)

    thread = threading.Thread(target=other)
    thread.start()
    with pytest.raises(EscapeError, match="another thread"):
        run(main)
    thread.join(20.0)
    assert len(refused) == 1


# What is left behind

kept: list[object] = []


async def leaves_a_task() -> None:
    kept.append(asyncio.create_task(asyncio.sleep(10.0), name="left"))


async def leaves_a_task_that_resists() -> None:
    async def resist() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue

    kept.append(asyncio.create_task(resist(), name="left"))


async def numbers() -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        await asyncio.sleep(1.0)


async def leaves_a_generator() -> None:
    generator = numbers()
    kept.append(generator)
    await anext(generator)


@pytest.mark.parametrize(
    ("main", "what"),
    [
        (leaves_a_task, "task 'left' in sleep"),
        (leaves_a_task_that_resists, "task 'left' in .*resist"),
        (leaves_a_generator, "async generator numbers"),
    ],
)
def test_what_is_left_behind_is_named_and_ended(main: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
    with pytest.raises(LeakError, match=what) as caught:
        run(main)
    assert len(caught.value.tasks) == 1
    kept.clear()
    gc.collect()


def test_what_ends_by_itself_is_no_leak() -> None:
    async def main() -> None:
        kept.append(asyncio.create_task(asyncio.sleep(0)))
        async for _ in numbers():
            break
        await asyncio.sleep(1.0)

    for seed in SEEDS:
        run(main, seed=seed)
    kept.clear()


def test_an_error_of_the_program_is_what_is_raised() -> None:
    async def main() -> None:
        await leaves_a_task()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        run(main, seed=5)
    assert "seed=5" in caught.value.__notes__[0]
    kept.clear()


def test_the_collector_rests_and_goes_on() -> None:
    async def main() -> bool:
        return gc.isenabled()

    assert gc.isenabled()
    assert not run(main)
    assert gc.isenabled()


# Misuse


@pytest.mark.parametrize("main", [None, 3, lambda: 3])
def test_only_a_coroutine_function_is_run(main: Any) -> None:
    with pytest.raises(UsageError, match="expected a coroutine function"):
        run(main)


def test_a_coroutine_is_no_coroutine_function() -> None:
    with pytest.raises(UsageError, match=r"run\(main\), not run\(main\(\)\)"):
        run(nothing())  # type: ignore[arg-type]


@pytest.mark.parametrize("steps_max", [0, -1, 1.5, None])
def test_the_steps_are_a_number(steps_max: Any) -> None:
    with pytest.raises(UsageError, match="steps_max"):
        run(nothing, steps_max=steps_max)


async def test_a_run_inside_of_a_loop_is_refused() -> None:
    with pytest.raises(UsageError, match="running event loop"):
        run(nothing)


def test_a_program_that_stops_its_loop_is_told() -> None:
    async def main() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(1.0)

    with pytest.raises(UsageError, match="stopped its loop"):
        run(main)


def test_a_trace_is_filled_also_when_the_run_fails() -> None:
    trace = Trace()
    with pytest.raises(DeadlockError):
        run(waits_for_ever, trace=trace)
    assert (trace.steps, trace.names) == (2, ["waits_for_ever", "waits_for_ever.<locals>.helper"])
    assert trace.busiest() == "waits_for_ever (task 0): 1, waits_for_ever.<locals>.helper (task 1): 1"


def test_arguments_come_with_a_partial() -> None:
    async def main(name: str, *, seed: int) -> tuple[str, int, float]:
        return name, seed, random.random()

    assert run(partial(main, "a", seed=2)) == run(partial(main, "a", seed=2))
