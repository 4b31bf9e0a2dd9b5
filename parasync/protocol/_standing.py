"""Where a replica stands: what it knows, which reasons it has to ask, and how what others say compares with that."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from parasync.protocol._authority import is_same
from parasync.protocol._envelope import Envelope
from parasync.protocol._held import Held, Reader, Refused
from parasync.protocol._positions import Position
from parasync.protocol._version import Version

T = TypeVar("T")


NOWHERE: Final = Position(Version(-1, -1), None)
"""Where nothing is known."""


class Standing(Generic[T]):
    """What is held, what was refused above it, and the needs."""

    __slots__ = (
        "closed", "conflicts", "current_epoch", "held", "lossless", "need_reason", "needs_closed", "needs_raised", "pace",
        "provisional", "refused",
    )  # fmt: skip

    def __init__(self, *, lossless: bool) -> None:
        self.lossless = lossless
        self.closed = False
        self.held: Held[T] | None = None
        self.pace: Reader[T] | None = None
        """`read` while a contiguous live envelope can have no effect but to be applied; else None."""
        self.refused: Refused | None = None
        self.provisional = False
        self.current_epoch = 0
        """The highest life of the authority that was heard."""
        self.needs_raised = self.needs_closed = self.conflicts = 0
        self.need_reason = ""

    @property
    def need_open(self) -> bool:
        """Whether there is a reason to ask."""
        return self.needs_raised > self.needs_closed

    def need_raised(self, reason: str) -> None:
        """There is a reason to ask, e.g. an interruption; answers to asks that were sent before do not close it."""
        self.needs_raised += 1
        self.need_reason = reason
        self.pace = None

    def _conflict(self) -> None:
        self.conflicts += 1
        self.need_raised("one version has two contents")

    def would_read(self, envelope: Envelope[Any]) -> bool:
        """Whether an envelope is new enough for its value to matter."""
        return self.held is None or self.provisional or envelope.version > self.held.version

    def _newest(self) -> Position:
        """The newest version known here, refused ones included; a provisional seed counts for less than a refusal."""
        held = NOWHERE if self.held is None else Position.of(self.held)
        if self.refused is not None and (self.provisional or self.refused.position.version > held.version):
            return self.refused.position
        return held

    def _is_refused(self, envelope: Envelope[Any]) -> bool:
        return self.refused is not None and envelope.version <= self.refused.position.version

    def _is_gap(self, envelope: Envelope[Any]) -> bool:
        (epoch, sequence), _ = self._newest()
        after = envelope.sequence - 1 if envelope.after is None else envelope.after
        return (epoch == envelope.epoch or not sequence) and after > sequence  # what was never written is of no life

    def _proves(self, answered: Position, epoch: int) -> bool:
        newest = self._newest()
        if newest.version == answered.version:
            return is_same(newest, answered)
        return newest.version > answered.version and newest.version.epoch == epoch
