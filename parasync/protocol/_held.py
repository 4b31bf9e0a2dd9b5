"""What a replica holds, what it refused, and what it knew when it asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from parasync.errors import ParseError, SchemaSkewError
from parasync.protocol._envelope import EncodedBody, Envelope, Kind
from parasync.protocol._messages import Position
from parasync.protocol._version import Version

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
        if envelope.kind is Kind.STATE:
            self.value = value  # type: ignore[assignment]  # a reader returns None for a tombstone only

    @property
    def version(self) -> Version:
        """The position `(epoch, sequence)`."""
        return Version(self.epoch, self.sequence)


class Refused(NamedTuple):
    """The newest version above the held one that a gate refused, and why (without payload text)."""

    position: Position
    reason: str


class Asked(NamedTuple):
    """What a replica knew when an ask was sent: the answer is judged against this."""

    needs: int
    position: Position | None


def same_value(held: Held[Any], envelope: Envelope[Any], value: object) -> bool:
    """Whether an envelope whose value was read as `value` says the same as what is held."""
    if held.kind is not envelope.kind or held.kind is Kind.TOMBSTONE:
        return held.kind is envelope.kind
    try:
        return bool(held.value is value or held.value == value)
    except Exception:  # noqa: BLE001  # the comparison is the user's; one that fails cannot show a difference
        return True


def same_content(held: Held[Any], envelope: Envelope[Any], read: Reader[Any]) -> bool:
    """Whether an envelope of the held version has the held content: by checksum where both have one, else by value."""
    if held.kind is not envelope.kind or held.kind is Kind.TOMBSTONE:
        return held.kind is envelope.kind
    if held.checksum is not None and envelope.checksum is not None:
        return held.checksum == envelope.checksum
    try:
        return isinstance(envelope.value, EncodedBody) or same_value(held, envelope, read(envelope))
    except (SchemaSkewError, ParseError):
        return False
