"""`parasync replay`: what a replica took in, step by step, up to the bad state."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from parasync import Topic
from parasync.cli._exits import Exit
from parasync.cli._options import ShownCommand
from parasync.cli._selection import Selection, Until
from parasync.cli._steps import details, gap_line, head_lines, json_of, line
from parasync.runtime._records import FIELDS
from parasync.runtime._replay import Step

_FOUND_BY: Final = ("status", "version", "input", "gate", "key", "step", *FIELDS)


def _checked_until(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Until | None:
    try:
        if text is None:
            return None
        if text.endswith("s"):
            limit_s = float(text.removesuffix("s"))
            return lambda step, begun_s: step.wall_s - begun_s > limit_s
        limit = int(text)
    except ValueError:
        raise click.BadParameter(f"got {text!r}, expected a step such as 812, or a time such as 12.5s") from None
    return lambda step, _: step.number > limit


def _checked_find(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, _, wanted = text.partition("=")
    if name not in _FOUND_BY or not wanted:
        raise click.BadParameter(f"got {text!r}, expected FIELD=VALUE with one of {', '.join(_FOUND_BY)}")
    return name, wanted.lower()


def _checked_topic(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Topic[Any] | None:
    if text is None:
        return None
    module, _, name = text.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001 -- the module is the user's, and may raise anything
        raise click.BadParameter(f"{text} cannot be loaded ({type(error).__name__}), expected MODULE:NAME") from None
    if not isinstance(found, Topic):
        raise click.BadParameter(f"got a {type(found).__name__} at {text}, expected a Topic")
    return found


@click.command(
    cls=ShownCommand,
    short_help="Step through what a replica recorded.",
    examples=(
        "parasync replay ada.rec",
        "parasync replay ada.rec --find status=stale     # up to the first moment at which it was stale",
        "parasync replay ada.rec --until 812 --step",
        "parasync replay ada.rec --json | jq -c 'select(.differs != [])'",
        "parasync replay ada.rec --topic contract:USERS  # would the types of today have helped?",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--until", metavar="STEP|TIME", callback=_checked_until,
              help="End after this step, or this long after the beginning, e.g. 12.5s.")
@click.option("--find", metavar="FIELD=VALUE", callback=_checked_find,
              help="End at the first step that leads to this, e.g. status=stale or gaps=1.")
@click.option("--key", metavar="KEY", help="Show the steps of this object only.")
@click.option("--step", "by_step", is_flag=True, help="Show one step at a time, with all that the rules know.")
@click.option("--values", is_flag=True, help="Show values too; they may be secret.")
@click.option("--topic", metavar="MODULE:NAME", callback=_checked_topic,
              help="Let the gate of this topic read the values again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each step.")  # fmt: skip
def replay(
    file: Path,
    until: Until | None,
    find: tuple[str, str] | None,
    key: str | None,
    by_step: bool,
    values: bool,
    topic: Topic[Any] | None,
    as_json: bool,
) -> Exit:
    """Step through FILE, which a `Recorder` wrote: what each replica took in, and what came of it.

    The rules of a replica take each input again. A step at which they come to something else than was recorded is marked.
    """
    told = Selection(file, topic, until, find, key)
    console = Console(highlight=False, soft_wrap=True)
    if by_step:
        _walk(told, values, console)
    else:
        for step in told:
            if as_json:
                click.echo(json_of(step, values=values))
                continue
            for text in _lines(told, step, values):
                _say(console, text)
    for note in told.notes():
        click.echo(f"parasync: {note}", err=True)
    if told.damage is not None:
        raise told.damage
    return Exit.ABSENT if told.failed else Exit.OK


def _say(console: Console, text: Text) -> None:
    """Print a line; a pipe takes lines faster than a console does, and one that is closed has to be noticed."""
    if console.is_terminal:
        console.print(text)
    else:
        click.echo(text.plain)


def _lines(told: Selection, step: Step, values: bool) -> Iterator[Text]:
    """The lines of the table for a step."""
    if step is told.first:
        yield from [Text(text, "bold") for text in head_lines(step)]
    if step.missing:
        yield Text(gap_line(step), "yellow")
    yield line(step, told.begun_s, alone=told.alone, values=values)


def _walk(told: Selection, values: bool, console: Console) -> None:
    """Show one step at a time, as lines are typed."""
    steps, place = iter(told), 0
    seen: list[Step] = []
    while True:
        while place >= len(seen) and (step := next(steps, None)) is not None:
            seen.append(step)
        if not seen:
            return
        at_end, place = place >= len(seen), min(place, len(seen) - 1)
        console.clear()
        for text in details(seen[place], told.begun_s, values=values):
            _say(console, text)
        last = "the last step   " if at_end else ""
        _say(console, Text(f"\n{last}Enter next   b back   q quit   or the number of a step", "dim"))
        typed = sys.stdin.readline()
        word = typed.strip().lower()
        if word == "q" or not typed:
            return
        if word.isdecimal():
            while seen[-1].number < int(word) and (step := next(steps, None)) is not None:
                seen.append(step)
            place = min(range(len(seen)), key=lambda each: abs(seen[each].number - int(word)))
        else:
            place = max(0, place - 1) if word == "b" else place + 1
