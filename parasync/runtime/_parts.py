"""The two files of a recording: one that is written, and the one before it, so that the newest is kept within a bound."""

from __future__ import annotations

import errno
import os
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Final

from parasync.errors import UsageError
from parasync.runtime._records import MAGIC, NAME, framed, older_part


class Parts:
    """Appends to a file, and begins a new one in its place when it is half as long as both may be.

    Args:
        path: the file.
        part_bytes_max: how long each of both may become.
        ident: tells this recording from all others.

    Raises:
        UsageError: a file is there that is no recording.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, part_bytes_max: int, ident: int) -> None:
        self._path = path
        self._older: Final = older_part(path)
        self._part_bytes_max = part_bytes_max
        self._ident = ident
        self._number = self._size = 0
        self._broken = False
        for each in (path, self._older):
            _check_ours(each)
        self._file = self._made(0)

    def has_room(self, size: int) -> bool:
        """Whether so many bytes still go into this part."""
        return self._size + size <= self._part_bytes_max

    def begin(self, step: int) -> None:
        """Let this part be the older one; the new one begins after a step.

        Raises:
            OSError: the new one cannot be made, or the file is no longer ours.
        """
        if self._path.exists() and not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
            raise OSError(errno.EEXIST, "another recording has begun in this file")
        self._file.close()
        self._file = self._made(step)

    def append(self, data: bytes) -> None:
        """Hand whole records to the operating system."""
        if self._broken:
            # A Ctrl-C came in the middle of a write.
            self._file.seek(self._size)
            self._file.truncate()
        self._broken = True
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]
        self._size += len(data)
        self._broken = False

    def close(self) -> None:
        """Close the file; may be called again."""
        self._file.close()

    def _made(self, step: int) -> FileIO:
        if self._path.exists():
            self._path.replace(self._older)
        self._number += 1
        made = FileIO(self._path, "xb", opener=partial(os.open, mode=0o600))
        self._file, self._size = made, 0
        self.append(MAGIC + framed(["part", self._ident, self._number, step]))
        return made


def _check_ours(path: Path) -> None:
    """Raise unless nothing is lost if this file is replaced."""
    if path.exists():
        found = b"-"
        if path.is_file():
            with path.open("rb") as file:
                found = file.read(len(NAME))
        if not NAME.startswith(found):
            raise UsageError(f"got {path}, which is there and is no recording, expected a new file")
