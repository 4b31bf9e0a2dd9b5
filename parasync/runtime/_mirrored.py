"""What any thread may read of a mirror at any time, without waiting and without a lock."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from parasync.errors import DeletedError, NotReadyError
from parasync.protocol import Mirror, Status, Version
from parasync.runtime._checks import check_change
from parasync.runtime._index import Index, UniqueIndex, Where
from parasync.runtime._mirror_entry import counted
from parasync.runtime._mirror_file import MirrorSnapshot
from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._mirror_views import Live, Loaded
from parasync.runtime._views import Stats
from parasync.topic import Topic

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Mirrored(Live[str, T], Generic[T]):
    """The reads of a mirror, from any thread."""

    def __init__(self, topic: Topic[T], pattern: str | None, seat: MirrorSeat[T]) -> None:
        self._topic = topic
        self._pattern = pattern
        self._seat = seat
        self._core = seat.core
        # The same dictionary for ever: what changes is what it holds.
        self._held = seat.core.held
        self._begin = f"{topic.name}:"

    def __repr__(self) -> str:
        return f"<mirror {self._seat.name!r} {self.status.value}, {self._core.shown} objects>"

    def __getitem__(self, ident: str) -> T:
        self._check_ready()
        try:
            return self._held[self._key(ident)].value
        except (KeyError, AttributeError):
            raise KeyError(ident) from None

    def __contains__(self, ident: object) -> bool:
        self._check_ready()
        return isinstance(ident, str) and hasattr(self._held.get(self._key(ident)), "value")

    def __len__(self) -> int:
        self._check_ready()
        return self._core.shown

    def _pairs(self) -> Sequence[tuple[str, T]]:
        self._check_ready()
        return [(key.partition(":")[2], held.value) for key, held in list(self._held.items()) if hasattr(held, "value")]

    @property
    def topic(self) -> Topic[T]:
        """The topic whose objects are mirrored."""
        return self._topic

    @property
    def pattern(self) -> str | None:
        """Which of its objects are, None for all."""
        return self._pattern

    @property
    def loaded(self) -> Loaded:
        """How far the first load is."""
        return loaded_of(self._core)

    @property
    def status(self) -> Status:
        """What the mirror can say of its objects now; `SKEW` where some have newer versions that cannot be read."""
        return self._seat.face.status(self._seat.pace.clock())

    @property
    def age_s(self) -> float:
        """Seconds since all of it was surely current; infinite before the first proof."""
        return self._seat.face.age_s(self._seat.pace.clock())

    @property
    def reason(self) -> str:
        """Why the status is not `OK`, in words without payload text; "" if it is."""
        return self._seat.face.reason(self._seat.pace.clock())

    @property
    def stats(self) -> Stats:
        """What was counted since the mirror was made, for all objects together."""
        return Stats(**counted(self._seat))

    def version_of(self, ident: str) -> Version | None:
        """The version in which an object is shown, or was deleted; None where nothing is known of it.

        Args:
            ident: its id.
        """
        held = self._held.get(self._key(ident))
        return None if held is None else held.version

    def _shown(self, ident: str) -> T:
        """The value of an object, as a replica of it would show it."""
        key = self._key(ident)
        held = self._core.place(key)
        if held is not None and hasattr(held, "value"):
            return held.value
        refused = self._core.refused.get(key)
        if refused is not None:
            raise NotReadyError(f"no value of {key!r} can be read: {refused.reason}")
        if held is None:
            self._check_ready()
        raise DeletedError(f"{key!r} was deleted, or never existed", None if held is None else held.version)

    def _id_of(self, key: str) -> str | None:
        """The id of a key, None where it is not one of those that are mirrored."""
        return key.partition(":")[2] if self._core.concerns(key) else None

    def snapshot(self) -> MirrorSnapshot[T]:
        """All objects as they are at one moment, to look at, to save, or to begin another mirror with.

        Raises:
            NotReadyError: the first load is not done.
        """
        self._check_ready()
        core = self._core
        with self._seat.lock:
            held, refused = core.held.copy(), core.refused.copy()
            epoch, floor, history = core.rules.current_epoch, core.floor, core.history_epoch
        return MirrorSnapshot(self._topic, self._pattern, held, refused, epoch=epoch, floor=floor, history_epoch=history)

    def index(self, function: Callable[[T], K]) -> Index[K, T]:
        """The objects by what a function says of each of them, kept up to date with each change, as long as it is held.

        Args:
            function: from an object to what it is looked up by; it must not block. Where it raises, the object is left out.

        Raises:
            UsageError: it is not a plain function.
        """
        check_change(function)
        return Index(self._seat, function, self._check_ready)

    def unique(self, function: Callable[[T], K]) -> UniqueIndex[K, T]:
        """Like `index`, where each object has its own: from what the function says to the one object.

        Where several have the same, the one with the lowest id is shown, and `conflicts` names them.

        Args:
            function: from an object to what it is looked up by; it must not block. Where it raises, the object is left out.

        Raises:
            UsageError: it is not a plain function.
        """
        check_change(function)
        return UniqueIndex(self._seat, function, self._check_ready)

    def where(self, predicate: Callable[[T], object]) -> Where[T]:
        """Those objects of which a predicate holds, kept up to date with each change, as long as it is held.

        Args:
            predicate: says whether an object is one of them; it must not block. Where it raises, the object is none.

        Raises:
            UsageError: it is not a plain function.
        """
        check_change(predicate)
        return Where(self._seat, predicate, self._check_ready)

    def _key(self, ident: object) -> str:
        """The full key; no object has the one of something that is no text."""
        if not isinstance(ident, str):
            return ""
        return self._begin + ident if ident else self._topic.name

    def _check_ready(self) -> None:
        if not self._core.loaded:
            raise NotReadyError(f"nobody knows yet which objects {self._seat.name!r} has: `ready()` waits for that")


class MirroredObject(Generic[T]):
    """One object of a mirror, as a replica of it would be."""

    __slots__ = ("_ident", "_mirror")

    def __init__(self, mirror: Mirrored[T], ident: str) -> None:
        self._mirror = mirror
        self._ident = ident

    def __repr__(self) -> str:
        return f"<{self.key!r} of {self._mirror!r}>"

    @property
    def key(self) -> str:
        """Its key, e.g. `"user:123"`."""
        return self._mirror._key(self._ident)

    @property
    def value(self) -> T:
        """Its newest value.

        Raises:
            NotReadyError: nothing is known of it yet, or it cannot be read.
            DeletedError: it was deleted, or never existed.
        """
        return self._mirror._shown(self._ident)


def loaded_of(core: Mirror[Any]) -> Loaded:
    """How far the first load is."""
    return Loaded(len(core.held), core.total, core.loaded)
