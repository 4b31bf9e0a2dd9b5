"""Replicas as signals: what is computed from a value runs again when it changes (extra `[signals]`, library reaktiv)."""

from __future__ import annotations

from typing import Generic, TypeVar

from reaktiv import ReadonlySignal, Signal, untracked

T = TypeVar("T")


class SignalCell(Generic[T]):
    """A cell that is a signal: `Computed` and `Effect` of reaktiv that read it run again after each change.

    Pass it as `cell=`, then read `cell.get()`, `cell.signal()` or the `value` of the replica inside a computation. It holds
    None before the first value and after a delete. Values are compared by identity, so that every version is a change.
    """

    def __init__(self) -> None:
        self._signal: Signal[T | None] = Signal(None)

    @property
    def signal(self) -> ReadonlySignal[T | None]:
        """The signal, for reading only: the replica alone writes it."""
        return self._signal.as_readonly()

    def get(self) -> T | None:
        """The newest value; the computation that reads it depends on it."""
        value: T | None = self._signal.get()
        return value

    def peek(self) -> T | None:
        """The newest value, without a dependency."""
        value: T | None = untracked(self._signal.get)
        return value

    def set(self, value: T | None, /) -> None:
        """Called by the replica, on the thread that brought the change."""
        self._signal.set(value)
