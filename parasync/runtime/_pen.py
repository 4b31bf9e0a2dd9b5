"""The way of a write: store it, then publish it, whatever happens in between."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from parasync.errors import FencedError, IndeterminateError, ParasyncError
from parasync.protocol import ABSENT, TOMBSTONE, Envelope, Version
from parasync.runtime._guard import GuardedStore
from parasync.runtime._heart import Heart
from parasync.runtime._office import Office
from parasync.runtime._repairs import Repairs
from parasync.runtime._session import note_write, noting
from parasync.stores import Draft, Outcome
from parasync.transports._protocol import SyncTransport

logger: Final = logging.getLogger("parasync")

WRITES_WITHOUT_PAUSE_MAX: Final = 256
"""After so many writes in a row the next one first lets the event loop turn: a store in memory never suspends its writer, and a
writer that loads many objects would keep the bus from sending them."""


class Pen:
    """Writes drafts in the name of one authority; what is not stored is not published.

    Where the store never waits, nothing comes between storing and publishing. With any other, several writes of one key may be
    under way. A store may finish the later one first; then the earlier one is not published any more, and replicas that take
    that for a loss ask.
    """

    def __init__(self, topic: str, transport: SyncTransport, store: GuardedStore, office: Office, heart: Heart) -> None:
        self._topic = topic
        self._transport = transport
        self._store = store
        self._write_now = store.write_now
        self._office = office
        self._heart = heart
        self._fresh = heart.published
        self._under_way: dict[str, int] = {}
        self._published: dict[str, Version] = {}
        self.repairs = Repairs(topic, store, office, heart, self.publish)
        self._writes = 0

    def write_now(self, value: object, draft: Draft) -> Version | None:
        """What `write` does, where it can be done without waiting; None where it cannot, and nothing was done.

        Raises:
            ParasyncError: what the store raises.
        """
        # Others that are under way may have to be published first.
        if self._write_now is None or self._under_way or self._writes >= WRITES_WITHOUT_PAUSE_MAX:
            return None
        self._writes += 1
        try:
            version, fresh = self._write_now(self._topic, self._office.epoch, draft)
        except FencedError:
            return None
        if fresh:
            self._send(value, draft, version, None)
        else:
            self.repairs.begin(draft.key, None)
        if noting.on:
            note_write(draft.key, version)
        return version

    async def write(self, value: object, draft: Draft) -> Version:
        """Store a draft, and publish it with its value.

        Raises:
            ParasyncError: what the store raises.
        """
        if self._writes >= WRITES_WITHOUT_PAUSE_MAX:
            self._writes = 0
            await asyncio.sleep(0)
            self._office.check_serving()
        self._writes += 1
        key = draft.key
        under_way = self._under_way
        under_way[key] = under_way.get(key, 0) + 1
        heart = self._heart
        write: object = heart.write_begins()
        try:
            version, fresh = await self._stored(draft)
        except (asyncio.CancelledError, IndeterminateError):
            # The write may have happened: then what is stored has to be published all the same.
            self.repairs.begin(key, write)
            write = None
            raise
        else:
            if fresh:
                self._publish(value, draft, version)
            else:
                # The first try may have been stored without anybody knowing: what is published twice does no harm.
                self.repairs.begin(key, None)
            if noting.on:
                note_write(key, version)
            return version
        finally:
            heart.write_ends(write)
            under_way[key] -= 1
            if not under_way[key]:
                del under_way[key]
                self._published.pop(key, None)

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        """Publish what is stored already; writes of the same object that are under way come after it."""
        if key in self._under_way:
            self._published[key] = max(envelope.version, self._published.get(key, ABSENT))
        fresh = self._fresh
        if fresh is not None and (key not in fresh or fresh[key].version < envelope.version):
            self._note(fresh, key, envelope)
        publish_stored(self._transport, key, envelope)

    async def aclose(self) -> None:
        """Wait for the repairs that are under way, a while; what the store does not tell now is not tried again."""
        await self.repairs.aclose()

    async def _stored(self, draft: Draft) -> Outcome:
        office = self._office
        while True:
            epoch = office.epoch
            try:
                return await self._store.write(self._topic, epoch, draft)
            except FencedError as error:
                # This authority may just be taking a new epoch itself.
                async with office.turn:
                    if office.serving and office.epoch > epoch:
                        continue
                office.fence(error.epoch or 0)
                raise

    def _publish(self, value: object, draft: Draft, version: Version) -> None:
        after = None
        others = self._under_way[draft.key] - 1
        last = self._published.get(draft.key)
        if others or last is not None:
            if last is not None and last > version:
                return
            self._published[draft.key] = version
            # Each of the others may have a version between the one that was sent last and this one, and be sent never.
            known = last is not None and last.epoch == version.epoch
            after = last.sequence if last is not None and known else max(0, version.sequence - 1 - others)
        elif draft.kind is TOMBSTONE:
            # A deletion that is put above the floor leaves sequences out, and nobody is to look for them.
            last = self._heart.version_of(draft.key)
            after = last.sequence if last is not None and last.epoch == version.epoch and last < version else None
        self._send(value, draft, version, after)

    def _send(self, value: object, draft: Draft, version: Version, after: int | None) -> None:
        epoch, sequence = version
        schema_version, kind, meta, checksum = draft.schema_version, draft.kind, draft.meta, draft.checksum
        envelope = Envelope(value, schema_version, sequence, epoch, after, kind, meta, checksum, draft.body)
        fresh = self._fresh
        if fresh is not None:
            self._note(fresh, draft.key, envelope)
        publish_stored(self._transport, draft.key, envelope)

    def _note(self, fresh: dict[str, Envelope[Any]], key: str, envelope: Envelope[Any]) -> None:
        """The next beat names it, also if it cannot be published, which is a loss like any other."""
        try:
            if len(fresh) >= self._heart.room:
                self._heart.beat_early()
        finally:
            if not fresh:
                self._heart.quicken()
            fresh[key] = envelope


def publish_stored(transport: SyncTransport, key: str, envelope: Envelope[Any]) -> None:
    """Publish what is stored and therefore true; replicas that it does not reach learn of it when they ask."""
    try:
        transport.publish(key, envelope)
    except Exception as error:  # noqa: BLE001  # transports are written by others, and the write has happened
        said = error if isinstance(error, ParasyncError) else type(error).__name__
        logger.warning("a stored version of %r could not be published: %s", key, said)
