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
    # One look at each, in this order: another thread may swap both, and being provisional no longer costs but a reading.
    provisional = replica.provisional
    held = replica.held
    if held is None or provisional or envelope.version > held.version:
        try:
            value = replica.read(envelope)
        except (SchemaSkewError, ParseError) as error:
            return Unreadable(error)
        if provisional and held is not None and envelope.version == held.version and same_value(held, envelope, value):
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
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # the comparison is the user's; one that fails cannot show a difference
        return True


def same_content(held: Held[Any], envelope: Envelope[Any], read: Reader[Any]) -> bool:
    """Whether an envelope of the held version has the held content: by checksum where both have one, else by value."""
    same = _same_at_a_glance(held, envelope)
    if same is not None:
        return same
    try:
        return isinstance(envelope.value, EncodedBody) or same_value(held, envelope, read(envelope))
    except (SchemaSkewError, ParseError):
        return False


def contradicts(held: Held[Any], envelope: Envelope[Any], reading: object, *, provisional: bool = False) -> bool:
    """Whether an envelope of the held version has other content. Runs no user code.

    The reading decides only where checksums do not: it may have been made for another replica, which held another version.
    What may replace a provisional value was read in any case, and the same value stands for the same content.
    """
    same = _same_at_a_glance(held, envelope)
    if same is not None:
        return not same
    return reading is OTHER_CONTENT or (provisional and reading is not UNREAD and reading is not getattr(held, "value", None))


def _same_at_a_glance(held: Held[Any], envelope: Envelope[Any]) -> bool | None:
    """Whether both say the same of one version; None where only a comparison of the values tells."""
    if held.kind is not envelope.kind or held.kind is Kind.TOMBSTONE:
        return held.kind is envelope.kind
    if held.checksum is None or envelope.checksum is None:
        return None
    return held.checksum == envelope.checksum
