"""A mirror in the sessions of requests: it finds what the client has seen by its key."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from parasync import Envelope, InProcessTransport, Seen, Topic, Version, authority, mirror
from parasync.errors import DeletedError, NotReadyError
from parasync.http import AsgiSession, SessionStats, reads
from tests.http.kit import asgi, call
from tests.runtime.kit import pace, terms
from tests.virtual_time import in_virtual_time, passing

NOTES = Topic("note", str, version="1.0")


@in_virtual_time
async def test_a_handler_runs_when_the_mirror_has_caught_up() -> None:
    bus = InProcessTransport()
    async with bus, authority(NOTES, bus, terms=terms()) as owner, mirror(NOTES, bus, pace=pace()) as notes:
        await owner.put("a", "first")
        await notes.ready()
        version = Version(owner.epoch, 2)
        for app in (
            AsgiSession(asgi(partial(reads, notes.one("a"))), find=notes.find, timeout_s=60),
            AsgiSession(asgi(partial(reads, notes.one("a"))), timeout_s=60),
        ):
            request = asyncio.create_task(call(app, f"note:a@{version},other:b@{version}"))
            await passing(30)
            assert not request.done()
            assert await owner.put("a", f"version {version}") == version
            assert (await request).text == f"version {version}"
            assert app.stats == SessionStats(requests=1)
            version = version._replace(sequence=version.sequence + 1)


@in_virtual_time
async def test_a_deletion_that_the_client_has_seen_is_seen() -> None:
    bus = InProcessTransport()
    async with bus, authority(NOTES, bus, terms=terms()) as owner, mirror(NOTES, bus, pattern="note:a:*", pace=pace()) as notes:
        with pytest.raises(NotReadyError, match="ready"):
            await reads(notes.one("a:1"))
        await owner.put("a:1", "first")
        gone = await owner.delete("a:1")

        async def look() -> str:
            try:
                return await reads(notes.one("a:1"))
            except DeletedError:
                return "gone"

        app = AsgiSession(asgi(look), find=notes.find, timeout_s=60)
        seen = Seen()
        seen.note("note:a:1", gone)
        assert (await call(app, str(seen))).text == "gone"
        assert notes.find("note:a") is notes.find("other:a:1") is None
        await notes.ready()
        bus.publish("note:a:2", Envelope("new", "2.0", 100, owner.epoch))
        with pytest.raises(NotReadyError, match="major 2"):
            await reads(notes.one("a:2"))
        assert repr(notes.one("a:1")) == f"<'note:a:1' of {notes!r}>"
