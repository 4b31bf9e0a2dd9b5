"""What a store had for those who ask."""

from __future__ import annotations

from typing import Final

import attrs

from parasync.codec import meta_bytes
from parasync.protocol import (
    ABSENT_OBJECT,
    SAME,
    UNANSWERED,
    Ask,
    EncodedBody,
    Envelope,
    Outcome,
    Plan,
    Position,
    Version,
    is_same,
)
from parasync.stores import TopicState

OUTCOME_OVERHEAD_BYTES: Final = 1024
"""What an object may add to an answer beyond its body, its key and its `meta`."""


@attrs.frozen
class Found:
    """What the store had for an ask, in which epoch, after which beat and when, and what has to be done about it."""

    epoch: int
    beat: int
    uptime_s: float
    state: TopicState
    stored: dict[str, Envelope[EncodedBody | None]]
    plan: Plan

    def head(self, floor: Version) -> tuple[int, int, float, Version, int]:
        """With what an answer begins that tells of this floor."""
        return self.epoch, self.beat, self.uptime_s, floor, self.state.history_epoch

    @property
    def needs_repair(self) -> bool:
        """Whether it cannot be answered as it is."""
        return self.plan.rival is not None or self.plan.new_epoch or bool(self.plan.reissue)

    def outcomes(self, ask: Ask, limit_bytes: int) -> tuple[Outcome, ...]:
        """One outcome for each entry of the ask, as many envelopes as fit into a message of so many bytes, 0 for any."""
        room_bytes, lost = limit_bytes, frozenset(self.plan.reissue)
        outcomes: list[Outcome] = []
        for key, position in zip(ask.keys, ask.positions, strict=True):
            envelope = self.stored.get(key)
            if key in lost:
                outcomes.append(UNANSWERED)
            elif envelope is None:
                outcomes.append(ABSENT_OBJECT)
            elif position is not None and is_same(position, Position.of(envelope)):
                outcomes.append(SAME)
            else:
                body_bytes = len(envelope.value or b"")
                size_bytes = body_bytes + len(key.encode()) + meta_bytes(envelope.meta) + OUTCOME_OVERHEAD_BYTES
                # One that no message takes, since the limit shrank, must not keep the others from their answers.
                alone = room_bytes == limit_bytes and (body_bytes <= limit_bytes or not limit_bytes)
                fits = size_bytes <= room_bytes or alone
                room_bytes -= size_bytes if fits else 0
                outcomes.append(envelope if fits else UNANSWERED)
        return tuple(outcomes)
