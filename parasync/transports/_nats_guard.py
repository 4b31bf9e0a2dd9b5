"""Keeps one connection alive: finds out that it died, however silently, and replaces it, for ever and without a stampede."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final

from parasync.errors import ConnectError
from parasync.protocol import Backoff
from parasync.transports._nats_link import Link, LinkOptions, direct_works
from parasync.transports._nats_socket import Address

SERVERS_MAX: Final = 64
"""The most servers that are tried, given and discovered ones together; what a cluster tells beyond is not used."""
RECONNECT_BASE_S: Final = 0.2
"""The longest wait before the first attempt to connect again, in seconds; the wait is a random part of it."""
STEADY_S: Final = 10.0
"""A connection that lived this long ends the backoff; one that dies sooner, again and again, is replaced ever more slowly."""

_SLICES: Final = 4
"""A ping may take this many quarters of its interval in silence. Counting them, rather than waiting once, spares a connection
whose answer lies unread because this process itself stood still."""
_SLICES_MAX: Final = 6 * _SLICES
"""The longest that a ping may take while other bytes come in; then the server does not hear us."""


class Guard:
    """Owns the connection to a bus.

    Args:
        servers: where to connect; tried in random order.
        options: how to introduce ourselves.
        ping_interval_s: the time between pings, and the longest that one may stay unanswered.
        reconnect_max_s: the longest wait before an attempt to connect again.
        direct: how messages are received; None finds out.
        up: gets each new connection at once.
        down: hears why a connection died, before the next is tried.
        noticed: gets errors that end no connection, such as missing permissions and vain attempts.
    """

    def __init__(
        self,
        servers: Iterable[Address],
        options: LinkOptions,
        *,
        ping_interval_s: float,
        reconnect_max_s: float,
        direct: bool | None,
        up: Callable[[Link], None],
        down: Callable[[str], None],
        noticed: Callable[[Exception], None],
    ) -> None:
        self._servers = list(servers)
        # Others that the last connection told of. What earlier ones told may be gone for long, and each takes its time to fail.
        self._told: list[Address] = []
        self._options = options
        self._ping_interval_s = ping_interval_s
        self._backoff = Backoff(RECONNECT_BASE_S, reconnect_max_s, random.random)
        self._direct = direct
        self._up = up
        self._down = down
        self._noticed = noticed
        self._link: Link | None = None

    @property
    def servers(self) -> list[Address]:
        """Where it looks for a connection."""
        return [*self._servers, *self._told][:SERVERS_MAX]

    async def start(self) -> None:
        """Connect for the first time; each server is tried once.

        Raises:
            ConnectError: no server took us.
        """
        self._link = await self._connect()
        self._up(self._link)

    async def run(self) -> None:
        """Watch the connection and replace it when it dies, until cancelled."""
        while self._link is not None:
            born_s = asyncio.get_running_loop().time()
            reason = await self._watch(self._link)
            self._down(reason)
            await self._link.discard()
            if asyncio.get_running_loop().time() - born_s >= STEADY_S:
                self._backoff.reset()
            self._link = await self._reconnect()
            self._up(self._link)

    async def close(self) -> None:
        """Close the connection at once. Called when nobody runs `run` any more."""
        if self._link is not None:
            await self._link.discard()

    async def _connect(self) -> Link:
        if self._direct is None:
            self._direct = await direct_works()
        failures = []
        servers = self.servers
        for address in random.sample(servers, len(servers)):
            link = Link(address, self._options, self._direct, self._noticed)
            try:
                await link.open()
            except ConnectError as error:
                failures.append(str(error))
                continue
            self._learn(link)
            return link
        raise ConnectError(f"could not connect to {' nor to '.join(failures)}")

    def _learn(self, link: Link) -> None:
        known = {(address.host, address.port) for address in self._servers}
        self._told = [address for address in link.discovered() if (address.host, address.port) not in known]

    async def _reconnect(self) -> Link:
        while True:
            await asyncio.sleep(self._backoff.next_delay_s())
            try:
                return await self._connect()
            except ConnectError as error:
                self._noticed(error)

    async def _watch(self, link: Link) -> str:
        while not link.lost.done():
            await asyncio.wait((link.lost,), timeout=self._ping_interval_s)
            if not link.lost.done() and not await self._answers(link):
                link.lose(f"the server did not answer a ping for {self._ping_interval_s:g} s")
            self._learn(link)
        return link.lost.result()

    async def _answers(self, link: Link) -> bool:
        ping = asyncio.create_task(link.ping(), name="ping a NATS server")
        reads = link.socket.reads
        silent = 0
        try:
            for _ in range(_SLICES_MAX):
                await asyncio.wait(
                    (ping, link.lost), timeout=self._ping_interval_s / _SLICES, return_when=asyncio.FIRST_COMPLETED
                )
                silent = silent + 1 if link.socket.reads == reads else 0
                reads = link.socket.reads
                if ping.done() or link.lost.done() or silent >= _SLICES:
                    break
            return ping.done() and ping.result()
        finally:
            ping.cancel()
