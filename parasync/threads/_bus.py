"""A bus for programs without an event loop, and what its users share."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from parasync.errors import ParasyncError, UsageError
from parasync.threads._home import CALL_TIMEOUT_S, FORKED, Home, home
from parasync.transports._connect import connect as connect_in_loop
from parasync.transports._inprocess import InProcessTransport
from parasync.transports._protocol import SyncTransport, check_transport
from parasync.transports.nats import NatsTransport


class Bus:
    """A connected transport that lives in the loop thread; made by `connect`. Usable from any thread.

    Args:
        transport: the transport.
        home: the loop thread in which it was entered.
    """

    def __init__(self, transport: NatsTransport | InProcessTransport, home: Home) -> None:
        self._transport: NatsTransport | InProcessTransport | None = transport
        self._home = home
        home.kept[self] = None

    @property
    def transport(self) -> NatsTransport | InProcessTransport:
        """The transport; its methods are called in the loop thread only.

        Raises:
            UsageError: this process was forked from the one that made it.
        """
        if self._transport is None:
            raise UsageError(FORKED)
        return self._transport

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self.transport.closed

    @property
    def connected(self) -> bool:
        """Whether there is a connection now, as far as anybody can know."""
        transport = self.transport
        return not transport.closed if isinstance(transport, InProcessTransport) else transport.connected

    @property
    def last_error(self) -> ParasyncError | None:
        """What went wrong last; None if nothing ever did."""
        return getattr(self.transport, "last_error", None)

    def flush(self, timeout_s: float = CALL_TIMEOUT_S) -> None:
        """Wait until the server has everything that was published before, and has processed every subscription.

        Raises:
            AskTimeoutError: that took longer than `timeout_s` seconds.
            ClosedError: the bus was closed.
            UsageError: called in the loop thread, or in a forked process.
        """
        transport = self.transport
        if isinstance(transport, NatsTransport):
            self._home.wait(lambda: transport.flush(timeout_s), timeout_s, "a flush")

    def close(self, timeout_s: float | None = CALL_TIMEOUT_S) -> None:
        """End all that uses it, send what waits, and disconnect; may be called again.

        Raises:
            AskTimeoutError: that took longer than `timeout_s` seconds.
            UsageError: called in the loop thread, or in a forked process.
        """
        transport = self.transport
        if self in self._home.kept and not self._home.over:
            self._home.call(lambda: transport.__aexit__(None, None, None), timeout_s, "a bus to close")
            self._home.kept.pop(self, None)

    def _orphan(self) -> None:
        """See `Outer`."""
        self._transport = None

    async def _end(self) -> None:
        """See `Outer`."""
        await self.transport.__aexit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return "<Bus of another process>" if self._transport is None else f"<Bus {self._transport!r}>"


def connect(url: str, *, timeout_s: float | None = CALL_TIMEOUT_S, **options: Any) -> Bus:
    """A connection to a bus; entering it as a context manager is optional, and leaving it closes it.

    Args:
        url: `nats://host:port`, `tls://host:port`, or `inproc://name`.
        timeout_s: how long to wait at most, in seconds; None for as long as it takes.
        options: what the transport takes: see `NatsTransport` and `InProcessTransport`.

    Raises:
        ConnectError: no server took us, or the URL cannot be read.
        AskTimeoutError: there was no connection within `timeout_s` seconds.
        UsageError: another scheme, an option that the transport does not take, or called in the loop thread.
    """
    at_home = home()
    transport = at_home.enter(lambda: connect_in_loop(url, **options), timeout_s, "a connection")
    return Bus(transport, at_home)


def place_of(bus: Bus | SyncTransport) -> tuple[Home, SyncTransport]:
    """The loop thread in which the users of a bus live, and its transport.

    Raises:
        UsageError: it is no bus, or one of an event loop of the program's own.
    """
    if isinstance(bus, Bus):
        return bus._home, bus.transport
    check_transport(bus)
    if not bus.capabilities.threads:
        raise UsageError(f"got a {type(bus).__name__}, which belongs to another event loop, expected threads.connect(url)")
    return home(), bus
