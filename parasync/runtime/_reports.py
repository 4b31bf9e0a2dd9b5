"""Tells an authority what replicas refuse of what it writes: the author of a bad roll-out is who has to know."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from typing import Final

from parasync.errors import ParasyncError
from parasync.protocol import Refusing, Report
from parasync.runtime._guard import ends_this_task
from parasync.runtime._world import random_bits, uniform
from parasync.transports._identity import identity
from parasync.transports._protocol import AskTransport

REPORT_INTERVAL_S: Final = 10.0
"""Seconds between two reports of what the replicas of a topic on one connection refuse; a last one says that all is well."""
REPORT_DELAY_S: Final = 0.5
"""The longest random delay in seconds of the first report, so that it speaks for many objects, and not all come at once."""
REPORT_TIMEOUT_S: Final = 2.0
"""How long an authority may take to answer a report, in seconds; one that was not answered is followed by the next."""
REPORTED_SCHEMAS_MAX: Final = 8
"""For how many accepted schema versions of one topic a process reports; others refuse unheard."""


class Reporter:
    """Reports for the replicas of one transport, one topic at a time while some of them refuse; nothing runs else.

    Args:
        transport: where the authorities are.
        refusals: for each schema version that is accepted of a topic, what those who accept it refuse.
    """

    def __init__(self, transport: AskTransport, refusals: Callable[[str], Mapping[str, tuple[Refusing, ...]]]) -> None:
        self._transport = transport
        self._refusals = refusals
        self._tasks: dict[str, asyncio.Task[None] | None] = {}
        self._sender = f"{random_bits(64):016x}"
        self._closed = False

    def refused(self, topic: str, loop: AbstractEventLoop) -> None:
        """A replica refuses something; from any thread."""
        if not self._closed and topic not in self._tasks:
            self._tasks[topic] = None
            try:
                loop.call_soon_threadsafe(self._begin, topic)
            except RuntimeError:  # the loop was closed, and the replicas of it with it
                self._tasks.pop(topic, None)

    def close(self) -> None:
        """Nobody is left; from any thread."""
        self._closed = True
        for task in list(self._tasks.values()):
            if task is not None:
                with contextlib.suppress(RuntimeError):  # as above
                    task.get_loop().call_soon_threadsafe(task.cancel)

    def _begin(self, topic: str) -> None:
        if self._closed:
            return
        try:
            task = self._transport.spawn(self._run(topic), f"parasync-reports {topic}")
        except ParasyncError:  # the transport was closed meanwhile
            self._tasks.pop(topic, None)
            return
        self._tasks[topic] = task
        task.add_done_callback(lambda _: self._tasks.pop(topic, None))

    async def _run(self, topic: str) -> None:
        told: set[str] = set()
        await asyncio.sleep(REPORT_DELAY_S * uniform())
        while True:
            refusals = self._refusals(topic)
            for accepts in sorted(told | refusals.keys())[:REPORTED_SCHEMAS_MAX]:
                sender = f"{self._sender}-{accepts}"
                report = Report(sender, identity(), accepts, refusals.get(accepts, ()))
                try:
                    await self._transport.ask(topic, report, REPORT_TIMEOUT_S)
                except BaseException as error:
                    # Transports are written by others; whoever is not there now is told next time.
                    if ends_this_task(error):
                        raise
            if not refusals:
                return
            told = set(refusals)
            await asyncio.sleep(REPORT_INTERVAL_S)
