"""The program: its commands, and how each of their ends becomes an exit code."""

from __future__ import annotations

import errno
import importlib
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Final

import click

import parasync
from parasync.cli._exits import Exit, exit_of
from parasync.errors import ParasyncError

_MODULES: Final = {
    "demo": "parasync.cli.demo",
    "serve": "parasync.cli._serve",
    "watch": "parasync.cli._watch",
    "get": "parasync.cli._objects",
    "put": "parasync.cli._objects",
    "delete": "parasync.cli._objects",
    "ls": "parasync.cli._ls",
    "mirror": "parasync.cli._mirror",
    "top": "parasync.cli._top",
    "doctor": "parasync.cli._doctor",
    "simulate": "parasync.cli.simulate",
    "replay": "parasync.cli._replay",
}
"""Where each command is, in the order in which a newcomer needs them."""


class _Commands(click.Group):
    """Loads a command when it is used: nobody waits for what the others need."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        command: click.Command = getattr(importlib.import_module(_MODULES[cmd_name]), cmd_name)
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="Begin with: parasync demo",
)
@click.version_option(parasync.__version__, prog_name="parasync", message="%(prog)s %(version)s")
def program() -> None:
    """Typed objects that one service owns and every other service reads, live.

    Without --url, `serve` starts a NATS server of its own, and the other commands find it.
    """


REPEAT_S: Final = 60.0
"""How long a message of the library is not repeated when no other came between, in seconds."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""Errors of a disk that takes no more, which whoever started the program can do something about."""
_COMPLETION: Final = "_PARASYNC_COMPLETE"
"""What a shell sets when it asks for completions."""
_LOG_FORMAT: Final = "parasync: %(message)s"


def run(arguments: list[str]) -> int:
    """Run one command; whatever happens, the result is an exit code, and nobody sees a traceback but for a fault of ours."""
    _open_all()
    _log()
    try:
        code = _ran(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_output()
        return Exit.PIPE_CLOSED
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        # A second Ctrl-C, or an unlucky first one, leaves coroutines that nobody awaited, and nobody has to hear of them.
        warnings.simplefilter("ignore", RuntimeWarning)
        return Exit.INTERRUPTED
    except ParasyncError as error:
        click.echo(f"parasync: {error}", err=True)
        return exit_of(error)
    except ModuleNotFoundError:
        raise
    except OSError as error:
        if error.errno not in _FULL:
            return _fault()
        _forget_output()
        click.echo(f"parasync: what was to be written could not be ({error.strerror}); make room, then try again", err=True)
        return Exit.UNWRITABLE
    except Exception:  # noqa: BLE001 -- the last place where it can be told from an ordinary end
        return _fault()
    return code


def _fault() -> Exit:
    traceback.print_exc()
    click.echo("parasync: this is a fault of parasync; please report it with the lines above", err=True)
    return Exit.FAILED


def _open_all() -> None:
    """Let nothing fail because this process was started with a stream closed, as `>&-` does: nobody wants to read it."""
    sys.stdin = sys.stdin or Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 -- for as long as the process lives
    sys.stdout = sys.stdout or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115


def _forget_output() -> None:
    """What is still in the buffer has nowhere to go; the interpreter would complain when it flushes it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _ran(arguments: list[str]) -> int:
    if _COMPLETION in os.environ:
        program.main(arguments, prog_name="parasync")
    # Not by `main`, which would swallow a closed pipe.
    try:
        with program.make_context("parasync", arguments) as context:
            code = program.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return code if isinstance(code, int) else Exit.OK


def _log() -> None:
    """Say what the library logs in one line each; only `serve` wants to hear more than errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_LOG_FORMAT))
    handler.addFilter(_NotAgain())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("parasync").setLevel(logging.ERROR)


class _NotAgain(logging.Filter):
    """Drops what says the same as the line before, e.g. once for each of many topics."""

    def __init__(self) -> None:
        super().__init__()
        self._last = ("", 0.0)

    def filter(self, record: logging.LogRecord) -> bool:
        said, at_s = self._last
        if record.msg == said and record.created - at_s < REPEAT_S:
            return False
        self._last = (str(record.msg), record.created)
        return True
