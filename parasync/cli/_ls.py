"""`parasync ls`: which topics are served, and which objects a topic has."""

from __future__ import annotations

import time
from typing import Final

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parasync import Version
from parasync.cli._address import find_url
from parasync.cli._asks import Asker
from parasync.cli._exits import Exit
from parasync.cli._options import BusOptions, ShownCommand, bus_options, timeout_option
from parasync.cli._render import age, printable, to_json
from parasync.cli._running import run_to_end
from parasync.errors import ParasyncError
from parasync.protocol import check_topic, parse_pattern
from parasync.transports._nats_discovery import Served, discover

DISCOVERY_S: Final = 1.0
"""How long answers of authorities are collected, in seconds, where no topic was given."""


def _checked_what(_context: click.Context, _parameter: click.Parameter, what: str | None) -> tuple[str, str] | None:
    """Topic and beginning of the ids."""
    try:
        if what is None:
            return None
        return parse_pattern(what) if what.endswith("*") else (check_topic(what), "")
    except ParasyncError as error:
        raise click.BadParameter(str(error)) from None


@click.command(
    cls=ShownCommand,
    short_help="List topics, or the objects of one.",
    examples=("parasync ls", "parasync ls config", "parasync ls 'config:eu:*' --json"),
)
@click.argument("what", metavar="[TOPIC|PATTERN]", required=False, callback=_checked_what)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@timeout_option
@bus_options
def ls(what: tuple[str, str] | None, as_json: bool, timeout_s: float, bus: BusOptions) -> Exit:
    """List the topics that are served or, for a TOPIC or a PATTERN such as 'config:eu:*', its objects with their versions."""
    if what is None:
        _show_topics(run_to_end(_topics(bus, timeout_s)), as_json)
    else:
        _show_objects(run_to_end(_objects(bus, what, timeout_s)), as_json)
    return Exit.OK


async def _topics(options: BusOptions, timeout_s: float) -> list[Served]:
    async with options.transport(find_url(options), "parasync ls") as bus:
        return await discover(bus, min(timeout_s, DISCOVERY_S))


async def _objects(options: BusOptions, what: tuple[str, str], timeout_s: float) -> list[tuple[str, Version]]:
    async with options.transport(find_url(options), "parasync ls") as bus:
        return [found async for found in Asker(bus, timeout_s).keys(*what)]


def _show_topics(topics: list[Served], as_json: bool) -> None:
    if not topics:
        click.echo("parasync: no topic is served on this bus", err=True)
    now_s = time.time()
    table = _table("topic", "serving for", "asks", "lists", "writes", "failures")
    for found in topics:
        facts = {
            "topic": found.topic,
            "service": found.service,
            "started": found.started,
            "asks": found.asks,
            "lists": found.lists,
            "puts": found.puts,
            "failures": found.failures,
        }
        if as_json:
            click.echo(to_json(facts))
            continue
        counts = (found.asks, found.lists, found.puts, found.failures)
        since = age(max(0.0, now_s - found.started_s))
        table.add_row(Text(printable(found.topic)), since, *(f"{count:,}" for count in counts))
    if topics and not as_json:
        _print(table)


def _show_objects(objects: list[tuple[str, Version]], as_json: bool) -> None:
    if as_json:
        for key, version in objects:
            click.echo(to_json({"key": key, "version": str(version)}))
        return
    table = _table("key", "version")
    for key, version in objects:
        table.add_row(Text(printable(key)), str(version))
    if objects:
        _print(table)
    click.echo(f"{len(objects):,} object{'' if len(objects) == 1 else 's'}", err=True)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=True, overflow="ellipsis" if number == 0 else "fold", justify="left")
    return table


def _print(table: Table) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        # Nothing is cut off for a file or another program, however long the keys are.
        console = Console(highlight=False, width=10_000)
    with console.capture() as printed:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))
