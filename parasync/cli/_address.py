"""From the options to a connected bus: a URL that was given, a server that `serve` started, or one of our own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import click

from parasync.cli._notes import leave_note, running
from parasync.cli._options import BusOptions
from parasync.errors import ConnectError
from parasync.transports._nats_process import NatsServer, find_nats_server
from parasync.transports.nats import NatsTransport


def find_url(options: BusOptions) -> str:
    """The URL that was given, or that of the server that `serve` started last.

    Raises:
        ConnectError: there is neither.
        UsageError: the folder of the notes cannot be used.
    """
    if options.url is not None:
        return options.url
    notes = running()
    if not notes:
        raise ConnectError(
            "got no --url and no $PARASYNC_URL, and no `parasync serve` of yours runs here: give one, "
            "or start `parasync serve DIR` in another terminal, which brings its own server"
        )
    if len(notes) > 1:
        others = ", ".join(f"{note.url} ({note.folder})" for note in notes[1:])
        click.echo(f"parasync: using {notes[0].url} ({notes[0].folder}); with --url also: {others}", err=True)
    return notes[0].url


@contextlib.contextmanager
def own_server(folder: Path) -> Iterator[NatsServer]:
    """A server on a port of its own, which this user's other commands find while it runs.

    Raises:
        UsageError: there is no program to start, or the folder of the notes cannot be used.
        TransportError: the server did not start.
    """
    find_nats_server()
    with NatsServer() as server:
        note = leave_note(server.url, folder)
        try:
            yield server
        finally:
            note.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def opened_bus(options: BusOptions, url: str, command: str) -> AsyncIterator[NatsTransport]:
    """A connected transport.

    Raises:
        ConnectError: no server took us.
        UsageError: an option does not follow its grammar.
    """
    async with options.transport(url, f"parasync {command}") as bus:
        yield bus
