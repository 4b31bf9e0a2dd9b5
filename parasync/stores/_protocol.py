"""The contract of stores: where an authority keeps the value and the version of each object.

`parasync.testing.check_store` checks what `Store` promises, clause by clause:

1. `claim` makes an epoch above the stored one the only one that may write; any other is a `FencedError` and changes nothing.
2. The first claim begins the history. Only `history_lost`, and a claim that says so, move its beginning, to the epoch that
   calls; no state goes back.
3. What an epoch other than the claimed one writes or notes is a `FencedError` with the stored one, and changes nothing.
4. Each write gives its object the next sequence, from 1, in the epoch that writes: across deletions and epochs too.
5. With `expected`, a write happens only at that version, with `ABSENT` only where nothing exists; else it is a `ConflictError`
   that says where the object is, and changes nothing.
6. To delete what does not exist is a `DeletedError` and changes nothing, unless it is a `reissue`. A delete is a version.
7. A write that repeats the idempotency key and the content of one that was made for this object returns the first outcome and
   changes nothing; another content is an `IdempotencyError`. A write that failed uses up no key.
8. `read` returns what was written, tombstones included, nothing for what was never written, and the state at the same moment.
9. `page` lists the live objects with the prefix, each once, above `after`, in the order of code points, up to `limit`.
10. Topics do not touch.
11. Each method is one transaction, whoever else uses the store at the same time.
12. When a write is cancelled, it has happened or never will.
13. `positions` tells where all objects stand, tombstones too: each once, above `after`, in the order of `page`, up to `limit`.
14. `raise_floor` drops the tombstones written before a moment, and all others at or below the newest of these, to which the
    floor rises; nothing else changes. No version comes again: in the epoch of the floor, what begins or ends is put above it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import attrs

from parasync.protocol import ABSENT, NO_META, EncodedBody, Envelope, Kind, Position, Version


@attrs.frozen
class TopicState:
    """What a store knows of a topic as a whole.

    Args:
        epoch: of the authority that claimed the topic last; 0 before the first.
        floor: at and below it tombstones were dropped.
        history_epoch: since this epoch no version was lost.
    """

    epoch: int = 0
    floor: Version = ABSENT
    history_epoch: int = 0


@attrs.define(slots=True)
class Draft:
    """A write that has no version yet.

    Args:
        key: the full key.
        body: the encoded value; empty for a tombstone.
        kind: a state, or a tombstone.
        schema_version: the shape of the value.
        checksum: of kind, schema version and body.
        meta: rides along with the version.
        expected: write only if the object is at this version; `ABSENT` demands that it does not exist; None writes anyway.
        idempotency_key: a retry with the same key, for the same object, returns the first outcome.
        now_s: the wall clock in seconds, to forget idempotency keys and tombstones by.
        reissue: a tombstone may also be written where nothing exists.
    """

    key: str
    body: EncodedBody
    kind: Kind
    schema_version: str
    checksum: int
    meta: Mapping[str, str] = NO_META
    expected: Version | None = None
    idempotency_key: str | None = None
    now_s: float = 0.0
    reissue: bool = False


class Outcome(NamedTuple):
    """What a write came to: its version, and whether it was made now rather than by an earlier try."""

    version: Version
    fresh: bool


@runtime_checkable
class Store(Protocol):
    """Keeps the objects of topics. Each method is one transaction; any of them may raise `StoreError`.

    A store is used from the loop of its authority. Several authorities, also in other processes, may share one: `claim` and the
    epoch that every write carries make sure that only the newest of them can write.
    """

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        """Make `epoch` the one that may write to the topic.

        If the topic was never claimed before, `history_epoch` becomes this epoch too: if there ever was another store, what it
        held is lost.

        Args:
            topic: the name of the topic.
            epoch: that of the authority which begins to serve.
            lost: versions of epochs below may be lost: `history_epoch` becomes this epoch, in the same transaction.

        Raises:
            FencedError: the stored epoch is not below this one; nothing changed.
            StoreError: the store did not do its part.
        """

    async def history_lost(self, topic: str, epoch: int) -> TopicState:
        """Note that versions of epochs below this one may be lost.

        Args:
            topic: the name of the topic.
            epoch: that of the authority which serves.

        Raises:
            FencedError: another epoch claimed the topic; nothing changed.
            StoreError: the store did not do its part.
        """

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        """Drop the tombstones that were written before a moment; nothing changes where there are none.

        The floor rises to the newest version among them, and never goes down. Younger tombstones at or below it are dropped
        too, in the same transaction: nobody can tell them from those any more.

        Args:
            topic: the name of the topic.
            epoch: that of the authority which serves.
            before_s: the moment, compared with the `now_s` of their drafts, in seconds.

        Raises:
            FencedError: another epoch claimed the topic; nothing changed.
            StoreError: the store did not do its part.
        """

    async def state(self, topic: str) -> TopicState:
        """What is known of the topic.

        Args:
            topic: the name of the topic.

        Raises:
            StoreError: the store did not do its part.
        """

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        """Give the draft the next version of its object and keep both, in one transaction with the idempotency record.

        When the call is cancelled, the write has happened or never will.

        Args:
            topic: the name of the topic.
            epoch: that of the authority which serves.
            draft: what to write, and under which conditions.

        Raises:
            FencedError: another epoch claimed the topic; nothing was written.
            ConflictError: the object is not at `draft.expected`; nothing was written.
            DeletedError: the draft deletes what does not exist; nothing was written.
            IdempotencyError: the idempotency key was used for another value; nothing was written.
            IndeterminateError: the store did not answer in time; the write may have happened.
            StoreError: the store did not do its part; nothing was written.
        """

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        """Those of the objects that exist, tombstones included, and the state of the topic at the same moment.

        The value of an envelope is the stored body, None for a tombstone.

        Args:
            topic: the name of the topic.
            keys: of objects of the topic, each `topic` or `topic:id`.

        Raises:
            StoreError: the store did not do its part.
        """

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        """Up to `limit` live objects whose key begins with `prefix` and is above `after`, sorted by key (code points).

        Args:
            topic: the name of the topic.
            prefix: what the keys begin with.
            after: the last key of the page before; "" for the first page.
            limit: how many objects at the most, above 0.

        Raises:
            StoreError: the store did not do its part.
        """

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        """Where up to `limit` objects with a key above `after` stand, tombstones included, sorted by key (code points).

        An authority reads all of them when it begins, page by page, while nobody else may write.

        Args:
            topic: the name of the topic.
            after: the last key of the page before; "" for the first page.
            limit: how many objects at the most, above 0.

        Raises:
            StoreError: the store did not do its part.
        """
