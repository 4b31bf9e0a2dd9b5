"""Changes as an async iterator that never falls behind without saying so."""

from __future__ import annotations

from collections import deque
from typing import Any, Final, Generic, TypeVar

import attrs

from parasync.protocol import ABSENT, Held, Version
from parasync.runtime._group import Group
from parasync.runtime._member import Member
from parasync.runtime._steps import Steps, WeakPush
from parasync.runtime._views import Change, change_between, merge

T = TypeVar("T")

CHANGES_MAX: Final = 16
"""How many changes wait for a reader; one more, and all of them become one step to the newest, which counts what it skipped."""


class Changes(Steps[Change[T]], Generic[T]):
    """The changes of one replica from a given version on; an async iterator, and an async context manager that ends it.

    It ends by itself when the replica or its transport is closed, or when nobody holds it any more. It is used in one event
    loop.
    """

    def __init__(self, member: Member[T], group: Group, since: Version | None) -> None:
        super().__init__()
        self._member = member
        self._group = group
        self._since = since
        self._base = member.held
        self._waiting: deque[Change[T]] = deque()

    def _over(self) -> bool:
        return self._member.closed or self._group.over

    def _next(self) -> Change[T] | None:
        return self._waiting.popleft() if self._waiting else None

    def _take(self, change: Change[T]) -> None:
        if self._since is not None:
            if change.version <= self._since:
                return
            change = attrs.evolve(change, skipped=_versions_between(self._since, change.version))
            self._since = None
        self._waiting.append(change)
        if len(self._waiting) > CHANGES_MAX:
            merged = self._waiting.popleft()
            while self._waiting:
                merged = merge(merged, self._waiting.popleft())
            self._waiting.append(merged)

    def _listen(self) -> None:
        push = WeakPush(self)
        # Other threads push only after what was held when the listening began.
        with self._lock:
            unlisten, held = self._group.listen(self._member, push)
            self._stop = (unlisten, self._group.watch(self._member, push))
            base, self._base = (self._base if self._since is None else None), None
            never_was = base is None and held is not None and held.version == ABSENT
            if held is not None and not never_was and not _says_the_same(base, held):
                self._take(change_between(base, held, "since"))


def _says_the_same(base: Held[Any] | None, held: Held[Any]) -> bool:
    """Whether nothing changed: an answer that confirms what is shown replaces all but the value."""
    return base is held or (
        base is not None
        and base.version == held.version
        and base.kind is held.kind
        and getattr(base, "value", None) is getattr(held, "value", None)
    )


def _versions_between(first: Version, second: Version) -> int | None:
    return second.sequence - first.sequence - 1 if first.epoch == second.epoch else None
