"""What replicas and authorities demand of their arguments."""

from __future__ import annotations

import math

from parasync.errors import UsageError
from parasync.transports._protocol import Capabilities, SyncTransport


def check_transport(transport: SyncTransport) -> None:
    """Raise unless this can be a transport.

    Raises:
        UsageError: it says nothing of its capabilities.
    """
    if not isinstance(getattr(transport, "capabilities", None), Capabilities):
        raise UsageError(f"got a {type(transport).__name__}, expected a transport such as InProcessTransport() or connect(url)")


def check_wait(name: str, value_s: float) -> None:
    """Raise unless this is a number of seconds; one of 0 or less has passed already.

    Raises:
        UsageError: it is no number.
    """
    if not isinstance(value_s, int | float) or math.isnan(value_s):
        raise UsageError(f"got {name}={value_s!r}, expected a number of seconds")
