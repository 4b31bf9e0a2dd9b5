"""All replicas of one key on one transport: one subscription, one lock, and one step for those that move in lockstep.

The lock is held for the swaps only; no user code runs under it. Listeners are called after it, in the order of versions for
each replica: the thread that made the first of several overlapping steps calls them for all. A listener that blocks therefore
delays only the later steps of its own replica, and the publishing call that it runs in.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from parasync.protocol import (
    ABSENT,
    OTHER_CONTENT,
    UNREAD,
    Backoff,
    Envelope,
    GapPolicy,
    Held,
    Reader,
    Replica,
    Unreadable,
    prepare_reading,
)
from parasync.runtime._views import Cause, Change, change_between, merge
from parasync.transports._protocol import SyncTransport, Unsubscribe

T = TypeVar("T")

logger: Final = logging.getLogger("parasync")

LISTENER_PENDING_MAX: Final = 1024
"""How many changes wait for a listener that is still busy in another thread; beyond, the newest are merged into one."""


class Listener:
    """One subscription to the changes of one replica."""

    __slots__ = ("active", "call")

    def __init__(self, call: Callable[[Change[Any]], None]) -> None:
        self.call = call
        self.active = True


class Member(Replica[T], Generic[T]):
    """A replica with its listeners, and with what its recovery notes of it.

    `attend(heard)` is called, without the lock, after each input that may have opened or closed a need; `heard` says whether
    the input came live.
    """

    __slots__ = ("asked_s", "attend", "draining", "due_s", "history", "key", "listeners", "pending", "repeat", "watchers")

    def __init__(
        self, key: str, read: Reader[T], repeat: Backoff, *, lossless: bool, askable: bool, gap: GapPolicy, stale_after_s: float
    ) -> None:
        super().__init__(read, lossless=lossless, askable=askable, gap=gap, stale_after_s=stale_after_s)
        self.key = key
        self.listeners: tuple[Listener, ...] = ()
        self.draining = False
        self.pending: deque[Turn] = deque()
        self.watchers: tuple[Callable[[], None], ...] = ()
        self.attend: Callable[[bool], None] = _nothing
        self.repeat = repeat
        self.due_s = self.asked_s = -math.inf
        self.history = History(0, 0)


class History(NamedTuple):
    """What the last answer said: the epoch of its author, and the epoch since which nothing was lost."""

    told_by: int
    history_epoch: int


Turn: TypeAlias = tuple[Change[Any], tuple[Listener, ...]]
"""A change, and those who listened when it was made."""
Call: TypeAlias = tuple[Member[Any], Turn]


class Group:
    """The replicas of one key on one transport."""

    __slots__ = ("_lock", "_unsubscribe", "key", "members")

    def __init__(self, key: str) -> None:
        self.key = key
        self.members: tuple[Member[Any], ...] = ()
        self._lock = threading.Lock()
        self._unsubscribe: Unsubscribe | None = None

    def join(self, member: Member[Any], transport: SyncTransport) -> None:
        """Add a replica; the first one subscribes."""
        with self._lock:
            self.members = (*self.members, member)
        if self._unsubscribe is None:
            try:
                self._unsubscribe = transport.subscribe(self.key, self.deliver, self.interrupted)
            except BaseException:
                self.members = ()
                raise

    def leave(self, member: Member[Any]) -> bool:
        """Remove a replica, at once; the last one unsubscribes. Returns whether it was the last."""
        with self._lock:
            member.close()
            self.members = tuple(other for other in self.members if other is not member)
        for listener in member.listeners:
            listener.active = False
        for wake in member.watchers:
            wake()
        if self.members or self._unsubscribe is None:
            return not self.members
        self._unsubscribe()
        return True

    def deliver(self, envelope: Envelope[Any]) -> None:
        """A live envelope came; called by the transport."""
        members = self.members
        if not members:
            return
        read = members[0].read
        reading = prepare_reading(members[0], envelope)
        plain = reading is not UNREAD and reading is not OTHER_CONTENT and type(reading) is not Unreadable
        calls: list[Call] = []
        later: list[Callable[[], object]] = []
        # Replicas that can do nothing but apply the envelope share what comes of it, and from then on move in lockstep: who
        # stands where the last one stood goes where that one went. The group itself stands for "nobody yet".
        before: object = self
        after: Held[Any] | None = None
        change: Change[Any] | None = None
        with self._lock:
            for member in self.members:
                held = member.held
                if held is not before or member.pace is not read:
                    if not plain or member.pace is not read or held is None or not held.precedes(envelope):
                        if member.read is not read or not self._judge(member, envelope, reading, calls, later):
                            later.append(partial(self.step, member, partial(member.live_received, envelope), envelope, "live"))
                        continue
                    before, after, change = held, after or Held(envelope, reading), None
                member.held = after
                member.applied += 1
                if member.listeners:
                    change = change or change_between(held, after, "live")  # type: ignore[arg-type]  # set together
                    _enlist(calls, member, change)
        for action in later:
            action()
        if calls:
            self._call(calls)

    def _judge(
        self,
        member: Member[Any],
        envelope: Envelope[Any],
        reading: object,
        calls: list[Call],
        later: list[Callable[[], object]],
    ) -> bool:
        """Under the lock: take an envelope by all the rules; returns whether the reading was of use."""
        old, pace = member.held, member.pace
        applied = member.live_received(envelope, reading)
        if applied is None:
            return False
        if pace is None or member.pace is None:
            later.append(partial(member.attend, True))
        if applied and member.listeners:
            _enlist(calls, member, change_between(old, member.held, "live"))  # type: ignore[arg-type]  # applied
        return True

    def interrupted(self, reason: str) -> None:
        """Live envelopes may have been lost; called by the transport."""
        for member in self.members:
            self.doubt(member, reason)

    def doubt(self, member: Member[Any], reason: str, *, heard: bool = False) -> int:
        """Raise a need; returns its number, to compare with `needs_closed`."""
        with self._lock:
            member.need_raised(reason)
            number = member.needs_raised
        member.attend(heard)
        return number

    def step(
        self, member: Member[Any], rule: Callable[[object], bool | None], envelope: Envelope[Any] | None, cause: Cause
    ) -> bool:
        """Let one replica take an input.

        Args:
            member: the replica.
            rule: takes the reading of the envelope; returns whether the held version changed, None for "read it again".
            envelope: what is to be read before the lock is taken, if anything.
            cause: what listeners are told.
        """
        calls: list[Call] = []
        changed: bool | None = None
        while changed is None:
            reading = None if envelope is None else prepare_reading(member, envelope)
            with self._lock:
                old = member.held
                changed = rule(reading)
                new = member.held
                if changed and new is not None and member.listeners and not (old is None and new.version == ABSENT):
                    _enlist(calls, member, change_between(old, new, cause))
        member.attend(cause == "live")
        self._call(calls)
        return changed

    def listen(self, member: Member[T], call: Callable[[Change[Any]], None]) -> tuple[Unsubscribe, Held[T] | None]:
        """Call a listener with every later change of a replica; returns how to stop, and what is held before the first."""
        listener = Listener(call)
        with self._lock:
            member.listeners = (*member.listeners, listener)
            held = member.held

        def unsubscribe() -> None:
            listener.active = False
            with self._lock:
                member.listeners = tuple(other for other in member.listeners if other is not listener)

        return unsubscribe, held

    def watch(self, member: Member[Any], wake: Callable[[], None]) -> Unsubscribe:
        """Call `wake` after every input that is not a plain step, and when the replica is closed."""
        with self._lock:
            member.watchers = (*member.watchers, wake)

        def unwatch() -> None:
            with self._lock:
                member.watchers = tuple(other for other in member.watchers if other is not wake)

        return unwatch

    def _call(self, calls: list[Call]) -> None:
        """Call the listeners of those replicas whose turn this thread has taken."""
        fatal: BaseException | None = None
        for member, first in calls:
            turn: Turn | None = first
            while turn is not None:
                change, listeners = turn
                for listener in listeners:
                    if listener.active:
                        try:
                            listener.call(change)
                        except BaseException as error:  # noqa: BLE001  # one bad listener harms nobody else
                            fatal = _report(member, error) or fatal
                # First give the turn back, then look: whoever enlists in between finds the turn free and takes it.
                member.draining = False
                turn = self._next_turn(member) if member.pending else None
        if fatal is not None:
            raise fatal

    def _next_turn(self, member: Member[Any]) -> Turn | None:
        with self._lock:
            if member.draining or not member.pending:
                return None
            member.draining = True
            return member.pending.popleft()


def _enlist(calls: list[Call], member: Member[Any], change: Change[Any]) -> None:
    """Under the lock: take the turn to call the listeners of a replica, or leave the change to the thread that has it."""
    turn = (change, member.listeners)
    taken = member.draining
    if taken and len(member.pending) < LISTENER_PENDING_MAX:
        member.pending.append(turn)
    elif taken:
        member.pending[-1] = (merge(member.pending[-1][0], change), member.listeners)
    if member.draining:
        return
    if taken:
        turn = member.pending.popleft()
    member.draining = True
    calls.append((member, turn))


def _report(member: Member[Any], error: BaseException) -> BaseException | None:
    """Count and log; what must end the program is returned, to be raised once the others were served."""
    member.handler_errors += 1
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return error
    logger.error("a listener of %r raised %s", member.key, type(error).__name__, exc_info=error)
    return None


def _nothing(_heard: bool, /) -> None:
    """Nobody attends yet."""
