"""`check_transport`: whether a transport keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from parasync.testing.conformance import _asking, _beating, _bounds, _carrying
from parasync.testing.conformance._bench import Bench
from parasync.testing.conformance._clauses import TRANSPORT_CLAUSES, Clause
from parasync.testing.conformance._ends import Ends
from parasync.testing.conformance._run import Check, Report, entered, refuse_factory, run_checks
from parasync.transports import Capabilities, SyncTransport

_Made: TypeAlias = SyncTransport | tuple[SyncTransport, SyncTransport] | Ends
TransportFactory: TypeAlias = Callable[[], AbstractAsyncContextManager[_Made] | Awaitable[_Made] | _Made]
"""Makes a bus that nobody uses: one transport, two that are connected, or `Ends`; or an async context manager of these."""

_CHECKS_TAKE_MAX = 5


async def check_transport(
    factory: TransportFactory,
    *,
    claims: Capabilities | None = None,
    clauses: Collection[int] | None = None,
    patience_s: float = 10.0,
) -> Report:
    """Return what was checked and held, or raise at the first clause that the transport breaks.

    Where something is lost in the midst of a check, and a transport that may lose says so, the check is made again. Runs in the
    loop of the caller; `asyncio.run(check_transport(MyTransport))` is enough for a transport that needs none.

    Args:
        factory: called for each check: makes a bus that nobody uses, as one transport, as two that are connected, or as
            `Ends`; or an async context manager of these, which is entered. The class of a transport will often do.
        claims: what is demanded beyond the contract; by default what the transport itself declares.
        clauses: the numbers of the clauses to check; by default all.
        patience_s: how long anything may take that has to happen, in seconds, above 0; only a broken transport takes it.

    Raises:
        ConformanceError: a clause is broken; the error says which, what was got and what was expected.
        UsageError: there is no such clause, or the factory makes no transport.
    """

    @asynccontextmanager
    async def opened(check: Check[Bench], clause: Clause) -> AsyncIterator[Bench]:
        async with entered(factory) as made:
            ends = _ends(made)
            yield Bench(ends, claims or ends.writer.capabilities, clause, check, patience_s)

    checks = (*_carrying.check.found, *_bounds.check.found, *_asking.check.found, *_beating.check.found)
    return await run_checks(checks, TRANSPORT_CLAUSES, clauses, opened, _CHECKS_TAKE_MAX * patience_s)


def _ends(made: Any) -> Ends:
    if isinstance(made, tuple) and made:
        made = Ends(made[0], made[-1])
    ends = made if isinstance(made, Ends) else Ends(made, made)
    for end in (ends.writer, ends.reader):
        if not isinstance(end, SyncTransport):
            refuse_factory(end, "a SyncTransport, a tuple of two, or Ends; or an async context manager of these")
    return ends
