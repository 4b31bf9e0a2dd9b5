"""Replays: to the bad state and no other, what differs is said, and what only time did is a step too."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from parasync import InProcessTransport, Recorder, Status, authority, synced
from parasync.protocol import Asked, Replica
from parasync.testing import Faults, FaultyTransport, run
from tests.runtime.kit import KEY, NOTES, A, pace, terms
from tests.runtime.recordings import a_recording, assert_replays, kinds, replayed
from tests.virtual_time import in_virtual_time, passing


def test_a_recording_is_told_step_by_step(tmp_path: Path) -> None:
    steps = a_recording(tmp_path / "a.rec")
    assert {"begin", "seed", "asked", "answer", "failed", "live", "noticed", "need", "closed"} == set(kinds(steps))
    assert [step.number for step in steps if step.kind != "begin"] == list(range(1, len(steps)))
    assert steps[0].number == 0
    assert all(step.key == KEY and step.place == 0 for step in steps)
    assert [step.reason for step in steps if step.kind == "need"] == ["a test"]
    assert {type(step.asked) for step in steps if step.kind in ("asked", "answer")} == {Asked}
    assert {step.told for step in steps if step.kind == "live"} >= {"good", "unread"}
    assert steps[-1].status is Status.CLOSED
    assert all(step.wall_s >= before.wall_s for before, step in pairwise(steps))
    assert all(step.before == before.state for before, step in pairwise(steps))


def test_it_can_be_gone_through_again(tmp_path: Path) -> None:
    assert a_recording(tmp_path / "a.rec") == replayed(tmp_path / "a.rec")


@in_virtual_time
async def stale_by_time(path: Path) -> None:
    seldom = pace(reconcile_interval_s=60.0)
    async with InProcessTransport() as bus, FaultyTransport(bus) as ears, authority(NOTES, bus, terms=terms()) as owner:
        await owner.put("a", "x")
        with Recorder(path) as recorder:
            async with synced(A, ears, pace=seldom, stale_after_s=20.0, recorder=recorder) as replica:
                await replica.ready()
                await passing(55.0)
                assert replica.status is Status.STALE


def test_what_only_time_did_is_a_step_too(tmp_path: Path) -> None:
    stale_by_time(tmp_path / "a.rec")
    steps = assert_replays(tmp_path / "a.rec")
    before, turned, after = next(steps[place - 1 : place + 2] for place, step in enumerate(steps) if step.kind == "time")
    assert (before.status, turned.status, after.number) == (Status.OK, Status.STALE, turned.number + 1)
    assert turned.at_s == pytest.approx(turned.state["proven_s"] + 20.0)
    assert before.at_s < turned.at_s < after.at_s
    assert turned.status_reason == "not proven for more than 20 s"


async def lossy(path: Path, seed: int) -> None:
    """A replica that is behind without knowing, for the gap that it did not see: `_is_gap` is broken by the caller."""
    faults, seldom = Faults(seed=seed, drop=0.2), pace(reconcile_interval_s=900.0)
    async with InProcessTransport() as bus, FaultyTransport(bus, faults) as ears, authority(NOTES, bus, terms=terms()) as owner:
        with Recorder(path) as recorder:
            async with synced(A, ears, pace=seldom, recorder=recorder) as replica:
                for number in range(30):
                    await owner.put("a", str(number))
                    await passing(1.0)
                assert replica.stats.gaps == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_bug_is_replayed_to_the_bad_state(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.rec"
    with monkeypatch.context() as planted:
        planted.setattr(Replica, "_is_gap", lambda _self, _envelope: False)
        run(lambda: lossy(path, seed), seed=seed)
        wrong = assert_replays(path)
    skipping = [step for step in wrong if step.change is not None and step.change.skipped and step.kind == "live"]
    assert skipping, "versions were lost"
    assert any(step.status is Status.OK for step in skipping), "and it said OK all the same"
    right = replayed(path)
    assert kinds(right) == kinds(wrong)
    differing = [step for step in right if step.differs]
    assert differing[0].number == skipping[0].number, "the rules as they should be do not agree from there on"
    assert "gaps" in differing[0].differs
    assert {step.number for step in differing} >= {step.number for step in skipping}, "each is told"
    assert right[-1].status is Status.CLOSED


def test_another_status_and_another_ask_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.rec"
    a_recording(path)
    asked = Replica.asked
    monkeypatch.setattr(Replica, "asked", lambda self: asked(self)._replace(needs=99))
    monkeypatch.setattr("parasync.runtime._replay.status_of", lambda *_: Status.SKEW)
    steps = replayed(path)
    assert {name for step in steps for name in step.differs} == {"ask", "status"}
