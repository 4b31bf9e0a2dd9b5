"""`check_store` passes what is good, and names the one clause that something broken breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from parasync import MemoryStore
from parasync.errors import ConformanceError, UsageError
from parasync.testing import check_store
from parasync.testing.conformance import _dropping, _reading, _storing
from parasync.testing.conformance._clauses import STORE_CLAUSES
from parasync.testing.conformance._run import Check
from tests.testing import broken_stores
from tests.testing.broken import broken_clause, fails_one
from tests.testing.broken_stores import SlowStore
from tests.testing.sqlite_store import ImpatientStore, SqliteStore

pytestmark = pytest.mark.project

BROKEN = {
    name: item
    for name, item in vars(broken_stores).items()
    if isinstance(item, type) and issubclass(item, MemoryStore) and item not in (MemoryStore, SlowStore)
}
ECHOES = {
    "TakesAnyEpoch": {11},
    "GoesBack": {10, 14},
    "ReusesASequence": {9},
    "IgnoresExpected": {7, 11, 14},
    "DeletesNothing": {7, 14},
    "CountsInTwoSteps": {14},
    "ForgetsWhereTheDeadStand": {14},
    "ReadsNoTombstones": {14},
    "RefusesReissues": {14},
    "ReturnsTheStateBefore": {14},
    "ForgetsIdempotency": {11, 12},
}
"""The clauses whose checks see more of a broken store than the clause that it breaks."""


@pytest.mark.parametrize("store", [MemoryStore, SlowStore])
async def test_a_good_store_keeps_every_clause(store: type[MemoryStore]) -> None:
    report = await check_store(store)
    assert [clause.number for clause in report.checked] == list(STORE_CLAUSES)
    assert report.not_claimed == ()
    assert str(report).startswith(f"{store.__name__}: 14 clauses hold\n    checked  1. `claim` makes")


def test_a_store_may_be_opened_twice_and_closed() -> None:
    opened: list[MemoryStore] = []
    closed: list[MemoryStore] = []

    @asynccontextmanager
    async def handles() -> AsyncIterator[tuple[MemoryStore, MemoryStore]]:
        store = SlowStore()
        opened.append(store)
        yield store, store
        closed.append(store)

    asyncio.run(check_store(handles))
    assert len(opened) > 12
    assert closed == opened


def files_of(store: type[SqliteStore], folder: Path) -> Callable[[], tuple[SqliteStore, SqliteStore]]:
    """Makes two handles of a new file each time."""
    numbers = count()

    def made() -> tuple[SqliteStore, SqliteStore]:
        path = folder / f"{next(numbers)}.db"
        return store(path), store(path)

    return made


async def test_a_store_in_a_file_keeps_every_clause(tmp_path: Path) -> None:
    report = await check_store(files_of(SqliteStore, tmp_path))
    assert [clause.number for clause in report.checked] == list(STORE_CLAUSES)


async def test_a_store_that_leaves_its_threads_alone_is_found(tmp_path: Path) -> None:
    with pytest.raises(ConformanceError) as caught:
        await check_store(files_of(ImpatientStore, tmp_path), clauses=[12])
    assert caught.value.clause == broken_clause(ImpatientStore)


def test_there_are_broken_stores_for_every_clause() -> None:
    assert {broken_clause(store) for store in BROKEN.values()} == set(STORE_CLAUSES)


@pytest.mark.parametrize("name", sorted(BROKEN))
async def test_a_broken_store_fails_on_the_clause_that_it_breaks(name: str) -> None:
    broken = broken_clause(BROKEN[name])
    with pytest.raises(ConformanceError, match=rf"^clause {broken} is broken: .*\n got: .*\n expected: ") as caught:
        await check_store(BROKEN[name])
    assert (caught.value.clause, caught.value.text) == (broken, STORE_CLAUSES[broken].text)


@pytest.mark.parametrize("name", sorted(BROKEN))
async def test_a_broken_store_keeps_the_clauses_that_it_does_not_break(name: str) -> None:
    assert all(broken_clause(BROKEN[name]) < echo for echo in ECHOES.get(name, ())), "a whole run stops at the right one"
    await check_store(BROKEN[name], clauses=set(STORE_CLAUSES) - {broken_clause(BROKEN[name])} - ECHOES.get(name, set()))


MODULES = (_storing, _reading, _dropping)


@pytest.mark.parametrize("check", [check for module in MODULES for check in module.check.found], ids=lambda check: check.what)
async def test_every_check_is_failed_by_a_store_that_breaks_its_clause(
    check: Check[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await fails_one(check, MODULES, BROKEN.values(), check_store, monkeypatch)


@pytest.mark.parametrize(("name", "clause"), [(name, clause) for name, found in ECHOES.items() for clause in sorted(found)])
async def test_an_echo_is_one(name: str, clause: int) -> None:
    with pytest.raises(ConformanceError):
        await check_store(BROKEN[name], clauses=[clause])


@pytest.mark.parametrize("made", [None, (), (MemoryStore(), 1), object()])
async def test_what_is_no_store_is_no_failure_of_one(made: Any) -> None:
    with pytest.raises(UsageError, match=r"from the factory, expected a Store"):
        await check_store(lambda: made)


async def test_what_is_no_clause_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got clauses \[15\], expected some of 1 to 14"):
        await check_store(MemoryStore, clauses=[15])


async def test_a_store_that_hangs_is_not_hung_on() -> None:
    class Hangs(MemoryStore):
        async def claim(self, *_: Any) -> Any:
            await asyncio.Event().wait()

    with pytest.raises(ConformanceError, match=r"no end within 0.05 s"):
        await check_store(Hangs, clauses=[3], patience_s=0.05)
