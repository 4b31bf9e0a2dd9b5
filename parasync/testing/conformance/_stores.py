"""`check_store`: whether a store keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from parasync.stores import Store
from parasync.testing.conformance import _dropping, _reading, _storing
from parasync.testing.conformance._clauses import STORE_CLAUSES, Clause
from parasync.testing.conformance._run import Check, Report, entered, refuse_factory, run_checks
from parasync.testing.conformance._shelf import Shelf

_Made: TypeAlias = Store | tuple[Store, ...]
StoreFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[_Made] | Awaitable[_Made] | _Made]
"""Makes an empty store: one handle of it, or a tuple of several; or an async context manager of these."""


async def check_store(factory: StoreFactory, *, clauses: Collection[int] | None = None, patience_s: float = 60.0) -> Report:
    """Return what was checked and held, or raise at the first clause that the store breaks.

    Args:
        factory: called for each check: makes an empty store, as one handle, or as a tuple of two that were opened
            separately, as two processes would; or an async context manager of these, which is entered. The class of a store
            will often do.
        clauses: the numbers of the clauses to check; by default all.
        patience_s: how long one check may take, in seconds, above 0; only a store that hangs takes it.

    Raises:
        ConformanceError: a clause is broken; the error says which, what was got and what was expected.
        UsageError: there is no such clause, or the factory makes no store.
    """

    @asynccontextmanager
    async def opened(check: Check[Shelf], clause: Clause) -> AsyncIterator[Shelf]:
        async with entered(factory) as made:
            handles = made if isinstance(made, tuple) and made else (made,)
            for handle in handles:
                if not isinstance(handle, Store):
                    refuse_factory(handle, "a Store or a tuple of such; or an async context manager of these")
            yield Shelf(handles[0], handles[-1], clause, check.what)

    checks = (*_storing.check.found, *_reading.check.found, *_dropping.check.found)
    return await run_checks(checks, STORE_CLAUSES, clauses, opened, patience_s)
