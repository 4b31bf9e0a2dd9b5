"""What a store had for those who ask."""

from __future__ import annotations

import attrs

from parasync.protocol import EncodedBody, Envelope, Plan, Version
from parasync.stores import TopicState


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
