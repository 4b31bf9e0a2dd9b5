"""`parasync doctor`: what is wrong on a bus, for people and for scripts."""

from __future__ import annotations

import click

from parasync.cli._address import find_url
from parasync.cli._diagnosis import code_of, diagnose
from parasync.cli._exits import Exit
from parasync.cli._options import BusOptions, ShownCommand, bus_options
from parasync.cli._render import printable, to_json
from parasync.cli._running import run_to_end
from parasync.cli._survey import checked_topics, rows_of, spread_option, survey
from parasync.transports._nats_status import Heard


@click.command(
    cls=ShownCommand,
    short_help="Say what is wrong.",
    examples=(
        "parasync doctor && echo all is well",
        "parasync doctor config --json | jq -r .text",
    ),
)
@click.argument("topics", metavar="[TOPIC]...", nargs=-1, callback=checked_topics)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each finding.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.01, 3600), default=2.0, show_default=True, metavar="SECONDS",
              help="How long to wait for somebody to answer.")  # fmt: skip
@spread_option
@bus_options
def doctor(topics: tuple[str, ...], as_json: bool, timeout_s: float, spread_s: float, bus: BusOptions) -> Exit:
    """Say who is stale, skewed, refused, in conflict or silent on the bus, and why; for all topics, or for the TOPICs.

    The exit code names the worst: 3 for a conflict (two authorities serve a topic, or a version has two contents), 6 where
    replicas refuse what is written, 4 where nobody serves, 7 where something is stale, and 0 if all is well. Notes, e.g. of
    a clock that is wrong, change nothing.
    """
    heard = run_to_end(_looked(bus, topics, spread_s, timeout_s))
    findings = diagnose(heard, topics)
    for finding in findings:
        facts = {"kind": finding.kind, "topic": finding.topic, "process": finding.process, "text": finding.text}
        place = " ".join(filter(None, (finding.topic, finding.process)))
        click.echo(to_json(facts) if as_json else printable(f"{finding.kind:9} {f'{place}: ' if place else ''}{finding.text}"))
    code = code_of(findings)
    if code is Exit.OK and not as_json:
        processes = len({each.status.who for each in heard})
        known = len({row.topic for row in rows_of(heard)})
        told = f"{processes} process{'' if processes == 1 else 'es'}, {known} topic{'' if known == 1 else 's'}"
        click.echo(f"all is well: {told}")
    return code


async def _looked(options: BusOptions, topics: tuple[str, ...], spread_s: float, timeout_s: float) -> list[Heard]:
    async with options.transport(find_url(options), "parasync doctor") as bus:
        return await survey(bus, topics, spread_s, timeout_s)
