"""One picture for each scenario: who needs how long, or gets how far, on a logarithmic scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.outcome import Data

OURS = "#0b7285"
PEER = "#adb5bd"


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
    contestants = case["contestants"][::-1]
    spreads = [contestant["figures"][metric["name"]] for contestant in contestants]
    medians = [spread["median"] for spread in spreads]
    errors = [
        [spread["median"] - spread["low"] for spread in spreads],
        [spread["high"] - spread["median"] for spread in spreads],
    ]
    colors = [OURS if contestant["ours"] else PEER for contestant in contestants]
    names = [contestant["name"] for contestant in contestants]
    axes.barh(names, medians, xerr=errors, color=colors, ecolor="#495057", height=0.7)
    axes.set_xscale("log")
    name = f"{metric['name']}, " if len(case["metrics"]) > 1 else ""
    axes.set_title(f"{case['title']}: {name}{metric['unit']} ({metric['better']} is better)", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
