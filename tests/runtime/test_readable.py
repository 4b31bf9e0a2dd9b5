"""Reads: plain, from any thread, and consistent."""

from __future__ import annotations

import math
from asyncio import CancelledError
from collections.abc import Callable

import pytest

from parasync import InProcessTransport, ReplicaMeta, Snapshot, Status, Version, synced
from parasync.errors import DeletedError, NotReadyError
from tests.lossy import LossyTransport
from tests.runtime.kit import KEY, A, Author, envelope, in_threads, pace, tombstone
from tests.virtual_time import in_virtual_time, passing


def test_before_the_first_value_there_is_none() -> None:
    with synced(A, InProcessTransport()) as replica:
        for read in (lambda: replica.value, replica.get):
            with pytest.raises(NotReadyError, match="'note:a'"):
                read()
        assert replica.peek() is None
        assert replica.version is None
        assert replica.meta == ReplicaMeta(None, None, None, Status.STALE)
        assert replica.snapshot() == Snapshot(None, None, Status.STALE, math.inf, deleted=False)
        assert replica.age_s == math.inf
        assert (replica.ref, replica.key) == (A, KEY)
        assert repr(replica) == "<synced 'note:a' stale at None>"


def test_a_value_and_what_is_known_of_it() -> None:
    bus = InProcessTransport()
    with synced(A, bus) as replica:
        bus.publish(KEY, envelope(3, epoch=2, schema_version="1.7"))
        assert (replica.value, replica.get(), replica.peek()) == ("2.3", "2.3", "2.3")
        assert replica.version == Version(2, 3)
        assert replica.meta == ReplicaMeta("1.7", 3, 2, Status.OK)
        assert replica.snapshot() == Snapshot("2.3", Version(2, 3), Status.OK, 0.0, deleted=False)
        assert replica.stats.applied == 1
        assert repr(replica) == "<synced 'note:a' ok at 2.3>"


def test_a_deleted_object_has_no_value_and_says_since_when() -> None:
    bus = InProcessTransport()
    with synced(A, bus, seed=envelope(1)) as replica:
        bus.publish(KEY, tombstone(2))
        for read in (lambda: replica.value, replica.get):
            with pytest.raises(DeletedError) as caught:
                read()
            assert caught.value.version == Version(0, 2)
        assert replica.peek() is None
        assert replica.snapshot() == Snapshot(None, Version(0, 2), Status.OK, 0.0, deleted=True)


def test_a_closed_replica_shows_what_it_last_held() -> None:
    replica = synced(A, InProcessTransport(), seed=envelope(1))
    replica.close()
    assert (replica.value, replica.status, replica.reason) == ("0.1", Status.CLOSED, "closed")


@pytest.mark.parametrize("error", [AttributeError("secret"), CancelledError(), BaseException()])
def test_a_cell_that_raises_when_it_is_read_hides_no_value(error: BaseException) -> None:
    class Moody:
        def get(self) -> str | None:
            raise error

        def peek(self) -> str | None:
            return None

        def set(self, value: str | None, /) -> None: ...

    bus = InProcessTransport()
    with synced(A, bus, cell=Moody()) as replica:
        with pytest.raises(NotReadyError):
            replica.get()
        bus.publish(KEY, envelope(1))
        assert replica.value == "0.1"
        assert replica.stats.handler_errors == 2


@in_virtual_time
async def test_age_and_reason_follow_the_clock_of_the_pace() -> None:
    async with LossyTransport() as bus:
        Author(bus)
        async with synced(A, bus, pace=pace(reconcile_interval_s=100.0), stale_after_s=20.0) as replica:
            await replica.ready()
            await passing(19.0)
            assert (replica.age_s, replica.status, replica.reason) == (19.0, Status.OK, "")
            await passing(2.0)
            assert (replica.status, replica.reason) == (Status.STALE, "not proven for more than 20 s")
            assert replica.snapshot().age_s == 21.0


def test_snapshots_are_consistent_while_other_threads_publish() -> None:
    """Value, version and deletion of one snapshot were written together, and snapshots never go back."""
    bus = InProcessTransport()
    total = 6_000
    wrong = []

    def publish() -> None:
        for sequence in range(1, total + 1):
            bus.publish(KEY, tombstone(sequence) if sequence % 7 == 0 else envelope(sequence))

    with synced(A, bus) as replica:

        def read(look: Callable[[], Snapshot[str]]) -> Callable[[], None]:
            def run() -> None:
                last = Version(0, 0)
                while last != Version(0, total):
                    seen = look()
                    if seen.version is None:
                        continue
                    sequence = seen.version.sequence
                    if seen.version < last or (seen.value, seen.deleted) != (
                        (None, True) if sequence % 7 == 0 else (f"0.{sequence}", False)
                    ):
                        wrong.append(seen)
                    last = seen.version

            return run

        in_threads(publish, read(replica.snapshot), read(replica.snapshot))
        assert wrong == []
