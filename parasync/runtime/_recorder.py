"""Records what replicas take in to a file within a bound, so that `parasync replay` can step through it."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self, final

from parasync.errors import UsageError
from parasync.runtime._writer import Writer

RECORDING_BYTES_MAX: Final = 16 * 1024 * 1024
"""How long a recording becomes, in bytes, unless `bytes_max` says otherwise; beyond, its older half is dropped."""
RECORDING_BYTES_MIN: Final = 64 * 1024
"""The smallest `bytes_max` of a recording."""


@final
class Recorder:
    """Records all that the replicas it was passed to take in, in order, with what came of it; never disturbs them.

    The newest steps are in the file, those before it in a second one, with `.1` behind its name: when the file has half of
    `bytes_max`, it takes the place of the older part. What is there already when a recording begins becomes its older part, so
    that a service that is restarted after a crash keeps what led to it. Both can be read by their owner only.

    Each step is handed to the operating system before listeners hear of it, so that what kills the process is in the file. A
    disk that fails ends the recording: that is logged once and stays in `problem`. From any thread.

    Args:
        path: the file; its folder must be there.
        bytes_max: how long both parts become together, `RECORDING_BYTES_MIN` or more.
        values: whether values are recorded too, in the encoding of the bus; replaying does not need them.

    Raises:
        UsageError: the path cannot be written or is no recording, or an option is out of range.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, bytes_max: int = RECORDING_BYTES_MAX, values: bool = True
    ) -> None:
        if type(bytes_max) is not int or bytes_max < RECORDING_BYTES_MIN:
            raise UsageError(f"got bytes_max={bytes_max!r}, expected an int of at least {RECORDING_BYTES_MIN}")
        if not isinstance(path, str | os.PathLike):
            raise UsageError(f"got a {type(path).__name__} as path, expected a str or a Path")
        self.path: Final = Path(path)
        try:
            self.writer: Final = Writer(self.path, bytes_max, values=values)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", error)
            raise UsageError(f"{self.path} cannot be written ({reason}), expected a file for a recording") from None

    @property
    def problem(self) -> str:
        """Why nothing is recorded any more; "" while all is well."""
        return self.writer.problem

    def close(self) -> None:
        """End the recording; replicas go on without it. From any thread, and may be called again."""
        self.writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
