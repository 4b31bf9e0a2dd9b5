"""One replica in its process: the state machine, those who listen to it, and what its recovery notes of it.

The thread that made the first of several overlapping steps of a replica calls its listeners for all of them, so that they
hear of versions in their order, from one thread at a time.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from parasync.errors import HistoryLostError
from parasync.protocol import Backoff, Envelope, GapPolicy, Held, Reader, Replica, Unreadable, Version
from parasync.runtime._views import Change, merge
from parasync.runtime._world import Clock, monotonic_s

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

    __slots__ = (
        "_listeners", "accepts", "announced", "attend", "clock", "doubted_s", "due_s", "history", "key", "listener", "pending",
        "refusal", "repeat", "turn", "watchers",
    )  # fmt: skip

    def __init__(
        self,
        key: str,
        read: Reader[T],
        repeat: Backoff,
        *,
        lossless: bool,
        askable: bool,
        gap: GapPolicy,
        stale_after_s: float,
        stale_by_beats: bool = False,
    ) -> None:
        super().__init__(
            read,
            lossless=lossless,
            askable=askable,
            gap=gap,
            stale_after_s=stale_after_s,
            stale_by_beats=stale_by_beats,
        )
        self.key = key
        self._listeners: tuple[Listener, ...] = ()
        self.listener: Listener | None = None
        """Stands for all listeners; None where there are none."""
        self.turn: Listener | None = None
        """Who is being called now, by the one thread that may."""
        self.pending: deque[tuple[Change[Any], Listener]] | None = None
        """Changes that wait to be called after that, with those who listened when they happened; None before the first."""
        self.watchers: tuple[Callable[[], None], ...] = ()
        self.attend: Callable[[bool], None] = _nothing
        self.repeat = repeat
        self.due_s = -math.inf
        """When it is to be asked for, at the latest, if a need is open."""
        self.doubted_s = -math.inf
        """When a need was last asked about that was more than a matter of routine."""
        self.history = History(0, 0)
        self.accepts = ""
        """The schema version that it takes."""
        self.clock: Clock = monotonic_s
        """The clock of its pace."""
        self.refusal: tuple[str, str] | None = None
        """Schema version and error of what it refused last."""
        self.announced: int | None = None
        """The highest epoch that a probe told of, where one doubt for each is enough; None where answers tell the epoch."""

    def close(self) -> None:
        """Drop whatever comes from now on, and call nobody any more. From any thread, with or without the lock."""
        super().close()
        for listener in self._listeners:
            listener.active = False

    def at(self, version: Version) -> Held[T] | None:
        """What is held, if that is this version or a later one of a history that contains it.

        Raises:
            HistoryLostError: an answer has told that the history begins later.
        """
        held, history = self.held, self.history
        reached = held is not None and held.version >= version and not self.provisional
        if held is not None and reached and (version.epoch == held.epoch or not self.askable):
            return held
        if version.epoch < history.history_epoch:
            raise HistoryLostError(f"version {version} was lost: its history begins at {history.history_epoch}")
        return held if held is not None and reached and history.told_by >= held.epoch else None

    def _refuse(self, envelope: Envelope[Any], reading: Unreadable) -> None:
        super()._refuse(envelope, reading)
        self.refusal = (envelope.schema_version, type(reading.error).__name__)

    def add(self, listener: Listener) -> None:
        """Call one more, from the next change on. Under the lock of the group."""
        self._set_listeners((*self._listeners, listener))

    def remove(self, listener: Listener) -> None:
        """Call one less. Under the lock of the group."""
        self._set_listeners(tuple([other for other in self._listeners if other is not listener]))

    def _set_listeners(self, listeners: tuple[Listener, ...]) -> None:
        self._listeners = listeners
        # Mostly there is one, and a loop over it would cost as much as its call.
        self.listener = _all_of(self, listeners) if len(listeners) > 1 else listeners[0] if listeners else None


class History(NamedTuple):
    """What the last answer said: the epoch of its author, and the epoch since which nothing was lost."""

    told_by: int
    history_epoch: int


Call: TypeAlias = tuple[Change[Any], list[Member[Any]]]
"""A change of some replicas whose turn was taken, so that the thread that took it has to call their listeners."""


def _all_of(member: Member[Any], listeners: tuple[Listener, ...]) -> Listener:
    def call(change: Change[Any]) -> None:
        fatal: BaseException | None = None
        for listener in listeners:
            try:
                if listener.active:
                    listener.call(change)
            except (KeyboardInterrupt, SystemExit) as error:
                fatal = error
            except BaseException as error:  # noqa: BLE001  # one bad listener harms nobody else
                report(member, error)
        if fatal is not None:
            raise fatal

    return Listener(call)


def enlist(calls: list[Call], member: Member[Any], listener: Listener, change: Change[Any]) -> None:
    """Under the lock: have a listener called, by this thread or by the one that has the turn, after what waits already."""
    pending = member.pending
    if pending is None:
        pending = member.pending = deque()
    # Who began to listen later must not be told of what came before, so only changes for the same listeners are merged.
    if len(pending) >= LISTENER_PENDING_MAX and pending[-1][1] is listener:
        pending[-1] = (merge(pending[-1][0], change), listener)
    else:
        pending.append((change, listener))
    take_turn(calls, member)


def take_turn(calls: list[Call], member: Member[Any]) -> None:
    """Under the lock: unless another thread has the turn, take it for the change that has waited longest."""
    if member.turn is None and member.pending:
        change, member.turn = member.pending.popleft()
        calls.append((change, [member]))


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
