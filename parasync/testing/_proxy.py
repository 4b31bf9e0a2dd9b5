"""A proxy between a client and a real server, through which the network becomes as bad as a test wants it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from parasync.errors import ConnectError, UsageError
from parasync.testing._connection import WAYS, Connection, Way, Weather

Ways: TypeAlias = Literal["to_server", "to_client", "both"]

_HOST: Final = "127.0.0.1"
_CHOSEN: Final[dict[str, tuple[Way, ...]]] = {"to_server": ("to_server",), "to_client": ("to_client",), "both": WAYS}


class ChaosProxy:
    """Passes TCP connections on to a server, and does to them what it is told, also while they are open.

    `async with ChaosProxy(server.url) as proxy:` listens on a free port of this machine; clients connect to `proxy.url`. What
    it is told holds for all connections, present and future, until `heal`. Used in one event loop.

    The server of a cluster tells clients of other addresses, which lead around the proxy; and a certificate has to be valid
    for 127.0.0.1.

    Args:
        target_url: the server, as `scheme://host:port`, of which any scheme goes on unchanged.
        seed: decides which bytes are corrupted: the n-th connection always in the same places.

    Raises:
        UsageError: the URL has no host or no port.
    """

    def __init__(self, target_url: str, *, seed: int = 0) -> None:
        parts = urlsplit(target_url)
        if not parts.hostname or not parts.port:
            raise UsageError(f"got a URL with the scheme {parts.scheme[:20]!r} and no host or port, expected scheme://host:port")
        self._target = parts.hostname, parts.port
        self._before = f"{parts.scheme}://{parts.netloc.rpartition('@')[0]}{'@' if '@' in parts.netloc else ''}"
        self._weather = Weather(seed)
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._count = 0

    @property
    def url(self) -> str:
        """Where clients connect.

        Raises:
            UsageError: outside of `async with`.
        """
        if self._server is None:
            raise UsageError("got a proxy that does not listen, expected its url inside 'async with'")
        return f"{self._before}{_HOST}:{self._server.sockets[0].getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._connections)

    @property
    def fired(self) -> Mapping[str, int]:
        """What really happened until now, and how often.

        Counts the bytes of `corrupt`, the pieces of data of `stall`, `throttle` and `half_open`, and the connections of
        `reset`, `cut` and `refuse`.
        """
        return dict(self._weather.tally)

    @property
    def passed(self) -> Mapping[str, int]:
        """How many bytes went through until now, `to_server` and `to_client`."""
        return dict(self._weather.passed)

    def stall(self, ways: Ways = "both") -> None:
        """Let nothing pass, and lose nothing: after `heal` it goes on where it stopped.

        Args:
            ways: `to_server`, `to_client` or `both`.
        """
        for way in _chosen(ways):
            self._weather.flows[way].clear()

    def half_open(self) -> None:
        """Let both ends believe in connections that are dead: what they say is swallowed, and neither hears the other leave.

        Connections that were half-open stay so after `heal`: the bytes are lost, and only a new connection helps.
        """
        self._weather.half_open = True
        for connection in self._connections:
            connection.dead = True

    def reset(self) -> None:
        """Reset all connections now, in the middle of whatever they carry."""
        for connection in tuple(self._connections):
            self._weather.tally["reset"] += 1
            connection.reset()

    def refuse(self) -> None:
        """Reset new connections as soon as they are made; those that there are stay."""
        self._weather.refusing = True

    def throttle(self, bytes_per_s: float) -> None:
        """Let each connection carry so little, in each direction.

        Args:
            bytes_per_s: how many bytes pass in a second, above 0.

        Raises:
            UsageError: the rate is not above 0.
        """
        if not bytes_per_s > 0:
            raise UsageError(f"got bytes_per_s={bytes_per_s!r}, expected a number above 0")
        self._weather.bytes_per_s = bytes_per_s

    def corrupt(self, rate: float, ways: Ways = "both") -> None:
        """Change bytes on their way.

        Args:
            rate: the probability for each byte, 0 to 1.
            ways: `to_server`, `to_client` or `both`.

        Raises:
            UsageError: the rate is not from 0 to 1.
        """
        if not 0 <= rate <= 1:
            raise UsageError(f"got rate={rate!r}, expected a probability from 0 to 1")
        for way in _chosen(ways):
            self._weather.corruption[way] = rate

    def cut_after(self, byte_count: int, ways: Ways = "both") -> None:
        """Reset each connection when it has carried so many bytes more, be it in the middle of a message.

        Args:
            byte_count: after how many bytes, 0 or more; for new connections from their beginning.
            ways: in which direction bytes count; for `both`, in each for itself.

        Raises:
            UsageError: the count is negative.
        """
        if byte_count < 0:
            raise UsageError(f"got byte_count={byte_count!r}, expected 0 or more")
        for way in _chosen(ways):
            self._weather.cut_after[way] = byte_count
            for connection in self._connections:
                connection.left[way] = byte_count

    def heal(self) -> None:
        """Do nothing more to the connections; those that carry something again go on, and new ones are whole."""
        for connection in self._connections:
            connection.left.clear()
        self._weather.heal()

    async def __aenter__(self) -> Self:
        if self._server is not None:
            raise UsageError("got a second 'async with' on a ChaosProxy, expected a new one each time")
        try:
            self._server = await asyncio.start_server(self._serve, _HOST, 0)
        except OSError as error:
            raise ConnectError(f"the proxy cannot listen on {_HOST} ({type(error).__name__})") from None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        tasks = list(self._connections.values())
        for connection in tuple(self._connections):
            connection.reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __repr__(self) -> str:
        host, port = self._target
        return f"<ChaosProxy to {host}:{port}, {self.connections} connections: {self.fired}>"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._count += 1
        connection = Connection(self._weather, self._count, reader, writer)
        task = asyncio.current_task()
        if task is None or self._weather.refusing:
            self._weather.tally["refuse"] += 1
            connection.reset()
            return
        self._connections[connection] = task
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await connection.run(*self._target)
        finally:
            connection.reset()
            del self._connections[connection]


def _chosen(ways: str) -> tuple[Way, ...]:
    if ways not in _CHOSEN:
        raise UsageError(f"got ways={ways!r}, expected 'to_server', 'to_client' or 'both'")
    return _CHOSEN[ways]
