"""What is seen of many simulations: the progress, what was counted, and the story of one that breaks a promise."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from itertools import zip_longest
from types import TracebackType
from typing import Any, Final, Self

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from parasync.cli._render import to_json
from parasync.testing.simulation._totals import Totals

_PIPE_COLUMNS: Final = 120
"""How wide what is shown is where there is no terminal."""


def output() -> Console:
    """Standard output, as wide as it is, or as a page where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_COLUMNS)


def only_ascii(console: Console) -> bool:
    """Whether what this console shows can hold no other characters."""
    return not console.encoding.lower().startswith("utf")


def _print(what: Table | Text, console: Console) -> None:
    # Not by rich itself, which would end the program in a way of its own when nobody reads it any more.
    with console.capture() as printed:
        console.print(what, soft_wrap=isinstance(what, Text))
    click.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


class Meter:
    """Shows on standard error how far it is; where that is no terminal, one line at the end.

    Args:
        first: the first seed.
        seeds: how many there are.
    """

    def __init__(self, first: int, seeds: int) -> None:
        self.totals = Totals()
        self._began_s = time.monotonic()
        self._ended_s: float | None = None
        self._first = first
        console = Console(stderr=True, highlight=False)
        dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
        parts = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*parts, console=console, transient=True) if console.is_terminal and not dumb else None
        self._bar = None if self._progress is None else self._progress.add_task("simulating", total=seeds, rate="")

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning; to the end, if it has ended."""
        return (time.monotonic() if self._ended_s is None else self._ended_s) - self._began_s

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._ended_s = time.monotonic() if self._ended_s is None else self._ended_s
        if self._progress is not None:
            self._progress.stop()
        if kind is None:
            click.echo(facts(self._first, self.totals, self.elapsed_s), err=True)

    def heard(self, totals: Totals) -> None:
        """Some more were simulated."""
        self.totals = totals
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=totals.seeds, rate=f"{totals.seeds / self.elapsed_s:,.0f} seeds/s")

    def shrinking(self, seed: int) -> None:
        """All are simulated, and the story of one is being looked for."""
        self._ended_s = time.monotonic()
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, description=f"seed {seed} breaks a promise; looking for the shortest way there")


def facts(first: int, totals: Totals, elapsed_s: float) -> str:
    """How much was simulated, and how fast, in one line."""
    rates = f"{totals.seeds / elapsed_s:,.0f} seeds/s, {totals.steps / elapsed_s:,.0f} steps/s"
    span = f"{totals.seeds:,} {'seed' if totals.seeds == 1 else 'seeds'} from {first} on"
    return f"{span}, {totals.virtual_s:,.0f} s of virtual time, in {elapsed_s:.1f} s: {rates}"


def show_counts(totals: Totals, console: Console) -> None:
    """Print how often each fault struck and each rare state was reached."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("fault")
    table.add_column("struck", justify="right", no_wrap=True)
    table.add_column("rare state", overflow="fold")
    table.add_column("reached", justify="right", no_wrap=True)
    for fault, state in zip_longest(totals.fired.items(), sorted(totals.reached.items()), fillvalue=("", None)):
        table.add_row(*_cells(*fault), *_cells(*state))
    _print(table, console)
    if totals.never:
        click.echo()
        _print(Text(f"never: {', '.join(totals.never)}", style="yellow"), console)


def _cells(name: str, count: int | None) -> tuple[Text, Text]:
    style = "yellow" if count == 0 else ""
    return Text(name, style=style), Text("" if count is None else f"{count:,}", style=style)


def show_story(story: Mapping[str, Any], console: Console) -> None:
    """Print what was done, what struck, and the chart."""
    click.echo("\nthe schedule:")
    for line in story["schedule"]:
        click.echo(f"  {line}")
    click.echo()
    for line in story["chart"].splitlines():
        # Nothing is folded: a chart is as wide as the console, and Mermaid is for another program.
        broken = "BROKEN: " in line and not story["chart"].startswith("sequenceDiagram")
        _print(Text(line, style="bold red" if broken else ""), console)


def show_verdict(verdict: str, good: bool, console: Console) -> None:
    """Print the last line."""
    click.echo()
    _print(Text(f"VERDICT: {verdict}", style="bold green" if good else "bold red"), console)


def json_report(first: int, totals: Totals, elapsed_s: float, story: Mapping[str, Any] | None) -> str:
    """All of it for a program."""
    counts = {"first": first, **totals.counts(), "elapsed_s": round(elapsed_s, 3), "never": totals.never, "violation": story}
    return to_json(counts)
