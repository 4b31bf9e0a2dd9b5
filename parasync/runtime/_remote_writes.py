"""Writes of others: what an authority does with a request to write, if it takes any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from parasync.errors import RefusedError
from parasync.protocol import Envelope, Put, Reader, Request, Response, Version, Written, parse_key

if TYPE_CHECKING:
    from parasync.runtime._authority import authority

T = TypeVar("T")

RemoteWriter: TypeAlias = Callable[[str | None, T | None, Put], Awaitable[Version]]
"""Takes the id (None for the object without one), the checked value (None: delete) and the request; returns the new version."""


async def written_for(
    owner: authority[Any], read: Reader[Any], writer: bool | RemoteWriter[Any], request: Request
) -> Response:
    """Write what somebody else asks for.

    Args:
        owner: in whose name.
        read: checks the value.
        writer: as `remote_writes` of the authority.
        request: what was asked for.

    Raises:
        RefusedError: this authority does not do that.
        ParasyncError: what the gate and the authority raise.
    """
    if not isinstance(request, Put):
        raise RefusedError(f"got a request of type {type(request).__name__}, which this authority does not know")
    topic, ident = parse_key(request.key)
    if writer is False or topic != owner.topic.name:
        raise RefusedError(f"the authority of {owner.topic.name!r} takes no writes from others")
    value = None
    if request.body is not None:
        value = read(Envelope(request.body, request.schema_version, 1))
    if callable(writer):
        return Written(await writer(ident, value, request))
    if request.body is None:
        return Written(await owner.delete(ident, expected=request.expected, idempotency_key=request.idempotency_key))
    return Written(
        await owner.put(
            ident,
            value,
            expected=request.expected,
            idempotency_key=request.idempotency_key,
            meta=request.meta,
        )
    )
