"""From the options to a connected bus: a URL that was given, a server that `serve` started, or one of our own."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from parasync.cli._options import BusOptions
from parasync.errors import ConnectError, TransportError
from parasync.transports._nats_process import NatsServer, find_nats_server

PORT_MIN: Final = 14_222
"""The lowest port at which `serve` starts a server of its own."""
PORTS: Final = 1000


def find_url(options: BusOptions) -> str:
    """The URL that was given, or that of the server that `serve` started last.

    Raises:
        ConnectError: there is neither.
        UsageError: the folder of the notes cannot be used.
    """
    if options.url is not None:
        return options.url
    from parasync.cli._notes import running

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
    from parasync.cli._notes import leave_note

    find_nats_server()
    server = NatsServer(port=_usual_port(folder))
    try:
        server.start()
    except TransportError:
        # Somebody else is at that port.
        server = NatsServer().start()
    try:
        note = leave_note(server.url, folder)
        try:
            yield server
        finally:
            note.unlink(missing_ok=True)
    finally:
        server.stop()


def _usual_port(folder: Path) -> int:
    """The same for a folder each time, so that whoever still looks there finds the next server."""
    return PORT_MIN + zlib.crc32(str(folder).encode("utf-8", "surrogateescape")) % PORTS
