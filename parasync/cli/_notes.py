"""Notes of the servers that `serve` started for itself, by which other commands of the same user find them."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Final

import attrs
import psutil

from parasync.errors import UsageError

NOTE_BYTES_MAX: Final = 65_536
"""The longest note that is read; a longer one is no note."""

_SUFFIX: Final = ".json"


@attrs.frozen
class Note:
    """One running server.

    Args:
        url: where it listens.
        pid: the process of the command that started it.
        born: when that process was started, in seconds since 1970; tells it from a later process of the same number.
        folder: what that command serves.
    """

    url: str
    pid: int
    born: float
    folder: str


def notes_dir() -> Path:
    """The folder of this user's notes; it is made if it is not there, and nobody else may write to it.

    Raises:
        UsageError: somebody else made it.
    """
    base = os.environ.get("XDG_RUNTIME_DIR") or os.environ.get("LOCALAPPDATA")
    user = os.getuid() if hasattr(os, "getuid") else 0
    folder = Path(base) / "parasync" if base else Path(tempfile.gettempdir()) / f"parasync-{user}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be made ({error.strerror}): set XDG_RUNTIME_DIR, or use --url") from None
    if hasattr(os, "getuid") and (folder.is_symlink() or facts.st_uid != user or facts.st_mode & 0o022):
        raise UsageError(f"the folder {folder} is not yours alone: set XDG_RUNTIME_DIR to one that is, or use --url")
    return folder


def leave_note(url: str, folder: Path) -> Path:
    """Tell this user's other commands about a server; returns the note, to be removed when the server ends."""
    pid = os.getpid()
    note = Note(url, pid, psutil.Process(pid).create_time(), str(folder))
    path = notes_dir() / f"{pid}{_SUFFIX}"
    written = path.with_suffix(".new")
    written.write_text(json.dumps(attrs.asdict(note)), encoding="utf-8")
    written.replace(path)
    return path


def running() -> list[Note]:
    """The notes of the servers that still run, the youngest first; what others left behind is removed."""
    found = []
    for path in notes_dir().glob(f"*{_SUFFIX}"):
        note = _read(path)
        if note is not None and _lives(note):
            found.append(note)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return sorted(found, key=lambda note: note.born, reverse=True)


def _read(path: Path) -> Note | None:
    try:
        with path.open("rb") as file:
            facts: Any = json.loads(file.read(NOTE_BYTES_MAX))
        note = Note(**facts)
    except (OSError, ValueError, TypeError):
        return None
    fits = isinstance(note.url, str) and type(note.pid) is int and isinstance(note.born, float) and isinstance(note.folder, str)
    return note if fits else None


def _lives(note: Note) -> bool:
    try:
        born: float = psutil.Process(note.pid).create_time()
    except (psutil.Error, ValueError, OverflowError):
        return False
    return abs(born - note.born) < 1.0
