"""The whole table of states and inputs, cell by cell, and the page that shows it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from parasync.protocol import Status
from tests.protocol import state_table
from tests.protocol.cells import CELLS
from tests.protocol.state_table import PAGE, SITUATIONS, filled, inputs_of, outcome_of, rendered, written


@pytest.mark.parametrize(("situation", "given"), [(situation, given) for situation, rows in CELLS.items() for given in rows])
def test_a_cell(situation: str, given: str) -> None:
    assert outcome_of(situation, given or None) == CELLS[situation][given]


def test_no_cell_is_missing() -> None:
    assert {situation: list(rows) for situation, rows in CELLS.items()} == {
        situation: ["", *inputs_of(situation)] for situation in SITUATIONS
    }
    assert sum(map(len, CELLS.values())) > 350


def test_every_status_is_met_and_left() -> None:
    moves = {(rows[""].status, cell.status) for rows in CELLS.values() for given, cell in rows.items() if given}
    names = {status.name for status in Status}
    assert {start for start, _ in moves} == {end for _, end in moves} == names
    assert {end for start, end in moves if start == "CLOSED"} == {"CLOSED"}
    left = names - {"CLOSED"}
    assert all((start, "CLOSED") in moves for start in left)
    # From anywhere a replica may be found stale, and from anywhere an answer can make it current.
    assert all((start, "STALE") in moves for start in left - {"SKEW"})
    assert all((start, "OK") in moves for start in left)


def test_nothing_that_arrives_moves_a_replica_back() -> None:
    """P1, read off the table: only a seed is ever replaced by what is below it."""
    for situation, rows in CELLS.items():
        before = rows[""].shows
        for given, cell in rows.items():
            if before != "nothing" and "seed" not in situation:
                assert cell.shows >= before, f"{situation}, {given}: from {before} to {cell.shows}"


def test_nothing_is_ok_with_an_open_need() -> None:
    assert all(cell.need == "none" for rows in CELLS.values() for cell in rows.values() if cell.status == "OK")


def test_the_page_shows_the_cells() -> None:
    page = PAGE.read_text()
    assert page == filled(page, CELLS), "write it with `python -m tests.protocol.state_table`"
    assert rendered(CELLS) in page


def test_a_page_without_a_place_for_the_cells_is_refused() -> None:
    for page in ("", "<!-- cells -->\n", "<!-- end of the cells -->"):
        with pytest.raises(ValueError, match="in the page"):
            filled(page, CELLS)


def test_the_module_writes_the_page_and_prints_the_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "states.md"
    page.write_text("before\n<!-- cells -->\nan old table\n<!-- end of the cells -->\nafter\n")
    monkeypatch.setattr(state_table, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["state_table"])
    state_table.main()
    assert page.read_text() == f"before\n<!-- cells -->\n\n{rendered(CELLS)}\n<!-- end of the cells -->\nafter\n"
    monkeypatch.setattr(sys, "argv", ["state_table", "--cells"])
    state_table.main()
    assert capsys.readouterr().out == "\n\n".join(f"[{situation}]\n{written(situation)}" for situation in SITUATIONS) + "\n"
