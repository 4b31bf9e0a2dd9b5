"""Beats over a faulty connection: struck as envelopes are, and made when they leave."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs
import pytest

from parasync import Capabilities, Envelope, InProcessTransport
from parasync.errors import ClosedError, UsageError
from parasync.protocol import ABSENT, EPOCH_BITS, Beat, Position, Version
from parasync.testing import Faults, FaultyTransport
from tests.lossy import LossyTransport
from tests.virtual_time import in_virtual_time, passing

EPOCH = 1_700_000_000 << EPOCH_BITS
NAMED = {"user:1": Position(Version(EPOCH, 3), 5)}


def beat(number: int) -> Beat:
    return Beat(EPOCH, number, 1.0, 5.0, ABSENT, EPOCH, None, None, NAMED, 0)


def say(bus: FaultyTransport, *numbers: int) -> None:
    for number in numbers:
        bus.publish_beat("user", lambda _, number=number: beat(number))  # type: ignore[misc]


def ends(**faults: Any) -> tuple[FaultyTransport, FaultyTransport, list[Beat]]:
    """Who beats behind a bad connection, who hears behind a good one, and what is heard."""
    wire, heard = InProcessTransport(), list[Beat]()
    speaker, hearer = FaultyTransport(wire, Faults(seed=3, **faults)), FaultyTransport(wire)
    hearer.subscribe_beats("user", heard.append)
    return speaker, hearer, heard


@in_virtual_time
async def test_without_faults_beats_pass_as_they_are() -> None:
    speaker, _, heard = ends()
    assert speaker.capabilities == Capabilities(lossless=False, ordered=True, threads=True, ask=True, beats=True)
    say(speaker, 1, 2)
    speaker.publish_beat("user", lambda _: None)
    speaker.publish_beat("other", lambda _: beat(9))
    assert heard == [beat(1), beat(2)]


@pytest.mark.parametrize(
    ("kind", "expected"), [("drop", []), ("duplicate", [1, 1, 2, 2]), ("corrupt", []), ("truncate", []), ("partition", [])]
)
@in_virtual_time
async def test_each_kind_of_fault_strikes_beats(kind: str, expected: list[int]) -> None:
    speaker, _, heard = ends(**{kind: 1.0, "outage_s": (1.0, 1.0)})
    numbers: list[int] = []

    def make(_: Collection[str]) -> Beat:
        numbers.append(1)
        return beat(len(numbers))

    if kind == "partition":
        speaker.partition(incoming=False)
    speaker.publish_beat("user", make)
    speaker.publish_beat("user", make)
    assert [each.number for each in heard] == expected
    assert speaker.fired[kind] > 0
    assert len(numbers) <= 2, "each is made once at the most"


@pytest.mark.parametrize("kind", ["reorder", "delay"])
@in_virtual_time
async def test_late_beats_come_all_the_same(kind: str) -> None:
    speaker, _, heard = ends(**{kind: 1.0, "delay_s": (0.1, 0.5)})
    say(speaker, 1, 2, 3)
    assert heard == []
    await passing(1.0)
    assert sorted(each.number for each in heard) == [1, 2, 3]


@in_virtual_time
async def test_poison_beats_are_of_nobody_and_hide_none() -> None:
    speaker, hearer, heard = ends(poison=1.0)
    say(speaker, *range(1, 21))
    real = [each for each in heard if each == beat(each.number)]
    assert [each.number for each in real if each in real] == [*range(1, 21)]
    poison = [each for each in heard if each not in real]
    assert {each.epoch < EPOCH for each in poison} == {True, False}
    assert any(each.since == each.number for each in poison)
    assert any(each.named != NAMED and each.named for each in poison)
    assert hearer.fired == {}


@in_virtual_time
async def test_what_is_heard_is_struck_too_and_ends_with_its_subscription() -> None:
    wire, heard = InProcessTransport(), list[Beat]()
    hearer = FaultyTransport(wire, Faults(seed=3, delay=1.0, delay_s=(0.1, 0.1)))
    end = hearer.subscribe_beats("user", heard.append)
    wire.publish_beat("user", lambda _: beat(1))
    assert heard == []
    await passing(0.2)
    assert heard == [beat(1)]
    wire.publish_beat("user", lambda _: beat(2))
    end()
    end()
    await passing(0.2)
    assert heard == [beat(1)]
    assert not wire._beats.listens("user")


@in_virtual_time
async def test_a_beat_is_made_when_it_leaves_and_knows_what_waits() -> None:
    speaker, hearer, _ = ends()
    told: list[Any] = []
    hearer.subscribe("user:1", lambda envelope: told.append(envelope.sequence))

    def make(waiting: Collection[str]) -> Beat:
        told.append(set(waiting))
        return beat(1)

    speaker.disconnect()
    speaker.publish("user:1", Envelope("x", "1.0", 1))
    speaker.publish_beat("user", make)
    assert told == []
    speaker.heal()
    assert told == [1, set()], "first what was published, then the beat"
    # A single envelope that is held back: the beat does not wait for it, and knows.
    slow = FaultyTransport(speaker.inner, Faults(seed=1, delay=1.0, delay_s=(0.1, 0.1)))
    slow.publish("user:1", Envelope("y", "1.0", 2))
    slow._link.calm = True
    slow.publish_beat("user", make)
    assert told == [1, set(), {"user:1"}]


async def test_over_what_carries_no_beats_there_are_none() -> None:
    bus = FaultyTransport(LossyTransport())
    assert not bus.capabilities.beats
    with pytest.raises(UsageError, match="carries beats"):
        bus.publish_beat("user", lambda _: None)
    with pytest.raises(UsageError, match="carries beats"):
        bus.subscribe_beats("user", print)


async def test_a_closed_connection_takes_no_beats() -> None:
    speaker, hearer, heard = ends()
    await hearer.aclose()
    with pytest.raises(ClosedError):
        hearer.subscribe_beats("user", print)
    with pytest.raises(ClosedError):
        hearer.publish_beat("user", lambda _: None)
    assert heard == []
    assert attrs.asdict(speaker.capabilities)["beats"]
