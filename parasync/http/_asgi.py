"""The middleware for ASGI applications."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

from parasync.errors import ParasyncError
from parasync.http._middleware import REFUSAL, REFUSAL_HEADERS, Middleware
from parasync.runtime._session import HEADER, SESSION_TIMEOUT_S, Late, Reads

Message: TypeAlias = MutableMapping[str, Any]
AsgiApp: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class AsgiSession(Middleware):
    """Gives each HTTP request of an ASGI application a session: `app = AsgiSession(app, find=replicas.get)`.

    It reads the header of the request, waits for the versions there that a replica of this service can show, runs the
    application in the session, and tells in the header of the answer what was seen and written before the answer began. A
    header that cannot be read is ignored and counted. Versions that are lost for ever are not waited for; `…-Lost` in the
    answer names them, and `…-Late` those that did not come in time.

    Args:
        app: the application.
        find: from a key to the replica of that object, None where this service has none: e.g. the `get` of a dictionary. What
            is found is waited for before the application runs; without `find`, `reads(replica)` waits inside.
        header: the name of the header.
        timeout_s: how long a request waits for versions, in seconds.
        late: what happens when they do not come in time: 503 with `Retry-After` (`"refuse"`), or go on with what there is
            (`"go_on"`). An application that catches the error of `reads` decides itself.

    Raises:
        UsageError: an argument is not of its kind, or out of range.
    """

    def __init__(
        self,
        app: AsgiApp,
        *,
        find: Callable[[str], Reads[Any] | None] | None = None,
        header: str = HEADER,
        timeout_s: float = SESSION_TIMEOUT_S,
        late: Late = "refuse",
    ) -> None:
        super().__init__(app, find, header, timeout_s, late)
        self._name = header.lower().encode()

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Handle one connection; what is not HTTP goes to the application as it is."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        texts = [value for name, value in scope["headers"] if name.lower() == self._name]
        session = self.open_session(b",".join(texts).decode("latin-1"))
        started = refused = False

        async def tell(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message.get("headers", ()), *_encoded(session.told())]}
            await send(message)

        try:
            with session:
                if self._find is not None:
                    await session.wait_all(self._find)
                await self._app(scope, receive, tell)
        except ParasyncError:
            if started or not session.late:
                raise
            refused = True
            await tell({"type": "http.response.start", "status": 503, "headers": _encoded(REFUSAL_HEADERS)})
            await tell({"type": "http.response.body", "body": REFUSAL})
        finally:
            self.close_session(session, refused=refused)


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), text.encode()) for name, text in headers]
