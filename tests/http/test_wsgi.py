"""The middleware for WSGI, called as a server calls it, with the replicas of `parasync.threads`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from parasync import InProcessTransport, Seen, Version, threads
from parasync.errors import AskTimeoutError, ConflictError, NotReadyError, UsageError
from parasync.http import SessionStats, WsgiSession, outgoing
from tests.http.kit import NOTES, Answer, ahead

House = tuple[threads.authority[str], threads.synced[str], Callable[[str], threads.synced[str] | None]]


@pytest.fixture
def house() -> Iterator[House]:
    """An authority, one replica, and how to find it."""
    bus = InProcessTransport()
    with threads.authority(NOTES, bus) as owner, threads.synced(NOTES["a"], bus) as note:
        owner.put("a", "first")
        yield owner, note, {"note:a": note}.get
    bus.close()
    threads.shutdown()


def wsgi(handle: Callable[[], str]) -> Any:
    """The smallest application: answers with the text that a function returns."""

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        body = handle().encode()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
        return [body]

    return app


def call(app: Any, versions: str | None = None, **environ: Any) -> Answer:
    """Call an application as a server does, and look whether both keep to the standard."""
    answer = Answer(0, b"")
    setup_testing_defaults(environ)
    environ["QUERY_STRING"] = ""
    if versions is not None:
        environ["HTTP_PARASYNC_VERSIONS"] = versions

    def start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
        answer.status = int(status.partition(" ")[0])
        answer.headers = {name.lower(): text for name, text in headers}
        return lambda data: None

    parts = validator(app)(environ, start_response)
    try:
        for part in parts:
            answer.body += part
    finally:
        parts.close()  # type: ignore[attr-defined]
    return answer


def test_the_answer_tells_what_the_handler_wrote(house: House) -> None:
    owner, note, _ = house

    def handle() -> str:
        owner.put("b", "new")
        owner.update("a", str.upper)
        owner.put("c", "gone")
        owner.delete("c")
        return "done"

    answer = call(WsgiSession(wsgi(handle)), "note:z@1.7")
    assert answer.text == "done"
    assert [key for key, _ in Seen.parse(answer.versions).items()] == ["note:z", "note:b", "note:a", "note:c"]
    assert Seen.parse(answer.versions).get("note:a") == note.version
    assert outgoing() == {}


def test_a_handler_reads_what_the_client_has_seen(house: House) -> None:
    owner, note, find = house
    version = owner.put("a", "second")
    for app in (WsgiSession(wsgi(partial(threads.reads, note))), WsgiSession(wsgi(lambda: note.value), find=find)):
        answer = call(app, f"note:a@{version}")
        assert (answer.status, answer.text, answer.versions) == (200, "second", f"note:a@{version}")
    assert threads.reads(note) == "second"


@pytest.mark.parametrize("found", [True, False], ids=["before the handler", "in the handler"])
def test_who_is_late_is_refused(house: House, found: bool) -> None:
    _, note, find = house
    wanted = ahead(f"note:a@{note.version}")
    app = WsgiSession(wsgi(partial(threads.reads, note)), find=find if found else None, timeout_s=0.01)
    answer = call(app, wanted)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["parasync-versions-late"] == wanted
    assert app.stats == SessionStats(requests=1, late=1, refused=1)


def test_who_is_late_may_go_on_with_what_there_is(house: House) -> None:
    _, note, find = house
    wanted = ahead(f"note:a@{note.version}")
    app = WsgiSession(wsgi(partial(threads.reads, note)), find=find, timeout_s=0.01, late="go_on")
    answer = call(app, wanted)
    assert (answer.status, answer.text, answer.headers["parasync-versions-late"]) == (200, "first", wanted)
    assert app.stats == SessionStats(requests=1, late=1)


@pytest.mark.parametrize("text", ["nonsense", "\xff", "x" * 10_000])
def test_a_header_that_cannot_be_read_is_ignored_and_counted(house: House, text: str) -> None:
    app = WsgiSession(wsgi(partial(threads.reads, house[1])))
    assert call(app, text).text == "first"
    assert app.stats == SessionStats(requests=1, malformed=1)


def test_what_is_lost_is_not_waited_for(house: House) -> None:
    _, note, find = house
    answer = call(WsgiSession(wsgi(lambda: note.value), find=find), "note:a@1.1")
    assert (answer.text, answer.headers["parasync-versions-lost"], answer.versions) == ("first", "note:a@1.1", "")


def test_an_answer_that_is_made_while_it_is_sent_is_made_in_the_session(house: House) -> None:
    """And is ended in it."""
    owner, _, __ = house
    ended = []

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        try:
            owner.put("b", "new")
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield outgoing()["Parasync-Versions"].encode()
            owner.put("c", "new")
            yield b" "
            yield outgoing()["Parasync-Versions"].encode()
        finally:
            ended.append(outgoing())

    @contextmanager
    def nothing_left() -> Iterator[None]:
        yield
        assert outgoing() == {}

    with nothing_left():
        answer = call(WsgiSession(app))
    first, second = answer.text.split()
    assert second.startswith(first + ",note:c@")
    assert ended == [{"Parasync-Versions": second}]


def test_what_the_server_sends_itself_stays_what_it_is(tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")

    def app(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](path.open("rb"))
        return wrapped

    answer = WsgiSession(app)({"wsgi.file_wrapper": FileWrapper}, lambda *_: None)
    assert isinstance(answer, FileWrapper)
    answer.close()


def test_errors_of_the_application_pass(house: House) -> None:
    owner, note, _ = house
    with pytest.raises(ConflictError):
        call(WsgiSession(wsgi(lambda: str(owner.put("a", "x", expected=Version(1, 1))))))
    with threads.synced(NOTES["z"], InProcessTransport()) as other, pytest.raises(NotReadyError):
        call(WsgiSession(wsgi(lambda: other.value)))

    def hasty(environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [threads.reads(note).encode()]

    with pytest.raises(AskTimeoutError):
        call(WsgiSession(hasty, timeout_s=0.01), ahead(f"note:a@{note.version}"))
    with pytest.raises(UsageError):
        WsgiSession(wsgi(str), late="maybe")  # type: ignore[arg-type]
