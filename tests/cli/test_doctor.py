"""`parasync top` and `parasync doctor`, against real processes in each of the states that they tell apart."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.cli.kit import DEADLINE_S, Running, Shell, terminal

pytestmark = [pytest.mark.nats, pytest.mark.processes]

OK, CONFLICT, UNANSWERED, UNREACHABLE, REFUSED, STALE = 0, 3, 4, 5, 6, 7


class Parties:
    """Starts processes on the bus of a shell, and ends them all."""

    def __init__(self, shell: Shell, stack: contextlib.ExitStack) -> None:
        self.shell = shell
        self._stack = stack

    def start(self, role: str, topic: str, schema: str = "1.0", *, ready: bool = True) -> Running:
        facts = self.shell.environment
        words = [sys.executable, "-m", "tests.cli.party", facts["PARASYNC_URL"], facts["PARASYNC_PREFIX"], role, topic, schema]
        running = Running(words, self.shell.folder, facts)
        self._stack.callback(running.kill)
        if ready:
            running.wait_for("ready")
        return running


@pytest.fixture
def parties(bus_shell: Shell) -> Iterator[Parties]:
    with contextlib.ExitStack() as stack:
        yield Parties(bus_shell, stack)


def examined(shell: Shell, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """The exit code of the doctor, and what it found."""
    done = shell.run("doctor", *arguments, "--json")
    assert done.err == "", done
    return done.code, [json.loads(line) for line in done.out.splitlines()]


def freeze(running: Running) -> None:
    """Stop a process as a debugger does, and return when it has stopped."""
    running.send(signal.SIGSTOP)
    os.waitid(os.P_PID, running.process.pid, os.WSTOPPED | os.WNOWAIT)


def test_nobody_is_there(bus_shell: Shell) -> None:
    assert examined(bus_shell) == (
        UNANSWERED,
        [{"kind": "silent", "topic": "", "process": "", "text": "nobody answers on this bus"}],
    )
    code, [finding] = examined(bus_shell, "config")
    assert (code, finding["topic"], finding["text"]) == (UNANSWERED, "config", "nobody serves or reads it")
    assert bus_shell.run("top").out == "nobody answers on this bus\n"


def test_all_is_well(parties: Parties) -> None:
    owner = parties.start("authority", "user")
    reader = parties.start("reader", "user", "1.3")
    assert examined(parties.shell) == (OK, [])
    assert parties.shell.out("doctor") == "all is well: 2 processes, 1 topic"
    rows = [json.loads(line) for line in parties.shell.out("top", "--once", "--json").splitlines()]
    assert [(row["role"], row["process"]["pid"]) for row in rows] == [
        ("authority", owner.process.pid),
        ("synced", reader.process.pid),
    ]
    assert {row["process"]["program"] for row in rows} == {"party.py"}
    assert rows[0]["epoch"] == rows[1]["epoch"] > 0
    assert (rows[0]["condition"], rows[0]["schema_version"]) == ("serving", "1.0")
    assert (rows[1]["accepts"], rows[1]["statuses"], rows[1]["objects"]) == ("1.3", {"ok": 1}, 1)
    assert rows[1]["counters"]["applied"] == 1
    assert parties.shell.out("top", "other") == "nobody answers on this bus"


def test_another_schema_major_is_refused(parties: Parties) -> None:
    parties.start("authority", "user", "2.0")
    old = parties.start("text", "user", "1.0")
    code, [finding] = examined(parties.shell)
    assert (code, finding["kind"]) == (REFUSED, "refused")
    assert f"[{old.process.pid}]" in finding["process"]
    assert "refuses 1 object of schema 2.0 (another schema major); it takes 1.0" in finding["text"]


def test_a_value_of_another_type_is_refused(parties: Parties) -> None:
    parties.start("authority", "user")
    parties.start("text", "user")
    code, [finding] = examined(parties.shell, "user")
    assert code == REFUSED
    assert "the value does not fit its type" in finding["text"]
    assert "user:1: " in finding["text"]
    assert "7" not in finding["text"].partition("user:1: ")[2], "no payload"


def test_the_authority_passes_on_who_refuses(parties: Parties) -> None:
    """Also of those who cannot be asked now."""
    owner = parties.start("authority", "user", "2.0")
    old = parties.start("text", "user", "1.0")
    owner.wait_for("refuse it, e.g. .*1 objects of schema 2.0", "err")
    freeze(old)
    code, [finding] = examined(parties.shell)
    assert code == REFUSED
    assert f"[{old.process.pid}]" in finding["process"]
    assert f"[{owner.process.pid}]" in finding["text"]
    assert "by 1 reader" in parties.shell.out("top")


def test_a_silent_authority(parties: Parties) -> None:
    owner = parties.start("authority", "user")
    parties.start("reader", "user")
    freeze(owner)
    code, findings = examined(parties.shell)
    assert code == UNANSWERED
    assert findings[0]["text"].startswith("no authority answers: none runs, or it hangs; a replica was proven ")
    owner.send(signal.SIGCONT)
    assert parties.shell.run("doctor").code == OK


def test_stale_though_somebody_serves(parties: Parties) -> None:
    parties.start("loading", "user")
    reader = parties.start("reader", "user", ready=False)
    code, findings = UNANSWERED, []
    while code == UNANSWERED or not any(each["kind"] == "stale" for each in findings):
        code, findings = examined(parties.shell)
    assert code == STALE
    assert f"[{reader.process.pid}]" in findings[0]["process"]
    assert "is still loading" in findings[0]["text"]
    assert findings[-1]["text"].startswith("the authority is loading")


def test_a_mirror_is_a_row(parties: Parties) -> None:
    parties.start("authority", "user")
    holder = parties.start("mirror", "user", "1.2")
    assert examined(parties.shell) == (OK, [])
    [_, row] = [json.loads(line) for line in parties.shell.out("top", "--once", "--json").splitlines()]
    assert (row["role"], row["process"]["pid"], row["condition"]) == ("mirror", holder.process.pid, "ok")
    assert (row["accepts"], row["objects"], row["statuses"], row["keys"]) == ("1.2", 1, {"ok": 1}, [])
    assert row["counters"]["applied"] == 1
    assert row["age_s"] < DEADLINE_S
    assert re.search(r"user +mirror +party.py\S* +1 +1\.2 .* ok", parties.shell.out("top"))


def test_a_mirror_that_refuses_a_version(parties: Parties) -> None:
    owner = parties.start("authority", "user", "2.0")
    old = parties.start("mirror", "user", "1.0")
    code, [finding] = examined(parties.shell)
    assert (code, finding["kind"]) == (REFUSED, "refused")
    assert f"[{old.process.pid}]" in finding["process"]
    assert "refuses 1 object of schema 2.0 (another schema major); it takes 1.0; user:1: " in finding["text"]
    owner.wait_for("refuse it, e.g. .*1 objects of schema 2.0", "err")
    freeze(old)
    assert "by 1 reader" in parties.shell.out("top"), "it told its authority"


def test_a_mirror_that_is_stale(parties: Parties) -> None:
    parties.start("loading", "user")
    holder = parties.start("mirror", "user", ready=False)
    holder.wait_for("loads")
    code, findings = UNANSWERED, []
    while code == UNANSWERED or not any(each["kind"] == "stale" for each in findings):
        code, findings = examined(parties.shell)
    assert code == STALE
    assert f"[{holder.process.pid}]" in findings[0]["process"]
    assert findings[0]["text"].startswith("its mirror is stale, never proven; user: ")
    assert "is still loading" in findings[0]["text"]


def test_one_version_with_two_contents(parties: Parties) -> None:
    parties.start("authority", "user")
    parties.start("reader", "user")
    parties.start("rogue", "user")
    code, [finding] = examined(parties.shell)
    assert (code, finding["kind"]) == (CONFLICT, "conflict")
    assert "one version with two contents" in finding["text"]


def test_no_bus(shell: Shell) -> None:
    for name in ("top", "doctor"):
        done = shell.run(name, "--url", "nats://127.0.0.1:1")
        assert done.code == UNREACHABLE
        assert "nobody listens there" in done.err


def test_what_is_no_topic_is_refused(bus_shell: Shell) -> None:
    for name in ("top", "doctor"):
        assert bus_shell.run(name, "a:b").code == 2
        assert "at most 256" in bus_shell.run(name, *(f"t{number}" for number in range(257))).err


def test_a_live_table(parties: Parties) -> None:
    parties.start("authority", "user", "2.0")
    parties.start("text", "user")
    shell = parties.shell
    with terminal(shell, "top", "--interval", "0.1") as drawn:
        drawn.wait_for("topic +role +process")
        drawn.wait_for("user +authority .*serving")
        drawn.wait_for(r"user +synced .*2\.0: 1")
        drawn.process.send_signal(signal.SIGINT)
        assert drawn.process.wait(DEADLINE_S) == OK


def test_lines_for_programs_go_on(parties: Parties) -> None:
    with parties.shell.running("top", "--json", "--interval", "0.1", "--spread", "0.01") as looking:
        parties.start("authority", "user")
        looking.wait_for(r'"role":"authority"|"role": "authority"')
        parties.start("reader", "user")
        looking.wait_for(r'"role":"synced"|"role": "synced"')
        assert looking.end() == OK
