"""The outbox against an oracle: the newest of each key goes out, in order, within limits, and knows what it follows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parasync import Envelope
from parasync.errors import EncodeError
from parasync.transports._outbox import Outbox, Turn

PAYLOAD_MAX = 100


def put(outbox: Outbox, key: str, envelope: Envelope[Any], size: int = 10) -> Envelope[Any]:
    """Publish; returns the envelope that was encoded."""
    encoded: list[Envelope[Any]] = []

    def encode(_: str, given: Envelope[Any]) -> bytes:
        encoded.append(given)
        return (b"%d" % given.sequence).ljust(size, b".")

    outbox.publish(key, envelope, b"PUB %b " % key.encode(), encode, 1000)
    return encoded[0]


def state(sequence: int, epoch: int = 0, after: int | None = None) -> Envelope[Any]:
    return Envelope("value", "1.0", sequence, epoch, after, meta={"a": "b"}, checksum=5)


@dataclass
class Entry:
    key: str
    sequence: int
    epoch: int
    after: int
    size: int


@dataclass
class Oracle:
    keys_max: int
    bytes_max: int
    waiting: list[Any] = field(default_factory=list)
    conflated: int = 0
    dropped: int = 0

    def publish(self, entry: Entry) -> None:
        same = [each for each in self.waiting if isinstance(each, Entry) and each.key == entry.key]
        if same:
            self.conflated += 1
            self.waiting.remove(same[0])
            if same[0].epoch == entry.epoch:
                entry.after = min(entry.after, same[0].after)
        self.waiting.append(entry)
        while True:
            entries = [each for each in self.waiting if isinstance(each, Entry)]
            if len(entries) <= self.keys_max and (sum(each.size for each in entries) <= self.bytes_max or len(entries) == 1):
                return
            self.waiting.remove(entries[0])
            self.dropped += 1


class OutboxMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.outbox, self.oracle = Outbox(3, 60), Oracle(3, 60)
        self.commands = 0
        self.sequences = dict.fromkeys("abcde", 0)

    @rule(key=st.sampled_from("abcde"), epoch=st.sampled_from([1, 1, 1, 2]), size=st.integers(8, 40), skip=st.integers(1, 3))
    def publish(self, key: str, epoch: int, size: int, skip: int) -> None:
        self.sequences[key] = sequence = self.sequences[key] + skip
        entry = Entry(key, sequence, epoch, sequence - 1, size)
        self.oracle.publish(entry)
        mended = put(self.outbox, key, state(sequence, epoch), size)
        assert (sequence - 1 if mended.after is None else mended.after) == entry.after

    @rule()
    def command(self) -> None:
        self.commands += 1
        self.outbox.command(self.commands)
        self.oracle.waiting.append(self.commands)

    @rule(size=st.integers(1, 40))
    def message(self, size: int) -> None:
        fits = sum(len(each) for each in self.oracle.waiting if isinstance(each, bytes)) + size <= 60
        message = b"m" * size
        assert self.outbox.message(message) == fits
        if fits:
            self.oracle.waiting.append(message)
        else:
            self.oracle.dropped += 1

    @rule(count=st.integers(1, 3))
    def lead(self, count: int) -> None:
        some = [f"lead {number}" for number in range(count)]
        self.outbox.lead(some)
        self.oracle.waiting = some + self.oracle.waiting

    @rule(kind=st.sampled_from([int, bytes]))
    def discard(self, kind: type) -> None:
        self.outbox.discard(kind)
        self.oracle.waiting = [each for each in self.oracle.waiting if not isinstance(each, kind)]

    @precondition(lambda self: self.oracle.waiting)
    @rule()
    def take_some(self) -> None:
        taken = self.outbox.take(64, PAYLOAD_MAX)
        assert taken
        for item in taken:
            expected = self.oracle.waiting.pop(0)
            if isinstance(expected, Entry):
                head, body, end = item.split(b"\r\n")
                assert (head, end) == (b"PUB %b %d" % (expected.key.encode(), expected.size), b"")
                assert int(body.rstrip(b".")) == expected.sequence
            else:
                assert item == expected

    @invariant()
    def counts(self) -> None:
        assert len(self.outbox) == len(self.oracle.waiting)
        assert (self.outbox.conflated, self.outbox.dropped) == (self.oracle.conflated, self.oracle.dropped)


TestOutbox = OutboxMachine.TestCase


def test_an_empty_outbox_gives_nothing() -> None:
    assert Outbox(1, 1).take(10, 10) == []


def test_a_conflated_envelope_keeps_everything_but_its_predecessor() -> None:
    outbox = Outbox(10, 1000)
    put(outbox, "a", state(5))
    newer = state(6)
    mended = put(outbox, "a", newer)
    assert (mended.after, newer.after) == (4, None), "the writer's own envelope is not touched"
    mended.after = None
    assert mended == newer


@pytest.mark.parametrize(
    ("first", "second", "after"),
    [
        (state(5), state(6), 4),
        (state(5, after=2), state(6), 2),
        (state(5), state(6, after=1), 1),
        (state(5), state(9), 4),
        (state(5, epoch=1), state(6, epoch=2), 5),
        (state(5), state(3), 2),
    ],
)
def test_the_lower_predecessor_is_inherited_within_one_life(first: Envelope[Any], second: Envelope[Any], after: int) -> None:
    outbox = Outbox(10, 1000)
    put(outbox, "a", first)
    sent = put(outbox, "a", second)
    assert (sent.sequence - 1 if sent.after is None else sent.after) == after


def test_what_the_server_would_not_take_is_dropped_when_its_turn_comes() -> None:
    outbox = Outbox(10, 1000)
    put(outbox, "a", state(1), 51)
    put(outbox, "b", state(2), 50)
    assert outbox.take(1000, 50) == [b"PUB b 50\r\n2" + b"." * 49 + b"\r\n"]
    assert outbox.dropped == 1


def test_what_is_too_large_now_is_refused_and_leaves_what_waits() -> None:
    outbox = Outbox(10, 1000)
    put(outbox, "a", state(1))
    with pytest.raises(EncodeError, match="got a frame of 51 bytes, expected at most 50"):
        outbox.publish("a", state(2), b"PUB a ", lambda _, __: b"." * 51, 50)
    assert outbox.take(1000, 50) == [b"PUB a 10\r\n1.........\r\n"]
    assert (outbox.conflated, outbox.dropped) == (0, 0)


def test_a_turn_is_made_when_it_comes_and_knows_what_waits_behind_it() -> None:
    outbox, waited = Outbox(10, 1000), list[set[str]]()

    def turn(message: bytes | None) -> Turn:
        def make(waiting: Collection[str]) -> bytes | None:
            waited.append({*waiting})
            return message

        return Turn(make)

    put(outbox, "a", state(1))
    put(outbox, "b", state(1))
    outbox.command(turn(b"BEAT"))
    outbox.command(turn(None))
    put(outbox, "b", state(2))
    put(outbox, "c", state(1))
    assert waited == []
    taken = outbox.take(1000, PAYLOAD_MAX)
    assert [message[:6] for message in taken] == [b"PUB a ", b"BEAT", b"PUB b ", b"PUB c "]
    assert waited == [{"b", "c"}, {"b", "c"}]
    outbox.command(turn(b"BEAT"))
    outbox.discard(Turn)
    assert outbox.take(1000, PAYLOAD_MAX) == []
    assert (len(waited), len(outbox)) == (2, 0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 90)), max_size=30))
def test_the_size_that_waits_is_counted_rightly(puts: list[tuple[str, int]]) -> None:
    outbox = Outbox(3, 10_000)
    for sequence, (key, size) in enumerate(puts, 10):
        put(outbox, key, state(sequence), max(size, 4))
    outbox.take(10_000, 50)
    assert (outbox._bytes, len(outbox)) == (0, 0)
