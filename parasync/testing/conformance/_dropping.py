"""Checks of what a store forgets: tombstones, and that they were there (clause 14)."""

from __future__ import annotations

from typing import Final

from parasync.errors import ConflictError, DeletedError, FencedError
from parasync.protocol import ABSENT, Version
from parasync.testing.conformance._run import Checks
from parasync.testing.conformance._shelf import EPOCH, KEY, NOW_S, TOPIC, Shelf, deletion, draft

check: Final[Checks[Shelf]] = Checks()

_LATER_S: Final = NOW_S + 1000.0


async def _deleted(shelf: Shelf, key: str, *, writes: int = 1, now_s: float = NOW_S, epoch: int = EPOCH) -> Version:
    """Write an object so many times, and delete it; returns where it was deleted."""
    for _ in range(writes):
        await shelf.write(draft(key=key, now_s=now_s), epoch=epoch)
    return (await shelf.write(deletion(key=key, now_s=now_s), epoch=epoch)).version


async def _keys(shelf: Shelf) -> list[str]:
    return [key for key, _ in await shelf.second.positions(TOPIC, after="", limit=99)]


@check(14)
async def what_was_deleted_long_ago_is_dropped_and_the_floor_rises_to_it(shelf: Shelf) -> None:
    await shelf.claim()
    shelf.expect((await shelf.first.raise_floor(TOPIC, EPOCH, before_s=_LATER_S)).floor, ABSENT)
    old = await _deleted(shelf, KEY, writes=2)
    young = await _deleted(shelf, "t:young", writes=4, now_s=_LATER_S)
    lives = (await shelf.write(draft(key="t:lives"))).version
    before = await shelf.all_of(KEY, "t:young", "t:lives")
    shelf.expect((await shelf.second.raise_floor(TOPIC, EPOCH, before_s=NOW_S)).floor, ABSENT)
    shelf.expect(await shelf.all_of(KEY, "t:young", "t:lives"), before)
    state = await shelf.second.raise_floor(TOPIC, EPOCH, before_s=_LATER_S)
    shelf.expect((state.epoch, state.history_epoch, state.floor), (EPOCH, EPOCH, old))
    shelf.expect(await shelf.first.state(TOPIC), state)
    shelf.expect([await shelf.position(key) for key in (KEY, "t:young", "t:lives")], [None, young, lives])
    shelf.expect(await _keys(shelf), ["t:lives", "t:young"])
    shelf.expect((await shelf.first.raise_floor(TOPIC, EPOCH, before_s=_LATER_S)).floor, old)


@check(14)
async def younger_tombstones_below_the_floor_are_dropped_and_nothing_that_lives(shelf: Shelf) -> None:
    await shelf.claim()
    old = await _deleted(shelf, KEY, writes=3)
    await _deleted(shelf, "t:young", now_s=_LATER_S)
    lives = (await shelf.write(draft(b"lives", key="t:lives"))).version
    shelf.expect((await shelf.first.raise_floor(TOPIC, EPOCH, before_s=_LATER_S)).floor, old)
    shelf.expect(await _keys(shelf), ["t:lives"])
    held = await shelf.holds("t:lives")
    shelf.expect((held and held.version, held and held.value), (lives, b"lives"))
    again = await shelf.write(draft(key="t:lives", expected=lives))
    shelf.expect(again.version, Version(EPOCH, lives.sequence + 1))


@check(14)
async def the_floor_never_goes_down(shelf: Shelf) -> None:
    await shelf.claim()
    await _deleted(shelf, KEY)
    await shelf.claim(EPOCH + 1)
    high = await _deleted(shelf, "t:b", epoch=EPOCH + 1)
    shelf.expect((await shelf.first.raise_floor(TOPIC, EPOCH + 1, before_s=_LATER_S)).floor, high)
    for state in (
        await shelf.second.claim(TOPIC, EPOCH + 2),
        await shelf.first.raise_floor(TOPIC, EPOCH + 2, before_s=_LATER_S),
        await shelf.first.history_lost(TOPIC, EPOCH + 2),
        (await shelf.second.read(TOPIC, [KEY]))[0],
    ):
        shelf.expect((state.epoch, state.floor), (EPOCH + 2, high))


@check(14)
async def what_begins_or_ends_in_the_epoch_of_the_floor_is_put_above_it(shelf: Shelf) -> None:
    await shelf.claim()
    lives = (await shelf.write(draft(key="t:lives"))).version
    floor = await _deleted(shelf, KEY, writes=5)
    shelf.expect((await shelf.first.raise_floor(TOPIC, EPOCH, before_s=_LATER_S)).floor, floor)
    above = Version(EPOCH, floor.sequence + 1)
    await shelf.unchanged(DeletedError, shelf.first.write(TOPIC, EPOCH, deletion()))
    await shelf.unchanged(ConflictError, shelf.first.write(TOPIC, EPOCH, draft(expected=floor)))
    shelf.expect((await shelf.second.write(TOPIC, EPOCH, draft(expected=ABSENT))).version, above)
    shelf.expect((await shelf.write(draft(key="t:new"))).version, above)
    shelf.expect((await shelf.write(deletion(key="t:never", reissue=True))).version, above)
    shelf.expect((await shelf.write(draft(key="t:lives"))).version, Version(EPOCH, lives.sequence + 1))
    shelf.expect((await shelf.write(deletion(key="t:lives"))).version, above)
    await shelf.claim(EPOCH + 1)
    shelf.expect((await shelf.write(draft(key="t:later"), epoch=EPOCH + 1)).version, Version(EPOCH + 1, 1))


@check(14)
async def who_did_not_claim_last_drops_nothing(shelf: Shelf) -> None:
    await shelf.refused(FencedError, shelf.first.raise_floor(TOPIC, EPOCH, before_s=_LATER_S))
    await shelf.claim()
    await _deleted(shelf, KEY)
    await shelf.second.claim(TOPIC, EPOCH + 1)
    for epoch in (EPOCH, EPOCH + 2):
        error = await shelf.unchanged(FencedError, shelf.first.raise_floor(TOPIC, epoch, before_s=_LATER_S))
        shelf.expect(error.epoch, EPOCH + 1)


@check(10)
async def what_is_dropped_is_of_one_topic(shelf: Shelf) -> None:
    await shelf.claim()
    await shelf.first.claim("u", EPOCH)
    await _deleted(shelf, KEY)
    for what in (draft(key="u:a"), deletion(key="u:a")):
        await shelf.first.write("u", EPOCH, what)
    before = await shelf.all_of()
    await shelf.second.raise_floor("u", EPOCH, before_s=_LATER_S)
    shelf.expect(await shelf.all_of(), before)
