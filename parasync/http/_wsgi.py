"""The middleware for WSGI applications."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from typing import Any, TypeAlias

from parasync.errors import ParasyncError
from parasync.http._middleware import REFUSAL, REFUSAL_HEADERS, Middleware
from parasync.runtime._session import HEADER, SESSION_TIMEOUT_S, BlockingReads, Late

WsgiApp: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WsgiSession(Middleware):
    """Gives each request of a WSGI application a session, as `AsgiSession` does; its replicas are those of `parasync.threads`.

    Args:
        app: the application.
        find: from a key to the replica of that object, None where this service has none: e.g. the `get` of a dictionary.
        header: the name of the header.
        timeout_s: how long a request waits for versions, in seconds.
        late: what happens when they do not come in time: 503 with `Retry-After` (`"refuse"`), or go on with what there is
            (`"go_on"`).

    Raises:
        UsageError: an argument is not of its kind, or out of range.
    """

    def __init__(
        self,
        app: WsgiApp,
        *,
        find: Callable[[str], BlockingReads[Any] | None] | None = None,
        header: str = HEADER,
        timeout_s: float = SESSION_TIMEOUT_S,
        late: Late = "refuse",
    ) -> None:
        super().__init__(app, find, header, timeout_s, late)
        self._name = f"HTTP_{header.upper().replace('-', '_')}"

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Handle one request."""
        session = self.open_session(environ.get(self._name, ""))
        context = copy_context()
        started = refused = False

        def tell(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            nonlocal started
            started = True
            return start_response(status, [*headers, *session.told()], *error)

        def handle() -> Iterable[bytes]:
            session.__enter__()
            if self._find is not None:
                session.wait_all_blocking(self._find, time.monotonic)
            answer: Iterable[bytes] = self._app(environ, tell)
            return answer

        try:
            answer = context.run(handle)
        except ParasyncError:
            if started or not session.late:
                raise
            refused = True
            tell("503 Service Unavailable", list(REFUSAL_HEADERS))
            return [REFUSAL]
        finally:
            self.close_session(session, refused=refused)
        # What is there already, or is sent by the server itself, needs no session any more.
        whole = isinstance(answer, (list, tuple, environ.get("wsgi.file_wrapper", ())))
        return answer if whole else _Answer(answer, context)


class _Answer:
    """An answer that is made while it is sent: in the session, and ended as WSGI demands."""

    def __init__(self, answer: Iterable[bytes], context: Context) -> None:
        self._answer = answer
        self._steps = context.run(iter, answer)
        self._context = context

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._context.run(next, self._steps)

    def close(self) -> None:
        """The server is done with it."""
        close = getattr(self._answer, "close", None)
        if close is not None:
            self._context.run(close)
