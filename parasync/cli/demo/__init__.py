"""`parasync demo`: real processes, a real server, real faults, and a verdict."""

from __future__ import annotations

import asyncio
import importlib
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.live import Live

from parasync.cli._exits import Exit
from parasync.cli._options import ShownCommand
from parasync.cli._render import can_draw
from parasync.cli._running import run_to_end
from parasync.cli.demo._scene import Copy, Scene
from parasync.cli.demo._script import REPLICAS, Plot
from parasync.cli.demo._stage import plain_line, scene_table, show_verdict
from parasync.cli.demo._verdict import Books, judge
from parasync.transports._nats_process import find_nats_server

_DRAW_S: Final = 0.125
"""How often the table is drawn, in seconds."""
_SEEDS: Final = 1_000_000
"""How many seeds there are to choose from where none is given."""

__all__ = ["demo"]


@click.command(
    cls=ShownCommand,
    short_help="See it break and heal, and get a verdict (20 s).",
    examples=(
        "parasync demo",
        "parasync demo --seconds 60 --seed 7",
        "parasync demo --plain                      # lines instead of a table",
    ),
)
@click.option("--seconds", type=click.FloatRange(4, 3600), default=20, show_default=True, help="About how long it takes.")
@click.option("--plain", is_flag=True, help="Print lines instead of a live table; so does an output that is no terminal.")
@click.option("--seed", type=click.IntRange(0), help="Repeat the timing of an earlier run; the verdict names its seed.")
def demo(seconds: float, plain: bool, seed: int | None) -> Exit:
    """Start a NATS server, one authority and three replica processes on the load of this machine; then break things.

    The server is killed and started again, the authority restarts with an empty memory, the schema changes under a replica that
    was forgotten. Each process keeps a book of what it wrote, showed and said. The verdict at the end is drawn from the books
    alone, and the exit code is 0 only if every promise held.
    """
    # What its processes need is missed here, and not by them.
    importlib.import_module("parasync.cli.demo._machine")
    find_nats_server()
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="parasync-demo-"))
    keep = False
    try:
        books = run_to_end(_played(folder, seconds, seed, plain or not can_draw()))
        findings = judge(books)
        show_verdict(findings, books, seed, Console(highlight=False))
        keep = not all(finding.kept for finding in findings)
        if keep:
            click.echo(f"The books and logs of all processes are in {folder}", err=True)
        return Exit.ABSENT if keep else Exit.OK
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


async def _played(folder: Path, seconds: float, seed: int, plain: bool) -> Books:
    scene = Scene(tuple(Copy(f"replica {number + 1}") for number in range(REPLICAS)))

    def tell(text: str) -> None:
        scene.log.append((scene.elapsed_s(), text))
        if plain:
            plain_line(scene.elapsed_s(), text)

    plot = Plot(folder, seconds, seed, scene, tell)
    if plain:
        for copy in scene.copies:
            copy.news = lambda text: plain_line(scene.elapsed_s(), text)
        return await plot.play()
    drawing = asyncio.create_task(_draw(scene), name="draw the demonstration")
    try:
        return await plot.play()
    finally:
        drawing.cancel()
        await asyncio.wait([drawing])


async def _draw(scene: Scene) -> None:
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        try:
            while True:
                live.update(scene_table(scene, console), refresh=True)
                await asyncio.sleep(_DRAW_S)
        finally:
            # What stays on the screen is how it ended.
            live.update(scene_table(scene, console), refresh=True)
