"""What the tests of recordings share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from parasync import InProcessTransport, Pace, Recorder, synced
from parasync.runtime._records import state_of
from parasync.runtime._replay import Replay, Step
from parasync.testing.machines import LossyBus
from tests.runtime.kit import KEY, A, envelope, half, tombstone

JOINED = ["begin", "asked", "failed", "noticed"]
"""How a recording begins where nobody can be asked."""
SEEDED = ["begin", "seed", *JOINED[1:]]


def replayed(path: Path) -> list[Step]:
    """All steps of a recording."""
    return list(Replay(path))


def kinds(steps: Iterable[Step]) -> list[str]:
    return [step.kind for step in steps]


def states(steps: Iterable[Step]) -> list[tuple[int, tuple[Any, ...]]]:
    """Where each step led, and whom."""
    return [(step.place, tuple(step.state.values())) for step in steps]


def assert_replays(path: Path, *replicas: synced[Any]) -> list[Step]:
    """Nothing differs, and the last steps lead where the replicas stand."""
    steps = replayed(path)
    assert [(step.number, step.differs) for step in steps if step.differs] == []
    last = dict(states(steps))
    for place, replica in enumerate(replicas):
        assert last[place] == state_of(replica._member)
    return steps


def a_recording(path: Path) -> list[Step]:
    """A short one with all that can come without a loop."""
    bus, ticks = LossyBus(), itertools.count()
    times = Pace(clock=lambda: float(next(ticks)), random=half)
    answers = [envelope(1), None, OSError(), envelope(6), envelope(9, 9)]

    def refetch() -> Any:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, BaseException):
            raise found
        return found

    options = {"refetch": refetch, "pace": times, "seed": envelope(1)}
    with Recorder(path) as recorder, synced(A, bus, recorder=recorder, **options) as replica:  # type: ignore[arg-type]
        for sent in (envelope(2), envelope(2), envelope(1), envelope(4), envelope(5, 5), tombstone(6), envelope(1, epoch=3)):
            bus.publish(KEY, sent)
        bus.interrupt("a test")
        assert replica.version is not None
    return replayed(path)


def filled(path: Path, count: int, *, text: str = "", **options: object) -> synced[str]:
    """Record so many live envelopes."""
    bus = InProcessTransport()
    with Recorder(path, **options) as recorder:  # type: ignore[arg-type]
        replica = synced(A, bus, seed=envelope(1), recorder=recorder)
        for sequence in range(2, count + 2):
            bus.publish(KEY, envelope(sequence, f"{sequence}{text}"))
        assert recorder.problem == ""
    assert recorder.problem == "the recorder was closed"
    replica.close()
    return replica
