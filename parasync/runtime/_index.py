"""What a mirror holds, arranged by a function of the user, and kept so with each change."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._mirror_views import Check, Live, MirrorChange

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

_NOWHERE: Final = object()


class _Shelves(Generic[T]):
    """The objects by the place that a function gives to each. One on which the function raises has no place.

    It is filled from what is held when it is made; what changes meanwhile waits for that, so that nobody who publishes does.
    """

    def __init__(self, seat: MirrorSeat[T], function: Callable[[T], Any]) -> None:
        self.entries: dict[Any, dict[str, T]] = {}
        self.shared: set[Any] = set()
        """The places that more than one object has."""
        self._seat = seat
        self._function = function
        self._places: dict[str, Any] = {}
        self._backlog: list[MirrorChange[T]] | None = []
        self._lock = threading.Lock()
        self._stop, held = seat.listen(_WeakTake(self))
        for key, each in held.items():
            if hasattr(each, "value"):
                self._put(key.partition(":")[2], each.value)
        while True:
            with self._lock:
                if not self._backlog:
                    self._backlog = None
                    break
                backlog, self._backlog = self._backlog, []
            for change in backlog:
                self._take(change)

    def take(self, change: MirrorChange[T]) -> None:
        """An object made a step."""
        with self._lock:
            if self._backlog is not None:
                self._backlog.append(change)
                return
        self._take(change)

    def _take(self, change: MirrorChange[T]) -> None:
        if change.deleted:
            self._move(change.id, _NOWHERE, None)
        else:
            self._put(change.id, change.new)

    def _put(self, ident: str, value: Any) -> None:
        try:
            place = self._function(value)
            self._move(ident, place, value)
        except BaseException as error:  # noqa: BLE001  # the function and what it returns are the user's
            self._move(ident, _NOWHERE, None)
            if fatal := self._seat.report(error):
                raise fatal from None

    def _move(self, ident: str, place: Any, value: Any) -> None:
        old = self._places.get(ident, _NOWHERE)
        if place is not _NOWHERE:
            # First where it is, then no more where it was: who reads in between finds it.
            entry = self.entries.setdefault(place, {})
            entry[ident] = value
            self._places[ident] = place
            if len(entry) > 1:
                self.shared.add(place)
        else:
            self._places.pop(ident, None)
        if old is not _NOWHERE and (place is _NOWHERE or old != place):
            entry = self.entries[old]
            del entry[ident]
            if len(entry) < 2:  # it shares its place with nobody
                self.shared.discard(old)
            if not entry:
                del self.entries[old]

    def __del__(self) -> None:
        stop = getattr(self, "_stop", None)
        if stop is not None:
            stop()


class _WeakTake:
    """Keeps shelves as long as somebody holds them."""

    __slots__ = ("_shelves",)

    def __init__(self, shelves: _Shelves[Any]) -> None:
        self._shelves = weakref.ref(shelves)

    def __call__(self, change: MirrorChange[Any]) -> None:
        shelves = self._shelves()
        if shelves is not None:
            shelves.take(change)


class Index(Live[K, Mapping[str, T]], Generic[K, T]):
    """The objects of a mirror by what a function says of them: for each of its results the objects, by id.

    Made by `mirror.index`. It is up to date when the listeners of a change were called. An object on which the function raises,
    or whose result cannot be hashed, stands nowhere, which is logged and counted in `stats.handler_errors`.
    """

    __slots__ = ("_check", "_shelves")

    def __init__(self, seat: MirrorSeat[T], function: Callable[[T], K], check: Check) -> None:
        self._check = check
        self._shelves: _Shelves[T] = _Shelves(seat, function)

    def __getitem__(self, key: K) -> Mapping[str, T]:
        self._check()
        if key not in self._shelves.entries:
            raise KeyError(key)
        return _Matches(self._shelves, key)

    def __len__(self) -> int:
        self._check()
        return len(self._shelves.entries)

    def _pairs(self) -> Sequence[tuple[K, Mapping[str, T]]]:
        self._check()
        return [(key, _Matches(self._shelves, key)) for key in list(self._shelves.entries)]


class UniqueIndex(Live[K, T], Generic[K, T]):
    """The objects of a mirror by what a function says of them, where each has its own: for each of its results one object.

    Made by `mirror.unique`. Where several objects have the same, the one with the lowest id is shown, and `conflicts` names it.
    All else is as for an `Index`.
    """

    __slots__ = ("_check", "_shelves")

    def __init__(self, seat: MirrorSeat[T], function: Callable[[T], K], check: Check) -> None:
        self._check = check
        self._shelves: _Shelves[T] = _Shelves(seat, function)

    @property
    def conflicts(self) -> Mapping[K, tuple[str, ...]]:
        """What more than one object has, with the ids of these objects, the lowest first."""
        entries = [(key, self._shelves.entries.get(key, {})) for key in list(self._shelves.shared)]
        return {key: tuple(sorted(entry)) for key, entry in entries if entry}

    def __getitem__(self, key: K) -> T:
        self._check()
        entry = dict(self._shelves.entries[key])
        if not entry:  # it was emptied just now
            raise KeyError(key)
        return entry[min(entry)]

    def __len__(self) -> int:
        self._check()
        return len(self._shelves.entries)

    def _pairs(self) -> Sequence[tuple[K, T]]:
        self._check()
        entries = [(key, dict(entry)) for key, entry in list(self._shelves.entries.items())]
        return [(key, entry[min(entry)]) for key, entry in entries if entry]


class Where(Live[str, T], Generic[T]):
    """Those objects of a mirror of which a predicate holds, by id.

    Made by `mirror.where`. An object on which the predicate raises is left out, which is logged and counted.
    """

    __slots__ = ("_check", "_shelves")

    def __init__(self, seat: MirrorSeat[T], predicate: Callable[[T], object], check: Check) -> None:
        self._check = check
        self._shelves: _Shelves[T] = _Shelves(seat, lambda value: True if predicate(value) else _NOWHERE)

    def __getitem__(self, ident: str) -> T:
        self._check()
        return self._chosen()[ident]

    def __len__(self) -> int:
        self._check()
        return len(self._chosen())

    def _pairs(self) -> Sequence[tuple[str, T]]:
        self._check()
        return list(self._chosen().items())

    def _chosen(self) -> Mapping[str, T]:
        return self._shelves.entries.get(True, {})


class _Matches(Live[str, T], Generic[T]):
    """The objects at one place, as long as there are any."""

    __slots__ = ("_place", "_shelves")

    def __init__(self, shelves: _Shelves[T], place: Any) -> None:
        self._shelves = shelves
        self._place = place

    def __getitem__(self, ident: str) -> T:
        return self._entry()[ident]

    def __len__(self) -> int:
        return len(self._entry())

    def _pairs(self) -> Sequence[tuple[str, T]]:
        return list(self._entry().items())

    def _entry(self) -> Mapping[str, T]:
        return self._shelves.entries.get(self._place, {})
