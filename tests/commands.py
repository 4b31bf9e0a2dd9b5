"""Writes what `reference/cli.md` shows of the command line: the help of each command, and the exit codes.

`python -m tests.commands` writes the page anew. The help stands in console blocks, which are run like every other example;
the exit codes are compared by `tests/test_docs.py`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise
from pathlib import Path

import click

from parasync.cli._exits import Exit
from parasync.cli._main import program
from tests.states import between

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "cli.md"
WIDE = {"terminal_width": 118, "max_content_width": 118}
"""What click makes of a terminal of 120 columns, as wide as that of the examples."""


def help_of(name: str) -> str:
    """What `parasync NAME --help` prints."""
    top = click.Context(program, info_name="parasync", **WIDE | program.context_settings)
    if name == "parasync":
        return program.get_help(top)
    command = program.get_command(top, name)
    assert command is not None
    return command.get_help(click.Context(command, info_name=name, parent=top, **WIDE))


def example(name: str) -> str:
    """A console block with the help of a command."""
    typed = "parasync --help" if name == "parasync" else f"parasync {name} --help"
    return f"```console\n$ {typed}\n{help_of(name)}\n```"


def exit_codes() -> str:
    """The exit codes, with what is written below each in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(Exit))).body[0].body  # type: ignore[attr-defined]
    texts: dict[str, str] = {}
    for assigned, doc in pairwise(body):
        if isinstance(assigned, ast.Assign) and isinstance(doc, ast.Expr):
            texts[ast.unparse(assigned.targets[0])] = " ".join(ast.literal_eval(doc.value).split())
    return "\n".join(["| code | when |", "| --- | --- |", *(f"| {code.value} | {texts[code.name]} |" for code in Exit)])


def filled(text: str) -> str:
    """A page with what the program says now."""
    commands = "\n\n".join(f"## parasync {name}\n\n{example(name)}" for name in program.list_commands(click.Context(program)))
    for name, rows in {"program": example("parasync"), "commands": commands, "exit codes": exit_codes()}.items():
        text = between(text, name, rows)
    return text


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
