"""`parasync top`: every authority and every replica process on a bus, live."""

from __future__ import annotations

import asyncio
from typing import Final

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from parasync.cli._address import find_url
from parasync.cli._exits import Exit
from parasync.cli._options import BusOptions, ShownCommand, bus_options
from parasync.cli._render import age, can_draw, printable, to_json
from parasync.cli._running import run_to_end, run_until_stopped
from parasync.cli._survey import Row, checked_topics, left_out, rows_of, spread_option, survey
from parasync.errors import TransportError
from parasync.protocol import AuthorityStatus, ReplicaStatus
from parasync.transports._nats_socket import parse_address
from parasync.transports._nats_status import Heard

LISTEN_S: Final = 1.0
"""How long `top` waits for somebody to answer, in seconds, beside the spread that was asked for."""

_WIDE_COLUMNS: Final = 110
_ROOMY_COLUMNS: Final = 140
_LINES_AROUND: Final = 6
_STYLES: Final = {
    "serving": "green", "loading": "yellow", "fenced": "yellow", "ok": "green", "refetching": "yellow", "stale": "red",
    "skew": "magenta", "closed": "dim",
}  # fmt: skip


@click.command(
    cls=ShownCommand,
    short_help="Show who serves and who reads, live.",
    examples=(
        "parasync top                     # a live table of all topics",
        "parasync top config --once",
        "parasync top --once --json | jq 'select(.condition == \"stale\")'",
    ),
)
@click.argument("topics", metavar="[TOPIC]...", nargs=-1, callback=checked_topics)
@click.option("--once", is_flag=True, help="Look once, and end; so it does where the output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@click.option("--interval", "interval_s", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, metavar="SECONDS",
              help="How long to wait between two looks.")  # fmt: skip
@spread_option
@bus_options
def top(
    topics: tuple[str, ...], once: bool, as_json: bool, interval_s: float, spread_s: float, bus: BusOptions
) -> Exit:
    """Show every authority and the replicas of every process, of all topics on the bus or of the TOPICs.

    Each process answers for itself; those that hang, or may not answer, are not there. `position` is the life of the
    authority and the number of its last beat; `age` how long an authority serves, or since when the oldest replica is not
    surely current; `refused` the schema versions that replicas cannot read, and of how many objects. A narrow terminal shows
    no position.
    """
    if once or (not as_json and not can_draw()):
        run_to_end(_once(bus, topics, as_json, spread_s))
        return Exit.OK
    return run_until_stopped(_live(bus, topics, as_json, interval_s, spread_s))


async def _once(options: BusOptions, topics: tuple[str, ...], as_json: bool, spread_s: float) -> None:
    async with options.transport(find_url(options), "parasync top") as bus:
        _print(await survey(bus, topics, spread_s, LISTEN_S), as_json)


async def _live(options: BusOptions, topics: tuple[str, ...], as_json: bool, interval_s: float, spread_s: float) -> None:
    url = find_url(options)
    where = ", ".join(str(parse_address(each)) for each in url.split(","))
    console = Console(highlight=False)
    heard: list[Heard] = []
    async with options.transport(url, "parasync top") as bus:
        if as_json:
            while True:
                try:
                    _print(await survey(bus, topics, spread_s, LISTEN_S), as_json)
                except TransportError as error:
                    click.echo(f"parasync: {error}", err=True)
                await asyncio.sleep(interval_s)
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                problem = ""
                try:
                    heard = await survey(bus, topics, spread_s, LISTEN_S)
                except TransportError as error:
                    # The connection comes back by itself; meanwhile the last answers are shown.
                    problem = str(error)
                room = max(3, console.size.height - _LINES_AROUND)
                title = Text(printable(f"{where}   Ctrl-C ends"), style="bold", no_wrap=True, overflow="ellipsis")
                live.update(Group(title, Text(), *_shown(heard, console.size.width, room, problem)), refresh=True)
                await asyncio.sleep(interval_s)


def _print(heard: list[Heard], as_json: bool) -> None:
    rows = rows_of(heard)
    if as_json:
        for row in rows:
            click.echo(to_json(row.facts()))
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        # A narrow table would be cut off for a file or another program, where nobody can widen it.
        console = Console(highlight=False, width=max(console.width, 200))
    with console.capture() as printed:
        console.print(*_shown(heard, console.width, len(rows), ""), sep="\n")
    click.echo("\n".join(line.rstrip() for line in printed.get().splitlines()))


def _shown(heard: list[Heard], width: int, room: int, problem: str) -> list[Table | Text]:
    rows = rows_of(heard)
    wide = width >= _WIDE_COLUMNS
    # Topics and processes give way to the others, of which a part says nothing.
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2 if width >= _ROOMY_COLUMNS else 1, 0, 0))
    table.add_column("topic", overflow="ellipsis", no_wrap=True, max_width=width // 4)
    table.add_column("role", no_wrap=True, min_width=9)
    table.add_column("process", overflow="ellipsis", no_wrap=True, max_width=width // (6 if wide else 5))
    if wide:
        table.add_column("objects", justify="right", no_wrap=True, min_width=7)
    table.add_column("schema", no_wrap=True, min_width=6)
    if wide:
        table.add_column("position", no_wrap=True, min_width=11)
    table.add_column("age", justify="right", no_wrap=True, min_width=4)
    table.add_column("status", no_wrap=True, min_width=10)
    table.add_column("refused", overflow="ellipsis", no_wrap=True, min_width=12)
    for row in rows[:room]:
        table.add_row(*_cells(row, wide))
    notes = [Text(printable(each), style="yellow") for each in _notes(heard, rows, room, problem)]
    shown: list[Table | Text] = [table] if rows else []
    return [*shown, Text(), *notes] if notes and rows else [*shown, *notes]


def _cells(row: Row, wide: bool) -> list[Text | str]:
    status, who = row.status, row.who
    process = str(who) if wide else f"{who.program}[{who.pid}]"
    about: list[Text | str] = [Text(printable(row.topic)), row.role, Text(printable(process))]
    condition = Text(row.condition, style=_STYLES[row.condition])
    position = position_text(status.epoch, status.beat)
    if isinstance(status, AuthorityStatus):
        objects = "-" if status.objects is None else f"{status.objects:,}"
        schema, how_old, refused = status.schema_version, age(status.uptime_s), _refusers(status)
    else:
        objects = f"{status.objects:,}"
        schema, refused = status.accepts, _refused(status)
        how_old = "-" if status.age_s is None else age(status.age_s)
        every, these = sum(status.statuses.values()), status.statuses.get(row.condition, 0)
        if these != every:
            condition.append(f" {these:,}/{every:,}", style="dim")
    facts: list[Text | str] = [schema, how_old, condition, Text(refused, style="magenta")]
    return [*about, objects, schema, position, *facts[1:]] if wide else [*about, *facts]


def position_text(epoch: int, beat: int) -> str:
    """The end of the epoch, which tells lives apart, and the number of the beat."""
    return "-" if not epoch else f"…{epoch % 1_000_000:06} #{'-' if beat < 0 else beat}"


def _refused(status: ReplicaStatus) -> str:
    return ", ".join(f"{each.schema_version}: {each.keys:,}" for each in status.refusals)


def _refusers(status: AuthorityStatus) -> str:
    count = len({each.who for each in status.reports})
    more = "+" if status.reports_left_out else ""
    return f"by {count}{more} reader{'' if count == 1 and not more else 's'}" if count else ""


def _notes(heard: list[Heard], rows: list[Row], room: int, problem: str) -> list[str]:
    """What does not fit into a row."""
    notes = [problem] if problem else []
    if len(rows) > room:
        notes.append(f"… and {len(rows) - room:,} more: a taller window shows them")
    if count := left_out(heard):
        notes.append(f"… and {count:,} that processes could not tell of: name the topics")
    worst = next((row.status for row in rows if isinstance(row.status, ReplicaStatus) and row.status.reason), None)
    if worst is not None:
        notes.append(f"{worst.keys[0] if worst.keys else worst.topic}: {worst.reason}")
    return notes if rows or notes else ["nobody answers on this bus"]
