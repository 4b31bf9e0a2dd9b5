"""Where a replica puts its newest value for others to watch: any object with `get`, `peek` and `set`."""

from __future__ import annotations

from typing import Protocol, TypeVar

T = TypeVar("T")


class Cell(Protocol[T]):
    """Holds the newest value; a signals library can be plugged in here, so that what was computed from it runs again.

    `set` is called in the order of versions, on the thread that brought the change, None after a delete. What it raises is
    counted and reported, and harms nobody.
    """

    def get(self) -> T | None:
        """The newest value; a signals library notes the reader."""

    def peek(self) -> T | None:
        """The newest value, without being noted."""

    def set(self, value: T | None, /) -> None:
        """Take a newer value; None after a delete.

        Args:
            value: the value that is shown from now on.
        """
