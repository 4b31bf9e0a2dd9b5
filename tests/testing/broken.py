"""What the tests of both conformance kits ask of broken transports and stores."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from types import ModuleType
from typing import Any

import pytest

from parasync.errors import ConformanceError
from parasync.testing.conformance._run import Check


def broken_clause(subject: type[Any]) -> int:
    """The clause that a class breaks, which is what its docstring begins with."""
    found = re.match(r"Clause (\d+)", subject.__doc__ or "")
    assert found
    return int(found[1])


async def fails_one(
    check: Check[Any],
    modules: Iterable[ModuleType],
    broken: Iterable[type[Any]],
    checked: Callable[[type[Any]], Awaitable[object]],
    monkeypatch: pytest.MonkeyPatch,
) -> bool:
    """Whether a check, without any other, finds one of those that break its clause."""
    for module in modules:
        monkeypatch.setattr(module.check, "found", [check] if check in module.check.found else [])
    for subject in broken:
        if broken_clause(subject) == check.clause:
            try:
                await checked(subject)
            except ConformanceError:
                return True
    return False
