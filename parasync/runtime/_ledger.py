"""What an authority knows of its objects: what was sent stands in the catalogue, and what was only published beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from parasync.protocol import (
    SCAN_KEYS_MAX,
    TOMBSTONE,
    TOMBSTONE_CHECKSUM,
    Catalogue,
    Digest,
    EncodedBody,
    Envelope,
    Position,
    Scan,
    Version,
)
from parasync.runtime._office import Office
from parasync.transports._protocol import SyncTransport, asks_over, beats_over


class Ledger:
    """Where each object stands, to the last one published.

    Args:
        transport: where it is published.
        office: has the pulse of this life, and so its catalogue.
    """

    def __init__(self, transport: SyncTransport, office: Office) -> None:
        asks = asks_over(transport) is not None
        self._bus = beats_over(transport) if asks else None
        self._office = office
        self.published: dict[str, Envelope[Any]] | None = {} if asks else None
        """For each key, what was published last since the last beat; whoever publishes notes it here, and calls `quicken` for
        the first. None where nobody can ask for it."""
        self._late: dict[str, tuple[Position, float]] = {}
        """What was published before, and waited to be sent when the last beat was made; with the time when that was written."""

    @property
    def _catalogue(self) -> Catalogue:
        return Catalogue() if self._office.pulse is None else self._office.pulse.catalogue

    def version_of(self, key: str) -> Version | None:
        """The newest version of an object that was published, or was stored when this life began."""
        noted = (self.published or {}).get(key)
        if noted is not None:
            return noted.version
        known = self._late[key][0] if key in self._late else self._catalogue.get(key)
        return None if known is None else known.version

    def digest(self) -> Digest:
        """That of all that is stored, but for writes that are under way."""
        unsent, catalogue = self._unsent(), self._catalogue
        digest = catalogue.digest.copy()
        for key, position in unsent.items():
            digest.replace(key, catalogue.get(key), position)
        return digest

    @property
    def floor(self) -> Version:
        """The floor that is told: what was stored above the one before is known to this authority, and counted."""
        return self._catalogue.floor

    def dead(self, keys: Iterable[str]) -> dict[str, Envelope[EncodedBody | None]]:
        """Those of the objects that the store may have forgotten, and that are deleted above the floor that is told."""
        unsent, catalogue = self._unsent(), self._catalogue
        found = ((key, unsent.get(key) or catalogue.get(key)) for key in keys)
        return {
            key: Envelope(None, "0.0", position.version.sequence, position.version.epoch, kind=TOMBSTONE, checksum=0)
            for key, position in found
            if position is not None and position.checksum == TOMBSTONE_CHECKSUM
        }

    def count(self) -> int:
        """How many objects are stored, but for writes that are under way."""
        unsent, catalogue = self._unsent(), self._catalogue
        return len(catalogue) + sum(catalogue.get(key) is None for key in unsent)

    def keys_of(self, scan: Scan) -> list[str]:
        """What the asker names and what is stored in the range of a scan; one more than an answer may name tells of more."""
        return self._catalogue.keys_of(scan, [*scan.keys, *self._unsent()], limit=SCAN_KEYS_MAX + 1)

    def _unsent(self) -> Mapping[str, Position]:
        """What was published and did not move in the catalogue yet."""
        pulse = self._office.pulse
        if self._bus is None or pulse is None:
            self._fold()
            return {}
        unsent = {key: position for key, (position, _) in self._late.items()}
        unsent |= {key: Position.of(envelope) for key, envelope in (self.published or {}).items()}
        return {key: position for key, position in unsent.items() if not pulse.is_past(key, position)}

    def _fold(self, most: float = math.inf) -> None:
        """Move what was published, without a beat that tells of it."""
        pulse, published = self._office.pulse, self.published
        while pulse is not None and published and most > 0:
            key, envelope = published.popitem()
            pulse.sent(key, Position.of(envelope))
            most -= 1
