"""What a handler says and asks in the session of its request."""

from __future__ import annotations

from typing import TypeVar

from parasync.protocol import Version
from parasync.runtime._session import Reads, current

T = TypeVar("T")


async def reads(replica: Reads[T]) -> T:
    """The value of a replica that shows at least what the client of this request has seen; outside of a session, its value.

    Args:
        replica: e.g. `synced(USERS["1"], bus)`, or `users.one("1")` of a mirror.

    Raises:
        AskTimeoutError: that did not come in time, and the session refuses what is late.
        NotReadyError: no value has arrived yet.
        DeletedError: the object was deleted, or never existed.
        ParasyncError: the replica cannot tell, and the session refuses what is late.
    """
    session = current()
    if session is not None:
        await session.wait(replica)
    return replica.value


def wrote(key: str, version: Version) -> None:
    """The client of this request has written, or seen, an object at a version: for writes that parasync does not see itself.

    What an authority of this process writes inside a session is noted by itself. Outside of a session nothing happens.

    Args:
        key: e.g. `"user:1"`.
        version: e.g. what another service returned.

    Raises:
        InvalidKeyError: the key does not follow the grammar.
        InvalidVersionError: `version` is no version.
    """
    session = current()
    if session is not None:
        session.note(key, version)


def outgoing() -> dict[str, str]:
    """The headers of a request to another service: what the client has seen until now; empty outside of a session."""
    session = current()
    return {} if session is None else session.headers()


def absorb(text: str | None) -> bool:
    """Note what another service told in its answer; False where it told nothing that can be read, or outside of a session.

    Args:
        text: its header; None where there was none.
    """
    session = current()
    return session is not None and session.absorb(text)
