"""What serves and listens in a process, summed up for whoever looks."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from parasync import InProcessTransport, Topic, synced
from parasync.protocol import STATUS_KEYS_MAX, ReplicaStatus
from parasync.runtime import _census
from parasync.runtime._hub import LOOKED_AT_MAX
from tests.runtime.kit import envelope, in_threads

NOTES = Topic("note", str, version="1.3")
TASKS = Topic("task", str, version="2.0")


@pytest.fixture
def bus() -> Iterator[InProcessTransport]:
    with InProcessTransport() as bus:
        yield bus


def entries(bus: object) -> list[_census.Listed]:
    return [entry for entry, transport in _census.listed() if transport is bus]


def rows(bus: object) -> list[ReplicaStatus]:
    found = [row for entry in entries(bus) for row in entry.statuses() if row is not None]
    assert all(isinstance(row, ReplicaStatus) for row in found)
    return found  # type: ignore[return-value]


def test_replicas_are_summed_up_by_topic_and_schema(bus: InProcessTransport) -> None:
    assert entries(bus) == []
    other = Topic("note", str, version="2.0")
    replicas = [synced(topic[ident], bus) for topic in (NOTES, TASKS) for ident in "abcde"]
    replicas += [synced(NOTES["a"], bus), synced(other["a"], bus)]
    for ident in "abc":
        bus.publish(f"note:{ident}", envelope(4))
    assert len(entries(bus)) == 1
    notes, others, tasks = sorted(rows(bus), key=lambda row: (row.topic, row.accepts))
    assert (notes.topic, notes.accepts, notes.objects, sum(notes.statuses.values())) == ("note", "1.3", 5, 6)
    assert notes.counters["applied"] == 4
    assert notes.refusals == ()
    assert (others.accepts, others.objects) == ("2.0", 1)
    assert [(each.schema_version, each.error, each.keys) for each in others.refusals] == [("1.0", "SchemaSkewError", 1)]
    assert others.keys == ("note:a",)
    assert "schema major 1" in others.reason
    assert (tasks.topic, tasks.objects, len(tasks.keys)) == ("task", 5, STATUS_KEYS_MAX)
    by_key = {row.keys[0]: row for entry in entries(bus) for row in entry.by_key()}
    assert len(by_key) == 10
    assert by_key["note:b"].counters["applied"] == 1
    for replica in replicas:
        replica.close()
    assert entries(bus) == []


def test_others_may_run_while_many_are_looked_at(bus: InProcessTransport) -> None:
    replicas = [synced(NOTES["a"], bus) for _ in range(2 * LOOKED_AT_MAX + 1)]
    [entry] = entries(bus)
    assert [row is None for row in entry.statuses()] == [True, True, False]
    for replica in replicas:
        replica.close()


def test_what_those_counted_who_left_is_kept_while_somebody_wants_to_know(bus: InProcessTransport) -> None:
    def read(count: int) -> None:
        for _ in range(count):
            with synced(NOTES["a"], bus, seed=envelope(1)) as replica:
                bus.publish("note:a", envelope(2))
                replica.close()
                replica.close()

    gone = _census.Gone()
    _census.remember(gone)
    try:
        in_threads(*[lambda: read(50)] * 4)
        applied = gone.counted()["note", ""]["applied"]
        # Each saw at least its own publication.
        assert applied == 200
    finally:
        _census.remember(None)
    read(1)
    assert gone.counted()["note", ""]["applied"] == applied


def test_whoever_cannot_be_seen_works_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(InProcessTransport):
        def answer_status(self, source: object) -> object:
            raise ZeroDivisionError

    class BrokenAtTheEnd(InProcessTransport):
        def answer_status(self, source: object) -> object:
            return lambda: 1 / 0

    for kind in (Broken, BrokenAtTheEnd):
        bus = kind()
        with bus, synced(NOTES["a"], bus) as replica:
            bus.publish("note:a", envelope(1))
            assert replica.value == "0.1"
        assert entries(bus) == []
    with caplog.at_level(logging.WARNING, "parasync"):
        assert len([record for record in caplog.records if "ZeroDivisionError" in record.message]) == 2
