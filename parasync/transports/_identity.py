"""Which process this is, as it tells onlookers: host, program, number, library; and nothing else of its environment."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from parasync.protocol import NAME_CHARS_MAX, Identity


def identity() -> Identity:
    """This process; after a fork, the child."""
    library = getattr(sys.modules.get("parasync"), "__version__", "")
    return Identity(shown(socket.gethostname()), shown(_program()), os.getpid(), shown(str(library)))


def shown(text: str, chars_max: int = NAME_CHARS_MAX) -> str:
    """The beginning of a text, without anything that a terminal would obey."""
    return "".join([each if each.isprintable() else "?" for each in text[:chars_max]])


def _program() -> str:
    """The name of what was started; for `python -m package` that of the package."""
    path = Path(sys.argv[0] if sys.argv and sys.argv[0] else sys.executable)
    return path.parent.name if path.stem == "__main__" else path.name
