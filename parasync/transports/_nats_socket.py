"""The socket below a NATS client: opened by us, so that it can be aborted, watched, and kept from sending secrets in clear."""

from __future__ import annotations

import ipaddress
import os
import ssl
from typing import Any, Final, NamedTuple
from urllib.parse import ParseResult, unquote, urlsplit

from nats.aio.transport import TcpTransport

from parasync.errors import ConnectError

NATS_PORT: Final = 4222
"""Where a server listens unless the URL says otherwise."""

_SCHEMES: Final = ("nats", "tls")
_BUFFER_BYTES: Final = 65_536


class Address(NamedTuple):
    """Where one server is; user and password are None where the URL had none, a token is a user without password.

    `name` is what the server's certificate must be for, None for that of the host.
    """

    host: str
    port: int
    secure: bool
    user: str | None = None
    password: str | None = None
    name: str | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Address {self.url}>"

    def told(self, host: str, port: int) -> Address:
        """Another server that this one told about: the same credentials, and the same name if it told a bare IP address."""
        name = None if _is_ip(self.host) or not _is_ip(host) else self.name or self.host
        return self._replace(host=host, port=port, name=name)

    @property
    def url(self) -> str:
        """The address as a URL without credentials."""
        return f"{'tls' if self.secure else 'nats'}://{self}"


def parse_address(url: str) -> Address:
    """Read `nats://[user[:password]@]host[:port]` or `tls://…`.

    Raises:
        ConnectError: the URL is something else.
    """
    expected = "expected one like nats://127.0.0.1:4222 or tls://user:password@host:4222"
    if not isinstance(url, str):
        raise ConnectError(f"got a {type(url).__name__} as URL, {expected}")
    try:
        parts = urlsplit(url)
        port = NATS_PORT if parts.port is None else parts.port
    except ValueError:
        raise ConnectError(f"got a URL that cannot be read, {expected}") from None
    if parts.scheme not in _SCHEMES:
        # What has no scheme may begin with a secret.
        found = f"with the scheme {parts.scheme[:20]!r}" if "://" in url else "without a scheme"
        raise ConnectError(f"got a URL {found}, {expected}")
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConnectError(f"got a URL without a host or with a path, {expected}")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    return Address(parts.hostname, port, parts.scheme == "tls", user, password)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Socket(TcpTransport):
    """A connection to one server, opened before the client gets it.

    Args:
        encrypted_only: refuse to introduce ourselves, and so to send any credential, before TLS is on.
    """

    def __init__(self, *, encrypted_only: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._encrypted_only = encrypted_only
        self._encrypted = False
        self.reads = 0

    async def open(self, address: Address, timeout_s: float) -> None:
        """Connect the socket. Raises what the operating system does."""
        netloc = ParseResult("nats", str(address), "", "", "", "")
        await super().connect(netloc, buffer_size=_BUFFER_BYTES, connect_timeout=timeout_s)  # type: ignore[arg-type]

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """Nothing: the socket is open already when the client asks for it."""

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        """Switch TLS on."""
        await super().connect_tls(uri, ssl_context, buffer_size, connect_timeout)
        self._encrypted = True

    def write(self, payload: bytes) -> Any:
        """Send bytes, but no credential in clear where TLS was asked for.

        Raises:
            ConnectError: the client would introduce itself on a connection that should be, and is not, encrypted.
        """
        if self._encrypted_only and not self._encrypted:
            raise ConnectError(
                "the server does not offer TLS, so nothing was sent to it; switch TLS on there, or use nats:// if that is meant"
            )
        return super().write(payload)  # type: ignore[no-untyped-call]

    async def read(self, buffer_size: int) -> bytes:
        """Wait for bytes; counts the times that some came."""
        data: bytes = await super().read(buffer_size)
        self.reads += 1
        return data

    def is_full(self) -> bool:
        """Whether the network does not take what was written as fast as it comes; `drain` waits until it does."""
        return self._io_writer is not None and self._io_writer.transport.get_write_buffer_size() > 0

    def is_gone(self) -> bool:
        """Whether either side has closed it already."""
        return self._io_writer is None or self._io_writer.transport.is_closing() or self.at_eof()  # type: ignore[no-untyped-call]

    def disown(self) -> None:
        """In a forked child: let go of the connection, which ends when the parent ends it, without a word on it.

        The number of its descriptor stays taken, so that whoever closes it later closes nothing that belongs to others.
        """
        socket = None if self._io_writer is None else self._io_writer.transport.get_extra_info("socket")
        number = -1 if socket is None else socket.fileno()
        if number >= 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, number, inheritable=False)
            os.close(nothing)

    def abort(self) -> None:
        """Close at once, without waiting for a peer that may never answer. Idempotent."""
        if self._io_writer is not None:
            self._io_writer.transport.abort()
