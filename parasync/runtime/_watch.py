"""How a coroutine waits for a replica to take a step, whichever thread makes it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from parasync.runtime._bell import Bell
from parasync.runtime._group import Group
from parasync.runtime._member import Member


class Watch:
    """Wakes one coroutine after every input of a replica; used as a context manager in the loop of that coroutine."""

    def __init__(self, member: Member[Any], group: Group) -> None:
        self._member = member
        self._group = group
        self._bell = Bell()

    def __enter__(self) -> Self:
        self._unlisten, _ = self._group.listen(self._member, self.poke)
        self._unwatch = self._group.watch(self._member, self.poke)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._unlisten()
        self._unwatch()

    def poke(self, _step: object = None) -> None:
        """The replica took a step; from any thread."""
        self._bell.ring()

    async def step(self) -> None:
        """Wait for the next step since the last call."""
        await self._bell.heard()
