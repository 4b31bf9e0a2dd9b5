"""Random walks through small worlds keep every promise.

`PARASYNC_WALK_SEED=12` repeats one walk, `PARASYNC_WALKS=100000` takes more of them.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.hash_seeds import printed
from tests.protocol.walks import SEED_VARIABLE, walk
from tests.protocol.witness import Violation

WALKS: Final = int(os.environ.get("PARASYNC_WALKS", "1000"))
PORTIONS: Final = 10


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_walks_keep_every_promise(portion: int) -> None:
    if (seed := os.environ.get(SEED_VARIABLE)) is not None:
        if portion == 0:
            walk(int(seed))
        return
    for number in range(portion, WALKS, PORTIONS):
        walk(number)


def test_a_broken_promise_tells_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise Violation("P0: for the test")

    monkeypatch.setattr("tests.protocol.walks.settle", broken)
    with pytest.raises(Violation, match=f"{SEED_VARIABLE}=12$") as caught:
        walk(12)
    lines = str(caught.value).splitlines()
    assert lines[0] == "seed 12: Violation('P0: for the test')"
    assert lines[1].startswith("Scope(")
    assert all(line.startswith("world.") for line in lines[2:-1])
    assert len(lines) > 5


@pytest.mark.processes
def test_a_seed_is_the_same_walk_in_every_process() -> None:
    """The order of sets depends on the process; nothing here may depend on the order of a set."""
    code = """
import random, tests.protocol.walks as walks
from tests.protocol.witness import Violation
walks.settle = lambda world, **_: 1 / 0
for seed in range(60):
    try:
        walks.walk(seed)
    except Violation as violation:
        print(violation)
"""
    assert len(printed(code)) > 1000
