"""The answer to a scan, put together part by part: how much of the range it speaks of depends on what fits into a message."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from parasync.codec import HEADER_BYTES_MAX, meta_bytes
from parasync.errors import UsageError
from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    SCAN_KEYS_MAX,
    TOMBSTONE_CHECKSUM,
    UNANSWERED,
    Ask,
    Envelope,
    Outcome,
    Position,
    Scan,
    check_scan,
    is_same,
)

SCAN_READ_MAX: Final = 256
"""How many objects of a range are read from the store at a time."""

_KEY_BYTES: Final = 8
_FRAME_BYTES: Final = HEADER_BYTES_MAX + 8


def check_scan_of(topic: str, scan: Scan) -> None:
    """Return if the scan is of a range of this topic.

    Raises:
        UsageError: it is not.
    """
    check_scan(scan)
    if not all(key == topic or key.startswith(f"{topic}:") for key in scan.keys):
        raise UsageError(f"got a key of another topic, expected those of {topic!r}")


class Page:
    """What there is to say of a range, as far as it fits.

    Args:
        scan: what was asked.
        keys: those in the range, in its order: what the asker named and what is there; one above the limit tells of more.
        limit_bytes: the largest message, 0 where nobody knows.
    """

    def __init__(self, scan: Scan, keys: Sequence[str], limit_bytes: int) -> None:
        self._epoch = scan.epoch
        self._named = dict(zip(scan.keys, scan.positions, strict=True))
        self._other = None if scan.floor == ABSENT else Position(scan.floor, TOMBSTONE_CHECKSUM)
        self._keys = keys
        self._limit_bytes = self._room_bytes = limit_bytes
        self._done = 0
        self.keys: list[str] = []
        """What is told of."""
        self.outcomes: list[Outcome] = []
        """What is told of each of these."""

    @property
    def covered(self) -> str | None:
        """The last key that this speaks of, None if that was the end."""
        return None if self._done == len(self._keys) else self._keys[self._done - 1]

    def ask(self) -> Ask:
        """What has to be looked up next: where the asker stands with it."""
        keys = self._keys[self._done : min(self._done + SCAN_READ_MAX, SCAN_KEYS_MAX)]
        return Ask(self._epoch, tuple(keys), tuple(self._named.get(key, self._other) for key in keys))

    def takes(self, ask: Ask, stored: Mapping[str, Envelope[Any]], lost: Collection[str]) -> bool:
        """Tell of what was looked up; returns whether there is more to look up, and room for it.

        Args:
            ask: what was looked up.
            stored: those of the objects that exist.
            lost: those whose history was lost, and that could not be written anew yet.
        """
        for key, position in zip(ask.keys, ask.positions, strict=True):
            outcome = UNANSWERED if key in lost else self._outcome(key, position, stored.get(key))
            if outcome is not None:
                size_bytes = len(key.encode()) + _KEY_BYTES
                if isinstance(outcome, Envelope):
                    size_bytes += len(outcome.value or b"") + _FRAME_BYTES
                    size_bytes += meta_bytes(outcome.meta) if outcome.meta else 0
                # The first one has to go whatever it takes, or there would be no end.
                if self.keys and size_bytes > self._room_bytes:
                    return False
                self._room_bytes -= size_bytes
                self.keys.append(key)
                self.outcomes.append(outcome)
            self._done += 1
        return self._done < min(len(self._keys), SCAN_KEYS_MAX)

    def _outcome(self, key: str, position: Position | None, held: Envelope[Any] | None) -> Outcome | None:
        """What there is to say of one object, None for nothing."""
        if held is None:
            return ABSENT_OBJECT if key in self._named else None
        if position is not None and is_same(position, Position.of(held)):
            return None
        # What no message takes, since the limit shrank, must not keep the others from their answers.
        return UNANSWERED if 0 < self._limit_bytes < len(held.value or b"") else held
