"""A good store that is nothing like the memory store: a file, transactions, threads, and as many handles as one likes."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from parasync import ABSENT, Envelope, Kind, Version
from parasync.errors import ConflictError, DeletedError, FencedError, IdempotencyError
from parasync.protocol import EncodedBody, Position, next_version
from parasync.stores import Draft, Outcome, TopicState

T = TypeVar("T")

TABLES = """
create table topics (topic text primary key, epoch int, history int, floor_epoch int, floor_sequence int);
create table objects (
    topic text, key text, epoch int, sequence int, kind int, body blob, schema text, checksum int, meta text,
    written real,
    primary key (topic, key)
);
create table outcomes (topic text, key text, idempotency text, epoch int, sequence int, checksum int,
    primary key (topic, key, idempotency));
"""


class SqliteStore:
    """Keeps objects in a file; each call opens it anew, in a thread.

    Args:
        path: the file; its tables are made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            with closing(sqlite3.connect(path)) as connection:
                connection.executescript(TABLES)

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        def work(db: sqlite3.Connection) -> TopicState:
            known = state_of(db, topic)
            if known.epoch >= epoch:
                raise FencedError("claimed", known.epoch)
            history = epoch if lost else known.history_epoch or epoch
            db.execute("insert or replace into topics values (?, ?, ?, ?, ?)", (topic, epoch, history, *known.floor))
            return state_of(db, topic)

        return await self.transaction(work)

    async def history_lost(self, topic: str, epoch: int) -> TopicState:
        def work(db: sqlite3.Connection) -> TopicState:
            check_fence(db, topic, epoch)
            db.execute("update topics set history = ? where topic = ?", (epoch, topic))
            return state_of(db, topic)

        return await self.transaction(work)

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        def work(db: sqlite3.Connection) -> TopicState:
            check_fence(db, topic, epoch)
            newest = db.execute(
                "select epoch, sequence from objects where topic = ? and kind = 1 and written < ?"
                " order by epoch desc, sequence desc limit 1",
                (topic, before_s),
            ).fetchone()
            if newest is not None:
                floor = max(state_of(db, topic).floor, Version(*newest))
                db.execute("update topics set floor_epoch = ?, floor_sequence = ? where topic = ?", (*floor, topic))
                below = "delete from objects where topic = ? and kind = 1 and (epoch, sequence) <= (?, ?)"
                db.execute(below, (topic, *floor))
            return state_of(db, topic)

        return await self.transaction(work)

    async def state(self, topic: str) -> TopicState:
        return await self.transaction(lambda db: state_of(db, topic))

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        def work(db: sqlite3.Connection) -> Outcome:
            check_fence(db, topic, epoch)
            once = (topic, draft.key, draft.idempotency_key)
            find = "select epoch, sequence, checksum from outcomes where topic = ? and key = ? and idempotency = ?"
            if (done := db.execute(find, once).fetchone()) is not None:
                if done[2] != draft.checksum:
                    raise IdempotencyError("another value")
                return Outcome(Version(*done[:2]), fresh=False)
            below = check_expected(db, topic, draft)
            deletes = draft.kind is Kind.TOMBSTONE
            version = next_version(below, epoch=epoch, floor=state_of(db, topic).floor, deletes=deletes)
            db.execute(
                "insert or replace into objects values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (topic, draft.key, *version, draft.kind, draft.body, draft.schema_version, draft.checksum,
                 json.dumps(dict(draft.meta)), draft.now_s),
            )  # fmt: skip
            if draft.idempotency_key is not None:
                db.execute("insert into outcomes values (?, ?, ?, ?, ?, ?)", (*once, *version, draft.checksum))
            return Outcome(version, fresh=True)

        return await self.transaction(work)

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        def work(db: sqlite3.Connection) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
            found = (row_of(db, topic, key) for key in keys)
            return state_of(db, topic), {row[1]: envelope_of(row) for row in found if row is not None}

        return await self.transaction(work)

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        def work(db: sqlite3.Connection) -> list[tuple[str, Version]]:
            # UTF-8 has the order of code points, and `like` knows characters of its own.
            rows = db.execute(
                "select key, epoch, sequence from objects where topic = ? and kind = 0 and key > ?"
                " and substr(cast(key as blob), 1, ?) = cast(? as blob) order by key limit ?",
                (topic, after, len(prefix.encode()), prefix, limit),
            )
            return [(key, Version(epoch, sequence)) for key, epoch, sequence in rows]

        return await self.transaction(work)

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        def work(db: sqlite3.Connection) -> list[tuple[str, Position]]:
            rows = db.execute(
                "select key, epoch, sequence, iif(kind = 0, checksum, 0) from objects where topic = ? and key > ?"
                " order by key limit ?",
                (topic, after, limit),
            )
            return [(key, Position(Version(epoch, sequence), checksum)) for key, epoch, sequence, checksum in rows]

        return await self.transaction(work)

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Work in a thread, to the end even if nobody waits for it any more."""
        working = asyncio.ensure_future(asyncio.to_thread(self.work, work))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait((working,))
            raise

    def work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with closing(sqlite3.connect(self.path, isolation_level=None, timeout=60.0)) as db:
            db.execute("pragma synchronous = off")
            db.execute("begin immediate")
            try:
                result = work(db)
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")
            return result


class ImpatientStore(SqliteStore):
    """Clause 12: does not wait for the thread of a write that was cancelled, and does not stop it either."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.was_read = threading.Event()

    async def transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.to_thread(self.work, work)

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        self.was_read.clear()
        return await super().write(topic, epoch, draft)

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        found = await super().read(topic, keys)
        self.was_read.set()
        return found

    def work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if "write" in work.__qualname__:
            self.was_read.wait(0.05)  # until somebody has looked
        return super().work(work)


def state_of(db: sqlite3.Connection, topic: str) -> TopicState:
    find = "select epoch, history, floor_epoch, floor_sequence from topics where topic = ?"
    found = db.execute(find, (topic,)).fetchone()
    return TopicState() if found is None else TopicState(epoch=found[0], history_epoch=found[1], floor=Version(*found[2:]))


def check_fence(db: sqlite3.Connection, topic: str, epoch: int) -> None:
    known = state_of(db, topic).epoch
    if known != epoch or not known:
        raise FencedError("another epoch", known)


def row_of(db: sqlite3.Connection, topic: str, key: str) -> tuple[str, ...] | None:
    found: tuple[str, ...] | None = db.execute("select * from objects where topic = ? and key = ?", (topic, key)).fetchone()
    return found


def check_expected(db: sqlite3.Connection, topic: str, draft: Draft) -> Version | None:
    """The present version of the object, None for none."""
    row = row_of(db, topic, draft.key)
    held = None if row is None else envelope_of(row)
    exists = held is not None and held.kind is Kind.STATE
    at = None if held is None else held.version
    if draft.expected is not None and (exists if draft.expected == ABSENT else draft.expected != at):
        raise ConflictError("elsewhere", at)
    if draft.kind is Kind.TOMBSTONE and not exists and not draft.reissue:
        raise DeletedError("gone", at)
    return at


def envelope_of(row: tuple) -> Envelope[EncodedBody | None]:
    _, _, epoch, sequence, kind, body, schema, checksum, meta, _ = row
    value = None if kind else EncodedBody(body)
    return Envelope(value, schema, sequence, epoch, kind=Kind(kind), meta=json.loads(meta), checksum=checksum)
