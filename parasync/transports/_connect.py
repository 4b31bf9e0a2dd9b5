"""From a URL to the transport that carries it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from parasync.errors import UsageError
from parasync.transports._inprocess import InProcessTransport

if TYPE_CHECKING:
    from parasync.transports.nats import NatsTransport

_INPROCESS: Final = "inproc://"
_EXPECTED: Final = "expected nats://host:port, tls://host:port or inproc://name"

_lock: Final = threading.Lock()
_named: Final[WeakValueDictionary[str, InProcessTransport]] = WeakValueDictionary()


def connect(url: str, **options: Any) -> NatsTransport | InProcessTransport:
    """Make the transport for a URL, to be used as `async with ... as bus`, which connects and closes it.

    `inproc://name` is the same transport for all who use the name in this process; it is closed when the last of those who
    entered it has left, and the name is free again.

    Args:
        url: `nats://host:port`, `tls://host:port`, or `inproc://name`.
        options: what the transport takes: see `NatsTransport` and `InProcessTransport`.

    Raises:
        UsageError: another scheme, no name, or an option that the transport does not take.
        ConnectError: the rest of the URL cannot be read.
    """
    if not isinstance(url, str):
        raise UsageError(f"got a {type(url).__name__}, {_EXPECTED}")
    try:
        if url.startswith(_INPROCESS):
            return _in_process(url.removeprefix(_INPROCESS), **options)
        if url.startswith(("nats://", "tls://")):
            from parasync.transports.nats import NatsTransport

            return NatsTransport(url, **options)
    except TypeError:
        raise UsageError(f"got options that {url.partition('://')[0]}:// does not take: {', '.join(sorted(options))}") from None
    # What has no scheme may begin with a secret.
    scheme, found, _ = url.partition("://")
    raise UsageError(f"got a URL {f'with the scheme {scheme[:20]!r}' if found else 'without a scheme'}, {_EXPECTED}")


def _in_process(name: str, **options: Any) -> InProcessTransport:
    if not name:
        raise UsageError(f"got inproc:// without a name, {_EXPECTED}")
    with _lock:
        transport = _named.get(name)
        if transport is None or transport.closed:
            transport = _named[name] = InProcessTransport(**options)
        elif options:
            raise UsageError(f"got options for inproc://{name}, which exists already, expected them where it is made first")
        return transport
