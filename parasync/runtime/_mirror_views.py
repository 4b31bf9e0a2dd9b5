"""What users are shown of a mirror beside its objects."""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from typing import Any, Generic, TypeVar

import attrs

from parasync.protocol import Held
from parasync.runtime._views import Cause, Change, change_between

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")


@attrs.define(slots=True)
class MirrorChange(Change[T], Generic[T]):
    """One step of one object of a mirror; a `Change` that says of which. Treat it as immutable: listeners share it.

    Args:
        old: the value before; None if there was none, or it was deleted.
        new: the value now; None if it was deleted.
        version: of what is shown now.
        cause: why it changed.
        skipped: how many versions lie between the two; None where that is not known.
        deleted: whether the object is gone.
        meta: what the writer attached to this version.
        key: of the object, e.g. `"user:123"`; `id` is the part that the mirror knows it by.
    """

    key: str

    @property
    def id(self) -> str:
        """The id of the object, "" for the one object of a topic without ids."""
        return self.key.partition(":")[2]


@attrs.frozen
class Loaded:
    """How far the first load of a mirror is.

    Args:
        objects: how many objects are known by now, deleted ones included.
        total: how many the authority said that there are; None where nobody knows, as for a pattern.
        done: whether all are there, so that the mirror can be read.
    """

    objects: int
    total: int | None
    done: bool


def mirror_change(key: str, old: Held[T] | None, new: Held[Any], cause: Cause) -> MirrorChange[T]:
    """The step of one object from one held version to another."""
    step = change_between(old, new, cause)
    return MirrorChange(step.old, step.new, step.version, cause, step.skipped, step.deleted, step.meta, key)


class Live(Mapping[K, V]):
    """A read-only mapping that changes by itself. What is iterated over is what it held when that began."""

    __slots__ = ()

    def _pairs(self) -> Sequence[tuple[K, V]]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[K]:
        return iter([key for key, _ in self._pairs()])

    def items(self) -> ItemsView[K, V]:
        """The pairs; what is iterated over is what there was when that began."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """The values; what is iterated over is what there was when that began."""
        return _Values(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__.strip('_').lower()} of {len(self)}>"


class _Items(ItemsView[K, V]):
    _mapping: Live[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return iter(self._mapping._pairs())


class _Values(ValuesView[V]):
    _mapping: Live[Any, V]

    def __iter__(self) -> Iterator[V]:
        return iter([value for _, value in self._mapping._pairs()])


Check = Callable[[], None]
"""Raises unless a mirror can be read."""
