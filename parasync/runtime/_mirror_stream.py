"""The changes of a mirror as an async iterator, which keeps the newest step of each object for a reader that is slow."""

from __future__ import annotations

from typing import Generic, TypeVar

from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._mirror_views import MirrorChange
from parasync.runtime._steps import Steps, WeakPush
from parasync.runtime._views import merge

T = TypeVar("T")


class MirrorChanges(Steps[MirrorChange[T]], Generic[T]):
    """The changes of a mirror from now on; an async iterator, and an async context manager that ends it.

    Several steps of one object that wait for the reader become one, which says how many it skipped, so that no more wait than
    there are objects. It ends by itself when the mirror or its transport is closed, or when nobody holds it any more. It is
    used in one event loop.
    """

    def __init__(self, seat: MirrorSeat[T]) -> None:
        super().__init__()
        self._seat = seat
        self._waiting: dict[str, MirrorChange[T]] = {}
        push = WeakPush(self)
        unlisten, _ = seat.listen(push)
        self._stop = (unlisten, seat.watch(push))

    def _over(self) -> bool:
        return self._seat.core.rules.closed or self._seat.over

    def _next(self) -> MirrorChange[T] | None:
        for key in self._waiting:
            return self._waiting.pop(key)
        return None

    def _take(self, change: MirrorChange[T]) -> None:
        waiting = self._waiting.get(change.key)
        if waiting is not None:
            merged = merge(waiting, change)
            assert isinstance(merged, MirrorChange)  # noqa: S101  # as both are
            change = merged
        self._waiting[change.key] = change
