from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from parasync.protocol import Backoff


def highest() -> float:
    """The limit of what a source in [0, 1) gives."""
    return 1.0


def test_the_longest_delay_doubles_up_to_the_limit() -> None:
    backoff = Backoff(0.1, 5.0, highest)
    assert [backoff.next_delay_s() for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_the_jitter_is_full() -> None:
    assert Backoff(0.1, 5.0, lambda: 0.0).next_delay_s() == 0.0
    assert Backoff(0.1, 5.0, lambda: 0.25).next_delay_s() == 0.025


@given(st.floats(0.001, 10), st.floats(0.001, 100), st.integers(0, 200), st.integers())
def test_a_delay_is_never_above_its_limits(base_s: float, max_s: float, attempts: int, seed: int) -> None:
    backoff = Backoff(base_s, max_s, random.Random(seed).random)
    delays_s = [backoff.next_delay_s() for _ in range(attempts + 1)]
    assert all(0.0 <= delay_s <= max_s for delay_s in delays_s)
    assert delays_s[0] <= base_s
    assert backoff.attempts == attempts + 1


def test_it_goes_on_for_ever() -> None:
    backoff = Backoff(0.1, 5.0, highest, attempts=100_000)
    assert backoff.next_delay_s() == 5.0


def test_after_a_reset_it_begins_anew() -> None:
    backoff = Backoff(0.1, 5.0, highest)
    for _ in range(5):
        backoff.next_delay_s()
    backoff.reset()
    assert backoff.attempts == 0
    assert backoff.next_delay_s() == 0.1
