"""What the tests of the command line share: commands as a shell would run them, with deadlines instead of pauses."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

DEADLINE_S = 60.0
ROOT = Path(__file__).parents[2]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a shell that knows nothing of other tests; `home` holds the notes of its servers."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PARASYNC", "PYTEST", "COV_"))}
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return kept | {
        "XDG_RUNTIME_DIR": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        **more,
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "parasync", *arguments]


class Shell:
    """Runs commands in one folder and environment.

    Args:
        folder: the working folder.
        variables: what the environment has besides.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.environment = environment(folder / "runtime", **variables)

    def run(self, *arguments: str, stdin: str | bytes = b"") -> Done:
        """Run a command to its end."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        facts = {"cwd": self.folder, "env": self.environment, "timeout": DEADLINE_S}
        done = subprocess.run(command(*arguments), input=data, capture_output=True, check=False, **facts)
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def out(self, *arguments: str, stdin: str | bytes = b"") -> str:
        """What a command prints that must succeed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.code == 0, done
        return done.out.strip()

    @contextmanager
    def running(self, *arguments: str, variables: Mapping[str, str] | None = None) -> Iterator[Running]:
        """A command that goes on; it is killed at the end, if it has not ended."""
        running = Running(command(*arguments), self.folder, self.environment | dict(variables or {}))
        try:
            yield running
        finally:
            running.kill()


class Running:
    """A command that runs, and what it has printed so far."""

    def __init__(self, words: list[str], folder: Path, variables: dict[str, str], stdin: str = "") -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, cwd=folder, env=variables, stdin=pipe, stdout=pipe, stderr=pipe)
        assert self.process.stdin is not None
        self.process.stdin.write(stdin.encode())
        self.process.stdin.close()
        self._printed: dict[str, str] = {"out": "", "err": ""}
        self._more = threading.Condition()
        pipes = {"out": self.process.stdout, "err": self.process.stderr}
        self._readers = [threading.Thread(target=self._read, args=(name, pipe)) for name, pipe in pipes.items()]
        for reader in self._readers:
            reader.start()

    @property
    def out(self) -> str:
        """What it has printed on standard output."""
        return self._printed["out"]

    @property
    def err(self) -> str:
        """What it has printed on standard error."""
        return self._printed["err"]

    def _read(self, name: str, pipe: IO[bytes] | None) -> None:
        assert pipe is not None
        while data := os.read(pipe.fileno(), 65_536):
            with self._more:
                self._printed[name] += data.decode()
                self._more.notify_all()
        with self._more:
            self._more.notify_all()

    def wait_for(self, pattern: str, where: str = "out") -> re.Match[str]:
        """Wait until it has printed this; each part of what it prints is found once."""
        found: re.Match[str] | None = None

        def look() -> bool:
            nonlocal found
            found = re.search(pattern, self._printed[where], re.MULTILINE)
            return found is not None or not any(reader.is_alive() for reader in self._readers)

        with self._more:
            self._more.wait_for(look, DEADLINE_S)
            if found is None:
                raise AssertionError(f"never printed {pattern!r} on std{where}; out:\n{self.out}\nerr:\n{self.err}")
            self._printed[where] = self._printed[where][found.end() :]
            return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals | None = signal.SIGINT) -> int:
        """Press Ctrl-C, or send another signal or none, and wait for the end; returns the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        return code

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        for reader in self._readers:
            reader.join(DEADLINE_S)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


class Terminal:
    """A command on a terminal of its own; keeps everything that it draws."""

    def __init__(self, shell: Shell, *arguments: str, kind: str) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 100, 0, 0))
        variables = {name: text for name, text in shell.environment.items() if name not in ("COLUMNS", "NO_COLOR")}
        self.process = subprocess.Popen(
            command(*arguments), cwd=shell.folder, env=variables | {"TERM": kind}, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self._ours = ours
        self._drawn = ""
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._ours, 65_536):
                with self._more:
                    self._drawn += data.decode(errors="replace")
                    self._more.notify_all()

    @property
    def text(self) -> str:
        """What was drawn, without colours and movements."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._drawn)

    def wait_for(self, pattern: str) -> None:
        """Wait until something has been drawn since this was asked last."""
        with self._more:
            assert self._more.wait_for(lambda: re.search(pattern, self.text), DEADLINE_S), self.text
            self._drawn = ""

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self, keys: str = "\x03") -> int:
        """Press Ctrl-C, or something else, and wait for the end; returns the exit code."""
        self.press(keys)
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        os.close(self._ours)


@contextmanager
def terminal(shell: Shell, *arguments: str, kind: str = "xterm") -> Iterator[Terminal]:
    """A command on a terminal; it is killed at the end, if it has not ended."""
    opened = Terminal(shell, *arguments, kind=kind)
    try:
        yield opened
    finally:
        opened.close()
