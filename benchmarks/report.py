"""Results for people: tables in Markdown, and the page of the documentation that shows the latest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.outcome import Data, reached

PAGE: Final = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
PLOTS: Final = "../../benchmarks/results"


def summary(data: Data) -> str:
    """Every ratio to reach, with what was measured."""
    lines = ["| | case | ratio | to reach | measured | quartiles | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for scenario in data["scenarios"]:
        for case in scenario["cases"]:
            for target in case["targets"]:
                sign = "≤" if target["better"] == "lower" else "≥"
                metric = f"{target['metric']} of " if len(case["metrics"]) > 1 else ""
                ratio = target["ratio"]
                cells = [
                    scenario["name"],
                    case["title"],
                    f"{metric}{target['ours']} / {target['peer']}",
                    f"{sign} {short(target['limit'])}",
                    f"**{short(ratio['median'])}**",
                    f"{short(ratio['low'])} – {short(ratio['high'])}",
                    "reached" if reached(target) else "**missed**",
                ]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def scenario_tables(scenario: Data) -> str:
    """The figures of one scenario: a table for each case."""
    parts = [scenario["text"]]
    for case in scenario["cases"]:
        metrics = case["metrics"]
        ours = [contestant["name"] for contestant in case["contestants"] if contestant["ours"]]
        heads = [metric["unit"] if len(metrics) == 1 else f"{metric['name']}, {metric['unit']}" for metric in metrics]
        ratio_heads = [f"{name} / this" for name in ours]
        suffix = f" ({metrics[0]['name']})" if len(metrics) > 1 else ""
        head = [case["title"], *heads, *(f"{each}{suffix}" for each in ratio_heads)]
        lines = [f"| {' | '.join(head)} |", f"| {' | '.join(['---'] * len(head))} |"]
        for contestant in case["contestants"]:
            figures = [figure(contestant["figures"][metric["name"]]["median"]) for metric in metrics]
            ratios = [_ratio(case, name, contestant["name"], metrics[0]["name"]) for name in ours]
            lines.append(f"| {' | '.join([contestant['name'], *figures, *ratios])} |")
        lines += [f"| {name} | left out: {reason} |{' |' * (len(head) - 2)}" for name, reason in case["absent"].items()]
        parts.append("\n".join(lines))
    if "origin" in scenario:
        parts.append(f"From a run of its own:\n\n{origin(scenario['origin'])}")
    return "\n\n".join(parts)


def origin(data: Data) -> str:
    """How the results were made, and where."""
    machine, versions = data["machine"], data["versions"]
    kind = f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}"
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"```sh\n{data['command']}\n```\n\n{data['rounds']} rounds on {data['date']}, on {kind}, with {listed}."


def markdown(data: Data) -> str:
    """All tables as one page."""
    parts = ["# Benchmarks", origin(data), summary(data)]
    for scenario in data["scenarios"]:
        parts += [f"## {scenario['name']}: {scenario['title']}", scenario_tables(scenario)]
    return "\n\n".join(parts) + "\n"


def filled(page: str, data: Data) -> str:
    """A page with the results between its marks; what stands outside of them is left alone."""
    page = between(page, "origin", origin(data))
    page = between(page, "summary", summary(data))
    for scenario in data["scenarios"]:
        name = scenario["name"]
        plot = f"![{scenario['title']}]({PLOTS}/{name.lower()}.svg)"
        page = between(page, name, f"{scenario_tables(scenario)}\n\n{plot}")
    return page


def between(page: str, mark: str, text: str) -> str:
    """A page with a text between two marks; without the marks, as it is."""
    pattern = re.compile(rf"(<!-- results: {re.escape(mark)} -->\n).*?(<!-- end -->)", re.DOTALL)
    return pattern.sub(lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page)


def figure(value: float) -> str:
    """A figure as a person reads it: three digits count."""
    if value >= 100:
        digits = len(str(int(value))) - 3
        return f"{round(value / 10**digits) * 10**digits:,}" if digits > 0 else f"{value:.0f}"
    return f"{value:.3g}"


def short(ratio: float) -> str:
    """A ratio as a person reads it."""
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.2g}" if ratio < 0.1 else f"{ratio:.3g}"


def _ratio(case: Mapping[str, Any], ours: str, peer: str, metric: str) -> str:
    for ratio in case["ratios"]:
        if (ratio["ours"], ratio["peer"], ratio["metric"]) == (ours, peer, metric):
            return short(ratio["median"])
    return "1" if ours == peer else ""
