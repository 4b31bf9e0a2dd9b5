"""A lock that those who end something never wait for.

A replica, a stream or a subscription may end anywhere: in another thread, in a signal handler, in a callback, or in the garbage
collector, which runs in the middle of a change on the very thread that makes it. Who waited for a lock there might wait for
ever. So they leave a note, and whoever holds the lock carries it out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any


class NotedLock:
    """Guards changes, and takes notes of what is to be done under it. Not reentrant.

    `raw` and `notes` are for hot paths: `with lock.raw: ...`, then `if lock.notes: lock.sweep()`, whatever happened.
    """

    __slots__ = ("notes", "raw")

    def __init__(self) -> None:
        self.raw = threading.Lock()
        # A deque would take ten times the memory of an empty list, in each of very many locks.
        self.notes: list[Callable[[], Any]] = []

    def __enter__(self) -> None:
        self.raw.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.raw.release()
        if self.notes:
            self.sweep()

    def note(self, action: Callable[[], Any]) -> None:
        """Do this under the lock: now if it is free, else when it is released. Never waits; the action must not raise."""
        self.notes.append(action)
        self.sweep()

    def sweep(self) -> None:
        """Carry out the notes, unless somebody holds the lock: that one will."""
        while self.notes and self.raw.acquire(blocking=False):
            # Kept until the lock is released: what they refer to may be destroyed with them.
            done: list[Callable[[], Any]] = []
            try:
                while len(done) < len(self.notes):
                    done.append(self.notes[len(done)])
                    done[-1]()
            finally:
                del self.notes[: len(done)]
                self.raw.release()
