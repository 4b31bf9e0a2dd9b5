"""What strikes is decided by the seed alone: in every process, with every hash seed, on every Python."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from parasync.testing import Faults, StoreFaults
from parasync.testing._faults import Fates, Strikes
from tests.hash_seeds import printed

ROOT = Path(__file__).parents[2]
EXPECTED = ["2 drop 0.133522", "7 drop 0.444227", "7 partition 0.329968", "15 delay 0.071633"]
MANY = Faults(seed=42, drop=0.1, delay=0.1, partition=0.05)


def struck(faults: Faults | StoreFaults, line: str = "in note:a 1", count: int = 60) -> list[str]:
    """For each message its number and what strikes it, with the first of the details."""
    fates = Fates(faults, line, Strikes().note)
    found = [fates.next() for _ in range(count)]
    return [f"{number} {kind} {chance.random():.6f}" for number, kinds in enumerate(found) for kind, chance in kinds.items()]


def test_it_is_the_same_on_every_python() -> None:
    assert struck(MANY)[:4] == EXPECTED


@pytest.mark.processes
def test_it_is_the_same_in_every_process_which_needs_no_pytest() -> None:
    code = (
        "import sys; from parasync.testing import Faults; from parasync.testing._faults import Fates, Strikes;"
        "assert not sys.modules.keys() & {'pytest', 'hypothesis'};"
        "fates = Fates(Faults(seed=42, drop=0.1, delay=0.1, partition=0.05), 'in note:a 1', Strikes().note);"
        "print([[kind for kind in fates.next()] for _ in range(60)])"
    )
    assert printed(code)


def test_each_line_and_each_seed_has_other_luck() -> None:
    assert struck(MANY) == struck(MANY)
    assert struck(MANY) != struck(MANY, "in note:b 1")
    assert struck(MANY) != struck(Faults(seed=43, drop=0.1, delay=0.1, partition=0.05))


def test_a_fault_that_is_switched_off_changes_nothing_of_the_others() -> None:
    without = struck(Faults(seed=42, drop=0.1, partition=0.05))
    assert without == [text for text in struck(MANY) if " delay " not in text]


def test_the_rates_are_kept() -> None:
    count = 10_000
    fates = Fates(StoreFaults(before=0.2, hang=0.01), "write", Strikes().note)
    found = [kind for _ in range(count) for kind in fates.next()]
    assert 0.18 * count < found.count("before") < 0.22 * count
    assert 0.005 * count < found.count("hang") < 0.015 * count
    assert struck(Faults(drop=1.0)) != []
    assert struck(Faults()) == []


def test_what_struck_can_be_repeated_in_part() -> None:
    strikes = Strikes()
    fates = Fates(MANY, "in note:a 1", strikes.note)
    for _ in range(60):
        fates.next()
    drops = frozenset(each for each in strikes.recent if each[2] == "drop")
    assert 0 < len(drops) < len(strikes.recent)
    assert ("in note:a 1", 3, "drop") in drops
    again = struck(attrs.evolve(MANY, only=drops))
    assert again == [text for text in struck(MANY) if " drop " in text]
