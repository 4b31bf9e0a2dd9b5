"""One object a process, made at its first use."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class per_process(Generic[T]):
    """Makes an object at its first use in each process, and returns the same one from then on; a decorator.

    A process that was forked makes its own. Where several threads come first, one makes it and the others wait. What raises is
    tried again at the next use.

    Args:
        make: a plain function without arguments.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__
        self.__name__ = getattr(make, "__name__", "per_process")
        self.forget()
        _all.add(self)

    def __call__(self) -> T:
        """The object of this process."""
        if not self._made:
            with self._lock:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]

    def forget(self) -> None:
        """Make a new one at the next use; the old one is not closed."""
        self._made: list[T] = []
        self._lock = threading.RLock()


_all: Final[WeakSet[per_process[Any]]] = WeakSet()


def _forked() -> None:
    for each in _all:
        each.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
