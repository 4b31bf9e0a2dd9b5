"""What is seen of the demonstration: a live table, or plain lines, and the verdict."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import click
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from parasync.cli._render import age, printable
from parasync.cli.demo._contract import LOAD, OLD, RANKS
from parasync.cli.demo._records import Place, Shown
from parasync.cli.demo._scene import Copy, Scene
from parasync.cli.demo._verdict import Books, Finding

_LOAD: Final = LOAD.ref().key
_BUSIEST: Final = OLD[RANKS[0]].key
_STYLES: Final = {"ok": "green", "refetching": "yellow", "stale": "red", "skew": "magenta", "-": "dim", "starting": "dim"}
_STATES: Final = {"running": "green", "killed": "bold red", "starting": "yellow"}
_ROOMY_LINES: Final = 18
"""From this height on there is room for the plot, for empty lines, and for the reasons."""
_WIDE_COLUMNS: Final = 70
"""From this width on there is room for all the numbers."""
_PLOT: Final = "One process owns 4 objects, what this machine does; 3 hold live copies."


def scene_table(scene: Scene, console: Console) -> Group:
    """The scene, as the live table shows it: as much as the window has room for, and what happened last in any case."""
    width, height = console.size
    head = Text.assemble(
        ("parasync demo", "bold"),
        f"  {scene.elapsed_s():4.1f} s    server ",
        (scene.server, _STATES[scene.server]),
        "    authority ",
        (scene.owner, _STATES[scene.owner]),
        f"  life {len(scene.lives)}" if scene.lives else "",
    )
    roomy = height >= _ROOMY_LINES
    above = [head, Text(_PLOT, style="dim"), Text()] if roomy else [head]
    reasons = [Text(f"{copy.name}: {printable(copy.reason)}", style="yellow") for copy in scene.copies if copy.reason]
    below = [Text(), *reasons] if roomy and reasons else []
    room = height - sum(len(text.wrap(console, width)) for text in (*above, *below)) - len(scene.copies) - 1 - roomy
    log: deque[Text] = deque()
    for at_s, text in reversed(scene.log):
        line = Text.assemble((f"{at_s:5.1f} s  ", "dim"), text)
        room -= len(line.wrap(console, width))
        if room < 0 and log:
            break
        log.appendleft(line)
    return Group(*above, _replicas(scene, width), *([Text()] if roomy else []), *log, *below)


def _replicas(scene: Scene, width: int) -> Table:
    # What is left of the width is for what a replica shows.
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), expand=True)
    table.add_column("replica", no_wrap=True)
    table.add_column("status", no_wrap=True, min_width=10)
    numbers = ("version", "behind", "age", "gaps", "asks", "skews")
    shown = numbers if width >= _WIDE_COLUMNS else numbers[:1]
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("shows", no_wrap=True, overflow="ellipsis", ratio=1)
    for copy in scene.copies:
        cells = _cells(copy, scene)
        table.add_row(*cells[: 2 + len(shown)], *cells[2 + len(numbers) :])
    return table


def _cells(copy: Copy, scene: Scene) -> tuple[Text | str, ...]:
    status = copy.status if copy.state == "running" else copy.state
    shown = Text(status, style=_STYLES.get(status, ""))
    load = copy.replicas.get(_LOAD)
    if load is None:
        return (copy.name, shown)
    place = copy.place(_LOAD)
    newest = scene.newest.get(_LOAD)
    behind = "?"
    if place is not None and newest is not None and newest[0] == place[0]:
        behind = str(max(0, newest[1] - place[1]))
    return (
        copy.name,
        shown,
        _version(place, scene),
        behind,
        age(max(float(replica["age_s"]) for replica in copy.replicas.values())),
        str(copy.count("gaps")),
        str(copy.count("refetches")),
        str(copy.count("schema_skews")),
        Text(printable(_summary(copy))),
    )


def _version(place: Place | None, scene: Scene) -> str:
    """The life of the authority, counted from 1, and the sequence in it."""
    if place is None:
        return "-"
    epoch, sequence = place
    return f"{scene.lives.index(epoch) + 1 if epoch in scene.lives else '?'}.{sequence}"


def _summary(copy: Copy) -> str:
    load: Any = copy.replicas[_LOAD]["value"]
    busiest: Any = copy.replicas.get(_BUSIEST, {}).get("value")
    parts = [] if load is None else [f"cpu {load['cpu_percent']:.0f} %", f"memory {load['memory_percent']:.0f} %"]
    if busiest is not None:
        # Two shapes: a replica that was forgotten still has the old one.
        usage = busiest.get("usage", busiest)
        parts.append(f"{busiest['name']} {usage['cpu_percent']:.0f} %")
    return ", ".join(parts)


def show_verdict(findings: list[Finding], books: Books, seed: int, console: Console) -> None:
    """Print each promise with what it was checked on, and the verdict as the last line."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("promise")
    table.add_column("kept", no_wrap=True)
    table.add_column("checked on", no_wrap=True, justify="right")
    for finding in findings:
        kept = Text("yes", style="green") if finding.kept else Text("NO", style="bold red")
        table.add_row(finding.promise, kept, finding.checked)
    console.print()
    console.print(table)
    console.print()
    for finding in findings:
        if not finding.kept:
            console.print(Text(f"broken: {finding.promise}: {finding.wrong}", style="red"), soft_wrap=True)
    versions = len(books.written)
    steps = sum(len(life.of(Shown)) for life in books.lives)
    facts = f"{versions:,} versions written, {steps:,} steps shown by {len(books.lives)} replica processes (seed {seed})"
    broken = sum(not finding.kept for finding in findings)
    if broken:
        console.print(Text(f"VERDICT: {broken} of {len(findings)} promises broken; {facts}", style="bold red"), soft_wrap=True)
    else:
        console.print(Text(f"VERDICT: every promise held; {facts}", style="bold green"), soft_wrap=True)


def plain_line(at_s: float, text: str) -> None:
    """A line of the plain output."""
    click.echo(f"{at_s:5.1f} s  {printable(text)}")
