"""The sweep itself: it cancels at every place, and finds what it must find."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from parasync.errors import DeadlockError, LeakError, LivelockError, UncancelledError, UsageError
from parasync.testing import Cut, _sweep, settle, sweep

kept: list[object] = []


@pytest.fixture(autouse=True)
def forgotten() -> None:
    kept.clear()


async def three_waits() -> str:
    await asyncio.sleep(0)
    await asyncio.sleep(1.0)
    await asyncio.create_task(asyncio.sleep(2.0))
    return "end"


def test_each_await_is_a_place_early_and_late_and_the_last_runs_complete() -> None:
    seen: list[tuple[bool, int, str, object]] = []

    async def scene(cut: Cut) -> None:
        kept.append(cut)
        result = await cut(three_waits(), within_s=3.0)
        seen.append((cut.cancelled, cut.waits, cut.place, result))

    assert sweep(scene, moments_max=0) == 3
    assert [found[0] for found in seen] == [True, True, True, False] * 2
    assert [found[1] for found in seen] == [1, 2, 3, 3] * 2
    assert [found[3] for found in seen] == [None, None, None, "end"] * 2
    places = [found[2] for found in seen]
    assert places[1].startswith("cancelled early at await 2, in three_waits (test_sweep.py:")
    assert places[6].startswith("cancelled late at await 3, in three_waits (test_sweep.py:")
    assert places[3] == places[7] == ""


def test_late_is_when_it_has_happened_and_nobody_was_told() -> None:
    taken: list[tuple[bool, list[int], int]] = []

    async def scene(cut: Cut) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()
        asyncio.get_running_loop().call_later(1.0, queue.put_nowait, 1)
        began_s = asyncio.get_running_loop().time()
        await cut(queue.get())
        late = asyncio.get_running_loop().time() > began_s
        await asyncio.sleep(2.0)
        if cut.cancelled:
            taken.append((late, [queue.get_nowait()], queue.qsize()))

    assert sweep(scene, moments_max=0) == 1
    assert taken == [(False, [1], 0), (True, [1], 0)]


def test_what_never_waits_has_no_place() -> None:
    async def scene(cut: Cut) -> None:
        async def at_once() -> int:
            return 3

        assert await cut(at_once()) == 3

    assert sweep(scene) == 0


def test_an_error_of_the_coroutine_is_one_of_the_scene() -> None:
    caught: list[Exception] = []

    async def fails() -> None:
        await asyncio.sleep(1.0)
        raise ZeroDivisionError

    async def scene(cut: Cut) -> None:
        try:
            await cut(fails())
        except ZeroDivisionError as error:
            assert not cut.cancelled
            caught.append(error)

    assert sweep(scene) == 1
    assert len(caught) == 3, "in the last run of each kind it is not cancelled"


# What it must find


async def leaves_a_task() -> None:
    kept.append(asyncio.create_task(asyncio.sleep(5.0), name="left"))
    await asyncio.sleep(1.0)
    await asyncio.sleep(4.0)


def test_a_task_that_is_left_is_found_at_its_place() -> None:
    async def scene(cut: Cut) -> None:
        await cut(leaves_a_task())

    with pytest.raises(LeakError, match=r"when cancelled early at await 1, in leaves_a_task.*\ntask 'left' in sleep") as caught:
        sweep(scene)
    assert len(caught.value.tasks) == 1
    assert any("cancelled early at await 1" in note for note in caught.value.__notes__)


def test_background_work_may_be_given_time() -> None:
    async def scene(cut: Cut) -> None:
        await cut(leaves_a_task(), within_s=5.0)

    assert sweep(scene) == 2


def test_what_must_not_change_is_compared() -> None:
    handles: list[str] = []

    async def opens() -> None:
        handles.append("open")
        await asyncio.sleep(1.0)
        handles.clear()

    async def scene(cut: Cut) -> None:
        handles.clear()
        await cut(opens(), unchanged=[lambda: len(handles)])

    with pytest.raises(LeakError, match=r"<lambda>\(\): got 1, expected 0 as before"):
        sweep(scene)


async def swallows() -> str:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(1.0)
    return "went on"


async def turns_it_into_another() -> None:
    try:
        await asyncio.sleep(1.0)
    except asyncio.CancelledError:
        raise ValueError from None


@pytest.mark.parametrize(("work", "got"), [(swallows, "a result"), (turns_it_into_another, "ValueError")])
def test_who_goes_on_although_cancelled_is_found(work: Callable[[], Any], got: str) -> None:
    async def scene(cut: Cut) -> None:
        await cut(work())

    with pytest.raises(UncancelledError, match=rf"got .*{got}.* from a coroutine that was cancelled early at await 1"):
        sweep(scene)


def test_a_lock_that_a_late_cancellation_keeps_is_found() -> None:
    """The classic: what was waited for was given, and he who was cancelled does not give it back."""

    class Slot:
        def __init__(self) -> None:
            self.waiting: list[asyncio.Future[None]] = []
            self.free = False

        async def take(self) -> None:
            given = asyncio.get_running_loop().create_future()
            self.waiting.append(given)
            await given

        def give(self) -> None:
            self.free = not self.waiting
            if self.waiting:
                self.waiting.pop(0).set_result(None)

    async def scene(cut: Cut) -> None:
        slot = Slot()
        asyncio.get_running_loop().call_later(1.0, slot.give)
        await cut(slot.take())
        await asyncio.sleep(2.0)
        if cut.cancelled:
            assert slot.free, "nobody has it, and nobody can take it"

    with pytest.raises((AssertionError, asyncio.InvalidStateError)) as caught:
        sweep(scene)
    assert any("cancelled" in note for note in caught.value.__notes__)


def test_an_invariant_that_breaks_says_where() -> None:
    async def scene(cut: Cut) -> None:
        await cut(three_waits(), within_s=2.0)
        assert not cut.place.startswith("cancelled late at await 2")

    with pytest.raises(AssertionError) as caught:
        sweep(scene, seed=4)
    (seed, place) = caught.value.__notes__
    assert "seed=4" in seed
    assert place.startswith("cancelled late at await 2, in three_waits")


def test_what_others_are_in_the_middle_of_is_a_place_too() -> None:
    """It waits once, for a task that is neither at its beginning nor at its end when something is wrong."""
    half: list[str] = []

    async def inner() -> None:
        await asyncio.sleep(1.0)
        half.append("half")
        await asyncio.sleep(1.0)
        half.clear()

    async def work() -> None:
        half.clear()
        await asyncio.create_task(inner())

    async def scene(cut: Cut) -> None:
        assert await cut(work(), unchanged=[half.copy]) is None

    assert sweep(scene, moments_max=0) == 1
    with pytest.raises(LeakError, match=r"got \['half'\], expected \[\] as before") as caught:
        sweep(scene)
    assert "cancelled between at moment" in caught.value.__notes__[-1]
    assert ", at await 1, in " in caught.value.__notes__[-1]


def test_moments_end_at_their_limit_and_places_with_their_number() -> None:
    cuts: list[Cut] = []

    async def scene(cut: Cut) -> None:
        cuts.append(cut)
        await cut(three_waits(), within_s=3.0)

    assert sweep(scene, places_max=3, moments_max=2) == 3
    assert len(cuts) == 4 + 4 + 2
    with pytest.raises(LivelockError, match="more than 2 times"):
        sweep(scene, places_max=2)


def test_a_coroutine_that_waits_without_end_is_told() -> None:
    async def scene(cut: Cut) -> None:
        async def endless() -> None:
            while True:  # noqa: ASYNC110  # it waits on purpose
                await asyncio.sleep(1.0)

        await cut(endless())

    with pytest.raises(LivelockError, match="more than 10 times"):
        sweep(scene, places_max=10)


def test_a_deadlock_is_one_here_too() -> None:
    async def scene(cut: Cut) -> None:
        await cut(asyncio.Event().wait())

    with pytest.raises(DeadlockError):
        sweep(scene)


# Misuse


def test_a_scene_uses_its_cut_once() -> None:
    async def unused(_: Cut) -> None:
        pass

    async def twice(cut: Cut) -> None:
        await cut(settle())
        again = settle()
        try:
            await cut(again)
        finally:
            again.close()

    with pytest.raises(UsageError, match="did not use"):
        sweep(unused)
    with pytest.raises(UsageError, match="used before"):
        sweep(twice)


@pytest.mark.parametrize("name", ["places_max", "moments_max"])
@pytest.mark.parametrize("value", [-1, 1.5, None])
def test_limits_are_numbers(name: str, value: Any) -> None:
    async def scene(cut: Cut) -> None:
        await cut(settle())

    with pytest.raises(UsageError, match=name):
        sweep(scene, **{name: value})


# In real time


async def waits_twice() -> None:
    await asyncio.sleep(0)
    await asyncio.get_running_loop().run_in_executor(None, len, "")


def test_a_sweep_in_real_time_goes_to_the_same_places() -> None:
    places: list[str] = []

    async def scene(cut: Cut) -> None:
        await cut(waits_twice())
        places.append(cut.place.partition(",")[0])

    assert sweep(scene, real=True) == 2
    early, late = [f"cancelled {when} at await" for when in ("early", "late")]
    assert places[:6] == [f"{early} 1", f"{early} 2", "", f"{late} 1", f"{late} 2", ""]
    assert places[6] == "cancelled between at moment 1"
    assert places[-1] == ""


def test_a_sweep_in_real_time_finds_what_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sweep, "REAL_PATIENCE_S", 0.01)

    async def work() -> None:
        kept.append(asyncio.create_task(asyncio.Event().wait(), name="left"))
        await asyncio.sleep(0)

    async def scene(cut: Cut) -> None:
        await cut(work())

    with pytest.raises(LeakError, match="task 'left' in Event"):
        sweep(scene, real=True)
