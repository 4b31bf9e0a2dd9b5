"""Exit codes: what a script may branch on."""

from __future__ import annotations

import enum
from typing import Final

from parasync import Version, errors
from parasync.errors import ParasyncError


class Exit(enum.IntEnum):
    """How a command ended. The docstrings are the table of the documentation."""

    OK = 0
    """It did what it was told; `serve`, `watch` and `mirror` were ended by Ctrl-C or SIGTERM."""
    ABSENT = 1
    """There is no such object, or it was deleted. `demo`, `simulate`: a promise was broken. `replay`: a step differs from what
    was recorded, or `--find` found nothing."""
    USAGE = 2
    """The command cannot work as written: an unknown option, an illegal key, a value that is not JSON, a missing package,
    a recording that is none or is damaged."""
    CONFLICT = 3
    """The object is not at the expected version; nothing was written. `doctor`: two authorities serve a topic, or a version has
    two contents."""
    UNANSWERED = 4
    """Nobody serves the topic, or no answer came in time. `doctor`: nobody is there, or a topic is read that nobody serves."""
    UNREACHABLE = 5
    """There is no bus: nothing listens there, the credentials do not fit, or the connection was lost."""
    REFUSED = 6
    """The authority refused, e.g. because it takes no writes from others or the value is not of its type.
    `doctor`: replicas refuse what the authority writes."""
    STALE = 7
    """`doctor`: replicas are stale, though somebody serves their topic."""
    FAILED = 70
    """A fault of this program; what it printed belongs into a bug report."""
    UNWRITABLE = 74
    """What it had to print or to store could not be written, e.g. because a disk is full."""
    INTERRUPTED = 130
    """Ctrl-C or SIGTERM, before it was done."""
    PIPE_CLOSED = 141
    """Nobody reads the output any more."""


_MEANING: Final[tuple[tuple[type[ParasyncError], Exit], ...]] = (
    (errors.DeletedError, Exit.ABSENT),
    (errors.ConflictError, Exit.CONFLICT),
    (errors.NoAuthorityError, Exit.UNANSWERED),
    (errors.AskTimeoutError, Exit.UNANSWERED),
    (errors.FencedError, Exit.UNANSWERED),
    (errors.TransportError, Exit.UNREACHABLE),
    (errors.RemoteError, Exit.REFUSED),
    (errors.StoreError, Exit.REFUSED),
    (errors.SnapshotError, Exit.UNWRITABLE),
    (errors.UsageError, Exit.USAGE),
)

def exit_of(error: ParasyncError) -> Exit:
    """The exit code for an error."""
    return next(code for kind, code in _MEANING if isinstance(error, kind))


def error_of(name: str, reason: str, current: Version | None) -> ParasyncError:
    """The error that a refusal stands for: whatever is wrong at the other end, is a refusal at this one."""
    if name == "ConflictError":
        return errors.ConflictError(reason, current)
    if name == "DeletedError":
        return errors.DeletedError(reason, current)
    if name == "FencedError":
        return errors.FencedError(reason)
    return errors.NoAuthorityError(reason) if name == "NoAuthorityError" else errors.RefusedError(reason)
