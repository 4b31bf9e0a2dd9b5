"""The clocks and the chance of the machine, in one place, so that a simulation can put its own there."""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Iterator
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_monotonic: Clock = _boottime if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
_wall: Clock = time.time
_uniform: Callable[[], float] = random.random
_bits: Callable[[int], int] = secrets.randbits


def monotonic_s() -> float:
    """Seconds on a clock that never goes back and, where there is one, also runs while the machine sleeps."""
    return _monotonic()


def wall_s() -> float:
    """Seconds since 1970."""
    return _wall()


def uniform() -> float:
    """A random number in [0, 1)."""
    return _uniform()


def random_bits(count: int) -> int:
    """So many random bits, as a number."""
    return _bits(count)


@contextlib.contextmanager
def another_world(clock: Clock, wall_clock: Clock, chance: random.Random) -> Iterator[None]:
    """Let the whole process take its time and its chance from these."""
    global _monotonic, _wall, _uniform, _bits
    before = _monotonic, _wall, _uniform, _bits
    _monotonic, _wall, _uniform, _bits = clock, wall_clock, chance.random, chance.getrandbits
    try:
        yield
    finally:
        _monotonic, _wall, _uniform, _bits = before
