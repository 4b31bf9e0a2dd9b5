"""The command line: serve a folder, watch, read and write objects, and a demonstration that everything heals."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from parasync.cli._exits import Exit

__all__ = ["Exit", "main"]

_EXTRA = frozenset({"click", "psutil", "rich", "tomli_w", "watchfiles", "yaml"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, which is one of `Exit`.

    Args:
        arguments: the words after the name of the program; by default those of this process.
    """
    try:
        from parasync.cli._main import run

        return run(list(sys.argv[1:] if arguments is None else arguments))
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in _EXTRA:
            raise
        sys.stderr.write(f"parasync: the command line needs {name}: pip install 'parasync[cli]'\n")
        return Exit.USAGE
    except KeyboardInterrupt:
        # While it was being loaded; later, `run` sees to it.
        return Exit.INTERRUPTED
