"""The place of a replica: which loop it belongs to, what feeds its cell, and how it leaves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from parasync import Envelope, InProcessTransport, Pace, Status, synced
from parasync.errors import NotReadyError, ParseError, SchemaSkewError, UsageError
from tests.lossy import LossyTransport
from tests.runtime.kit import (
    KEY,
    PATIENCE_S,
    A,
    Author,
    assert_nothing_left,
    envelope,
    in_threads,
    pace,
    promptly,
    tombstone,
    turns,
)
from tests.virtual_time import in_virtual_time


class Bound(LossyTransport):
    """A transport that belongs to the loop in which it was made, as those over a network do."""

    def __init__(self) -> None:
        super().__init__()
        self.home = asyncio.get_running_loop()
        self.strangers: list[str] = []

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        return self.home

    def subscribe(self, key: str, handler: Any, interrupted: Any = None) -> Callable[[], None]:
        stop = super().subscribe(key, handler, interrupted)

        def unsubscribe() -> None:
            self.strangers += [] if threading.current_thread() is threading.main_thread() else [key]
            stop()

        return unsubscribe


class Cell:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.reads = 0
        self.error: BaseException | None = None

    def get(self) -> Any:
        self.reads += 1
        return self.values[-1] if self.values else None

    def peek(self) -> Any:
        return self.values[-1] if self.values else None

    def set(self, value: Any, /) -> None:
        if self.error is not None:
            raise self.error
        self.values.append(value)


async def test_a_replica_belongs_where_its_bus_does() -> None:
    bus = Bound()
    with pytest.raises(UsageError, match="got no event loop"):
        await asyncio.to_thread(lambda: synced(A, bus))

    async def elsewhere() -> None:
        synced(A, bus)

    with pytest.raises(UsageError, match="got another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert_nothing_left(bus)


async def test_a_bus_that_needs_its_loop_needs_async_with() -> None:
    bus = Bound()
    replica = synced(A, bus)
    with pytest.raises(UsageError, match="expected `async with`"), replica:
        pass
    assert replica.status is Status.CLOSED
    await turns()
    assert_nothing_left(bus)


async def test_closing_in_another_thread_is_silent_at_once_and_leaves_the_bus_to_its_loop() -> None:
    bus = Bound()
    replica = synced(A, bus)
    told: list[Any] = []
    replica.subscribe(told.append)
    bus.publish(KEY, envelope(1))
    promptly(replica.close)
    bus.publish(KEY, envelope(2))
    assert (replica.value, replica.status, len(told)) == ("0.1", Status.CLOSED, 1)
    await turns()
    assert bus.strangers == []
    assert_nothing_left(bus)


def test_after_the_loop_has_ended_a_replica_can_be_closed_anywhere() -> None:
    made: list[Any] = []

    async def main() -> None:
        bus = Bound()
        made.extend((bus, synced(A, bus)))

    asyncio.run(main())
    bus, replica = made
    promptly(replica.close)
    replica.close()
    assert_nothing_left(bus)


async def test_a_dropped_replica_leaves_a_bound_bus_alone_until_its_loop_turns() -> None:
    """The collector may have run in the middle of what the bus was doing."""
    bus = Bound()
    replica = synced(A, bus)
    with pytest.warns(ResourceWarning, match="'note:a' was dropped"):
        del replica
    assert bus.key_count() == 1
    await turns()
    assert_nothing_left(bus)


def test_a_dropped_replica_is_cleaned_up_and_reported() -> None:
    bus = InProcessTransport()
    replica = synced(A, bus)
    with pytest.warns(ResourceWarning, match="'note:a' was dropped"):
        del replica
    assert_nothing_left(bus)


# Cells


def test_a_cell_holds_each_value_in_the_order_of_versions() -> None:
    bus, cell = InProcessTransport(), Cell()
    with synced(A, bus, seed=envelope(1), cell=cell) as replica:
        bus.publish(KEY, envelope(2))
        bus.publish(KEY, envelope(1))
        bus.publish(KEY, tombstone(3))
        bus.publish(KEY, envelope(4))
        assert cell.values == ["0.1", "0.2", None, "0.4"]
        assert replica.value == "0.4"
    bus.publish(KEY, envelope(5))
    assert cell.values[-1] == "0.4"


def test_an_empty_replica_sets_nothing() -> None:
    cell = Cell()
    with synced(A, InProcessTransport(), cell=cell):
        assert cell.values == []
    with synced(A, InProcessTransport(), seed=tombstone(1), cell=cell):
        assert cell.values == [None]


def test_reading_a_value_lets_the_cell_note_its_reader_also_where_there_is_none() -> None:
    bus, cell = InProcessTransport(), Cell()
    with synced(A, bus, cell=cell) as replica:
        with pytest.raises(NotReadyError):
            _ = replica.value
        assert cell.reads == 1
        bus.publish(KEY, envelope(1))
        assert replica.value == "0.1"
        assert cell.reads == 2
        assert replica.peek() == "0.1"
        assert cell.reads == 2


def test_a_cell_that_is_behind_or_raises_hides_no_value() -> None:
    bus, cell = InProcessTransport(), Cell()
    cell.error = ValueError()
    with synced(A, bus, seed=envelope(1), cell=cell) as replica:
        assert replica.value == "0.1"
        bus.publish(KEY, envelope(2))
        assert (replica.value, replica.peek()) == ("0.2", "0.2")
        assert replica.stats.handler_errors == 2
    cell.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        synced(A, bus, seed=envelope(1), cell=cell)
    assert_nothing_left(bus)


def test_the_seed_never_overtakes_what_another_thread_publishes() -> None:
    """The cell is set before anybody can publish to the replica."""
    bus = InProcessTransport()
    entered = threading.Event()

    class Slow(Cell):
        def set(self, value: Any, /) -> None:
            if value == "0.1":
                entered.set()
                publisher.join(0.05)
            super().set(value)

    def publish() -> None:
        assert entered.wait(PATIENCE_S)
        for sequence in (2, 3):
            bus.publish(KEY, envelope(sequence))

    publisher = threading.Thread(target=publish)
    publisher.start()
    cell = Slow()
    with synced(A, bus, seed=envelope(1), cell=cell):
        publisher.join(PATIENCE_S)
        assert cell.values == sorted(cell.values)


# Seeds


@pytest.mark.parametrize(
    ("seed", "error"),
    [
        (envelope(1, 17), ParseError), (envelope(1, schema_version="2.0"), SchemaSkewError), (envelope(0), UsageError),
        (envelope("1"), UsageError), (envelope(1, epoch=-1), UsageError), ("text", UsageError),
        (envelope(1, schema_version=7), SchemaSkewError),
    ],
)  # fmt: skip
def test_a_bad_seed_is_refused_and_leaves_nothing(seed: Any, error: type[Exception]) -> None:
    bus = InProcessTransport()
    with pytest.raises(error):
        synced(A, bus, seed=seed)
    assert_nothing_left(bus)


@pytest.mark.parametrize(
    ("answer", "value", "changes"),
    [
        (envelope(5), "0.5", 0),
        (envelope(3), "0.3", 1),
        (envelope(5, "corrected"), "corrected", 1),
        (envelope(8), "0.8", 1),
        (envelope(2, epoch=0), "0.2", 1),
        (None, None, 1),
    ],
)
@in_virtual_time
async def test_a_seed_stands_until_the_first_answer_whatever_that_says(
    answer: Envelope[str] | None, value: str | None, changes: int
) -> None:
    async with LossyTransport() as bus, synced(A, bus, seed=envelope(5), refetch=lambda: answer, pace=pace()) as replica:
        told: list[Any] = []
        replica.subscribe(told.append)
        assert (replica.value, replica.status) == ("0.5", Status.STALE)
        await replica.when_idle()
        assert (replica.peek(), replica.status) == (value, Status.OK)
        assert len(told) == changes


@in_virtual_time
async def test_a_seed_is_not_told_of_as_if_it_were_proven() -> None:
    async with LossyTransport() as bus:
        author = Author(bus)
        async with synced(A, bus, seed=envelope(5), pace=pace()) as replica:
            await replica.when_idle()
            assert author.asks[0].positions == (None,)


def test_where_nobody_can_be_asked_a_seed_is_a_value_like_others() -> None:
    bus = Mute()
    with synced(A, bus, seed=envelope(5)) as replica:
        assert (replica.value, replica.status) == ("0.5", Status.STALE)
        assert "nobody to ask" in replica.reason
        bus.publish(KEY, envelope(6))
        assert (replica.value, replica.status, replica.reason) == ("0.6", Status.OK, "")
    assert_nothing_left(bus)


class Mute:
    """A lossless transport that cannot ask: the smallest there is."""

    def __init__(self) -> None:
        self._inner = InProcessTransport()
        self.codec = self._inner.codec
        self.capabilities = type(self._inner.capabilities)(lossless=True, ordered=True, threads=True, ask=False)
        self.publish = self._inner.publish
        self.subscribe = self._inner.subscribe
        self.subscribe_topic = self._inner.subscribe_topic
        self.key_count = self._inner.key_count


@in_virtual_time
async def test_a_transport_that_cannot_ask_takes_a_refetch() -> None:
    bus = Mute()
    async with synced(A, bus, refetch=lambda: envelope(3), pace=pace()) as replica:
        assert await replica.ready() == "0.3"
        assert replica.status is Status.OK
    assert_nothing_left(bus)


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"gap": "ignore"}, {"seed": "text"}, {"refetch": 7}, {"cell": object()}, {"stale_after_s": 0}, {"stale_after_s": "1"},
        {"stale_after_s": float("nan")}, {"pace": 5.0},
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    bus = InProcessTransport()
    with pytest.raises(UsageError, match="got"):
        synced(A, bus, **options)
    with pytest.raises(UsageError, match="expected a Ref"):
        synced("note:a", bus)  # type: ignore[arg-type]
    assert_nothing_left(bus)


@pytest.mark.parametrize("transport", [None, "nats://127.0.0.1", InProcessTransport, object()])
def test_what_is_no_transport_is_refused(transport: Any) -> None:
    with pytest.raises(UsageError, match="expected a bus"):
        synced(A, transport)


def test_the_age_of_a_proof_follows_the_pace() -> None:
    with synced(A, InProcessTransport(), pace=Pace(reconcile_interval_s=10.0, ask_timeout_s=3.0)) as replica:
        assert replica._member.stale_after_s == 18.0


def test_closing_from_many_threads_at_once_ends_it_once() -> None:
    bus = InProcessTransport()
    for _ in range(50):
        replica, other = synced(A, bus), synced(A, bus)
        in_threads(replica.close, replica.close, lambda: bus.publish(KEY, envelope(1)))
        assert len(other._seat.group.members) == 1
        other.close()
        assert_nothing_left(bus)
