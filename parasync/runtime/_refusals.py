"""What replicas elsewhere refuse, as an authority was told: bounded, forgotten when nobody repeats it, logged now and then."""

from __future__ import annotations

import logging
from typing import Final

import attrs

from parasync.protocol import Identity, Noted, Refusing, Report, Reported
from parasync.runtime._reports import REPORT_INTERVAL_S
from parasync.runtime._world import Clock

REPORTERS_MAX: Final = 1024
"""How many reports of different connections an authority keeps; others are not noted while there are so many."""
FORGET_AFTER_S: Final = 3 * REPORT_INTERVAL_S
"""How long a report counts that is not repeated, in seconds."""

logger: Final = logging.getLogger("parasync")


@attrs.frozen
class _Told:
    """What one connection said last."""

    who: Identity
    accepts: str
    refusals: tuple[Refusing, ...]
    since: dict[tuple[str, str], float]
    at_s: float


class Refusals:
    """What the replicas of one topic refuse.

    Args:
        topic: the name of the topic.
        clock: monotonic seconds.
        wall_clock: seconds since 1970.
    """

    def __init__(self, topic: str, clock: Clock, wall_clock: Clock) -> None:
        self._topic = topic
        self._clock = clock
        self._wall_clock = wall_clock
        self._told: dict[str, _Told] = {}
        self._log_at_s = -REPORT_INTERVAL_S
        self._unsaid = False

    def note(self, report: Report) -> Noted:
        """Take note of a report."""
        now_s = self._clock()
        self._forget(now_s)
        before = self._told.pop(report.sender, None)
        if report.refusals and len(self._told) < REPORTERS_MAX:
            wall_s = self._wall_clock()
            known = {} if before is None else before.since
            since = {kind: known.get(kind, wall_s) for kind in map(_kind, report.refusals)}
            self._told[report.sender] = _Told(report.who, report.accepts, report.refusals, since, now_s)
            self._unsaid |= since.keys() != known.keys()
        if self._unsaid and now_s >= self._log_at_s:
            self._log(now_s)
        return Noted()

    def reported(self) -> tuple[Reported, ...]:
        """What is refused now: that of the most objects first."""
        self._forget(self._clock())
        found = [
            Reported(told.who, told.accepts, each.schema_version, each.error, each.keys, told.since[_kind(each)])
            for told in self._told.values()
            for each in told.refusals
        ]
        return tuple(sorted(found, key=lambda each: (-each.keys, each.since)))

    def _forget(self, now_s: float) -> None:
        for sender, told in list(self._told.items()):
            if now_s - told.at_s > FORGET_AFTER_S:
                # Metrics are read from a thread of their own.
                self._told.pop(sender, None)

    def _log(self, now_s: float) -> None:
        """Say the worst of it in one line; what comes soon after is said later, with all else."""
        self._log_at_s = now_s + REPORT_INTERVAL_S
        self._unsaid = False
        found = self.reported()
        if found:
            worst = found[0]
            logger.warning(
                "%d of those who read %r refuse it, e.g. %s: %d objects of schema %s (%s), while it takes %s",
                len({told.who for told in self._told.values()}),
                self._topic,
                worst.who,
                worst.keys,
                worst.schema_version,
                worst.error,
                worst.accepts,
            )


def _kind(refusing: Refusing) -> tuple[str, str]:
    return refusing.schema_version, refusing.error
