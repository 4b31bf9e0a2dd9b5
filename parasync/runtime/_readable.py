"""What any thread may read of a replica at any time, without waiting and without a lock."""

from __future__ import annotations

from typing import Generic, TypeVar

from parasync.errors import DeletedError, NotReadyError
from parasync.protocol import Held, Kind, Status, Version, age_of, reason_of, status_of
from parasync.runtime._cell import Cell
from parasync.runtime._member import Member, report
from parasync.runtime._seat import Seat
from parasync.runtime._views import ReplicaMeta, Snapshot, Stats
from parasync.topic import Ref

T = TypeVar("T")


class _Noted(Generic[T]):
    """Stands for a replica whose cell notes who reads it, also where there is no value.

    The cell may be a step behind, so the value is not its.
    """

    __slots__ = ("_cell", "_member")

    def __init__(self, member: Member[T], cell: Cell[T]) -> None:
        self._member = member
        self._cell = cell

    @property
    def held(self) -> Held[T] | None:
        """What the replica holds."""
        try:
            self._cell.get()
        except BaseException as error:  # noqa: BLE001  # counted like all else that a cell raises
            if fatal := report(self._member, error):
                raise fatal from None
        return self._member.held


class Readable(Generic[T]):
    """The reads of a replica: plain attributes, from any thread."""

    __slots__ = ("__weakref__", "_member", "_newest", "_ref", "_seat")

    def __init__(self, ref: Ref[T], seat: Seat[T]) -> None:
        self._ref = ref
        self._seat = seat
        self._member = seat.member
        # A plain read takes no longer for those who plug in no cell.
        self._newest: Member[T] | _Noted[T] = seat.member if seat.cell is None else _Noted(seat.member, seat.cell)

    def __repr__(self) -> str:
        return f"<synced {self.key!r} {self.status.value} at {self.version}>"

    @property
    def ref(self) -> Ref[T]:
        """The object that is copied."""
        return self._ref

    @property
    def key(self) -> str:
        """Its key, e.g. `"user:123"`."""
        return self._ref.key

    @property
    def value(self) -> T:
        """The newest value: a plain read. A computation of the cell's library that reads it runs again when it changes.

        Raises:
            NotReadyError: none has arrived yet.
            DeletedError: the object was deleted, or never existed.
        """
        try:
            return self._newest.held.value  # type: ignore[union-attr]  # the exception is the rare case
        except AttributeError:
            raise self._no_value() from None

    def peek(self) -> T | None:
        """The newest value, None where there is none; never raises, and no computation depends on it."""
        return getattr(self._member.held, "value", None)

    def get(self) -> T:
        """Like `value`; without an event loop it first asks, if there is a need to or the last proof is too old.

        Raises:
            NotReadyError: none has arrived yet.
            DeletedError: the object was deleted, or never existed.
        """
        if self._seat.attempts is not None:
            self._seat.attempts.read()
        return self.value

    @property
    def version(self) -> Version | None:
        """The version of the value, None before the first."""
        held = self._member.held
        return None if held is None else held.version

    @property
    def status(self) -> Status:
        """What the replica can say of its value now."""
        return status_of(self._member, self._seat.pace.clock())

    @property
    def age_s(self) -> float:
        """Seconds since the replica was surely current; infinite before the first proof."""
        return age_of(self._member, self._seat.pace.clock())

    @property
    def reason(self) -> str:
        """Why the status is not `OK`, in words without payload text; "" if it is."""
        return reason_of(self._member, self._seat.pace.clock())

    @property
    def meta(self) -> ReplicaMeta:
        """What is known of the version that is shown."""
        held = self._member.held
        if held is None:
            return ReplicaMeta(None, None, None, self.status)
        return ReplicaMeta(held.schema_version, held.sequence, held.epoch, self.status)

    @property
    def stats(self) -> Stats:
        """What was counted since the replica was made."""
        member = self._member
        return Stats(
            applied=member.applied,
            ignored_stale=member.ignored_stale,
            gaps=member.gaps,
            parse_errors=member.parse_errors,
            schema_skews=member.schema_skews,
            refetches=member.refetches,
            refetch_failures=member.refetch_failures,
            resets=member.resets,
            conflicts=member.conflicts,
            handler_errors=member.handler_errors,
        )

    def snapshot(self) -> Snapshot[T]:
        """Value, version and status that belong together."""
        while True:
            held = self._member.held
            now_s = self._seat.pace.clock()
            status, age_s = status_of(self._member, now_s), age_of(self._member, now_s)
            # Versions never come back: what was computed while one was held belongs to it.
            if held is self._member.held:
                break
        if held is None:
            return Snapshot(None, None, status, age_s, deleted=False)
        return Snapshot(getattr(held, "value", None), held.version, status, age_s, deleted=held.kind is Kind.TOMBSTONE)

    def _no_value(self) -> NotReadyError | DeletedError:
        held = self._member.held
        if held is None:
            return NotReadyError(f"no value of {self.key!r} has arrived yet: `await ready()` waits for it")
        return DeletedError(f"{self.key!r} was deleted, or never existed", held.version)
