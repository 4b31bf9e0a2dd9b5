"""`parasync get`, `put` and `delete`: one object, one request."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from parasync import ABSENT, Version
from parasync.cli._address import find_url
from parasync.cli._asks import Asker, any_topic
from parasync.cli._exits import Exit
from parasync.cli._formats import FILE_BYTES_MAX, SUFFIXES, Problem, Read, parse, parse_limited, read_file
from parasync.cli._options import BusOptions, ShownCommand, bus_options, timeout_option
from parasync.cli._render import short, to_json
from parasync.cli._running import run_to_end
from parasync.errors import ConflictError, ParasyncError
from parasync.protocol import EncodedBody, Envelope, Put, SchemaVersion, parse_key

_ABSENT_WORD: Final = "absent"


def _checked_key(_context: click.Context, _parameter: click.Parameter, key: str) -> str:
    try:
        parse_key(key)
    except ParasyncError as error:
        raise click.BadParameter(str(error)) from None
    return key


def _checked_version(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Version | None:
    if text is None or text == _ABSENT_WORD:
        return None if text is None else ABSENT
    try:
        return Version.parse(text)
    except ParasyncError as error:
        raise click.BadParameter(f"{error}; or the word {_ABSENT_WORD}") from None


def _checked_schema(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else str(SchemaVersion.parse(text))
    except ParasyncError as error:
        raise click.BadParameter(str(error)) from None


_key = click.argument("key", callback=_checked_key)
_expected = click.option(
    "--expected", metavar="VERSION", callback=_checked_version,
    help=f"Write only if the object is at this version; `{_ABSENT_WORD}`: only if there is none.",
)  # fmt: skip


@click.command(
    cls=ShownCommand,
    short_help="Print the newest value of an object.",
    examples=("parasync get config:db", "parasync get config:db | jq .port", "parasync get config:db --meta"),
)
@_key
@click.option("--meta", is_flag=True, help="Print value, version, schema version and meta as one JSON object.")
@timeout_option
@bus_options
def get(key: str, meta: bool, timeout_s: float, bus: BusOptions) -> Exit:
    """Print the newest value of KEY as JSON on standard output, and its version on standard error."""
    envelope = run_to_end(_fetched(bus, key, timeout_s))
    indent = 2 if sys.stdout.isatty() else None
    if meta:
        facts = {
            "key": key,
            "version": str(envelope.version),
            "schema": envelope.schema_version,
            "meta": dict(envelope.meta),
            "value": envelope.value,
        }
        click.echo(to_json(facts, indent=indent))
    else:
        click.echo(to_json(envelope.value, indent=indent))
        click.echo(f"version {envelope.version}", err=True)
    return Exit.OK


@click.command(
    cls=ShownCommand,
    context_settings={"ignore_unknown_options": True},
    short_help="Write an object.",
    examples=(
        """parasync put config:db '{"host": "db1", "port": 5432}'""",
        "parasync put config:db @db.toml",
        "parasync put config:db - < db.json",
        "parasync put config:db 5 --expected 1876153456287744.17   # only if nobody else wrote it since",
    ),
)
@_key
@click.argument("value")
@_expected
@click.option("--schema", metavar="MAJOR.MINOR", callback=_checked_schema,
              help="The schema version of the value; by default that of the object, or of its neighbours.")  # fmt: skip
@timeout_option
@bus_options
def put(key: str, value: str, expected: Version | None, schema: str | None, timeout_s: float, bus: BusOptions) -> Exit:
    """Write VALUE to KEY through its authority, and print the new version.

    VALUE is JSON, or - for JSON on standard input, or @FILE for a .json, .toml or .yaml file. A write that gets no answer is
    tried again until --timeout, and happens once.
    """
    read = _value_of(value)
    if isinstance(read, Problem):
        hint = "; a text needs quotes of its own: '\"text\"'" if value[:1] not in ("-", "@") else ""
        raise click.BadParameter(read.at("VALUE" if value[:1] != "@" else value[1:]) + hint, param_hint="VALUE")
    version = run_to_end(_put(bus, key, read.value, expected, schema, timeout_s))
    click.echo(str(version))
    return Exit.OK


@click.command(
    cls=ShownCommand,
    short_help="Delete an object.",
    examples=("parasync delete config:db", "parasync delete config:db --expected 1876153456287744.17"),
)
@_key
@_expected
@timeout_option
@bus_options
def delete(key: str, expected: Version | None, timeout_s: float, bus: BusOptions) -> Exit:
    """Delete KEY through its authority, and print the version of the deletion."""
    click.echo(str(run_to_end(_write(bus, Put(key, None, "1.0", expected), timeout_s))))
    return Exit.OK


async def _fetched(options: BusOptions, key: str, timeout_s: float) -> Envelope[Any]:
    async with options.transport(find_url(options), "parasync get") as bus:
        return await Asker(bus, timeout_s).fetch(key)


async def _put(
    options: BusOptions, key: str, value: object, expected: Version | None, schema: str | None, timeout_s: float
) -> Version:
    async with options.transport(find_url(options), "parasync put") as bus:
        asker = Asker(bus, timeout_s)
        known = await asker.schema(key) if schema is None else schema
        body: EncodedBody = any_topic(parse_key(key).topic, known).encode(value, bus.codec)
        return await _told(asker, Put(key, body, known, expected))


async def _write(options: BusOptions, request: Put, timeout_s: float) -> Version:
    async with options.transport(find_url(options), "parasync delete") as bus:
        return await _told(Asker(bus, timeout_s), request)


async def _told(asker: Asker, request: Put) -> Version:
    """Write, and show what is there where that is why it was not written."""
    try:
        return await asker.write(request)
    except ConflictError:
        try:
            current = await asker.fetch(request.key)
            click.echo(f"parasync: {request.key} is at {current.version}: {short(current.value)}", err=True)
        except ParasyncError:
            click.echo(f"parasync: {request.key} does not exist", err=True)
        raise


def _value_of(text: str) -> Read:
    if text == "-":
        return parse_limited(sys.stdin.buffer.read(FILE_BYTES_MAX + 1), ".json")
    if not text.startswith("@"):
        return parse(text.encode("utf-8", "surrogateescape"), ".json")
    path = Path(text[1:])
    if path.suffix.lower() not in SUFFIXES:
        return Problem(0, 0, f"expected a file that ends in one of {', '.join(sorted(SUFFIXES))}")
    try:
        return read_file(path)
    except OSError as error:
        return Problem(0, 0, f"cannot be read ({error.strerror})")
