"""The clauses of the kit are those of the contracts, word for word, and each has a check."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import parasync
from parasync.stores import _protocol as stores
from parasync.testing.conformance import _asking, _beating, _bounds, _carrying, _dropping, _reading, _storing
from parasync.testing.conformance._clauses import STORE_CLAUSES, TRANSPORT_CLAUSES, Clause
from parasync.transports import _protocol as transports
from tests.pages import blocks_of

CONTRACTS = [
    (transports, TRANSPORT_CLAUSES, (_carrying, _bounds, _asking, _beating)),
    (stores, STORE_CLAUSES, (_storing, _reading, _dropping)),
]


@pytest.mark.parametrize(("contract", "clauses", "_"), CONTRACTS)
def test_the_clauses_are_those_of_the_contract(contract: ModuleType, clauses: dict[int, Clause], _: object) -> None:
    found = re.findall(r"^(\d+)\. (.*(?:\n {3,4}\S.*)*)", contract.__doc__ or "", re.MULTILINE)
    assert [str(clause) for clause in clauses.values()] == [f"{number}. {' '.join(text.split())}" for number, text in found]


@pytest.mark.parametrize(("_", "clauses", "modules"), CONTRACTS)
def test_every_clause_has_a_check(_: object, clauses: dict[int, Clause], modules: tuple[ModuleType, ...]) -> None:
    assert {check.clause for module in modules for check in module.check.found} == set(clauses)


def test_the_transport_of_the_guide_has_as_many_lines_as_the_guide_says() -> None:
    page = Path(parasync.__file__).parents[1] / "docs" / "how-to" / "write-a-transport.md"
    source = next(block.text for block in blocks_of(page) if block.caption == "relay_transport.py")
    _, _, body = source.partition("class RelayTransport:")
    assert 1 + len([line for line in body.splitlines() if line.strip()]) == 60
    assert "the 60 lines below the imports" in page.read_text()


def test_the_kit_needs_neither_pytest_nor_hypothesis() -> None:
    code = "import sys, parasync.testing.conformance; print(*sorted(sys.modules.keys() & {'pytest', 'hypothesis', 'nats'}))"
    folder = Path(parasync.__file__).parents[1]
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    assert loaded.stdout.split() == []
