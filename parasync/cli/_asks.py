"""Single requests to an authority, for commands that ask once and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from secrets import token_hex
from typing import Any, Final

import attrs

from parasync import InProcessTransport, Topic, Version
from parasync.cli._exits import error_of
from parasync.errors import AskTimeoutError, DecodeError, DeletedError, NoAuthorityError, TransportError
from parasync.protocol import (
    Answer,
    Ask,
    Envelope,
    KeyPage,
    Kind,
    ListKeys,
    Put,
    Refusal,
    Request,
    Response,
    Unanswered,
    Written,
    parse_key,
)
from parasync.topic import as_written
from parasync.transports.nats import NatsTransport

PUT_TRY_S: Final = 2.0
"""How long one try of a write may take, in seconds; then it is tried again with the same idempotency key, which writes once."""

DEFAULT_SCHEMA: Final = "1.0"
MAJORS: Final = 1000
UNKNOWN_SCHEMA: Final = "0.0"


def any_topic(name: str, schema: str = DEFAULT_SCHEMA) -> Topic[object]:
    """A topic whose values are whatever was written, of any schema major below `MAJORS`."""
    others = {major: as_written for major in range(MAJORS) if major != int(schema.partition(".")[0])}
    return Topic(name, object, version=schema, upcasts=others)


@attrs.frozen
class Asker:
    """Asks over one bus, each time for `timeout_s` seconds at most."""

    bus: NatsTransport | InProcessTransport
    timeout_s: float

    async def fetch(self, key: str) -> Envelope[Any]:
        """The newest version of an object, with its value decoded.

        Raises:
            DeletedError: there is none; `version` is that of the deletion, where there was one.
            NoAuthorityError, AskTimeoutError, TransportError, RemoteError: no usable answer came.
            ParseError: it cannot be decoded.
        """
        envelope = await self._newest(key)
        if envelope is None or envelope.kind is Kind.TOMBSTONE:
            raise DeletedError(f"{key!r} does not exist", None if envelope is None else envelope.version)
        kind = any_topic(parse_key(key).topic, envelope.schema_version)
        value = kind.reader(self.bus.codec)(envelope)
        return attrs.evolve(envelope, value=value)

    async def schema(self, key: str) -> str:
        """The schema version that a new value of this object should have: that of the object, or of its neighbours.

        Raises:
            NoAuthorityError, AskTimeoutError, TransportError, RemoteError: no usable answer came.
        """
        envelope = await self._newest(key)
        if envelope is None or envelope.schema_version == UNKNOWN_SCHEMA:
            async for other, _ in self.keys(parse_key(key).topic):
                envelope = await self._newest(other)
                break
        known = envelope is not None and envelope.schema_version != UNKNOWN_SCHEMA
        return envelope.schema_version if envelope is not None and known else DEFAULT_SCHEMA

    async def keys(self, topic: str, prefix: str = "") -> AsyncIterator[tuple[str, Version]]:
        """The key and version of each object of a topic whose id begins with the prefix, sorted by key.

        Raises:
            NoAuthorityError, AskTimeoutError, TransportError, RemoteError: no usable answer came.
        """
        after = ""
        while True:
            page = await self.ask(topic, ListKeys(prefix, after))
            if not isinstance(page, KeyPage):
                raise _unexpected(page)
            for key, version in zip(page.keys, page.versions, strict=True):
                yield key, version
            if not page.more or not page.keys:
                return
            after = page.keys[-1]

    async def write(self, put: Put) -> Version:
        """Write through the authority, once, however often it takes to get an answer; returns the new version.

        Raises:
            ConflictError: the object is not at the expected version.
            DeletedError: it was to be deleted, and does not exist.
            RefusedError: the authority does not want it.
            AskTimeoutError: no answer came; the write may have happened.
            NoAuthorityError, TransportError: nobody was there to take it.
        """
        put = attrs.evolve(put, idempotency_key=put.idempotency_key or token_hex(16))
        loop = asyncio.get_running_loop()
        end_s = loop.time() + self.timeout_s
        while True:
            left_s = end_s - loop.time()
            try:
                async with asyncio.timeout_at(end_s):
                    written = await self.ask(parse_key(put.key).topic, put, min(PUT_TRY_S, max(left_s, 0.001)))
            except NoAuthorityError:
                raise
            except (TransportError, TimeoutError) as error:
                if loop.time() + PUT_TRY_S / 10 >= end_s:
                    raise AskTimeoutError(
                        f"no answer within {self.timeout_s:g} s: the write of {put.key!r} may have happened, look with get",
                        self.timeout_s,
                    ) from error
                await asyncio.sleep(PUT_TRY_S / 10)
                continue
            if not isinstance(written, Written):
                raise _unexpected(written)
            return written.version

    async def ask(self, topic: str, request: Request, timeout_s: float | None = None) -> Response:
        """Ask the authority of a topic; a refusal is raised as the error that it names.

        Raises:
            ParasyncError: whatever the transport raises, or the authority refuses with.
        """
        response = await self.bus.ask(topic, request, self.timeout_s if timeout_s is None else timeout_s)
        if isinstance(response, Refusal):
            raise error_of(response.error, response.reason, response.current)
        return response

    async def _newest(self, key: str) -> Envelope[Any] | None:
        answer = await self.ask(parse_key(key).topic, Ask(0, (key,), (None,)))
        outcome = answer.outcomes[0] if isinstance(answer, Answer) and len(answer.outcomes) == 1 else Unanswered()
        if isinstance(outcome, Unanswered):
            raise DecodeError(outcome.reason) if outcome.reason else _unexpected(answer)
        return outcome if isinstance(outcome, Envelope) else None


def _unexpected(response: object) -> DecodeError:
    return DecodeError(f"got a {type(response).__name__} that does not answer what was asked")
