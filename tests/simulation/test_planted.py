"""Every bug that is planted is found by some seed; and without bugs, thousands of seeds find nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from parasync.protocol._standing import Standing
from parasync.testing.simulation._simulate import course_of
from tests.protocol.mutants import Mutant
from tests.simulation import planted
from tests.simulation.planted import PLANTED, SEEDS_MAX, kill, main

pytestmark = pytest.mark.project

ROOT: Final = Path(__file__).parents[2]
SCHEDULES: Final = int(os.environ.get("PARASYNC_SCHEDULES", "5000"))
"""PARASYNC_SCHEDULES=100000 simulates more of them."""
PORTIONS: Final = 10
"""In so many parts, so that none takes long."""


def test_there_are_enough_bugs_and_each_has_its_name() -> None:
    assert len({mutant.rule for mutant in PLANTED}) == len(PLANTED) >= 50


@pytest.mark.parametrize("index", range(len(PLANTED)), ids=[mutant.rule for mutant in PLANTED])
def test_a_planted_bug_is_found(index: int) -> None:
    found = kill(index)
    assert found.seed is not None, f"{found.rule}: survived {SEEDS_MAX} seeds"
    assert course_of(seed=found.seed).violations == (), "without the bug this very seed breaks no promise"


def test_the_table_tells_who_survived(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = Mutant(Standing, "_is_gap", "nothing at all", "after > sequence", "after > sequence")
    deadly = next(mutant for mutant in PLANTED if mutant.rule == "the gap check is exact")
    monkeypatch.setattr(planted, "PLANTED", (harmless, deadly))
    monkeypatch.setattr(planted, "kills", lambda indices, seeds_max: (kill(index, seeds_max) for index in indices))
    assert main(["--seeds", "3"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["nothing", "at", "all", "survived", "3", "seeds"]
    assert lines[1].startswith("the gap check is exact")
    assert lines[2] == "1 of 2 bugs were found"


@pytest.mark.processes
@pytest.mark.parametrize("portion", range(PORTIONS))
def test_thousands_of_schedules_break_no_promise_and_leave_no_fault_out(portion: int) -> None:
    seeds = SCHEDULES // PORTIONS
    options = ["--first", str(portion * seeds), "--seeds", str(seeds), "--jobs", "2", "--strict", "--json"]
    command = [sys.executable, "-m", "parasync", "simulate", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-4_000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["seeds"] == seeds
