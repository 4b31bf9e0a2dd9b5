"""A WSGI application over `parasync.threads`, for a real gunicorn.

`MADE=at import` makes its replica when the module is imported, which with preloading is in the parent of the workers; anything
else makes it at the first request of each process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from parasync import Topic, threads
from parasync.errors import UsageError
from parasync.http import WsgiSession

NOTES = Topic("note", str, version="1.0")


def make() -> threads.synced[str]:
    return threads.synced(NOTES["a"], threads.connect(os.environ["BUS"], name=f"service {os.getpid()}"))


def found(key: str) -> threads.synced[str] | None:
    return note() if key == "note:a" else None


note: Callable[[], threads.synced[str]] = threads.per_process(make)
if os.environ["MADE"] == "at import":
    made = make()
    made.ready()
    note = lambda: made  # noqa: E731 -- it stands for what is made elsewhere


def read(environ: Any, start_response: Any) -> Iterable[bytes]:
    try:
        text = note().ready()
    except UsageError as error:
        text = f"{type(error).__name__}: {error}"
    body = f"{os.getpid()} {text}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


app = WsgiSession(read, find=None if os.environ["MADE"] == "at import" else found)
