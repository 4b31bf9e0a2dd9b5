"""Where tracing takes hold: of authorities, listeners and streams that are made while it is on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from parasync.protocol import TOMBSTONE, Version
from parasync.runtime._group import Group
from parasync.runtime._member import Member
from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._mirror_stream import MirrorChanges
from parasync.runtime._mirror_views import MirrorChange
from parasync.runtime._pen import Pen
from parasync.runtime._stream import Changes
from parasync.runtime._views import Change
from parasync.stores import Draft

T = TypeVar("T")


class Tracing(Protocol):
    """Follows versions from their writer to who is told of them."""

    async def write(self, draft: Draft, write: Callable[[Draft], Awaitable[Version]]) -> Version:
        """Write a draft, with what others need to follow it in its meta."""

    def told(self, key: str, change: Change[Any], listener: Callable[[Change[Any]], None] | None) -> None:
        """Call a listener, if there is one, with a change of an object."""


tracing: Tracing | None = None
"""None while nobody traces."""


def trace(by: Tracing | None) -> None:
    """Trace from now on; None: no more."""
    global tracing
    tracing = by


def pen_class() -> type[Pen]:
    """What a new authority writes with."""
    return Pen if tracing is None else _TracedPen


def listening(key: str, listener: Callable[[Change[T]], None]) -> Callable[[Change[T]], None]:
    """What to call instead of a new listener."""
    if tracing is None:
        return listener
    return lambda change: listener(change) if tracing is None else tracing.told(key, change, listener)


def listening_to_all(listener: Callable[[MirrorChange[T]], None]) -> Callable[[MirrorChange[T]], None]:
    """The same for a new listener of a mirror."""
    if tracing is None:
        return listener
    return lambda change: listener(change) if tracing is None else tracing.told(change.key, change, lambda _: listener(change))


def stream_of(member: Member[T], group: Group, since: Version | None) -> Changes[T]:
    """A new stream of changes."""
    return Changes(member, group, since) if tracing is None else _TracedChanges(member, group, since)


def mirror_stream_of(seat: MirrorSeat[T]) -> MirrorChanges[T]:
    """A new stream of changes of a mirror."""
    return MirrorChanges(seat) if tracing is None else _TracedMirrorChanges(seat)


class _TracedPen(Pen):
    """Writes within a trace."""

    def write_now(self, value: object, draft: Draft) -> Version | None:
        """Never: what is traced is written by `write`."""
        return None

    async def write(self, value: object, draft: Draft) -> Version:
        """See `Pen.write`."""

        async def written(draft: Draft) -> Version:
            version = None if draft.kind is TOMBSTONE else Pen.write_now(self, value, draft)
            return await Pen.write(self, value, draft) if version is None else version

        return await (written(draft) if tracing is None else tracing.write(draft, written))


class _TracedChanges(Changes[T]):
    """Tells of each change that it hands out."""

    async def __anext__(self) -> Change[T]:
        change = await super().__anext__()
        if tracing is not None:
            tracing.told(self._member.key, change, None)
        return change


class _TracedMirrorChanges(MirrorChanges[T]):
    """The same for a mirror."""

    async def __anext__(self) -> MirrorChange[T]:
        change = await super().__anext__()
        if tracing is not None:
            tracing.told(change.key, change, None)
        return change
