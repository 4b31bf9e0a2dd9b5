"""All replicas of one key on one transport: one subscription, one lock, and one step for those that move in lockstep.

The lock is held for the swaps only; no user code runs under it, not even the destructor of a value that was replaced.
Listeners are called after it, in the order of versions for each replica: the thread that made the first of several overlapping
steps calls them for all. A listener that blocks therefore delays only the later steps of its own replica, and the publishing
call that it runs in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from parasync.protocol import ABSENT, OTHER_CONTENT, UNREAD, Envelope, Held, Unreadable, prepare_reading
from parasync.runtime._locks import NotedLock
from parasync.runtime._member import Call, Listener, Member, Turn, enlist, report
from parasync.runtime._views import Cause, Change, change_between
from parasync.transports._protocol import SyncTransport, Unsubscribe

T = TypeVar("T")


class Group:
    """The replicas of one key on one transport. Who may join and leave, and when, is up to the hub."""

    __slots__ = ("_lock", "_transport", "key", "members", "unsubscribe")

    unsubscribe: Unsubscribe

    def __init__(self, key: str) -> None:
        self.key = key
        self.members: tuple[Member[Any], ...] = ()
        self._lock = NotedLock()

    def open(self, transport: SyncTransport) -> None:
        """Subscribe.

        Raises:
            ParasyncError: what the transport raises.
        """
        self._transport = transport
        self.unsubscribe = transport.subscribe(self.key, self.deliver, self.interrupted)

    @property
    def over(self) -> bool:
        """Whether the transport was closed, so that nothing will come any more."""
        return getattr(self._transport, "closed", False)

    def join(self, member: Member[Any]) -> None:
        """Add a replica. Under the lock of the hub."""
        self.members = (*self.members, member)

    def leave(self, member: Member[Any]) -> None:
        """Remove a replica, and wake those who wait for it. Under the lock of the hub."""
        member.close()
        self.members = tuple([other for other in self.members if other is not member])
        for wake in member.watchers:
            wake()

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
        # Kept until the lock is released: the destructors of replaced values are the user's.
        spent: list[object] = []
        # Replicas that can do nothing but apply the envelope share what comes of it, and from then on move in lockstep: who
        # stands where the last one stood goes where that one went. The group itself stands for "nobody yet".
        before: object = self
        after: Held[Any] | None = None
        change: Change[Any] | None = None
        lock = self._lock
        try:
            with lock.raw:
                for member in self.members:
                    held = member.held
                    if held is not before or member.pace is not read:
                        spent.append(held)
                        if not plain or member.pace is not read or held is None or not held.precedes(envelope):
                            if member.read is not read or not self._judge(member, envelope, reading, calls, later):
                                rule = partial(member.live_received, envelope)
                                later.append(partial(self.step, member, rule, envelope, "live"))
                            continue
                        before, after, change = held, after or Held(envelope, reading), None
                    member.held = after
                    member.applied += 1
                    if member.listeners:
                        change = change or change_between(held, after, "live")  # type: ignore[arg-type]  # set together
                        enlist(calls, member, change)
        finally:
            if lock.notes:
                lock.sweep()
        fatal: BaseException | None = None
        for action in later:
            try:
                action()
            except BaseException as error:  # noqa: BLE001  # raised again once the others were served
                fatal = error
        if calls:
            self._call(calls)
        if fatal is not None:
            raise fatal

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
            enlist(calls, member, change_between(old, member.held, "live"))  # type: ignore[arg-type]  # applied
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
                    enlist(calls, member, change_between(old, new, cause))
        try:
            member.attend(cause == "live")
        finally:
            self._call(calls)
        return changed

    def listen(self, member: Member[T], call: Callable[[Change[Any]], None]) -> tuple[Unsubscribe, Held[T] | None]:
        """Call a listener with every later change of a replica; returns how to stop, and what is held before the first."""
        listener = Listener(call)
        with self._lock:
            member.listeners = (*member.listeners, listener)
            held = member.held

        def unsubscribe() -> None:
            if listener.active:
                listener.active = False
                self._lock.note(partial(_unlisten, member, listener))

        return unsubscribe, held

    def watch(self, member: Member[Any], wake: Callable[[], None]) -> Unsubscribe:
        """Call `wake` after each input that is no plain step, after listeners were called, and when the replica is closed."""
        with self._lock:
            member.watchers = (*member.watchers, wake)

        return lambda: self._lock.note(partial(_unwatch, member, wake))

    def _call(self, calls: list[Call]) -> None:
        """Call the listeners of those replicas whose turn this thread has taken."""
        fatal: BaseException | None = None
        for member, first in calls:
            turn: Turn | None = first
            while turn is not None:
                change, listeners = turn
                for listener in listeners:
                    if listener.active and not member.closed:
                        try:
                            listener.call(change)
                        except BaseException as error:  # noqa: BLE001  # one bad listener harms nobody else
                            fatal = report(member, error) or fatal
                # First give the turn back, then look: whoever enlists in between finds the turn free and takes it.
                member.draining = False
                turn = self._next_turn(member) if member.pending else None
            for wake in member.watchers:
                wake()
        if fatal is not None:
            raise fatal

    def _next_turn(self, member: Member[Any]) -> Turn | None:
        with self._lock:
            if member.draining or not member.pending:
                return None
            member.draining = True
            return member.pending.popleft()


def _unlisten(member: Member[Any], listener: Listener) -> None:
    member.listeners = tuple([other for other in member.listeners if other is not listener])


def _unwatch(member: Member[Any], wake: Callable[[], None]) -> None:
    member.watchers = tuple([other for other in member.watchers if other is not wake])
