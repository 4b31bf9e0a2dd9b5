"""What replicas and authorities demand of their arguments."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Final

from parasync.codec import META_BYTES_MAX, META_ENTRIES_MAX, meta_fits
from parasync.errors import EncodeError, UsageError
from parasync.protocol import Envelope, Version
from parasync.transports._wire import IDEMPOTENCY_CHARS_MAX

TOMBSTONE_TTL_S: Final = 7 * 24 * 3600.0
"""After how many seconds the trace of a deletion is dropped, unless told otherwise."""


def check_kind(name: str, value: object, kind: type, example: str) -> None:
    """Raise unless an option is None or of its type.

    Raises:
        UsageError: it is something else.
    """
    if value is not None and not isinstance(value, kind):
        # Of what others write, a method may be missing that an earlier version did not demand.
        methods = [each for each, member in vars(kind).items() if inspect.isfunction(member) and not each.startswith("_")]
        missing = [each for each in methods if getattr(kind, "_is_protocol", False) and not hasattr(value, each)]
        without = f" without {', '.join(missing)}" if 0 < len(missing) < len(methods) else ""
        raise UsageError(f"got a {type(value).__name__}{without} as {name}, expected one such as {example}")


def check_replica(seed: object, refetch: object, cell: object, gap: object) -> None:
    """Raise unless a replica can be made with these.

    Raises:
        UsageError: the seed is no envelope, `refetch` no function, `cell` no cell, or `gap` no policy.
    """
    if gap not in ("refetch", "apply"):
        raise UsageError(f"got gap={gap!r}, expected 'refetch' or 'apply'")
    if seed is not None and not isinstance(seed, Envelope):
        raise UsageError(f"got a {type(seed).__name__} as seed, expected an Envelope")
    if refetch is not None and not callable(refetch):
        raise UsageError(f"got a {type(refetch).__name__} as refetch, expected a function that returns the newest envelope")
    if cell is not None and not (callable(getattr(cell, "get", None)) and callable(getattr(cell, "set", None))):
        raise UsageError(f"got a {type(cell).__name__} as cell, expected an object with get, peek and set")


def check_conditions(expected: Version | None, idempotency_key: str | None) -> None:
    """Raise unless a write can be made under these conditions.

    Raises:
        UsageError: `expected` is no version, or the idempotency key no text, or too long to be remembered.
    """
    if expected is not None and not isinstance(expected, Version):
        raise UsageError(f"got a {type(expected).__name__} as expected version, expected a Version")
    if idempotency_key is None:
        return
    wanted = f"expected a text of at most {IDEMPOTENCY_CHARS_MAX} characters"
    if not isinstance(idempotency_key, str):
        raise UsageError(f"got a {type(idempotency_key).__name__} as idempotency key, {wanted}")
    if len(idempotency_key) > IDEMPOTENCY_CHARS_MAX:
        raise UsageError(f"got an idempotency key of {len(idempotency_key)} characters, {wanted}")


def check_meta(meta: Mapping[str, str]) -> None:
    """Raise unless an envelope can carry this.

    Raises:
        EncodeError: it is no mapping of texts, or too large.
    """
    if not (isinstance(meta, Mapping) and meta_fits(meta)):
        fitting = f"at most {META_ENTRIES_MAX} texts by name, {META_BYTES_MAX} bytes in all"
        raise EncodeError(f"got a meta that does not fit, expected {fitting}")


def check_remote_writes(remote_writes: object) -> None:
    """Raise unless this says whether others may write.

    Raises:
        UsageError: it is neither a bool nor a function.
    """
    if not isinstance(remote_writes, bool) and not callable(remote_writes):
        raise UsageError(f"got a {type(remote_writes).__name__} as remote_writes, expected True, False or a function")


def check_change(change: Callable[..., object]) -> None:
    """Raise unless this is a plain function.

    Raises:
        UsageError: it cannot be called, or it is a coroutine function, which nobody would await.
    """
    if not callable(change) or inspect.iscoroutinefunction(change):
        raise UsageError(f"got a {type(change).__name__} that is no plain function, expected one from the old value to the new")


def check_wait(name: str, value_s: float) -> None:
    """Raise unless this is a number of seconds; one of 0 or less has passed already.

    Raises:
        UsageError: it is no number.
    """
    if not isinstance(value_s, int | float) or math.isnan(value_s):
        raise UsageError(f"got {name}={value_s!r}, expected a number of seconds")


def check_ttl(ttl_s: object, least_s: float) -> None:
    """Raise unless tombstones become old enough.

    Raises:
        UsageError: it is no number of seconds, or below the least.
    """
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float) or not ttl_s >= least_s:
        expected = f"at least takeover_after_s={least_s!r}, or math.inf for never"
        raise UsageError(f"got tombstone_ttl_s={ttl_s!r}, expected {expected}")
