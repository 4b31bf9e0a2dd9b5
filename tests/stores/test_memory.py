"""The memory store keeps the contract of stores, and its own limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parasync import ABSENT, Kind, MemoryStore, Store, Version
from parasync.errors import ConflictError, DeletedError, FencedError, IdempotencyError, UsageError
from parasync.protocol import EncodedBody
from parasync.stores import Draft, TopicState

EPOCH = 5


def draft(body: bytes = b"x", *, key: str = "t:a", checksum: int | None = None, **more: Any) -> Draft:
    return Draft(key, EncodedBody(body), Kind.STATE, "1.0", sum(body) if checksum is None else checksum, **more)


def deletion(*, key: str = "t:a", **more: Any) -> Draft:
    return Draft(key, EncodedBody(), Kind.TOMBSTONE, "1.0", 0, **more)


async def claimed(epoch: int = EPOCH, **options: Any) -> MemoryStore:
    store = MemoryStore(**options)
    await store.claim("t", epoch)
    return store


async def test_it_is_a_store() -> None:
    assert isinstance(MemoryStore(), Store)


@pytest.mark.parametrize(
    "options",
    [
        {"idempotency_window_s": 0}, {"idempotency_window_s": "1"}, {"idempotency_window_s": float("nan")},
        {"idempotency_keys_max": 0}, {"idempotency_keys_max": 1.5},
    ],
)  # fmt: skip
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"got {next(iter(options))}="):
        MemoryStore(**options)


async def test_a_topic_that_nobody_claimed_is_empty() -> None:
    store = MemoryStore()
    assert await store.state("t") == TopicState()
    assert await store.read("t", ["t:a"]) == (TopicState(), {})
    assert await store.page("t", prefix="", after="", limit=10) == []
    with pytest.raises(FencedError):
        await store.write("t", 0 + EPOCH, draft())


async def test_versions_count_up_and_keep_counting_through_deletions_and_epochs() -> None:
    store = await claimed()
    assert await store.write("t", EPOCH, draft(b"1")) == (Version(EPOCH, 1), True)
    assert await store.write("t", EPOCH, deletion()) == (Version(EPOCH, 2), True)
    assert await store.write("t", EPOCH, draft(b"2")) == (Version(EPOCH, 3), True)
    await store.claim("t", EPOCH + 1)
    assert await store.write("t", EPOCH + 1, draft(b"3")) == (Version(EPOCH + 1, 4), True)


async def test_what_is_read_is_what_was_written() -> None:
    store = await claimed()
    await store.write("t", EPOCH, draft(b"1", meta={"by": "ada"}, checksum=77))
    await store.write("t", EPOCH, draft(b"2", key="t:b"))
    await store.write("t", EPOCH, deletion(key="t:b"))
    state, found = await store.read("t", ["t:a", "t:b", "t:c"])
    assert state.epoch == EPOCH
    assert set(found) == {"t:a", "t:b"}
    held = found["t:a"]
    assert (held.value, held.schema_version, held.version, held.checksum) == (b"1", "1.0", Version(EPOCH, 1), 77)
    assert (held.meta, held.kind) == ({"by": "ada"}, Kind.STATE)
    assert (found["t:b"].kind, found["t:b"].value) == (Kind.TOMBSTONE, None)


async def test_only_the_newest_epoch_writes() -> None:
    store = await claimed()
    await store.claim("t", EPOCH + 1)
    for attempt in (store.write("t", EPOCH, draft()), store.history_lost("t", EPOCH), store.claim("t", EPOCH + 1)):
        with pytest.raises(FencedError) as caught:
            await attempt
        assert caught.value.epoch == EPOCH + 1
    assert (await store.read("t", ["t:a"]))[1] == {}


async def test_the_first_claim_begins_the_history_and_later_ones_go_on_with_it() -> None:
    store = await claimed()
    assert (await store.state("t")).history_epoch == EPOCH
    assert (await store.claim("t", EPOCH + 1)).history_epoch == EPOCH
    assert (await store.history_lost("t", EPOCH + 1)).history_epoch == EPOCH + 1
    assert (await store.claim("t", EPOCH + 2)).history_epoch == EPOCH + 1


@pytest.mark.parametrize("deletes", [False, True])
async def test_an_expectation_that_fails_changes_nothing_and_tells_where_the_object_is(deletes: bool) -> None:
    store = await claimed()
    await store.write("t", EPOCH, draft(b"1"))
    await store.write("t", EPOCH, draft(b"2"))
    write = deletion if deletes else draft
    for expected in (Version(EPOCH, 1), Version(EPOCH, 3), Version(EPOCH - 1, 2), ABSENT):
        with pytest.raises(ConflictError) as caught:
            await store.write("t", EPOCH, write(expected=expected))
        assert caught.value.current == Version(EPOCH, 2)
    assert await store.write("t", EPOCH, write(expected=Version(EPOCH, 2))) == (Version(EPOCH, 3), True)


async def test_absent_is_what_does_not_exist_or_was_deleted() -> None:
    store = await claimed()
    with pytest.raises(ConflictError) as caught:
        await store.write("t", EPOCH, draft(expected=Version(EPOCH, 1)))
    assert caught.value.current is None
    assert await store.write("t", EPOCH, draft(expected=ABSENT)) == (Version(EPOCH, 1), True)
    with pytest.raises(ConflictError, match=rf"^got expected no object, but it is at {EPOCH}\.1: read it again"):
        await store.write("t", EPOCH, draft(expected=ABSENT))
    await store.write("t", EPOCH, deletion())
    assert await store.write("t", EPOCH, draft(expected=ABSENT)) == (Version(EPOCH, 3), True)
    await store.write("t", EPOCH, deletion())
    assert await store.write("t", EPOCH, draft(expected=Version(EPOCH, 4))) == (Version(EPOCH, 5), True)


async def test_what_does_not_exist_cannot_be_deleted_but_its_end_can_be_written_anew() -> None:
    store = await claimed()
    with pytest.raises(DeletedError) as caught:
        await store.write("t", EPOCH, deletion())
    assert caught.value.version is None
    assert await store.write("t", EPOCH, deletion(reissue=True, expected=ABSENT)) == (Version(EPOCH, 1), True)
    with pytest.raises(DeletedError) as caught:
        await store.write("t", EPOCH, deletion())
    assert caught.value.version == Version(EPOCH, 1)


async def test_a_repeated_write_returns_its_first_outcome() -> None:
    store = await claimed()
    first = await store.write("t", EPOCH, draft(b"1", idempotency_key="once"))
    await store.write("t", EPOCH, draft(b"2"))
    again = await store.write("t", EPOCH, draft(b"1", idempotency_key="once", expected=ABSENT))
    assert (again.version, again.fresh) == (first.version, False)
    assert (await store.read("t", ["t:a"]))[1]["t:a"].value == b"2"


async def test_a_repeated_deletion_returns_its_first_outcome() -> None:
    store = await claimed()
    await store.write("t", EPOCH, draft())
    first = await store.write("t", EPOCH, deletion(idempotency_key="once"))
    assert await store.write("t", EPOCH, deletion(idempotency_key="once")) == (first.version, False)


async def test_an_idempotency_key_is_good_for_one_value_of_one_object() -> None:
    store = await claimed()
    await store.write("t", EPOCH, draft(b"1", idempotency_key="once"))
    with pytest.raises(IdempotencyError):
        await store.write("t", EPOCH, draft(b"2", idempotency_key="once"))
    assert (await store.read("t", ["t:a"]))[1]["t:a"].version == Version(EPOCH, 1)
    assert await store.write("t", EPOCH, draft(b"2", key="t:b", idempotency_key="once")) == (Version(EPOCH, 1), True)


async def test_a_failed_write_uses_up_no_idempotency_key() -> None:
    store = await claimed()
    with pytest.raises(ConflictError):
        await store.write("t", EPOCH, draft(b"1", idempotency_key="once", expected=Version(EPOCH, 9)))
    assert (await store.write("t", EPOCH, draft(b"2", idempotency_key="once"))).fresh


@pytest.mark.parametrize(("later_s", "fresh"), [(9.9, False), (10.1, True)])
async def test_idempotency_keys_are_remembered_for_their_window(later_s: float, fresh: bool) -> None:
    store = await claimed(idempotency_window_s=10.0)
    await store.write("t", EPOCH, draft(idempotency_key="once", now_s=100.0))
    assert (await store.write("t", EPOCH, draft(idempotency_key="once", now_s=100.0 + later_s))).fresh is fresh


async def test_a_clock_that_was_set_back_lengthens_no_window() -> None:
    store = await claimed(idempotency_window_s=10.0)
    await store.write("t", EPOCH, draft(idempotency_key="young", now_s=500.0))
    await store.write("t", EPOCH, draft(idempotency_key="old", now_s=100.0))
    assert not (await store.write("t", EPOCH, draft(idempotency_key="old", now_s=101.0))).fresh
    assert (await store.write("t", EPOCH, draft(idempotency_key="old", now_s=120.0))).fresh


async def test_the_oldest_idempotency_keys_are_forgotten_first() -> None:
    store = await claimed(idempotency_keys_max=2)
    for name in ("first", "second", "third"):
        await store.write("t", EPOCH, draft(idempotency_key=name))
    assert not (await store.write("t", EPOCH, draft(idempotency_key="third"))).fresh
    assert not (await store.write("t", EPOCH, draft(idempotency_key="second"))).fresh
    assert (await store.write("t", EPOCH, draft(idempotency_key="first"))).fresh


async def test_pages_hold_live_objects_in_order() -> None:
    store = await claimed()
    for ident in ("b", "c", "a", "d", "x:1"):
        await store.write("t", EPOCH, draft(key=f"t:{ident}"))
    await store.write("t", EPOCH, deletion(key="t:c"))
    first = await store.page("t", prefix="t", after="", limit=2)
    assert first == [("t:a", Version(EPOCH, 1)), ("t:b", Version(EPOCH, 1))]
    assert [key for key, _ in await store.page("t", prefix="t", after="t:b", limit=9)] == ["t:d", "t:x:1"]
    assert [key for key, _ in await store.page("t", prefix="t:x:", after="", limit=9)] == ["t:x:1"]


async def test_topics_do_not_touch() -> None:
    store = await claimed()
    await store.claim("u", 9)
    await store.write("u", 9, draft(key="u:a"))
    assert (await store.state("t")).epoch == EPOCH
    assert (await store.read("t", ["u:a"]))[1] == {}


def test_two_loops_may_share_it() -> None:
    """Each write of a thread of its own gets a version of its own."""
    store = asyncio.run(claimed())

    async def write() -> list[Version]:
        return [(await store.write("t", EPOCH, draft())).version for _ in range(200)]

    async def both() -> list[list[Version]]:
        return await asyncio.gather(*(asyncio.to_thread(asyncio.run, write()) for _ in range(2)))

    found = [version for written in asyncio.run(both()) for version in written]
    assert sorted(found) == [Version(EPOCH, sequence) for sequence in range(1, 401)]
