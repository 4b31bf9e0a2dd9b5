"""`parasync simulate`: many simulated worlds with faults, judged by the promises of parasync."""

from __future__ import annotations

import os
from typing import Any, Literal

import click

from parasync.cli._exits import Exit
from parasync.cli._options import ShownCommand
from parasync.cli._running import run_to_end
from parasync.cli.simulate import _jobs
from parasync.cli.simulate._jobs import Jobs
from parasync.cli.simulate._shown import Meter, json_report, only_ascii, output, show_counts, show_story, show_verdict

__all__ = ["simulate"]


@click.command(
    cls=ShownCommand,
    short_help="Search simulated faults for a broken promise.",
    examples=(
        "parasync simulate",
        "parasync simulate --seeds 100000 --jobs 8",
        "parasync simulate --first 17 --seeds 1 --show mermaid   # one seed again, for a page",
    ),
)
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="How many simulations.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The first seed; the others follow it.")
@click.option("--jobs", type=click.IntRange(1, 256), help="How many processes.  [default: one for each processor]")
@click.option("--show", type=click.Choice(["text", "mermaid"]), default="text", show_default=True, help="The kind of chart.")
@click.option("--shrink/--no-shrink", default=True, show_default=True, help="Look for the shortest way to what is wrong.")
@click.option("--strict", is_flag=True, help="Fail too if a fault never struck, or a rare state was never reached.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(
    seeds: int, first: int, jobs: int | None, show: Literal["text", "mermaid"], shrink: bool, strict: bool, as_json: bool
) -> Exit:
    """Run authorities and replicas in simulated worlds, in virtual time, through faults that a seed decides.

    Each world is judged by the promises of parasync, while faults strike and after they have ended. At the first seed that
    breaks one, it ends, and shows a schedule and a chart of what happened; the same seed always takes the same course.
    """
    console = output()
    wanted = {"show": show, "shrinks": shrink, "width": console.size.width, "only_ascii": only_ascii(console)}
    with Meter(first, seeds) as meter:
        story = run_to_end(_searched(first, seeds, min(jobs or _processors(), seeds), meter, wanted))
    totals = meter.totals
    missed = strict and bool(totals.never)
    if story is not None:
        story["command"] = f"parasync simulate --first {story['seed']} --seeds 1"
    if as_json:
        click.echo(json_report(first, totals, meter.elapsed_s, story))
        return Exit.ABSENT if story is not None or missed else Exit.OK
    show_counts(totals, console)
    if story is not None:
        show_story(story, console)
        verdict = f"seed {story['seed']} breaks {story['violation']}\nrepeat it: {story['command']}"
    elif missed:
        verdict = "every promise held, but not everything was tried: more seeds may"
    else:
        verdict = f"every promise held in {totals.seeds:,} {'simulation' if totals.seeds == 1 else 'simulations'}"
    show_verdict(verdict, story is None and not missed, console)
    return Exit.ABSENT if story is not None or missed else Exit.OK


async def _searched(first: int, seeds: int, jobs: int, meter: Meter, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The story of the first seed that breaks a promise, if one does."""
    async with Jobs(jobs, _jobs.SIMULATOR) as working:
        meter.totals, broken = await working.run(first, seeds, meter.heard)
        if broken is None:
            return None
        meter.shrinking(broken)
        story = await working.tell(seed=broken, **wanted)
    if not story:
        raise RuntimeError(f"seed {broken} broke a promise, and did not when it was repeated")
    return story


def _processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
