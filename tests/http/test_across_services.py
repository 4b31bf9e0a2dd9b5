"""Two services, two HTTP servers, a real bus that lags: who passes the header on reads in the one what the other wrote."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from parasync import authority, connect, synced, threads
from parasync.http import AsgiSession, WsgiSession, reads
from parasync.testing import ChaosProxy, NatsServer
from tests.http.kit import NOTES, PATIENCE_S, asgi, fetch, serving, serving_wsgi
from tests.http.test_wsgi import wsgi

pytestmark = pytest.mark.nats

TRIALS = 200


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


class Trial:
    """Writes in the one service while the bus of the other one stands still, and reads there with the header and without."""

    def __init__(self, proxy: ChaosProxy, writer: int, reader: int, waits: asyncio.Event) -> None:
        self.proxy = proxy
        self.writer = writer
        self.reader = reader
        self.waits = waits
        self.old = 0
        """How often a client without the header read what was there before."""

    async def run(self, trial: int) -> None:
        self.proxy.stall("to_client")
        written = await asyncio.to_thread(fetch, self.writer)
        assert (written.status, written.text) == (200, f"written {trial}")
        without = await asyncio.to_thread(fetch, self.reader)
        assert without.status == 200
        self.old += without.text != f"written {trial}"
        self.waits.clear()
        reading = asyncio.create_task(asyncio.to_thread(fetch, self.reader, written.versions))
        async with asyncio.timeout(PATIENCE_S):
            await self.waits.wait()
        self.proxy.heal()
        read = await reading
        assert (read.status, read.text) == (200, f"written {trial}")
        assert read.versions == written.versions

    async def run_all(self) -> None:
        for trial in range(1, TRIALS + 1):
            await self.run(trial)
        assert self.old >= 1, "the bus never lagged, so that the header proved nothing"


@pytest.mark.parametrize("in_handler", [False, True], ids=["before the handler", "in the handler"])
async def test_asgi_services(server: NatsServer, in_handler: bool) -> None:
    numbers = itertools.count(1)
    waits = asyncio.Event()
    async with (
        ChaosProxy(server.url) as proxy,
        connect(server.url) as near,
        connect(proxy.url) as far,
        authority(NOTES, near) as owner,
    ):
        await owner.put("a", "first")

        async def write() -> str:
            text = f"written {next(numbers)}"
            await owner.put("a", text)
            return text

        async with synced(NOTES["a"], far) as note:
            await note.ready(PATIENCE_S)

            def find(key: str) -> synced[str] | None:
                waits.set()
                return note if key == note.key else None

            async def read() -> str:
                waits.set()
                return await reads(note) if in_handler else note.value

            writing = AsgiSession(asgi(write))
            reading = AsgiSession(asgi(read), find=None if in_handler else find, timeout_s=PATIENCE_S)
            async with serving(writing) as writer, serving(reading) as reader:
                await Trial(proxy, writer, reader, waits).run_all()
            assert reading.stats.requests == 2 * TRIALS
            assert reading.stats.late == reading.stats.lost == reading.stats.malformed == 0


async def test_wsgi_services(server: NatsServer) -> None:
    numbers = itertools.count(1)
    waits = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with ChaosProxy(server.url) as proxy:
        near = await asyncio.to_thread(threads.connect, server.url)
        far = await asyncio.to_thread(threads.connect, proxy.url)
        owner = await asyncio.to_thread(threads.authority, NOTES, near)
        await asyncio.to_thread(owner.put, "a", "first")
        note = await asyncio.to_thread(threads.synced, NOTES["a"], far)
        await asyncio.to_thread(note.ready, PATIENCE_S)

        def write() -> str:
            text = f"written {next(numbers)}"
            owner.put("a", text)
            return text

        def find(key: str) -> threads.synced[str] | None:
            loop.call_soon_threadsafe(waits.set)
            return note if key == note.key else None

        writing = WsgiSession(wsgi(write))
        reading = WsgiSession(wsgi(lambda: note.value), find=find, timeout_s=PATIENCE_S)
        with serving_wsgi(writing) as writer, serving_wsgi(reading) as reader:
            await Trial(proxy, writer, reader, waits).run_all()
        assert reading.stats.late == reading.stats.lost == reading.stats.malformed == 0
        await asyncio.to_thread(threads.shutdown)


async def test_a_bus_that_stands_still_is_answered_with_503(server: NatsServer) -> None:
    """And the client that tries again when it moves gets what it has seen."""
    async with (
        ChaosProxy(server.url) as proxy,
        connect(server.url) as near,
        connect(proxy.url) as far,
        authority(NOTES, near) as owner,
        synced(NOTES["a"], far) as note,
    ):
        await owner.put("a", "first")
        await note.ready(PATIENCE_S)
        app = AsgiSession(asgi(lambda: reads(note)), find={note.key: note}.get, timeout_s=0.05)
        patient = AsgiSession(asgi(lambda: reads(note)), timeout_s=PATIENCE_S)
        async with serving(app) as port, serving(patient) as other:
            proxy.stall("to_client")
            seen = f"{note.key}@{await owner.put('a', 'second')}"
            refused = await asyncio.to_thread(fetch, port, seen)
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
            assert refused.headers["parasync-versions-late"] == seen
            proxy.heal()
            assert (await asyncio.to_thread(fetch, other, seen)).text == "second"
            assert (await asyncio.to_thread(fetch, port, seen)).text == "second"
