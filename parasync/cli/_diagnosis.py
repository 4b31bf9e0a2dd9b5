"""What is wrong on a bus, judged by what everybody there says of himself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import attrs

from parasync import Status
from parasync.cli._exits import Exit
from parasync.cli._render import age
from parasync.cli._survey import Row, left_out, rows_of
from parasync.protocol import AuthorityStatus, Identity, ReplicaStatus
from parasync.transports._nats_status import Heard

CLOCK_APART_S: Final = 2.0
"""By how many seconds the clock of a process may be ahead or behind before `doctor` mentions it."""

_SEVERITY: Final = (Exit.CONFLICT, Exit.REFUSED, Exit.UNANSWERED, Exit.STALE, Exit.OK)
_KINDS: Final = {
    Exit.CONFLICT: "conflict",
    Exit.REFUSED: "refused",
    Exit.UNANSWERED: "silent",
    Exit.STALE: "stale",
    Exit.OK: "note",
}


@attrs.frozen
class Finding:
    """One thing that is wrong, or worth a note.

    Args:
        code: the exit code that stands for it; `OK` for a note.
        topic: where; "" for a process.
        process: who; "" where it is about nobody who is there.
        text: what it is, and why.
    """

    code: Exit
    topic: str
    process: str
    text: str

    @property
    def kind(self) -> str:
        """Its name."""
        return _KINDS[self.code]


def diagnose(heard: list[Heard], topics: tuple[str, ...]) -> list[Finding]:
    """All that is wrong, the worst first."""
    rows = rows_of(heard)
    by_topic: dict[str, list[Row]] = {topic: [] for topic in topics}
    for row in rows:
        by_topic.setdefault(row.topic, []).append(row)
    found = [finding for topic, there in by_topic.items() for finding in _of_topic(topic, there)]
    if not rows and not topics:
        found.append(Finding(Exit.UNANSWERED, "", "", "nobody answers on this bus"))
    found += _of_processes(heard)
    return sorted(found, key=lambda finding: (_SEVERITY.index(finding.code), finding.topic, finding.process))


def code_of(findings: list[Finding]) -> Exit:
    """The exit code for all of them."""
    return findings[0].code if findings else Exit.OK


def _of_topic(topic: str, rows: list[Row]) -> Iterator[Finding]:
    authorities = [row.status for row in rows if isinstance(row.status, AuthorityStatus)]
    serving = [row for row in rows if isinstance(row.status, AuthorityStatus) and row.status.serving]
    if not rows:
        yield Finding(Exit.UNANSWERED, topic, "", "nobody serves or reads it")
    elif not authorities:
        yield Finding(Exit.UNANSWERED, topic, "", f"no authority answers: none runs, or it hangs; {_proven(rows)}")
    elif not serving:
        yield Finding(Exit.UNANSWERED, topic, str(rows[0].who), "its authority is fenced, and no other one serves")
    for row in serving if len(serving) > 1 else ():
        text = f"{len(serving)} authorities serve it; this one since {age(row.status.uptime_s)}, epoch {row.status.epoch}"  # type: ignore[union-attr]
        yield Finding(Exit.CONFLICT, topic, str(row.who), text)
    refusers = {row.who for row in rows if isinstance(row.status, ReplicaStatus) and row.status.refusals}
    for row in rows:
        if isinstance(row.status, ReplicaStatus):
            yield from _of_replicas(row, row.status)
        else:
            yield from _of_authority(row, row.status, refusers)


def _of_authority(row: Row, status: AuthorityStatus, refusers: set[Identity]) -> Iterator[Finding]:
    """What an authority says, but for what those who are there say themselves."""
    if status.serving and status.loading:
        yield Finding(Exit.OK, status.topic, str(row.who), f"the authority is loading, for {age(status.uptime_s)}")
    for each in status.reports:
        if each.who in refusers:
            continue
        text = f"{_refusal(each.keys, each.schema_version, each.error)} of what {row.who} writes; it takes {each.accepts}"
        yield Finding(Exit.REFUSED, status.topic, str(each.who), text)
    if status.reports_left_out:
        text = f"{status.reports_left_out:,} more reports of refusals are not shown"
        yield Finding(Exit.REFUSED, status.topic, str(row.who), text)


def _of_replicas(row: Row, status: ReplicaStatus) -> Iterator[Finding]:
    who = str(row.who)
    if conflicts := status.counters.get("conflicts"):
        text = f"{conflicts:,} times it saw one version with two contents, since it began"
        yield Finding(Exit.CONFLICT, status.topic, who, text)
    for each in status.refusals:
        text = f"{_refusal(each.keys, each.schema_version, each.error)}; it takes {status.accepts}{_because(status)}"
        yield Finding(Exit.REFUSED, status.topic, who, text)
    if (stale := status.statuses.get(Status.STALE.value, 0)) and not status.refusals:
        since = "never proven" if status.age_s is None else f"not surely current for {age(status.age_s)}"
        which = "its mirror is" if status.kind == "mirror" else f"{stale:,} of {sum(status.statuses.values()):,} replicas are"
        text = f"{which} stale, {since}{_because(status)}"
        yield Finding(Exit.STALE, status.topic, who, text)
    if raised := status.counters.get("handler_errors"):
        yield Finding(Exit.OK, status.topic, who, f"listeners or cells raised {raised:,} times")


def _of_processes(heard: list[Heard]) -> Iterator[Finding]:
    libraries = defaultdict(set)
    for each in heard:
        who = str(each.status.who)
        libraries[each.status.who.library].add(who)
        if abs(each.ahead_s) > CLOCK_APART_S:
            way = "ahead of" if each.ahead_s > 0 else "behind"
            yield Finding(Exit.OK, "", who, f"its clock is {age(abs(each.ahead_s))} {way} the one here")
    if len(libraries) > 1:
        yield Finding(Exit.OK, "", "", f"several versions of parasync are there: {', '.join(sorted(libraries))}")
    if count := left_out(heard):
        yield Finding(Exit.OK, "", "", f"{count:,} authorities and topics were left out of the answers: name the topics")


def _refusal(keys: int, schema_version: str, error: str) -> str:
    why = "another schema major" if error == "SchemaSkewError" else "the value does not fit its type"
    return f"refuses {keys:,} object{'' if keys == 1 else 's'} of schema {schema_version} ({why})"


def _because(status: ReplicaStatus) -> str:
    return f"; {status.keys[0] if status.keys else status.topic}: {status.reason}" if status.reason else ""


def _proven(rows: list[Row]) -> str:
    ages = [row.status.age_s for row in rows if isinstance(row.status, ReplicaStatus) and row.status.age_s is not None]
    return f"a replica was proven {age(min(ages))} ago" if ages else "no replica was ever proven"
