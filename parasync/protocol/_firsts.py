"""A first load: objects of which nothing is known need none of the rules by which a newer version is told from an older one.

They are taken in by the hundred, which costs a fraction of what the rules cost for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from parasync.protocol._envelope import STATE, Envelope
from parasync.protocol._held import Held
from parasync.protocol._holdings import share
from parasync.protocol._positions import Outcome
from parasync.protocol._proofs import Proofs
from parasync.protocol._round import Page

T = TypeVar("T")


class Firsts(Proofs[T], Generic[T]):
    """The part of a mirror that a first load goes through; see `Holdings` for its arguments."""

    __slots__ = ()

    def firsts(self, page: Page, found: Iterable[tuple[str, Outcome]]) -> list[tuple[str, Envelope[Any]]]:
        """Those objects of an answer that can have no effect but to be held: nothing is known of them, nor was ever proven."""
        if not self._is_first(page):
            return []
        held, refused, asked, epoch = self.held, self.refused, page.asked, page.epoch
        return [
            (key, outcome)
            for key, outcome in found
            if isinstance(outcome, Envelope)
            and outcome.kind is STATE
            and outcome.epoch <= epoch
            and key not in held
            and key not in refused
            and key not in asked
        ]

    def learn_firsts(self, page: Page, read: Mapping[str, tuple[Envelope[Any], Any]]) -> list[str]:
        """What `learn` comes to for such objects. Returns those that are held by it: for others the state has moved on.

        Args:
            page: the answer.
            read: by key what the answer says, and what the reader has made of that.
        """
        if not self._is_first(page):
            return []
        held, refused, epoch = self.held, self.refused, self.rules.current_epoch
        came: list[tuple[str, int, int, int | None]] = []
        for key, (envelope, value) in read.items():
            if key not in held and key not in refused:
                held[key] = first = Held(envelope, value)
                share(first, epoch)
                came.append((key, envelope.epoch, envelope.sequence, envelope.checksum))
        self.rules.applied += len(came)
        self.shown += len(came)
        if self.digest is not None:
            self.digest.add_all(came)
        return [key for key, *_ in came]

    def _is_first(self, page: Page) -> bool:
        return self._unheld is None and page.epoch == self.rules.current_epoch and not self.rules.closed
