"""One replica in its process: the state machine, those who listen to it, and what its recovery notes of it."""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from parasync.protocol import Backoff, GapPolicy, Reader, Replica
from parasync.runtime._views import Change, merge

T = TypeVar("T")

logger: Final = logging.getLogger("parasync")

LISTENER_PENDING_MAX: Final = 1024
"""How many changes wait for a listener that is still busy; beyond, the newest are merged into one."""


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


def enlist(calls: list[Call], member: Member[Any], change: Change[Any]) -> None:
    """Under the lock: take the turn to call the listeners of a replica, or leave the change to the thread that has it."""
    turn = (change, member.listeners)
    taken = member.draining
    if taken:
        pending = member.pending
        # Who began to listen later must not be told of what came before, so only changes for the same listeners are merged.
        if len(pending) >= LISTENER_PENDING_MAX and pending[-1][1] is member.listeners:
            pending[-1] = (merge(pending[-1][0], change), member.listeners)
        else:
            pending.append(turn)
        if member.draining:
            return
        turn = pending.popleft()
    member.draining = True
    calls.append((member, turn))


def report(member: Member[Any], error: BaseException) -> BaseException | None:
    """Count and log what a listener raised; what must end the program is returned, to be raised once the others were served."""
    member.handler_errors += 1
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return error
    with contextlib.suppress(Exception):  # a broken logging set-up must not silence the other listeners
        logger.error("a listener of %r raised %s", member.key, type(error).__name__, exc_info=error)
    return None


def _nothing(_heard: bool, /) -> None:
    """Nobody attends yet."""
