"""The results of a run as plain data, and the ratios that are made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.contest import Result, Scenario, Spread, Target

FOLDER: Final = Path(__file__).with_name("results")
LATEST: Final = FOLDER / "latest.json"

Data = dict[str, Any]


def of_scenario(scenario: Scenario, results: Sequence[Result]) -> Data:
    """One scenario as plain data."""
    return {
        "name": scenario.name,
        "title": scenario.title,
        "text": scenario.text,
        "cases": [_of_result(result) for result in results],
    }


def written(path: Path, data: Mapping[str, Any]) -> None:
    """Keep the results of a run."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def read(path: Path = LATEST) -> Data:
    """The results that were kept."""
    data: Data = json.loads(path.read_text())
    return data


def kept(last: Data, some: Data) -> Data:
    """The results of the last whole run with those of a later run of some scenarios, each of which says where it comes from."""
    origin = {name: value for name, value in some.items() if name != "scenarios"}
    newer = {scenario["name"]: {**scenario, "origin": origin} for scenario in some["scenarios"]}
    all_ = {scenario["name"]: scenario for scenario in last["scenarios"]} | newer
    return {**last, "scenarios": sorted(all_.values(), key=lambda scenario: int(scenario["name"][1:]))}


def reached(target: Mapping[str, Any]) -> bool:
    """Whether the median ratio is on the right side of the limit."""
    median, limit = target["ratio"]["median"], target["limit"]
    return bool(median <= limit if target["better"] == "lower" else median >= limit)


def _of_result(result: Result) -> Data:
    case = result.case
    return {
        "title": case.title,
        "metrics": [{"name": metric.name, "unit": metric.unit, "better": metric.better} for metric in case.metrics],
        "contestants": [
            {
                "name": contestant.name,
                "ours": contestant.ours,
                "figures": {name: _spread(values) for name, values in result.figures[contestant.name].items()},
            }
            for contestant in case.contestants
        ],
        "ratios": [
            {"ours": ours, "peer": peer, "metric": metric.name, **_spread(result.ratios(ours, peer, metric.name))}
            for ours, peer, metric in result.pairs()
        ],
        "targets": [_of_target(result, target) for target in case.targets],
        "absent": dict(case.absent),
    }


def _of_target(result: Result, target: Target) -> Data:
    better = next(metric.better for metric in result.case.metrics if metric.name == target.metric)
    ratio = _spread(result.ratios(target.ours, target.peer, target.metric))
    return {
        "ours": target.ours,
        "peer": target.peer,
        "metric": target.metric,
        "better": better,
        "limit": target.limit,
        "ratio": ratio,
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    spread = Spread.of(values)
    # Five digits are more than the figures are worth.
    return {"median": _rounded(spread.median), "low": _rounded(spread.low), "high": _rounded(spread.high)}


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
