"""The replica: every rule that decides what one copy of one object shows.

State: what is *held* (the applied version), what was *refused* above it, the highest epoch heard, how many *needs* (reasons
to ask) were raised and how many of them are closed, and when the copy was last surely current. Inputs are methods named in
the past tense; each returns whether the held version changed. Nothing here waits, reads a clock or runs user code: the driver
passes in the time and what the gate made of the value (`prepare_reading`, which may run user code, comes first), and looks
at `need_open` afterwards to learn whether it should ask.

                 gates pass                        newer, gates pass
    empty ---------------------------> holding ----------------------> holding
      | a gate refuses                   | a gate refuses      ^
      v                                  v                     | newer, gates pass; or an
    empty, refused ----------------> holding, refused ---------' answer below what was refused
                 gates pass

A live envelope goes through these rules, in this order:

1. Closed: dropped.
2. Below the held version: dropped. At it: dropped, and with other content it is a conflict, which raises a need. So does
   what is dropped for an unproven seed: the answer that replaces the seed may be older.
3. Of an epoch below the highest one heard: dropped, since its author was deposed. Of one above: raises a need.
4. Not above a refused version: dropped.
5. Its schema or its value does not pass the gate: refused, raises a need.
6. It says that something was sent between what is known and itself: a gap, raises a need (policy `refetch`).
7. Applied.

An answer skips rules 3, 4 and 6: its author is compared as a whole, it is gated again, and it may jump. A need is closed
only by an answer to an ask that was sent after the need was raised, and only if the answer *proves*: it equals the newest
version known here, or is below one that the same life of the authority wrote. Where nobody answers on a lossless transport, or
nobody can be asked, a live envelope that follows without a gap closes it too. What a beat does is told in `_currency.py`.
"""

from __future__ import annotations

import math
from typing import Any, Generic, TypeVar

from parasync.errors import SchemaSkewError
from parasync.protocol._currency import Currency
from parasync.protocol._envelope import Envelope, Kind
from parasync.protocol._held import Asked, GapPolicy, Held, Reader, Refused
from parasync.protocol._positions import Absent, Outcome, Position, Same, Unanswered
from parasync.protocol._reading import OTHER_CONTENT, UNREAD, Unreadable, contradicts
from parasync.protocol._version import ABSENT, Version

T = TypeVar("T")


class Replica(Currency[T], Generic[T]):
    """The state machine of one replica.

    Args:
        read: decodes and checks values; replicas that share one function can move in lockstep.
        lossless: the transport loses nothing, so that the replica is current whenever no need is open.
        askable: there is somebody to ask: an authority, or a user's `refetch`.
        gap: what to do after a gap.
        stale_after_s: the age in seconds above which a proof is too old.
        stale_by_beats: while beats prove, a proof is too old after `BEAT_INTERVALS_MAX` of their intervals instead.
    """

    __slots__ = (
        "applied", "askable", "current_until_s", "doubting", "failed", "gap", "gaps", "handler_errors", "ignored_stale",
        "needs_followed", "parse_errors", "read", "refetch_failures", "refetches", "resets", "schema_skews",
    )  # fmt: skip

    def __init__(
        self,
        read: Reader[T],
        *,
        lossless: bool,
        askable: bool,
        gap: GapPolicy = "refetch",
        stale_after_s: float = math.inf,
        stale_by_beats: bool = False,
    ) -> None:
        super().__init__(lossless=lossless, stale_after_s=stale_after_s, stale_by_beats=stale_by_beats)
        self.read = read
        self.askable = askable
        self.gap: GapPolicy = gap
        self.failed: str | None = None
        """Why the last ask failed; None if it did not."""
        self.current_until_s = -math.inf
        """Until when a lossless transport kept the replica current before the oldest open need, on the driver's clock."""
        self.doubting = False
        self.needs_followed = 0
        self.applied = self.ignored_stale = self.gaps = self.parse_errors = self.schema_skews = 0
        self.refetches = self.refetch_failures = self.resets = self.handler_errors = 0
        self.need_raised("joined")

    # Inputs

    def seed_received(self, envelope: Envelope[Any], value: T | None) -> bool:
        """Show a value from elsewhere, which the gate has passed. It stays provisional where somebody can be asked."""
        self.held = Held(envelope, value)
        self.provisional = self.askable
        self._settle()
        return True

    def live_received(self, envelope: Envelope[Any], reading: object) -> bool | None:
        """An envelope came by subscription. None: the state moved on since `prepare_reading`, which is needed again."""
        held = self.held
        epoch = envelope.epoch
        if self.closed:
            return False
        if held is not None and (epoch < held.epoch or (epoch == held.epoch and envelope.sequence <= held.sequence)):
            if envelope.version == held.version and contradicts(held, envelope, reading, provisional=self.provisional):
                self._conflict()
            else:
                self.ignored_stale += 1
            if self.provisional and epoch >= self.current_epoch and not self._is_refused(envelope):
                self.current_epoch = epoch
                self.need_raised("the authority is below an unproven seed, and goes on")
            return False
        if epoch < self.current_epoch or self._is_refused(envelope):
            self.ignored_stale += 1
            return False
        if reading is UNREAD or reading is OTHER_CONTENT:
            return None
        if epoch > self.current_epoch:
            self.current_epoch = epoch
            self.need_raised("another life of the authority was heard")
        if isinstance(reading, Unreadable):
            self._refuse(envelope, reading)
            self.need_raised("a version was refused")
            return False
        if self._is_gap(envelope):
            self.gaps += 1
            if self.gap == "refetch":
                self.need_raised("a version was lost")
        elif (held is None or held.epoch == epoch) and (self.lossless or not self.askable):
            self.needs_followed = self.needs_raised
            if not self.askable or self.failed is not None:
                self._close_followed()
        self._apply(envelope, reading)
        return True

    def noticed(self, now_s: float) -> None:
        """The driver saw that a need is open, at `now_s` seconds on its monotonic clock."""
        if self.need_open and not self.doubting:
            self.doubting = True
            self.current_until_s = now_s if self.needs_closed else -math.inf

    def asked(self) -> Asked:
        """An ask goes out now and serves all needs raised so far."""
        self.refetches += 1
        held = self.held
        return Asked(self.needs_raised, None if held is None or self.provisional else Position.of(held))

    def ask_failed(self, reason: str) -> None:
        """No usable answer came; the last good value stays."""
        if not self.closed:
            self.refetch_failures += 1
            self.failed = reason
            if self.lossless and self.needs_followed == self.needs_raised:
                self._close_followed()
            self._settle()

    def answer_received(
        self,
        asked: Asked,
        outcome: Outcome,
        reading: object,
        *,
        epoch: int,
        beat: int | None = None,
        uptime_s: float = 0.0,
        floor: Version = ABSENT,
        asked_s: float,
    ) -> bool | None:
        """Judge what an ask brought. None: the state moved on since `prepare_reading`, which is needed again.

        Args:
            asked: what `asked()` returned when the ask was sent.
            outcome: what the answer says of this object.
            reading: what `prepare_reading` made of the outcome if it is an envelope, else None.
            epoch: the life of the authority that answers.
            beat: the number of its last beat before the answer; None where its beats are not heard.
            uptime_s: how long it had served by then, in seconds.
            floor: at and below it an absent object may have been deleted.
            asked_s: when the ask was sent, in seconds on the driver's monotonic clock.
        """
        if self.closed or epoch < self.current_epoch or isinstance(outcome, Unanswered):
            return False
        if isinstance(outcome, Same) and asked.position is None:
            self.ask_failed("the answer says 'same' to an ask that named no position")
            return False
        if isinstance(outcome, Envelope) and (reading is UNREAD or reading is OTHER_CONTENT) and self.would_read(outcome):
            return None
        self.current_epoch = epoch
        self.failed = None
        conflicts = self.conflicts
        if isinstance(outcome, Absent):
            outcome = Envelope(None, "0.0", floor.sequence, floor.epoch, kind=Kind.TOMBSTONE)
        position = Position.of(outcome) if isinstance(outcome, Envelope) else asked.position or Position(ABSENT, None)
        self._forget_refused_above(position.version)
        told = self.held is None or self.provisional or position.version >= self.held.version
        changed = isinstance(outcome, Envelope) and self._offer(outcome, reading)
        if conflicts == self.conflicts and self._proves(position, epoch):
            self._proven(epoch, beat, asked_s, uptime_s, told=told)
            self.needs_closed = max(self.needs_closed, asked.needs)
        elif not self.need_open:
            self.need_raised("an answer did not confirm what is shown")
        self._settle()
        return changed

    def close(self) -> None:
        """Drop whatever comes from now on."""
        self.closed = True
        self.pace = None

    # The rules in pieces

    def _offer(self, envelope: Envelope[Any], reading: object) -> bool:
        """One envelope of an answer passes the gates."""
        held = self.held
        if held is not None and not self.would_read(envelope):
            if envelope.version == held.version and contradicts(held, envelope, reading):
                self._conflict()
            return False
        if isinstance(reading, Unreadable):
            self._refuse(envelope, reading)
            return False
        same = held is not None and held.version == envelope.version and held.kind is envelope.kind
        if same and getattr(held, "value", None) is reading:
            self._hold(envelope, reading)
            return False
        self._apply(envelope, reading)
        return True

    def _apply(self, envelope: Envelope[Any], value: Any) -> None:
        # An object that was never written has sequence 0, and belongs to no life.
        if self.held is not None and self.held.epoch != envelope.epoch and self.held.sequence and envelope.sequence:
            self.resets += 1
        self.applied += 1
        self._hold(envelope, value)

    def _hold(self, envelope: Envelope[Any], value: Any) -> None:
        self.held = Held(envelope, value)
        self.stand_alone()
        self.provisional = False
        if self.refused is not None and self.refused.position.version <= envelope.version:
            self.refused = None
        self._settle()

    def _refuse(self, envelope: Envelope[Any], reading: Unreadable) -> None:
        if isinstance(reading.error, SchemaSkewError):
            self.schema_skews += 1
        else:
            self.parse_errors += 1
        self.refused = Refused(Position.of(envelope), str(reading.error))
        self._settle()

    def _forget_refused_above(self, version: Version) -> None:
        """An answer below a refused version: the authority does not know that one, and what it refused live may be missing."""
        if self.refused is not None and self.refused.position.version > version:
            self.refused = None
            self.need_raised("the authority does not know the version that was refused")

    def _close_followed(self) -> None:
        """Nobody answers, but since the need arose a live envelope followed what was known without a gap."""
        self.needs_closed = self.needs_raised
        self.failed = None

    def _settle(self) -> None:
        """Find out whether the next contiguous live envelope can have no effect but to be applied."""
        disturbed = self.need_open or self.provisional or self.closed or self.failed is not None or self.refused is not None
        self.pace = None if disturbed or self.held is None or self.held.epoch != self.current_epoch else self.read
        self.doubting = self.doubting and self.need_open
