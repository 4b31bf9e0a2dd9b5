"""Stores: where an authority keeps the value and the version of each object."""

from parasync.stores._memory import IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_WINDOW_S, MemoryStore
from parasync.stores._protocol import Draft, Outcome, Store, TopicState

__all__ = ["IDEMPOTENCY_KEYS_MAX", "IDEMPOTENCY_WINDOW_S", "Draft", "MemoryStore", "Outcome", "Store", "TopicState"]
