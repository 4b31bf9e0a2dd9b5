"""What a server does not let us do: it is named once, and subscribing is tried again, since a grant is not announced."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from parasync.transports._nats_diagnosis import Denial
from parasync.transports._nats_wire import Wire

DENIALS_MAX: Final = 1024
"""How many missing permissions are logged; more are counted only as `last_error`."""

REFUSED_RETRY_S: Final = 30.0
"""How long after a refused subscription it is tried again, in seconds."""

_log: Final = logging.getLogger("parasync")


class Refusals:
    """Remembers what one connection was denied. Used in one loop only.

    Args:
        wire: where subscriptions are announced again.
        interrupt: tells the subscribers of a subject, in lower case, that they may have missed something, and why.
    """

    def __init__(self, wire: Wire, interrupt: Callable[[str, str], None]) -> None:
        self._wire = wire
        self._interrupt = interrupt
        self._logged: set[Denial] = set()
        # Subjects that the server did not let us subscribe to on this connection, in lower case.
        self._subjects: set[str] = set()
        self._retry: asyncio.TimerHandle | None = None

    def connected(self) -> None:
        """All is subscribed anew on another connection."""
        self._subjects.clear()

    def denied(self, denial: Denial) -> None:
        """The server refused something."""
        if denial not in self._logged and len(self._logged) < DENIALS_MAX:
            self._logged.add(denial)
            _log.warning("%s", denial)
        if not denial.publishing:
            self._subjects.add(denial.subject)
            if self._retry is None:
                self._retry = asyncio.get_running_loop().call_later(REFUSED_RETRY_S, self._subscribe_again)
            self._interrupt(denial.subject, str(denial))

    def close(self) -> None:
        """Try nothing any more."""
        if self._retry is not None:
            self._retry.cancel()

    def _subscribe_again(self) -> None:
        # A server that grants a permission keeps the connection and says nothing.
        self._retry = None
        subjects, self._subjects = self._subjects, set()
        for line in self._wire.lines:
            if line.subject.lower() in subjects:
                self._wire.again(line)
        for subject in subjects:
            self._interrupt(subject, "subscribed again after a refusal")
