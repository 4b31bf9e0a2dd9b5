"""`parasync simulate`: every seed once, the first that breaks a promise in all detail, and no process left behind."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from parasync.cli.simulate._jobs import Jobs
from parasync.testing.simulation._totals import Totals
from tests.cli.kit import DEADLINE_S, Done, Running, Shell
from tests.cli.simulate.stub import BROKEN, COMPLETE, DIES, HANGS

pytestmark = pytest.mark.processes

STUB = "tests.cli.simulate.stub"
PLANTED = "tests.cli.simulate.planted"
WITH_SIMULATOR = """
import sys
import parasync.cli.simulate._jobs as jobs
from parasync.cli import main
jobs.SIMULATOR = sys.argv[1]
sys.exit(main(sys.argv[2:]))
"""


def running(shell: Shell, *words: str, simulator: str = STUB, **variables: str) -> Running:
    command = [sys.executable, "-c", WITH_SIMULATOR, simulator, "simulate", *words]
    return Running(command, shell.folder, shell.environment | variables)


def done(shell: Shell, *words: str, simulator: str = STUB, **variables: str) -> Done:
    """What becomes of the command, where the simulator is another one."""
    command = running(shell, *words, simulator=simulator, **variables)
    try:
        return Done(command.end(None), command.out, command.err)
    finally:
        command.kill()


def test_without_a_broken_promise_it_counts(shell: Shell) -> None:
    ended = done(shell, "--seeds", "25", "--jobs", "2", "--first", "7")
    assert ended.code == 0
    lines = [line.split() for line in ended.out.splitlines()]
    assert lines[0] == ["fault", "struck", "rare", "state", "reached"]
    assert lines[1][:2] == ["drop", "50"]
    assert any(line[:2] == ["hang", "25"] for line in lines)
    assert any(line[-2:] == ["interruption", "25"] for line in lines)
    assert "\nnever: duplicate, reorder, " in ended.out
    assert ended.out.endswith("\nVERDICT: every promise held in 25 simulations\n")
    # No terminal, no bar.
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("25 seeds from 7 on, 500 s of virtual time, in ")
    assert ended.err.endswith(" steps/s\n")


@pytest.mark.parametrize(("variables", "code"), [({}, 1), ({COMPLETE: "1"}, 0)])
def test_with_strict_what_never_struck_is_a_failure(shell: Shell, variables: dict[str, str], code: int) -> None:
    ended = done(shell, "--seeds", "2", "--jobs", "1", "--strict", **variables)
    assert (ended.code, "never: " in ended.out) == (code, bool(code))


def test_the_first_seed_that_breaks_a_promise_is_shown(shell: Shell) -> None:
    ended = done(shell, "--seeds", "500", "--jobs", "2", **{BROKEN: "41 44 43"})
    assert ended.code == 1
    schedule = ["    0.000 s  write(0)", "    0.100 s  write(1)", "reorder strikes reader: box:1, number 3"]
    assert "\n  ".join(["\nthe schedule:", *schedule, ""]).rstrip(" ") in ended.out
    assert "\n  19.900 s  ├───────►│  version 199\n  20.000 s  │        █  BROKEN: P1: from 5.2 back to 5.1\n" in ended.out
    verdict = "VERDICT: seed 41 breaks P1 at 20.000 s, reader: from 5.2 back to 5.1\nrepeat it: "
    assert ended.out.endswith(f"\n{verdict}parasync simulate --first 41 --seeds 1\n")
    assert int(ended.err.split()[0]) < 100, "what comes behind is left alone"


def test_it_is_shown_as_it_was_without_shrinking(shell: Shell) -> None:
    ended = done(shell, "--first", "41", "--seeds", "1", "--no-shrink", "--show", "mermaid", **{BROKEN: "41"})
    assert ended.code == 1
    assert ended.out.count("write(") == 200
    assert "\nsequenceDiagram\n    participant p1 as owner\n" in ended.out
    assert "\n    Note over p2: 20.000 s BROKEN: P1: from 5.2 back to 5.1\n    end\n" in ended.out
    assert ended.err.startswith("1 seed from 41 on")


def test_an_output_without_other_characters_gets_none(shell: Shell) -> None:
    ended = done(shell, "--first", "41", "--seeds", "1", **{BROKEN: "41", "PYTHONIOENCODING": "ascii"})
    assert ended.code == 1
    assert "\n  19.900 s  +------->|  version 199\n  20.000 s  |        #  BROKEN: P1" in ended.out


def test_what_is_simulated_does_not_depend_on_the_processes(shell: Shell) -> None:
    """The real simulator."""
    one, two = (json.loads(shell.out("simulate", "--seeds", "8", "--jobs", count, "--json")) for count in "12")
    assert one | {"elapsed_s": 0} == two | {"elapsed_s": 0}
    assert one["fired"]["drop"] > 0


def test_a_planted_bug_is_found_made_small_and_shown(shell: Shell) -> None:
    ended = done(shell, "--seeds", "100", simulator=PLANTED)
    assert ended.code == 1
    schedule, chart = ended.out.split("\nthe schedule:\n")[1].split("\n\n")[:2]
    assert 1 <= len(schedule.splitlines()) <= 6
    assert re.search(r"^ +\d+\.\d{3} s  .*BROKEN: #1 P1: ", chart, re.MULTILINE)
    assert re.search(r"\nVERDICT: seed \d+ breaks P1 at .*\nrepeat it: parasync simulate --first \d+ --seeds 1\n$", ended.out)


@pytest.mark.parametrize("broken", ["", "3"])
def test_json_has_all_of_it(shell: Shell, broken: str) -> None:
    ended = done(shell, "--seeds", "8", "--jobs", "2", "--json", **{BROKEN: broken})
    assert ended.code == (1 if broken else 0)
    found: dict[str, Any] = json.loads(ended.out)
    assert set(found) == {
        *("first", "seeds", "steps", "virtual_s", "fired", "reached", "elapsed_s", "never", "violation"),
    }
    assert found["fired"]["drop"] == 2 * found["seeds"]
    assert "duplicate" in found["never"]
    if not broken:
        assert (found["seeds"], found["steps"], found["violation"]) == (8, 8_000, None)
    else:
        told = found["violation"]
        assert (told["seed"], told["promise"], len(told["schedule"])) == (3, "P1", 3)
        assert told["command"] == "parasync simulate --first 3 --seeds 1"
        assert "BROKEN" in told["chart"]


@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGINT, ("--jobs", "2")), (signal.SIGTERM, ("--jobs", "2")), (signal.SIGINT, ("--jobs", "1"))]
)
def test_ctrl_c_ends_it_at_once_and_everybody(shell: Shell, number: signal.Signals, words: tuple[str, ...]) -> None:
    hangs = {HANGS: " ".join(map(str, range(100)))}
    command = running(shell, "--seeds", "100", *words, **hangs)
    try:
        until(lambda: len(busy(command)) == int(words[-1]))
        children = busy(command)
        assert command.end(number) == 130
        assert (command.out, command.err) == ("", "")
        _, alive = psutil.wait_procs(children, timeout=DEADLINE_S)
        assert alive == []
    finally:
        command.kill()


def busy(command: Running) -> list[psutil.Process]:
    return [child for child in psutil.Process(command.process.pid).children() if STUB in child.cmdline()]


def until(ready: Callable[[], bool]) -> None:
    """Look until it is so."""
    for _ in range(1_000_000):
        if ready():
            return
    raise AssertionError("it never was")


def test_a_process_that_dies_is_a_fault_of_ours(shell: Shell) -> None:
    ended = done(shell, "--seeds", "20", "--jobs", "1", **{DIES: "4"})
    assert ended.code == 70
    assert "a process ended with code 3 while it simulated {'first': 0, 'seeds': 5}" in ended.err


def test_a_process_that_is_killed_is_no_fault_of_ours(shell: Shell) -> None:
    command = running(shell, "--seeds", "20", "--jobs", "1", **{HANGS: " ".join(map(str, range(20)))})
    try:
        until(lambda: busy(command))
        busy(command)[0].kill()
        assert command.end(None) == 2
        assert "parasync: a process was killed by signal 9 while it simulated {'first': 0, 'seeds': 5}" in command.err
    finally:
        command.kill()


def test_what_makes_no_sense_is_refused(shell: Shell) -> None:
    for words in (["--seeds", "0"], ["--first", "-1"], ["--jobs", "0"], ["--show", "svg"]):
        assert done(shell, *words).code == 2


@pytest.mark.parametrize(("seeds", "count"), [(1, 1), (7, 3), (100, 4), (3, 3)])
async def test_every_seed_is_simulated_once(seeds: int, count: int) -> None:
    seen: list[int] = []
    async with Jobs(count, STUB) as jobs:
        totals, broken = await jobs.run(100, seeds, lambda totals: seen.append(totals.seeds))
    assert (totals.seeds, totals.fired["drop"], broken) == (seeds, 2 * seeds, None)
    assert seen == sorted(seen)
    assert seen[-1] == seeds


def test_totals_name_what_never_was() -> None:
    totals = Totals()
    assert len(totals.never) == len(totals.fired) + len(totals.reached)
    totals.add_counts({"seeds": 1, "steps": 5, "virtual_s": 1.0, "fired": {"drop": 3}, "reached": {"something new": 1}})
    assert "drop" not in totals.never
    assert totals.reached["something new"] == 1
