"""The demonstration itself: it holds its promises, says so, and leaves nothing behind, however it ends."""

from __future__ import annotations

import io
import json
import math
import signal
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from parasync.cli.demo._scene import Copy, Scene
from parasync.cli.demo._stage import scene_table, show_verdict
from parasync.cli.demo._verdict import Books, Finding, judge
from tests.cli.demo.test_verdict import good
from tests.cli.kit import DEADLINE_S, Running, Shell

pytestmark = [pytest.mark.nats, pytest.mark.processes]


@pytest.fixture
def stage(shell: Shell) -> Shell:
    """A shell whose temporary files are in a folder of its own."""
    shell.environment["TMPDIR"] = str(shell.folder / "temporary")
    (shell.folder / "temporary").mkdir()
    return shell


def left_behind(shell: Shell) -> list[Path]:
    return [path for path in (shell.folder / "temporary").iterdir() if path.name.startswith("parasync-")]


def staff(running: Running) -> list[psutil.Process]:
    return psutil.Process(running.process.pid).children(recursive=True)


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=DEADLINE_S)
    return not alive


def test_every_promise_holds_and_the_exit_code_says_so(stage: Shell) -> None:
    with stage.running("demo", "--plain", "--seconds", "6", "--seed", "11") as running:
        running.wait_for("every replica says OK")
        running.wait_for("kill -9 the NATS server")
        running.wait_for("replica [123] says STALE: there is no connection")
        running.wait_for("healed")
        running.wait_for("kill -9 the authority: what it knew is gone")
        # By the silence of its beats, or by an ask that nobody answers, whichever comes first.
        running.wait_for("replica [123] says STALE: (nobody serves|not proven for more than)")
        running.wait_for("healed")
        running.wait_for("replica [123] says SKEW: got schema major 2, expected 1")
        running.wait_for("is deployed anew")
        running.wait_for("healed")
        processes = staff(running)
        assert running.end(None) == 0
        running.wait_for(r"^promise +kept +checked on")
        assert running.out.count("  yes  ") == 11
        assert "NO" not in running.out
        facts = r"\d+ versions written, [\d,]+ steps shown by 4 replica processes \(seed 11\)"
        running.wait_for(rf"^VERDICT: every promise held; {facts}$")
        assert running.err == ""
    assert gone(processes)
    assert left_behind(stage) == []


def test_a_replica_that_dies_breaks_promises_and_the_books_are_kept(stage: Shell) -> None:
    with stage.running("demo", "--plain", "--seconds", "4") as running:
        running.wait_for("every replica says OK")
        replica = next(process for process in staff(running) if "copier" in process.cmdline())
        replica.kill()
        running.wait_for("replica . 1 has ended by itself")
        assert running.end(None) == 1
        running.wait_for("^VERDICT: .* promises broken")
        (folder,) = [path for path in left_behind(stage) if "parasync-demo-" in path.name]
        assert str(folder) in running.err
        assert len(list(folder.glob("copier-*.jsonl"))) >= 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_nothing_is_left_behind_however_it_ends(stage: Shell, number: signal.Signals, code: int) -> None:
    with stage.running("demo", "--plain", "--seconds", "60") as running:
        running.wait_for("one authority process, 3 replica processes")
        running.wait_for("every replica says OK")
        processes = staff(running)
        assert len(processes) == 5
        assert running.end(number) == code
        assert "Traceback" not in running.err
        assert "VERDICT" not in running.out
    assert gone(processes)
    if number is not signal.SIGKILL:
        assert left_behind(stage) == []


def test_what_is_out_of_range_is_2(shell: Shell) -> None:
    assert shell.run("demo", "--seconds", "1").code == 2


def drawn(scene: Scene, width: int = 120, height: int = 30) -> list[str]:
    console = Console(record=True, width=width, height=height, file=io.StringIO())
    console.print(scene_table(scene, console))
    return console.export_text().splitlines()


def replica(status: str, place: tuple[int, int] | None, value: object) -> dict[str, object]:
    stats = {"gaps": 1, "refetches": 2, "schema_skews": 3, "resets": 4}
    reason = "" if status == "ok" else "why \x1b[31m"
    return {"status": status, "place": place, "age_s": 0.5, "reason": reason, "value": value, "stats": stats}


def test_the_table_shows_how_each_replica_is() -> None:
    load = {"cpu_percent": 12.0, "memory_percent": 34.0}
    old = {"name": "nginx", "cpu_percent": 56.0}
    new = {"name": "nginx", "usage": {"cpu_percent": 78.0}}
    copies = (Copy("replica 1"), Copy("replica 2"), Copy("replica 3"))
    scene = Scene(copies)
    scene.owner_heard({"newest": {"load": [7, 1]}})
    scene.owner_heard({"newest": {"load": [9, 12]}})
    copies[0].heard({"replicas": {"load": replica("ok", (9, 10), load), "process:1": replica("ok", (9, 1), new)}})
    copies[1].heard({"replicas": {"load": replica("ok", (7, 1), load), "process:1": replica("skew", (9, 1), old)}})
    scene.log.append((1.25, "kill -9 the NATS server"))
    lines = drawn(scene)
    rows = {line[:9]: line.split() for line in lines if line.startswith("replica ") and ":" not in line[:10]}
    assert " ".join(rows["replica 1"][2:]) == "ok 2.10 2 0.5s 2 4 6 cpu 12 %, memory 34 %, nginx 78 %"
    assert " ".join(rows["replica 2"][2:]) == "skew 1.1 ? 0.5s 2 4 6 cpu 12 %, memory 34 %, nginx 56 %"
    assert rows["replica 3"][2:] == ["starting"]
    assert any("1.2 s  kill -9 the NATS server" in line for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "replica 2: why \\u001b[31m" in "".join(lines)


@pytest.mark.parametrize(("width", "height"), [(40, 10), (60, 14), (80, 24), (200, 50)])
def test_a_small_window_shows_what_happened_last(width: int, height: int) -> None:
    scene = Scene(tuple(Copy(f"replica {number}") for number in (1, 2, 3)), server="running")
    scene.owner_heard({"newest": {"load": [7, 1]}})
    for copy in scene.copies:
        copy.heard({"replicas": {"load": replica("stale", (7, 1), {"cpu_percent": 12.0, "memory_percent": 34.0})}})
    for number in range(20):
        scene.log.append((float(number), f"something happened, and it takes some words to tell what it was, number {number}"))
    lines = drawn(scene, width, height)
    assert len(lines) <= height
    assert "number 19" in " ".join(" ".join(lines).split())
    assert sum("stale" in line for line in lines) == 3


def test_before_the_first_value_there_is_no_age() -> None:
    scene = Scene((Copy("replica 1"),), server="running", owner="running")
    nothing = json.loads(json.dumps(replica("stale", None, None) | {"age_s": math.inf}))
    scene.copies[0].heard({"replicas": {"load": nothing}})
    assert next(line.split()[2:6] for line in drawn(scene) if line.startswith("replica 1 ")) == ["stale", "-", "?", "-"]


def test_news_is_what_a_replica_says_differently() -> None:
    copy, news = Copy("replica 1"), []
    copy.news = news.append
    for status in ("stale", "ok", "refetching", "ok", "stale", "stale", "ok"):
        copy.heard({"replicas": {"load": replica(status, (1, 1), None)}})
    assert news == ["replica 1 says OK", "replica 1 says STALE: why \x1b[31m", "replica 1 says OK"]
    assert copy.has_said("stale", ("load",))
    copy.forget()
    assert not copy.has_said("stale", ("load",))


@pytest.mark.parametrize("kept", [True, False])
def test_the_last_line_is_the_verdict(kept: bool) -> None:
    books: Books = good()
    findings = judge(books) if kept else [Finding("never backwards", False, "5 steps", "from 2 to 1")]
    console = Console(record=True, width=80, file=io.StringIO())
    show_verdict(findings, books, 5, console)
    lines = console.export_text().strip().splitlines()
    assert lines[-1].startswith("VERDICT: every promise held;" if kept else "VERDICT: 1 of 1 promises broken;")
    assert kept or "broken: never backwards: from 2 to 1" in lines
