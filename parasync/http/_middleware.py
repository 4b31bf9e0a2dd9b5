"""What the middlewares for ASGI and WSGI have in common: options, counters, and what a refused client is told."""

from __future__ import annotations

import threading
from typing import Any, Final

import attrs

from parasync.errors import InvalidVersionError, UsageError
from parasync.protocol import Seen
from parasync.runtime._session import Late, Session, check_options

RETRY_AFTER_S: Final = 1
"""What a refused client is told to wait before it tries again, in seconds."""

REFUSAL: Final = b"what you have seen has not arrived here yet: try again\n"
REFUSAL_HEADERS: Final = (
    ("Content-Type", "text/plain; charset=utf-8"),
    ("Content-Length", str(len(REFUSAL))),
    ("Retry-After", str(RETRY_AFTER_S)),
)


@attrs.frozen
class SessionStats:
    """What a middleware has counted. Made by `stats`."""

    requests: int = 0
    """How many requests came."""
    malformed: int = 0
    """How many had a header that could not be read; they were handled as if they had none."""
    late: int = 0
    """How many did not get all that their client has seen in time."""
    lost: int = 0
    """How many asked for versions that can never come, since the authority has lost the history in which they were written."""
    refused: int = 0
    """How many of the late ones were answered with 503."""


class Middleware:
    """What both kinds have in common: options and counters."""

    def __init__(self, app: Any, find: Any, header: str, timeout_s: float, late: Late) -> None:
        check_options(header, timeout_s, late)
        if not callable(app) or not (find is None or callable(find)):
            raise UsageError("got an application or a find= that cannot be called, expected an application and a function")
        self._app = app
        self._find = find
        self._header = header
        self._timeout_s = timeout_s
        self._late = late
        self._counting = threading.Lock()
        self._stats = SessionStats()

    @property
    def stats(self) -> SessionStats:
        """What was counted until now."""
        return self._stats

    def open_session(self, text: str) -> Session:
        try:
            seen, malformed = Seen.parse(text), 0
        except InvalidVersionError:
            seen, malformed = Seen(), 1
        self._count(requests=1, malformed=malformed)
        return Session(seen, header=self._header, timeout_s=self._timeout_s, late=self._late)

    def _count(self, **more: int) -> None:
        with self._counting:
            self._stats = attrs.evolve(self._stats, **{name: getattr(self._stats, name) + by for name, by in more.items()})

    def close_session(self, session: Session, *, refused: bool) -> None:
        if session.late or session.lost:
            self._count(late=bool(session.late), lost=bool(session.lost), refused=refused)
