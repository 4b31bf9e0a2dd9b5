"""What a run in virtual time did: its steps in their order, as a digest."""

from __future__ import annotations

import struct
from collections import Counter, deque
from hashlib import blake2b
from typing import Final

RECENT_MAX: Final = 1_000
"""How many of its last steps a trace remembers; the digest covers all."""

_pack = struct.Struct("<dq").pack


class Trace:
    """Tells runs apart: two runs with one digest took the same steps of the same tasks at the same virtual times.

    It is filled by `run(..., trace=trace)`, also when the run fails. Tasks are numbered in the order in which they were made.
    """

    def __init__(self) -> None:
        self.steps = 0
        """How many steps of tasks were taken."""
        self.now_s = 0.0
        """The virtual time of the last step, in seconds since the loop began."""
        self.names: list[str] = []
        """The name of each task's coroutine function, by its number."""
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT_MAX)
        """The last steps: virtual time and number of the task."""
        self._hash = blake2b(digest_size=16)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all steps and notes so far."""
        return self._hash.hexdigest()

    def note(self, *facts: object) -> None:
        """Let the digest cover what the program did, not only when: whatever `repr` shows of these.

        Args:
            facts: values whose `repr` is the same in every run: numbers, texts, tuples of them, and no sets.
        """
        self._hash.update(repr((self.now_s, *facts)).encode("utf-8", "surrogatepass"))

    def took(self, now_s: float, number: int) -> None:
        """A task takes a step; called by the loop."""
        self.steps += 1
        self.now_s = now_s
        self.recent.append((now_s, number))
        self._hash.update(_pack(now_s, number))

    def busiest(self, count: int = 3) -> str:
        """Who took most of the last steps."""
        numbers = Counter(number for _, number in self.recent)
        return ", ".join(f"{self.names[number]} (task {number}): {steps}" for number, steps in numbers.most_common(count))
