"""`parasync replay`: what a person sees of a recording, what a program gets, and what is said of a bad one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parasync import Recorder, synced
from parasync.cli._replay import _FOUND_BY
from parasync.cli._steps import fact_of, value_of
from parasync.runtime._records import read_file
from parasync.runtime._replay import Replay
from parasync.testing import run
from parasync.testing.machines import LossyBus
from tests.cli.kit import DEADLINE_S, Shell, terminal
from tests.runtime.kit import KEY, NOTES, A, envelope, pace
from tests.virtual_time import passing

pytestmark = pytest.mark.processes

TABLE = """\
recorded from 2025-01-01T00:00:00.000000+00:00
  step          time  status      input: what came of it
         +0.000000 s  refetching  note:a stands here: holding nothing; joined
     1   +0.000000 s  stale       seed 0.1: shown
     2   +0.000000 s  stale       doubts from now on
     3   +0.000000 s  stale       asks, holding nothing
     4   +0.000000 s  ok          answer 0.2, asked holding nothing: shown; proven
     5   +1.000000 s  ok          live 0.3: shown
     6   +1.000000 s  ok          live 0.1: ignored as stale
     7   +2.000000 s  skew        live 0.6: refused: got a value that is no str: $: expected str, got int; need: a version was refused
     8   +2.000000 s  skew        doubts from now on
     9   +2.025000 s  skew        asks, holding 0.3
    10   +2.025000 s  skew        the ask failed: refetch raised OSError
    11   +2.050000 s  closed      closed
"""  # noqa: E501  # as it is printed
ROWS = TABLE.splitlines()


async def scene(path: Path) -> None:
    """A value that is no text, at a moment when nobody can be asked."""
    answers: list[Any] = [envelope(2, "the answer")]

    def refetch() -> Any:
        if not answers:
            raise OSError
        return answers.pop()

    bus = LossyBus()
    with Recorder(path) as recorder, synced(
        A, bus, seed=envelope(1), refetch=refetch, pace=pace(), stale_after_s=20.0, recorder=recorder
    ):
        await passing(1.0)
        bus.publish(KEY, envelope(3, "secret"))
        bus.publish(KEY, envelope(1))
        await passing(1.0)
        bus.publish(KEY, envelope(6, 5))
        await passing(0.05)


@pytest.fixture
def recording(shell: Shell) -> Path:
    path = shell.folder / "a.rec"
    run(lambda: scene(path), seed=None)
    return path


def test_the_table(shell: Shell, recording: Path) -> None:
    done = shell.run("replay", recording.name)
    assert (done.code, done.out, done.err) == (0, TABLE, "")
    assert shell.out("replay", recording.name) == TABLE.strip(), "the same again"


@pytest.mark.parametrize(
    ("words", "last"),
    [
        (["--until", "5"], 5),
        (["--until", "0"], 0),
        (["--until", "1.5s"], 6),
        (["--find", "status=skew"], 7),
        (["--find", "status=SKEW", "--until", "8"], 7),
        (["--find", "version=0.2"], 4),
        (["--find", "refused=nothing"], 0),
        (["--find", "refetch_failures=1"], 10),
        (["--find", "gate=parse"], 7),
        (["--key", KEY], 11),
    ],
)
def test_it_ends_where_it_is_told_to(shell: Shell, recording: Path, words: list[str], last: int) -> None:
    assert shell.out("replay", recording.name, *words).splitlines() == ROWS[: last + 3]


def test_values_are_shown_to_those_only_who_ask(shell: Shell, recording: Path) -> None:
    shown = shell.out("replay", recording.name, "--values")
    assert shown.splitlines()[7:10] == [
        '     5   +1.000000 s  ok          live 0.3 "secret": shown',
        '     6   +1.000000 s  ok          live 0.1 "0.1": ignored as stale',
        ROWS[9].replace("live 0.6", "live 0.6 5"),
    ]
    for words in ([], ["--json"]):
        assert "secret" not in shell.out("replay", recording.name, *words)


def test_for_programs_it_is_json(shell: Shell, recording: Path) -> None:
    steps = [json.loads(line) for line in shell.out("replay", recording.name, "--json", "--values").splitlines()]
    assert [step["step"] for step in steps] == [0, *range(1, 12)]
    assert [f"{step['status']:10}" for step in steps] == [row[22:32] for row in ROWS[2:]]
    live = steps[5]
    state = live.pop("state")
    assert live == {
        "step": 5, "time": "2025-01-01T00:00:01.000000+00:00", "at_s": live["at_s"], "key": KEY, "replica": 0, "input": "live",
        "came": "0.3", "gate": "good", "status": "ok", "reason": "", "shows": "0.3",
        "change": {"skipped": 0, "cause": "live", "deleted": False}, "value": "secret", "differs": [],
    }  # fmt: skip
    assert state["held"] == {"version": "0.3", "kind": 0, "schema": "1.0", "checksum": None}
    assert (state["applied"], state["refused"], state["current_until_s"]) == (2, None, "-inf")
    assert steps[7]["state"]["refused"]["version"] == "0.6"
    assert steps[10]["why"] == "refetch raised OSError"
    assert (steps[3]["asked_with"], steps[4]["asked_with"], steps[9]["asked_with"]) == (None, None, "0.3")


def test_several_replicas_are_told_apart(shell: Shell) -> None:
    path, bus = shell.folder / "b.rec", LossyBus()
    with Recorder(path) as recorder:
        replicas = [synced(NOTES[name], bus, recorder=recorder) for name in ("a", "b", "b")]
        bus.publish("note:a", envelope(1))
        bus.publish("note:b", envelope(1))
        for replica in replicas:
            replica.close()
    inputs = [row[34:] for row in shell.out("replay", "b.rec").splitlines()[2:]]
    assert inputs[:2] == ["note:a stands here: holding nothing; joined, and there is nobody to ask", "doubts from now on"]
    assert inputs[2].startswith("note:b #1 stands here")
    came = [line.partition(": shown")[0] for line in inputs if "live" in line]
    assert came == [f"note:{name}: live 0.1" for name in ("a #0", "b #1", "b #2")]
    assert "note:b" not in shell.out("replay", "b.rec", "--key", "note:a")


def test_a_step_that_differs_is_said_and_is_no_success(shell: Shell, recording: Path) -> None:
    """As if the rules of this version were other ones than those that recorded."""
    (shell.folder / "sitecustomize.py").write_text(
        "from parasync.protocol import Replica\nReplica.would_read = lambda *_: True\nReplica._is_refused = lambda *_: True\n"
    )
    shell.environment["PYTHONPATH"] = f"{shell.folder}:{shell.environment['PYTHONPATH']}"
    done = shell.run("replay", recording.name)
    assert done.code == 1
    rows = done.out.splitlines()
    assert rows[:7] == ROWS[:7]
    assert rows[7].startswith(ROWS[7].replace("ok          live 0.3: shown", "ok          live 0.3: ignored as stale; DIFFERS"))
    assert rows[7].endswith("from the recording: applied, ignored_stale, held")
    assert rows[8] == ROWS[8], "what follows goes on from what was recorded"
    assert "step 5 differs from what was recorded in applied, ignored_stale, held" in done.err


def test_the_types_of_today_can_read_again(shell: Shell, recording: Path) -> None:
    contract = "from parasync import Topic\nNOTES = Topic('note', int | str)\nOTHER = Topic('x', str)\n"
    (shell.folder / "contract.py").write_text(contract)
    done = shell.run("replay", recording.name, "--topic", "contract:NOTES", "--until", "7")
    assert done.code == 0
    row = done.out.splitlines()[9]
    assert row.startswith("     7   +2.000000 s  refetching  live 0.6: shown, skipped 2; a gap; need: a version was lost")
    assert "from the recording: applied, gaps, parse_errors, need_reason, held, refused, status" in done.out
    for name, expected in {
        "contract:OTHER": "got the topic 'x', expected 'note', of which 'note:a' is",
        "contract:Topic": "expected a Topic",
        "nowhere:A": "cannot be loaded (ModuleNotFoundError)",
        "contract": "cannot be loaded",
    }.items():
        done = shell.run("replay", recording.name, "--topic", name)
        assert (done.code, expected in done.err) == (2, True), done


def test_nothing_found_is_no_success(shell: Shell, recording: Path) -> None:
    done = shell.run("replay", recording.name, "--find", "status=lost")
    assert (done.code, done.out, done.err) == (1, TABLE, "parasync: no step leads to status=lost\n")
    done = shell.run("replay", recording.name, "--key", "note:x")
    assert (done.code, done.out, done.err) == (0, "", "parasync: no step to show\n")


def test_a_cut_file_and_a_damaged_one(shell: Shell, recording: Path) -> None:
    data = recording.read_bytes()
    last = [position for position, _ in read_file(recording)][-1]
    recording.write_bytes(data[:-3])
    done = shell.run("replay", recording.name)
    assert (done.code, done.out) == (0, "\n".join(ROWS[:-1]) + "\n")
    assert done.err == f"parasync: the file ends in the record at byte {last}: its process was killed, or still writes\n"
    recording.write_bytes(data[:-3] + b"???")
    done = shell.run("replay", recording.name)
    assert (done.code, done.out) == (2, "\n".join(ROWS[:-1]) + "\n")
    assert done.err == f"parasync: a.rec: got a damaged record at byte {last}, expected one whose checksum fits\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nowhere.rec"], "nowhere.rec: cannot be read (No such file or directory), expected a recording"),
        (["."], ".: cannot be read (Is a directory)"),
        (["a.rec", "--until", "soon"], "got 'soon', expected a step such as 812, or a time such as 12.5s"),
        (["a.rec", "--find", "colour=red"], "got 'colour=red', expected FIELD=VALUE with one of status, version"),
        (["a.rec", "--find", "status"], "got 'status', expected FIELD=VALUE"),
    ],
)
def test_what_cannot_be_replayed(shell: Shell, recording: Path, words: list[str], expected: str) -> None:
    assert recording.exists()
    done = shell.run("replay", *words)
    assert (done.code, done.out) == (2, "")
    assert expected in " ".join(done.err.split())


def test_one_step_at_a_time_on_a_terminal(shell: Shell, recording: Path) -> None:
    with terminal(shell, "replay", recording.name, "--step", "--values", "--find", "status=skew") as screen:
        screen.wait_for(r"stands here[\s\S]+ need_reason +joined[\s\S]+q quit")
        for typed, expected in (
            ("b", r"stands here[\s\S]+q quit"),
            ("5", r"live 0\.3 \"secret\"[\s\S]+\* applied +2 +was 1[\s\S]+value +\"secret\"[\s\S]+q quit"),
            ("", r"ignored as stale[\s\S]+q quit"),
            ("n", r"\* refused +0\.6 +was nothing[\s\S]+reason +got a value that is no str[\s\S]+q quit"),
            ("", "the last step +Enter next"),
            ("b", r"ignored as stale[\s\S]+q quit"),
            ("99", r"refused +0\.6 +was nothing[\s\S]+q quit"),
        ):
            screen.press(f"{typed}\r")
            screen.wait_for(expected)
        assert screen.end("q\r") == 0


def test_one_step_at_a_time_from_a_script(shell: Shell, recording: Path) -> None:
    shown = shell.run("replay", recording.name, "--step", stdin="7\nb\n").out
    titles = [line[34:] for line in shown.splitlines() if "+" in line]
    assert [title.partition(": ")[0] for title in titles] == ["note:a #0 stands here", *["note:a #0"] * 2]
    assert [title.split()[2] for title in titles] == ["stands", "live", "live"]
    assert " *" in shown
    assert "secret" not in shown
    assert shell.run("replay", recording.name, "--step", "--until", "-1").err == "parasync: no step to show\n"


def test_the_end_of_input_ends_it(shell: Shell, recording: Path) -> None:
    with terminal(shell, "replay", recording.name, "--step") as screen:
        screen.wait_for("q quit")
        assert screen.end("\x04") == 0


@pytest.mark.parametrize("how", [(), ("--json",), ("--step",)])
def test_it_ends_when_nobody_reads(shell: Shell, how: tuple[str, ...]) -> None:
    path, bus = shell.folder / "long.rec", LossyBus()
    with Recorder(path) as recorder, synced(A, bus, recorder=recorder):
        for sequence in range(1, 3_000):
            bus.publish(KEY, envelope(sequence))
    typed = "" if not how else "\n" * 3_000
    words = " ".join([sys.executable, "-m", "parasync", "replay", path.name, *how])
    script = f"set -o pipefail; {words} | head -n 1 >&2; exit $?"
    done = subprocess.run(["bash", "-c", script], cwd=shell.folder, env=shell.environment, input=typed.encode(), check=False)
    assert done.returncode == 141


def test_on_a_terminal_it_says_the_same(shell: Shell, recording: Path) -> None:
    with terminal(shell, "replay", recording.name) as screen:
        assert screen.process.wait(DEADLINE_S) == 0
        screen.wait_for(r"closed +closed")


def test_each_field_can_be_found(recording: Path) -> None:
    step = next(iter(Replay(recording)))
    assert all(fact_of(step, name) is not None for name in _FOUND_BY)
    assert fact_of(step, "colour") is None


@pytest.mark.parametrize(("body", "shown"), [(None, "(not recorded)"), (b"\xc1", "(1 bytes of another codec)"), (b"\x05", 5)])
def test_what_is_known_of_a_value(body: bytes | None, shown: object) -> None:
    assert value_of(body) == shown
