"""What a replica holds, what it refused, and what it knew when it asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from parasync.protocol._envelope import STATE, Envelope
from parasync.protocol._positions import Position
from parasync.protocol._version import Version, version_of

T = TypeVar("T")

Reader: TypeAlias = Callable[[Envelope[Any]], T | None]
"""Decodes and checks the value of an envelope; raises `SchemaSkewError` or `ParseError`, nothing else."""
GapPolicy: TypeAlias = Literal["refetch", "apply"]
"""After a gap: ask for the newest version, or trust the full object that has just been applied."""


class Held(Generic[T]):
    """One applied version: swapped as a whole, so that any thread reads value and version of the same write.

    `value` is left unset for a tombstone: reading it is the one check on the path of every read.
    """

    __slots__ = ("checksum", "epoch", "kind", "meta", "schema_version", "sequence", "value")

    value: T

    def __init__(self, envelope: Envelope[Any], value: T | None) -> None:
        self.epoch: Final = envelope.epoch
        self.sequence: Final = envelope.sequence
        self.checksum: Final = envelope.checksum
        self.schema_version: Final = envelope.schema_version
        self.meta: Final[Mapping[str, str]] = envelope.meta
        self.kind: Final = envelope.kind
        if envelope.kind is STATE:
            self.value = value  # type: ignore[assignment]  # T may be None itself; a reader returns None else for a tombstone

    @property
    def version(self) -> Version:
        """The position `(epoch, sequence)`."""
        return version_of((self.epoch, self.sequence))

    def precedes(self, envelope: Envelope[Any]) -> bool:
        """Whether an envelope is newer, of the same life, and nothing was sent between."""
        sequence, after = envelope.sequence, envelope.after
        held = self.sequence
        return self.epoch == envelope.epoch and sequence > held and (sequence - 1 if after is None else after) <= held


class Refused(NamedTuple):
    """The newest version above the held one that a gate refused, and why (without payload text)."""

    position: Position
    reason: str


class Asked(NamedTuple):
    """What a replica knew when an ask was sent: the answer is judged against this."""

    needs: int
    position: Position | None
