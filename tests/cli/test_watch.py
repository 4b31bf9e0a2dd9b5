"""`parasync watch`: lines for programs and for people, and a table on a real terminal."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from parasync.transports._nats_process import NatsServer
from tests.cli.kit import DEADLINE_S, Running, Shell, command, terminal

pytestmark = [pytest.mark.nats, pytest.mark.processes]


def event(watching: Running, what: str, key: str, **facts: Any) -> dict[str, Any]:
    """Wait for a line of JSON that says this."""
    while True:
        found: dict[str, Any] = json.loads(watching.wait_for(r"^\{.*\}$")[0])
        if found["event"] == what and found["key"] == key and all(found.get(name) == value for name, value in facts.items()):
            return found


def test_a_pattern_shows_what_is_there_what_changes_what_comes_and_what_goes(bus_shell: Shell, conf: Path) -> None:
    with contextlib.ExitStack() as stack:
        serving = stack.enter_context(bus_shell.running("serve", "conf"))
        serving.wait_for("serving 3 objects", "err")
        watching = stack.enter_context(bus_shell.running("watch", "config:*", "--json"))
        first = {}
        while set(first) != {"config:db", "config:eu:web"}:
            found = json.loads(watching.wait_for(r"^\{.*\"value\".*\}$")[0])
            first[found["key"]] = found
        assert first["config:db"]["value"] == {"host": "db1"}
        assert first["config:db"]["version"].endswith(".1")

        (conf / "config" / "db.json").write_text("2")
        assert event(watching, "value", "config:db", value=2)["skipped"] == 0
        (conf / "config" / "new.json").write_text("3")
        assert event(watching, "value", "config:new")["value"] == 3
        (conf / "config" / "db.json").unlink()
        assert event(watching, "deleted", "config:db")["version"].endswith(".3")
        (conf / "config" / "db.json").write_text("4")
        assert event(watching, "value", "config:db")["value"] == 4
        assert watching.end() == 0
        assert watching.err == ""
        assert "limits" not in watching.out
        assert serving.end() == 0


def test_one_key_is_followed_through_restarts_of_everything(tmp_path: Path, conf: Path) -> None:
    with NatsServer() as server:
        shell = Shell(tmp_path, PARASYNC_URL=server.url)
        with shell.running("watch", "config:db", "--json") as watching:
            assert "nobody serves" in event(watching, "status", "config:db", status="stale")["reason"]
            with shell.running("serve", "conf"):
                event(watching, "value", "config:db", value={"host": "db1"})
                event(watching, "status", "config:db", status="ok")
                server.kill()
                event(watching, "status", "config:db", status="stale")
                (conf / "config" / "db.json").write_text('"while the server was dead"')
                server.start()
                event(watching, "value", "config:db", value="while the server was dead")
                event(watching, "status", "config:db", status="ok")
            event(watching, "status", "config:db", status="stale")
            (conf / "config" / "db.json").write_text('"while nobody served"')
            with shell.running("serve", "conf"):
                found = event(watching, "value", "config:db", value="while nobody served")
                assert found["skipped"] is None, "another life of the authority: nobody knows"
                event(watching, "status", "config:db", status="ok")
            assert watching.end() == 0
            assert "Traceback" not in watching.err


def test_an_object_that_does_not_exist_is_told(bus_shell: Shell, conf: Path) -> None:
    with bus_shell.running("serve", "conf") as serving:
        serving.wait_for("serving 3 objects", "err")
        with bus_shell.running("watch", "config:none", "--json") as watching:
            event(watching, "absent", "config:none")
            (conf / "config" / "none.json").write_text("1")
            event(watching, "value", "config:none", value=1)
            assert watching.end() == 0


def test_in_a_pipe_it_prints_lines(bus_shell: Shell, conf: Path) -> None:
    (conf / "config" / "db.json").write_text('"\\u001b[31m"')
    with bus_shell.running("watch", "config:*") as watching:
        watching.wait_for("parasync: nobody serves the topic 'config'", "err")
        with bus_shell.running("serve", "conf"):
            watching.wait_for(r'^value    config:db \d+\.1 "\\u001b\[31m"$')
            watching.wait_for(r"^ok       config:db$")
            (conf / "config" / "db.json").unlink()
            watching.wait_for(r"^deleted  config:db \d+\.2$")
        assert watching.end() == 0


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_it_ends_when_nobody_reads_though_nothing_changes(bus_shell: Shell, conf: Path, how: tuple[str, ...]) -> None:
    with bus_shell.running("serve", "conf") as serving:
        serving.wait_for("serving 3 objects", "err")
        process = subprocess.Popen(
            command("watch", "config:db", *how), cwd=bus_shell.folder, env=bus_shell.environment, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        while b"ok" not in process.stdout.readline():
            pass
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 141
        assert serving.end() == 0


def test_on_a_terminal_it_draws_a_table(bus_shell: Shell, conf: Path) -> None:
    with bus_shell.running("serve", "conf") as serving:
        serving.wait_for("serving 3 objects", "err")
        # A Ctrl-C reaches a process by its controlling terminal; here it is a plain byte, so it is sent as a signal.
        with terminal(bus_shell, "watch", "config:*") as screen:
            screen.wait_for(r"config:\* at 127.0.0.1:\d+   Ctrl-C ends(.|\r|\n)*key +version +age +status +changes +value")
            screen.wait_for(r'config:db +…\d+\.1 +\d\.\ds +ok +1 +\{"host": "db1"\}')
            (conf / "config" / "db.json").write_text('"' + "long " * 50 + '"')
            screen.wait_for(r'config:db +…\d+\.2 +\d\.\ds +ok +2 +"long long [long ]*…')
            (conf / "config" / "db.json").unlink()
            screen.wait_for(r"config:db +…\d+\.3 +.* deleted")
            serving.kill()
            screen.wait_for(r"stale(.|\r|\n)*nobody serves the topic 'config'")
            screen.process.send_signal(2)
            assert screen.process.wait(DEADLINE_S) == 0


def test_a_terminal_that_nothing_can_be_drawn_upon_gets_lines(bus_shell: Shell, conf: Path) -> None:
    with bus_shell.running("serve", "conf") as serving:
        serving.wait_for("serving 3 objects", "err")
        with terminal(bus_shell, "watch", "config:db", kind="dumb") as screen:
            screen.wait_for(r'value    config:db \d+\.1 \{"host": "db1"\}')
            screen.process.send_signal(2)
            assert screen.process.wait(DEADLINE_S) == 0
