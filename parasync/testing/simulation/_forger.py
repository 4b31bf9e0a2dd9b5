"""Envelopes that no authority sends: seeds that a reader kept from somewhere, and frames in the name of another."""

from __future__ import annotations

from typing import Any

from parasync.codec import Codec, body_checksum
from parasync.protocol import Envelope, Kind, Version
from parasync.testing.simulation._journal import Journal
from parasync.testing.simulation._scenario import Topology


def seed_envelope(journal: Journal, topology: Topology, key: str, choice: int) -> Envelope[Any] | None:
    """Nothing, an old version, or one that never was."""
    written = sorted(place for place, content in journal.written[key].items() if content.readable and content.number)
    kind = choice % 4
    if kind == 0 or (kind == 1 and not written):
        return None
    journal.reached["joined with a seed"] += 1
    if kind == 1:
        epoch, sequence = written[choice // 4 % len(written)]
        number = journal.written[key][epoch, sequence].number
    else:
        epoch, sequence, number = (1 if kind == 2 else 1 << 52), 1 + choice // 4, 1_000_000 + choice
    return Envelope(topology.value(number), topology.topic.version, sequence, epoch)


def forged(journal: Journal, topology: Topology, codec: Codec, key: str, number: int, above: int) -> Envelope[Any] | None:
    """A frame of nobody, with the newest version or one above it; None before the first version."""
    written = journal.written[key]
    if not written:
        return None
    epoch, sequence = max(written)
    place = (epoch, sequence + above)
    journal.forged[key].setdefault(place, set()).add(number)
    journal.fault("nobody", "rogue", f"publishes {key} {Version(*place)}")
    topic = topology.topic
    body = topic.encode(topology.value(number), codec)
    return Envelope(body, topic.version, place[1], place[0], checksum=body_checksum(Kind.STATE, topic.version, body))
