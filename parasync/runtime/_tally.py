"""Many replicas as one line: how many are in which status, where they are, what they refuse and what they have counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from parasync.protocol import (
    NOTE_CHARS_MAX,
    REFUSALS_MAX,
    STATUS_KEYS_MAX,
    Refusing,
    ReplicaStatus,
    Status,
    age_of,
    reason_of,
    status_of,
)
from parasync.runtime._member import Member
from parasync.transports._identity import shown

COUNTERS = (
    "applied", "ignored_stale", "gaps", "parse_errors", "schema_skews", "refetches", "refetch_failures", "resets", "conflicts",
    "handler_errors",
)  # fmt: skip


class Tally:
    """Takes in replicas of one topic that accept one schema version."""

    def __init__(self, topic: str, accepts: str) -> None:
        self._topic = topic
        self._accepts = accepts
        self._objects: set[str] = set()
        self._statuses: Counter[str] = Counter()
        self._refusals: Counter[tuple[str, str]] = Counter()
        self._counters: Counter[str] = Counter()
        self._epoch = 0
        self._beat = -1
        self._age_s = 0.0
        self._reason = ""
        self._keys: dict[str, None] = {}

    def add(self, member: Member[Any]) -> None:
        """Take in one more."""
        now_s = member.clock()
        status = status_of(member, now_s)
        self._statuses[status.value] += 1
        self._age_s = max(self._age_s, age_of(member, now_s))
        if member.key not in self._objects:
            self._objects.add(member.key)
            count_refusal(self._refusals, member)
        base = member.base
        if member.current_epoch > self._epoch:
            self._epoch, self._beat = member.current_epoch, -1
        if base.epoch == self._epoch:
            self._beat = max(self._beat, base.number)
        if status is not Status.OK and len(self._keys) < STATUS_KEYS_MAX:
            self._keys[member.key] = None
            self._reason = self._reason or shown(reason_of(member, now_s), NOTE_CHARS_MAX)
        count(self._counters, member)

    def status(self) -> ReplicaStatus:
        """All of them as one."""
        return ReplicaStatus(
            self._topic,
            "synced",
            self._accepts,
            len(self._objects),
            dict(self._statuses),
            self._epoch,
            self._beat,
            None if self._age_s == math.inf else self._age_s,
            self._reason,
            tuple(self._keys),
            most(self._refusals),
            dict(self._counters),
        )


def count(counters: Counter[str], member: Member[Any]) -> None:
    """Add what a replica has counted."""
    for name in COUNTERS:
        counters[name] += getattr(member, name)


def count_refusal(refusals: Counter[tuple[str, str]], member: Member[Any]) -> None:
    """Add what a replica refuses, if it does."""
    refusal = member.refusal
    if member.refused is not None and refusal is not None and not member.closed:
        refusals[refusal] += 1


def most(refusals: Counter[tuple[str, str]]) -> tuple[Refusing, ...]:
    """The kinds of refusals of the most objects."""
    return tuple(Refusing(*kind, keys) for kind, keys in refusals.most_common(REFUSALS_MAX))


def refused_by(members: Iterable[Member[Any]]) -> dict[str, tuple[Refusing, ...]]:
    """For each schema version that is accepted, what those who accept it refuse."""
    found: dict[str, Counter[tuple[str, str]]] = {}
    seen: set[tuple[str, str]] = set()
    for member in members:
        if member.refused is not None and (member.key, member.accepts) not in seen:
            seen.add((member.key, member.accepts))
            count_refusal(found.setdefault(member.accepts, Counter()), member)
    return {accepts: most(refusals) for accepts, refusals in found.items() if refusals}
