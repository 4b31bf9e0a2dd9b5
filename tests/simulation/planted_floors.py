"""Bugs on purpose in what is forgotten of deletions, and in how everybody learns that; see `planted`."""

from __future__ import annotations

from typing import Final

from parasync.protocol import Catalogue, Mirror, Pulse, Replica
from parasync.protocol._holdings import Holdings
from parasync.protocol._proofs import Proofs
from parasync.runtime._desk import Desk
from parasync.runtime._heart import Heart
from parasync.runtime._repairs import Repairs
from parasync.stores import _memory
from parasync.stores._memory import MemoryStore
from tests.protocol.mutants import Mutant

FLOORS: Final = (
    Mutant(MemoryStore, "raise_floor", "the floor rises", "attrs.evolve(held.state, floor=floor)", "held.state"),
    Mutant(MemoryStore, "raise_floor", "what is below the floor is dropped", "if version <= floor:", "if version in old:"),
    Mutant(_memory, "next_version", "what begins is put above the floor", "current is None or deletes", "deletes"),
    Mutant(_memory, "next_version", "what ends is put above the floor", "current is None or deletes", "current is None"),
    Mutant(Heart, "_rise", "a floor is told when all below was sent", "settled_s > self._rising[1]", "True"),
    Mutant(Heart, "_made", "a floor is told", "self._rise(settled_s)", "pass"),
    Mutant(Heart, "dead", "what the store forgets is told meanwhile", "unsent.get(key) or catalogue.get(key)", "None"),
    Mutant(Desk, "_scan", "a scan tells the floor that is told", "first.head(floor)", "first.head(first.state.floor)"),
    Mutant(Catalogue, "kept", "what is below the floor does not count", "position.version <= self.floor", "False"),
    Mutant(Catalogue, "raise_floor", "a catalogue forgets", "self.move(key, None)", "pass"),
    Mutant(Pulse, "is_past", "what was forgotten does not come back late", "position.version < (", "last is not None and position.version < ("),
    Mutant(Repairs, "_repaired", "what nobody remembers is told", "known < state.floor", "False"),
    Mutant(Replica, "answer_received", "absent is deleted at the floor", "floor.sequence, floor.epoch", "0, 0"),
    Mutant(Mirror, "learn", "absent is deleted at the floor of the answer", "Position(floor, TOMBSTONE", "Position(asked.version if asked else floor, TOMBSTONE"),
    Mutant(Mirror, "learn", "absent in a mirror is deleted at the floor", "floor=floor", "floor=self.floor"),
    Mutant(Holdings, "_adopt", "a mirror forgets with the authority", "if version <= floor]", "if False]"),
    Mutant(Holdings, "_adopt", "a floor never goes down", "floor <= self.floor", "floor == self.floor"),
    Mutant(Holdings, "_keep", "what is below the floor is not held", "held.version <= self.floor", "False"),
    Mutant(Holdings, "_digest_at", "tombstones are compared above the floor", "floor <= self.floor", "True"),
    Mutant(Proofs, "beat_received", "a floor comes with a proof", "self._heard.append(", "self._adopt(beat.floor); self._heard.append("),
    Mutant(Mirror, "request", "an ask carries the floor", "floor=self.floor", "floor=type(self.floor)(0, 0)"),
)  # fmt: skip
