"""Stores that are broken in one way each, all made of the memory store, and one that takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import attrs

from parasync import Envelope, Kind, MemoryStore, Version
from parasync.errors import ConflictError, DeletedError, FencedError, IdempotencyError
from parasync.protocol import TOMBSTONE_CHECKSUM, EncodedBody, Position
from parasync.stores import Draft, Outcome, TopicState
from parasync.stores._memory import _Topic

Found = dict[str, Envelope[EncodedBody | None]]


class SlowStore(MemoryStore):
    """A good store that waits a few turns before and after each of its steps."""

    async def wait(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        await self.wait()
        state = await super().claim(topic, epoch, lost=lost)
        await self.wait()
        return state

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        await self.wait()
        outcome = await super().write(topic, epoch, draft)
        await self.wait()
        return outcome

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, Found]:
        await self.wait()
        found = await super().read(topic, keys)
        await self.wait()
        return found


class TakesAnyEpoch(MemoryStore):
    """Clause 1: an epoch that is not higher takes the topic over too."""

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        try:
            return await super().claim(topic, epoch, lost=lost)
        except FencedError:
            held = self._topics[topic]
            held.state = attrs.evolve(held.state, epoch=epoch)
            return held.state


class ForgetsItsHistory(MemoryStore):
    """Clause 2: each claim begins the history anew."""

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        await super().claim(topic, epoch, lost=lost)
        return await self.history_lost(topic, epoch)


class ForgetsAnotherHistory(MemoryStore):
    """Clause 2: a claim goes on with a history of which it is told that it was lost."""

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        return await super().claim(topic, epoch)


class GoesBack(MemoryStore):
    """Clause 2: a write takes the note of a lost history back."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        outcome = await super().write(topic, epoch, draft)
        held = self._topics[topic]
        held.state = attrs.evolve(held.state, history_epoch=1)
        return outcome


class ForgetsTheFence(MemoryStore):
    """Clause 3: writes for whoever asks."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        return await super().write(topic, (await self.state(topic)).epoch or epoch, draft)


class FencesOlderOnly(MemoryStore):
    """Clause 3: an epoch that nobody claimed may write if it is high enough."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        known = await self.state(topic)
        return await super().write(topic, min(epoch, known.epoch), draft)


class ReusesASequence(MemoryStore):
    """Clause 4: what was deleted begins at 1 again."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        _, found = await self.read(topic, [draft.key])
        held = found.get(draft.key)
        if held is not None and held.kind is Kind.TOMBSTONE and draft.expected is None and draft.kind is Kind.STATE:
            self._topics[topic].objects.pop(draft.key)
        return await super().write(topic, epoch, draft)


class CountsByEpoch(MemoryStore):
    """Clause 4: each epoch begins at 1."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        _, found = await self.read(topic, [draft.key])
        held = found.get(draft.key)
        if held is not None and held.epoch < epoch == (await self.state(topic)).epoch and draft.idempotency_key is None:
            self._topics[topic].objects.pop(draft.key)
        return await super().write(topic, epoch, draft)


class IgnoresExpected(MemoryStore):
    """Clause 5."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        return await super().write(topic, epoch, attrs.evolve(draft, expected=None))


class ComparesSequences(MemoryStore):
    """Clause 5: the epoch of the expected version is not looked at."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        _, found = await self.read(topic, [draft.key])
        held = found.get(draft.key)
        if held is not None and draft.expected is not None and draft.expected.sequence == held.sequence:
            draft = attrs.evolve(draft, expected=held.version)
        return await super().write(topic, epoch, draft)


class DeletesNothing(MemoryStore):
    """Clause 6: deletes what does not exist."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        try:
            return await super().write(topic, epoch, draft)
        except DeletedError:
            return await super().write(topic, epoch, attrs.evolve(draft, reissue=True))


class ForgetsIdempotency(MemoryStore):
    """Clause 7: a retry writes again."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        return await super().write(topic, epoch, attrs.evolve(draft, idempotency_key=None))


class MatchesAnyContent(MemoryStore):
    """Clause 7: the idempotency key of another value is taken for a retry."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        try:
            return await super().write(topic, epoch, draft)
        except IdempotencyError:
            return Outcome(self._topics[topic].outcomes[draft.key, str(draft.idempotency_key)].version, fresh=False)


class ReadsNoTombstones(MemoryStore):
    """Clause 8: what was deleted is read as if it had never been."""

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, Found]:
        state, found = await super().read(topic, keys)
        return state, {key: held for key, held in found.items() if held.kind is not Kind.TOMBSTONE}


class LosesMeta(MemoryStore):
    """Clause 8: what rides along gets lost."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        return await super().write(topic, epoch, attrs.evolve(draft, meta={}))


class SkipsOnPages(MemoryStore):
    """Clause 9: the first of each following page is missing."""

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        found = await super().page(topic, prefix=prefix, after=after, limit=limit + bool(after))
        return found[1:] if after else found


class RepeatsOnPages(MemoryStore):
    """Clause 9: a page begins with the end of the one before."""

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        found = await super().page(topic, prefix=prefix, after="", limit=1_000_000)
        return [each for each in found if each[0] >= after][:limit]


class ListsTheDead(MemoryStore):
    """Clause 9: deleted objects are on pages."""

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        objects = self._topics[topic].objects if topic in self._topics else {}
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)[:limit]
        return [(key, objects[key][0]) for key in keys]


class SortsWithoutCase(MemoryStore):
    """Clause 9: in the order of some language."""

    async def page(self, topic: str, *, prefix: str, after: str, limit: int) -> list[tuple[str, Version]]:
        found = await super().page(topic, prefix=prefix, after="", limit=1_000_000)
        return sorted((each for each in found if each[0].lower() > after.lower()), key=lambda each: each[0].lower())[:limit]


class MixesTopicsUp(MemoryStore):
    """Clause 10: the state of all topics is one."""

    async def state(self, topic: str) -> TopicState:
        return max((held.state for held in self._topics.values()), key=lambda state: state.epoch, default=TopicState())


class WritesInTwoSteps(SlowStore):
    """Clause 11: looks, waits, and writes."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        _, found = await MemoryStore.read(self, topic, [draft.key])
        held = found.get(draft.key)
        at = None if held is None else held.version
        if draft.expected is None or (at or Version(0, 0)) != draft.expected:
            return await super().write(topic, epoch, draft)
        await self.wait()
        return await super().write(topic, epoch, attrs.evolve(draft, expected=None))


class ReadsInTwoSteps(SlowStore):
    """Clause 11: the state that is read is older than the objects."""

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, Found]:
        state = await self.state(topic)
        for _ in range(20):
            await self.wait()
        return state, (await super().read(topic, keys))[1]


class WritesAfterAll(MemoryStore):
    """Clause 12: a write that was cancelled happens later."""

    def __init__(self) -> None:
        super().__init__()
        self.writing: set[asyncio.Task[Any]] = set()

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        async def later() -> Outcome:
            for _ in range(3):
                await asyncio.sleep(0)
            return await MemoryStore.write(self, topic, epoch, draft)

        task = asyncio.create_task(later())
        self.writing.add(task)
        task.add_done_callback(self.writing.discard)
        return await asyncio.shield(task)


class RemembersBeforeItWrites(MemoryStore):
    """Clause 12: a cancelled write is remembered as done, and was not."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        outcome = await super().write(topic, epoch, draft)
        if draft.idempotency_key is not None and outcome.fresh:
            written = self._topics[topic].objects.pop(draft.key)
            await asyncio.sleep(0)
            self._topics[topic].objects[draft.key] = written
        return outcome


class ConflictsSilently(MemoryStore):
    """Clause 5: a conflict does not say where the object is."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        try:
            return await super().write(topic, epoch, draft)
        except ConflictError as conflict:
            raise ConflictError(str(conflict)) from None


class ReturnsTheStateBefore(MemoryStore):
    """Clause 1: a claim returns the epoch that it replaced."""

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        before = await self.state(topic)
        return attrs.evolve(await super().claim(topic, epoch, lost=lost), epoch=before.epoch)


class ClaimsByWriting(MemoryStore):
    """Clause 3: who writes to what was never claimed, claims it."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        if topic not in self._topics:
            await self.claim(topic, epoch)
        return await super().write(topic, epoch, draft)


class RefusesReissues(MemoryStore):
    """Clause 6: what does not exist is never deleted."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        _, found = await self.read(topic, [draft.key])
        reissue = draft.reissue and draft.key in found
        return await super().write(topic, epoch, attrs.evolve(draft, reissue=reissue))


class ReadsAFew(MemoryStore):
    """Clause 8: reads the first hundred of the keys that are asked for."""

    async def read(self, topic: str, keys: Sequence[str]) -> tuple[TopicState, Found]:
        return await super().read(topic, keys[:100])


class CountsInTwoSteps(SlowStore):
    """Clause 11: looks which version is next, waits, and says that it has written that one."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        _, found = await MemoryStore.read(self, topic, [draft.key])
        held = found.get(draft.key)
        outcome = await super().write(topic, epoch, draft)
        plain = outcome.fresh and draft.expected is None and draft.idempotency_key is None
        return Outcome(Version(epoch, 1 if held is None else held.sequence + 1), fresh=True) if plain else outcome


class RemembersFailures(MemoryStore):
    """Clause 7: a write that failed has used its idempotency key up."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[tuple[str, str]] = set()

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        used = (draft.key, str(draft.idempotency_key))
        if used in self.used:
            raise IdempotencyError("used up")
        try:
            return await super().write(topic, epoch, draft)
        except (ConflictError, DeletedError):
            if draft.idempotency_key is not None:
                self.used.add(used)
            raise


class ClaimsInTwoSteps(SlowStore):
    """Clause 11: looks who has the topic, waits, and takes it."""

    async def claim(self, topic: str, epoch: int, *, lost: bool = False) -> TopicState:
        before = await self.state(topic)
        if before.epoch >= epoch:
            raise FencedError("taken", before.epoch)
        await self.wait()
        self._topics.setdefault(topic, _Topic()).state = attrs.evolve(
            before, epoch=epoch, history_epoch=epoch if lost else before.history_epoch or epoch
        )
        return await self.state(topic)


class ForgetsWhereTheDeadStand(MemoryStore):
    """Clause 13: tombstones stand nowhere."""

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        found = await super().positions(topic, after=after, limit=1_000_000)
        return [(key, held) for key, held in found if held.checksum != TOMBSTONE_CHECKSUM][:limit]


class TellsTheChecksumOfTombstones(MemoryStore):
    """Clause 13: a tombstone stands there with the checksum that it was written with."""

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        found = await super().positions(topic, after=after, limit=limit)
        return [(key, Position(held.version, self._topics[topic].objects[key][1].checksum)) for key, held in found]


class RemembersAnOrder(MemoryStore):
    """Clause 13: what came after the first look is at no place, nor does anybody move."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, list[tuple[str, Position]]] = {}

    async def positions(self, topic: str, *, after: str, limit: int) -> list[tuple[str, Position]]:
        if topic not in self.seen and topic in self._topics:
            self.seen[topic] = await super().positions(topic, after="", limit=1_000_000)
        return [each for each in self.seen.get(topic, []) if each[0] > after][:limit]


class DropsWhatIsYoung(MemoryStore):
    """Clause 14: drops tombstones whatever their age."""

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        return await super().raise_floor(topic, epoch, before_s=before_s + 10_000.0)


class ForgetsTheFloor(MemoryStore):
    """Clause 14: drops tombstones, and leaves the floor where it was."""

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        await super().raise_floor(topic, epoch, before_s=before_s)
        held = self._topics[topic]
        held.state = attrs.evolve(held.state, floor=Version(0, 0))
        return held.state


class KeepsTheYoungBelowTheFloor(MemoryStore):
    """Clause 14: drops the old only, and younger ones stay below the floor."""

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        before = dict(self._topics[topic].objects) if topic in self._topics else {}
        state = await super().raise_floor(topic, epoch, before_s=before_s)
        held = self._topics[topic]
        for key, (version, draft) in before.items():
            if key not in held.objects and draft.now_s >= before_s:
                held.objects[key] = (version, draft)
                held.tombstones[key] = None
        return state


class DropsTheLivingToo(MemoryStore):
    """Clause 14: drops all that is at or below the floor."""

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        state = await super().raise_floor(topic, epoch, before_s=before_s)
        held = self._topics[topic]
        for key in [key for key, (version, _) in held.objects.items() if version <= state.floor]:
            del held.objects[key]
        return state


class BeginsBelowTheFloor(MemoryStore):
    """Clause 14: what is new begins at 1, wherever the floor is."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        held = self._topics.get(topic)
        if held is None or draft.key in held.objects:
            return await super().write(topic, epoch, draft)
        state, held.state = held.state, attrs.evolve(held.state, floor=Version(0, 0))
        try:
            return await super().write(topic, epoch, draft)
        finally:
            held.state = state


class EndsBelowTheFloor(MemoryStore):
    """Clause 14: a deletion takes the next sequence, wherever the floor is."""

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        held = self._topics.get(topic)
        if held is None or draft.key not in held.objects:
            return await super().write(topic, epoch, draft)
        state, held.state = held.state, attrs.evolve(held.state, floor=Version(0, 0))
        try:
            return await super().write(topic, epoch, draft)
        finally:
            held.state = state


class LetsAnybodyDrop(MemoryStore):
    """Clause 14: drops tombstones for an epoch that has not claimed the topic."""

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        known = await self.state(topic)
        return await super().raise_floor(topic, known.epoch or epoch, before_s=before_s)


class DropsInAllTopics(MemoryStore):
    """Clause 10: drops old tombstones in whatever topic they are."""

    async def raise_floor(self, topic: str, epoch: int, *, before_s: float) -> TopicState:
        for other, held in self._topics.items():
            if other != topic:
                await super().raise_floor(other, held.state.epoch, before_s=before_s)
        return await super().raise_floor(topic, epoch, before_s=before_s)
