"""What is drawn is legal, and what should turn up does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from parasync import Envelope, InProcessTransport, Kind, Topic, Version, synced
from parasync.errors import UsageError
from parasync.protocol import EPOCH_MAX, SEQUENCE_MAX, EncodedBody, parse_key
from parasync.testing.strategies import deliveries, encoded, envelopes, histories, idents, keys, passes, values, versions

pytestmark = pytest.mark.project


@attrs.frozen
class User:
    id: int
    name: str
    score: float = 0.0


USERS = Topic("user", User, version="2.1")
ANYTHING = Topic("any", dict[str, int | str | None])


@given(st.one_of(keys(USERS), keys("user"), idents().map(lambda ident: f"user:{ident}")))
def test_keys_are_legal(key: str) -> None:
    assert parse_key(key).topic == "user"


@pytest.mark.parametrize("odd", [":", "*", ">", ".", "\x00", "ü"])
def test_odd_ids_are_among_them(odd: str) -> None:
    assert odd in find(idents(), lambda ident: odd in ident)


@given(versions(), versions(epoch_max=3, sequence_max=5))
def test_versions_are_in_range(wide: Version, narrow: Version) -> None:
    assert 0 <= wide.epoch <= EPOCH_MAX
    assert 1 <= wide.sequence <= SEQUENCE_MAX
    assert narrow <= Version(3, 5)


@given(values(USERS), values(ANYTHING))
def test_values_pass_the_gate(user: User, anything: dict[str, Any]) -> None:
    assert passes(USERS, user)
    assert passes(ANYTHING, anything)


@pytest.mark.parametrize("value", [User(1, 2), User(1, "\ud800"), User(1, "x", float("nan")), "x", None])  # type: ignore[arg-type]
def test_what_does_not_come_back_does_not_pass(value: Any) -> None:
    assert not passes(USERS, value)


def test_a_type_that_cannot_be_drawn_is_refused() -> None:
    class Handmade:
        def __init__(self, secret) -> None:  # type: ignore[no-untyped-def]  # without an annotation nothing can be drawn
            self.secret = secret

    with pytest.raises(UsageError, match="register a strategy"):
        values(Topic("hand", Handmade, parse=Handmade))


@given(histories(USERS))
def test_histories_only_rise(history: tuple[Envelope[User | None], ...]) -> None:
    found = [envelope.version for envelope in history]
    assert found == sorted(set(found))
    assert all((envelope.kind is Kind.TOMBSTONE) == (envelope.value is None) for envelope in history)
    assert history[0].kind is Kind.STATE, "nothing is deleted before it was written"


def not_sorted(arrived: tuple[Envelope[Any], ...]) -> bool:
    found = [envelope.version for envelope in arrived]
    return found != sorted(found)


def turns_up(strategy: st.SearchStrategy[Any], wanted: Callable[[Any], bool]) -> bool:
    """Whether something like this is drawn, in whatever form."""
    found = find(strategy, wanted, settings=settings(phases=[Phase.generate], max_examples=2_000, deadline=None))
    return wanted(found)


def test_histories_have_deletions_and_lives_that_lost_their_memory() -> None:
    assert turns_up(histories(USERS), lambda history: any(envelope.kind is Kind.TOMBSTONE for envelope in history))
    assert turns_up(histories(USERS), lambda history: any(b.sequence <= a.sequence for a, b in pairwise(history)))
    assert turns_up(histories(USERS, tombstones=False, max_size=2), lambda history: len(history) == 2)


@given(envelopes(USERS))
def test_an_envelope_comes_off_a_bus_as_it_was(envelope: Envelope[User | None]) -> None:
    arrived = encoded(USERS, envelope)
    assert (arrived.version, arrived.kind) == (envelope.version, envelope.kind)
    assert isinstance(arrived.value, EncodedBody) is (envelope.kind is Kind.STATE)
    assert USERS.reader(InProcessTransport().codec)(arrived) == envelope.value


@pytest.mark.parametrize("envelope", [Envelope(User(1, "Ada"), "2.1", 7, 3), Envelope(None, "2.1", 7, 3, kind=Kind.TOMBSTONE)])
def test_what_rides_along_comes_off_the_bus_as_well(envelope: Envelope[Any]) -> None:
    riding = attrs.evolve(envelope, after=5, meta={"by": "eve"})
    arrived = encoded(USERS, riding)
    assert (arrived.after, arrived.meta) == (5, {"by": "eve"})


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_deliveries_are_what_a_bus_may_do(data: st.DataObject) -> None:
    history = data.draw(histories(USERS))
    arrived = data.draw(deliveries(history))
    assert {envelope.version for envelope in arrived} <= {envelope.version for envelope in history}
    whole = data.draw(deliveries(history, lossless=True))
    assert {envelope.version for envelope in whole} == {envelope.version for envelope in history}
    straight = [envelope.version for envelope in data.draw(deliveries(history, ordered=True))]
    assert straight == sorted(straight)


def test_everything_once_in_order_is_the_simplest() -> None:
    history = tuple(Envelope(User(number, "x"), "2.1", number) for number in range(1, 5))
    assert find(deliveries(history), lambda _: True) == history
    assert turns_up(deliveries(history), lambda arrived: len(arrived) < len(history))
    assert turns_up(deliveries(history), lambda arrived: len(arrived) > len(history))
    assert turns_up(deliveries(history), not_sorted)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_replica_ends_at_the_newest_of_what_arrived(data: st.DataObject) -> None:
    arrived = data.draw(deliveries(data.draw(histories(USERS))))
    bus = InProcessTransport()
    with synced(USERS["1"], bus, refetch=lambda: None) as replica:
        for envelope in arrived:
            bus.publish("user:1", envelope)
        if arrived:
            assert replica.version == max(envelope.version for envelope in arrived)
    asyncio.run(bus.aclose())
