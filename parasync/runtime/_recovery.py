"""The one way to ask: shared by all replicas that ask the same source, one ask at a time, jittered, limited, for ever.

A need makes its replica *due*: after a little jitter, or later where asks for it follow each other. An ask that goes out takes
everybody along who has an open need. A failure delays the next attempt exponentially with full jitter; hearing the topic again
makes it prompt. Where the transport may lose messages, every replica is due once per reconcile interval, so that the loss of
a last message is noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from asyncio import Task
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeAlias

import attrs

from parasync.errors import ParasyncError
from parasync.protocol import Asked, Backoff, Envelope, Unanswered
from parasync.runtime._group import Group, History, Member
from parasync.runtime._sources import Batch, Fetched, Source

Clock: TypeAlias = Callable[[], float]
Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None], str], Task[None]]

ASK_FLOOR_S: Final = 0.01
"""Seconds between two asks of one source at the least, so that many small needs become one ask."""
JITTER_MAX_S: Final = 0.05
"""The longest random delay in seconds of an ask that no call of the user waits for."""


def monotonic_s() -> float:
    """Seconds on a clock that never goes back and, where there is one, also runs while the machine sleeps."""
    return _clock()


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_clock: Final[Clock] = _boottime if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


@attrs.frozen
class Pace:
    """How often a replica asks, and how long it waits.

    Args:
        reconcile_interval_s: seconds between two proofs of a replica whose transport may lose messages.
        ask_timeout_s: seconds that one ask may take.
        backoff_base_s: the longest first delay after a failure.
        backoff_max_s: the longest delay of all.
        clock: monotonic seconds.
        random: numbers in [0, 1), for jitter.
    """

    reconcile_interval_s: float = 30.0
    ask_timeout_s: float = 2.0
    backoff_base_s: float = 0.1
    backoff_max_s: float = 5.0
    clock: Clock = monotonic_s
    random: Callable[[], float] = random.random

    def backoff(self) -> Backoff:
        """A new backoff with these bounds."""
        return Backoff(self.backoff_base_s, self.backoff_max_s, self.random)


class Recovery:
    """Asks one source for all replicas that share it, in one task of one event loop."""

    def __init__(self, source: Source, pace: Pace, spawn: Spawn, name: str) -> None:
        self._source = source
        self._pace = pace
        self._members: dict[Member[Any], Group] = {}
        self._open: dict[Member[Any], None] = {}
        self._backoff = pace.backoff()
        self._not_before_s = -float("inf")
        self._reconcile_s = self._next_reconcile_s()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._task = spawn(self._run(), name)

    @property
    def task(self) -> Task[None]:
        """The task that asks; it ends when the last replica has left."""
        return self._task

    def add(self, member: Member[Any], group: Group) -> None:
        """Serve one more replica; its join is due at once."""
        self._members[member] = group
        self._open[member] = None
        self._wake.set()

    def remove(self, member: Member[Any]) -> bool:
        """Serve a replica no longer; returns whether nobody is left, and then the task ends. From any thread."""
        self._members.pop(member, None)
        self._in_loop(partial(self._open.pop, member, None))
        if not self._members:
            self._in_loop(self._task.cancel)
        return not self._members

    def attend(self, member: Member[Any], heard: bool) -> None:
        """Something happened to a replica; from any thread."""
        member.noticed(self._pace.clock())
        if member.need_open and (heard or member not in self._open):
            self._in_loop(partial(self._opened, member, heard))

    def demand(self, member: Member[Any]) -> None:
        """A call of the user waits: ask without jitter, and without the rest of a pause. In the loop."""
        if member in self._members:
            self._open[member] = None
            member.due_s = self._not_before_s = -float("inf")
            self._wake.set()

    def _in_loop(self, action: Callable[[], object]) -> None:
        if threading.get_ident() == self._thread:
            action()
        else:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it everything that could ask
                self._loop.call_soon_threadsafe(action)

    def _opened(self, member: Member[Any], heard: bool) -> None:
        if not member.need_open or member not in self._members:
            return
        now_s = self._pace.clock()
        if member not in self._open:
            if now_s - member.asked_s > self._pace.backoff_max_s:
                member.repeat.reset()
            pause_s = member.repeat.next_delay_s() if member.repeat.attempts else self._jitter_s()
            member.due_s = now_s + pause_s
            self._open[member] = None
        elif not heard or not self._backoff.attempts:
            return
        if heard and self._backoff.attempts:
            self._backoff.reset()
            self._not_before_s = min(self._not_before_s, now_s + self._jitter_s())
        self._wake.set()

    async def _run(self) -> None:
        while True:
            now_s = self._pace.clock()
            if now_s >= self._reconcile_s:
                self._reconcile(now_s)
            next_s = max(self._not_before_s, min((member.due_s for member in self._open), default=float("inf")))
            if next_s <= now_s:
                await self._ask(now_s)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(next_s, self._reconcile_s) - now_s):
                    await self._wake.wait()
            self._wake.clear()

    def _reconcile(self, now_s: float) -> None:
        self._reconcile_s = self._next_reconcile_s()
        for member, group in list(self._members.items()):
            if not member.lossless and member not in self._open:
                self._open[member] = None
                member.due_s = now_s
                group.doubt(member, "not proven for a reconcile interval")

    async def _ask(self, now_s: float) -> None:
        """One ask for everybody who is due, and for as many others with an open need as fit."""
        for member in [member for member in self._open if not member.need_open]:
            del self._open[member]
        members = sorted(self._open, key=lambda member: member.due_s)[: self._source.batch_max]
        if not members:
            return
        batch: Batch = [(member, member.asked()) for member in members]
        for member in members:
            member.asked_s = now_s
        self._not_before_s = now_s + ASK_FLOOR_S
        try:
            async with asyncio.timeout(self._pace.ask_timeout_s):
                fetched = await self._source.fetch(batch, self._pace.ask_timeout_s)
        except (ParasyncError, TimeoutError) as error:
            reason = str(error) or f"no answer within {self._pace.ask_timeout_s:g} s"
            for member in members:
                self._step(member, partial(_fail, member, reason))
            self._not_before_s = self._pace.clock() + self._backoff.next_delay_s()
            return
        self._backoff.reset()
        for (member, asked), found in zip(batch, fetched, strict=True):
            self._use(member, asked, found, now_s)

    def _use(self, member: Member[Any], asked: Asked, found: Fetched, asked_s: float) -> None:
        if found.epoch < member.current_epoch:
            self._step(member, partial(_fail, member, "the answer came from an authority that was deposed"))
        else:
            member.history = History(found.epoch, found.history_epoch)
            self._step(member, partial(_answer, member, asked, found, asked_s), found.outcome)
        if not member.need_open:
            self._open.pop(member, None)
        elif member in self._open:
            again_s = 0.0 if isinstance(found.outcome, Unanswered) else member.repeat.next_delay_s()
            member.due_s = self._pace.clock() + again_s

    def _step(self, member: Member[Any], rule: Callable[[object], bool | None], outcome: object = None) -> None:
        group = self._members.get(member)
        if group is not None:
            group.step(member, rule, outcome if isinstance(outcome, Envelope) else None, "answer")

    def _next_reconcile_s(self) -> float:
        return self._pace.clock() + self._pace.reconcile_interval_s * (1.0 - 0.15 * self._pace.random())

    def _jitter_s(self) -> float:
        return JITTER_MAX_S * self._pace.random()


class Attempts:
    """Asks for one replica in a program without an event loop: when it is made, when something arrives, and on `get()`."""

    def __init__(self, source: Source, pace: Pace, member: Member[Any], group: Group) -> None:
        self._source = source
        self._pace = pace
        self._member = member
        self._group = group
        self._backoff = pace.backoff()
        self._not_before_s = -float("inf")
        self._busy = threading.Lock()

    def attend(self, _heard: bool) -> None:
        """Something happened to the replica: ask now if there is a need, and it is not too early."""
        self._member.noticed(self._pace.clock())
        self.attempt()

    def attempt(self) -> None:
        """Ask if there is a need, nobody else is asking, and it is not too early."""
        member = self._member
        now_s = self._pace.clock()
        if not member.need_open or member.closed or now_s < self._not_before_s or not self._busy.acquire(blocking=False):
            return
        try:
            asked = member.asked()
            self._not_before_s = now_s + ASK_FLOOR_S
            try:
                (found,) = self._source.fetch_now([(member, asked)], self._pace.ask_timeout_s)
            except ParasyncError as error:
                self._not_before_s = self._pace.clock() + self._backoff.next_delay_s()
                self._group.step(member, partial(_fail, member, str(error)), None, "answer")
                return
            self._backoff.reset()
            envelope = found.outcome if isinstance(found.outcome, Envelope) else None
            self._group.step(member, partial(_answer, member, asked, found, now_s), envelope, "answer")
        finally:
            self._busy.release()


def _answer(member: Member[Any], asked: Asked, found: Fetched, asked_s: float, reading: object) -> bool | None:
    return member.answer_received(asked, found.outcome, reading, epoch=found.epoch, floor=found.floor, asked_s=asked_s)


def _fail(member: Member[Any], reason: str, _reading: object) -> bool:
    member.ask_failed(reason)
    return False
