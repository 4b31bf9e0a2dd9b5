"""The command line of the benchmarks: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from benchmarks import (
    b1_in_process,
    b2_throughput,
    b3_latency,
    b4_read,
    b5_load,
    b6_many,
    b7_fan_out,
    b8_overload,
    b9_currency,
    b10_growth,
    instructions,
    machine,
    outcome,
    plots,
    report,
)
from benchmarks.contest import Result, Scenario, Size, hold

SCENARIOS: Final[dict[str, Scenario]] = {
    module.SCENARIO.name: module.SCENARIO
    for module in (
        b1_in_process,
        b2_throughput,
        b3_latency,
        b4_read,
        b5_load,
        b6_many,
        b7_fan_out,
        b8_overload,
        b9_currency,
        b10_growth,
    )
}
ROUNDS: Final = 15
QUICK_ROUNDS: Final = 3
QUICK_SCALE: Final = 0.2


def main(arguments: Sequence[str]) -> None:
    """Run the scenarios and keep the results, or render those that were kept."""
    options = _parser().parse_args(arguments)
    if options.action == "report":
        _render()
        return
    if options.action == "instructions":
        table = instructions.table(instructions.counted())
        report.PAGE.write_text(report.between(report.PAGE.read_text(), "instructions", table))
        print(table)
        return
    names = list(SCENARIOS) if options.only is None else options.only.upper().split(",")
    if unknown := set(names) - set(SCENARIOS):
        sys.exit(f"got {', '.join(sorted(unknown))}, expected some of {', '.join(SCENARIOS)}")
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    # Only a whole run replaces the results that are shown: what is compared comes from one run.
    whole = not options.quick and names == list(SCENARIOS)
    data: outcome.Data = {
        "command": " ".join(["python -m benchmarks", *arguments]),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "rounds": rounds,
        "machine": machine.described(),
        "versions": machine.versions(),
        "scenarios": [_run(SCENARIOS[name], rounds, Size(QUICK_SCALE if options.quick else 1.0)) for name in names],
    }
    path = outcome.LATEST if whole or options.keep else outcome.FOLDER / "local-latest.json"
    if options.keep and not whole:
        data = outcome.kept(outcome.read(), data)
    outcome.written(path, data)
    path.with_suffix(".md").write_text(report.markdown(data))
    plots.plotted(data, outcome.FOLDER, "" if whole or options.keep else "local-")
    print(f"\n{report.summary(data)}")
    if whole or options.keep:
        _render()


def _run(scenario: Scenario, rounds: int, size: Size) -> outcome.Data:
    found: list[Result] = []
    with scenario.cases(size) as cases:
        for case in cases:
            start = perf_counter()
            found.append(hold(case, rounds))
            print(f"{scenario.name}, {case.title}: {rounds} rounds in {perf_counter() - start:.0f} s", flush=True)
            for name, reason in case.absent.items():
                print(f"    without {name}: {reason}")
    return outcome.of_scenario(scenario, found)


def _render() -> None:
    data = outcome.read()
    outcome.LATEST.with_suffix(".md").write_text(report.markdown(data))
    report.PAGE.write_text(report.filled(report.PAGE.read_text(), data))
    plots.plotted(data, outcome.FOLDER)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Compare parasync with its peers, in turns.")
    actions = ["run", "report", "instructions"]
    explained = "report: render the last whole run; instructions: count what a message takes, by part"
    parser.add_argument("action", nargs="?", choices=actions, default="run", help=explained)
    parser.add_argument("--only", metavar="B1,B4", help="run only these scenarios")
    parser.add_argument("--rounds", type=int, help=f"how many turns each contestant takes ({ROUNDS}; {QUICK_ROUNDS} if quick)")
    keeps = "publish the results of some scenarios beside those of the last whole run"
    parser.add_argument("--keep", action="store_true", help=keeps)
    parser.add_argument("--quick", action="store_true", help="a fifth of the work: to look, not to publish")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
