"""What `watch` shows: a live table, lines for people, or lines of JSON for programs."""

from __future__ import annotations

import math
from typing import Any, Final

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from parasync import Status
from parasync.cli._follow import Event, Followed, Follower
from parasync.cli._render import age, printable, short, to_json

STATUS_STYLES: Final = {
    Status.OK: "green",
    Status.REFETCHING: "yellow",
    Status.STALE: "red",
    Status.SKEW: "magenta",
    Status.CLOSED: "dim",
}
_FRESH_S: Final = 1.0
"""How long a value that changed is shown in bold, in seconds."""

_WIDE_COLUMNS: Final = 110
_NARROW_COLUMNS: Final = 60
"""Below it there is room for the key, the status and the value, and for nothing else."""
_LINES_AROUND: Final = 6


def board(follower: Follower, title: str, console: Console, now_s: float) -> Group:
    """The live table; as many rows as the screen has room for."""
    rows = sorted(follower.rows.values(), key=lambda row: row.key)
    room = max(3, console.size.height - _LINES_AROUND)
    wide = console.size.width >= _WIDE_COLUMNS
    # What is left of the width is for the values; a long one must not squeeze the others.
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), expand=True)
    table.add_column("key", overflow="ellipsis", no_wrap=True, max_width=max(16, console.size.width // 3))
    narrow = console.size.width < _NARROW_COLUMNS
    if not narrow:
        table.add_column("version", no_wrap=True)
        table.add_column("age", justify="right", no_wrap=True, min_width=4)
    table.add_column("status", no_wrap=True, min_width=10)
    if not narrow:
        table.add_column("changes", justify="right", no_wrap=True)
    table.add_column("value", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows[:room]:
        key, version, how_old, status, changes, value = _cells(row, wide, now_s)
        table.add_row(*((key, status, value) if narrow else (key, version, how_old, status, changes, value)))
    head = Text(printable(title), style="bold", no_wrap=True, overflow="ellipsis")
    return Group(head, Text(), table, *_notes(follower, rows, room))


def line(event: Event) -> str:
    """An event for a person who reads a log."""
    row, change = event.row, event.change
    if event.what == "status":
        reason = row.replica.reason
        return printable(f"{row.status.value:8} {row.key}{': ' + reason if reason else ''}")
    if change is None or change.deleted:
        return printable(f"{event.what:8} {row.key}{f' {change.version}' if change is not None else ''}")
    skipped = f" (skipped {change.skipped})" if change.skipped else ""
    return printable(f"{'value':8} {row.key} {change.version}{skipped} ") + short(change.new)


def json_line(event: Event) -> str:
    """An event for a program."""
    row, change = event.row, event.change
    facts: dict[str, Any] = {"event": event.what, "key": row.key}
    if change is not None:
        facts |= {"version": str(change.version), "skipped": change.skipped, "cause": change.cause}
        if not change.deleted:
            facts["value"] = change.new
    facts |= {"status": row.replica.status.value}
    if event.what == "status":
        age_s = row.replica.age_s
        facts |= {"reason": row.replica.reason, "age_s": round(age_s, 3) if math.isfinite(age_s) else None}
    return to_json(facts)


def _cells(row: Followed, wide: bool, now_s: float) -> tuple[Text | str, ...]:
    snapshot = row.replica.snapshot()
    fresh = row.changes > 1 and now_s - row.changed_s < _FRESH_S
    version = "-" if snapshot.version is None or row.absent else str(snapshot.version)
    if not wide and len(version) > 12:
        version = f"…{version[-11:]}"
    if snapshot.deleted:
        value = Text("does not exist" if row.absent else "deleted", style="dim")
    elif snapshot.version is None:
        value = Text("")
    else:
        value = Text(short(snapshot.value), style="bold" if fresh else "")
    return (
        Text(printable(row.key), style="dim" if snapshot.deleted else ""),
        version,
        age(snapshot.age_s),
        Text(snapshot.status.value, style=STATUS_STYLES[snapshot.status]),
        f"{row.changes:,}",
        value,
    )


def _notes(follower: Follower, rows: list[Followed], room: int) -> list[Text]:
    """What does not fit into a row: what is not shown, and why something is not as it should be."""
    notes = []
    if len(rows) > room:
        more = f"… and {len(rows) - room:,} more: a taller window shows them"
        notes.append(Text(more, style="dim", no_wrap=True, overflow="ellipsis"))
    if follower.left_out:
        notes.append(Text(f"… and at least {len(follower.left_out):,} that are not followed", style="dim"))
    said = follower.problem or next((row.replica.reason for row in rows if row.replica.reason), "")
    if said:
        notes.append(Text(printable(said), style="yellow"))
    elif not rows:
        notes.append(Text("no object yet", style="dim"))
    return [Text(), *notes] if notes else []
