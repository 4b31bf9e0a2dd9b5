"""What people see of the results, and that the documentation shows the latest."""

from __future__ import annotations

import json

import pytest

from benchmarks.contest import Case, Contestant, Metric, Scenario, Target, hold
from benchmarks.outcome import LATEST, kept, of_scenario, read
from benchmarks.report import PAGE, between, figure, filled, markdown, scenario_tables, short, summary

RATE = Metric("rate", "messages/s", "higher")


def data() -> dict[str, object]:
    contestants = (Contestant("mine", lambda: {"rate": 300.0}, ours=True), Contestant("theirs", lambda: {"rate": 100.0}))
    targets = (Target("mine", "theirs", "rate", 2.0), Target("mine", "theirs", "rate", 4.0))
    case = Case("a case", (RATE,), contestants, targets, {"other": "it is not installed"})
    scenario = Scenario("B9", "A title", "A text.", lambda _: pytest.fail("not needed"))
    return {
        "command": "python -m benchmarks",
        "date": "2026-01-01",
        "rounds": 2,
        "machine": {"processor": "a processor", "cores": "2", "memory": "1 GiB", "system": "a system"},
        "versions": {"parasync": "1.2.3"},
        "scenarios": [of_scenario(scenario, [hold(case, rounds=2)])],
    }


def test_the_summary_says_what_was_reached_and_what_not() -> None:
    text = summary(json.loads(json.dumps(data())))
    assert "| B9 | a case | mine / theirs | ≥ 2 | **3** | 3 – 3 | reached |" in text
    assert "| B9 | a case | mine / theirs | ≥ 4 | **3** | 3 – 3 | **missed** |" in text


def test_a_table_has_the_figures_the_ratios_and_who_was_left_out() -> None:
    (scenario,) = data()["scenarios"]
    text = scenario_tables(scenario)
    assert "| a case | messages/s | mine / this |" in text
    assert "| theirs | 100 | 3 |" in text
    assert "| other | left out: it is not installed | |" in text


def test_the_whole_says_how_it_was_made() -> None:
    text = markdown(data())
    assert "python -m benchmarks" in text
    assert "a processor, 2 cores, 1 GiB, a system" in text
    assert "parasync 1.2.3" in text


def test_a_later_run_of_some_scenarios_stands_beside_the_others_and_says_where_it_comes_from() -> None:
    last, later = data(), {**data(), "command": "python -m benchmarks --only b9", "date": "2026-02-02"}
    other = {**last["scenarios"][0], "name": "B10"}
    both = kept({**last, "scenarios": [other, *last["scenarios"]]}, later)
    assert [scenario["name"] for scenario in both["scenarios"]] == ["B9", "B10"]
    assert both["command"] == "python -m benchmarks"
    assert "python -m benchmarks --only b9" in scenario_tables(both["scenarios"][0])
    assert "2026-02-02" not in scenario_tables(both["scenarios"][1])


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    page = "before\n<!-- results: x -->\nold\n<!-- end -->\nafter\n<!-- results: y -->\n<!-- end -->\n"
    assert between(page, "x", "new") == page.replace("old\n", "\nnew\n\n")
    assert between(page, "z", "new") == page


@pytest.mark.parametrize(
    ("value", "text"),
    [(123456.0, "123,000"), (1234.5, "1,230"), (999.6, "1000"), (123.4, "123"), (45.678, "45.7"), (0.01234, "0.0123")],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(("value", "text"), [(1234.5, "1,234"), (1.2345, "1.23"), (0.00061234, "0.00061")])
def test_ratios_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_the_documentation_shows_the_latest_results() -> None:
    """`python -m benchmarks report` writes the page anew."""
    latest = read()
    assert PAGE.read_text() == filled(PAGE.read_text(), latest)
    assert LATEST.with_suffix(".md").read_text() == markdown(latest)
    assert all(f"<!-- results: {scenario['name']} -->" in PAGE.read_text() for scenario in latest["scenarios"])
