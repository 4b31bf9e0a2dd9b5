"""Every bug that is planted in the mirror is found by the test that it belongs to."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.planted_mirror import PLANTED, Planted

pytestmark = pytest.mark.project


def test_each_bug_has_its_name() -> None:
    assert len({each.mutant.rule for each in PLANTED}) == len(PLANTED)


@pytest.mark.parametrize("each", PLANTED, ids=lambda each: each.mutant.rule)
def test_a_planted_bug_is_found(each: Planted, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"tmp_path": tmp_path} if "tmp_path" in inspect.signature(each.test).parameters else {}
    monkeypatch.setattr(each.mutant.owner, each.mutant.function, each.mutant.made())
    with pytest.raises(BaseException):  # noqa: B017  # how it is found does not matter
        each.test(**arguments)
