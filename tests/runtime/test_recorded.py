"""A replica that is recorded: it does what any other does, and its inputs are noted in the order in which they counted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parasync import Envelope, InProcessTransport, Recorder, Status, authority, synced
from parasync.errors import AskTimeoutError
from parasync.protocol import Backoff
from parasync.runtime._recorded import Recorded
from parasync.runtime._records import state_of
from parasync.testing import Faults, FaultyTransport, Trace, run
from parasync.testing.machines import LossyBus
from tests.protocol import world as worlds
from tests.protocol.walks import walk
from tests.runtime.kit import KEY, NOTES, A, envelope, half, in_threads, pace, terms
from tests.runtime.recordings import assert_replays, kinds, replayed, states
from tests.virtual_time import in_virtual_time, passing


@pytest.mark.parametrize("seed", range(60))
def test_what_a_walk_led_to_is_what_its_replay_leads_to(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worlds of the protocol's tests, with replicas that are recorded."""
    path, made, ticks = tmp_path / "walk.rec", [], itertools.count(1)

    def a_replica(read: Any, **options: Any) -> Recorded[str]:
        tape = recorder.writer.tape("1.0", InProcessTransport().codec, lambda: next(ticks) / 8)
        made.append(Recorded(tape, "k", read, Backoff(1, 1, half), **options))
        return made[-1]

    monkeypatch.setattr(worlds, "Replica", a_replica)
    with Recorder(path) as recorder:
        walk(seed)
    steps = replayed(path)
    assert len(steps) > len(made)
    assert not any(step.differs or step.missing for step in steps)
    assert dict(states(steps)) == {place: state_of(replica) for place, replica in enumerate(made) if len(made) > place}


RATES = {"drop": 0.1, "duplicate": 0.1, "reorder": 0.1, "delay": 0.1, "corrupt": 0.05, "poison": 0.05, "hang": 0.02}


async def scene(seed: int, recorder: Recorder | None) -> list[Any]:
    """A writer, a restart, and a replica behind a bad network; returns what its listener heard."""
    heard: list[Any] = []
    async with InProcessTransport() as bus, FaultyTransport(bus, Faults(seed=seed, **RATES)) as ears:
        async with synced(A, ears, pace=pace(), recorder=recorder) as replica, synced(A, ears, pace=pace()) as neighbour:
            replica.subscribe(lambda change: heard.append((change.version, change.new, change.cause, change.skipped)))
            for name in ("x", "y"):
                async with authority(NOTES, bus, terms=terms()) as owner:
                    for number in range(40):
                        await owner.put("a", f"{name}{number}")
                        await passing(0.5)
                    ears.heal()
                    await passing(60.0)
                    assert (replica.value, replica.status) == (f"{name}39", Status.OK) == (neighbour.value, neighbour.status)
        heard.append(replica.stats)
    return heard


@pytest.mark.parametrize("seed", range(8))
def test_being_recorded_changes_nothing(seed: int, tmp_path: Path) -> None:
    """Neither what is heard nor the course of the program, to the last step of its loop."""
    courses = []
    for path in (None, tmp_path / "a.rec"):
        trace = Trace()
        with Recorder(path) if path is not None else contextlib.nullcontext() as recorder:
            heard = run(partial(scene, seed, recorder), seed=seed, trace=trace)
        courses.append((heard, trace.digest))
    assert courses[0] == courses[1]
    steps = replayed(tmp_path / "a.rec")
    assert not any(step.differs or step.missing for step in steps)
    assert steps[-1].kind == "closed"
    *heard, _ = courses[0][0]
    told = [(change.version, change.cause, change.skipped) for step in steps if (change := step.change) is not None]
    assert told == [(version, cause, skipped) for version, _, cause, skipped in heard]


def test_one_course_makes_one_file(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        with Recorder(tmp_path / name) as recorder:
            run(partial(scene, 3, recorder), seed=3)
        files.append(replayed(tmp_path / name))
    assert states(files[0]) == states(files[1])
    assert [step.at_s for step in files[0]] == [step.at_s for step in files[1]]


def test_threads_that_publish_at_once(tmp_path: Path) -> None:
    bus, path = InProcessTransport(), tmp_path / "a.rec"

    def publish(key: str, seed: int) -> None:
        draw = random.Random(seed)
        for sequence in range(1, 300):
            bus.publish(key, envelope(sequence + draw.randrange(3), epoch=draw.choice((1, 1, 1, 2))))

    with Recorder(path) as recorder:
        replicas = [synced(NOTES[name], bus, recorder=recorder) for name in ("a", "a", "b")]
        alone = synced(A, bus)
        heard: list[Any] = []
        replicas[0].subscribe(heard.append)
        in_threads(*[partial(publish, key, seed) for seed, key in enumerate(("note:a", "note:a", "note:b", "note:b"))])
        assert replicas[0].version == replicas[1].version == alone.version
        in_threads(*[replica.close for replica in replicas], partial(publish, "note:a", 9))
        assert all(replica.status is Status.CLOSED for replica in replicas)
        alone.close()
    steps = assert_replays(path, *replicas)
    changes = [step.change.version for step in steps if step.place == 0 and step.change is not None]
    assert [change.version for change in heard] == changes[: len(heard)]
    assert kinds(steps).count("closed") == 3


@in_virtual_time
async def test_asks_that_end_without_an_answer(tmp_path: Path) -> None:
    hangs = asyncio.Event()

    async def refetch() -> Envelope[str]:
        await hangs.wait()
        raise AssertionError

    path = tmp_path / "a.rec"
    with Recorder(path) as recorder:
        async with InProcessTransport() as bus:
            replica = synced(A, bus, refetch=refetch, pace=pace(ask_timeout_s=1.0), recorder=recorder)
            with pytest.raises(AskTimeoutError):
                await replica.fresh(timeout_s=3.0)
            task = asyncio.create_task(replica.ready())
            await passing(0.5)
            task.cancel()
            await asyncio.wait([task])
        await passing(0.0)
        steps = assert_replays(path, replica)
        replica.close()
    said = [step.state["failed"] for step in steps if step.kind == "failed"]
    assert said[0] == "no answer within 1 s"
    assert said[-1] == "nobody asks any more: the transport or the event loop was closed"
    assert "a read demands a fresh value" in [step.reason for step in steps]
    assert kinds(steps)[-1] == "failed"


def test_a_replica_that_is_dropped_is_recorded_as_closed(tmp_path: Path) -> None:
    bus, path = InProcessTransport(), tmp_path / "a.rec"
    with Recorder(path) as recorder:
        dropped = [synced(A, bus, recorder=recorder)]
        bus.publish(KEY, envelope(1))
        with pytest.warns(ResourceWarning, match="was dropped without being closed"):
            dropped.clear()
    assert kinds(replayed(path))[-1] == "closed"


def test_a_step_is_in_the_file_before_listeners_hear_of_it(tmp_path: Path) -> None:
    bus, path = LossyBus(), tmp_path / "a.rec"
    seen: list[list[str]] = []
    with Recorder(path) as recorder, synced(A, bus, recorder=recorder) as replica:
        replica.subscribe(lambda _: seen.append(kinds(replayed(path))))
        bus.publish(KEY, envelope(1))
        bus.publish(KEY, envelope(2))
    assert [each[-1] for each in seen] == ["live", "live"]
    assert [each.count("live") for each in seen] == [1, 2]


def test_closing_in_the_middle_of_an_input_waits_for_its_end(tmp_path: Path) -> None:
    """A destructor of the user may run anywhere."""
    path, bus, closing = tmp_path / "a.rec", InProcessTransport(), list[Callable[[], None]]()

    def clock() -> float:
        while closing:
            closing.pop()()
        return 1.0

    with Recorder(path) as recorder:
        replica = synced(A, bus, pace=pace(clock=clock), recorder=recorder)
        bus.publish(KEY, envelope(1))
        closing.append(replica._member.close)
        bus.publish(KEY, envelope(2))
        assert (replica.status, replica.value) == (Status.CLOSED, "0.2")
        bus.publish(KEY, envelope(3))
        replica.close()
    assert kinds(assert_replays(path, replica))[-2:] == ["live", "closed"]
