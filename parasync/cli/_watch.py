"""`parasync watch`: an object, or all objects of a pattern, live."""

from __future__ import annotations

import asyncio
import contextlib
import select
import sys
import time
from typing import Final

import click
from rich.console import Console
from rich.live import Live

from parasync.cli._address import find_url
from parasync.cli._board import board, json_line, line
from parasync.cli._exits import Exit
from parasync.cli._follow import Follower
from parasync.cli._options import BusOptions, ShownCommand, bus_options
from parasync.cli._render import can_draw, to_json
from parasync.cli._running import run_until_stopped
from parasync.errors import ParasyncError
from parasync.protocol import parse_key, parse_pattern
from parasync.transports._nats_socket import parse_address

_LOOK_S: Final = 0.25
"""How often statuses and ages are looked at, in seconds, when nothing else happens."""
_DRAW_S: Final = 0.1
"""The shortest time between two drawings of the table, in seconds."""


def _checked_what(_context: click.Context, _parameter: click.Parameter, what: str) -> tuple[str, str | None]:
    """The key alone, or topic and beginning of the ids of a pattern."""
    try:
        if what.endswith(":*"):
            return parse_pattern(what)
        parse_key(what)
    except ParasyncError as error:
        raise click.BadParameter(str(error)) from None
    return what, None


@click.command(
    cls=ShownCommand,
    short_help="Show objects as they change.",
    examples=(
        "parasync watch 'config:*'                  # a live table of a topic",
        "parasync watch 'config:eu:*'",
        "parasync watch config:db --json | jq .value",
    ),
)
@click.argument("what", metavar="PATTERN|KEY", callback=_checked_what)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each change, deletion and status.")
@bus_options
def watch(what: tuple[str, str | None], as_json: bool, bus: BusOptions) -> Exit:
    """Show KEY, or all objects of a PATTERN such as 'config:*', as they change, appear and are deleted.

    On a terminal this is a live table; elsewhere, lines. The status says how sure the value is: `ok`, `refetching`, `stale`,
    `skew`. It goes on through restarts of the server and of the authority. Ctrl-C ends it.
    """
    return run_until_stopped(_watch(bus, what, as_json))


async def _watch(options: BusOptions, what: tuple[str, str | None], as_json: bool) -> None:
    url = find_url(options)
    key, prefix = what
    async with options.transport(url, "parasync watch") as bus, Follower(bus, key, prefix, time.monotonic) as follower:
        if as_json or not can_draw():
            await _print(follower, as_json)
        else:
            shown = key if prefix is None else f"{key}:{prefix}*"
            where = ", ".join(str(parse_address(each)) for each in url.split(","))
            await _draw(follower, f"{shown} at {where}   Ctrl-C ends")


async def _print(follower: Follower, as_json: bool) -> None:
    problem = ""
    while True:
        await _something(follower)
        check_reader()
        if follower.problem != problem:
            problem = follower.problem
            if problem:
                click.echo(f"parasync: {problem}", err=True)
        while follower.events:
            event = follower.events.popleft()
            click.echo(json_line(event) if as_json else line(event))
        if follower.dropped:
            dropped, follower.dropped = follower.dropped, 0
            click.echo(to_json({"event": "dropped", "count": dropped}) if as_json else f"dropped  {dropped} events")


def check_reader() -> None:
    """Raise `BrokenPipeError` when nobody reads the output any more: while nothing changes, no write would find it out."""
    if hasattr(select, "poll"):
        poller = select.poll()
        poller.register(sys.stdout.fileno(), 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0)):
            raise BrokenPipeError


async def _draw(follower: Follower, title: str) -> None:
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(board(follower, title, console, time.monotonic()), refresh=True)
            # A topic that changes all the time is drawn now and then, not all the time.
            await asyncio.sleep(_DRAW_S)
            await _something(follower)
            follower.events.clear()


async def _something(follower: Follower) -> None:
    """Wait until there may be something to show."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LOOK_S):
            await follower.woken.wait()
    follower.woken.clear()
    follower.look()
