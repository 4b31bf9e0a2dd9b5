"""One connection through a proxy, and what happens on all of them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import struct
from collections import Counter
from typing import Any, Final, Literal, TypeAlias

Way: TypeAlias = Literal["to_server", "to_client"]

WAYS: Final[tuple[Way, ...]] = ("to_server", "to_client")

_CHUNK_BYTES: Final = 65_536
_PIECES_PER_S: Final = 50
"""In how many pieces a second of a slow connection is divided."""
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""Makes closing a socket a reset."""


class Weather:
    """What happens to all connections.

    Args:
        seed: decides which bytes are corrupted.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.tally: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()
        self.flows: dict[Way, asyncio.Event] = {way: asyncio.Event() for way in WAYS}
        self.corruption: dict[Way, float] = {}
        self.cut_after: dict[Way, int] = {}
        self.bytes_per_s = math.inf
        self.half_open = False
        self.refusing = False
        self.heal()

    def heal(self) -> None:
        """Let nothing happen any more."""
        for flow in self.flows.values():
            flow.set()
        self.corruption.clear()
        self.cut_after.clear()
        self.bytes_per_s = math.inf
        self.half_open = self.refusing = False


class Connection:
    """One client, and its connection to the server.

    Args:
        weather: what happens to it.
        number: which connection of its proxy it is, from 1.
        reader: what the client says.
        writer: what it hears.
    """

    def __init__(self, weather: Weather, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._weather = weather
        self._client = reader, writer
        self._writers = [writer]
        self._chance = {way: random.Random(f"{weather.seed} {number} {way}") for way in WAYS}  # noqa: S311
        self.dead = weather.half_open
        self.left = dict(weather.cut_after)

    async def run(self, host: str, port: int) -> None:
        """Carry what both ends say, until one of them or somebody else ends it."""
        reader, writer = self._client
        if self.dead:
            return await self._swallow(reader)
        server_reader, server_writer = await asyncio.open_connection(host, port)
        self._writers.append(server_writer)
        async with asyncio.TaskGroup() as group:
            pumps = [
                group.create_task(self._pump("to_server", reader, server_writer)),
                group.create_task(self._pump("to_client", server_reader, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
        return None

    def reset(self) -> None:
        """Reset it at both ends, in the middle of whatever it carries."""
        for writer in self._writers:
            sock: Any = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            writer.transport.abort()

    async def _pump(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        weather = self._weather
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if not weather.flows[way].is_set():
                    weather.tally["stall"] += 1
                    await weather.flows[way].wait()
                for piece in self._pieces(data):
                    if self.dead:
                        weather.tally["half_open"] += 1
                        break
                    if not await self._carry(way, piece, writer):
                        return
        while self.dead:
            # Nobody hears that this end has left.
            await asyncio.Event().wait()

    def _pieces(self, data: bytes) -> list[bytes]:
        rate = self._weather.bytes_per_s
        size = len(data) if math.isinf(rate) else max(1, int(rate / _PIECES_PER_S))
        return [data[start : start + size] for start in range(0, len(data), size)]

    async def _carry(self, way: Way, data: bytes, writer: asyncio.StreamWriter) -> bool:
        """Carry some bytes; False if the connection was cut in the middle of them."""
        weather = self._weather
        if rate := weather.corruption.get(way):
            data = self._corrupted(way, data, rate)
        left = self.left.get(way)
        if left is not None:
            self.left[way] = left - len(data[:left])
            data = data[:left]
        weather.passed[way] += len(data)
        writer.write(data)
        await writer.drain()
        if left is not None and not self.left[way]:
            weather.tally["cut"] += 1
            self.reset()
            return False
        if not math.isinf(weather.bytes_per_s):
            weather.tally["throttle"] += 1
            await asyncio.sleep(len(data) / weather.bytes_per_s)
        return True

    def _corrupted(self, way: Way, data: bytes, rate: float) -> bytes:
        changed, chance = bytearray(data), self._chance[way]
        for place in range(len(changed)):
            if chance.random() < rate:
                changed[place] ^= 1 + int(chance.random() * 255)
                self._weather.tally["corrupt"] += 1
        return bytes(changed)

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        while await reader.read(_CHUNK_BYTES):
            self._weather.tally["half_open"] += 1
        await asyncio.Event().wait()
