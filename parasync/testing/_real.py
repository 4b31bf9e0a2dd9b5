"""Refuses what virtual time does not reach: sleeps, threads and waits for them, sockets and processes of the machine."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from parasync.testing._loop import VirtualLoop

_REAL: Final[tuple[tuple[Any, str, str], ...]] = (
    (time, "sleep", "time.sleep"),
    (threading.Thread, "start", "the start of a thread"),
    (threading.Condition, "wait", "a wait for another thread"),
    (socket.socket, "__init__", "a socket"),
    (socket, "getaddrinfo", "socket.getaddrinfo"),
    (subprocess.Popen, "__init__", "a process"),
)


@contextlib.contextmanager
def refusing(loop: VirtualLoop) -> Iterator[None]:
    """Make the doors to the real world raise for the thread of this loop, while it runs; other threads pass."""
    thread = threading.get_ident()

    def guarded(real: Callable[..., Any], what: str) -> Callable[..., Any]:
        def guard(*args: Any, **options: Any) -> Any:
            if threading.get_ident() == thread:
                loop.escaped(what)
            return real(*args, **options)

        return guard

    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in _REAL]
    try:
        for owner, name, what in _REAL:
            setattr(owner, name, guarded(getattr(owner, name), what))
        yield
    finally:
        for owner, name, real in kept:
            setattr(owner, name, real)
