"""Bugs on purpose in what is forgotten of deletions, and in how everybody learns that; see `planted`."""

from __future__ import annotations

from typing import Final

from parasync.protocol import Replica
from parasync.stores import _memory
from parasync.stores._memory import MemoryStore
from tests.protocol.mutants import Mutant

FLOORS: Final = (
    Mutant(MemoryStore, "raise_floor", "the floor rises", "attrs.evolve(held.state, floor=floor)", "held.state"),
    Mutant(_memory, "next_version", "what begins is put above the floor", "current is None or deletes", "deletes"),
    Mutant(_memory, "next_version", "what ends is put above the floor", "current is None or deletes", "current is None"),
    Mutant(Replica, "answer_received", "absent is deleted at the floor", "floor.sequence, floor.epoch", "0, 0"),
)
