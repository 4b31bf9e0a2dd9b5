"""Two ends of one bus, and what a test does with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from parasync import Envelope
from parasync.transports._nats_process import NatsServer

DEADLINE_S = 20.0


@dataclass
class Ends:
    """`writer` publishes and asks, `reader` subscribes and serves; in process they are one."""

    writer: Any
    reader: Any
    open: Callable[[], Any]
    server: NatsServer | None = None
    heard: list[Any] = field(default_factory=list)

    async def settle(self) -> None:
        """Wait until everything that was said on either end has arrived wherever it goes."""
        if self.server is not None:
            await self.writer.flush(DEADLINE_S)
            await self.reader.flush(DEADLINE_S)
            for _ in range(10):  # where the client queues what it received, its tasks take their turns
                await asyncio.sleep(0)

    def publish(self, key: str, sequence: int) -> None:
        self.writer.publish(key, envelope(sequence))

    def note(self, name: str) -> Callable[..., None]:
        """A handler that notes who heard which sequences."""
        return lambda *what: self.heard.append((name, *what[:-1], getattr(what[-1], "sequence", what[-1])))

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop run until the condition holds, up to a deadline."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 -- what is waited for is no event of ours
                await asyncio.sleep(0)


def envelope(sequence: int, value: Any = None) -> Envelope[Any]:
    return Envelope(value={"n": sequence} if value is None else value, schema_version="1.0", sequence=sequence)
