"""One connection to one server, from the handshake to its first sign of death. It is never mended: a new one replaces it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
from nats.aio.client import Client, RawCredentials
from nats.errors import Error as NatsError

from parasync.errors import ConnectError, UsageError
from parasync.transports._nats_diagnosis import diagnosed
from parasync.transports._nats_parser import MessageParser, Sink
from parasync.transports._nats_socket import Address, Socket

Credential: TypeAlias = str | Callable[[], str]
"""A secret, or a function that returns the present one; it is called at each connect and must not block."""

DISCARD_TIMEOUT_S: Final = 1.0
"""How long an aborted client may take to end its tasks, in seconds; then it is left alone."""
_NEVER_S: Final = 10**6
_TOO_MANY: Final = "maximum subscriptions exceeded"
_log: Final = logging.getLogger("parasync")


@attrs.frozen(kw_only=True)
class LinkOptions:
    """How to introduce ourselves to a server; see `NatsTransport`."""

    name: str | None
    user: Credential | None
    password: Credential | None = attrs.field(repr=False)
    token: Credential | None = attrs.field(repr=False)
    nkey_seed: str | None = attrs.field(repr=False)
    creds: str | Path | None
    tls: ssl.SSLContext | None
    tls_hostname: str | None
    tls_handshake_first: bool
    connect_timeout_s: float
    inbox_prefix: str

    @nkey_seed.validator
    def _check_seed(self, _: object, seed: str | None) -> None:
        if seed is not None and not (isinstance(seed, str) and seed.startswith("SU")):
            raise UsageError("got an nkey_seed that is none of a user, expected a text that begins with SU")

    def arguments(self, address: Address) -> dict[str, Any]:
        """The options in the words of the client; what the address says is used where nothing else was given."""
        given: dict[str, Any] = {
            "name": self.name,
            "user": self.user,
            "password": self.password,
            "token": self.token,
            "nkeys_seed_str": self.nkey_seed,
            "user_credentials": None if self.creds is None else RawCredentials(read_creds(self.creds)),
            "tls": self.tls,
            "tls_hostname": self.tls_hostname or address.name,
        }
        if all(given[name] is None for name in ("user", "password", "token", "nkeys_seed_str", "user_credentials")):
            by_password = address.password is not None
            given |= {"user": address.user, "password": address.password} if by_password else {"token": address.user}
        return {name: value for name, value in given.items() if value is not None}


class PatientClient(Client):
    """Keeps a connection that the server keeps, and uses the TLS that a server offers where it demands none."""

    def __init__(self) -> None:
        super().__init__()
        self.encrypted_only = False
        self._told = False

    async def _process_err(self, err_msg: str) -> None:
        if _TOO_MANY not in err_msg:
            await super()._process_err(err_msg)
            return
        if not self._told:
            self._told = True
            _log.warning("the server takes no more subscriptions of this user: some objects are not heard live")
        await self._error_cb(NatsError(f"nats: {_TOO_MANY}"))

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self.encrypted_only and info.get("tls_available"):
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


class DirectClient(PatientClient):
    """Hands each message to the sink of its subscription, without a queue, a task or a message object in between.

    A message that the client could not even represent, e.g. with a subject that is not UTF-8, so reaches its sink as well,
    instead of ending the read loop.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sinks: dict[int, Sink] = {}
        self._ps = MessageParser(self.sinks, self)


async def direct_works() -> bool:
    """Whether this version of the client reads through the parser that `DirectClient` gives it; asked once a process."""
    got: list[tuple[object, ...]] = []
    try:
        names = Client._read_loop.__code__.co_names
        client = DirectClient()
        client.sinks[7] = lambda *message: got.append(message)
        await client._ps.parse(b"MSG a.b 7 2\r\nhi\r\n+OK\r\nHMSG a.b 7 r 16 18\r\nNATS/1.0 5")
        await client._ps.parse(b"03\r\n\r\nhi\r\n")
    except Exception:  # noqa: BLE001 -- whatever is different, the public way still works
        return False
    asked = "_ps" in names and "parse" in names
    return asked and got == [(b"a.b", b"", b"hi", None), (b"a.b", b"r", b"hi", b"NATS/1.0 503\r\n\r\n")]


class Link:
    """A connection that serves until `lost` is done; its result says why it died.

    Args:
        address: the server.
        options: how to introduce ourselves.
        direct: whether messages are handed over directly; otherwise through the callbacks of the client.
        noticed: gets every error that the client reports, among them missing permissions. Must not raise.
    """

    def __init__(self, address: Address, options: LinkOptions, direct: bool, noticed: Callable[[Exception], None]) -> None:
        self.address = address
        self.direct = direct
        self.client = DirectClient() if direct else PatientClient()
        self.sinks: dict[int, Sink] = self.client.sinks if isinstance(self.client, DirectClient) else {}
        self.client.encrypted_only = address.secure or options.tls is not None or options.tls_handshake_first
        self.socket = Socket(encrypted_only=self.client.encrypted_only)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._pings: set[asyncio.Task[float]] = set()
        self._options = options
        self._noticed = noticed

    @property
    def payload_bytes_max(self) -> int:
        """The largest message that the server takes."""
        return self.client.max_payload

    @property
    def gone(self) -> bool:
        """Whether what is written now is lost for sure; the rest of the process learns it a few turns of the loop later."""
        return self.lost.done() or self.socket.is_gone()

    @property
    def takes_headers(self) -> bool:
        """Whether the server takes messages with headers; it ends the connection of those who send one all the same."""
        return bool(self.client._server_info.get("headers"))

    def discovered(self) -> list[Address]:
        """Other servers of the cluster that this one told about."""
        found = []
        for uri in self.client.discovered_servers:
            with contextlib.suppress(ValueError):  # it says so of a port that is none
                if uri.hostname and uri.port:
                    found.append(self.address.told(uri.hostname, uri.port))
        return found

    async def open(self) -> None:
        """Connect, encrypt and authenticate, within the time that the options allow.

        Raises:
            ConnectError: it did not work; the text says what to do. Nothing is left open.
        """
        timeout_s = self._options.connect_timeout_s
        # As a task of its own, because the client's waits sometimes swallow a cancellation.
        opening = asyncio.create_task(self._open(timeout_s), name="connect to a NATS server")
        opening.add_done_callback(_ignore)
        error: BaseException | None = TimeoutError()
        try:
            await asyncio.wait((opening,), timeout=timeout_s)
            if opening.done() and not opening.cancelled():
                error = opening.exception()
        finally:
            if error is not None:
                opening.cancel()
                await self.discard()
        if isinstance(error, ConnectError):
            raise ConnectError(f"{self.address}: {error}")
        if error is not None:
            raise ConnectError(f"{self.address}: {diagnosed(error, timeout_s)}")

    async def _open(self, timeout_s: float) -> None:
        await self.socket.open(self.address, timeout_s)
        if self.lost.done():
            self.socket.abort()
        else:
            await self._handshake(timeout_s)

    async def _handshake(self, timeout_s: float) -> None:
        client = self.client
        # The client opens a transport only where it has none.
        client._transport = self.socket
        await client.connect(
            servers=[self.address.url],
            error_cb=self._on_error,
            closed_cb=self._on_closed,
            # We watch, ping, choose servers and connect again ourselves; a client that tries as well would be in the way.
            allow_reconnect=False,
            ping_interval=_NEVER_S,
            connect_timeout=timeout_s,  # type: ignore[arg-type]
            tls_handshake_first=self._options.tls_handshake_first,
            inbox_prefix=self._options.inbox_prefix,
            pending_size=-1,
            **self._options.arguments(self.address),
        )
        if client._transport is not self.socket:
            raise ConnectError("this version of nats-py opens its own sockets, which cannot be kept safe; install another")
        if not client.is_connected:
            raise ConnectionResetError("closed during the handshake")
        # A read loop that ended by itself is reported by nobody else.
        reading = client._reading_task
        if reading is not None:
            reading.add_done_callback(lambda _: self.lose("the connection was lost"))

    async def ping(self) -> bool:
        """Wait until the server has processed everything that was sent before; False when the connection died instead."""
        # The client's own wait must not be cancelled while the connection lives: its read loop would stumble over the answer.
        ping = asyncio.create_task(self.client.rtt(timeout=_NEVER_S), name="ping a NATS server")
        self._pings.add(ping)
        ping.add_done_callback(self._pings.discard)
        ping.add_done_callback(_ignore)
        await asyncio.wait((ping, self.lost), return_when=asyncio.FIRST_COMPLETED)
        return ping.done() and not ping.cancelled() and ping.exception() is None

    def lose(self, reason: str) -> None:
        """Declare the connection dead; the first reason counts."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def discard(self) -> None:
        """Close everything at once. Never raises, and returns in bounded time whatever the peer does."""
        self.lose("closed")
        self.sinks.clear()
        self.socket.abort()
        for ping in list(self._pings):
            ping.cancel()
        closing = asyncio.get_running_loop().create_task(self.client.close(), name="discard a NATS connection")
        try:
            await asyncio.wait((closing,), timeout=DISCARD_TIMEOUT_S)
        finally:
            closing.cancel()
            closing.add_done_callback(_ignore)

    async def _on_error(self, error: Exception) -> None:
        self._noticed(error)

    async def _on_closed(self) -> None:
        reason = self.client.last_error
        self.lose("the server closed the connection" if reason is None else diagnosed(reason))


def _ignore(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


def read_creds(path: str | Path) -> str:
    """The text of a credentials file.

    Raises:
        ConnectError: the file cannot be read or holds no JWT and seed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConnectError(f"got a credentials file that cannot be read ({type(error).__name__}), check creds=") from None
    if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
        raise ConnectError("got a credentials file without a JWT and a seed, expected one as nsc writes it")
    return text
