"""What a gate makes of a value before a replica judges its envelope: the only part of the protocol that runs user code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from parasync.errors import ParseError, SchemaSkewError
from parasync.protocol._envelope import EncodedBody, Envelope, Kind
from parasync.protocol._held import Held, Reader

if TYPE_CHECKING:
    from parasync.protocol._replica import Replica

UNREAD: Final = object()
"""A reading that was not made, since the envelope is not newer than what is held."""
OTHER_CONTENT: Final = object()
"""The same for an envelope of the held version with other content."""


class Unreadable(NamedTuple):
    """A reading that a gate refused."""

    error: SchemaSkewError | ParseError


def prepare_reading(replica: Replica[Any], envelope: Envelope[Any]) -> object:
    """Decode and check a value as far as the cheap gates let it pass; the result goes with the input that follows.

    To be called without the driver's lock, since validators, upcasts and comparisons are the user's.
    """
    held = replica.held
    if held is None or replica.would_read(envelope):
        try:
            value = replica.read(envelope)
        except (SchemaSkewError, ParseError) as error:
            return Unreadable(error)
        if held is not None and envelope.version == held.version and same_value(held, envelope, value):
            return getattr(held, "value", None)
        return value
    same = envelope.version < held.version or same_content(held, envelope, replica.read)
    return UNREAD if same else OTHER_CONTENT


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
