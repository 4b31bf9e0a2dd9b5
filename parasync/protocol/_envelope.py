"""The envelope: one version of one object, and all that is needed to judge it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Generic, TypeVar

import attrs

from parasync.protocol._version import Version, version_of

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

NO_META: Final[Mapping[str, str]] = MappingProxyType({})
"""The empty `meta`, shared by all envelopes that have none."""


class Kind(enum.IntEnum):
    """What an envelope says of its object: this is its state, or it was deleted."""

    STATE = 0
    TOMBSTONE = 1


# Python 3.11 takes longer to find a member in an enum than to compare a dozen numbers, and this is compared with every message.
STATE: Final = Kind.STATE
"""`Kind.STATE`, found at once."""
TOMBSTONE: Final = Kind.TOMBSTONE
"""`Kind.TOMBSTONE`, found at once."""


class EncodedBody(bytes):
    """The encoded value of an envelope that came off a bus or out of a store; a gate decodes it when it is needed."""

    __slots__ = ()


@attrs.define(slots=True, eq=True, kw_only=False, unsafe_hash=False)
class Envelope(Generic[T]):
    """One version of one object. Treat it as immutable once it was handed over.

    Args:
        value: the full object, never a part: a Python value in process, an `EncodedBody` off a bus or out of a store,
            None for a tombstone.
        schema_version: `"major.minor"`, the shape of the value.
        sequence: counts the writes of this object, 1 to `SEQUENCE_MAX`.
        epoch: the life of the authority that wrote this version, 0 to `EPOCH_MAX`.
        after: the sequence of this key that was sent before this one; None means `sequence - 1`. A bus that conflates
            lowers it, so that a reader can tell what was left out on purpose from what was lost.
        kind: a state, or a tombstone.
        meta: small texts that ride along: trace context, origin, time of writing. Never used to order.
        checksum: tells two values of the same version apart (CRC-32 of kind, schema version and body); None where nothing
            was encoded yet.
        body: the encoded form of `value` where the writer has it already, so that a bus need not encode again.
    """

    value: T
    schema_version: str
    sequence: int
    epoch: int = 0
    after: int | None = None
    kind: Kind = Kind.STATE
    meta: Mapping[str, str] = NO_META
    checksum: int | None = None
    body: EncodedBody | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def version(self) -> Version:
        """The position `(epoch, sequence)`."""
        return version_of((self.epoch, self.sequence))
