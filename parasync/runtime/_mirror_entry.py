"""What others are told of a mirror: onlookers how it does, metrics what it counts, and the authority what it refuses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import attrs

from parasync.protocol import NOTE_CHARS_MAX, STATUS_KEYS_MAX, Refusing, ReplicaStatus, Status
from parasync.runtime import _census
from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._reports import Reporter
from parasync.runtime._tally import COUNTERS, most
from parasync.transports._identity import shown
from parasync.transports._protocol import SyncTransport


class MirrorEntry:
    """Lets a mirror be seen, from now until it leaves its bus.

    Args:
        seat: where the mirror is.
        topic: the name of its topic.
        accepts: the schema version that it takes.
    """

    def __init__(self, seat: MirrorSeat[Any], topic: str, accepts: str) -> None:
        self._seat = seat
        self._topic = topic
        self._accepts = accepts
        self._reporter = Reporter(seat.transport, self._refused)
        self._leave = _census.enlist(cast("SyncTransport", seat.transport), self)
        seat.refusing = self._refusing
        seat.ends.append(self._end)

    def statuses(self) -> Iterator[ReplicaStatus]:
        """How the mirror does, as one."""
        seat, core = self._seat, self._seat.core
        now_s = seat.pace.clock()
        status, age_s = seat.face.status(now_s), seat.face.age_s(now_s)
        # Without the lock: a forked child may look at what it has of its parent, where nobody would ever release it.
        epoch, base = core.rules.current_epoch, core.base
        yield ReplicaStatus(
            self._topic,
            "mirror",
            self._accepts,
            core.shown,
            {status.value: 1},
            epoch,
            base.number if base.epoch == epoch else -1,
            None if age_s == math.inf else age_s,
            "" if status is Status.OK else shown(seat.face.reason(now_s), NOTE_CHARS_MAX),
            tuple(list(core.refused)[:STATUS_KEYS_MAX]),
            self._refusals(),
            counted(seat),
        )

    def by_key(self) -> Iterator[ReplicaStatus]:
        """As `statuses`: the objects of a mirror are too many to be told apart."""
        for status in self.statuses():
            yield attrs.evolve(status, keys=())

    def _refusals(self) -> tuple[Refusing, ...]:
        return most(Counter(list(self._seat.refusals.values())))

    def _refused(self, _topic: str) -> dict[str, tuple[Refusing, ...]]:
        refusals = () if self._seat.core.rules.closed else self._refusals()
        return {self._accepts: refusals} if refusals else {}

    def _refusing(self) -> None:
        self._reporter.refused(self._topic, self._seat.loop)

    def _end(self) -> None:
        self._reporter.close()
        if _census.gone is not None:
            _census.gone.add(self._topic, "", counted(self._seat))
        self._leave()


def counted(seat: MirrorSeat[Any]) -> dict[str, int]:
    """What a mirror has counted since it was made."""
    return {name: getattr(seat if name == "handler_errors" else seat.core.rules, name) for name in COUNTERS}
