"""Read your writes across services: versions that travel in an HTTP header, for any ASGI or WSGI application.

A service that writes tells in the header of its answer which versions it wrote; a client that sends the header on to another
service reads there what was written, or is told that it cannot.
"""

from parasync.http._asgi import AsgiSession
from parasync.http._context import absorb, outgoing, reads, wrote
from parasync.http._middleware import RETRY_AFTER_S, SessionStats
from parasync.http._wsgi import WsgiSession
from parasync.runtime._session import HEADER, SESSION_TIMEOUT_S, Session

__all__ = [
    "HEADER",
    "RETRY_AFTER_S",
    "SESSION_TIMEOUT_S",
    "AsgiSession",
    "Session",
    "SessionStats",
    "WsgiSession",
    "absorb",
    "outgoing",
    "reads",
    "wrote",
]
