"""What serves and listens in this process, for whoever looks: onlookers on the bus, and metrics.

Nobody is told of anything here: whoever looks asks each entry how it does, and that costs nothing in between.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, Protocol, TypeAlias

from parasync.protocol import AuthorityStatus, ReplicaStatus
from parasync.runtime._locks import NotedLock
from parasync.transports._protocol import StatusTransport, SyncTransport, Unsubscribe

logger: Final = logging.getLogger("parasync")

Row: TypeAlias = AuthorityStatus | ReplicaStatus
Place: TypeAlias = tuple[str, str]
"""A topic, and a key of it or "" for all."""


class Listed(Protocol):
    """An authority, or what holds copies on one transport. Hashable by identity."""

    def statuses(self) -> Iterator[Row | None]:
        """How it does; None now and then in between, where others may run meanwhile. From any thread."""

    def by_key(self) -> Iterator[ReplicaStatus]:
        """The same of each object that is copied. From any thread."""


class Gone:
    """What those had counted that are no more, so that no counter goes back. Only while somebody wants to know."""

    def __init__(self) -> None:
        # Who leaves may do so in a destructor, which runs in the middle of anything.
        self._lock = NotedLock()
        self._counters: dict[Place, Counter[str]] = {}
        self.per_key = False

    def add(self, topic: str, key: str, counters: Mapping[str, int]) -> None:
        """One has left."""
        place = (topic, key if self.per_key else "")
        self._lock.note(lambda: self._counters.setdefault(place, Counter()).update(counters))

    def counted(self) -> dict[Place, Counter[str]]:
        """What is known of all."""
        with self._lock:
            return {place: Counter(counters) for place, counters in self._counters.items()}


_listed: Final[dict[Listed, SyncTransport]] = {}
"""Guarded by nothing but the atomicity of its methods, since leaving must not wait."""
gone: Gone | None = None
"""None while nobody wants to know."""


def enlist(transport: SyncTransport, entry: Listed) -> Unsubscribe:
    """Let an entry be seen until the returned function is called, which may be called again and from any thread."""
    end: Unsubscribe | None = None
    try:
        if isinstance(transport, StatusTransport):
            end = transport.answer_status(entry.statuses)
    except Exception as error:  # noqa: BLE001  # the transport is not ours, and whoever is not seen works all the same
        logger.warning("onlookers on the bus will not be answered: %s", type(error).__name__)
    _listed[entry] = transport

    def leave() -> None:
        if _listed.pop(entry, None) is not None and end is not None:
            try:
                end()
            except Exception as error:  # noqa: BLE001  # the transport is not ours, and who leaves has left
                logger.warning("a subscription could not be ended: %s", type(error).__name__)

    return leave


def listed() -> list[tuple[Listed, SyncTransport]]:
    """All that serves and listens now."""
    return list(_listed.items())


def remember(wanted: Gone | None) -> None:
    """Keep what those have counted who leave from now on; None: no more."""
    global gone
    gone = wanted
