"""The program around its commands: what a newcomer sees first, and what is said when something is missing or broken."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

import parasync
from parasync.cli._main import _MODULES, program
from tests.cli.kit import DEADLINE_S, Running, Shell, command

pytestmark = pytest.mark.processes


def test_it_tells_its_version(shell: Shell) -> None:
    assert shell.out("--version") == f"parasync {parasync.__version__}"


def test_without_words_it_shows_what_there_is(shell: Shell) -> None:
    done = shell.run()
    assert done.code == 2
    for text in (done.err, shell.out("-h")):
        listed = [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line.split()[0] in _MODULES]
        expected = "demo serve watch get put delete ls mirror top doctor simulate replay"
        assert listed == expected.split()
        assert "Begin with: parasync demo" in text


@pytest.mark.parametrize("name", list(_MODULES))
def test_the_help_of_each_command_ends_with_examples(name: str) -> None:
    context = program.make_context("parasync", [name])
    found = program.get_command(context, name)
    assert found is not None
    text = found.get_help(found.context_class(found, info_name=name, parent=context))
    head, _, examples = text.partition("Examples:\n")
    assert examples.count(f"  $ parasync {name}") >= 2
    assert head.count("--help") == 1
    assert (name in ("demo", "simulate", "replay")) == ("--url" not in head)
    assert all(len(line) <= 130 for line in text.splitlines())


def in_python(shell: Shell, code: str) -> Running:
    return Running([sys.executable, "-c", code], shell.folder, shell.environment)


@pytest.mark.parametrize(
    ("module", "words"),
    [("click", ["ls"]), ("rich", ["ls"]), ("watchfiles", ["serve", "."]), ("psutil", ["demo", "--plain", "--seconds", "4"])],
)
def test_without_the_extra_it_says_what_to_install(shell: Shell, module: str, words: list[str]) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from parasync.cli import main; sys.exit(main({words}))"
    running = in_python(shell, code)
    try:
        assert running.end(None) == 2
        assert running.err == f"parasync: the command line needs {module}: pip install 'parasync[cli]'\n"
    finally:
        running.kill()


def test_a_fault_of_ours_is_70_and_shows_where(shell: Shell) -> None:
    """Somebody breaks the program from inside."""
    code = "import sys, parasync.cli._objects as objects; from parasync.cli import main; objects.find_url = None; "
    running = in_python(shell, code + "sys.exit(main(['get', 'a']))")
    try:
        assert running.end(None) == 70
        assert "Traceback" in running.err
        assert running.err.endswith("please report it with the lines above\n")
    finally:
        running.kill()


def test_ctrl_c_while_it_is_being_loaded_is_130_and_nobody_complains(shell: Shell) -> None:
    (shell.folder / "click.py").write_text("raise KeyboardInterrupt")
    code = "import parasync, sys; sys.path.insert(0, '.'); from parasync.cli import main; sys.exit(main(['--help']))"
    running = in_python(shell, code)
    try:
        assert (running.end(None), running.err) == (130, "")
    finally:
        running.kill()


def test_ctrl_c_in_the_middle_of_ending_leaves_no_warnings(shell: Shell) -> None:
    code = """
import sys
import parasync.cli._objects as objects
from parasync.cli import main

async def nobody_awaits_this(): ...

def interrupted(work):
    work.close()
    left = nobody_awaits_this()
    raise KeyboardInterrupt

objects.run_to_end = interrupted
sys.exit(main(["get", "a"]))
"""
    running = in_python(shell, code)
    try:
        assert (running.end(None), running.err) == (130, "")
    finally:
        running.kill()


@pytest.mark.parametrize("words", ["--help > /dev/full", "get --help > /dev/full", "--version > /dev/full"])
def test_a_full_disk_is_74_and_no_fault_of_ours(shell: Shell, words: str) -> None:
    done = in_shell(shell, words)
    assert done.returncode == 74
    assert done.stderr == "parasync: what was to be written could not be (No space left on device); make room, then try again\n"


@pytest.mark.parametrize("words", ["--help >&-", "--help <&-", "--help 2>&-", "--help >&- 2>&- <&-", "put a - <&-"])
def test_a_closed_stream_is_as_one_that_nobody_uses(shell: Shell, words: str) -> None:
    done = in_shell(shell, words)
    assert done.returncode == (2 if "put" in words else 0)
    assert "Traceback" not in done.stderr


def in_shell(shell: Shell, words: str) -> subprocess.CompletedProcess[str]:
    typed = f"{shlex.join(command())} {words}"
    facts = {"cwd": shell.folder, "env": shell.environment, "timeout": DEADLINE_S, "text": True}
    return subprocess.run(["sh", "-c", typed], capture_output=True, check=False, **facts)


def test_a_shell_can_ask_for_completions(shell: Shell) -> None:
    running = Running(command(), shell.folder, shell.environment | {"_PARASYNC_COMPLETE": "bash_source"})
    try:
        assert running.end(None) == 0
        assert "complete -o nosort -F _parasync_completion parasync" in running.out
    finally:
        running.kill()
