"""The middleware for ASGI, called as a server calls it; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from parasync import InProcessTransport, Seen, Version, authority, synced
from parasync.errors import AskTimeoutError, ConflictError, InvalidKeyError, InvalidVersionError, UsageError
from parasync.http import AsgiSession, Session, SessionStats, absorb, outgoing, reads, wrote
from parasync.testing import Cut, sweep
from tests.http.kit import NOTES, ahead, asgi, call
from tests.runtime.kit import pace, terms
from tests.virtual_time import in_virtual_time, now_s, passing


@asynccontextmanager
async def house() -> AsyncIterator[tuple[authority[str], synced[str], Callable[[str], synced[str] | None]]]:
    """An authority, one replica, and how to find it."""
    bus = InProcessTransport()
    async with bus, authority(NOTES, bus, terms=terms()) as owner, synced(NOTES["a"], bus, pace=pace()) as note:
        await owner.put("a", "first")
        yield owner, note, {"note:a": note}.get


@in_virtual_time
async def test_the_answer_tells_what_the_handler_wrote() -> None:
    async with house() as (owner, note, _):

        async def handle() -> str:
            await owner.put("b", "new")
            await owner.update("a", str.upper)
            await owner.put("c", "gone")
            await owner.delete("c")
            return "done"

        answer = await call(AsgiSession(asgi(handle)))
        seen = Seen.parse(answer.versions)
        assert [key for key, _ in seen.items()] == ["note:b", "note:a", "note:c"]
        assert seen.get("note:a") == note.version
        assert seen.get("note:c") == Version(owner.epoch, 2)
        assert answer.text == "done"
        assert answer.headers["content-length"] == "4"


@in_virtual_time
async def test_the_answer_repeats_what_the_client_had_seen() -> None:
    """So that a client may keep the last header only."""
    async with house() as (owner, _, __):

        async def handle() -> str:
            return str(await owner.put("b", "new"))

        answer = await call(AsgiSession(asgi(handle)), "note:z@1.7,note:b@0.1")
        assert answer.versions == f"note:z@1.7,note:b@{answer.text}"


@in_virtual_time
async def test_without_versions_nothing_is_added() -> None:
    async with house() as (_, note, find):
        answer = await call(AsgiSession(asgi(partial(reads, note)), find=find))
        assert answer.text == "first"
        assert list(answer.headers) == ["content-length"]


@in_virtual_time
async def test_a_handler_runs_when_the_replica_has_caught_up() -> None:
    async with house() as (owner, note, find):
        version = Version(owner.epoch, 2)
        app = AsgiSession(asgi(partial(reads, note)), find=find, timeout_s=60)
        request = asyncio.create_task(call(app, f"note:a@{version}"))
        await passing(30)
        assert not request.done()
        assert await owner.put("a", "second") == version
        assert (await request).text == "second"
        assert app.stats == SessionStats(requests=1)


@in_virtual_time
async def test_who_is_late_is_refused_before_the_handler_runs() -> None:
    async with house() as (_, note, find):

        async def handle() -> str:
            raise AssertionError("must not run")

        app = AsgiSession(asgi(handle), find=find, timeout_s=3)
        begun_s = now_s()
        answer = await call(app, ahead(f"note:a@{note.version}"))
        assert 3 <= now_s() - begun_s < 4
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["parasync-versions-late"] == ahead(f"note:a@{note.version}")
        assert b"try again" in answer.body
        assert app.stats == SessionStats(requests=1, late=1, refused=1)


@in_virtual_time
async def test_who_is_late_may_go_on_with_what_there_is() -> None:
    async with house() as (_, note, find):
        app = AsgiSession(asgi(partial(reads, note)), find=find, late="go_on", timeout_s=1)
        wanted = ahead(f"note:a@{note.version}")
        answer = await call(app, wanted)
        assert (answer.status, answer.text) == (200, "first")
        assert answer.headers["parasync-versions-late"] == wanted
        assert answer.versions == wanted
        assert app.stats == SessionStats(requests=1, late=1)


@in_virtual_time
async def test_a_handler_that_reads_itself_is_refused_likewise() -> None:
    """Unless it catches the error, or has begun to answer."""
    async with house() as (_, note, __):
        wanted = ahead(f"note:a@{note.version}")
        app = AsgiSession(asgi(partial(reads, note)), timeout_s=1)
        assert (await call(app, wanted)).status == 503

        async def careful() -> str:
            try:
                return await reads(note)
            except AskTimeoutError:
                return "not yet"

        assert (await call(AsgiSession(asgi(careful), timeout_s=1), wanted)).text == "not yet"

        async def hasty(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await reads(note)

        begun = AsgiSession(hasty, timeout_s=1)
        with pytest.raises(AskTimeoutError):
            await call(begun, wanted)
        assert begun.stats == SessionStats(requests=1, late=1)


@in_virtual_time
async def test_what_is_lost_is_not_waited_for_and_not_passed_on() -> None:
    async with InProcessTransport() as bus:
        async with authority(NOTES, bus, terms=terms(wall_clock=lambda: 1000.0)) as before:
            lost = await before.put("a", "old")
        after = terms(wall_clock=lambda: 1010.0)
        async with authority(NOTES, bus, terms=after) as owner, synced(NOTES["a"], bus, pace=pace()) as note:
            await owner.put("a", "new")
            app = AsgiSession(asgi(partial(reads, note)), find={"note:a": note}.get)
            begun_s = now_s()
            answer = await call(app, f"note:a@{lost},note:z@1.1")
            assert now_s() - begun_s < 1
            assert (answer.status, answer.text) == (200, "new")
            assert answer.headers["parasync-versions-lost"] == f"note:a@{lost}"
            assert answer.versions == "note:z@1.1"
            assert app.stats == SessionStats(requests=1, lost=1)


@in_virtual_time
async def test_a_deletion_that_the_client_has_seen_is_seen() -> None:
    async with house() as (owner, note, find):
        gone = await owner.delete("a")

        async def handle() -> str:
            return str(note.peek())

        assert (await call(AsgiSession(asgi(handle), find=find), f"note:a@{gone}")).text == "None"


@pytest.mark.parametrize("text", ["nonsense", "note:a", "note:a@1.1;", "\xff\xfe", "x" * 10_000, "note:a@1.1,,", "é@1.1"])
@in_virtual_time
async def test_a_header_that_cannot_be_read_is_ignored_and_counted(text: str) -> None:
    async with house() as (_, note, find):
        app = AsgiSession(asgi(partial(reads, note)), find=find)
        answer = await call(app, text)
        assert (answer.status, answer.text, answer.versions) == (200, "first", "")
        assert app.stats == SessionStats(requests=1, malformed=1)


@in_virtual_time
async def test_several_headers_and_another_name() -> None:
    async with house() as (_, __, find):

        async def handle() -> str:
            return str(outgoing())

        app = AsgiSession(asgi(handle), find=find, header="X-Seen")
        assert (await call(app, "note:y@1.1", "note:z@1.2", name="X-Seen")).text == "{'X-Seen': 'note:y@1.1,note:z@1.2'}"
        assert (await call(app, "note:y@1.1")).text == "{}"


@in_virtual_time
async def test_what_another_service_told_is_passed_on() -> None:
    async def handle() -> str:
        wrote("note:b", Version(1, 2))
        return f"{absorb('note:c@1.3')} {absorb(None)} {absorb('nonsense')} {outgoing()['Parasync-Versions']}"

    answer = await call(AsgiSession(asgi(handle)), "note:a@1.1")
    assert answer.text == f"True True False {answer.versions}"
    assert answer.versions == "note:a@1.1,note:b@1.2,note:c@1.3"


@in_virtual_time
async def test_outside_of_a_session_nothing_happens() -> None:
    async with house() as (_, note, __):
        wrote("note:a", Version(9, 9))
        assert outgoing() == {}
        assert absorb("note:a@9.9") is False
        assert await reads(note) == "first"


@in_virtual_time
async def test_what_is_no_http_goes_on_as_it_is() -> None:
    got = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.append((scope, receive, send))

    parts = ({"type": "lifespan"}, object(), object())
    await AsgiSession(app)(*parts)  # type: ignore[arg-type]
    assert got == [parts]


@in_virtual_time
async def test_errors_of_the_application_pass() -> None:
    async with house() as (owner, note, _):

        async def handle() -> str:
            await owner.put("a", "x", expected=Version(1, 1))
            return ""

        with pytest.raises(ConflictError):
            await call(AsgiSession(asgi(handle)))
        other = synced(NOTES["b"], InProcessTransport())
        other.close()
        assert (await call(AsgiSession(asgi(partial(reads, other))), "note:b@1.1")).status == 503
        assert outgoing() == {}
        assert note.value == "first"


@in_virtual_time
async def test_sessions_of_ones_own() -> None:
    """For a message instead of a request; they nest."""
    async with house() as (owner, _, __):
        with Session("note:z@1.1") as outer:
            first = await owner.put("b", "new")
            with Session() as inner:
                second = await owner.put("b", "newer")
            assert outgoing() == {"Parasync-Versions": f"note:z@1.1,note:b@{first}"}
        assert str(inner.seen) == f"note:b@{second}"
        await owner.put("b", "newest")
        assert str(outer.seen) == f"note:z@1.1,note:b@{first}"
        assert repr(outer) == f"<Session note:z@1.1,note:b@{first}>"
        assert Session(inner.seen).headers() == inner.headers()


@pytest.mark.parametrize(
    "options", [{"header": "a b"}, {"header": ""}, {"header": None}, {"timeout_s": "1"}, {"late": "maybe"}]
)
def test_options_out_of_range_are_refused(options: Any) -> None:
    with pytest.raises(UsageError, match="expected"):
        AsgiSession(asgi(lambda: None), **options)  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match="expected"):
        Session(**options)


def test_what_cannot_be_called_or_read_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        AsgiSession(None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot be called"):
        AsgiSession(asgi(lambda: None), find={})  # type: ignore[arg-type,return-value]
    with pytest.raises(InvalidVersionError):
        Session("nonsense")
    with Session(), pytest.raises(InvalidKeyError):
        wrote("note:", Version(1, 1))


async def a_request(cut: Cut, *, arrives: bool) -> None:
    """Cut while it waits: nothing is left, and the next request is served."""
    async with house() as (_, note, find):
        app = AsgiSession(asgi(partial(reads, note)), find=find, timeout_s=5)
        wanted = f"note:a@{note.version}"
        await cut(call(app, wanted if arrives else ahead(wanted)), unchanged=[outgoing], within_s=1.0)
        assert outgoing() == {}
        assert (await call(app, wanted)).text == "first"


@pytest.mark.parametrize("arrives", [True, False], ids=["there", "late"])
def test_a_request_may_be_cancelled_anywhere(arrives: bool) -> None:
    assert sweep(partial(a_request, arrives=arrives)) >= (0 if arrives else 1)


async def a_read(cut: Cut) -> None:
    async with house() as (_, note, __):
        with Session(ahead(f"note:a@{note.version}"), timeout_s=5, late="go_on"):
            assert await cut(reads(note), within_s=1.0) in (None, "first")


def test_a_read_may_be_cancelled_anywhere() -> None:
    assert sweep(a_read) >= 1
