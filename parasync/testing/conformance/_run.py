"""What both kits share: checks, each of one clause, how they are run, and the report of a run."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic, NoReturn, Protocol, TypeVar

import attrs

from parasync.errors import ConformanceError, UsageError
from parasync.testing.conformance._clauses import Clause

_SHOWN_CHARS_MAX: Final = 400
_TRIES_MAX: Final = 10


class Subject(Protocol):
    """What a check is given: a transport or a store, freshly made, and what helps to look at it."""

    @property
    def name(self) -> str:
        """What is checked, for the report."""

    def lacks(self, needs: tuple[str, ...], /) -> str:
        """Why a check with these needs is not demanded; "" where it is."""

    def begin(self) -> None:
        """Called when a check begins; what it raises breaks the clause."""

    @property
    def excused(self) -> bool:
        """Whether the check may have failed since something was lost in the midst of it, and was said to be."""


S = TypeVar("S", bound=Subject)


@attrs.frozen
class Check(Generic[S]):
    """One situation in which a clause must hold.

    Args:
        clause: the number of the clause.
        what: what must be seen, as a sentence.
        needs: what must be claimed, or be possible, for this to be demanded.
        run: brings the situation about; raises a `ConformanceError` where something else is seen.
    """

    clause: int
    what: str
    needs: tuple[str, ...]
    run: Callable[[S], Awaitable[None]]


class Checks(Generic[S]):
    """Collects functions as checks: `@check(4, "ordered")`; the name of a function is what must be seen."""

    def __init__(self) -> None:
        self.found: list[Check[S]] = []

    def __call__(self, clause: int, *needs: str) -> Callable[[Callable[[S], Awaitable[None]]], None]:
        """Make a check of the function below."""

        def add(run: Callable[[S], Awaitable[None]]) -> None:
            name = run.__name__
            self.found.append(Check(clause, name.strip("_").replace("_", " "), needs, run))

        return add


@attrs.frozen
class Finding:
    """What became of one check.

    Args:
        clause: whose check it is.
        what: what was looked for.
        not_claimed: why it was not demanded; "" where it was checked, and held.
    """

    clause: Clause
    what: str
    not_claimed: str = ""


@attrs.frozen
class Report:
    """What a run has checked, and what it did not demand; print it to read it.

    Args:
        subject: what was checked.
        findings: one for each check, in the order of the clauses.
    """

    subject: str
    findings: tuple[Finding, ...]

    @property
    def checked(self) -> tuple[Clause, ...]:
        """The clauses of which something was checked, and held."""
        return tuple(dict.fromkeys(finding.clause for finding in self.findings if not finding.not_claimed))

    @property
    def not_claimed(self) -> tuple[Finding, ...]:
        """What was not demanded, and why."""
        return tuple(finding for finding in self.findings if finding.not_claimed)

    def __str__(self) -> str:
        lines = [f"{self.subject}: {len(self.checked)} clauses hold"]
        for clause in dict.fromkeys(finding.clause for finding in self.findings):
            lacking = [finding for finding in self.not_claimed if finding.clause == clause]
            mark = "not claimed" if clause not in self.checked else "in part" if lacking else "checked"
            lines.append(f"{mark:>11}  {clause}")
            lines += [f"{'':>16} not checked that {finding.what}: {finding.not_claimed}" for finding in lacking]
        return "\n".join(lines)


def broken(clause: Clause, got: object, expected: object, what: str) -> ConformanceError:
    """The error that says which clause is broken, and how.

    Args:
        clause: the one that is broken.
        got: what was seen; a text is taken as it is.
        expected: what the clause demands; likewise.
        what: what must be seen, as a sentence.
    """
    seen, due = _shown(got), _shown(expected)
    message = f"clause {clause.number} is broken: {clause.text}\n got: {seen}\n expected: {due}\n in the check that {what}"
    return ConformanceError(message, clause=clause.number, text=clause.text, check=what, got=seen, expected=due)


async def run_checks(
    checks: Iterable[Check[S]],
    clauses: Mapping[int, Clause],
    wanted: Collection[int] | None,
    opened: Callable[[Check[S], Clause], AbstractAsyncContextManager[S]],
    limit_s: float,
) -> Report:
    """Run the checks one after the other, in the order of their clauses, each with a fresh subject.

    Raises:
        ConformanceError: the first that does not hold.
        UsageError: there is no such clause.
    """
    if wanted is not None and not set(wanted) <= set(clauses):
        raise UsageError(f"got clauses {sorted(set(wanted) - set(clauses))}, expected some of 1 to {len(clauses)}")
    findings, name = [], ""
    for check in sorted(checks, key=lambda check: check.clause):
        if wanted is None or check.clause in wanted:
            clause = clauses[check.clause]
            name, why_not = await _tried(check, clause, opened, limit_s)
            findings.append(Finding(clause, check.what, why_not))
    return Report(name, tuple(findings))


async def _tried(
    check: Check[S], clause: Clause, opened: Callable[[Check[S], Clause], AbstractAsyncContextManager[S]], limit_s: float
) -> tuple[str, str]:
    """Run one check, again where it has an excuse; returns the name of the subject, and why the check was not demanded."""
    tries = 0
    while True:
        tries += 1
        async with opened(check, clause) as subject:
            why_not = subject.lacks(check.needs)
            try:
                if not why_not:
                    await _judge(check, clause, subject, limit_s)
            except ConformanceError:
                if tries == _TRIES_MAX or not subject.excused:
                    raise
            else:
                return subject.name, why_not


async def _judge(check: Check[S], clause: Clause, subject: S, limit_s: float) -> None:
    """Run one check; whatever else it raises than it should breaks its clause too."""
    me = asyncio.current_task()
    deadline = asyncio.timeout(limit_s)
    try:
        async with deadline:
            subject.begin()
            await check.run(subject)
    except ConformanceError:
        raise
    except asyncio.CancelledError as error:
        if me is not None and me.cancelling():
            raise
        raise broken(clause, "a CancelledError", "none", check.what) from error
    except Exception as error:
        hung = type(error) is TimeoutError
        within = f" within {limit_s:g} s" if deadline.expired() else ""
        got = f"no end{within}" if hung else f"{type(error).__name__}: {error}"
        raise broken(clause, got, "an end" if hung else "no error", check.what) from error


@asynccontextmanager
async def entered(factory: Callable[[], Any]) -> AsyncIterator[Any]:
    """What a factory makes, for one check: entered where it is a context manager, and closed afterwards."""
    made = factory()
    if inspect.isawaitable(made):
        made = await made
    if hasattr(made, "__aenter__"):
        async with made as inside:
            yield inside
    else:
        try:
            yield made
        finally:
            await closed(made)


async def closed(thing: object) -> bool:
    """Close something, if it has a way to be closed; False if it has none."""
    close = closer(thing)
    if close is None:
        return False
    ending = close()
    if inspect.isawaitable(ending):
        await ending
    return True


def closer(thing: object) -> Callable[[], object] | None:
    """The function that closes something: its `aclose`, or else its `close`."""
    return getattr(thing, "aclose", None) or getattr(thing, "close", None)


def refuse_factory(got: object, expected: str) -> NoReturn:
    """Say what a factory should have made.

    Raises:
        UsageError: always.
    """
    raise UsageError(f"got a {type(got).__name__} from the factory, expected {expected}")


def _shown(what: object) -> str:
    text = what if isinstance(what, str) else repr(what)
    return text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}..."
