"""What the tests of the middlewares share: applications that are called as servers call them, and servers that listen."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import uvicorn

from parasync import Topic, Version

PATIENCE_S = 30.0
NOTES = Topic("note", str, version="1.0")
Handle = Callable[[], Awaitable[str]]


@dataclass
class Answer:
    """What a client got."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def versions(self) -> str:
        return self.headers.get("parasync-versions", "")


def asgi(handle: Handle) -> Any:
    """The smallest application: answers with the text that a function returns."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = (await handle()).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def call(app: Any, *versions: str, name: str = "Parasync-Versions") -> Answer:
    """Call an application as a server does."""
    answer = Answer(0, b"")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(name.lower().encode(), text.encode("latin-1")) for text in versions]
    await app({"type": "http", "method": "GET", "path": "/", "headers": headers}, receive, send)
    return answer


def fetch(port: int, versions: str = "") -> Answer:
    """A real request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/", headers={"Parasync-Versions": versions} if versions else {})
        got = connection.getresponse()
        return Answer(got.status, got.read(), {name.lower(): value for name, value in got.getheaders()})
    finally:
        connection.close()


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    """A uvicorn that serves an application; its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error", ws="none"))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listening.close()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = False


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving_wsgi(app: Any) -> Iterator[int]:
    """The server of the standard library with a thread a request; its port."""
    server = _Server(("127.0.0.1", 0), _Quiet)
    server.set_app(app)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ahead(text: str, by: int = 1) -> str:
    """The text of one version, that many writes later."""
    key, _, version = text.partition("@")
    epoch, sequence = Version.parse(version)
    return f"{key}@{Version(epoch, sequence + by)}"
