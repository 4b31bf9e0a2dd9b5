"""The objects of `parasync.threads` in one process: what blocks, for how long, and what is left when nobody waits any more."""

from __future__ import annotations

import asyncio
import gc
import inspect
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, Self

import pytest

from parasync import ABSENT, Change, InProcessTransport, MemoryStore, Status, Topic, Version, threads
from parasync.errors import (
    AskTimeoutError,
    ClosedError,
    ConflictError,
    ConnectError,
    DeletedError,
    IndeterminateError,
    InvalidKeyError,
    InvalidTypeError,
    NoAuthorityError,
    NotReadyError,
    UsageError,
)
from parasync.protocol import EPOCH_MAX, Envelope
from parasync.runtime import _authority, _mirror, _synced
from parasync.stores import Draft, Outcome
from parasync.threads import _home
from parasync.transports.nats import NatsTransport

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
    return threads.authority(NOTES, bus)


def tasks() -> int:
    """How many tasks there are in the loop, this one left out."""

    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    return _home.home().call(count, PATIENCE_S, "a count")


def settled(expected: int) -> bool:
    """Whether there are so many tasks, soon."""
    give_up = threading.Event()
    timer = threading.Timer(PATIENCE_S, give_up.set)
    timer.start()
    try:
        while tasks() != expected:
            if give_up.is_set():
                return False
    finally:
        timer.cancel()
    return True


class StuckStore(MemoryStore):
    """Does not answer a write before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck = True
        self.goes_on = asyncio.Event()

    def write_now(self, topic: str, epoch: int, draft: Draft) -> Outcome | None:
        return None if self.stuck else super().write_now(topic, epoch, draft)

    async def write(self, topic: str, epoch: int, draft: Draft) -> Outcome:
        await self.goes_on.wait()
        return await super().write(topic, epoch, draft)


def test_one_writes_and_another_reads(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    with threads.synced(NOTES["a"], bus) as note:
        with pytest.raises(DeletedError):
            note.fresh()
        first = owner.put("a", "first")
        assert note.ready() == note.value == note.get() == note.peek() == "first"
        assert note.at_least(first) == "first"
        assert note.version == first
        assert (note.status, note.reason, note.snapshot().value) == (Status.OK, "", "first")
        second = owner.update("a", str.upper)
        assert note.at_least(second) == note.fresh() == "FIRST"
        assert owner.get("a").value == "FIRST"
        note.when_idle()
        gone = owner.delete("a", expected=second)
        with pytest.raises(DeletedError):
            note.at_least(gone)
        assert note.peek() is None
        assert "note" in repr(note)
    with pytest.raises(ClosedError):
        note.ready()
    note.close()
    assert owner.serving
    assert owner.epoch > 0
    assert owner.topic is NOTES
    owner.close()
    owner.close()
    assert not owner.serving
    with pytest.raises(ClosedError):
        owner.put("a", "x")


def test_a_bus_by_its_name() -> None:
    with threads.connect("inproc://here") as bus, threads.connect("inproc://here") as same:
        assert bus.transport is same.transport
        with threads.authority(NOTES, bus) as owner, threads.synced(NOTES["a"], same) as note:
            owner.put("a", "text")
            assert note.ready() == "text"
        same.close()
        same.close()
        assert not bus.closed
        assert bus.connected
        assert bus.last_error is None
        bus.flush()
        assert "InProcess" in repr(bus)
    assert bus.closed
    assert not bus.connected


def test_conditions_and_errors_are_those_of_the_loop(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    owner.put("a", "text", expected=ABSENT, idempotency_key="once", meta={"who": "me"})
    owner.put("a", "text", expected=ABSENT, idempotency_key="once")
    with pytest.raises(ConflictError):
        owner.put("a", "text", expected=ABSENT)
    with pytest.raises(InvalidTypeError):
        owner.put("a", 7)  # type: ignore[arg-type]
    with pytest.raises(InvalidKeyError):
        threads.synced(NOTES[""], bus)
    with pytest.raises(DeletedError):
        owner.delete("z")
    with pytest.raises(ConnectError):
        threads.connect("nats://127.0.0.1:1")
    with pytest.raises(UsageError):
        threads.connect("smtp://here")
    with pytest.raises(UsageError, match=r"threads\.connect"):
        threads.synced(NOTES["a"], NatsTransport("nats://127.0.0.1:1"))
    with pytest.raises(UsageError):
        threads.synced(NOTES["a"], None)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        owner.update("a", None)  # type: ignore[arg-type]
    with threads.synced(NOTES["a"], bus) as note:
        with pytest.raises(UsageError, match="timeout_s"):
            note.ready(timeout_s="1")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="timeout_s"):
            note.changes(timeout_s="1")  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="Version"):
            note.at_least("1.1")  # type: ignore[arg-type]


def test_updates_of_many_threads_are_all_there(bus: InProcessTransport) -> None:
    counts = Topic("count", int, version="1.0")
    owner = threads.authority(counts, bus)
    owner.put("a", 0)

    def add() -> None:
        for _ in range(10):
            owner.update("a", lambda count: count + 1)

    adders = [threading.Thread(target=add) for _ in range(8)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join()
    assert owner.get("a").value == 80


def test_an_update_may_block_in_its_function(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    owner.put("a", "text")
    owner.put("b", "other")
    owner.update("a", lambda old: f"{old} {owner.get('b').value}")
    assert owner.get("a").value == "text other"


def test_an_update_that_never_gets_through(owner: threads.authority[str]) -> None:
    owner.put("a", "x")

    def change(old: str) -> str:
        owner.put("a", old + "x")
        return old

    with pytest.raises(ConflictError):
        owner.update("a", change)


def test_waits_end_in_time_and_leave_nothing(bus: InProcessTransport) -> None:
    note = threads.synced(NOTES["a"], bus)
    before = tasks()
    with pytest.raises(AskTimeoutError, match="first value") as caught:
        note.ready(timeout_s=0.01)
    assert caught.value.timeout_s == 0.01
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(AskTimeoutError):
        note.at_least(Version(9, 9), timeout_s=0)
    with pytest.raises(AskTimeoutError):
        note.ready(timeout_s=-1)
    with pytest.raises(NotReadyError):
        _ = note.value
    assert settled(before)
    note.close()


def test_a_demand_without_an_authority(bus: InProcessTransport) -> None:
    note = threads.synced(NOTES["a"], bus)
    with pytest.raises((AskTimeoutError, NoAuthorityError)):
        note.fresh(timeout_s=0.01)
    note.close()


def test_a_write_that_takes_too_long_may_have_happened(bus: InProcessTransport) -> None:
    store = StuckStore()
    owner = threads.authority(NOTES, bus, store=store)
    with pytest.raises(IndeterminateError, match="may have happened"):
        owner.put("a", "text", timeout_s=0.01)
    store.stuck = False
    _home.home().run(store.goes_on.set, "the store goes on")
    assert owner.put("a", "next") > ABSENT


def test_a_blocking_call_in_the_loop_thread_is_refused(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    """And no deadlock: a listener runs there. It may subscribe and end others, which do not block."""
    note, other = threads.synced(NOTES["a"], bus), threads.synced(NOTES["b"], bus)
    raised: list[Exception] = []
    done = threading.Event()

    def listener(_: Change[str]) -> None:
        calls: tuple[Callable[[], object], ...] = (
            note.ready, lambda: owner.put("b", "x"), lambda: threads.connect("inproc://x"), lambda: next(note.changes()),
        )  # fmt: skip
        for call in calls:
            try:
                call()
            except UsageError as error:
                raised.append(error)
        note.subscribe(lambda _: None)()
        other.close()
        done.set()

    unsubscribe = note.subscribe(listener)
    owner.put("a", "text")
    assert done.wait(PATIENCE_S)
    assert len(raised) == 4
    assert all("loop thread" in str(error) for error in raised)
    unsubscribe()
    owner.put("a", "more")
    assert len(raised) == 4
    note.close()


def test_a_listener_that_blocks_is_named(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    note = threads.synced(NOTES["a"], bus)
    goes_on, begun = threading.Event(), threading.Event()

    def listener(_: Change[str]) -> None:
        begun.set()
        goes_on.wait(PATIENCE_S)

    note.subscribe(listener)
    with pytest.raises(IndeterminateError):
        owner.put("a", "text", timeout_s=0.05)
    assert begun.wait(PATIENCE_S)
    with pytest.raises(AskTimeoutError, match="does a listener block"):
        note.at_least(Version(9, 9), timeout_s=0.0)
    assert note.value == "text"
    goes_on.set()
    note.close()


def test_changes_are_iterated(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    owner.put("a", "0")
    note = threads.synced(NOTES["a"], bus)
    note.ready()
    seen = note.version
    with note.changes(timeout_s=PATIENCE_S) as changes:
        writer = threading.Thread(target=lambda: [owner.put("a", str(number)) for number in range(1, 4)])
        writer.start()
        got = []
        for change in changes:
            got.append(change.new)
            if change.new == "3":
                break
        writer.join()
    assert got == ["1", "2", "3"]
    assert list(changes) == []
    with note.changes(since=seen, timeout_s=0.01) as late:
        assert next(late).new == "3"
        with pytest.raises(AskTimeoutError, match="a change of 'note:a'"):
            next(late)
        owner.put("a", "4")
        assert next(late).new == "4"
        note.close()
        assert list(late) == []
    with pytest.raises(ClosedError):
        note.changes()


def test_a_reader_of_changes_is_told_the_end(bus: InProcessTransport) -> None:
    note = threads.synced(NOTES["a"], bus)
    changes = note.changes()
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.extend(changes))
    reader.start()
    note.close()
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    assert got == []


def test_ctrl_c_ends_a_wait_and_what_it_waited_for(bus: InProcessTransport) -> None:
    home = _home.home()
    ended = threading.Event()

    async def work() -> None:
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    # A shell may have started the tests with this signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            home.call(work, PATIENCE_S, "a signal")
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.wait(PATIENCE_S)
    assert settled(0)


def test_what_was_entered_too_late_is_left_again() -> None:
    """The wait is over while it is being entered, and it does not care: nobody holds it, so it must not stay open."""
    home = _home.home()
    left = threading.Event()

    class Slow:
        async def __aenter__(self) -> Self:
            entering = asyncio.get_running_loop().create_future()
            try:
                await entering
            except asyncio.CancelledError:
                return self
            return self

        async def __aexit__(self, *_: object) -> None:
            left.set()

    with pytest.raises(AskTimeoutError, match="something slow"):
        home.enter(Slow, 0.01, "something slow")  # type: ignore[type-var]
    assert left.wait(PATIENCE_S)


def test_a_replica_that_was_dropped_is_ended(bus: InProcessTransport) -> None:
    note = threads.synced(NOTES["a"], bus)
    assert bus.key_count() > 0
    with pytest.warns(ResourceWarning, match="dropped without being closed"):
        del note
    _home.home().run(lambda: None, "a turn of the loop")
    assert bus.key_count() == 0


def test_shutdown_ends_everything_and_what_is_new_begins_anew(bus: InProcessTransport) -> None:
    named = threads.connect("inproc://there")
    owner, note = threads.authority(NOTES, named), threads.synced(NOTES["a"], named)
    owner.put("a", "text")
    waiting: list[Exception] = []

    def wait() -> None:
        try:
            note.at_least(Version(EPOCH_MAX, 1), timeout_s=None)
        except ClosedError as error:
            waiting.append(error)

    changes = note.changes()
    waiters = [threading.Thread(target=wait), threading.Thread(target=lambda: list(changes))]
    for waiter in waiters:
        waiter.start()
    threads.shutdown()
    for waiter in waiters:
        waiter.join(PATIENCE_S)
        assert not waiter.is_alive()
    assert list(changes) == []
    assert len(waiting) == 1
    assert named.closed
    assert note.value == "text"
    for call in (lambda: owner.put("a", "x"), note.ready, lambda: threads.synced(NOTES["a"], named)):
        with pytest.raises(ClosedError):
            call()
    owner.close()
    note.close()
    named.close()
    with threads.connect("inproc://there") as bus, threads.authority(NOTES, bus) as another:
        assert another.put("a", "text") > ABSENT
    threads.shutdown()
    threads.shutdown()


def test_per_process_makes_one_object() -> None:
    made: list[int] = []
    go = threading.Barrier(8)

    @threads.per_process
    def number() -> int:
        """A number."""
        made.append(len(made))
        return made[-1]

    def ask() -> None:
        go.wait(PATIENCE_S)
        number()

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert made == [0]
    assert (number.__name__, number.__doc__) == ("number", "A number.")
    number.forget()
    assert number() == 1


def test_per_process_tries_again_after_an_error() -> None:
    tries = iter([1, 0])

    @threads.per_process
    def one() -> float:
        return 1 / (1 - next(tries))

    with pytest.raises(ZeroDivisionError):
        one()
    assert one() == one() == 1.0


def test_a_seed_and_options_reach_the_replica(bus: InProcessTransport) -> None:
    seed = Envelope("seeded", "1.0", 1)
    with threads.synced(NOTES["a"], bus, seed=seed, gap="apply", stale_after_s=60) as note:
        assert note.value == "seeded"
        assert note.status is Status.STALE


def test_an_authority_that_loads_answers_afterwards(bus: InProcessTransport) -> None:
    owner = threads.authority(NOTES, bus, loading=True)
    owner.put("a", "text")
    owner.loaded()
    with threads.synced(NOTES["a"], bus) as note:
        assert note.fresh() == "text"


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(threads.synced, _synced.synced), (threads.authority, _authority.authority), (threads.mirror, _mirror.mirror)],
)
def test_nothing_is_missing_and_nothing_is_called_otherwise(mine: Any, theirs: Any) -> None:
    """The same names with the same parameters; `aclose` is `close`, and times are here in every call."""
    for name, function in inspect.getmembers(theirs, inspect.isfunction):
        if name.startswith("_") or name == "aclose":
            continue
        own = list(inspect.signature(getattr(mine, name)).parameters)
        assert [each for each in inspect.signature(function).parameters if each not in own] == []
    options = set(inspect.signature(theirs.__init__).parameters) - {"transport"}
    assert options <= set(inspect.signature(mine.__init__).parameters)


def test_values_are_shared_between_threads(bus: InProcessTransport, owner: threads.authority[str]) -> None:
    """Reads never block, and never go backwards, while another thread writes."""
    note = threads.synced(NOTES["a"], bus)
    owner.put("a", "0")
    note.ready()
    over = threading.Event()
    backwards: list[tuple[int, int]] = []

    def read() -> None:
        last = 0
        while not over.is_set():
            now = int(note.value)
            if now < last:
                backwards.append((last, now))
            last = now

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 200):
        owner.put("a", str(number))
    over.set()
    for reader in readers:
        reader.join()
    note.close()
    assert backwards == []
