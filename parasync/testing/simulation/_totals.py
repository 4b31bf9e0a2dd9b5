"""What many simulations came to: whether what should go wrong really went wrong, and what should turn up really did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import attrs

from parasync.testing.simulation._course import Course

FAULT_KINDS: Final = (
    *("drop", "duplicate", "reorder", "delay", "corrupt", "truncate", "poison", "partition", "disconnect", "slow", "hang"),
    *("before", "after", "foreign"),
    *("kill", "stop", "data lost", "older data", "clock set back", "rollout", "rogue", "raise", "cancel", "reopen"),
)
"""What can go wrong in a simulation: on the network, in a store, with processes."""
RARE_STATES: Final = (
    *("a version was not sent since a newer one was there", "a write was retried", "an authority could not begin"),
    *("another life of the authority shown", "at rest with what cannot be read", "deletion shown", "interruption"),
    *("an authority took another epoch", "lost history was noticed", "a write ended in FencedError"),
    *("gap seen", "conflict seen", "value refused", "schema major refused", "old envelope dropped"),
    *("a first load came page by page", "a round goes on page by page", "a round asked for a few buckets only"),
    *("a mirror was proven by a digest", "a mirror was proven by names", "a mirror learned of a deletion by an answer"),
    *("a mirror showed what was saved", "what was saved was proven"),
    *("the floor rose", "the floor rose above what exists", "what nobody remembered was written again"),
    *("joined with a seed", "killed between store and publish", "seed replaced", "versions skipped"),
)
"""What turns up only now and then, and must do so in many simulations."""


@attrs.define(kw_only=True)
class Totals:
    """The sums of many courses.

    Args:
        seeds: how many simulations there were.
        steps: how many steps their tasks took.
        virtual_s: how long they took together, in virtual seconds.
        fired: how often each kind of fault really hit; 0 for those that never did.
        reached: how often each rare state was really reached; likewise.
    """

    seeds: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    fired: Counter[str] = attrs.Factory(lambda: Counter(dict.fromkeys(FAULT_KINDS, 0)))
    reached: Counter[str] = attrs.Factory(lambda: Counter(dict.fromkeys(RARE_STATES, 0)))

    @property
    def never(self) -> tuple[str, ...]:
        """The faults that never hit and the rare states that were never reached."""
        return tuple(name for counts in (self.fired, self.reached) for name, count in counts.items() if not count)

    def add(self, course: Course) -> None:
        """Count one more simulation."""
        facts = {"virtual_s": course.virtual_s, "fired": course.fired, "reached": course.reached}
        self.add_counts({"seeds": 1, "steps": course.task_steps, **facts})

    def add_counts(self, counts: Mapping[str, Any]) -> None:
        """Count what was counted elsewhere, as `counts` tells it."""
        self.seeds += counts["seeds"]
        self.steps += counts["steps"]
        self.virtual_s += counts["virtual_s"]
        self.fired.update(counts["fired"])
        self.reached.update(counts["reached"])

    def counts(self) -> dict[str, Any]:
        """All of it in plain values, for another process."""
        return attrs.asdict(self, recurse=False) | {"fired": dict(self.fired), "reached": dict(sorted(self.reached.items()))}
