"""`parasync mirror`: load all objects of a topic, and save them for services that start without the network."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import parasync
from parasync import Loaded
from parasync.cli._address import find_url
from parasync.cli._asks import UNKNOWN_SCHEMA, any_topic
from parasync.cli._exits import Exit
from parasync.cli._options import BusOptions, ShownCommand, bus_options, timeout_option
from parasync.cli._render import age, printable
from parasync.cli._running import run_to_end, run_until_stopped
from parasync.cli._top import position_text
from parasync.cli._watch import check_reader
from parasync.errors import AskTimeoutError, ParasyncError
from parasync.protocol import ReplicaStatus, check_topic, parse_pattern
from parasync.runtime._census import listed
from parasync.transports.nats import NatsTransport

_LOOK_S: Final = 0.25
"""How often it is looked whether there is something to say, in seconds."""


def _checked_what(_context: click.Context, _parameter: click.Parameter, what: str) -> tuple[str, str | None]:
    """The topic, and the pattern if that is what was given."""
    try:
        return (parse_pattern(what)[0], what) if what.endswith("*") else (check_topic(what), None)
    except ParasyncError as error:
        raise click.BadParameter(str(error)) from None


def _checked_file(_context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"{path} has no place: there is no folder {path.parent}")
    return path


@click.command(
    cls=ShownCommand,
    short_help="Load all objects of a topic.",
    examples=(
        "parasync mirror config                            # goes on, and says when something changes",
        "parasync mirror config --once --save config.mirror",
        "parasync mirror 'config:eu:*' --once",
    ),
)
@click.argument("what", metavar="TOPIC|PATTERN", callback=_checked_what)
@click.option("--once", is_flag=True, help="End when all is loaded.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), callback=_checked_file, metavar="FILE",
              help="Write them to a file for `mirror(..., warm=FILE)`; if it goes on, at the end again.")  # fmt: skip
@timeout_option
@bus_options
def mirror(what: tuple[str, str | None], once: bool, save: Path | None, timeout_s: float, bus: BusOptions) -> Exit:
    """Load all objects of a TOPIC, or of a PATTERN such as 'config:eu:*', and say how many there are and how sure that is.

    On a terminal a bar shows how far the first load is. Then it goes on until Ctrl-C, and says when number or status change.
    `position` is the life of the authority (the end of its epoch) and the number of the last beat that proved all of them.
    What is saved begins a mirror of the same topic and pattern, of whatever type.
    """
    work = _mirror(bus, what, once, save, timeout_s)
    if once:
        run_to_end(work)
        return Exit.OK
    return run_until_stopped(work)


async def _mirror(
    options: BusOptions, what: tuple[str, str | None], once: bool, save: Path | None, timeout_s: float
) -> None:
    topic, pattern = any_topic(what[0], UNKNOWN_SCHEMA), what[1]
    async with options.transport(find_url(options), "parasync mirror") as bus:
        with _Bar(pattern or topic.name) as bar:
            async with parasync.mirror(topic, bus, pattern=pattern, progress=bar.advance) as copy:
                await _loaded(copy, timeout_s)
                bar.close()
                await _kept(bus, copy, once, save)


async def _loaded(copy: parasync.mirror[object], timeout_s: float) -> None:
    """Wait for the first load, however long it takes, as long as it goes on.

    Raises:
        AskTimeoutError: nothing came for `timeout_s` seconds.
    """
    while True:
        known = copy.loaded.objects
        try:
            return await copy.ready(timeout_s)
        except AskTimeoutError:
            if copy.loaded.objects == known:
                raise


async def _kept(bus: NatsTransport, copy: parasync.mirror[object], once: bool, save: Path | None) -> None:
    """Say what was loaded and save it; then the same whenever it changes, and at the end."""
    said, line = _line(bus)
    click.echo(line)
    if save is not None:
        await _saved(copy, save)
    if once:
        return
    try:
        while True:
            await asyncio.sleep(_LOOK_S)
            check_reader()
            now, line = _line(bus)
            if now != said:
                said = now
                click.echo(line)
    finally:
        if save is not None:
            await _saved(copy, save)


async def _saved(copy: parasync.mirror[object], save: Path) -> None:
    snapshot = copy.snapshot()
    await asyncio.to_thread(snapshot.save, save)
    click.echo(f"saved {_objects(len(snapshot))} to {printable(str(save))}", err=True)


def _line(bus: NatsTransport) -> tuple[tuple[object, ...], str]:
    """What the one mirror on this bus says of itself, as that of which a change is told, and for people."""
    [status] = [row for entry, where in listed() if where is bus for row in entry.statuses() if isinstance(row, ReplicaStatus)]
    [condition] = status.statuses
    proven = "never proven" if status.age_s is None else f"proven {age(status.age_s)} ago"
    text = f"{_objects(status.objects)}, {condition}, {proven}, position {position_text(status.epoch, status.beat)}"
    return (status.objects, condition), printable(f"{text}: {status.reason}" if status.reason else text)


def _objects(count: int) -> str:
    return f"{count:,} object{'' if count == 1 else 's'}"


class _Bar:
    """Shows on standard error how far the first load is; nothing where that is no terminal.

    Args:
        what: is loaded.
    """

    def __init__(self, what: str) -> None:
        console = Console(stderr=True, highlight=False)
        dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
        parts = (TextColumn("loading {task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
        self._progress = Progress(*parts, console=console, transient=True) if console.is_terminal and not dumb else None
        if self._progress is not None:
            self._task = self._progress.add_task(printable(what), total=None, count="")

    def advance(self, loaded: Loaded) -> None:
        """It went on."""
        if self._progress is not None:
            # Deleted ones are known too, and others may be written meanwhile: there may be more than were expected.
            total = None if loaded.total is None else max(loaded.total, loaded.objects)
            count = _objects(loaded.objects) if total is None else f"{loaded.objects:,} of {_objects(total)}"
            self._progress.update(self._task, completed=loaded.objects, total=total, count=count)

    def close(self) -> None:
        """Make room for what is said."""
        if self._progress is not None:
            self._progress.stop()

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
