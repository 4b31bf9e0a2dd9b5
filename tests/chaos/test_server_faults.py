"""A server that is killed or hung again and again, while one process writes and three copy: nobody is ever wrong."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Self

import pytest

from parasync.transports._nats_process import NatsServer

CYCLES = 10
COPIES = 3
RATE = 200.0
DEADLINE_S = 60.0


class Process:
    """A worker, spoken to by lines."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker", *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def send(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def hear(self) -> dict:
        line = self._lines.get(timeout=DEADLINE_S)
        assert line, f"a worker ended with code {self.process.wait(DEADLINE_S)}"
        return json.loads(line)

    def ask(self, command: str) -> dict:
        self.send(command)
        return self.hear()

    def end(self) -> None:
        if self.process.poll() is None:
            self.send("end")
        assert self.process.wait(DEADLINE_S) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


def violations(written: Path, shown: Path) -> list[str]:
    """What a copy did that it must not do, from the two records alone."""
    truth = {(key, epoch, sequence): number for key, epoch, sequence, number in records(written)}
    found = []
    newest: dict[str, tuple[int, int]] = {}
    for key, epoch, sequence, number in records(shown):
        if (epoch, sequence) <= newest.get(key, (-1, -1)):
            found.append(f"{key} went from {newest[key]} back to {(epoch, sequence)}")
        newest[key] = (epoch, sequence)
        if truth.get((key, epoch, sequence), "never") != number:
            found.append(f"{key} showed {number} at {(epoch, sequence)}, which was never written there")
    return found


def records(path: Path) -> list[list]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.nats
@pytest.mark.processes
def test_ten_kills_and_ten_hangs_leave_no_violation(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    faults = ["kill", "hang"] * CYCLES
    random.Random(seed).shuffle(faults)
    written = tmp_path / "written"
    shown = [tmp_path / f"shown-{number}" for number in range(COPIES)]
    with NatsServer() as server, Process("write", server.url, str(written), str(seed), str(RATE)) as writer:
        assert writer.hear() == {"ready": True}
        copies = [Process("copy", server.url, str(path)) for path in shown]
        try:
            for copy in copies:
                assert copy.hear() == {"ready": True}
            for fault in faults:
                if fault == "kill":
                    server.kill()
                else:
                    server.freeze()
                # The writer goes on without the server: 100 writes are half a second.
                assert writer.ask("more 100")["count"] >= 100
                if fault == "kill":
                    server.restart()
                else:
                    server.thaw()
                healed = writer.ask("more 1")["count"]
                for copy in copies:
                    copy.send(f"reach {healed}")
                for copy in copies:
                    assert copy.hear() == {"reached": healed}
            final = writer.ask("stop")
            ends = []
            for copy in copies:
                copy.send(f"final {json.dumps(final['final'])}")
            for copy in copies:
                ends.append(copy.hear())
            for copy in copies:
                copy.end()
            writer.end()
        finally:
            for copy in copies:
                copy.__exit__()
    found = [violation for path in shown for violation in violations(written, path)]
    behind = [
        f"{key} ended at {version}, {status}"
        for end in ends
        for key, (version, status) in end["shown"].items()
        if version != final["final"][key] or status != "ok"
    ]
    print(f"{len(faults)} faults, {final['count']} writes, {sum(len(records(path)) for path in shown)} steps shown")
    print(f"violations: {len(found) + len(behind)}")
    assert found + behind == []
    assert final["count"] >= 100 * len(faults)


def test_the_judge_sees_what_is_wrong(tmp_path: Path) -> None:
    written, shown = tmp_path / "written", tmp_path / "shown"
    written.write_text('["k", 5, 1, 10]\n["k", 5, 2, 11]\n')
    shown.write_text('["k", 5, 2, 11]\n["k", 5, 1, 10]\n["k", 5, 3, 12]\n["k", 6, 1, 10]\n')
    assert len(violations(written, shown)) == 3
