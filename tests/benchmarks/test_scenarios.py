"""Every scenario runs, tiny, with all its contestants; each of them checks its own result."""

from __future__ import annotations

import pytest

pytest.importorskip("blinker", reason="the extra `benchmarks` is not installed")

from benchmarks.__main__ import SCENARIOS
from benchmarks.contest import Case as Contest
from benchmarks.contest import Contestant, Metric, Size, WrongResultError, check, hold
from benchmarks.instructions import PARTS, REST, counted, table

TINY = Size(0.001)


@pytest.mark.nats
@pytest.mark.processes
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_contestant_does_its_work(name: str) -> None:
    with SCENARIOS[name].cases(TINY) as cases:
        for case in cases:
            result = hold(case, rounds=1)
            for contestant in case.contestants:
                for metric in case.metrics:
                    (figure,) = result.figures[contestant.name][metric.name]
                    assert figure > 0
            for target in case.targets:
                assert len(result.ratios(target.ours, target.peer, target.metric)) == 1
        assert any(case.targets for case in cases)


@pytest.mark.nats
@pytest.mark.processes
def test_instructions_are_counted_by_part() -> None:
    found = counted(messages=16)
    for name, counts in found.items():
        assert sum(counts.values()) > 100
        assert counts[REST] < sum(counts.values()) / 4, f"parts of {name} have lost their names"
    text = table(found)
    assert all(f"| {part} | " in text for part in PARTS)


def test_a_contestant_that_does_not_do_its_work_gets_no_figure() -> None:
    def turn() -> dict[str, float]:
        check(right=False, what="nothing arrived")
        return {"cost": 1.0}

    with pytest.raises(WrongResultError, match="a case, lazy: nothing arrived"):
        hold(Contest("a case", (Metric("cost", "ns", "lower"),), (Contestant("lazy", turn),)), rounds=1)
