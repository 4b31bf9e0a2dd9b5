"""What a mirror holds: many objects, judged one after the other by the rules of a replica, and one digest of them all.

Only what is needed to judge an object again is kept of it: value and version as one reference, as a replica has it. An object
that is not held is a tombstone at the floor, once that was proven; a tombstone at or below the floor is therefore not kept.
"""

from __future__ import annotations

import math
from sys import intern
from typing import Any, Generic, NamedTuple, TypeVar, cast

from parasync.protocol._digest import Digest
from parasync.protocol._envelope import STATE, TOMBSTONE, Envelope
from parasync.protocol._held import GapPolicy, Held, Reader, Refused
from parasync.protocol._positions import TOMBSTONE_CHECKSUM, Position
from parasync.protocol._reading import prepare_reading
from parasync.protocol._replica import Replica
from parasync.protocol._standing import NOWHERE
from parasync.protocol._version import ABSENT, Version

T = TypeVar("T")


class Judge(Replica[T], Generic[T]):
    """The rules, which judge one object of a mirror after the other; needs, counters and age are those of the mirror."""

    __slots__ = ()

    def _close_followed(self) -> None:
        """What follows in one object says nothing of the others."""

    def _hold(self, envelope: Envelope[Any], value: Any) -> None:
        super()._hold(envelope, value)
        share(cast("Held[T]", self.held), self.current_epoch)


class _Place(NamedTuple):
    """What `prepare_reading` looks at."""

    held: Held[Any] | None
    read: Reader[Any]
    provisional: bool = False


class Holdings(Generic[T]):
    """What a mirror holds.

    Args:
        topic: whose objects are held.
        prefix: how the keys of those begin that are held, "" for all.
        read: decodes and checks values.
        lossless: the transport loses nothing; then beats have nothing to tell.
        gap: what to do after a gap.
        stale_after_s: the age in seconds above which a proof is too old.
        stale_by_beats: while beats prove, a proof is too old after `BEAT_INTERVALS_MAX` of their intervals instead.
    """

    __slots__ = (
        "_topic", "_unheld", "digest", "floor", "held", "moved", "prefix", "refused", "rules", "shown", "tombstones",
    )  # fmt: skip

    def __init__(
        self,
        topic: str,
        read: Reader[T],
        *,
        prefix: str = "",
        lossless: bool = False,
        gap: GapPolicy = "refetch",
        stale_after_s: float = math.inf,
        stale_by_beats: bool = False,
    ) -> None:
        self.rules: Judge[T] = Judge(
            read, lossless=lossless, askable=True, gap=gap, stale_after_s=stale_after_s, stale_by_beats=stale_by_beats
        )
        self.prefix = prefix
        self.held: dict[str, Held[T]] = {}
        """What is held, by its key; tombstones above the floor included."""
        self.refused: dict[str, Refused] = {}
        """The newest version of each object that a gate refused, where it is above what is held."""
        self.tombstones: dict[str, Version] = {}
        """Where those are that are deleted, and nothing newer of them was refused."""
        self.digest = None if prefix else Digest()
        """Of the newest version known of each object, refused ones included."""
        self.floor = ABSENT
        self.shown = 0
        """How many objects are held that are not deleted."""
        self.moved: Held[T] | None = None
        """What the last input has made of its object."""
        self._topic = topic
        self._unheld: Held[T] | None = None

    def concerns(self, key: str) -> bool:
        """Whether a key is one of those that are mirrored."""
        return key.startswith(self.prefix or f"{self._topic}:") or (not self.prefix and key == self._topic)

    def prepare(self, key: str, envelope: Envelope[Any]) -> object:
        """Decode and check a value as far as the cheap gates let it pass; see `prepare_reading`."""
        place = _Place(self._held(key), self.rules.read)
        return prepare_reading(cast("Replica[Any]", place), envelope)

    def known(self) -> list[str]:
        """The keys of all objects of which anything is known."""
        return [*self.held, *[key for key in list(self.refused) if key not in self.held]]

    def place(self, key: str) -> Held[T] | None:
        """What is known of an object: what is held, or that it is deleted; None where nothing was proven yet."""
        return self._held(key)

    def _where(self, key: str) -> tuple[Position | None] | None:
        """What to ask for an object with; None where nothing is known of it, so that it is not named."""
        held = self.held.get(key)
        if held is None:
            return (None,) if key in self.refused else None
        return (Position.of(held),)

    def _turn(self, key: str) -> Position | None:
        """Let the rules judge an object; returns where it stood, None for nowhere."""
        self.rules.held, self.rules.refused = self._held(key), self.refused.get(key)
        return self._position(key) if key in self.held or key in self.refused else None

    def _held(self, key: str) -> Held[T] | None:
        # An object of which only a refused version is known exists: it may be far below the floor.
        return self.held.get(key, None if key in self.refused else self._unheld)

    def _position(self, key: str) -> Position:
        refused = self.refused.get(key)
        if refused is not None:
            return refused.position  # it is above what is held
        held = self._held(key)
        return NOWHERE if held is None else Position.of(held)

    def _keep(self, key: str, before: Position | None, resets: int) -> None:
        """Write down what the rules have made of an object, in one swap for those who read it."""
        rules = self.rules
        held, refused, old = rules.held, rules.refused, self.held.get(key)
        self.moved = held
        if old is None:
            rules.resets = resets  # what was not held belongs to no life
        # Where only a refused version is known, the floor says nothing: see `_held`.
        named = refused is not None and old is not None
        gone = held is not None and held.kind is TOMBSTONE and held.version <= self.floor and not named
        if gone or held is None:
            self.held.pop(key, None)
        elif held is not old:
            self.held[key] = held
        self.shown += (held is not None and held.kind is STATE) - (old is not None and old.kind is STATE)
        if refused is None:
            self.refused.pop(key, None)
        else:
            self.refused[key] = refused
        after = self._position(key) if key in self.held or key in self.refused else None
        if after != before:
            self._moved(key, before, after)
        rules.held, rules.refused = self._unheld, None

    def _moved(self, key: str, before: Position | None, after: Position | None) -> None:
        """The newest version known of an object is another one."""
        if self.digest is not None:
            self.digest.replace(key, before, after)
        self.tombstones.pop(key, None)
        if after is not None and after.checksum == TOMBSTONE_CHECKSUM:
            self.tombstones[key] = after.version

    def _digest_at(self, digest: Digest, floor: Version) -> Digest:
        """The digest without the tombstones that are as good as dropped."""
        if floor <= self.floor:
            return digest
        gone = [(key, version) for key, version in self.tombstones.items() if version <= floor]
        digest = digest.copy() if gone else digest
        for key, version in gone:
            digest.remove(key, Position(version, TOMBSTONE_CHECKSUM))
        return digest

    def _adopt(self, floor: Version) -> None:
        """A proof brings its floor: tombstones up to there are forgotten."""
        if self._unheld is not None and floor <= self.floor:
            return
        self.floor = floor
        self._unheld = Held(Envelope(None, "0.0", floor.sequence, floor.epoch, kind=TOMBSTONE), None)
        self.rules.held = self._unheld
        dropped = [(key, version) for key, version in self.tombstones.items() if version <= floor]
        for key, version in dropped:
            self._moved(key, Position(version, TOMBSTONE_CHECKSUM), None)
            self.held.pop(key, None)
        if dropped:  # a dict from which much was deleted keeps the memory of that
            self.tombstones = dict(self.tombstones)


def share(held: Held[Any], epoch: int) -> None:
    """Let a million objects share what is the same in all of them, whichever frames they came in."""
    held.schema_version = intern(held.schema_version)  # type: ignore[misc]  # nobody has seen it yet
    if held.epoch == epoch:
        held.epoch = epoch  # type: ignore[misc]  # likewise
