"""How a mirror asks: one task, one ask at a time, jittered, limited, for ever.

A need makes a round due: after a little jitter, or later where needs follow each other. A round is asked page by page; a page
that fails delays the next attempt exponentially with full jitter, and the round goes on where it stood. Where the transport may
lose messages, a round is due once per reconcile interval, but not while beats prove the mirror.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from asyncio import Task
from typing import Any, Final, NamedTuple

from parasync.errors import EncodeError
from parasync.protocol import Compare, Response, Round, Scan
from parasync.runtime._bell import Bell
from parasync.runtime._guard import ends_this_task
from parasync.runtime._judging import reason_of_failure
from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._recovery import ASK_FLOOR_S
from parasync.runtime._sources import ASK_BYTES_MAX

SCAN_OVERHEAD_BYTES: Final = 8192
"""What a scan may need beside the objects that it names: the prefix, the buckets and where the range begins and ends."""
SPREAD_WITHOUT_PAUSE_MAX: Final = 4096
"""How many objects are spread over the buckets of a round before other tasks of the loop get their turn."""
TOMBSTONES_MAX: Final = 1024
"""Where nothing is lost, a mirror that remembers more deletions than this asks now and then which of them it may forget."""
FORGET_INTERVAL_S: Final = 3600.0
"""The shortest time in seconds between two such asks."""


class _Ahead(NamedTuple):
    """An ask under way."""

    request: Compare | Scan
    task: Task[Response | Exception]


class Mirroring:
    """Asks for one mirror, in the loop of its bus.

    Args:
        seat: where the mirror is.
        topic: whom to ask.
    """

    def __init__(self, seat: MirrorSeat[Any], topic: str) -> None:
        self._seat = seat
        self._topic = topic
        self._pace = seat.pace
        self._backoff = seat.pace.backoff()
        self._repeat = seat.pace.backoff()
        self._again = seat.pace.backoff()
        self._bytes_max: int = max(1024, getattr(seat.transport, "body_bytes_max", ASK_BYTES_MAX) - SCAN_OVERHEAD_BYTES)
        self._heard = self._demanded = False
        self._due_s: float | None = -math.inf
        self._ended_s = self._not_before_s = self._prompted_s = -math.inf
        self._reconcile_s = self._next_reconcile_s()
        self._bell = Bell()
        self._ahead: _Ahead | None = None
        self.task: Task[None] = seat.transport.spawn(self._run(), f"parasync-mirror {seat.name}")
        seat.attend, seat.ended = self.attend, self.end

    def attend(self, heard: bool) -> None:
        """Something happened to the mirror; from any thread."""
        self._seat.core.rules.noticed(self._pace.clock())
        if heard and self._backoff.attempts:
            self._heard = True
        self._bell.ring()

    def end(self) -> None:
        """Ask no more; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop was closed, and the task with it
            self._seat.loop.call_soon_threadsafe(self.task.cancel)

    def demand(self) -> None:
        """A call of the user waits: ask without jitter, and without the rest of a pause. From any thread."""
        self._demanded = True
        self._bell.ring()

    async def _run(self) -> None:
        core = self._seat.core
        rules = core.rules
        try:
            while not rules.closed:
                now_s = self._pace.clock()
                if core.look_again_s <= now_s:
                    self._seat.look_again(now_s)
                if now_s < rules.beats_until_s:
                    self._reconcile_s = min(self._reconcile_s, rules.beats_until_s)
                if now_s >= self._reconcile_s:
                    self._reconcile(now_s)
                next_s = self._next_s(now_s)
                if next_s <= now_s:
                    await self._ask(now_s)
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(next_s, core.look_again_s, self._reconcile_s) - now_s):
                        await self._bell.heard()
        except BaseException:
            self._seat.failed("nobody asks any more: the transport or the event loop was closed")
            raise
        finally:
            self._drop()

    def _next_s(self, now_s: float) -> float:
        """When to ask next, infinite for never."""
        if self._heard and self._backoff.attempts and now_s - self._prompted_s >= self._pace.ask_timeout_s:
            # Once in a while only: a topic that is heard all the time, while nobody answers, would never back off else.
            self._prompted_s = now_s
            self._backoff.reset()
            self._not_before_s = min(self._not_before_s, now_s + self._jitter_s())
        self._heard = False
        if not self._seat.core.rules.need_open:
            self._due_s = None
            self._demanded = False
            return math.inf
        if self._due_s is None:
            if now_s - self._ended_s > self._pace.backoff_max_s:
                self._repeat.reset()
                self._due_s = now_s + self._jitter_s()
            else:
                self._due_s = now_s + self._repeat.next_delay_s()
        if self._demanded:
            self._demanded = False
            self._due_s = self._not_before_s = -math.inf
        return max(self._not_before_s, self._due_s)

    def _reconcile(self, now_s: float) -> None:
        self._reconcile_s = self._next_reconcile_s()
        rules = self._seat.core.rules
        # What was refused is tried again now and then: it may be that only the way of it was bad.
        if now_s < rules.beats_until_s and not self._seat.core.refused:
            self._reconcile_s = min(self._reconcile_s, rules.beats_until_s)
        elif not rules.lossless and not rules.need_open:
            unheard = rules.beats_until_s == -math.inf
            if unheard:
                self._due_s = now_s  # the interval is jittered already
            self._seat.doubt("not proven for a reconcile interval" if unheard else "no beat has proven it of late")
        elif now_s - self._ended_s >= FORGET_INTERVAL_S and len(self._seat.core.tombstones) > TOMBSTONES_MAX:
            self._seat.doubt("many deletions are remembered")

    async def _ask(self, now_s: float) -> None:
        """One ask of the round that is under way, or the first of a new one."""
        seat, core = self._seat, self._seat.core
        with seat.lock:
            asking = core.round or core.asked(now_s)
        if asking.unplanned:
            await self._plan(asking)
        passes = asking.passes
        self._not_before_s = now_s + ASK_FLOOR_S
        try:
            if self._ahead is None:
                self._send()
            request, response = await self._answer()
            await seat.take(request, response, self._send)
        except BaseException as error:
            # Transports are written by others, and this task must live.
            if ends_this_task(error):
                raise
            if isinstance(error, EncodeError):
                # A bus that does not say what fits refuses so many keys: fewer next time.
                self._bytes_max = max(1024, self._bytes_max // 2)
            self._not_before_s = max(self._not_before_s, self._pace.clock() + self._backoff.next_delay_s())
            seat.failed(reason_of_failure(error, self._pace.ask_timeout_s))
        else:
            self._backoff.reset()
            self._went_on(passes)
        seat.advanced()

    async def _plan(self, asking: Round) -> None:
        """Spread what is known over the buckets, and let others have their turns meanwhile."""
        with self._seat.lock:
            known = self._seat.core.known()
        spread = asking.spread(())
        for begin in range(0, len(known), SPREAD_WITHOUT_PAUSE_MAX):
            asking.spread(known[begin : begin + SPREAD_WITHOUT_PAUSE_MAX], spread)
            await asyncio.sleep(0)
        with self._seat.lock:
            asking.plan(spread)

    def _send(self) -> None:
        """Ask what the round asks next; the answer to the last ask may be learned meanwhile."""
        seat, timeout_s = self._seat, self._pace.ask_timeout_s
        with seat.lock:
            request = seat.core.request(self._pace.clock(), self._bytes_max)

        async def ask() -> Response | Exception:
            try:
                async with asyncio.timeout(timeout_s):
                    return await seat.transport.ask(self._topic, request, timeout_s)
            except Exception as error:  # noqa: BLE001  # it is raised where the answer is waited for
                return error

        self._ahead = _Ahead(request, asyncio.get_running_loop().create_task(ask(), name="parasync-ask"))

    async def _answer(self) -> tuple[Compare | Scan, Response]:
        """The answer to what was sent last, with what that was."""
        assert self._ahead is not None  # noqa: S101
        request, task = self._ahead
        try:
            response = await task
        finally:
            self._drop()
        if isinstance(response, Exception):
            raise response
        return request, response

    def _drop(self) -> None:
        """Wait for no answer any more."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.task.cancel()

    def _went_on(self, passes: int) -> None:
        """An answer was taken in: go on with the round at once, unless it has to begin again with what was left open."""
        asking = self._seat.core.round
        if asking is None:
            self._again.reset()
            self._ended_s = self._pace.clock()
            self._due_s = None
            if self._seat.face.age_s(self._ended_s) > self._seat.core.rules.stale_after_s:
                self._seat.doubt("it took too long to prove much")
        else:
            pause_s = self._again.next_delay_s() if asking.passes != passes else 0.0
            self._due_s = self._not_before_s = self._pace.clock() + pause_s

    def _next_reconcile_s(self) -> float:
        return self._pace.clock() + self._pace.reconcile_interval_s * (1.0 - 0.15 * self._pace.random())

    def _jitter_s(self) -> float:
        return self._pace.jitter_max_s * self._pace.random()
