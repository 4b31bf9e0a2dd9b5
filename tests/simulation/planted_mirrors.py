"""Bugs on purpose in mirrors, in what proves them, and in the answers that they get; see `planted`."""

from __future__ import annotations

from typing import Final

from parasync.protocol import Catalogue, Mirror
from parasync.protocol._holdings import Holdings
from parasync.protocol._proofs import Proofs
from parasync.protocol._round import Round
from parasync.runtime._index import _Shelves
from parasync.runtime._mirror_audience import Audience
from parasync.runtime._mirror_seat import MirrorSeat
from parasync.runtime._mirror_waits import Waits
from parasync.runtime._mirroring import Mirroring
from parasync.runtime._scanning import Page
from tests.protocol.mutants import Mutant

MIRRORS: Final = (
    Mutant(
        Mirror, "digests_received", "buckets that differ are asked for",
        "if mine[number] != digests.buckets[number]",
        "if False",
    ),
    Mutant(Proofs, "_judged", "another digest is no proof", "else Finding.DIFFERS", "else Finding.PROOF"),
    Mutant(
        Proofs, "_missed", "a newer version that is named is no proof of a mirror",
        "position.version > newest.version",
        "False",
    ),
    Mutant(
        Proofs, "_proven_by", "a beat proves a mirror as of its author's uptime",
        "min(now_s, base.started_s + beat.uptime_s)",
        "now_s",
    ),
    Mutant(
        Proofs, "_proven_by_round", "a round proves as of its first ask",
        "asking.asked_s - asking.lag_s)",
        "asking.asked_s + 1.0)",
    ),
    Mutant(
        Holdings, "_moved", "a digest forgets what stood before",
        "replace(key, before, after)",
        "replace(key, None, after)",
    ),
    Mutant(
        Holdings, "_keep", "a mirror keeps what was refused",
        "self.refused[key] = refused",
        "pass",
    ),
    Mutant(
        Round, "sent", "a round begins with the attempt that is answered",
        "self.needs, self.asked_s = needs, asked_s",
        "pass",
    ),
    Mutant(Round, "scan", "what a mirror holds is named", "named[key] = known[0]", "pass"),
    Mutant(Round, "page", "an answer covers no more than it says", "end = covered", "pass"),
    Mutant(Catalogue, "keys_of", "what was not named is told of", ".union(self._buckets[bucket])", ""),
    Mutant(Page, "_outcome", "what differs is told of", "is_same(position, Position.of(held))", "True"),
    Mutant(MirrorSeat, "interrupted", "an interruption makes a mirror doubt", "self.doubt(reason)", "pass"),
    Mutant(MirrorSeat, "deliver", "a mirror of a pattern holds what matches", "if self.core.concerns(key):", "if True:"),
    Mutant(Audience, "_drain", "a raising listener of a mirror harms nobody", "self.report(error) or fatal", "error"),
    Mutant(Mirroring, "_ask", "failures of a mirror make pauses", "self._backoff.next_delay_s()", "0.0"),
    Mutant(Mirroring, "_ask", "a failure does not end a mirror", "if ends_this_task(error):", "if True:"),
    Mutant(Mirroring, "_run", "a mirror that was not proven for long asks", "if now_s >= self._reconcile_s:", "if False:"),
    Mutant(Waits, "_at", "a version that a mirror shows is waited for", "held.version >= version", "True"),
    Mutant(
        _Shelves, "_take", "what is deleted leaves its place",
        "self._move(change.id, _NOWHERE, None)",
        "pass",
    ),
    Mutant(
        _Shelves, "_put", "what has no place any more leaves it",
        "self._move(ident, _NOWHERE, None)",
        "pass",
    ),
)  # fmt: skip
