"""Runs a program in virtual time, and sees that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import random
import threading
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

from parasync.errors import DeadlockError, EscapeError, LeakError, LivelockError, UsageError
from parasync.runtime._world import another_world
from parasync.testing._loop import START_S, STEPS_MAX, VirtualLoop, virtual_loop
from parasync.testing._real import refusing
from parasync.testing._trace import Trace
from parasync.testing._waits import generator_at, where

T = TypeVar("T")

_WALL_START_S: Final = 1_735_689_600.0
"""The wall clock at the start of a run, in seconds since 1970: the first moment of 2025."""
CLEANING_STEPS_MAX: Final = 10_000
"""How many steps what was left behind may take to end when it is cancelled."""

_one_at_a_time = threading.Lock()


def run(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    seed: int | None = 0,
    start_s: float = START_S,
    steps_max: int = STEPS_MAX,
    trace: Trace | None = None,
) -> T:
    """Run a program of asyncio and parasync in virtual time: minutes take milliseconds, and one seed always the same course.

    Time passes when everybody waits. Whenever several tasks are ready, the seed decides which of them goes on first, so that
    other seeds try other orders; what `call_soon` was given keeps its order. Replicas and authorities take their clocks and
    their chance from the run, unless they are given others, and so does the module `random`. The garbage collector rests.
    What other programs of this process do meanwhile in other threads must not matter: two runs wait for each other.

    Args:
        main: a coroutine function without arguments (or a `functools.partial` of one).
        seed: decides the order of tasks, and all chance; None keeps the order in which asyncio would let them go on.
        start_s: what the clock of the loop shows at first, in seconds.
        steps_max: how many callbacks and steps of tasks the run may take, above 0.
        trace: filled with what happened, also when the run fails.

    Returns:
        What `main` returned.

    Raises:
        DeadlockError: everybody waits, and no timer will wake anybody; it names the tasks and where each waits.
        LivelockError: more than `steps_max` steps; it names the busiest tasks.
        EscapeError: something slept, asked for a thread, a socket or a process, or waited for another thread.
        LeakError: `main` left tasks or async generators behind.
        UsageError: `main` is no coroutine function, or an event loop runs in this thread already.
    """
    _check(main, steps_max)
    taken = Trace() if trace is None else trace
    with _one_at_a_time:
        loop = VirtualLoop(seed, start_s=start_s, steps_max=steps_max, trace=taken)
        try:
            with _surroundings(loop, seed):
                return _whole(loop, main)
        except BaseException as error:
            error.add_note(f"in virtual time: seed={seed!r}, {taken.steps} steps, {loop.now_s - start_s:.6f} s")
            raise
        finally:
            loop.close()


async def settle() -> None:
    """Return once everybody waits for a timer, or for somebody who does: all that can happen at this moment has happened.

    Raises:
        UsageError: the running loop is none of `run`.
    """
    await virtual_loop("settle").at_rest()


def _check(main: object, steps_max: int) -> None:
    if asyncio.iscoroutine(main):
        main.close()
        raise UsageError("got a coroutine, expected a coroutine function: run(main), not run(main())")
    if not callable(main):
        raise UsageError(f"got a {type(main).__name__}, expected a coroutine function")
    if not isinstance(steps_max, int) or steps_max < 1:
        raise UsageError(f"got steps_max={steps_max!r}, expected an int above 0")
    with contextlib.suppress(RuntimeError):
        asyncio.get_running_loop()
        raise UsageError("got run inside of a running event loop, expected a call from a plain function")


@contextlib.contextmanager
def _surroundings(loop: VirtualLoop, seed: int | None) -> Iterator[None]:
    """Virtual clocks, seeded chance, no way out, and no collections whose moment depends on what ran before."""
    state, collecting = random.getstate(), gc.isenabled()
    random.seed(seed or 0)
    chance = random.Random(seed or 0)  # noqa: S311
    gc.disable()
    try:
        with refusing(loop), another_world(loop.time, lambda: _WALL_START_S - loop.start_s + loop.now_s, chance):
            yield
    finally:
        random.setstate(state)
        if collecting:
            gc.enable()


def _whole(loop: VirtualLoop, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    work = main()
    if not inspect.iscoroutine(work):
        raise UsageError(f"got a function that returned a {type(work).__name__}, expected a coroutine function")
    task = loop.create_task(work, name="main")
    left: tuple[str, ...] = ()
    try:
        result: T = loop.finish(task)
        loop.finish(loop.at_rest())
        left = _left(loop)
    finally:
        _clean(loop)
        if task.done() and not task.cancelled():
            task.exception()  # it is told by what is raised here
    if left:
        raise LeakError("got a program that left these behind, expected it to end what it began:\n" + "\n".join(left), left)
    return result


def _left(loop: VirtualLoop) -> tuple[str, ...]:
    return (*map(where, loop.pending()), *map(generator_at, _open_generators(loop)))


def _open_generators(loop: VirtualLoop) -> list[types.AsyncGeneratorType[Any, Any]]:
    begun: Any = loop._asyncgens  # type: ignore[attr-defined]
    return sorted((found for found in begun if found.ag_frame is not None), key=lambda found: found.__qualname__)


def _clean(loop: VirtualLoop) -> None:
    """End what is left, so that it cannot disturb what comes after this run."""
    loop.trace, loop.escape = Trace(), None
    loop.left = max(loop.left, CLEANING_STEPS_MAX)
    troubles = (DeadlockError, LivelockError, EscapeError)
    for task in loop.pending():
        task.cancel()
    with contextlib.suppress(*troubles):
        while pending := loop.pending():
            loop.finish(loop.create_task(asyncio.wait(pending)))
    with contextlib.suppress(*troubles):
        loop.finish(loop.create_task(loop.shutdown_asyncgens()))
    for task in loop.pending():
        # It resists, which was said where it mattered: nobody has to be told again when it is dropped.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
