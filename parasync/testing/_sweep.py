"""Cancels a coroutine at its first, second, ... await, to see what it leaves behind."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar, cast

from parasync.errors import LeakError, LivelockError, UncancelledError, UsageError
from parasync.testing._loop import STEPS_MAX, VirtualLoop, in_order
from parasync.testing._run import run
from parasync.testing._waits import calls, where

T = TypeVar("T")

PLACES_MAX: Final = 1_000
"""At how many places a coroutine is cancelled, unless `sweep` is told otherwise."""
REAL_PATIENCE_S: Final = 10.0
"""How long what a coroutine left may take to end where a sweep runs in real time, in seconds."""


def sweep(
    scene: Callable[[Cut], Coroutine[Any, Any, object]],
    *,
    seed: int | None = 0,
    places_max: int = PLACES_MAX,
    steps_max: int = STEPS_MAX,
    real: bool = False,
) -> int:
    """Cancel a coroutine at each of its awaits in turn, each time in a new run in virtual time, until it is cancelled no more.

    The scene sets up what it needs, runs the coroutine by `await cut(coroutine)`, and then asserts what must hold wherever it
    was cancelled. Each await is a place twice: cancelled *early* the coroutine never gets what it waits for; cancelled *late*
    what it waits for has happened, but it is not told any more. Every run must leave nothing behind, as `run` demands.

    Args:
        scene: a coroutine function that takes a `Cut` and uses it once.
        seed: see `run`; the same for all places.
        places_max: how many awaits the coroutine may have, above 0.
        steps_max: see `run`; for each place.
        real: use `asyncio.run`, for what needs a real server: `seed` and `steps_max` have no meaning then, background work may
            take up to `REAL_PATIENCE_S` seconds to end, and only what a cancelled coroutine leaves is looked for.

    Returns:
        How many awaits there were: 0 says that the coroutine never waits.

    Raises:
        LeakError: where it was cancelled it left something behind.
        UncancelledError: it was cancelled, and went on.
        LivelockError: it waits more than `places_max` times.
        SimulationError: a run came to no good end; see `run`.
        UsageError: the scene did not use its `Cut`, or used it twice.
    """
    if not isinstance(places_max, int) or places_max < 1:
        raise UsageError(f"got places_max={places_max!r}, expected an int above 0")
    perform = _in_real_time if real else partial(run, seed=seed, steps_max=steps_max)
    counts = [_sweep(scene, late, places_max, perform) for late in (False, True)]
    return counts[0]


_Main: TypeAlias = Callable[[], Coroutine[Any, Any, object]]


def _in_real_time(main: _Main) -> object:
    return asyncio.run(main())


def _sweep(
    scene: Callable[[Cut], Coroutine[Any, Any, object]], late: bool, places_max: int, perform: Callable[[_Main], object]
) -> int:
    for number in range(1, places_max + 2):
        cut = Cut(number, late)
        try:
            perform(partial(scene, cut))
        except BaseException as error:
            if cut.place:
                error.add_note(cut.place)
            raise
        if not cut.used:
            raise UsageError("got a scene that did not use its cut, expected it to run a coroutine by `await cut(coroutine)`")
        if cut.waits < number:
            return cut.waits
    raise LivelockError(f"got a coroutine that waits more than {places_max} times, expected an end")


class Cut:
    """Runs a coroutine and cancels it at one place; made by `sweep`.

    Args:
        number: at which of its awaits, from 1.
        late: only once what it waits for has happened.
    """

    def __init__(self, number: int, late: bool) -> None:
        self._number = number
        self._late = late
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
        loop = asyncio.get_running_loop()
        if self.used:
            raise UsageError("got a cut that was used before, expected one coroutine a scene")
        self.used = True
        before = asyncio.all_tasks()
        values = [function() for function in unchanged]
        task = loop.create_task(self._run(work), name="swept")
        try:
            await asyncio.wait((task,))
        finally:
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
            if self.waits == self._number:
                self._cancel(work, waited_for)
            try:
                value = yield waited_for
            except BaseException as error:  # noqa: BLE001  # handed on
                resume = partial(steps.throw, error)
            else:
                resume = partial(steps.send, value)

    def _cancel(self, work: object, waited_for: asyncio.Future[Any] | None) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        place = f"cancelled {'late' if self._late else 'early'} at await {self._number}, in {calls(work)}"

        def cancel(_: object = None) -> None:
            self.cancelled, self.place = True, place
            task.cancel()

        # What is called back first is called before the task is told, and finds it still waiting.
        if self._late and waited_for is not None:
            waited_for.add_done_callback(cancel)
        else:
            cancel()


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
