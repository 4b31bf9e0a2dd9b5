"""Checks of what is read from a store, and of what happens when several use it at once (clauses 8 to 13)."""

from __future__ import annotations

import asyncio
from typing import Final

from parasync.errors import ConflictError, FencedError
from parasync.protocol import ABSENT, ASK_KEYS_MAX, TOMBSTONE_CHECKSUM, Kind, Position, Version
from parasync.stores import Outcome, TopicState
from parasync.testing.conformance._run import Checks, broken
from parasync.testing.conformance._shelf import EPOCH, KEY, TOPIC, Shelf, deletion, draft, outcome_of

check: Final[Checks[Shelf]] = Checks()

_WRITES: Final = 20
_LATE_READS: Final = 10
_CANCELLED_AT_MAX: Final = 100
_IDENTS: Final = ("\U0001f600", "a%", "ab", "B", "b", "a_c", "ä", "\uffee", "a:1", "a", "a\\", "'", "Ä", "\x00", "z" * 400)


@check(8)
async def what_is_read_is_what_was_written(shelf: Shelf) -> None:
    await shelf.claim()
    for handle, body in ((shelf.first, b"\x00\xff\x80"), (shelf.second, b"y" * 100_000)):
        await handle.write(TOPIC, EPOCH, draft(body, checksum=77, meta={"by": "ada", "ü": ""}))
        held = await shelf.holds()
        if held is None:
            raise broken(shelf.clause, None, "an envelope", shelf.what)
        shelf.expect((held.value, held.kind, held.schema_version, held.checksum), (body, Kind.STATE, "2.17", 77))
        shelf.expect(dict(held.meta), {"by": "ada", "ü": ""})
    shelf.expect(await shelf.position(), Version(EPOCH, 2))
    await shelf.write(draft(b"", checksum=2**32 - 1))
    held = await shelf.holds()
    shelf.expect((held and held.value, held and held.checksum), (b"", 2**32 - 1))


@check(8)
async def tombstones_are_read_and_what_never_was_is_not(shelf: Shelf) -> None:
    shelf.expect(await shelf.first.read(TOPIC, [KEY]), (TopicState(), {}))
    await shelf.claim()
    await shelf.write(draft())
    await shelf.write(deletion(meta={"by": "eve"}))
    state, found = await shelf.second.read(TOPIC, [KEY, "t:b"])
    shelf.expect((state.epoch, sorted(found)), (EPOCH, [KEY]))
    gone = found[KEY]
    shelf.expect((gone.value, gone.kind, gone.version, dict(gone.meta)), (None, Kind.TOMBSTONE, (EPOCH, 2), {"by": "eve"}))


@check(8)
async def as_many_as_one_ask_may_name_are_read_at_once(shelf: Shelf) -> None:
    await shelf.claim()
    keys = [f"t:{number:03}" for number in range(ASK_KEYS_MAX)]
    for key in keys[::8]:
        await shelf.write(draft(key=key))
    _, found = await shelf.first.read(TOPIC, keys)
    shelf.expect(sorted(found), keys[::8])


@check(9)
async def pages_hold_every_live_object_once_and_in_order(shelf: Shelf) -> None:
    shelf.expect(await shelf.first.page(TOPIC, prefix="", after="", limit=9), [])
    await shelf.claim()
    for ident in (*_IDENTS, "gone", "back"):
        await shelf.write(draft(key=f"t:{ident}"))
    for ident in ("gone", "back"):
        await shelf.write(deletion(key=f"t:{ident}"))
    await shelf.write(draft(key="t:back"))
    await shelf.write(draft(key="t:a"))
    expected = [(f"t:{ident}", Version(EPOCH, 1)) for ident in (*_IDENTS, "back")]
    expected = sorted((key, Version(EPOCH, {"t:back": 3, "t:a": 2}.get(key, 1))) for key, _ in expected)
    for limit in (1, 3, len(expected), 1000):
        found: list[tuple[str, Version]] = []
        while len(page := await shelf.second.page(TOPIC, prefix="t", after=found[-1][0] if found else "", limit=limit)) > 0:
            shelf.expect(len(page) <= limit, True)
            found += page
            if len(found) > len(expected):
                break
        shelf.expect([(key, tuple(version)) for key, version in found], expected)


@check(9)
async def pages_begin_after_a_key_and_keep_to_a_prefix(shelf: Shelf) -> None:
    await shelf.claim()
    for ident in _IDENTS:
        await shelf.write(draft(key=f"t:{ident}"))
    keys = sorted(f"t:{ident}" for ident in _IDENTS)
    for prefix in ("", "t:", "t:a", "t:a:", "t:a_", "t:a%", "t:a\\", "t:A", "t:ä", "t:zz", "u"):
        for after in ("", "t:", "t:a", "t:aa", "t:ä", "t:\U0001f600", "u"):
            found = [key for key, _ in await shelf.first.page(TOPIC, prefix=prefix, after=after, limit=1000)]
            shelf.expect(found, [key for key in keys if key.startswith(prefix) and key > after])


@check(13)
async def where_objects_stand_is_told_of_each_once_and_in_order(shelf: Shelf) -> None:
    shelf.expect(await shelf.first.positions(TOPIC, after="", limit=9), [])
    await shelf.claim()
    shelf.expect(await shelf.first.positions(TOPIC, after="", limit=9), [])
    expected = {f"t:{ident}": Position(Version(EPOCH, 1), 2**32 - 1 - place) for place, ident in enumerate(_IDENTS)}
    for key, position in expected.items():
        await shelf.write(draft(key=key, checksum=position.checksum))
    for handle, key in ((shelf.first, "t:a"), (shelf.second, "t:\x00"), (shelf.first, "t")):
        await handle.write(TOPIC, EPOCH, draft(key=key, checksum=5))
        expected[key] = Position(Version(EPOCH, 2 if key in expected else 1), 5)
    await shelf.write(deletion(key="t:a%", checksum=77))
    expected["t:a%"] = Position(Version(EPOCH, 2), TOMBSTONE_CHECKSUM)
    for limit in (1, 3, len(expected), 1000):
        found: list[tuple[str, Position]] = []
        while len(page := await shelf.second.positions(TOPIC, after=found[-1][0] if found else "", limit=limit)) > 0:
            shelf.expect(len(page) <= limit, True)
            found += page
            if len(page) < limit or len(found) > len(expected):
                break
        shelf.expect(found, [(key, expected[key]) for key in sorted(expected)])


@check(10)
async def topics_do_not_touch(shelf: Shelf) -> None:
    await shelf.claim()
    await shelf.write(draft(idempotency_key="once"))
    await shelf.first.claim("u", EPOCH + 9)
    await shelf.first.claim("t2", EPOCH - 9)
    await shelf.first.write("u", EPOCH + 9, draft(b"2", key="u:a", idempotency_key="once"))
    await shelf.first.history_lost("u", EPOCH + 9)
    states = [await shelf.second.state(topic) for topic in ("t", "t2", "u", "v")]
    shelf.expect([state.epoch for state in states], [EPOCH, EPOCH - 9, EPOCH + 9, 0])
    shelf.expect([state.history_epoch for state in states], [EPOCH, EPOCH - 9, EPOCH + 9, 0])
    shelf.expect((await shelf.first.read("t", ["u:a"]))[1], {})
    pages = [await shelf.first.page(topic, prefix="", after="", limit=9) for topic in ("t", "t2", "u", "v")]
    shelf.expect([[key for key, _ in page] for page in pages], [["t:a"], [], ["u:a"], []])
    standing = [await shelf.first.positions(topic, after="", limit=9) for topic in ("t", "t2", "u", "v")]
    shelf.expect([[key for key, _ in page] for page in standing], [["t:a"], [], ["u:a"], []])


@check(11)
async def writes_at_the_same_time_get_a_version_each(shelf: Shelf) -> None:
    await shelf.claim()
    handles = (shelf.first, shelf.second)
    writes = [handles[number % 2].write(TOPIC, EPOCH, draft(b"%d" % number)) for number in range(_WRITES)]
    outcomes = await asyncio.gather(*writes)
    versions = sorted(outcome.version for outcome in outcomes)
    shelf.expect(versions, [Version(EPOCH, sequence) for sequence in range(1, _WRITES + 1)])


@check(11)
async def of_those_who_expect_the_same_one_writes(shelf: Shelf) -> None:
    await shelf.claim()
    handles = (shelf.first, shelf.second)
    for expected in (ABSENT, Version(EPOCH, 1)):
        drafts = [draft(b"%d" % number, expected=expected) for number in range(_WRITES)]
        writes = [handles[number % 2].write(TOPIC, EPOCH, what) for number, what in enumerate(drafts)]
        outcomes = await asyncio.gather(*map(outcome_of, writes))
        kinds = sorted(type(outcome).__name__ for outcome in outcomes)
        shelf.expect(kinds, sorted([ConflictError.__name__] * (_WRITES - 1) + [Outcome.__name__]))
    repeated = [handles[number % 2].write(TOPIC, EPOCH, draft(b"z", idempotency_key="once")) for number in range(_WRITES)]
    done = await asyncio.gather(*repeated)
    shelf.expect((sum(outcome.fresh for outcome in done), {outcome.version for outcome in done}), (1, {Version(EPOCH, 3)}))


@check(11)
async def of_those_who_claim_the_same_epoch_one_has_it(shelf: Shelf) -> None:
    handles = (shelf.first, shelf.second)
    claims = await asyncio.gather(*[outcome_of(handles[number % 2].claim(TOPIC, EPOCH)) for number in range(_WRITES)])
    kinds = sorted(type(claimed).__name__ for claimed in claims)
    shelf.expect(kinds, sorted([FencedError.__name__] * (_WRITES - 1) + [TopicState.__name__]))


@check(11)
async def what_is_read_and_the_state_are_of_one_moment(shelf: Shelf) -> None:
    keys = [f"t:{number}" for number in range(4)]
    over = False

    async def take_over() -> None:
        nonlocal over
        for number in range(_WRITES):
            await shelf.first.claim(TOPIC, EPOCH + number)
            for key in keys:
                await shelf.first.write(TOPIC, EPOCH + number, draft(key=key))
                await asyncio.sleep(0)
        over = True

    taking = asyncio.ensure_future(take_over())
    try:
        while not over and not taking.done():
            state, found = await shelf.second.read(TOPIC, keys)
            newest = max((held.epoch for held in found.values()), default=0)
            shelf.expect(newest <= state.epoch, True)
            await asyncio.sleep(0)
        await taking
    finally:
        taking.cancel()


@check(12)
async def a_cancelled_write_has_happened_or_never_will(shelf: Shelf) -> None:
    await shelf.claim()
    for turns in range(_CANCELLED_AT_MAX):
        body = b"%d" % turns
        before = await shelf.position()
        writing = asyncio.ensure_future(shelf.first.write(TOPIC, EPOCH, draft(body, idempotency_key=f"try {turns}")))
        for _ in range(turns):
            await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait((writing,))
        after = await shelf.position()
        for _ in range(_LATE_READS):  # a write that goes on behind our back has the time of these
            await asyncio.sleep(0)
            shelf.expect(await shelf.position(), after)
        shelf.expect(after in (before, _next(before)), True)
        again = await shelf.write(draft(body, idempotency_key=f"try {turns}"))
        shelf.expect((again.version, again.fresh), (_next(before), after == before))
        if not writing.cancelled():
            break


def _next(version: Version | None) -> Version:
    return Version(EPOCH, 1 if version is None else version.sequence + 1)
