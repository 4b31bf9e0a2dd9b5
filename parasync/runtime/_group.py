"""All replicas of one key on one transport: one subscription, one lock, and one step for those that move in lockstep.

The lock is held for the swaps only; no user code runs under it, not even the destructor of a value that was replaced.
Listeners are called after it, in the order of versions for each replica: the thread that made the first of several overlapping
steps calls them for all. A listener that blocks therefore delays the publishing call that it runs in, and the listeners of this
key; values are swapped all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from parasync.errors import ParseError, SchemaSkewError
from parasync.protocol import ABSENT, OTHER_CONTENT, UNREAD, Beat, Company, Envelope, Held, Unreadable, prepare_reading
from parasync.runtime._locks import NotedLock
from parasync.runtime._member import Call, Listener, Member, enlist, report, take_turn
from parasync.runtime._views import Cause, Change, change_between
from parasync.transports._protocol import SyncTransport, Unsubscribe

T = TypeVar("T")


class Group:
    """The replicas of one key on one transport. Who may join and leave, and when, is up to the hub."""

    __slots__ = ("_lock", "_transport", "key", "members", "touched", "unsubscribe")

    unsubscribe: Unsubscribe

    def __init__(self, key: str) -> None:
        self.key = key
        self.members: tuple[Member[Any], ...] = ()
        self.touched: tuple[dict[Group, None], ...] = ()
        """Where it is noted that something came live."""
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
        first = members[0]
        read, before = first.read, first.held
        # What the envelope comes to for all who can do nothing but apply it. They share it, and from then on move in lockstep:
        # who stands where the one before stood, goes where that one went. Nobody at pace stands at None.
        after: Held[Any] | None = None
        if first.pace is read and before is not None and before.precedes(envelope):
            try:
                reading: object = read(envelope)
                after = Held(envelope, reading)
            except (SchemaSkewError, ParseError) as error:
                reading, before = Unreadable(error), None
        else:
            reading, before = prepare_reading(first, envelope), None
            if reading is not UNREAD and reading is not OTHER_CONTENT and type(reading) is not Unreadable:
                after = Held(envelope, reading)
        calls: list[Call] = []
        later: list[Callable[[], object]] = []
        # Kept until the lock is released, as `before` is: the destructors of replaced values are the user's.
        spent: list[object] = [before]
        change: Change[Any] | None = None
        told: list[Member[Any]]
        lock = self._lock
        # As `with` does, in half its time.
        lock.raw.acquire()
        try:
            for member in self.members:
                held = member.held
                if held is not before or member.pace is not read:
                    spent.append(held)
                    if after is None or member.pace is not read or held is None or not held.precedes(envelope):
                        fits = member.read is read and (held is first.held or not _must_compare(held, envelope))
                        if not fits or not self._judge(member, envelope, reading, calls, later):
                            later.append(partial(self.step, member, partial(member.live_received, envelope), envelope, "live"))
                        continue
                    before, change = held, None
                member.held = after
                member.applied += 1
                listener = member.listener
                if listener is not None:
                    if change is None:
                        change, told = change_between(held, after, "live"), []  # type: ignore[arg-type]  # set together
                        calls.append((change, told))
                    if member.turn is None and not member.pending:
                        member.turn = listener
                        told.append(member)
                    else:
                        enlist(calls, member, listener, change)
        finally:
            lock.raw.release()
            if lock.notes:
                lock.sweep()
        for noted in self.touched:
            noted[self] = None
        if later or calls:
            self._act(later, calls)

    def _act(self, later: list[Callable[[], object]], calls: list[Call]) -> None:
        """What was put off until the lock was released; all of it, whatever raises."""
        fatal: BaseException | None = None
        for action in later:
            try:
                action()
            except BaseException as error:  # noqa: BLE001  # raised again once the others were served
                fatal = error
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
        if applied and member.listener is not None:
            change = change_between(old, member.held, "live")  # type: ignore[arg-type]  # applied
            enlist(calls, member, member.listener, change)
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

    def beaten(self, member: Member[Any], beat: Beat, now_s: float, grace_s: float) -> None:
        """An authority beats."""
        stale_after_s = member.stale_after_s
        with self._lock:
            member.beat_received(beat, beat.named.get(self.key), now_s=now_s, grace_s=grace_s)
        # Most beats tell that all is well, and there is nobody who need know.
        if member.need_open or member.awaited is not None or member.stale_after_s != stale_after_s:
            member.attend(True)

    def moves(self, member: Member[Any], company: Company, beat: Beat, now_s: float) -> bool:
        """A replica that a beat has proven may stand in a company; returns whether it does."""
        with self._lock:
            return company.takes(member, beat, now_s)

    def look_again(self, member: Member[Any], now_s: float) -> None:
        """What a beat named had its time to come."""
        with self._lock:
            member.time_passed(now_s)
        if member.need_open:
            member.attend(False)

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
                listener = member.listener
                if changed and new is not None and listener is not None and not (old is None and new.version == ABSENT):
                    enlist(calls, member, listener, change_between(old, new, cause))
        try:
            member.attend(cause == "live")
        finally:
            self._call(calls)
        return changed

    def listen(self, member: Member[T], call: Callable[[Change[Any]], None]) -> tuple[Unsubscribe, Held[T] | None]:
        """Call a listener with every later change of a replica; returns how to stop, and what is held before the first."""
        listener = Listener(call)
        with self._lock:
            member.add(listener)
            held = member.held

        def unsubscribe() -> None:
            if listener.active:
                listener.active = False
                self._lock.note(partial(member.remove, listener))

        return unsubscribe, held

    def watch(self, member: Member[Any], wake: Callable[[], None]) -> Unsubscribe:
        """Call `wake` after each input that is no plain step, after listeners were called, and when the replica is closed."""
        with self._lock:
            member.watchers = (*member.watchers, wake)

        return lambda: self._lock.note(partial(_unwatch, member, wake))

    def _call(self, calls: list[Call]) -> None:
        """Call the listeners of those replicas whose turn this thread has taken."""
        fatal: BaseException | None = None
        for change, members in calls:
            for member in members:
                listener = member.turn
                if listener is not None and listener.active:
                    try:
                        listener.call(change)
                    except BaseException as error:  # noqa: BLE001  # one bad listener harms nobody else
                        fatal = report(member, error) or fatal
                # First give the turn back, then look: whoever enlists in between finds the turn free and takes it.
                member.turn = None
                if member.pending:
                    with self._lock:
                        # What it adds is called at the end of this very loop.
                        take_turn(calls, member)
                if member.watchers:
                    for wake in member.watchers:
                        wake()
        if fatal is not None:
            raise fatal


def _must_compare(held: Held[Any] | None, envelope: Envelope[Any]) -> bool:
    """Whether only a comparison with the very value that is held tells whether an envelope contradicts it."""
    return (
        held is not None
        and held.sequence == envelope.sequence
        and held.epoch == envelope.epoch
        and (held.checksum is None or envelope.checksum is None)
    )


def _unwatch(member: Member[Any], wake: Callable[[], None]) -> None:
    member.watchers = tuple([other for other in member.watchers if other is not wake])
