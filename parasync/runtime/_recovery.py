"""The one way to ask: shared by all replicas that ask the same source, one ask at a time, jittered, limited, for ever.

A need makes its replica *due*: after a little jitter, or later where needs of it follow each other. An ask that goes out takes
everybody along who has an open need. A failure delays the next attempt exponentially with full jitter; hearing the topic again
makes it prompt. Where the transport may lose messages, every replica is due once per reconcile interval, so that the loss of
a last message is noticed; but not while beats prove it.

One task does it all. What others have to say, from whichever thread, they note where each replica stands once, and ring.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from asyncio import Task
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeAlias

import attrs

from parasync.errors import UsageError
from parasync.protocol import UNANSWERED, Asked, Backoff, Unanswered
from parasync.runtime._bell import Bell
from parasync.runtime._group import Group
from parasync.runtime._guard import ends_this_task
from parasync.runtime._judging import failed, judge, reason_of_failure
from parasync.runtime._member import Member
from parasync.runtime._sources import Batch, Fetched, Source
from parasync.runtime._world import Clock, monotonic_s, uniform

Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None], str], Task[None]]

ASK_FLOOR_S: Final = 0.01
"""Seconds between two asks of one source at the least, so that many needs become one ask; a call that waits goes first."""
JITTER_MAX_S: Final = 0.05
"""How long an ask that no call of the user waits for is put off at the most, in seconds, unless a `Pace` says otherwise."""


@attrs.frozen
class Pace:
    """How often a replica asks, and how long it waits. Replicas of one topic with the same pace share their asks.

    Args:
        reconcile_interval_s: seconds between two proofs of a replica whose transport may lose messages, if no beats prove it.
        ask_timeout_s: seconds that one ask may take.
        beat_grace_s: seconds that a version which a beat names may take to come, before it is asked for.
        jitter_max_s: the longest random delay in seconds of an ask that no call of the user waits for. Where thousands of
            processes hear of the same restart, it is what keeps them from asking at once.
        backoff_base_s: the longest first delay after a failure.
        backoff_max_s: the longest delay of all.
        clock: monotonic seconds.
        random: numbers in [0, 1), for jitter.

    Raises:
        UsageError: a time is not a number of seconds above 0.
    """

    reconcile_interval_s: float = 30.0
    ask_timeout_s: float = 2.0
    beat_grace_s: float = 0.1
    jitter_max_s: float = JITTER_MAX_S
    backoff_base_s: float = 0.1
    backoff_max_s: float = 5.0
    clock: Clock = monotonic_s
    random: Callable[[], float] = uniform

    def __attrs_post_init__(self) -> None:
        check_seconds(self, "reconcile_interval_s", "ask_timeout_s", "beat_grace_s", "jitter_max_s")
        check_seconds(self, "backoff_base_s", "backoff_max_s")

    def backoff(self) -> Backoff:
        """A new backoff with these bounds."""
        return Backoff(self.backoff_base_s, self.backoff_max_s, self.random)


def check_seconds(options: object, *names: str) -> None:
    """Raise unless each of these attributes is a time that can be waited for.

    Raises:
        UsageError: one is not a finite number above 0.
    """
    for name in names:
        value = getattr(options, name)
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise UsageError(f"got {name}={value!r}, expected a number of seconds above 0")


DEFAULT_PACE: Final = Pace()
"""One for all who say nothing, since there may be very many."""


class Recovery:
    """Asks one source for all replicas that share it, in one task of one event loop."""

    def __init__(self, source: Source, pace: Pace, spawn: Spawn, name: str) -> None:
        self._source = source
        self.key: tuple[Any, ...] = ()
        """By what it is known to those who look for it."""
        self.refused: Callable[[], None] | None = None
        """Called when one of the replicas refuses the newest version; None where that concerns nobody."""
        self._pace = pace
        self._members: dict[Member[Any], Group] = {}
        self._open: dict[Member[Any], None] = {}
        self._doubted: dict[Member[Any], None] = {}
        self._demanded: dict[Member[Any], None] = {}
        self._awaiting: dict[Member[Any], None] = {}
        self._heard = False
        self._backoff = pace.backoff()
        self._not_before_s = self._prompted_s = -math.inf
        self._reconcile_s = self._next_reconcile_s()
        self._bell = Bell()
        self._task = spawn(self._run(), name)

    @property
    def over(self) -> bool:
        """Whether the last replica has left."""
        return not self._members

    @property
    def task(self) -> Task[None]:
        """The task that asks; it ends when the last replica has left."""
        return self._task

    def add(self, member: Member[Any], group: Group) -> None:
        """Serve one more replica; its join is due at once. In the loop."""
        self._members[member] = group
        self._open[member] = None
        self._bell.ring()

    def remove(self, member: Member[Any]) -> bool:
        """Serve a replica no longer; returns whether nobody is left, and then the task ends. From any thread."""
        self._members.pop(member, None)
        if not self._members:
            with contextlib.suppress(RuntimeError):  # the loop was closed, and the task with it
                self._bell.loop.call_soon_threadsafe(self._task.cancel)
        self._bell.ring()
        return not self._members

    def attend(self, member: Member[Any], heard: bool) -> None:
        """Something happened to a replica; from any thread."""
        member.noticed(self._pace.clock())
        silent_s = member.beats_until_s
        if member.awaited is not None or self._pace.clock() < silent_s < self._reconcile_s:
            self._awaiting[member] = None
            self._bell.ring()
        if member.need_open:
            if heard and self._backoff.attempts:
                self._heard = True
            elif member in self._open:
                return
            self._doubted[member] = None
            self._bell.ring()

    def demand(self, member: Member[Any]) -> None:
        """A call of the user waits: ask without jitter, and without the rest of a pause. From any thread."""
        self._demanded[member] = None
        self._bell.ring()

    async def _run(self) -> None:
        try:
            while self._members:
                now_s = self._pace.clock()
                look_s = self._look_again(now_s)
                self._read_notes(now_s)
                if now_s >= self._reconcile_s:
                    self._reconcile(now_s)
                next_s = max(self._not_before_s, min([member.due_s for member in list(self._open)], default=math.inf))
                if next_s <= now_s:
                    await self._ask(now_s)
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(next_s, look_s, self._reconcile_s) - now_s):
                        await self._bell.heard()
        except asyncio.CancelledError:
            self._give_up()
            raise

    def _look_again(self, now_s: float) -> float:
        """Ask for what beats named and did not come; returns when to look again, infinite for never."""
        look_s = math.inf
        for member in list(self._awaiting):
            # First out, then look: whatever happens to it in between notes it again.
            self._awaiting.pop(member, None)
            group = self._members.get(member)
            if group is not None and member.look_again_s <= now_s:
                group.look_again(member, now_s)
            if now_s < member.beats_until_s:
                self._reconcile_s = min(self._reconcile_s, member.beats_until_s)
            if group is not None and member.awaited is not None:
                self._awaiting[member] = None
                look_s = min(look_s, member.look_again_s)
        return look_s

    def _read_notes(self, now_s: float) -> None:
        """Take in what was dropped since the last look."""
        while self._doubted:
            member, _ = self._doubted.popitem()
            if member not in self._open and member.need_open and member in self._members:
                if now_s - member.doubted_s > self._pace.backoff_max_s:
                    member.repeat.reset()
                    member.due_s = now_s + self._jitter_s()
                else:
                    member.due_s = now_s + member.repeat.next_delay_s()
                member.doubted_s = now_s
                self._open[member] = None
        # Once in a while only: a topic that is heard all the time, while nobody answers, would never back off else.
        if self._heard and self._backoff.attempts and now_s - self._prompted_s >= self._pace.ask_timeout_s:
            self._prompted_s = now_s
            self._backoff.reset()
            self._not_before_s = min(self._not_before_s, now_s + self._jitter_s())
        self._heard = False
        while self._demanded:
            member, _ = self._demanded.popitem()
            if member.need_open and member in self._members:
                self._open[member] = None
                member.due_s = self._not_before_s = -math.inf

    def _reconcile(self, now_s: float) -> None:
        self._reconcile_s = self._next_reconcile_s()
        for member in list(self._members):
            group = self._members.get(member)
            # What was refused is tried again now and then: it may be that only the way of it was bad.
            if now_s < member.beats_until_s and member.refused is None:
                self._reconcile_s = min(self._reconcile_s, member.beats_until_s)
            elif group is not None and not member.lossless and member not in self._open:
                self._open[member] = None
                unheard = member.beats_until_s == -math.inf
                # Where beats fell silent, they did so for many at once.
                member.due_s = now_s if unheard else now_s + self._jitter_s()
                group.doubt(member, "not proven for a reconcile interval" if unheard else "no beat has proven it of late")

    async def _ask(self, now_s: float) -> None:
        """One ask for everybody who is due, and for as many others with an open need as fit."""
        for member in list(self._open):
            if not member.need_open or member not in self._members:
                del self._open[member]
        members = sorted(self._open, key=lambda member: member.due_s)[: self._source.batch_max]
        if not members:
            return
        batch: Batch = [(member, member.asked()) for member in members]
        self._not_before_s = now_s + ASK_FLOOR_S
        try:
            async with asyncio.timeout(self._pace.ask_timeout_s):
                fetched = await self._source.fetch(batch, self._pace.ask_timeout_s)
        except BaseException as error:
            # Transports and `refetch` are written by others, and this task must live.
            if ends_this_task(error):
                raise
            self._fail(members, reason_of_failure(error, self._pace.ask_timeout_s))
        else:
            self._backoff.reset()
            progress = any(not isinstance(found.outcome, Unanswered) for found in fetched)
            for (member, asked), found in zip(batch, fetched, strict=True):
                self._use(member, asked, found, now_s, progress)

    def _use(self, member: Member[Any], asked: Asked, found: Fetched, asked_s: float, progress: bool) -> None:
        group = self._members.get(member)
        if group is None:
            return
        judge(member, group, asked, found, asked_s)
        if not member.need_open:
            self._open.pop(member, None)
        else:
            at_once = progress and found.outcome == UNANSWERED
            member.doubted_s = self._pace.clock()
            member.due_s = member.doubted_s + (0.0 if at_once else member.repeat.next_delay_s())

    def _fail(self, members: list[Member[Any]], reason: str) -> None:
        self._not_before_s = max(self._not_before_s, self._pace.clock() + self._backoff.next_delay_s())
        for member in members:
            if group := self._members.get(member):
                group.step(member, partial(failed, member, reason), None, "answer")

    def _give_up(self) -> None:
        """The loop or the transport ends: say so, and let those who wait see it."""
        for member in list(self._members):
            group = self._members.get(member)
            if group is not None and member.need_open:
                reason = "nobody asks any more: the transport or the event loop was closed"
                group.step(member, partial(failed, member, reason), None, "answer")
            for wake in member.watchers:
                wake()

    def _next_reconcile_s(self) -> float:
        return self._pace.clock() + self._pace.reconcile_interval_s * (1.0 - 0.15 * self._pace.random())

    def _jitter_s(self) -> float:
        return self._pace.jitter_max_s * self._pace.random()
