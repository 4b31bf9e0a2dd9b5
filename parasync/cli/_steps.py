"""What `replay` shows of a step: a line of its table, all that is known of it, or JSON."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any, Final

from rich.text import Text

from parasync import MsgpackCodec, Version
from parasync.cli._board import STATUS_STYLES
from parasync.cli._render import printable, short, to_json
from parasync.errors import DecodeError
from parasync.protocol import Absent, Envelope, Kind, Same
from parasync.runtime._replay import Step

_COUNTERS: Final = {
    "ignored_stale": "ignored as stale",
    "gaps": "a gap",
    "parse_errors": "refused again",
    "schema_skews": "refused again",
    "resets": "another life of the authority",
    "conflicts": "a conflict: one version with two contents",
}
_PLACES: Final = {
    "confirmed": (),
    "awaited": ("until_s",),
    "held": ("kind", "schema", "checksum"),
    "refused": ("checksum", "reason"),
}
"""The facts that are versions, and what stands behind each."""
_REFUSALS: Final = ("parse_errors", "schema_skews")
_CODEC: Final = MsgpackCodec()


def head_lines(first: Step) -> list[str]:
    """What stands above the steps."""
    return [f"recorded from {_moment(first.wall_s)}", f"{'step':>6}  {'time':>12}  {'status':10}  input: what came of it"]


def line(step: Step, begun_s: float, *, alone: bool, values: bool) -> Text:
    """A step as one line.

    Args:
        step: the step.
        begun_s: when the recording begins, in seconds since 1970.
        alone: whether no other replica has been seen in the recording.
        values: whether to show values.
    """
    number = "" if step.kind in ("begin", "time") else str(step.number)
    name = step.key if alone else f"{step.key} #{step.place}"
    name = "" if alone and step.kind != "begin" else f"{name} " if step.kind == "begin" else f"{name}: "
    effects = "; ".join(_effects(step))
    text = Text(f"{number:>6}  {step.wall_s - begun_s:>+10.6f} s  ")
    text.append(f"{step.status.value:10}", style=STATUS_STYLES[step.status])
    text.append(printable(f"  {name}{_input(step, values)}{': ' if effects else ''}{effects}"))
    if step.differs:
        text.append(f"; DIFFERS from the recording: {', '.join(step.differs)}", style="bold red")
    return text


def gap_line(step: Step) -> str:
    """What stands before a step where steps are missing."""
    return f"        steps that were not recorded: {step.missing:,}"


def details(step: Step, begun_s: float, *, values: bool) -> list[Text]:
    """All that the rules know after a step; what the step changed is marked."""
    lines = [line(step, begun_s, alone=False, values=values), Text()]
    for name, fact in step.state.items():
        changed = fact != step.before[name]
        was = f"   was {_shown(name, step.before[name])}" if changed else ""
        text = printable(f" {'*' if changed else ' '} {name:17} {_shown(name, fact)}{was}")
        lines.append(Text(text, "bold" if changed else ""))
    if step.status_reason:
        lines.append(Text(printable(f"   {'reason':17} {step.status_reason}")))
    if values and step.held is not None:
        lines.append(Text(f"   {'value':17} {short(value_of(step.held.body))}"))
    return lines


def json_of(step: Step, *, values: bool) -> str:
    """A step as one line of JSON."""
    facts: dict[str, Any] = {
        "step": step.number,
        "time": _moment(step.wall_s),
        "at_s": step.at_s,
        "key": step.key,
        "replica": step.place,
        "input": step.kind,
    }
    if step.outcome is not None:
        facts["came"] = _outcome(step)
    if step.asked is not None:
        facts["asked_with"] = None if step.asked.position is None else str(step.asked.position.version)
    for name, fact in (("gate", step.told), ("why", step.reason), ("missing", step.missing)):
        facts |= {name: fact} if fact else {}
    facts |= {"status": step.status.value, "reason": step.status_reason}
    facts["shows"] = None if step.state["held"] is None else _version(step.state["held"])
    if step.change is not None:
        facts["change"] = {"skipped": step.change.skipped, "cause": step.change.cause, "deleted": step.change.deleted}
    if values and step.held is not None:
        facts["value"] = value_of(step.held.body)
    facts["state"] = {name: _plain(name, fact) for name, fact in step.state.items()}
    return to_json(facts | {"differs": step.differs})


def fact_of(step: Step, name: str) -> str | None:
    """What `--find` compares: a fact of a step in words; None if there is no such fact."""
    about = {"status": step.status.value, "input": step.kind, "key": step.key, "step": str(step.number), "gate": step.told}
    if name in about:
        return about[name]
    if name == "version":
        name = "held"
    return _shown(name, step.state[name]) if name in step.state else None


def value_of(body: bytes | None) -> object:
    """What is known of a value."""
    if body is None:
        return "(not recorded)"
    try:
        return _CODEC.decode_body(body)
    except DecodeError:
        return f"({len(body):,} bytes of another codec)"


def _input(step: Step, values: bool) -> str:
    if step.kind == "asked":
        return f"asks, holding {_position(step)}"
    if step.kind in ("live", "seed", "answer"):
        came = _outcome(step)
        if isinstance(step.outcome, Envelope) and values and step.outcome.kind is Kind.STATE:
            came += f" {short(value_of(step.outcome.value.body), 60)}"
        return f"{step.kind} {came}" + (f", asked holding {_position(step)}" if step.kind == "answer" else "")
    words = {"begin": "stands here", "time": "time passes", "need": "need", "noticed": "doubts from now on"}
    words |= {"passed": "time passes", "beat": step.reason}
    return {"failed": "the ask failed", "closed": "closed"}.get(step.kind, words.get(step.kind, step.kind))


def _effects(step: Step) -> list[str]:
    before, now = step.before, step.state
    said = []
    if step.kind == "begin":
        said.append(f"holding {_shown('held', now['held'])}")
    if step.change is not None:
        skipped = f", skipped {step.change.skipped}" if step.change.skipped else ""
        said.append(f"shown{skipped}")
    refused = now["refused"] not in (None, before["refused"])
    said += [text for name, text in _COUNTERS.items() if now[name] != before[name] and not (refused and name in _REFUSALS)]
    if now["refused"] != before["refused"]:
        said.append("nothing is refused any more" if now["refused"] is None else f"refused: {now['refused'][-1]}")
    if step.kind == "failed" or now["failed"] != before["failed"]:
        said.append(now["failed"] or "asks work again")
    if now["needs_raised"] != before["needs_raised"]:
        said.append(now["need_reason"] if step.kind == "need" else f"need: {now['need_reason']}")
    if now["needs_closed"] != before["needs_closed"]:
        said.append("proven" if now["proven_s"] != before["proven_s"] else "no doubt is left")
    if now["awaited"] not in (None, before["awaited"]):
        said.append(f"waits for {_version(now['awaited'])}")
    if step.kind == "beat" and not said:
        said.append("proven" if now["proven_s"] != before["proven_s"] else "of no use")
    if step.kind in ("time", "begin") and step.status_reason:
        said.append(step.status_reason)
    if step.kind == "answer" and not said:
        said.append("confirmed" if now["proven_s"] != before["proven_s"] else "of no use")
    return said


def _outcome(step: Step) -> str:
    outcome = step.outcome
    if isinstance(outcome, Envelope):
        epoch, sequence = outcome.version
        after = "" if outcome.after is None or outcome.after == sequence - 1 else f", sent after {outcome.after}"
        return f"{epoch}.{sequence}{' (deleted)' if outcome.kind is Kind.TOMBSTONE else ''}{after}"
    return "same" if isinstance(outcome, Same) else "absent" if isinstance(outcome, Absent) else "left out"


def _position(step: Step) -> str:
    return "nothing" if step.asked is None or step.asked.position is None else str(step.asked.position.version)


def _version(held: tuple[Any, ...]) -> str:
    return str(Version(*held[:2]))


def _plain(name: str, fact: Any) -> Any:
    if name not in _PLACES or fact is None:
        return fact
    names = _PLACES[name]
    return {"version": _version(fact), **dict(zip(names, fact[2:], strict=True))}


def _shown(name: str, fact: Any) -> str:
    if name == "base":
        return "none" if fact[0] < 0 else f"beat {fact[1]} of {fact[0]}"
    if name in _PLACES:
        return "nothing" if fact is None else _version(fact)
    if isinstance(fact, float):
        return "never" if math.isinf(fact) else f"{fact:.6f}"
    return {None: "-", True: "yes", False: "no"}.get(fact, str(fact)) if isinstance(fact, bool | None) else str(fact)


def _moment(wall_s: float) -> str:
    return dt.datetime.fromtimestamp(wall_s, dt.UTC).isoformat(timespec="microseconds")
