"""One seed, one course: in every process and on every Python, whatever the hashes of texts and the addresses of objects."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parasync.testing import Trace, run
from tests.testing.programs import digest_of, plain, replicated

ROOT = Path(__file__).parents[2]

SAME_ON_EVERY_PYTHON = {
    None: "7958a6ed14821a2c6686d095037e75e4",
    0: "ed42bfc7690b6bbb8417ef43f6fd5bed",
    1: "885521f33a43f1b9dc4f0f2696e34ba3",
}
"""What `plain` does, by seed: it changes only with the program, or with the meaning of seeds."""


@pytest.mark.parametrize("program", [plain, replicated])
@pytest.mark.parametrize("seed", [None, *range(5)])
def test_one_seed_takes_one_course(program: Callable[[Trace], object], seed: int | None) -> None:
    assert digest_of(program, seed) == digest_of(program, seed)


@pytest.mark.parametrize("program", [plain, replicated])
def test_other_seeds_take_other_courses(program: Callable[[Trace], object]) -> None:
    assert len({digest_of(program, seed) for seed in (None, *range(9))}) == 10


@pytest.mark.parametrize("seed", SAME_ON_EVERY_PYTHON)
def test_every_python_takes_this_course(seed: int | None) -> None:
    assert digest_of(plain, seed) == SAME_ON_EVERY_PYTHON[seed]


@pytest.mark.processes
def test_neither_hashes_nor_addresses_matter() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-m", "tests.testing.programs", str(number)],
            env=os.environ | {"PYTHONHASHSEED": str(number)},
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for number in (1, 2, 3, 7)
    }  # fmt: skip
    here = " ".join(digest_of(program, seed) for program in (plain, replicated) for seed in (None, 0, 1))
    assert printed == {here + "\n"}


def test_the_module_random_is_seeded_and_given_back() -> None:
    async def main() -> float:
        return random.random()

    before = random.getstate()
    assert run(main, seed=3) == run(main, seed=3) != run(main, seed=4)
    assert random.getstate() == before


def test_a_note_is_part_of_the_digest() -> None:
    async def main() -> None:
        pass

    one, other = Trace(), Trace()
    run(main, trace=one)
    run(main, trace=other)
    assert one.digest == other.digest
    other.note("more")
    assert one.digest != other.digest
