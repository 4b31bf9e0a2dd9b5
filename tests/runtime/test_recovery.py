"""When a replica asks, how long it waits, and that it never gives up and never runs wild. Time is virtual."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parasync import Envelope, InProcessTransport, Pace, Status, Topic, Version, authority, synced
from parasync.errors import AskTimeoutError, ClosedError, EncodeError, NoAuthorityError, StoreError, UsageError
from parasync.protocol import ASK_KEYS_MAX, SAME, UNANSWERED, Ask, Request, Response, Unanswered
from parasync.runtime._recovery import ASK_FLOOR_S, JITTER_MAX_S, monotonic_s
from tests.lossy import LossyTransport
from tests.runtime.kit import (
    KEY,
    NOTES,
    PATIENCE_S,
    A,
    Author,
    assert_nothing_left,
    envelope,
    pace,
    terms,
    tombstone,
    turns,
)
from tests.virtual_time import in_virtual_time, now_s, passing


@asynccontextmanager
async def asking(bus: Any = None, **options: Any) -> AsyncIterator[tuple[Any, Author, synced[str]]]:
    """A replica on a bus that may lose messages, and whom it asks."""
    bus = bus or LossyTransport()
    author = Author(bus)
    async with bus, synced(A, bus, pace=options.pop("pace", None) or pace(), **options) as replica:
        yield bus, author, replica


def pauses(times_s: list[float]) -> list[float]:
    return [round(later - sooner, 6) for sooner, later in itertools.pairwise(times_s)]


# Asking together


@in_virtual_time
async def test_a_replica_asks_at_once_when_it_joins() -> None:
    async with asking() as (_, author, replica):
        began_s = now_s()
        assert await replica.ready() == "0.1"
        assert author.times_s == [began_s]
        assert author.asks == [Ask(0, (KEY,), (None,))]


@in_virtual_time
async def test_replicas_that_need_it_at_the_same_time_share_one_ask() -> None:
    async with asking() as (bus, author, replica):
        others = [synced(NOTES[ident], bus, pace=pace()) for ident in "bcd"]
        for one in (replica, *others):
            await one.ready()
        assert [ask.keys for ask in author.asks] == [("note:a", "note:b", "note:c", "note:d")]
        for other in others:
            await other.aclose()


@in_virtual_time
async def test_more_replicas_than_fit_into_an_ask_wait_for_the_next() -> None:
    async with LossyTransport() as bus:
        author = Author(bus)
        replicas = [synced(NOTES[f"{number}"], bus, pace=pace()) for number in range(2 * ASK_KEYS_MAX + 100)]
        for replica in replicas:
            await replica.ready()
        assert [len(ask.keys) for ask in author.asks] == [ASK_KEYS_MAX, ASK_KEYS_MAX, 100]
        assert min(pauses(author.times_s)) >= ASK_FLOOR_S
        for replica in replicas:
            await replica.aclose()
        assert_nothing_left(bus)


@in_virtual_time
async def test_one_ask_at_a_time() -> None:
    async with asking() as (bus, author, replica):
        author.gate.clear()
        await turns()
        bus.interrupt("first")
        bus.interrupt("second")
        await passing(1.0)
        assert len(author.asks) == 1
        author.gate.set()
        await replica.when_idle()
        assert len(author.asks) == 2, "what arose meanwhile is served by one more"


@in_virtual_time
async def test_an_answer_closes_only_what_arose_before_its_ask() -> None:
    async with asking() as (bus, author, replica):
        author.gate.clear()
        await turns()
        bus.interrupt("too late for this ask")
        author.gate.set()
        assert await replica.ready() == "0.1"
        assert replica.status is Status.REFETCHING
        assert replica.reason == "too late for this ask"
        await replica.when_idle()
        assert len(author.asks) == 2
        assert replica.status is Status.OK


@in_virtual_time
async def test_an_ask_takes_along_everybody_with_an_open_need_though_it_is_not_due() -> None:
    async with asking() as (bus, author, replica):
        other = synced(NOTES["b"], bus, pace=pace())
        await other.when_idle()
        author.outcome = lambda key: envelope(1) if key == KEY else UNANSWERED
        bus.interrupt("both")
        await replica.when_idle()
        assert other.status is Status.REFETCHING
        asked = len(author.asks)
        await passing(0.001)
        await replica.fresh()
        assert set(author.asks[asked].keys) == {"note:a", "note:b"}
        await other.aclose()


# Failing


@in_virtual_time
async def test_failures_are_followed_by_ever_longer_pauses_and_never_by_an_end() -> None:
    async with asking() as (_, author, replica):
        author.outcome = lambda key: StoreError("down")
        await passing(60.0)
        delays = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]
        assert pauses(author.times_s)[:6] == delays
        assert set(pauses(author.times_s)[6:]) == {2.5}
        assert (replica.status, replica.reason) == (Status.STALE, "the authority refused to answer: down")
        assert replica.stats.refetch_failures == replica.stats.refetches == len(author.asks)
        author.outcome = lambda key: envelope(1)
        assert await replica.ready() == "0.1"
        author.outcome = lambda key: StoreError("down again")
        del author.times_s[:]
        await passing(0.001)
        with pytest.raises(AskTimeoutError, match="down again"):
            await replica.fresh(timeout_s=1.0)
        assert pauses(author.times_s)[:3] == delays[:3], "an answer ends the backoff"


@in_virtual_time
async def test_nobody_there_is_a_failure_like_others() -> None:
    async with LossyTransport() as bus, synced(A, bus, pace=pace()) as replica:
        await passing(60.0)
        assert 25 < bus.asks < 35
        assert replica.status is Status.STALE
        assert replica.reason == "nobody serves the topic 'note' on this transport"


@in_virtual_time
async def test_a_random_source_without_imagination_does_not_make_it_run_wild() -> None:
    """Full jitter may draw 0 again and again; there is a floor."""
    async with LossyTransport() as bus, synced(A, bus, pace=pace(random=lambda: 0.0)):
        await passing(1.0)
        assert bus.asks <= 1.0 / ASK_FLOOR_S + 1


@in_virtual_time
async def test_an_answer_that_takes_too_long_is_a_failure_and_is_discarded_when_it_comes() -> None:
    async with asking(pace=pace(ask_timeout_s=3.0)) as (bus, author, replica):
        author.gate.clear()
        await passing(2.9)
        assert replica.stats.refetch_failures == 0
        bus.cut = True
        await passing(0.2)
        assert replica.stats.refetch_failures == 2
        author.gate.set()
        await turns()
        assert replica.peek() is None
        bus.cut = False
        assert await replica.ready() == "0.1"


@in_virtual_time
async def test_an_answer_that_takes_too_long_is_named_as_the_reason() -> None:
    async with asking(pace=pace(ask_timeout_s=3.0)) as (_, author, replica):
        author.gate.clear()
        await passing(3.1)
        assert "within 3 s" in replica.reason
        author.gate.set()


@pytest.mark.parametrize(
    "error", [OSError("secret"), RuntimeError("secret"), asyncio.CancelledError(), TimeoutError(), BaseException("secret")]
)
@in_virtual_time
async def test_a_transport_that_raises_anything_is_asked_again(error: BaseException) -> None:
    class Broken(LossyTransport):
        broken = True

        async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
            if self.broken:
                raise error
            return await super().ask(topic, request, timeout_s)

    bus = Broken()
    async with asking(bus) as (_, _, replica):
        await passing(1.0)
        assert replica.stats.refetch_failures >= 3
        assert "secret" not in replica.reason
        assert replica.status is Status.STALE
        bus.broken = False
        assert await replica.ready() == "0.1"


@in_virtual_time
async def test_a_comparison_that_raises_anything_does_not_end_the_asking() -> None:
    class Moody:
        def __eq__(self, other: object) -> bool:
            raise asyncio.CancelledError

        __hash__ = None  # type: ignore[assignment]

    moods = Topic("note", Moody, parse=lambda plain: plain)
    seed, newest = (Envelope(Moody(), "1.0", 1) for _ in range(2))
    async with LossyTransport() as bus, synced(moods["a"], bus, seed=seed, refetch=lambda: newest, pace=pace()) as replica:
        await replica.when_idle()
        assert replica.status is Status.OK


@pytest.mark.parametrize("cancelled_inside", [True, False])
@in_virtual_time
async def test_a_refetch_that_is_cancelled_or_returns_garbage_is_called_again(cancelled_inside: bool) -> None:
    calls = []

    async def newest() -> Envelope[str]:
        calls.append(now_s())
        await asyncio.sleep(0)
        if len(calls) < 4:
            if cancelled_inside:
                raise asyncio.CancelledError
            return "garbage"  # type: ignore[return-value]
        return envelope(3)

    async with LossyTransport() as bus, synced(A, bus, refetch=newest, pace=pace()) as replica:
        assert await replica.ready() == "0.3"
        assert pauses(calls) == [0.05, 0.1, 0.2]
        assert bus.asks == 0


@in_virtual_time
async def test_a_refetch_that_hangs_is_given_up_and_called_again() -> None:
    calls = []

    async def newest() -> Envelope[str]:
        calls.append(now_s())
        if len(calls) == 1:
            await asyncio.Event().wait()
        return envelope(3)

    async with LossyTransport() as bus, synced(A, bus, refetch=newest, pace=pace(ask_timeout_s=2.0)) as replica:
        assert await replica.ready() == "0.3"
        assert pauses(calls) == [2.05]


@in_virtual_time
async def test_a_refetch_that_swallows_its_cancellation_does_not_keep_the_task() -> None:
    entered = asyncio.Event()

    async def newest() -> Envelope[str] | None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return None
        raise AssertionError("unreachable")

    async with LossyTransport() as bus:
        replica = synced(A, bus, refetch=newest, pace=pace())
        await entered.wait()
        await replica.aclose()
        assert_nothing_left(bus)


@in_virtual_time
async def test_one_replica_that_cannot_use_its_answer_takes_nobody_along() -> None:
    async with asking() as (bus, author, replica):
        author.outcome = lambda key: envelope("garbage") if key == "note:b" else envelope(1)
        other = synced(NOTES["b"], bus, seed=envelope(1), pace=pace())
        assert await replica.ready() == "0.1"
        await passing(10.0)
        assert replica.status is Status.OK
        assert other.stats.refetch_failures > 2
        author.outcome = lambda key: envelope(2)
        await other.when_idle()
        assert other.value == "0.2"
        await other.aclose()


@in_virtual_time
async def test_one_object_that_cannot_be_read_keeps_nobody_else_from_an_answer_and_says_why() -> None:
    async with asking() as (bus, author, replica):
        author.outcome = lambda key: Unanswered("got a malformed frame") if key == "note:b" else envelope(1)
        other = synced(NOTES["b"], bus, pace=pace())
        assert await replica.ready() == "0.1"
        await passing(10.0)
        assert replica.status is Status.OK
        assert (other.status, other.reason) == (Status.STALE, "the answer could not be read: got a malformed frame")
        assert 4 < other.stats.refetch_failures < 20, "with pauses"
        author.outcome = lambda key: envelope(2)
        await other.when_idle()
        assert other.value == "0.2"
        await other.aclose()


@in_virtual_time
async def test_an_ask_that_is_too_large_for_the_bus_is_made_smaller() -> None:
    class Narrow(LossyTransport):
        async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
            assert isinstance(request, Ask)
            if len(request.keys) > 100:
                raise EncodeError("too large for this bus")
            return await super().ask(topic, request, timeout_s)

    async with Narrow() as bus:
        Author(bus)
        replicas = [synced(NOTES[f"{number}"], bus, pace=pace()) for number in range(ASK_KEYS_MAX)]
        for replica in replicas:
            assert await replica.ready(timeout_s=10.0) == "0.1"
        for replica in replicas:
            await replica.aclose()


@in_virtual_time
async def test_an_answer_of_a_deposed_authority_is_not_used() -> None:
    async with asking() as (bus, author, replica):
        await replica.ready()
        author.epoch, author.outcome = 4, lambda key: envelope(9, "zombie", epoch=4)
        bus.publish(KEY, envelope(1, epoch=5))
        await passing(5.0)
        assert replica.value == "5.1"
        assert replica.reason == "the answer came from an authority that was deposed"
        author.epoch, author.outcome = 5, lambda key: SAME
        await replica.when_idle()
        assert replica.status is Status.OK


# Hearing the topic again


@in_virtual_time
async def test_hearing_the_topic_again_makes_the_next_attempt_prompt() -> None:
    async with asking() as (bus, author, replica):
        author.outcome = lambda key: StoreError("down")
        await passing(60.3)
        author.outcome = lambda key: envelope(2)
        heard_s = now_s()
        bus.publish(KEY, envelope(1))
        await replica.when_idle()
        assert now_s() - heard_s <= JITTER_MAX_S
        assert replica.value == "0.2"


@in_virtual_time
async def test_a_topic_that_is_heard_all_the_time_does_not_stop_the_backoff() -> None:
    """An authority that is too busy to answer, but not to publish, would be asked ever more by ever more replicas."""
    async with asking() as (bus, author, replica):
        author.outcome = lambda key: StoreError("busy")
        for sequence in range(1, 3_000):
            bus.publish(KEY, envelope(sequence, after=0))
            await passing(0.01)
        assert replica.version == Version(0, 2_999)
        assert len(author.asks) < 120, "within 30 seconds"


# Needs that do not close


@in_virtual_time
async def test_needs_that_follow_each_other_back_off() -> None:
    async with asking() as (bus, author, replica):
        for sequence in range(1, 2_000):
            bus.publish(KEY, envelope(2 * sequence))
            author.outcome = lambda key, sequence=sequence: envelope(2 * sequence)
            await passing(0.01)
        assert replica.stats.gaps > 1_900
        assert replica.value == "0.3998"
        assert len(author.asks) < 40, "within 20 seconds"
        await passing(10.0)
        asked = len(author.asks)
        bus.publish(KEY, envelope(4_002))
        author.outcome = lambda key: SAME
        await passing(JITTER_MAX_S)
        assert len(author.asks) == asked + 1, "one that comes alone is asked for soon"


@pytest.mark.parametrize("bad", [envelope(2, 17), envelope(2, "x", schema_version="2.0")])
@in_virtual_time
async def test_a_refused_version_is_asked_for_again_but_ever_more_rarely(bad: Envelope[Any]) -> None:
    async with asking() as (bus, author, replica):
        await replica.when_idle()
        author.outcome = lambda key: bad
        for _ in range(30):
            bus.publish(KEY, bad)
            bus.interrupt("again")
            await passing(1.0)
        assert (replica.status, replica.value) == (Status.SKEW, "0.1")
        assert len(author.asks) < 25
        author.outcome = lambda key: envelope(3)
        bus.publish(KEY, envelope(3))
        await replica.when_idle()
        assert (replica.status, replica.value) == (Status.OK, "0.3")


@in_virtual_time
async def test_what_fits_into_no_answer_is_asked_for_at_once_as_long_as_something_fits() -> None:
    async with LossyTransport() as bus:
        author = Author(bus)

        def one_each_time(key: str) -> Any:
            return envelope(1) if key == author.asks[-1].keys[0] else UNANSWERED

        author.outcome = one_each_time
        replicas = [synced(NOTES[ident], bus, pace=pace()) for ident in "abcdef"]
        await passing(len(replicas) * ASK_FLOOR_S)
        await turns()
        assert [len(ask.keys) for ask in author.asks][:6] == [6, 5, 4, 3, 2, 1]
        for replica in replicas:
            assert replica.value == "0.1"
            assert replica.stats.refetch_failures == 0
            await replica.aclose()


@in_virtual_time
async def test_an_authority_that_answers_nothing_is_not_asked_without_pause() -> None:
    async with asking() as (_, author, replica):
        author.outcome = lambda key: UNANSWERED
        await passing(30.0)
        assert 5 < len(author.asks) < 25
        assert replica.status is Status.REFETCHING


@in_virtual_time
async def test_a_longer_jitter_spreads_the_asks_of_many_processes() -> None:
    chance = random.Random(7)
    asked_s: list[float] = []
    for _ in range(100):
        async with asking(pace=pace(jitter_max_s=10.0, random=chance.random)) as (bus, author, replica):
            await replica.ready()
            began_s = now_s()
            bus.interrupt("a reason that all of them hear")
            await replica.when_idle()
            asked_s.append(author.times_s[-1] - began_s)
    assert 8 < max(asked_s) <= 10.0 + ASK_FLOOR_S
    assert max(sum(second <= at < second + 1 for at in asked_s) for second in range(10)) < 30


@in_virtual_time
async def test_one_replica_with_a_need_that_never_closes_starves_no_other() -> None:
    async with asking() as (bus, author, replica):
        stuck = synced(NOTES["stuck"], bus, pace=pace())
        author.outcome = lambda key: UNANSWERED if "stuck" in key else envelope(1)
        await replica.ready()
        await passing(100.0)
        author.outcome = lambda key: UNANSWERED if "stuck" in key else envelope(2)
        interrupted_s = now_s()
        bus.interrupt("now")
        await replica.when_idle()
        assert now_s() - interrupted_s <= JITTER_MAX_S
        assert replica.value == "0.2"
        await stuck.aclose()


@in_virtual_time
async def test_a_need_that_was_closed_otherwise_makes_nobody_spin() -> None:
    """On a lossless transport a contiguous envelope closes the needs whose asks failed, while the next attempt waits."""
    async with InProcessTransport() as bus, synced(A, bus, pace=pace()) as replica:
        await turns()
        bus.publish(KEY, envelope(1))
        assert replica.status is Status.OK
        await passing(1_000.0)
        assert replica.stats.refetches == 1


# Reconciling


@in_virtual_time
async def test_a_lost_last_message_is_noticed_within_the_reconcile_interval() -> None:
    async with asking() as (_, author, replica):
        await replica.ready()
        author.outcome = lambda key: envelope(2)
        await passing(30.0)
        assert replica.value == "0.2"
        assert replica.stats.gaps == 0
        await passing(300.0)
        assert {pause for pause in pauses(author.times_s) if pause > 1} == {27.75}


@in_virtual_time
async def test_reconciling_serves_everybody_with_one_ask() -> None:
    async with asking() as (bus, author, replica):
        await passing(10.0)
        late = synced(NOTES["b"], bus, pace=pace())
        await passing(20.0)
        assert [ask.keys for ask in author.asks] == [(KEY,), ("note:b",), (KEY, "note:b")]
        assert replica.age_s < 5
        assert late.age_s < 5
        await late.aclose()


@in_virtual_time
async def test_where_nothing_is_lost_nobody_reconciles() -> None:
    async with asking(InProcessTransport()) as (_, author, replica):
        await passing(10_000.0)
        assert len(author.asks) == 1
        assert (replica.status, replica.age_s) == (Status.OK, 0.0)


@in_virtual_time
async def test_without_a_proof_it_is_stale_in_time_and_says_so() -> None:
    async with asking(stale_after_s=47.0) as (bus, author, replica):
        await replica.when_idle()
        proven_s = now_s()
        bus.cut = True
        await passing(20.0)
        assert (replica.status, replica.age_s) == (Status.OK, 20.0)
        await passing(20.0)
        assert replica.status is Status.STALE, "an ask failed"
        bus.cut = False
        author.gate.clear()
        await passing(10.0)
        assert replica.age_s == now_s() - proven_s
        author.gate.set()
        await replica.when_idle()
        assert replica.status is Status.OK
        assert replica.age_s < 2.0


@in_virtual_time
async def test_the_age_counts_from_when_the_ask_was_sent() -> None:
    async with asking(pace=pace(ask_timeout_s=5.0)) as (_, author, replica):
        author.gate.clear()
        await passing(4.0)
        author.gate.set()
        await replica.ready()
        assert replica.age_s == pytest.approx(4.0)


# Gaps


@in_virtual_time
async def test_a_gap_is_asked_about_and_the_value_is_shown_at_once() -> None:
    async with asking() as (bus, author, replica):
        await replica.when_idle()
        bus.publish(KEY, envelope(5))
        assert (replica.value, replica.stats.gaps, replica.status) == ("0.5", 1, Status.REFETCHING)
        author.outcome = lambda key: SAME
        await replica.when_idle()
        assert author.asks[-1].positions[0].version == Version(0, 5)
        assert replica.status is Status.OK


@in_virtual_time
async def test_a_gap_may_be_trusted() -> None:
    async with asking(gap="apply") as (bus, author, replica):
        await replica.when_idle()
        bus.publish(KEY, envelope(5))
        assert (replica.value, replica.stats.gaps, replica.status) == ("0.5", 1, Status.OK)
        await passing(5.0)
        assert len(author.asks) == 1


@in_virtual_time
async def test_loss_repetition_and_disorder_end_at_the_newest_version() -> None:
    """The same every time: the network draws from a fixed sequence."""
    async with LossyTransport() as bus, authority(NOTES, bus, terms=terms()) as owner:
        fate = itertools.cycle([1, 0, 2, 1, 1, 0, 0, 3])
        late: list[Envelope[Any]] = []

        def pass_live(_: str, heard: Envelope[Any]) -> list[Envelope[Any]]:
            late.append(heard)
            match next(fate):
                case 0:
                    return []
                case 2:
                    return [heard, heard]
                case 3:
                    return [heard, *reversed(late[-4:])]
            return [heard]

        bus.pass_live = pass_live
        async with synced(A, bus, pace=pace()) as replica, replica.changes() as changes:
            for number in range(500):
                version = await owner.put("a", f"{number}")
                await passing(0.003)
            assert await replica.at_least(version) == "499"
            seen = []
            replica.close()
            async for change in changes:
                seen.append(change.version)
            assert seen == sorted(seen)
            assert replica.stats.gaps > 100
            assert replica.stats.ignored_stale > 100
            assert replica.stats.conflicts == 0


# Calls that wait


@in_virtual_time
async def test_a_call_that_waits_is_asked_for_at_once_whatever_the_pause() -> None:
    async with asking() as (_, author, replica):
        author.outcome = lambda key: StoreError("down")
        await passing(60.3)
        asked = len(author.asks)
        author.outcome = lambda key: envelope(1)
        began_s = now_s()
        assert await replica.fresh() == "0.1"
        assert now_s() == began_s
        assert len(author.asks) == asked + 1


@in_virtual_time
async def test_a_call_that_comes_while_an_ask_is_under_way_is_served_by_the_next_and_at_once() -> None:
    async with asking() as (_, author, replica):
        await replica.ready()
        for _ in range(5):
            await passing(0.001)
            author.gate.clear()
            first = asyncio.create_task(replica.fresh())
            await turns()
            second = asyncio.create_task(replica.fresh())
            await turns()
            asked = len(author.asks)
            began_s = now_s()
            author.gate.set()
            await first
            await second
            assert now_s() == began_s
            assert len(author.asks) == asked + 1


@in_virtual_time
async def test_a_call_that_comes_while_a_failing_ask_is_under_way_is_asked_for_when_that_failed() -> None:
    async with asking() as (_, author, replica):
        author.outcome = lambda key: StoreError("down")
        await passing(30.0)
        author.gate.clear()
        asked = len(author.asks)
        while len(author.asks) == asked:
            await passing(0.5)
        waiting = asyncio.create_task(replica.fresh())
        await turns()
        failed_s = now_s()
        author.outcome = lambda key: StoreError("down") if len(author.asks) == asked + 1 else envelope(1)
        author.gate.set()
        assert await waiting == "0.1"
        assert now_s() == failed_s
        assert len(author.asks) == asked + 2


# The end


@in_virtual_time
async def test_the_task_ends_with_the_last_replica() -> None:
    async with LossyTransport() as bus:
        Author(bus)
        first, second = synced(A, bus, pace=pace()), synced(A, bus, pace=pace())
        await first.ready()
        assert first._seat.recovery is not None
        task = first._seat.recovery.task
        await first.aclose()
        assert not task.done()
        await second.aclose()
        assert task.done()
        assert_nothing_left(bus)


@in_virtual_time
async def test_closing_while_an_ask_is_under_way_ends_it_and_changes_nothing() -> None:
    async with asking() as (_, author, replica):
        author.gate.clear()
        await turns()
        await replica.aclose()
        author.gate.set()
        await turns()
        assert replica.peek() is None
        assert replica.status is Status.CLOSED


@in_virtual_time
async def test_one_may_leave_while_the_others_are_asked_for() -> None:
    async with asking() as (bus, author, replica):
        other = synced(NOTES["b"], bus, pace=pace())
        author.gate.clear()
        await turns()
        other.close()
        author.gate.set()
        assert await replica.ready() == "0.1"
        assert other.peek() is None


@in_virtual_time
async def test_when_the_transport_is_closed_those_who_wait_hear_of_it() -> None:
    bus = InProcessTransport()
    replica = synced(A, bus, pace=pace())
    calls = [replica.ready(), replica.fresh(), replica.at_least(Version(0, 1)), replica.when_idle()]
    waiting = [asyncio.create_task(call) for call in calls]
    stream = asyncio.create_task(anext(replica.changes()))
    await turns()
    await bus.aclose()
    for task in waiting:
        with pytest.raises(ClosedError, match="transport of 'note:a' was closed"):
            await task
    with pytest.raises(StopAsyncIteration):
        await stream
    assert replica.status is Status.STALE
    assert replica.reason == "nobody asks any more: the transport or the event loop was closed"
    await replica.aclose()
    assert_nothing_left(bus)


def test_a_replica_outlives_its_loop_and_says_that_nobody_asks() -> None:
    """In process: whoever publishes is still heard, and a replica that was current stays so."""
    bus = InProcessTransport()
    made: list[synced[str]] = []

    async def main() -> None:
        made.append(synced(A, bus))
        made.append(synced(A, bus, refetch=lambda: envelope(1)))
        await made[1].ready(PATIENCE_S)

    asyncio.run(main())
    asking, current = made
    assert (asking.status, current.status) == (Status.STALE, Status.OK)
    assert asking.reason == "nobody asks any more: the transport or the event loop was closed"
    bus.publish(KEY, envelope(2))
    assert (asking.value, current.value) == ("0.2", "0.2")
    assert current.status is Status.OK
    bus.publish(KEY, envelope(9))
    assert (current.value, current.status) == ("0.9", Status.REFETCHING)
    for replica in made:
        replica.close()
    assert_nothing_left(bus)


def test_a_loop_that_is_closed_without_ceremony_leaves_replicas_that_can_be_closed() -> None:
    bus = InProcessTransport()
    loop = asyncio.new_event_loop()
    made: list[synced[str]] = []

    async def main() -> None:
        made.append(synced(A, bus))
        await asyncio.sleep(0)

    loop.run_until_complete(main())
    recovery = made[0]._seat.recovery
    assert recovery is not None
    loop.close()
    bus.publish(KEY, envelope(1, epoch=3))
    bus.publish(KEY, envelope(5, epoch=3))
    made[0].close()
    assert made[0].value == "3.5"
    assert_nothing_left(bus)
    # What a task that nobody can run any more says when it is destroyed is the affair of its loop.
    recovery.task._log_destroy_pending = False  # type: ignore[attr-defined]
    recovery.task.get_coro().close()  # type: ignore[union-attr]


async def test_other_threads_make_no_heap_of_work_for_a_loop_that_is_busy() -> None:
    bus = InProcessTransport()
    loop = asyncio.get_running_loop()
    async with bus, synced(A, bus, refetch=lambda: envelope(1)) as replica:
        await replica.when_idle(PATIENCE_S)
        calls: list[Any] = []
        hooked = loop.call_soon_threadsafe

        def count(callback: Callable[..., Any], *args: Any, **more: Any) -> Any:
            calls.append(callback)
            return hooked(callback, *args, **more)

        def publish() -> None:
            for sequence in range(2, 4_000, 2):
                bus.publish(KEY, envelope(sequence))

        loop.call_soon_threadsafe = count  # type: ignore[method-assign,assignment]
        try:
            async with replica.changes():
                done = loop.run_in_executor(None, publish)
                while replica.version != Version(0, 3_998):
                    pass
                await done
        finally:
            del loop.call_soon_threadsafe  # type: ignore[method-assign]
        assert replica.stats.gaps > 1_900
        assert len(calls) < 20


# Options


TIMES = ["reconcile_interval_s", "ask_timeout_s", "beat_grace_s", "jitter_max_s", "backoff_base_s", "backoff_max_s"]


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "1", None])
def test_times_that_nobody_can_wait_for_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        Pace(**{name: value})


def test_the_clock_does_not_go_back() -> None:
    readings = [monotonic_s() for _ in range(1_000)]
    assert readings == sorted(readings)


@in_virtual_time
async def test_the_first_pace_is_not_everybodys() -> None:
    async with asking() as (bus, author, slow):
        quick = synced(A, bus, pace=pace(reconcile_interval_s=1.0))
        await slow.ready()
        await passing(10.0)
        assert (slow.stats.refetches, quick.stats.refetches) == (1, 11)
        assert quick.age_s < 1.0
        await quick.aclose()
        assert len(author.asks) == 12


@in_virtual_time
async def test_a_deletion_that_nobody_can_read_is_still_a_deletion() -> None:
    async with asking() as (_, author, replica):
        author.outcome = lambda key: tombstone(4)
        await replica.when_idle()
        assert replica.snapshot().deleted
        with pytest.raises(NoAuthorityError):
            raise NoAuthorityError
