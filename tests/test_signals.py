"""A computed value runs again when the replica that it reads changes."""

from __future__ import annotations

import attrs
from reaktiv import Computed

from parasync import Envelope, InProcessTransport, Kind, Topic, synced
from parasync.signals import SignalCell


@attrs.define
class User:
    id: int
    name: str


USERS = Topic("user", User, version="2.1")


def published(name: str, sequence: int) -> Envelope[User]:
    return Envelope(User(123, name), "2.1", sequence)


def test_a_computed_value_runs_again_after_each_change_and_only_then() -> None:
    bus = InProcessTransport()
    cell: SignalCell[User] = SignalCell()
    runs = []
    with synced(USERS["123"], bus, seed=published("Ada", 1), cell=cell) as ada:

        def shout() -> str:
            runs.append(cell.peek())
            return ada.value.name.upper()

        shouted = Computed(shout)
        assert shouted() == "ADA"
        assert shouted() == "ADA"
        assert len(runs) == 1
        bus.publish("user:123", published("Grace", 2))
        assert shouted() == "GRACE"
        bus.publish("user:123", published("late", 1))
        assert shouted() == "GRACE"
        assert len(runs) == 2


def test_a_deletion_empties_the_signal() -> None:
    bus = InProcessTransport()
    cell: SignalCell[User] = SignalCell()
    with synced(USERS["123"], bus, seed=published("Ada", 1), cell=cell):
        there = Computed(lambda: cell.signal() is not None)
        assert there()
        bus.publish("user:123", Envelope(None, "2.1", 2, kind=Kind.TOMBSTONE))
        assert not there()


def test_a_computation_that_raises_is_counted_and_harms_nobody() -> None:
    class Broken:
        def get(self) -> User | None:
            return None

        def peek(self) -> User | None:
            return None

        def set(self, value: User | None, /) -> None:
            raise RuntimeError

    bus = InProcessTransport()
    with synced(USERS["123"], bus, cell=Broken()) as broken, synced(USERS["123"], bus) as good:
        bus.publish("user:123", published("Ada", 1))
        assert good.value.name == "Ada"
        assert broken.stats.handler_errors == 1
        assert broken.version == (0, 1)
