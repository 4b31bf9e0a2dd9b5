"""The plot: everything runs; the server is killed; the authority forgets everything; the schema changes; and all ends well."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import attrs

from parasync.cli.demo._contract import OLD, RANKS
from parasync.cli.demo._crew import Crew, Worker
from parasync.cli.demo._records import now_s
from parasync.cli.demo._scene import Copy, Scene
from parasync.cli.demo._verdict import Books, Fault
from parasync.transports._nats_process import NatsServer

REPLICAS: Final = 3
"""How many replica processes there are."""
PATIENCE_S: Final = 30.0
"""How long anything in the demonstration may take to begin, to be said or to heal, in seconds; else a promise is broken."""
_LINGER_MIN_S: Final = 0.3
"""How long everything goes on at the least between two things that happen, in seconds."""
_LOOK_S: Final = 0.05
"""How often it is looked whether something has happened, in seconds."""

_PROCESS_KEYS: Final = tuple(OLD[rank].key for rank in RANKS)


@attrs.define
class Plot:
    """One run of the demonstration.

    Args:
        folder: where the books are kept.
        seconds: about how long it takes.
        seed: decides how long each scene lasts, and which replica gets its new code late.
        scene: what is shown.
        tell: gets each thing that happens.
    """

    folder: Path
    seconds: float
    seed: int
    scene: Scene
    tell: Callable[[str], None]
    server: NatsServer = attrs.Factory(NatsServer)
    books: Books = attrs.Factory(Books)
    _random: random.Random = attrs.field(init=False)
    _crew: Crew = attrs.field(init=False)
    _owner: Worker | None = None
    _late: int = 0
    _workers: list[Worker] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 -- it decides about seconds, and must be repeatable
        self._late = self._random.randrange(REPLICAS)

    async def play(self) -> Books:
        """Play it to its end and return the books; every process that was started has ended by then."""
        async with self._staffed():
            await self._begin()
            await self._kill_server()
            await self._forget_everything()
            await self._change_schema()
            await self._finish()
        self.books.read(self.folder)
        return self.books

    @contextlib.asynccontextmanager
    async def _staffed(self) -> AsyncIterator[None]:
        """The server and the processes, for as long as it lasts."""
        try:
            await asyncio.to_thread(self.server.start)
            async with Crew(self.folder) as self._crew:
                yield
        finally:
            await asyncio.to_thread(self.server.stop)

    async def _begin(self) -> None:
        self.scene.url, self.scene.server = self.server.url, "running"
        self.tell(f"a NATS server runs at {self.server.url}")
        await self._hire_owner(1)
        for number in range(REPLICAS):
            await self._hire_copy(number, "old" if number == self._late else "new", 1)
        self.tell(f"one authority process, {REPLICAS} replica processes; the input is this machine's load")
        await self._until(self.scene.settled, "every replica says OK")
        await self._linger(0.22)

    async def _kill_server(self) -> None:
        async with self._fault("server"):
            self.tell("kill -9 the NATS server")
            self.scene.server = "killed"
            await asyncio.to_thread(self.server.kill)
            await self._until(self._all_said("stale"), "every replica says STALE: nobody can prove anything now")
            await self._linger(0.32)
            await asyncio.to_thread(self.server.start)
            self.scene.server = "running"
            self.tell("the server runs again, at the same port")
        await self._healed()
        await self._linger(0.45)

    async def _forget_everything(self) -> None:
        async with self._fault("owner"):
            self.tell("kill -9 the authority: what it knew is gone")
            self.scene.owner = "killed"
            if self._owner is not None:
                await self._owner.kill()
            await self._until(self._all_said("stale"), "every replica says STALE, and keeps showing what it has")
            await self._linger(0.52)
            self.scene.owner = "starting"
            await self._hire_owner(2)
            await self._until(lambda: self.scene.owner == "running", "the authority is back, with an empty memory")
        await self._healed()
        await self._linger(0.68)

    async def _change_schema(self) -> None:
        late = self.scene.copies[self._late]
        async with self._fault("schema"):
            self.tell(f"the authority ships schema 2.0 of `process`; {late.name} was forgotten and only knows 1.0")
            if self._owner is not None:
                self._owner.order("schema")
            shown = f"{late.name} says SKEW, and keeps the last value that it could read"
            await self._until(lambda: late.has_said("skew", _PROCESS_KEYS), shown)
            await self._linger(0.8)
        self.tell(f"{late.name} is deployed anew, with code that reads both")
        late.state = "starting"
        await self._workers[self._late].end()
        late.replicas = {}
        await self._hire_copy(self._late, "new", 2)
        await self._healed()
        await self._linger(0.96)

    async def _finish(self) -> None:
        if self._owner is not None:
            self._owner.order("stop")
        began_s = now_s()
        if await self._until(self.scene.converged, ""):
            took_s = now_s() - began_s
            self.tell(f"writing has stopped; {took_s:.1f} s later every replica shows the last version of everything")
        await asyncio.gather(*(worker.end() for worker in self._workers))

    # Parts of scenes

    @contextlib.asynccontextmanager
    async def _fault(self, name: str) -> AsyncIterator[None]:
        """Note when a fault began and was over."""
        for copy in self.scene.copies:
            copy.forget()
        began_s = now_s()
        yield
        self.books.faults[name] = Fault(began_s, now_s())

    async def _healed(self) -> None:
        began_s = now_s()
        for copy in self.scene.copies:
            copy.replicas = {}
        if await self._until(self.scene.settled, ""):
            self.tell(f"healed: every replica says OK, {now_s() - began_s:.1f} s later")

    async def _until(self, happened: Callable[[], bool], what: str) -> bool:
        """Wait until something has happened, and tell it; what takes too long is a broken promise."""
        end_s = now_s() + PATIENCE_S
        while not happened():
            lost = [f"{worker.name} has ended by itself: {worker.trouble()}" for worker in self._crew.lost()]
            if lost or now_s() > end_s:
                late = f"after {PATIENCE_S:g} s not yet: {what or 'every replica says OK'}"
                for trouble in lost or [late]:
                    self.books.troubles.append(trouble)
                    self.tell(trouble)
                return False
            await asyncio.sleep(_LOOK_S)
        if what:
            self.tell(what)
        return True

    async def _linger(self, share: float) -> None:
        """Let things go on until about this share of the whole time is over, and a little in any case."""
        due_s = self.seconds * (share + self._random.uniform(-0.03, 0.03))
        await asyncio.sleep(max(_LINGER_MIN_S, due_s - self.scene.elapsed_s()))

    def _all_said(self, status: str) -> Callable[[], bool]:
        return lambda: all(copy.has_said(status) for copy in self.scene.copies)

    async def _hire_owner(self, life: int) -> None:
        record = self.folder / f"owner-{life}.jsonl"
        self._owner = await self._crew.hire(
            f"authority {life}", ["owner", self.server.url, str(record)], self.scene.owner_heard
        )

    async def _hire_copy(self, number: int, code: str, life: int) -> None:
        copy: Copy = self.scene.copies[number]
        record = self.folder / f"copier-{number + 1}-{life}-{code}.jsonl"
        worker = await self._crew.hire(f"{copy.name} {life}", ["copier", self.server.url, str(record), code], copy.heard)
        self._workers[number:] = [worker, *self._workers[number + 1 :]]
