"""Every state of a replica and every input: what each cell of the table comes to, and the page that shows the table.

What is right in each cell stands in `cells.py`. `python -m tests.protocol.state_table` writes the cells into the page
`docs/reference/states.md`; with `--cells` it prints what the code makes of them, to see what a changed rule changes.

The replica stands at version 2.5: sequence 5 of the second life of its authority. Where a version was refused, that is 2.6.
Between the tenth beat and the next one an answer has proven it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import attrs

from parasync.protocol import ABSENT, ABSENT_OBJECT, SAME, UNANSWERED, Outcome, Position, Replica, Version, status_of
from tests.protocol import kit
from tests.protocol.kit import Text, a_replica, live, shown, state

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "states.md"
BEGIN: Final = "<!-- cells -->\n"
WIDTHS: Final = (46, 10, 11, 16, 4)
END: Final = "<!-- end of the cells -->"
STALE_AFTER_S: Final = 60.0
PROVEN_S: Final = 980.0
ASKED_S: Final = 990.0
BEAT: Final = 10
SERVES_SINCE_S: Final = 900.0
NOW_S: Final = 1000.0
MUCH_LATER_S: Final = 2000.0
HELD: Final = state("2.5")


class Cell(NamedTuple):
    """What an input makes of a replica: its status, what it shows, which counters moved, whether a need is open."""

    status: str
    shows: str
    counted: str
    need: str


@attrs.define
class Case:
    """A replica in one of the states, with the time that its driver would tell it, and the ask that it would have sent."""

    replica: Replica[str]
    now_s: float = NOW_S

    def newest(self) -> int:
        """The newest sequence that the replica has heard of; an empty one is joining at the same place."""
        if self.replica.refused is not None:
            return self.replica.refused.position.version.sequence
        return 5 if self.replica.held is None else self.replica.held.sequence

    def known(self) -> Position:
        """Where that is."""
        if self.replica.refused is not None:
            return self.replica.refused.position
        return Position.of(HELD if self.replica.held is None else self.replica.held)

    def cell(self, before: dict[str, int]) -> Cell:
        self.replica.noticed(self.now_s)
        moved = [name for name, count in kit.counted(self.replica).items() if count > before.get(name, 0)]
        # What a version holds follows from its number, but for contradictions; those are shown with their value.
        text = (shown(self.replica) or "nothing").replace(f"=v{getattr(self.replica.held, 'version', '')}", "")
        return Cell(
            status_of(self.replica, self.now_s).name,
            text,
            " ".join(moved) or "nothing",
            "open" if self.replica.need_open else "none",
        )


Situation: TypeAlias = Callable[[], Case]
Input: TypeAlias = Callable[[Case], None]


# States


def joining(*, lossless: bool = False, askable: bool = True) -> Case:
    replica = a_replica(lossless=lossless, askable=askable, stale_after_s=STALE_AFTER_S)
    replica.current_epoch = 2
    return Case(replica)


def current(*, lossless: bool = False) -> Case:
    case = joining(lossless=lossless)
    kit.answer(case.replica, HELD, asked_s=PROVEN_S, beat=BEAT, uptime_s=PROVEN_S - SERVES_SINCE_S)
    return case


def ahead() -> Case:
    case = current()
    live(case.replica, state("2.6"))
    return case


def doubting(*, lossless: bool = False) -> Case:
    case = current(lossless=lossless)
    case.replica.need_raised("interrupted")
    return case


def failed(case: Case) -> Case:
    case.replica.asked()
    case.replica.ask_failed("no answer")
    return case


def seeded(*, lossless: bool = False, askable: bool = True) -> Case:
    case = joining(lossless=lossless, askable=askable)
    case.replica.seed_received(HELD, HELD.value)
    return case


def refusing(envelope: Text) -> Case:
    case = current()
    live(case.replica, envelope)
    return case


def old() -> Case:
    case = current()
    case.now_s = PROVEN_S + STALE_AFTER_S + 1.0
    return case


def closed() -> Case:
    case = current()
    case.replica.close()
    return case


SITUATIONS: Final[dict[str, Situation]] = {
    "Closed": closed,
    "Empty, and asking": joining,
    "Empty, and the ask failed": lambda: failed(joining()),
    "Current": current,
    "Current, and a newer version has come live": ahead,
    "Asking, since something may have been lost": doubting,
    "Stale: an unproven seed": seeded,
    "Stale: the last ask failed": lambda: failed(doubting()),
    "Stale: there is nobody to ask": lambda: seeded(askable=False),
    "Stale: the proof is old": old,
    "Skewed by another schema major": lambda: refusing(state("2.6", schema="2.0")),
    "Skewed by a value that does not pass the gate": lambda: refusing(state("2.6", "bad")),
    "In process: current": lambda: current(lossless=True),
    "In process: the last ask failed": lambda: failed(doubting(lossless=True)),
    "In process: there is nobody to ask": lambda: seeded(lossless=True, askable=False),
}


# Inputs


def comes(envelope: Text) -> Input:
    return lambda case: _live(case, envelope)


def follows(distance: int, *, after: int | None = None, value: str | None = None, schema: str = "1.0") -> Input:
    """A live envelope so far above the newest version that the replica knows; `after` counts from there too."""

    def act(case: Case) -> None:
        newest = case.newest()
        sent = state(f"2.{newest + distance}", value, after=None if after is None else newest + after, schema=schema)
        _live(case, sent)

    return act


def _live(case: Case, envelope: Text) -> None:
    live(case.replica, envelope)


def answers(outcome: Outcome, *, epoch: int = 2, floor: Version = ABSENT) -> Input:
    def act(case: Case) -> None:
        kit.answer(case.replica, outcome, epoch=epoch, floor=floor, asked_s=max(ASKED_S, case.now_s - 10.0))

    return act


def beats(
    number: int = BEAT + 1,
    *,
    names: int | None = None,
    other: bool = False,
    epoch: int = 2,
    made_s: float = 2.0,
    since: int | None = None,
    grace_s: float = 0.0,
) -> Input:
    """A beat that was made so many seconds ago; it names nothing, or a version so far above the newest known to the replica."""

    def act(case: Case) -> None:
        named = None if names is None else state(f"2.{case.newest() + names}")
        position = None if named is None else Position.of(named) if names or other else case.known()
        if other and position is not None:
            position = position._replace(checksum=1)
        uptime_s = case.now_s - made_s - SERVES_SINCE_S
        said = kit.beat_of(number, epoch=epoch, uptime_s=uptime_s, since=since)
        case.replica.beat_received(said, position, now_s=case.now_s, grace_s=grace_s)

    return act


def asking_fails(case: Case) -> None:
    case.replica.ask_failed("no answer")


def is_interrupted(case: Case) -> None:
    case.replica.need_raised("interrupted")


def ages(case: Case) -> None:
    case.now_s = MUCH_LATER_S


def is_closed(case: Case) -> None:
    case.replica.close()


INPUTS: Final[dict[str, Input]] = {
    "live: the next version": follows(1),
    "live: the next but two, two were lost": follows(3),
    "live: the next but two, two were never sent": follows(3, after=0),
    "live: an older version": comes(state("2.4")),
    "live: the held version again": comes(HELD),
    "live: the held version with other content": comes(state("2.5", "other")),
    "live: of a later life": comes(state("3.1")),
    "live: of an earlier life": comes(state("1.9")),
    "live: the next, its value does not pass": follows(1, value="bad"),
    "live: the next, of another major": follows(1, schema="2.0"),
    "answer: the same": answers(SAME),
    "answer: the held version": answers(HELD),
    "answer: the held version with other content": answers(state("2.5", "other")),
    "answer: a newer version": answers(state("2.8")),
    "answer: a version written anew by a later life": answers(state("3.6"), epoch=3),
    "answer: an older version, of the same life": answers(state("2.4")),
    "answer: an older version, by a later life": answers(state("2.4"), epoch=3),
    "answer: it was deleted": answers(ABSENT_OBJECT, floor=Version(2, 9)),
    "answer: it never existed": answers(ABSENT_OBJECT),
    "answer: 2.6, its value does not pass": answers(state("2.6", "bad")),
    "answer: 2.6, of another major": answers(state("2.6", schema="2.0")),
    "answer: no room for this object": answers(UNANSWERED),
    "answer: by an earlier life": answers(state("1.9"), epoch=1),
    "beat: it names nothing": beats(),
    "beat: it names the newest version": beats(names=0),
    "beat: it names a newer version": beats(names=1),
    "beat: the same, and there is time left": beats(names=1, grace_s=1.0),
    "beat: it names other content": beats(names=0, other=True),
    "beat: more was sent than it can name": beats(since=BEAT + 1),
    "beat: too many were lost before it": beats(BEAT + 4),
    "beat: it was heard before": beats(BEAT),
    "beat: it was made long ago": beats(made_s=90.0),
    "beat: of a later life": beats(1, epoch=3),
    "beat: of an earlier life": beats(epoch=1),
    "the ask fails": asking_fails,
    "envelopes may have been lost": is_interrupted,
    "`stale_after_s` passes": ages,
    "`close()`": is_closed,
}


def outcome_of(situation: str, given: str | None) -> Cell:
    """What the code makes of an input; without one, the state itself."""
    case = SITUATIONS[situation]()
    before = kit.counted(case.replica)
    if given is not None:
        # The ask belongs to the answer, and is no effect of it.
        before["refetches"] = case.replica.refetches + 1
        INPUTS[given](case)
    return case.cell(before)


def written(situation: str) -> str:
    """The rows of a state, in the form of `cells.py`."""
    start = outcome_of(situation, None)
    rows = [("", start), *((given, outcome_of(situation, given)) for given in inputs_of(situation))]
    return "\n".join(aligned(given, *cell) for given, cell in rows)


def aligned(*parts: str) -> str:
    return " | ".join(f"{part:{width}}" for part, width in zip(parts, WIDTHS, strict=True)).rstrip()


def inputs_of(situation: str) -> list[str]:
    """The inputs that a state can meet: where nobody can be asked, no ask is answered, none fails, and nobody beats."""
    asks = "nobody to ask" not in situation
    return [given for given in INPUTS if asks or not given.startswith(("answer:", "the ask", "beat:"))]


# The page


def rendered(cells: dict[str, dict[str, Cell]]) -> str:
    """The tables of all states, in Markdown."""
    parts: list[str] = []
    for situation, rows in cells.items():
        start = rows[""]
        need = "with a need" if start.need == "open" else "without a need"
        parts.append(f"### {situation}\n\n`{start.status}`, shows {start.shows}, {need}.\n")
        lines = ["| input | status | shows | counted | need |", "| --- | --- | --- | --- | --- |"]
        for given, cell in rows.items():
            if given:
                names = ", ".join(f"`{name}`" for name in cell.counted.split() if name != "nothing")
                lines.append(f"| {given} | `{cell.status}` | {cell.shows} | {names} | {cell.need.replace('none', '')} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def filled(page: str, cells: dict[str, dict[str, Cell]]) -> str:
    """The page with its cells as they are written down."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected {BEGIN.strip()!r} and {END!r} in the page")
    return f"{before}{begin}\n{rendered(cells)}\n{end}{after}"


def main() -> None:
    from tests.protocol.cells import CELLS

    if "--cells" in sys.argv[1:]:
        print("\n\n".join(f"[{situation}]\n{written(situation)}" for situation in SITUATIONS))
    else:
        PAGE.write_text(filled(PAGE.read_text(), CELLS))


if __name__ == "__main__":
    main()
