"""Where a recovery gets the newest version from."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from parasync import ABSENT, Envelope, InProcessTransport, Kind, Version
from parasync.errors import (
    AskTimeoutError,
    DecodeError,
    NoAuthorityError,
    ParasyncError,
    RefusedError,
    TransportError,
    UsageError,
)
from parasync.protocol import (
    ABSENT_OBJECT,
    ASK_KEYS_MAX,
    SAME,
    UNANSWERED,
    Answer,
    Ask,
    Asked,
    Backoff,
    Position,
    Refusal,
    Request,
    Response,
)
from parasync.runtime._member import Member
from parasync.runtime._sources import Fetched, RefetchSource, TopicSource, check_envelope
from tests.lossy import LossyTransport
from tests.runtime.kit import KEY, envelope, half, tombstone


def member(key: str = KEY, *, epoch: int = 0) -> Member[str]:
    made: Member[str] = Member(key, lambda envelope: envelope.value, Backoff(1, 1, half), lossless=False, askable=True,
                               gap="refetch", stale_after_s=1.0)  # fmt: skip
    made.current_epoch = epoch
    return made


def at(sequence: int, checksum: int | None = 1) -> Asked:
    return Asked(1, Position(Version(0, sequence), checksum))


NOTHING = Asked(1, None)


def serving(bus: Any, *responses: Response) -> list[Ask]:
    """Answers with these, one after the other, and keeps the asks."""
    asks: list[Ask] = []
    left = list(responses)

    async def answer(request: Request) -> Response:
        assert isinstance(request, Ask)
        asks.append(request)
        return left.pop(0)

    bus.serve("note", answer)
    return asks


async def test_replicas_at_the_same_place_share_an_entry_of_the_ask() -> None:
    async with InProcessTransport() as bus:
        outcomes = (envelope(9), SAME, ABSENT_OBJECT)
        asks = serving(bus, Answer(7, 11, 2.5, Version(3, 4), 2, outcomes))
        batch = [
            (member(), NOTHING), (member(epoch=5), at(2)), (member(), NOTHING), (member("note:b", epoch=6), NOTHING),
            (member(), at(2)),
        ]  # fmt: skip
        found = await TopicSource(bus, "note").fetch(batch, 1.0)
        (ask,) = asks
        assert (ask.keys, ask.positions) == ((KEY, KEY, "note:b"), (None, at(2).position, None))
        assert ask.epoch == 6, "the highest that anybody heard"
        assert found == [Fetched(outcomes[place], 7, Version(3, 4), 2, 11, 2.5) for place in (0, 1, 0, 2, 1)]


@pytest.mark.parametrize(("limit_bytes", "asked"), [(1_000, 3), (10, 1), (10_000, 5)])
async def test_an_ask_that_is_too_large_for_the_bus_asks_for_less(limit_bytes: int, asked: int) -> None:
    class Tight(InProcessTransport):
        body_bytes_max = limit_bytes

    async with Tight() as bus:
        asks = serving(bus, Answer(7, 0, 0.0, ABSENT, 2, (SAME,) * asked))
        keys = [f"note:{number}{'k' * 250}" for number in range(5)]
        found = await TopicSource(bus, "note").fetch([(member(key), at(1)) for key in keys], 1.0)
        assert asks[0].keys == tuple(keys[:asked])
        assert found == [Fetched(SAME if place < asked else UNANSWERED, 7, ABSENT, 2, 0) for place in range(5)]


async def test_an_answer_with_another_number_of_outcomes_is_none() -> None:
    async with InProcessTransport() as bus:
        serving(bus, Answer(7, 0, 0.0, ABSENT, 0, (SAME, SAME)))
        with pytest.raises(DecodeError, match="got 2 outcomes, expected 1"):
            await TopicSource(bus, "note").fetch([(member(), at(1))], 1.0)


async def test_a_refusal_says_why() -> None:
    async with InProcessTransport() as bus:
        serving(bus, Refusal("NoAuthorityError", "still loading"))
        with pytest.raises(RefusedError, match="still loading"):
            await TopicSource(bus, "note").fetch([(member(), NOTHING)], 1.0)


async def test_what_the_transport_raises_comes_through() -> None:
    async with InProcessTransport() as bus:
        with pytest.raises(NoAuthorityError):
            await TopicSource(bus, "note").fetch([(member(), NOTHING)], 1.0)


async def test_a_thread_without_a_loop_asks_as_well() -> None:
    async with InProcessTransport() as bus:
        serving(bus, Answer(7, 0, 0.0, ABSENT, 0, (envelope(9),)))
        found = await asyncio.to_thread(TopicSource(bus, "note").fetch_now, [(member(), NOTHING)], 5.0)
        assert found == [Fetched(envelope(9), 7, ABSENT, 0, 0)]


def test_but_only_where_the_transport_can() -> None:
    with pytest.raises(UsageError, match="event loop"):
        TopicSource(LossyTransport(), "note").fetch_now([(member(), NOTHING)], 1.0)


def test_an_ask_has_a_limit() -> None:
    assert TopicSource(InProcessTransport(), "note").batch_max == ASK_KEYS_MAX


async def fetched(found: Any, *batch: tuple[Member[str], Asked]) -> list[Fetched]:
    """By a plain function and by an async one, with a loop and without: all come to the same."""

    async def later() -> Any:
        await asyncio.sleep(0)
        return found

    batch = batch or ((member(), NOTHING),)
    outcomes = []
    for refetch in (lambda: found, later):
        try:
            outcomes.append(await RefetchSource(refetch).fetch(batch, 1.0))
        except ParasyncError as error:
            outcomes.append(error)
    try:
        outcomes.append(RefetchSource(lambda: found).fetch_now(batch, 1.0))
    except ParasyncError as error:
        outcomes.append(error)
    assert len({repr(outcome) for outcome in outcomes}) == 1
    if isinstance(outcomes[0], ParasyncError):
        raise outcomes[0]
    return outcomes[0]


async def test_what_a_refetch_returns_is_for_all_replicas() -> None:
    newest = envelope(9, epoch=7)
    assert await fetched(newest, (member(), NOTHING), (member(), at(2))) == [Fetched(newest, 7, ABSENT, 0)] * 2


async def test_a_refetch_that_finds_nothing_says_so_to_those_who_hold_nothing_or_a_deletion() -> None:
    deleted = Asked(1, Position.of(tombstone(3)))
    batch = ((member(epoch=4), NOTHING), (member(epoch=5), deleted), (member(epoch=6), at(2)))
    assert [(found.outcome, found.epoch) for found in await fetched(None, *batch)] == [
        (ABSENT_OBJECT, 4), (SAME, 5), (ABSENT_OBJECT, 6),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "found",
    [
        17, "text", b"", (1, 2), object(), envelope("1"), envelope(0), envelope(2**63), envelope(True), envelope(1, epoch=-1),
        envelope(1, epoch=2**53), envelope(1, epoch=1.0), envelope(1, epoch=None), envelope(1, kind=0), envelope(None),
    ],
)  # fmt: skip
async def test_garbage_from_a_refetch_is_an_error_without_its_text(found: object) -> None:
    with pytest.raises(UsageError, match="expected") as caught:
        await fetched(found)
    assert "text" not in str(caught.value)


@pytest.mark.parametrize("error", [ValueError("secret"), TimeoutError("secret"), RecursionError("secret"), MemoryError()])
async def test_whatever_a_refetch_raises_is_a_failure_without_its_text(error: Exception) -> None:
    def plain() -> Envelope[str]:
        raise error

    async def later() -> Envelope[str]:
        raise error

    for refetch in (plain, later):
        with pytest.raises(TransportError) as caught:
            await RefetchSource(refetch).fetch([(member(), NOTHING)], 1.0)
        assert "secret" not in str(caught.value)
    with pytest.raises(TransportError, match=type(error).__name__):
        RefetchSource(plain).fetch_now([(member(), NOTHING)], 1.0)


async def test_errors_of_parasync_keep_what_they_say() -> None:
    def fail() -> None:
        raise AskTimeoutError("the database took its time", 3.0)

    with pytest.raises(AskTimeoutError, match="took its time"):
        await RefetchSource(fail).fetch([(member(), NOTHING)], 1.0)
    with pytest.raises(AskTimeoutError, match="took its time"):
        RefetchSource(fail).fetch_now([(member(), NOTHING)], 1.0)


def test_an_async_refetch_needs_a_loop_and_is_not_left_unawaited() -> None:
    async def later() -> None:
        raise AssertionError("never runs")

    with pytest.raises(UsageError, match="async refetch"):
        RefetchSource(later).fetch_now([(member(), NOTHING)], 1.0)


def test_a_good_envelope_passes_the_check() -> None:
    check_envelope(envelope(1), "here")
    check_envelope(envelope(2**63 - 1, epoch=2**53 - 1, kind=Kind.TOMBSTONE), "here")
