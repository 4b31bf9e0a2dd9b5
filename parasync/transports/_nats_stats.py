"""What a NATS transport counts."""

from __future__ import annotations

import attrs


@attrs.frozen
class NatsStats:
    """Counters of one transport since it was made.

    Args:
        reconnects: connections after the first.
        malformed: messages that were no frames or beats, or frames of another key.
        conflated: publishes that were replaced by a newer one of their key before they were sent.
        dropped: publishes that were dropped because the outbox was full or the server's limit shrank.
    """

    reconnects: int = 0
    malformed: int = 0
    conflated: int = 0
    dropped: int = 0
