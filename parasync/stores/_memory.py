"""A store that lasts as long as its process."""

from __future__ import annotations

import heapq
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias, cast

import attrs

from parasync.errors import ConflictError, DeletedError, FencedError, IdempotencyError, UsageError
from parasync.protocol import ABSENT, TOMBSTONE, TOMBSTONE_CHECKSUM, EncodedBody, Envelope, Position, Version, next_version
from parasync.stores._protocol import Draft, Outcome, TopicState

IDEMPOTENCY_WINDOW_S: Final = 24 * 3600.0
"""How long an idempotency key is remembered, in seconds."""
IDEMPOTENCY_KEYS_MAX: Final = 100_000
"""How many idempotency keys of a topic are remembered; beyond, the oldest is forgotten before its time."""


class MemoryStore:
    """Keeps encoded objects in the memory of this process; a restart of the process loses them.

    It may be shared by several authorities, in any threads, and outlive them: then it is a disk that never fails.

    Args:
        idempotency_window_s: how long an idempotency key is remembered, in seconds, above 0.
        idempotency_keys_max: how many of them a topic remembers, above 0; the oldest are forgotten first.

    Raises:
        UsageError: a limit is no number, or not above 0.
    """

    def __init__(
        self, *, idempotency_window_s: float = IDEMPOTENCY_WINDOW_S, idempotency_keys_max: int = IDEMPOTENCY_KEYS_MAX
    ) -> None:
        if not isinstance(idempotency_window_s, int | float) or not idempotency_window_s > 0:
            raise UsageError(f"got idempotency_window_s={idempotency_window_s!r}, expected a number of seconds above 0")
        if not isinstance(idempotency_keys_max, int) or idempotency_keys_max < 1:
            raise UsageError(f"got idempotency_keys_max={idempotency_keys_max!r}, expected an int above 0")
        self._window_s = idempotency_window_s
        self._keys_max = idempotency_keys_max
        self._topics: dict[str, _Topic] = {}
        self._lock = threading.Lock()

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        """Make `epoch` the one that may write. The history of a topic that was never claimed, or was lost, begins with it.

        Raises:
            FencedError: the stored epoch is not below this one.
        """
        with self._lock:
            held = self._topics.setdefault(topic, _Topic())
            if held.state.epoch >= epoch:
                raise _fenced(held.state.epoch, epoch)
            began = held.state.history_epoch if held.state.epoch and not lost else epoch
            held.state = attrs.evolve(held.state, epoch=epoch, history_epoch=began)
            return held.state

    async def history_lost(self, topic: str, epoch: int) -> TopicState:
        """Note that versions of epochs below this one may be lost.

        Raises:
            FencedError: another epoch claimed the topic.
        """
        with self._lock:
            held = self._claimed(topic, epoch)
            held.state = attrs.evolve(held.state, history_epoch=epoch)
            return held.state

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        """Drop the tombstones that were written before a moment, and all others at or below the newest of these.

        Raises:
            FencedError: another epoch claimed the topic.
        """
        with self._lock:
            held = self._claimed(topic, epoch)
            dead = {key: held.objects[key] for key in held.tombstones}
            old = [version for version, draft in dead.values() if draft.now_s < before_s]
            if old:
                floor = max(held.state.floor, *old)
                for key, (version, _) in dead.items():
                    if version <= floor:
                        del held.objects[key]
                # Made anew, since a dict from which much was deleted keeps the memory of that.
                held.objects = dict(held.objects)
                held.tombstones = {key: None for key in held.tombstones if key in held.objects}
                held.ordered = []
                held.state = attrs.evolve(held.state, floor=floor)
            return held.state

    async def state(self, topic: str) -> TopicState:
        """What is known of the topic."""
        with self._lock:
            return self._topics.get(topic, _Topic()).state

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        """Give the draft the next version of its object and keep both.

        Raises:
            FencedError: another epoch claimed the topic.
            ConflictError: the object is not at `draft.expected`.
            DeletedError: the draft deletes what does not exist.
            IdempotencyError: the idempotency key was used for another value.
        """
        return self.write_now(topic, epoch, draft)

    def write_now(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        """Like `write` with this `topic`, `epoch` and `draft`, without an await: it never waits for anything."""
        with self._lock:
            held = self._claimed(topic, epoch)
            if draft.idempotency_key is not None or held.outcomes:
                done = self._remembered(held, draft)
                if done is not None:
                    return Outcome(done, fresh=False)
            current = held.objects.get(draft.key)
            deletes = draft.kind is TOMBSTONE
            if deletes or draft.expected is not None:
                _check_expected(draft, current)
            below = None if current is None else current[0]
            version = next_version(below, epoch=epoch, floor=held.state.floor, deletes=deletes)
            held.objects[draft.key] = (version, draft)
            if deletes:
                held.tombstones[draft.key] = None
            elif held.tombstones:
                held.tombstones.pop(draft.key, None)
            if draft.idempotency_key is not None:
                held.outcomes[draft.key, draft.idempotency_key] = _Remembered(version, draft.checksum, draft.now_s)
                if len(held.outcomes) > self._keys_max:
                    held.outcomes.popitem(last=False)
            return _outcome((version, True))

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, dict[str, Envelope[EncodedBody | None]]]:
        """Those of the objects that exist, tombstones included, and the state of the topic at the same moment."""
        with self._lock:
            held = self._topics.get(topic, _Topic())
            return held.state, {key: _envelope(held.objects[key]) for key in keys if key in held.objects}

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        """Up to `limit` live objects whose key begins with `prefix` and is above `after`, sorted by key."""
        with self._lock:
            objects = self._topics.get(topic, _Topic()).objects
            found = [key for key in objects if key > after and key.startswith(prefix)]
            live = (key for key in found if objects[key][1].kind is not TOMBSTONE)
            return [(key, objects[key][0]) for key in heapq.nsmallest(limit, live)]

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        """Where up to `limit` objects with a key above `after` stand, tombstones included, sorted by key."""
        with self._lock:
            held = self._topics.get(topic, _Topic())
            objects = held.objects
            # Keys come one by one, so that those of the page before are in order until another one has come.
            if len(held.ordered) != len(objects):
                held.ordered = sorted(objects)
            begin = bisect_right(held.ordered, after)
            return [(key, _position(objects[key])) for key in held.ordered[begin : begin + limit]]

    def _claimed(self, topic: str, epoch: int) -> _Topic:
        held = self._topics.get(topic)
        if held is None or held.state.epoch != epoch:
            raise _fenced(0 if held is None else held.state.epoch, epoch)
        return held

    def _remembered(self, held: _Topic, draft: Draft) -> Version | None:
        """The outcome of an earlier try; forgets what is older than the window."""
        while held.outcomes and next(iter(held.outcomes.values())).at_s < draft.now_s - self._window_s:
            held.outcomes.popitem(last=False)
        if draft.idempotency_key is None or (done := held.outcomes.get((draft.key, draft.idempotency_key))) is None:
            return None
        if done.at_s < draft.now_s - self._window_s:  # behind one that a clock which was set back made younger
            return None
        if done.checksum != draft.checksum:
            raise IdempotencyError("got an idempotency key that was used for another value, expected a new one for each write")
        return done.version


@attrs.frozen
class _Remembered:
    version: Version
    checksum: int
    at_s: float


_Object: TypeAlias = tuple[Version, Draft]
# What a `NamedTuple` does when it is called, in a third of the time.
_outcome: Final = partial(cast("Callable[..., Outcome]", tuple.__new__), Outcome)


@attrs.define
class _Topic:
    state: TopicState = attrs.Factory(TopicState)
    objects: dict[str, _Object] = attrs.Factory(dict)
    outcomes: OrderedDict[tuple[str, str], _Remembered] = attrs.Factory(OrderedDict)
    ordered: list[str] = attrs.Factory(list)
    tombstones: dict[str, None] = attrs.Factory(dict)


def _fenced(stored: int, mine: int) -> FencedError:
    return FencedError(f"got epoch {mine}, expected one above {stored}: another authority took the topic over", stored)


def _envelope(held: _Object) -> Envelope[EncodedBody | None]:
    (epoch, sequence), draft = held
    kind = draft.kind
    body = None if kind is TOMBSTONE else draft.body
    return Envelope(body, draft.schema_version, sequence, epoch, None, kind, draft.meta, draft.checksum)


def _position(held: _Object) -> Position:
    version, draft = held
    return Position(version, TOMBSTONE_CHECKSUM if draft.kind is TOMBSTONE else draft.checksum)


def _check_expected(draft: Draft, current: _Object | None) -> None:
    exists = current is not None and current[1].kind is not TOMBSTONE
    where = current[0] if current is not None else None
    if draft.expected is not None and (exists if draft.expected == ABSENT else draft.expected != where):
        at = f"it is at {where}" if exists else "it does not exist"
        wanted = "no object" if draft.expected == ABSENT else f"version {draft.expected}"
        raise ConflictError(f"got expected {wanted}, but {at}: read it again, then write", where)
    if draft.kind is TOMBSTONE and not exists and not draft.reissue:
        raise DeletedError("got a delete of an object that does not exist", where)
