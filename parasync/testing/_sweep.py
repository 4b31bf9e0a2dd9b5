"""Cancels a coroutine at its first, second, ... await, to see what it leaves behind."""

from __future__ import annotations

import asyncio
import itertools
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast

from parasync.errors import LeakError, LivelockError, UncancelledError, UsageError
from parasync.testing._loop import STEPS_MAX, VirtualLoop, in_order
from parasync.testing._run import run
from parasync.testing._waits import calls, where

T = TypeVar("T")

PLACES_MAX: Final = 1_000
"""At how many places a coroutine is cancelled, unless `sweep` is told otherwise."""
MOMENTS_MAX: Final = 300
"""At how many moments between its awaits a coroutine is cancelled, unless `sweep` is told otherwise."""
REAL_PATIENCE_S: Final = 10.0
"""How long what a coroutine left may take to end where a sweep runs in real time, in seconds."""


def sweep(
    scene: Callable[[Cut], Coroutine[Any, Any, object]],
    *,
    seed: int | None = 0,
    places_max: int = PLACES_MAX,
    moments_max: int = MOMENTS_MAX,
    steps_max: int = STEPS_MAX,
    real: bool = False,
) -> int:
    """Cancel a coroutine at each of its awaits in turn, each time in a new run in virtual time, until it is cancelled no more.

    The scene sets up what it needs, runs the coroutine by `await cut(coroutine)`, and then asserts what must hold wherever it
    was cancelled. Each await is a place twice: cancelled *early* the coroutine never gets what it waits for; cancelled *late*
    what it waits for has happened, but it is not told any more. Then it is cancelled *between*: after each step that any other
    task or callback takes while it waits, so that what it has set going is under way. Every run must leave nothing behind, as
    `run` demands.

    Args:
        scene: a coroutine function that takes a `Cut` and uses it once.
        seed: see `run`; the same for all places.
        places_max: how many awaits the coroutine may have, above 0.
        moments_max: how many of the steps of others it is cancelled after at the most, from its first await on; 0 for none.
        steps_max: see `run`; for each place.
        real: use the loop and the time of asyncio, for what needs a real server. Then `seed` and `steps_max` have no meaning, a
            moment is a turn of the loop, background work may take up to `REAL_PATIENCE_S` seconds to end, and only what a
            cancelled coroutine leaves is looked for.

    Returns:
        How many awaits there were: 0 says that the coroutine never waits.

    Raises:
        LeakError: where it was cancelled it left something behind.
        UncancelledError: it was cancelled, and went on.
        LivelockError: it waits more than `places_max` times.
        SimulationError: a run came to no good end; see `run`.
        UsageError: the scene did not use its `Cut`, or used it twice.
    """
    for name, value, least in (("places_max", places_max, 1), ("moments_max", moments_max, 0)):
        if not isinstance(value, int) or value < least:
            raise UsageError(f"got {name}={value!r}, expected an int from {least}")
    perform = _in_real_time if real else partial(run, seed=seed, steps_max=steps_max)
    waits = _sweep(scene, "early", places_max, perform)
    _sweep(scene, "late", places_max, perform)
    if waits and moments_max:
        _sweep(scene, "between", moments_max, perform)
    return waits


_Main: TypeAlias = Callable[[], Coroutine[Any, Any, object]]
_When: TypeAlias = Literal["early", "late", "between"]


def _in_real_time(main: _Main) -> object:
    with asyncio.Runner(loop_factory=_TurningLoop) as runner:
        return runner.run(main())


class _TurningLoop(asyncio.SelectorEventLoop):
    """The loop of asyncio, which tells of its turns."""

    each_step: Callable[[], None] | None = None

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.each_step is not None:
            self.each_step()


def _sweep(
    scene: Callable[[Cut], Coroutine[Any, Any, object]], when: _When, places_max: int, perform: Callable[[_Main], object]
) -> int:
    """Cancel it one place later each time, and return how often it waited in the end."""
    for number in itertools.count(1):
        cut = Cut(number, when)
        try:
            perform(partial(scene, cut))
        except BaseException as error:
            if cut.place:
                error.add_note(cut.place)
            raise
        if not cut.used:
            raise UsageError("got a scene that did not use its cut, expected it to run a coroutine by `await cut(coroutine)`")
        if not cut.cancelled or (when == "between" and number == places_max):
            return cut.waits
        if number > places_max:
            raise LivelockError(f"got a coroutine that waits more than {places_max} times, expected an end")
    raise AssertionError("unreachable")


class Cut:
    """Runs a coroutine and cancels it at one place; made by `sweep`.

    Args:
        number: at which of its awaits, or after how many steps of others, from 1.
        when: before what it waits for happens, just after, or between two steps of others.
    """

    def __init__(self, number: int, when: _When) -> None:
        self._number = number
        self._when = when
        self._moments = 0
        self.used = False
        """Whether the scene has run its coroutine."""
        self.cancelled = False
        """Whether the coroutine was cancelled in this run; in the last one it waits no more so often, and is not."""
        self.waits = 0
        """How often the coroutine has waited."""
        self.place = ""
        """Where it was cancelled, in words."""

    async def __call__(
        self, work: Awaitable[T], *, unchanged: Sequence[Callable[[], object]] = (), within_s: float = 0.0
    ) -> T | None:
        """Run the coroutine, in a task of its own, and cancel it at the place of this run.

        Args:
            work: the coroutine.
            unchanged: functions whose results a cancelled coroutine must not change, e.g. the `key_count` of a transport.
            within_s: how many virtual seconds background work may take to end after the cancellation.

        Returns:
            Its result, None where it was cancelled.

        Raises:
            LeakError: a task is left that was not there before, or one of `unchanged` returned something else.
            UncancelledError: it was cancelled, and went on.
            UsageError: used twice.
        """
        loop: Any = asyncio.get_running_loop()
        if self.used:
            raise UsageError("got a cut that was used before, expected one coroutine a scene")
        self.used = True
        before = asyncio.all_tasks()
        values = [function() for function in unchanged]
        task: asyncio.Task[T] = loop.create_task(self._run(work), name="swept")
        if self._when == "between":
            loop.each_step = partial(self._tick, task, work)
        try:
            await asyncio.wait((task,))
        finally:
            loop.each_step = None
            task.cancel()
        if not self.cancelled:
            return task.result()
        if not task.cancelled():
            outcome = task.exception() or "a result"
            raise UncancelledError(f"got {outcome!r} from a coroutine that was {self.place}, expected it to end cancelled")
        left = await _left_in_time(partial(_left, before, values, unchanged), within_s)
        if left:
            raise LeakError(f"got a coroutine that left these behind when {self.place}:\n" + "\n".join(left), left)
        return None

    async def _run(self, work: Awaitable[T]) -> T:
        return await self._steps(work)

    @types.coroutine
    def _steps(self, work: Awaitable[T]) -> Generator[Any, Any, T]:
        """The coroutine itself, but its task is cancelled when it waits for the given time."""
        steps = work.__await__()
        resume: Callable[[], Any] = partial(next, steps)
        while True:
            try:
                waited_for = resume()
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            self.waits += 1
            if self.waits == self._number and self._when != "between":
                self._cancel(work, waited_for)
            try:
                value = yield waited_for
            except BaseException as error:  # noqa: BLE001  # handed on
                resume = partial(steps.throw, error)
            else:
                resume = partial(steps.send, value)

    def _cancel(self, work: object, waited_for: asyncio.Future[Any] | None) -> None:
        """It is about to wait."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        place = f"cancelled {self._when} at await {self._number}, in {calls(work)}"

        def cancel(_: object = None) -> None:
            self.cancelled, self.place = True, place
            task.cancel()

        # What is called back first is called before the task is told, and finds it still waiting.
        if self._when == "late" and waited_for is not None:
            waited_for.add_done_callback(cancel)
        else:
            cancel()

    def _tick(self, task: asyncio.Task[Any], work: object) -> None:
        """Somebody took a step."""
        if self.waits and not self.cancelled and not task.done():
            self._moments += 1
            if self._moments == self._number:
                self.cancelled = True
                self.place = f"cancelled between at moment {self._number}, at await {self.waits}, in {calls(work)}"
                task.cancel()


def _left(
    before: set[asyncio.Task[Any]], values: list[object], unchanged: Sequence[Callable[[], object]]
) -> tuple[str, ...]:
    """What is there now that was not there before."""
    left = [where(task) for task in in_order(asyncio.all_tasks() - before)]
    for value, function in zip(values, unchanged, strict=True):
        if (now := function()) != value:
            left.append(f"{getattr(function, '__qualname__', function)!s}(): got {now!r}, expected {value!r} as before")
    return tuple(left)


async def _left_in_time(left: Callable[[], tuple[str, ...]], within_s: float) -> tuple[str, ...]:
    """What is left when the time to end is over; real time is over as soon as nothing is left."""
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualLoop):
        await loop.at_rest()
        if within_s > 0.0:
            await asyncio.sleep(within_s)
            await loop.at_rest()
        return left()
    over_s = loop.time() + max(within_s, REAL_PATIENCE_S)
    while left() and loop.time() < over_s:  # noqa: ASYNC110  # what is waited for is no event of ours
        await asyncio.sleep(0.001)
    return left()
