"""A state machine for Hypothesis: replicas of your topic behind a bus that loses, repeats and delays, checked at each step.

Needs `hypothesis`, which the extra `testing` brings.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar, Final, Protocol

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parasync import Capabilities, Envelope, InProcessTransport, Kind, Pace, Ref, Snapshot, Status, Topic, Version, synced
from parasync.errors import NoAuthorityError
from parasync.testing.strategies import values

FOLLOWERS_MAX: Final = 4
"""How many replicas live at once."""
_LONG_S: Final = 3_600.0

Refetch = Callable[[], "Envelope[Any] | None"]


class Follower(Protocol):
    """What the machine checks: a replica, or what you have built around one."""

    def get(self) -> Any:
        """The newest value; asks first if there is a need to. May raise where there is none."""

    def snapshot(self) -> Snapshot[Any]:
        """What is shown."""

    def close(self) -> None:
        """Leave the bus."""


class LossyBus(InProcessTransport):
    """An in-process transport that admits that it may lose what is published, as a network does."""

    @property
    def capabilities(self) -> Capabilities:
        """Ordered, usable from any thread; neither lossless nor able to ask."""
        return Capabilities(lossless=False, ordered=True, threads=True, ask=False)

    def interrupt(self, reason: str) -> None:
        """Tell every subscriber that something may have been lost.

        Args:
            reason: why, in a few words.
        """
        self._fanout.deliver(self._fanout.everyone(), None, reason)


@attrs.define(eq=False)
class _Followed:
    follower: Follower
    seen: Version | None = None


class ReplicaMachine(RuleBasedStateMachine):
    """Tries what a bus and an authority can do to the replicas of one object: subclass it, and run its `TestCase`.

    After each step every follower must show a version that was written, with exactly what was written, and never an older one
    than before. When the faults are over and the authority answers, it must show the newest. What was written is remembered
    apart from parasync, and compared by `==`.

        class Prices(ReplicaMachine):
            topic = PRICES

        TestPrices = Prices.TestCase

    Override `follow` to check what you have built around a replica, and `values` to draw other values than the type says.
    """

    topic: ClassVar[Topic[Any]]
    """What the object is of."""
    ident: ClassVar[str] = "1"
    """Its id below the topic."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = LossyBus()
        self.now_s = 0.0
        self.answering = True
        self.written: list[Envelope[Any]] = []
        self.followed: list[_Followed] = []
        self._sound = False
        self._epochs = count(1 << 20, 1 << 20)
        self._epoch, self._sequence, self._exists = next(self._epochs), 0, False

    def values(self) -> st.SearchStrategy[Any]:
        """What is written."""
        return values(self.topic)

    def follow(self, ref: Ref[Any], bus: LossyBus, refetch: Refetch, pace: Pace) -> Follower:
        """Make what is checked: a replica, unless you override this.

        Args:
            ref: the object.
            bus: what carries it.
            refetch: returns the newest version, or raises `NoAuthorityError` while nobody answers.
            pace: has the clock of the machine.
        """
        return synced(ref, bus, refetch=refetch, pace=pace)

    # What the authority does

    @rule(data=st.data(), arrives=st.booleans())
    def write(self, data: st.DataObject, arrives: bool) -> None:
        """A version is written; it arrives at once, or not now."""
        self._write(Kind.STATE, data.draw(self.values(), "value"), arrives)

    @precondition(lambda self: self._exists)
    @rule(arrives=st.booleans())
    def delete(self, arrives: bool) -> None:
        """The object is deleted."""
        self._write(Kind.TOMBSTONE, None, arrives)

    @rule(remembers=st.booleans())
    def restart(self, remembers: bool) -> None:
        """The authority begins a new life; it may have lost its memory, and then counts from one again."""
        self._epoch = next(self._epochs)
        if not remembers:
            self._sequence = 0

    @rule(answering=st.booleans())
    def answer(self, answering: bool) -> None:
        """The authority can be asked from now on, or cannot."""
        self.answering = answering

    # What the bus does

    @precondition(lambda self: self.written)
    @rule(back=st.integers(0, 20))
    def deliver(self, back: int) -> None:
        """A version arrives: late, again, or for the first time."""
        self._publish(self.written[max(0, len(self.written) - 1 - back)])

    @rule()
    def interrupt(self) -> None:
        """The connection was lost for a moment, or something malformed came."""
        self.bus.interrupt("disconnected")

    @rule(seconds=st.sampled_from([0.05, 1.0, 60.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds

    # What the program does

    @precondition(lambda self: len(self.followed) < FOLLOWERS_MAX)
    @rule()
    def join(self) -> None:
        """One more replica."""
        pace = Pace(clock=lambda: self.now_s, random=lambda: 0.5)
        ref = self.topic[self.ident]
        self.followed.append(_Followed(self.follow(ref, self.bus, self._newest, pace)))

    @precondition(lambda self: self.followed)
    @rule(place=st.integers(0, FOLLOWERS_MAX - 1))
    def leave(self, place: int) -> None:
        """One replica less."""
        self.followed.pop(place % len(self.followed)).follower.close()

    @precondition(lambda self: self.followed)
    @rule(place=st.integers(0, FOLLOWERS_MAX - 1))
    def read(self, place: int) -> None:
        """The program reads, which asks if there is a need to."""
        self._get(self.followed[place % len(self.followed)].follower)

    # What has to hold

    @invariant()
    def shows_what_was_written(self) -> None:
        """Each version that is shown was written, with this very value, and is no older than the one shown before."""
        self._sound = False
        for followed in self.followed:
            shown = followed.follower.snapshot()
            if shown.version is None or not shown.version.sequence:
                demand(shown.value is None, f"a value without a version: {shown}")
                demand(followed.seen is None, f"{followed.seen} was shown before, and is gone")
                continue
            written = [envelope for envelope in self.written if envelope.version == shown.version]
            demand(bool(written), f"{shown.version} is shown, and was never written")
            deleted = written[0].kind is Kind.TOMBSTONE
            demand(shown.deleted is deleted, f"{shown.version} is shown with deleted={shown.deleted}")
            demand(deleted or shown.value == written[0].value, f"{shown.version} is shown with another value")
            demand(followed.seen is None or shown.version >= followed.seen, f"back from {followed.seen} to {shown.version}")
            followed.seen = shown.version
        self._sound = True

    @rule()
    def settle(self) -> None:
        """The faults are over: the newest version arrives and the authority answers, so everybody must show it."""
        self._sound = False
        self.answering = True
        if self.written:
            self._publish(self.written[-1])
        newest = self.written[-1].version if self.written else None
        for followed in self.followed:
            self.now_s += _LONG_S
            self._get(followed.follower)
            shown = followed.follower.snapshot()
            demand(newest is None or shown.version == newest, f"{shown.version} is shown, and the newest is {newest}")
            demand(newest is None or shown.status is Status.OK, f"the newest is shown as {shown.status.value}")

    def teardown(self) -> None:
        """Every run ends settled, if it was sound so far; then close everything."""
        try:
            if self._sound:
                self.settle()
        finally:
            for followed in self.followed:
                followed.follower.close()
            self.bus.close()

    def _write(self, kind: Kind, value: object, arrives: bool) -> None:
        self._sequence += 1
        self._exists = kind is Kind.STATE
        envelope = Envelope(value, self.topic.version, self._sequence, self._epoch, kind=kind)
        self.written.append(envelope)
        if arrives:
            self._publish(envelope)

    def _publish(self, envelope: Envelope[Any]) -> None:
        self.bus.publish(self.topic[self.ident].key, envelope)

    def _newest(self) -> Envelope[Any] | None:
        if not self.answering:
            raise NoAuthorityError("nobody answers now")
        return self.written[-1] if self.written else None

    def _get(self, follower: Follower) -> None:
        try:
            follower.get()
        except Exception:  # noqa: BLE001 -- there may be no value; whether that is right is seen in what is shown
            return


def demand(holds: bool, otherwise: str) -> None:
    """Fail unless something holds; also where Python runs without `assert`.

    Args:
        holds: what has to be true.
        otherwise: what is wrong if it is not.
    """
    if not holds:
        raise AssertionError(otherwise)
