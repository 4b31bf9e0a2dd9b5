"""Reads the pages of the documentation, and runs what they show.

On a page, in its order:

* a `python` block runs in the module of its page, with `await` at the top level; the blocks of a page continue each other;
* a block of any language with a caption is a file of that name, which the page's programs find beside them;
* a `console` block is typed into a shell, line by line after `$ `; a command with `# keeps running` stays until the page ends;
* a `text` block after a `python` block, and what stands below a command, is what has been printed; `...` stands for anything;
* `json`, `toml` and `yaml` blocks are parsed; `sh` blocks are the commands that set something up, tried elsewhere.

There is no mark to leave a block out. Where a page names the usual port of a NATS server, a real one runs at another port; the
page's own if it starts one.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import importlib.metadata
import inspect
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import tomllib
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
USUAL_PORT = re.compile(r"(?<=127\.0\.0\.1:)4222|(?<=--port )4222")
PATIENCE_S = 60.0
RUNS_ON = "# keeps running"
WARNINGS = "error,default:The configuration option"
"""Warnings are errors; but a pytest without a configuration of its own may be told by a plugin that it has none."""
LANGUAGES = frozenset({"python", "console", "text", "json", "toml", "yaml", "sh", "http"})

_FENCE = re.compile(
    r"^```(?:\{code-block\} *)?(?P<language>\w+)\n(?P<options>(?::\w+:[^\n]*\n)*)(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """One fenced block of a page."""

    language: str
    caption: str
    text: str
    line: int


def pages() -> list[Path]:
    """Every page of the documentation, and the README."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page that have a language; directives are not blocks."""
    text = page.read_text()
    return [
        Block(
            found["language"],
            (re.search(r":caption: *(.*)", found["options"]) or ["", ""])[1].strip(),
            found["text"],
            text.count("\n", 0, found.start("text")) + 1,
        )
        for found in _FENCE.finditer(text)
    ]


def prints(expected: str, printed: str) -> bool:
    """Whether a text was printed, where `...` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in re.split(r"\.\.\.", expected.strip()))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


class Page:
    """One page that is being run, in a folder of its own."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.module = types.ModuleType(f"page_{page.stem.replace('-', '_').lower()}")
        self.runner = asyncio.Runner()
        self.running: list[Background] = []
        self.port = ""
        self.printed: str | None = None
        self.exported: dict[str, str] = {}
        self.on_exit = contextlib.ExitStack()

    def blocks(self) -> list[Block]:
        """What the page shows."""
        return blocks_of(self.page)

    def run(self) -> None:
        """Run the page from its beginning to its end."""
        with self.on_exit:
            self.on_exit.callback(self._leave, Path.cwd(), list(sys.path))
            os.chdir(self.folder)
            sys.path.insert(0, str(self.folder))
            sys.modules[self.module.__name__] = self.module
            if shutil.which("parasync", path=environment({})["PATH"]) is None:
                self.exported["PATH"] = f"{program_of(self.folder)}{os.pathsep}{environment({})['PATH']}"
            blocks = self.blocks()
            if any("$ nats-server" in block.text for block in blocks):
                self.port = free_port()
            elif any(USUAL_PORT.search(block.text) for block in blocks):
                self.port = self.on_exit.enter_context(nats_server(self.folder))
            for block in blocks:
                self._run(block._replace(text=USUAL_PORT.sub(self.port, block.text)))

    def _leave(self, cwd: Path, path: list[str]) -> None:
        self.runner.close()
        for process in self.running:
            process.stop()
        os.chdir(cwd)
        sys.path[:] = path
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(self.folder)) or module is self.module:
                del sys.modules[name]

    def _run(self, block: Block) -> None:
        where = f"{self.page.relative_to(ROOT)}:{block.line}"
        if block.caption:
            target = self.folder / block.caption
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text)
        if block.language == "text":
            if self.printed is not None and not prints(block.text, self.printed):
                raise AssertionError(f"{where}: expected\n{block.text}\nbut this was printed:\n{self.printed}")
            self.printed = None
        elif block.language == "python" and not block.caption:
            self.printed = self._execute(block)
        elif block.language == "console":
            for command, expected in commands_of(block.text):
                self._type(where, command, expected)
        elif block.language in _PARSERS:
            _PARSERS[block.language](block.text)

    def _execute(self, block: Block) -> str:
        """Run Python at the lines where it stands, so that a traceback leads to the page."""
        source = "\n" * (block.line - 1) + block.text
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, str(self.page), "exec", flags)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            if code.co_flags & inspect.CO_COROUTINE:
                self.runner.run(_awaited(code, vars(self.module)))
            else:
                exec(code, vars(self.module))
        return printed.getvalue()

    def _type(self, where: str, command: str, expected: str) -> None:
        if command.startswith("export "):
            name, _, text = command.removeprefix("export ").partition("=")
            self.exported[name] = text
            return
        if command.endswith(RUNS_ON):
            process = Background(command.removesuffix(RUNS_ON), self.folder, self.exported)
            self.running.append(process)
            if expected.strip():
                process.wait_for(expected, where)
            return
        shell = {"cwd": self.folder, "env": environment(self.exported), "timeout": PATIENCE_S}
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, **shell)
        if done.returncode or not prints(expected, done.stdout):
            printed = f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
            raise AssertionError(f"{where}: {command}\nexpected\n{expected}\nbut got {printed}")


class Background:
    """A command that runs until its page ends."""

    def __init__(self, command: str, folder: Path, exported: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=folder,
            env=environment(exported),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._printed = ""
        self._ended = False
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()

    def _read(self, pipe: IO[str]) -> None:
        for line in pipe:
            with self._more:
                self._printed += line
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()

    def wait_for(self, expected: str, where: str) -> str:
        """Return all that the command has printed when this is the beginning of it."""
        with self._more:
            wanted = expected.rstrip() + "..."
            self._more.wait_for(lambda: self._ended or prints(wanted, self._printed), PATIENCE_S)
            if not prints(wanted, self._printed):
                raise AssertionError(f"{where}: expected\n{expected}\nbut this was printed:\n{self._printed}")
            return self._printed

    def stop(self) -> None:
        """Press Ctrl-C, and wait until it has ended."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join()
            if self._process.stdout is not None:
                self._process.stdout.close()


async def _awaited(code: types.CodeType, namespace: dict[str, object]) -> None:
    await types.FunctionType(code, namespace)()


def commands_of(text: str) -> list[tuple[str, str]]:
    """The commands of a console block, each with what stands below it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].strip(), ""))
        elif found:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def environment(exported: Mapping[str, str]) -> dict[str, str]:
    """What a reader's shell has: the programs of this Python, this parasync, what was exported, and nothing of the tests."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "COV_", "PARASYNC"))}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    ours = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": WARNINGS, "NO_COLOR": "1", "COLUMNS": "120"}
    return kept | ours | plugin() | exported


def plugin() -> dict[str, str]:
    """What lets pytest find our plugin where the package is used without having been installed."""
    found = importlib.metadata.entry_points(group="pytest11")
    return {} if "parasync.pytest_plugin" in found.names else {"PYTEST_PLUGINS": "parasync.pytest_plugin"}


def program_of(folder: Path) -> Path:
    """A folder with the command `parasync`, for where the package is used without having been installed."""
    programs = folder / ".programs"
    programs.mkdir()
    program = programs / "parasync"
    program.write_text('#!/bin/sh\nexec python -m parasync "$@"\n')
    program.chmod(0o755)
    return programs


def free_port() -> str:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


@contextlib.contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    """A real server; yields its port."""
    server = Background("nats-server -a 127.0.0.1 -p -1", folder, {})
    try:
        printed = server.wait_for("...Server is ready", "the server of a page")
        yield re.findall(r"client connections on 127\.0\.0\.1:(\d+)", printed)[0]
    finally:
        server.stop()


_PARSERS = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
