"""How long to wait before the next attempt."""

from __future__ import annotations

from collections.abc import Callable

import attrs


@attrs.define(slots=True)
class Backoff:
    """Exponential backoff with full jitter: attempt n waits a random part of `base_s * 2**n`, at most `max_s` seconds.

    The rule is "full jitter" of the AWS Architecture Blog (M. Brooker, "Exponential Backoff And Jitter", 2015).

    Args:
        base_s: the longest first delay in seconds, above 0.
        max_s: the longest delay of all in seconds.
        random: a source of numbers in [0, 1).
    """

    base_s: float
    max_s: float
    random: Callable[[], float]
    attempts: int = 0

    def next_delay_s(self) -> float:
        """Seconds to wait now; each call counts as an attempt."""
        limit_s = min(self.max_s, self.base_s * 2.0 ** min(self.attempts, 60))
        self.attempts += 1
        return limit_s * self.random()

    def reset(self) -> None:
        """Start over: something answered."""
        self.attempts = 0
