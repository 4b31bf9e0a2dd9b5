"""The mirror of `parasync.threads`: reads from any thread, waits that block, and what a session waits for."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parasync import InProcessTransport, Status, Topic, threads
from parasync.errors import (
    AskTimeoutError,
    ClosedError,
    DeletedError,
    NotReadyError,
    SnapshotError,
    UsageError,
)
from parasync.http import Session

NOTES = Topic("note", str, version="1.0")
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def quiet_end() -> Iterator[None]:
    """Each test has its own loop thread, which leaves nothing behind."""
    yield
    threads.shutdown()
    gc.collect()
    assert [thread for thread in threading.enumerate() if thread.name == "parasync"] == []


@pytest.fixture
def bus() -> InProcessTransport:
    return InProcessTransport()


@pytest.fixture
def owner(bus: InProcessTransport) -> threads.authority[str]:
    owner = threads.authority(NOTES, bus)
    owner.put("a", "first")
    owner.put("b", "other")
    return owner


def test_one_writes_and_another_reads_them_all(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    with threads.mirror(NOTES, bus) as notes:
        notes.ready()
        assert dict(notes) == {"a": "first", "b": "other"}
        assert (len(notes), notes.loaded.done, notes.status, notes.reason) == (2, True, Status.OK, "")
        assert (notes.topic, notes.pattern) == (NOTES, None)
        version = owner.put("a", "second")
        assert notes.at_least(version, "a") == notes["a"] == "second"
        assert notes.version_of("a") == version
        notes.fresh()
        notes.when_idle()
        gone = owner.delete("b", expected=notes.version_of("b"))
        with pytest.raises(DeletedError):
            notes.at_least(gone, "b")
        assert list(notes) == ["a"]
        assert notes.stats.applied >= 3
        assert repr(notes) == "<mirror 'note:*' ok, 1 objects>"
    with pytest.raises(ClosedError):
        notes.fresh()
    notes.close()
    assert notes["a"] == "second"


def test_indexes_follow(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    notes = threads.mirror(NOTES, bus)
    by_length, by_text, short = notes.index(len), notes.unique(str), notes.where(lambda text: len(text) < 4)
    notes.ready()
    notes.at_least(owner.put("c", "abc"), "c")
    notes.when_idle()
    assert sorted(by_length[5]) == ["a", "b"]
    assert by_text["abc"] == "abc"
    assert dict(short) == {"c": "abc"}
    notes.close()


def test_waits_end_in_time(bus: InProcessTransport) -> None:
    notes = threads.mirror(NOTES, bus)
    with pytest.raises(NotReadyError):
        notes.get("a")
    with pytest.raises(AskTimeoutError, match="first load"):
        notes.ready(timeout_s=0.01)
    with pytest.raises(UsageError):
        notes.ready(timeout_s="soon")  # type: ignore[arg-type]
    notes.close()


def test_a_listener_may_not_block(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    notes = threads.mirror(NOTES, bus)
    notes.ready()
    told: list[type[BaseException]] = []
    called = threading.Event()

    def listen(_: object) -> None:
        try:
            notes.ready()
        except UsageError as error:
            told.append(type(error))
        called.set()

    stop = notes.subscribe(listen)
    owner.put("a", "second")
    assert called.wait(PATIENCE_S)
    assert told == [UsageError]
    stop()
    owner.put("a", "third")
    notes.when_idle()
    assert told == [UsageError]
    notes.close()


def test_changes_are_iterated(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    notes = threads.mirror(NOTES, bus)
    notes.ready()
    with pytest.raises(UsageError):
        notes.changes(timeout_s="soon")  # type: ignore[arg-type]
    with notes.changes(timeout_s=PATIENCE_S) as changes:
        owner.put("c", "new")
        owner.delete("a")
        assert [(change.id, change.new, change.deleted) for change in (next(changes), next(changes))] == [
            ("c", "new", False),
            ("a", None, True),
        ]
    assert list(changes) == []
    with notes.changes(timeout_s=0.01) as changes:
        with pytest.raises(AskTimeoutError):
            next(changes)
        notes.close()
        assert list(changes) == []
    with pytest.raises(ClosedError):
        notes.changes()


def test_a_pool_reads_while_it_changes(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    """Each read is of one moment, and no object goes backwards."""
    notes = threads.mirror(NOTES, bus)
    for ident in ("a", "b"):
        owner.put(ident, "0")
    notes.ready()
    over = threading.Event()

    def read() -> list[tuple[str, int, int]]:
        last = {"a": 0, "b": 0}
        backwards = []
        while not over.is_set():
            for ident, text in notes.items():
                if int(text) < last[ident]:
                    backwards.append((ident, last[ident], int(text)))
                last[ident] = int(text)
            notes.snapshot()
        return backwards

    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(read) for _ in range(4)]
        try:
            for number in range(1, 200):
                for ident in ("a", "b"):
                    owner.put(ident, str(number))
        finally:
            over.set()
        assert [each.result(PATIENCE_S) for each in reading] == [[]] * 4
    notes.fresh()
    assert dict(notes) == {"a": "199", "b": "199"}
    notes.close()


def test_a_saved_one_begins_the_next(bus: InProcessTransport, owner: threads.authority[str], tmp_path: Path) -> None:
    path = tmp_path / "notes"
    done: list[bool] = []
    owner.put("a:1", "first")
    with threads.mirror(NOTES, bus, pattern="note:a:*", progress=lambda loaded: done.append(loaded.done)) as notes:
        notes.ready()
        notes.snapshot().save(path)
    assert done[-1]
    owner.close()
    with threads.mirror(NOTES, bus, pattern="note:a:*", warm=path) as again:
        assert (again.status, dict(again)) == (Status.STALE, {"a:1": "first"})
    with pytest.raises(SnapshotError):
        threads.mirror(NOTES, bus, warm=path)


def test_a_session_reads_what_its_client_has_seen(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    notes = threads.mirror(NOTES, bus, pattern="note:a:*")
    assert notes.find("note:a") is notes.find("other:a") is None
    note = notes.find("note:a:1")
    assert note is not None
    assert note.key == notes.one("a:1").key == "note:a:1"
    with threads.mirror(NOTES, InProcessTransport()) as unserved, pytest.raises(NotReadyError):
        unserved.one("a:1").value  # noqa: B018
    version = owner.put("a:1", "second")
    with Session(timeout_s=PATIENCE_S) as session:
        session.note("note:a:1", version)
        assert threads.reads(note) == "second"
        session.wait_all_blocking(notes.find, lambda: 0.0)
    with pytest.raises(DeletedError):
        notes.one("a:2").value  # noqa: B018
    assert "note:a" in repr(note)
    notes.close()


def test_one_that_was_dropped_is_ended(bus: InProcessTransport) -> None:
    notes = threads.mirror(NOTES, bus)
    assert notes.loaded.objects == 0
    kept = [notes]
    del notes
    with pytest.warns(ResourceWarning, match="note:"):
        kept.clear()


def test_shutdown_ends_it(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    notes = threads.mirror(NOTES, bus)
    notes.ready()
    threads.shutdown()
    with pytest.raises(ClosedError):
        notes.fresh()
    assert notes.status is Status.CLOSED
