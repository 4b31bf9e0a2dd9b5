"""A folder whose files are published as objects: what is in them now, and every change from then on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import attrs

from parasync import Topic, Version, authority
from parasync.cli._formats import Problem, read_file
from parasync.cli._tree import Claim, Scan, Signature, scan
from parasync.errors import DeletedError, EncodeError, ParasyncError
from parasync.protocol import EncodedBody, parse_key
from parasync.runtime._remote_writes import RemoteWriter
from parasync.transports.nats import NatsTransport

VANISHED_GRACE_S: Final = 0.1
"""How long a file must be gone before its object is deleted, in seconds: some editors remove it before they write it."""
SETTLED_S: Final = 2.0
"""How old the last change of a file must be for its time to be trusted, in seconds; until then it is read again."""


@attrs.define
class Entry:
    """What is known of one object of the folder.

    Args:
        path: the file that holds it.
        signature: of its content when it was read last; None to read it again.
        digest: of the body that was published; None before the first.
        missing_since_s: when it was first not found, on the clock of the loop; None while it is there.
    """

    path: str
    signature: Signature | None = None
    digest: bytes | None = None
    missing_since_s: float | None = None


@attrs.frozen
class Told:
    """What a folder tells whoever watches it work.

    Args:
        published: gets the key, the version, the path and whether the object is new.
        deleted: gets the key and the version of the deletion.
        complained: gets a line on what is wrong, once.
    """

    published: Callable[[str, Version, str, bool], None]
    deleted: Callable[[str, Version], None]
    complained: Callable[[str], None]


class Folder:
    """The authority of every topic that a folder has files for; an async context manager.

    Args:
        root: the folder.
        bus: where the objects are published.
        schema: the schema version that they are published with.
        told: hears of all that happens.
        writer: makes the function that takes writes of others; None refuses them.
    """

    def __init__(
        self,
        root: Path,
        bus: NatsTransport,
        *,
        schema: str,
        told: Told,
        writer: Callable[[Folder, Topic[object]], RemoteWriter[object]] | None = None,
    ) -> None:
        self.root = root
        self.bus = bus
        self.turn = asyncio.Lock()
        """Held while the folder is compared with what was published, and while others write into it."""
        self.entries: dict[str, Entry] = {}
        self.claims: dict[str, list[Claim]] = {}
        """The files of each object, as they were found last."""
        self.owners: dict[str, authority[object]] = {}
        self._schema = schema
        self._told = told
        self._writer = writer
        self._complaints: dict[str, str] = {}
        self._said_now: set[str] = set()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def sync(self) -> bool:
        """Publish what has changed since the last time; returns whether to look again after `VANISHED_GRACE_S`."""
        async with self.turn:
            return await self.sync_in_turn()

    async def sync_in_turn(self) -> bool:
        """Like `sync`, by whoever holds the turn."""
        self._said_now = set()
        try:
            found = await asyncio.to_thread(scan, self.root)
        except OSError as error:
            # Nothing is deleted because a disk was unmounted.
            self._complain(".", f"{self.root}: the folder cannot be read ({error.strerror}); everything stays as it was")
            return False
        self.claims = found.claims
        for path, text in found.problems.items():
            self._complain(path, f"{path}: {text}")
        beginning = [owner for topic in self._new_topics(found) if (owner := await self._began(topic)) is not None]
        for key, claims in sorted(found.claims.items()):
            await self._take(key, claims)
        for owner in beginning:
            owner.loaded()
        gone = [key for key in self.entries if key not in found.claims and not self._hidden(key, found)]
        again = [await self._miss(key) for key in gone]
        self._complaints = {path: text for path, text in self._complaints.items() if path in self._said_now}
        return any(again)

    def encode(self, key: str, value: object) -> EncodedBody:
        """The body of a value, if it can be published at all.

        Raises:
            EncodeError: it cannot.
        """
        body = Topic(parse_key(key).topic, object, version=self._schema).encode(value, self.bus.codec)
        if len(body) > self.bus.body_bytes_max:
            raise EncodeError(f"got a value of {len(body)} bytes, expected at most {self.bus.body_bytes_max}")
        return body

    def was_put(self, key: str, path: str, body: EncodedBody, version: Version) -> None:
        """Take note that the file at this path was written and published."""
        entry = self.entries.get(key)
        self.entries[key] = Entry(path, None, digest_of(body))
        self._told.published(key, version, path, entry is None or entry.digest is None)

    def was_deleted(self, key: str, version: Version) -> None:
        """Take note that the file of an object was removed, and the deletion published."""
        self.entries.pop(key, None)
        self._told.deleted(key, version)

    async def _take(self, key: str, claims: list[Claim]) -> None:
        """See to it that an object is what its file says; of several files the one that was there first counts."""
        entry = self.entries.get(key)
        chosen = next((claim for claim in claims if entry is not None and claim.path == entry.path), claims[0])
        for other in claims:
            if other is not chosen:
                self._complain(other.path, f"{other.path}: {key!r} is taken by {chosen.path}; rename or remove one of them")
        if entry is None or entry.path != chosen.path:
            entry = Entry(chosen.path, None, None if entry is None else entry.digest)
        entry.missing_since_s = None
        if entry.signature == chosen.signature:
            self._said_now.add(chosen.path)
            return
        try:
            read = await asyncio.to_thread(read_file, self.root / chosen.path)
            if isinstance(read, Problem):
                self._complain(chosen.path, read.at(chosen.path) + _what_stays(entry))
                entry.signature = _settled(chosen.signature)
            else:
                done = await self._publish(key, entry, read.value)
                entry.signature = _settled(chosen.signature) if done else None
        except FileNotFoundError:
            return
        except OSError as error:
            self._complain(chosen.path, f"{chosen.path}: cannot be read ({error.strerror})" + _what_stays(entry))
        self.entries[key] = entry

    async def _publish(self, key: str, entry: Entry, value: object) -> bool:
        """Publish a value unless it is published already; returns False to try again later."""
        topic, ident = parse_key(key)
        owner = self.owners.get(topic)
        if owner is None:
            return False
        try:
            digest = digest_of(self.encode(key, value))
            if digest == entry.digest:
                return True
            version = await owner.put(ident, value)
        except ParasyncError as error:
            self._complain(entry.path, f"{entry.path}: not published: {error}" + _what_stays(entry))
            return isinstance(error, EncodeError)
        self._told.published(key, version, entry.path, entry.digest is None)
        entry.digest = digest
        return True

    async def _miss(self, key: str) -> bool:
        """A file is not there any more; delete its object unless it comes back at once."""
        entry = self.entries[key]
        now_s = asyncio.get_running_loop().time()
        if entry.missing_since_s is None:
            entry.missing_since_s = now_s
        if now_s - entry.missing_since_s < VANISHED_GRACE_S:
            return True
        topic, ident = parse_key(key)
        try:
            version = await self.owners[topic].delete(ident)
        except DeletedError:
            pass
        except ParasyncError as error:
            self._complain(entry.path, f"{entry.path}: its deletion was not published: {error}")
            return False
        else:
            self._told.deleted(key, version)
        del self.entries[key]
        return False

    def _new_topics(self, found: Scan) -> list[str]:
        return sorted({parse_key(key).topic for key in found.claims} - self.owners.keys())

    async def _began(self, topic: str) -> authority[object] | None:
        """Become the authority of a topic, which does not answer before it is loaded; None if that has to be tried again."""
        kind: Topic[object] = Topic(topic, object, version=self._schema)
        writer = False if self._writer is None else self._writer(self, kind)
        owner = authority(kind, self.bus, loading=True, remote_writes=writer)
        try:
            self.owners[topic] = await self._stack.enter_async_context(owner)
        except ParasyncError as error:
            self._complain(f"{topic}:", f"the topic {topic!r} is not served yet: {error}")
            return None
        return owner

    def _hidden(self, key: str, found: Scan) -> bool:
        path = self.entries[key].path
        return any(path == blind or path.startswith(f"{blind.rstrip('/')}/") for blind in found.blind)

    def _complain(self, path: str, text: str) -> None:
        """Say what is wrong with a path, once for as long as it is the same."""
        self._said_now.add(path)
        if self._complaints.get(path) != text:
            self._complaints[path] = text
            self._told.complained(text)


def digest_of(body: EncodedBody) -> bytes:
    """What tells two bodies apart."""
    return hashlib.blake2b(body, digest_size=16).digest()


def _settled(signature: Signature) -> Signature | None:
    """The signature, if a later change is sure to make another one: clocks of file systems are coarse."""
    return signature if time.time_ns() - signature.modified_ns > SETTLED_S * 1e9 else None


def _what_stays(entry: Entry) -> str:
    return "" if entry.digest is None else " (the last good version stays)"
