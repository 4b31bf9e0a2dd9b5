"""One picture for each scenario: who needs how long, or gets how far, on a logarithmic scale."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benchmarks.outcome import Data

OURS = "#0b7285"
PEER = "#868e96"


def plotted(data: Data, folder: Path, prefix: str = "") -> None:
    """Draw every scenario into a file of its own.

    Without matplotlib nothing is drawn.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        print("no plots: matplotlib is not installed")
        return
    mpl.use("svg")
    # The same results make the same file.
    mpl.rcParams["svg.hashsalt"] = "parasync"
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["font.size"] = 9
    for scenario in data["scenarios"]:
        _plot(scenario, folder / f"{prefix}{scenario['name'].lower()}.svg")


def _plot(scenario: Data, path: Path) -> None:
    from matplotlib.figure import Figure

    panels = [(case, metric) for case in scenario["cases"] for metric in case["metrics"]]
    rows = [len(case["contestants"]) for case, _ in panels]
    figure = Figure(figsize=(8.0, 0.26 * sum(rows) + 0.75 * len(panels)), layout="constrained")
    for axes, (case, metric) in zip(
        figure.subplots(len(panels), 1, squeeze=False, height_ratios=rows)[:, 0], panels, strict=True
    ):
        _bars(axes, case, metric)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def _bars(axes: Any, case: Data, metric: Data) -> None:
    # Points, not bars: a logarithmic scale has no zero for a bar to begin at.
    for place, contestant in enumerate(case["contestants"][::-1]):
        spread = contestant["figures"][metric["name"]]
        reach = [[spread["median"] - spread["low"]], [spread["high"] - spread["median"]]]
        axes.errorbar(spread["median"], place, xerr=reach, fmt="o", capsize=3, color=OURS if contestant["ours"] else PEER)
    axes.set_yticks(range(len(case["contestants"])), [contestant["name"] for contestant in case["contestants"][::-1]])
    axes.set_ylim(-0.6, len(case["contestants"]) - 0.4)
    axes.set_xscale("log")
    _whole_decades(axes)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.12g}")
    axes.xaxis.set_minor_formatter("")
    axes.grid(axis="x", which="major", color="#dee2e6")
    axes.grid(axis="x", which="minor", color="#f1f3f5")
    axes.set_axisbelow(True)
    name = f"{metric['name']}, " if len(case["metrics"]) > 1 else ""
    axes.set_title(f"{case['title']}: {name}{metric['unit']} ({metric['better']} is better)", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _whole_decades(axes: Any) -> None:
    """Show at least one decade, so that there are two numbers to read, and small differences look small."""
    low, high = axes.get_xlim()
    axes.set_xlim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high)))
