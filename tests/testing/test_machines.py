"""The state machine lets parasync pass, and finds what is planted, in few steps."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from parasync import Envelope, Kind, Snapshot, Status, Topic, Version
from parasync.testing.machines import LossyBus, ReplicaMachine

pytestmark = pytest.mark.project

STEPS_MAX = 6


@attrs.frozen
class Price:
    cents: int
    tags: list[str]


PRICES = Topic("price", Price, version="1.0")


class Prices(ReplicaMachine):
    topic = PRICES


@attrs.frozen
class Cents:
    cents: int


class Texts(ReplicaMachine):
    topic = Topic("text", str)
    ident = "a:b.*"


class Naive:
    """A cache that believes whatever comes."""

    def __init__(self, key: str, bus: LossyBus, refetch: Any) -> None:
        self.held: Envelope[Any] | None = None
        self.refetch = refetch
        self.leave = bus.subscribe(key, self.heard)

    def heard(self, envelope: Envelope[Any]) -> None:
        self.held = envelope

    def get(self) -> Any:
        self.held = self.refetch() or self.held

    def snapshot(self) -> Snapshot[Any]:
        held = self.held
        if held is None:
            return Snapshot(None, None, Status.STALE, 0.0, deleted=False)
        return Snapshot(held.value, held.version, Status.OK, 0.0, deleted=held.kind is Kind.TOMBSTONE)

    def close(self) -> None:
        self.leave()


class NeverBack(Naive):
    """Drops what is not newer."""

    def heard(self, envelope: Envelope[Any]) -> None:
        if self.held is None or envelope.version > self.held.version:
            self.held = envelope


class NeverAsks(NeverBack):
    """Waits for the next publication; one that came before it joined is lost."""

    def heard(self, envelope: Envelope[Any]) -> None:
        if self.held is None or envelope.sequence == self.held.sequence + 1:
            super().heard(envelope)

    def get(self) -> Any:
        return None


class BySequence(NeverBack):
    """Forgets that a restart begins a new life."""

    def heard(self, envelope: Envelope[Any]) -> None:
        if self.held is None or envelope.sequence > self.held.sequence:
            self.held = envelope

    def get(self) -> Any:
        found = self.refetch()
        if found is not None:
            self.heard(found)


class Undead(NeverBack):
    """Takes deletions for noise."""

    def heard(self, envelope: Envelope[Any]) -> None:
        if envelope.kind is Kind.STATE:
            super().heard(envelope)

    def get(self) -> Any:
        found = self.refetch()
        if found is not None:
            self.heard(found)


class Forgetful(NeverBack):
    """Shows nothing while the connection is gone."""

    def __init__(self, key: str, bus: LossyBus, refetch: Any) -> None:
        super().__init__(key, bus, refetch)
        self.leave()
        self.leave = bus.subscribe(key, self.heard, self.interrupted)

    def interrupted(self, _: str) -> None:
        self.held = None


class Inventive(NeverBack):
    """Improves what it gets."""

    def snapshot(self) -> Snapshot[Any]:
        shown = super().snapshot()
        return shown if shown.value is None else attrs.evolve(shown, value=attrs.evolve(shown.value, cents=7))


class Boastful(NeverBack):
    """Tells of versions that nobody has written."""

    def snapshot(self) -> Snapshot[Any]:
        shown = super().snapshot()
        return shown if shown.version is None else attrs.evolve(shown, version=Version(99, shown.version.sequence))


def steps_of(error: BaseException) -> list[str]:
    """The rules of the shortest program that fails."""
    lines = [line.strip() for note in getattr(error, "__notes__", ()) for line in note.splitlines()]
    program = [line for line in lines if line.startswith("state.")]
    return [line for line in program if not line.startswith(("state.shows_what_was_written", "state.teardown"))]


@pytest.mark.parametrize("machine", [Prices, Texts])
def test_replicas_pass(machine: type[ReplicaMachine]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=40, stateful_step_count=20, deadline=None))


@pytest.mark.parametrize("planted", [Naive, NeverAsks, BySequence, Undead, Forgetful, Inventive, Boastful])
def test_what_is_planted_is_found_and_told_in_few_steps(planted: type[Naive]) -> None:
    class Planted(ReplicaMachine):
        topic = Topic("cents", Cents)

        def follow(self, ref: Any, bus: LossyBus, refetch: Any, pace: Any) -> Any:
            return planted(ref.key, bus, refetch)

    patient = settings(
        max_examples=300, stateful_step_count=15, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with pytest.raises(AssertionError) as failure:
        run_state_machine_as_test(Planted, settings=patient)
    steps = steps_of(failure.value)
    assert 0 < len(steps) <= STEPS_MAX, steps
