"""`parasync serve`: publish the files of a folder."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Final

import click
from watchfiles import awatch

from parasync import Topic, Version
from parasync.cli._address import own_server
from parasync.cli._exits import Exit
from parasync.cli._folder import VANISHED_GRACE_S, Folder, Told
from parasync.cli._options import BusOptions, ShownCommand, bus_options
from parasync.cli._render import printable
from parasync.cli._running import run_until_stopped
from parasync.cli._writes import FolderWriter
from parasync.errors import ParasyncError, TransportError
from parasync.protocol import SchemaVersion
from parasync.transports._nats_process import NatsServer
from parasync.transports._nats_socket import parse_address

RESCAN_S: Final = 2.0
"""How often the folder is looked through although nothing was reported, in seconds: some file systems report nothing."""

_STEP_MS: Final = 20
_DEBOUNCE_MS: Final = 200


def _checked_schema(_context: click.Context, _parameter: click.Parameter, schema: str) -> str:
    try:
        return str(SchemaVersion.parse(schema))
    except ParasyncError as error:
        raise click.BadParameter(str(error)) from None


@click.command(
    cls=ShownCommand,
    short_help="Publish the files of a folder, and every edit.",
    examples=(
        "parasync serve conf                        # with a server of its own, which the other commands find",
        "parasync serve conf --url nats://bus:4222",
        "parasync serve conf --read-only            # `parasync put` is refused",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--read-only", is_flag=True, help="Refuse writes of others (`parasync put`); otherwise they change the files.")
@click.option("--schema", default="1.0", show_default=True, metavar="MAJOR.MINOR", callback=_checked_schema,
              help="The schema version that readers expect.")  # fmt: skip
@bus_options
def serve(folder: Path, read_only: bool, schema: str, bus: BusOptions) -> Exit:
    """Publish every .json, .toml, .yaml and .yml file below DIR as an object, and each edit, new file and deletion at once.

    The first folder below DIR is the topic, the rest of the path without the suffix the id: DIR/config/eu/db.toml is the
    object config:eu:db. A file directly in DIR is an object without id: DIR/limits.yaml is limits. A file that cannot be read
    is reported with its line, and the last good version stays. Ctrl-C ends it.
    """
    logging.getLogger("parasync").setLevel(logging.INFO)
    if bus.url is not None:
        return run_until_stopped(_serve(folder, read_only, schema, bus, bus.url, None))
    with own_server(folder.absolute()) as server:
        return run_until_stopped(_serve(folder, read_only, schema, bus, server.url, server))


async def _serve(
    root: Path, read_only: bool, schema: str, options: BusOptions, url: str, server: NatsServer | None
) -> None:
    said = Told(_published, _deleted, _complained)
    writer = None if read_only else _writer
    async with (
        options.transport(url, f"parasync serve {root}") as bus,
        Folder(root, bus, schema=schema, told=said, writer=writer) as folder,
    ):
        changed = asyncio.Event()
        # Watching begins before the first look, so that nothing falls between.
        watching = asyncio.create_task(_watch(root, changed), name="watch a folder")
        try:
            again = await folder.sync()
            with contextlib.suppress(TransportError):
                # Only then it is true for others, too.
                await bus.flush()
            click.echo(_welcome(folder, url, server is not None), err=True)
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(VANISHED_GRACE_S if again else RESCAN_S):
                        await changed.wait()
                changed.clear()
                if server is not None and not server.running:
                    await asyncio.to_thread(_restart, server)
                again = await folder.sync()
        finally:
            watching.cancel()
            await asyncio.wait([watching])


async def _watch(root: Path, changed: asyncio.Event) -> None:
    """Set `changed` whenever something below the root changes, for as long as the operating system tells."""
    told = False
    while True:
        try:
            async for _ in awatch(
                root, watch_filter=None, step=_STEP_MS, debounce=_DEBOUNCE_MS, ignore_permission_denied=True, recursive=True
            ):
                changed.set()
                told = False
        except (OSError, RuntimeError) as error:
            if not told:
                _complained(f"changes of {root} are not reported ({error}); looking every {RESCAN_S:g} s instead")
                told = True
        await asyncio.sleep(RESCAN_S)


def _restart(server: NatsServer) -> None:
    _complained("the server has ended; starting it again")
    server.start()


def _writer(folder: Folder, topic: Topic[object]) -> FolderWriter:
    return FolderWriter(folder, topic)


def _welcome(folder: Folder, url: str, own: bool) -> str:
    objects = sum(entry.digest is not None for entry in folder.entries.values())
    topics = sorted(folder.owners)
    named = f": {', '.join(topics[:5])}{', …' if len(topics) > 5 else ''}" if topics else ""
    # A URL may hold a password, which has no business on a screen.
    url = ",".join(parse_address(each).url for each in url.split(","))
    lines = [f"serving {_count(objects, 'object')} of {_count(len(topics), 'topic')}{named}"]
    lines.append(f"at {url}" + (", a server of its own, which ends with this command" if own else ""))
    if topics:
        address = "" if own else f" --url {url}"
        lines.append(f"try in another terminal: parasync watch '{topics[0]}:*'{address}")
    return "\n".join(printable(line) for line in lines)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _published(key: str, version: Version, path: str, new: bool) -> None:
    click.echo(printable(f"{'new    ' if new else 'changed'} {key} {version} ({path})"))


def _deleted(key: str, version: Version) -> None:
    click.echo(printable(f"deleted {key} {version}"))


def _complained(text: str) -> None:
    click.echo(printable(f"parasync: {text}"), err=True)
