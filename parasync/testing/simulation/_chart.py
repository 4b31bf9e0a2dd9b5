"""A sequence chart of the steps of a simulation: as text for a terminal, and for Mermaid."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Final, TypeAlias

import attrs

from parasync.testing.simulation._course import Step, StepKind

WIDTH: Final = 120
"""How many columns a chart has, unless told otherwise."""
WIDTH_MIN: Final = 40
"""The fewest columns that a chart has, whatever it is told."""
ROWS_MAX: Final = 80
"""About how many steps are shown, unless told otherwise; of a longer course those that come before a broken promise are."""
QUIET_WEIGHT: Final = 3
"""How much farther away from a broken promise a fault or a loss may be than a message, to be shown as well."""
AFTER_WEIGHT: Final = 4
"""How much nearer to a broken promise a step must be that comes after it than one that comes before it."""
TEXT_COLUMNS_MIN: Final = 40
"""How many columns are kept for what is said of a step; what is left is for the lifelines."""
NAME_COLUMNS_MAX: Final = 24
"""The longest name that stands at the head of its lifeline; with longer ones, all are numbered."""

_TIME_COLUMNS: Final = 12
_NUMBER: Final = re.compile("[0-9]+")
_SAID: Final[dict[StepKind, str]] = {"message": "", "note": "", "lost": "lost: ", "fault": "fault: ", "violation": "BROKEN: "}


@attrs.frozen
class _Gap:
    """Steps that are not shown."""

    steps: Sequence[Step]

    def __str__(self) -> str:
        kinds = sorted(Counter(step.kind for step in self.steps).items())
        what = ", ".join(f"{count} {kind}{'s' if count > 1 and kind != 'lost' else ''}" for kind, count in kinds)
        return f"{len(self.steps)} steps left out, {self.steps[-1].at_s - self.steps[0].at_s:.3f} s: {what}"


_Row: TypeAlias = Step | _Gap


@attrs.frozen
class _Signs:
    """What a chart is drawn with."""

    line: str
    begin: str
    end: str
    dash: str
    lost_dash: str
    lost: str
    right: str
    left: str
    cross: str
    gap: str
    cut: str
    marks: dict[StepKind, str]


_DRAWN: Final = _Signs(
    *("│", "├", "┤", "─", "╌", "╳", "►", "◄", "┼", "⋮", "…"),
    {"message": "•", "lost": "╳", "note": "•", "fault": "◆", "violation": "█"},
)
_TYPED: Final = _Signs(
    *("|", "+", "+", "-", "-", "x", ">", "<", "+", ":", "..."),
    {"message": "*", "lost": "x", "note": "*", "fault": "!", "violation": "#"},
)


def text_chart(steps: Sequence[Step], *, width: int = WIDTH, rows_max: int = ROWS_MAX, only_ascii: bool = False) -> str:
    """Draw steps as lines of text: the time, a lifeline for each party with arrows between them, and what happened.

    Args:
        steps: in order.
        width: how many columns there are; what is longer is cut.
        rows_max: about how many steps to show; the others are counted. All where 0.
        only_ascii: draw without any other character.
    """
    signs = _TYPED if only_ascii else _DRAWN
    width = max(width, WIDTH_MIN)
    rows = _excerpt(steps, rows_max)
    names = _parties(rows)
    places, head = _heads([_clean(name, only_ascii) for name in names], width, signs)
    lanes = dict(zip(names, places, strict=False))
    drawn = [_drawn(row, lanes, signs, only_ascii) for row in rows]
    return "\n".join(_cut(line, width, signs.cut).rstrip() for line in (*head, *drawn))


def mermaid_chart(steps: Sequence[Step], *, rows_max: int = ROWS_MAX) -> str:
    """Write steps as a `sequenceDiagram` of Mermaid.

    Args:
        steps: in order.
        rows_max: about how many steps to show; the others are counted. All where 0.
    """
    rows = _excerpt(steps, rows_max)
    names = {name: f"p{number}" for number, name in enumerate(_parties(rows), 1)}
    lines = ["sequenceDiagram", *(f"    participant {ident} as {_escaped(name, also=':')}" for name, ident in names.items())]
    everybody = ",".join(dict.fromkeys([*list(names.values())[:1], *list(names.values())[-1:]]))
    for row in rows:
        if isinstance(row, _Gap):
            lines.append(f"    Note over {everybody}: {_escaped(str(row))}")
            continue
        source, target = names[row.source], names[row.target]
        text = _escaped(f"{row.at_s:.3f} s {_SAID[row.kind]}{row.text}")
        over = source if source == target else f"{source},{target}"
        if row.kind in ("message", "lost") and source != target:
            lines.append(f"    {source}{'-x' if row.kind == 'lost' else '->>'}{target}: {text}")
        elif row.kind == "violation":
            lines += ["    rect rgb(255, 205, 205)", f"    Note over {over}: {text}", "    end"]
        else:
            lines.append(f"    Note over {over}: {text}")
    return "\n".join(lines)


def _excerpt(steps: Sequence[Step], rows_max: int) -> list[_Row]:
    """The steps to show, with what is left out in between: the nearer to a broken promise or to the end, the rather shown."""
    chosen = set(range(len(steps)))
    if 0 < rows_max < len(steps):
        first = next((place for place, step in enumerate(steps) if step.kind == "violation"), len(steps) - 1)
        chosen = set(sorted(chosen, key=lambda place: (_distance(steps[place], place, first), place))[:rows_max])
    rows: list[_Row] = []
    for shown, run in groupby(range(len(steps)), key=lambda place: place in chosen):
        found = [steps[place] for place in run]
        # To say that one step is left out takes as much room as the step.
        rows += found if shown or len(found) == 1 else [_Gap(found)]
    return rows


def _distance(step: Step, place: int, first: int) -> int:
    if step.kind == "violation":
        return 0
    distance = first - place if place <= first else (place - first) * AFTER_WEIGHT
    return distance * (QUIET_WEIGHT if step.kind in ("message", "note") else 1)


def _parties(rows: Sequence[_Row]) -> list[str]:
    """Who is seen, by name, and by number where that is all that differs."""
    seen = {name for row in rows if isinstance(row, Step) for name in (row.source, row.target)}
    return sorted(seen, key=lambda name: (_NUMBER.sub(lambda found: f"{len(found[0]):03}{found[0]}", name), name))


def _heads(names: Sequence[str], width: int, signs: _Signs) -> tuple[list[int], list[str]]:
    """The column of each lifeline, and the lines above them. No columns where there is no room for lifelines."""
    room = width - min(TEXT_COLUMNS_MIN, width // 3)
    time = f"{'time':>{_TIME_COLUMNS - 2}}  "
    longest = max([1, *map(_cells, names)])
    for gap in (4, 2) if longest <= NAME_COLUMNS_MAX else ():
        if (places := _places([max(_cells(name), 1) + gap for name in names])) and places[-1] <= room:
            return places[:-1], [_above(time, places, names)]
    if longest <= NAME_COLUMNS_MAX and (places := _places([(longest + 3) // 2] * len(names)))[-1] <= room:
        # On two lines in turn: each name has the room of two.
        return places[:-1], [_above("", places[::2], names[::2]), _above(time, places[1::2], names[1::2])]
    numbers = [str(number) for number in range(1, len(names) + 1)]
    for gap in (4, 2):
        if (places := _places([len(number) + gap for number in numbers]))[-1] <= room:
            listed = [f"{number} {_cut(name, width - 8, signs.cut)}" for number, name in zip(numbers, names, strict=True)]
            return places[:-1], [*_filled(listed, width), _above(time, places, numbers)]
    return [], [time]


def _places(widths: Sequence[int]) -> list[int]:
    """Where each column begins, and where the last one ends."""
    return [_TIME_COLUMNS + begin for begin in accumulate(widths, initial=0)]


def _above(begin: str, places: Sequence[int], names: Sequence[str]) -> str:
    for place, name in zip(places, names, strict=False):
        begin += " " * (place - _cells(begin)) + name
    return begin


def _filled(listed: Sequence[str], width: int) -> list[str]:
    lines: list[str] = []
    for each in listed:
        if lines and _cells(lines[-1]) + _cells(each) + 2 <= width:
            lines[-1] += f", {each}"
        else:
            lines.append(each)
    return lines


def _drawn(row: _Row, lanes: dict[str, int], signs: _Signs, only_ascii: bool) -> str:
    right = max(lanes.values(), default=_TIME_COLUMNS - 3)
    text = str(row) if isinstance(row, _Gap) else f"{_SAID[row.kind]}{row.text}"
    if isinstance(row, Step) and not lanes and row.source != row.target:
        text = f"{row.source} {signs.dash}{signs.lost if row.kind == 'lost' else signs.right} {row.target}: {text}"
    elif isinstance(row, Step) and not lanes:
        text = f"{row.source}: {text}"
    cells = [" "] * (right + 1)
    for place in lanes.values():
        cells[place] = signs.gap if isinstance(row, _Gap) else signs.line
    time = f"{signs.gap:>{_TIME_COLUMNS - 2}}"
    if isinstance(row, Step):
        time = f"{row.at_s:{_TIME_COLUMNS - 4}.3f} s"
        if lanes:
            _draw(cells, row, lanes[row.source], lanes[row.target], signs)
    return f"{time}{''.join(cells)[len(time) :]}  {_clean(text, only_ascii)}"


def _draw(cells: list[str], step: Step, source: int, target: int, signs: _Signs) -> None:
    """Put one step between or upon the lifelines."""
    if source == target:
        cells[source] = signs.marks[step.kind]
        return
    left, right = sorted((source, target))
    lost = step.kind == "lost"
    for place in range(left + 1, right):
        cells[place] = signs.cross if cells[place] == signs.line else signs.lost_dash if lost else signs.dash
    if step.kind not in ("message", "lost"):
        cells[source] = cells[target] = signs.marks[step.kind]
        return
    cells[source] = signs.begin if source < target else signs.end
    if lost:
        _lose(cells, source, target, signs)
    else:
        cells[target - 1 if source < target else target + 1] = signs.right if source < target else signs.left


def _lose(cells: list[str], source: int, target: int, signs: _Signs) -> None:
    """End an arrow halfway."""
    middle = (source + target) // 2
    if cells[middle] == signs.cross:
        middle += 1 if target < source else -1
    for place in range(min(middle, target), max(middle, target) + 1):
        if place != target:
            cells[place] = signs.line if cells[place] == signs.cross else " "
    cells[middle] = signs.lost


def _clean(text: str, only_ascii: bool) -> str:
    """A text without what a terminal would obey."""
    shown = text.replace("…", "...") if only_ascii else text
    return "".join(each if each.isprintable() and (each.isascii() or not only_ascii) else _named(each) for each in shown)


def _named(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _cells(text: str) -> int:
    """How many columns a text takes at the most."""
    return len(text) + sum(unicodedata.east_asian_width(each) in "WF" for each in text if not each.isascii())


def _cut(text: str, width: int, cut: str) -> str:
    """The beginning of a text that fits."""
    if _cells(text) <= width:
        return text
    while _cells(text) > width - len(cut):
        text = text[: -max(1, (_cells(text) - width) // 2)]
    return text + cut


def _escaped(text: str, also: str = "") -> str:
    """A text that Mermaid shows as it is: all that might mean something to it is written as a number."""
    shown = _clean(text, only_ascii=False)
    return "".join(each if each not in also and _harmless(each) else f"#{ord(each)};" for each in shown)


def _harmless(character: str) -> bool:
    return character.isalnum() or character in " .,:_-+*/()[]='!?@|…"
