"""The limits of the memory store, and what it says; `tests/testing` checks that it keeps the contract."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parasync import ABSENT, Kind, MemoryStore, Version
from parasync.errors import ConflictError, DeletedError, UsageError
from parasync.protocol import EncodedBody
from parasync.stores import Draft

EPOCH = 5


def draft(**more: Any) -> Draft:
    return Draft("t:a", EncodedBody(b"x"), Kind.STATE, "1.0", 120, **more)


def deletion() -> Draft:
    return Draft("t:a", EncodedBody(), Kind.TOMBSTONE, "1.0", 0)


async def claimed(**options: Any) -> MemoryStore:
    store = MemoryStore(**options)
    await store.claim("t", EPOCH)
    return store


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


async def test_a_refused_write_says_where_the_object_is() -> None:
    store = await claimed()
    with pytest.raises(DeletedError) as caught:
        await store.write("t", EPOCH, deletion())
    assert caught.value.version is None
    await store.write("t", EPOCH, draft())
    with pytest.raises(ConflictError, match=rf"^got expected no object, but it is at {EPOCH}\.1: read it again"):
        await store.write("t", EPOCH, draft(expected=ABSENT))
    await store.write("t", EPOCH, deletion())
    with pytest.raises(DeletedError) as caught:
        await store.write("t", EPOCH, deletion())
    assert caught.value.version == Version(EPOCH, 2)


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


def test_two_loops_may_share_it() -> None:
    """Each write of a thread of its own gets a version of its own."""
    store = asyncio.run(claimed())

    async def write() -> list[Version]:
        return [(await store.write("t", EPOCH, draft())).version for _ in range(200)]

    async def both() -> list[list[Version]]:
        return await asyncio.gather(*(asyncio.to_thread(asyncio.run, write()) for _ in range(2)))

    found = [version for written in asyncio.run(both()) for version in written]
    assert sorted(found) == [Version(EPOCH, sequence) for sequence in range(1, 401)]
