"""How a replica asks in a program without an event loop."""

from __future__ import annotations

import math
import threading
from functools import partial
from typing import Any

from parasync.protocol import age_of
from parasync.runtime._group import Group
from parasync.runtime._judging import failed, judge, reason_of_failure
from parasync.runtime._member import Member
from parasync.runtime._recovery import ASK_FLOOR_S, Pace
from parasync.runtime._sources import Source


class Attempts:
    """Asks for one replica: when it is made, when something arrives for it, and when it is read. From any thread."""

    def __init__(self, source: Source, pace: Pace, member: Member[Any], group: Group) -> None:
        self._source = source
        self._pace = pace
        self._member = member
        self._group = group
        self._backoff = pace.backoff()
        self._not_before_s = -math.inf
        self._busy = threading.Lock()

    def attend(self, _heard: bool) -> None:
        """Something happened to the replica: ask now if there is a need, and it is not too early."""
        self._member.noticed(self._pace.clock())
        self.attempt()

    def read(self) -> None:
        """Somebody reads: ask if there is a need, or if the last proof is too old, which no task is there to notice."""
        member = self._member
        if not member.need_open and age_of(member, self._pace.clock()) > member.stale_after_s:
            self._group.doubt(member, "not proven for too long")
        else:
            self.attempt()

    def attempt(self) -> None:
        """Ask if there is a need, nobody else is asking, and it is not too early."""
        member = self._member
        now_s = self._pace.clock()
        if not member.need_open or member.closed or now_s < self._not_before_s or not self._busy.acquire(blocking=False):
            return
        try:
            self._ask(now_s)
        finally:
            self._busy.release()

    def _ask(self, now_s: float) -> None:
        member, timeout_s = self._member, self._pace.ask_timeout_s
        asked = member.asked()
        self._not_before_s = now_s + ASK_FLOOR_S
        try:
            (found,) = self._source.fetch_now([(member, asked)], timeout_s)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # transports and `refetch` are written by others
            self._group.step(member, partial(failed, member, reason_of_failure(error, timeout_s)), None, "answer")
        else:
            judge(member, self._group, asked, found, now_s)
        if not member.need_open:
            self._backoff.reset()
        else:
            self._not_before_s = max(self._not_before_s, self._pace.clock() + self._backoff.next_delay_s())
