"""What the copies of other threads have in common: how they end."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from parasync.errors import UsageError
from parasync.threads._home import FORKED, Home


class Closes(Protocol):
    """What lives in the loop."""

    def close(self) -> None:
        """End it."""


class Outside:
    """Stands in other threads for a copy that lives in the loop; a context manager that ends it."""

    __slots__ = ()
    _home: Home
    _inner: Closes

    def close(self) -> None:
        """End it: silent at once, from any thread; may be called again. What it held last stays readable.

        Raises:
            UsageError: this process was forked from the one that made it.
        """
        if self._home.orphaned:
            raise UsageError(FORKED)
        self._inner.close()

    async def _end(self) -> None:
        """See `Outer`."""
        self._inner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
