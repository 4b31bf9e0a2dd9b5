"""`authority[T]`: the one writer of a topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from threading import get_ident
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from parasync.codec import body_checksum
from parasync.errors import ClosedError, ConflictError, DeletedError, EncodeError, UsageError
from parasync.protocol import NO_META, EncodedBody, Kind, Reported, Request, Response, Status, Version, parse_key
from parasync.runtime._checks import check_change, check_conditions, check_kind, check_meta, check_remote_writes
from parasync.runtime._desk import Desk
from parasync.runtime._guard import GuardedStore
from parasync.runtime._office import Terms
from parasync.runtime._remote_writes import RemoteWriter, written_for
from parasync.runtime._tracing import pen_class
from parasync.runtime._views import Snapshot
from parasync.stores import Draft, MemoryStore, Store
from parasync.topic import Topic
from parasync.transports._protocol import SyncTransport, check_transport

T = TypeVar("T")

UPDATE_ATTEMPTS_MAX: Final = 100
"""How often `update` tries when others write the same object; then it raises `ConflictError`."""


class authority(Generic[T]):
    """The one writer of a topic: what it has acknowledged is as durable as its store, and reaches every replica.

    It is an async context manager: entering it claims an epoch and serves, leaving it stops. All methods are called in the loop
    in which it was entered.

    Args:
        topic: what it owns.
        transport: where it publishes and answers.
        store: where it keeps the objects; by default in memory, which a restart loses.
        loading: neither answer nor claim to be complete before `loaded()` is called, while the first objects are put.
        remote_writes: whether others may write through it (`parasync put`): False refuses, True writes what they send, and a
            function decides itself.
        terms: times and limits.

    Raises:
        UsageError: an argument is not of its type, or the authority was entered before.
        FencedError: on entering, others claimed the topic again and again.
        StoreError: on entering, the store did not do its part.
        TransportError: on entering, the bus did not do its part.
    """

    def __init__(
        self,
        topic: Topic[T],
        transport: SyncTransport,
        *,
        store: Store | None = None,
        loading: bool = False,
        remote_writes: bool | RemoteWriter[T] = False,
        terms: Terms | None = None,
    ) -> None:
        if not isinstance(topic, Topic):
            raise UsageError(f"got a {type(topic).__name__}, expected a Topic")
        check_transport(transport)
        check_kind("store", store, Store, "MemoryStore()")
        check_kind("terms", terms, Terms, "Terms(probe_interval_s=5.0)")
        check_remote_writes(remote_writes)
        self._topic = topic
        self._transport = transport
        self._store = GuardedStore(MemoryStore() if store is None else store)
        self._terms = terms or Terms()
        self._remote_writes = remote_writes
        self._desk = Desk(topic.name, transport, self._store, self._terms, self._put_for)
        self._desk.loading, self._desk.schema_version = loading, topic.version
        self._office = self._desk.office
        self._pen = pen_class()(topic.name, transport, self._store, self._office, self._desk.heart)
        self._desk.publish, self._desk.repair = self._pen.publish, self._pen.repairs.begin
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._closed = False
        self._read = topic.reader(transport.codec)
        self._encode = topic.writer(transport.codec)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "serving" if self._office.serving else "fenced" if self._loop else "not entered"
        return f"<authority {self._topic.name!r} {state} epoch {self._office.epoch}>"

    @property
    def topic(self) -> Topic[T]:
        """What it owns."""
        return self._topic

    @property
    def epoch(self) -> int:
        """The epoch that its writes carry; 0 before it was entered."""
        return self._office.epoch

    @property
    def serving(self) -> bool:
        """Whether it may write: entered, not closed, and not fenced."""
        return self._office.serving

    @property
    def refusals(self) -> tuple[Reported, ...]:
        """What replicas elsewhere refuse of what it writes, as they told in the last `FORGET_AFTER_S`; most objects first."""
        return self._desk.refusals.reported()

    def loaded(self) -> None:
        """The first objects are there: answer from now on."""
        self._desk.loading = False
        self._desk.heart.begin()

    async def put(
        self,
        ident: str | None,
        value: T,
        *,
        expected: Version | None = None,
        idempotency_key: str | None = None,
        meta: Mapping[str, str] = NO_META,
    ) -> Version:
        """Write an object: check, encode, store, then publish.

        Args:
            ident: the id below the topic, None for the object without one.
            value: of the topic's type; do not change it afterwards.
            expected: write only if the object is at this version; `ABSENT` demands that it does not exist.
            idempotency_key: a retry with the same key returns the first outcome and writes nothing.
            meta: small texts that ride along.

        Raises:
            InvalidKeyError: the id does not follow the grammar.
            InvalidTypeError: the value is not of the topic's type; `problems` says where.
            EncodeError: the value or `meta` cannot be encoded, or is too large for the bus.
            ConflictError: the object is not at `expected`; `current` is where it is.
            IdempotencyError: the idempotency key was used for another value.
            FencedError: another authority took the topic over.
            IndeterminateError: the store did not answer; the write may have happened.
            StoreError: the store failed; nothing was written.
            ClosedError: the authority or the transport was closed.
            UsageError: called in another loop, or before the authority was entered; or `expected` is no version, or the
                idempotency key no text, or too long.
        """
        key = self._key(ident)
        self._check_usable()
        body = self._encode(value)
        limit_bytes = getattr(self._transport, "body_bytes_max", None)
        if limit_bytes is not None and len(body) > limit_bytes:
            raise EncodeError(f"got a value of {len(body)} bytes, expected at most {limit_bytes}: this bus carries no more")
        draft = self._draft(key, body, expected, idempotency_key, meta)
        version = self._pen.write_now(value, draft)
        return await self._pen.write(value, draft) if version is None else version

    async def delete(
        self, ident: str | None, *, expected: Version | None = None, idempotency_key: str | None = None
    ) -> Version:
        """Delete an object; the deletion is a version like any other, and is returned.

        Args:
            ident: the id below the topic, None for the object without one.
            expected: delete only if the object is at this version.
            idempotency_key: a retry with the same key returns the first outcome and deletes nothing.

        Raises:
            DeletedError: there is no such object.
            ParasyncError: as for `put`.
        """
        key = self._key(ident)
        self._check_usable()
        return await self._pen.write(None, self._draft(key, EncodedBody(), expected, idempotency_key, NO_META, Kind.TOMBSTONE))

    async def get(self, ident: str | None) -> Snapshot[T]:
        """The object as it is stored, with its version.

        Args:
            ident: the id of the object; None for the one object of a topic without ids.

        Raises:
            DeletedError: there is no such object.
            ParseError, SchemaSkewError: what is stored was written by other code and does not pass the gate.
            FencedError: another authority took the topic over.
            StoreError: the store did not do its part.
            InvalidKeyError, ClosedError, UsageError: as for `put`.
        """
        key = self._key(ident)
        self._check_usable()
        state, stored = await self._store.read(self._topic.name, [key])
        self._office.check_epoch(state)
        held = stored.get(key)
        if held is None or held.kind is Kind.TOMBSTONE:
            raise DeletedError(f"{key!r} does not exist", None if held is None else held.version)
        return Snapshot(self._read(held), held.version, Status.OK, 0.0, deleted=False)

    async def update(self, ident: str | None, change: Callable[[T], T], *, meta: Mapping[str, str] = NO_META) -> Version:
        """Replace an object by what a function makes of it; tries again when somebody else wrote in between.

        Args:
            ident: the id below the topic, None for the object without one.
            change: gets the current value and returns a new one; it may run several times, and must not change its argument.
            meta: small texts that ride along.

        Raises:
            DeletedError: there is no such object.
            ConflictError: others wrote it `UPDATE_ATTEMPTS_MAX` times in a row.
            ParasyncError: as for `put` and `get`.
        """
        check_change(change)
        for attempt in range(UPDATE_ATTEMPTS_MAX):
            current = await self.get(ident)
            value = change(current.value)  # type: ignore[arg-type]  # `get` raises where there is no value
            try:
                return await self.put(ident, value, expected=current.version, meta=meta)
            except ConflictError:
                if attempt == UPDATE_ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """Stop serving; what was published is on its way. May be called again."""
        self._closed = True
        if self._loop is not None:
            await self._desk.close()
        await self._pen.aclose()

    async def __aenter__(self) -> Self:
        if self._loop is not None or self._closed:
            raise UsageError("got an authority that was entered before, expected a new one")
        self._loop, self._thread = asyncio.get_running_loop(), get_ident()
        try:
            await self._desk.open()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        await self.aclose()

    async def _put_for(self, request: Request) -> Response:
        """Write for somebody else."""
        return await written_for(self, self._read, self._remote_writes, request)

    def _draft(
        self,
        key: str,
        body: EncodedBody,
        expected: Version | None,
        idempotency_key: str | None,
        meta: Mapping[str, str],
        kind: Kind = Kind.STATE,
    ) -> Draft:
        if expected is not None or idempotency_key is not None:
            check_conditions(expected, idempotency_key)
        if meta:
            check_meta(meta)
        schema_version = self._topic.version
        checksum = body_checksum(kind, schema_version, body)
        meta = dict(meta) if meta else NO_META
        return Draft(key, body, kind, schema_version, checksum, meta, expected, idempotency_key, self._terms.wall_clock())

    def _key(self, ident: str | None) -> str:
        if not isinstance(ident, str):
            return self._topic.ref().key if ident is None else self._topic[ident].key
        # The key of `self._topic[ident]`, made in less time than all the checks take.
        key = f"{self._topic.name}:{ident}"
        parse_key(key)
        return key

    def _check_usable(self) -> None:
        if self._closed:
            raise ClosedError(f"the authority of {self._topic.name!r} was closed")
        if self._loop is None:
            raise UsageError("got an authority that was not entered: use `async with authority(...) as owner`")
        # What `get_running_loop` would tell, without asking the operating system for each write.
        if get_ident() != self._thread or not self._loop.is_running():
            raise UsageError("got another event loop, expected the one in which the authority was entered")
        if getattr(self._transport, "closed", False):
            raise ClosedError("the transport was closed: nothing was stored")
        self._office.check_serving()
