"""What every transport promises, clause by clause, on each transport that there is, and what its capabilities add."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from parasync.errors import (
    AskTimeoutError,
    ClosedError,
    EncodeError,
    InvalidKeyError,
    NoAuthorityError,
    TransportError,
    UsageError,
)
from parasync.protocol import (
    SAME,
    Answer,
    Ask,
    KeyPage,
    ListKeys,
    Probe,
    ProbeReply,
    Put,
    Refusal,
    Request,
    Response,
    Version,
    Written,
)
from parasync.transports._protocol import AskTransport, LimitedTransport, SyncTransport
from tests.conformance.kit import DEADLINE_S, Ends, envelope
from tests.nats.kit import monitored, raw

KEY = "topic:1"


async def test_clause_1_every_current_subscriber_gets_it_in_the_order_of_subscription(ends: Ends) -> None:
    for name in ("first", "second", "third"):
        ends.reader.subscribe(KEY, ends.note(name))
    ends.reader.subscribe("topic:2", ends.note("another key"))
    await ends.settle()
    ends.publish(KEY, 1)
    await ends.settle()
    assert ends.heard == [("first", 1), ("second", 1), ("third", 1)]


async def test_clause_1_publishing_to_nobody_does_nothing(ends: Ends) -> None:
    ends.publish(KEY, 1)
    await ends.settle()
    ends.reader.subscribe(KEY, ends.note("late"))
    await ends.settle()
    assert ends.heard == []


async def test_clause_2_a_subscriber_gets_only_what_is_published_after_it_subscribed(ends: Ends) -> None:
    ends.publish(KEY, 1)
    ends.writer.subscribe(KEY, ends.note("late"))
    ends.publish(KEY, 2)
    await ends.settle()
    assert ends.heard == [("late", 2)]
    ends.writer.subscribe(KEY, ends.note("later"))
    ends.publish(KEY, 3)
    await ends.settle()
    assert ends.heard == [("late", 2), ("late", 3), ("later", 3)]


async def test_clause_2_nothing_is_retained_validated_or_deduplicated(ends: Ends) -> None:
    ends.reader.subscribe(KEY, ends.note("all"))
    await ends.settle()
    for sequence in (5, 5, 3):
        ends.publish(KEY, sequence)
        await ends.settle()
    assert ends.heard == [("all", 5), ("all", 5), ("all", 3)]


async def test_clause_3_the_order_of_one_publisher_is_kept_for_each_key(ends: Ends) -> None:
    ends.reader.subscribe(KEY, ends.note("all"))
    await ends.settle()
    for sequence in range(1, 301):
        ends.publish(KEY, sequence)
        if sequence % 3 == 0:
            await asyncio.sleep(0)
    await ends.settle()
    sequences = [sequence for _, sequence in ends.heard]
    assert sequences == sorted(set(sequences))
    assert sequences[-1] == 300
    if ends.writer.capabilities.lossless:
        assert sequences == list(range(1, 301))
    else:
        assert len(sequences) == 300 - ends.writer.stats.conflated


async def test_clause_3_what_a_handler_publishes_is_delivered_after_the_current_delivery_to_everyone(ends: Ends) -> None:
    def first(envelope_: Any) -> None:
        ends.heard.append(("first", envelope_.sequence))
        if envelope_.sequence == 1:
            ends.reader.publish(KEY, envelope(2))

    ends.reader.subscribe(KEY, first)
    ends.reader.subscribe(KEY, ends.note("second"))
    await ends.settle()
    ends.publish(KEY, 1)
    await ends.until(lambda: len(ends.heard) >= 4)
    await ends.settle()
    assert ends.heard == [("first", 1), ("second", 1), ("first", 2), ("second", 2)]


async def test_clause_4_unsubscribe_takes_effect_at_once_also_in_the_middle_of_a_delivery(ends: Ends) -> None:
    ends.reader.subscribe(KEY, lambda _: end_second())
    end_second = ends.reader.subscribe(KEY, ends.note("second"))
    ends.reader.subscribe(KEY, ends.note("third"))
    await ends.settle()
    ends.publish(KEY, 1)
    await ends.settle()
    assert ends.heard == [("third", 1)]


async def test_clause_4_unsubscribe_is_idempotent_and_ends_one_subscription_only(ends: Ends) -> None:
    handler = ends.note("both")
    end_first = ends.reader.subscribe(KEY, handler)
    ends.reader.subscribe(KEY, handler)
    end_first()
    end_first()
    await ends.settle()
    ends.publish(KEY, 1)
    await ends.settle()
    assert ends.heard == [("both", 1)]
    again = ends.reader.subscribe(KEY, handler)
    end_first()
    again_count = ends.reader.key_count()
    again()
    assert (again_count, ends.reader.key_count()) == (1, 1)


async def test_clause_5_a_handler_that_raises_is_skipped_and_the_others_are_served(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    def bad(error: BaseException) -> Any:
        def handler(_: Any) -> None:
            raise error

        return handler

    for error in (ValueError("the payload"), asyncio.CancelledError()):
        ends.reader.subscribe(KEY, bad(error), bad(error))
    ends.reader.subscribe(KEY, ends.note("good"))
    await ends.settle()
    for sequence in (1, 2):
        ends.publish(KEY, sequence)
        await ends.settle()
    assert ends.heard == [("good", 1), ("good", 2)]
    assert "ValueError" in caplog.text
    assert "CancelledError" in caplog.text
    assert "payload" not in caplog.text


async def test_clause_6_key_count_returns_to_its_old_value_as_subscribers_leave(ends: Ends) -> None:
    bus = ends.reader
    ended = [bus.subscribe(key, print) for key in (KEY, KEY, "topic:2")]
    ended.append(bus.subscribe_topic("topic", print))
    counts = [bus.key_count()]
    for end in ended:
        end()
        counts.append(bus.key_count())
    assert counts == [3, 3, 2, 1, 0]


async def test_clause_7_interrupted_is_called_in_order_with_the_envelopes(ends: Ends) -> None:
    ends.reader.subscribe(KEY, ends.note("heard"), ends.note("interrupted"))
    await ends.settle()
    ends.publish(KEY, 1)
    await ends.settle()
    if ends.server is not None:
        async with raw(ends.server.url) as say:
            await say(b"PUB synced.topic.state.1 1\r\n?\r\n")
    ends.publish(KEY, 2)
    await ends.settle()
    lost = [] if ends.reader.capabilities.lossless else [("interrupted", "malformed frame")]
    assert ends.heard == [("heard", 1), *lost, ("heard", 2)]


async def test_clause_8_a_topic_is_delivered_in_one_order(ends: Ends) -> None:
    ends.reader.subscribe_topic("topic", ends.note("mirror"))
    await ends.settle()
    for sequence, key in enumerate(["topic:1", "topic:2", "topic", "topic:1", "other:1", "topic:2", "topic:a.*.>:ü"], 1):
        ends.publish(key, sequence)
        await ends.settle()
    assert ends.heard == [
        ("mirror", "topic:1", 1),
        ("mirror", "topic:2", 2),
        ("mirror", "topic", 3),
        ("mirror", "topic:1", 4),
        ("mirror", "topic:2", 6),
        ("mirror", "topic:a.*.>:ü", 7),
    ]


async def test_clause_8_subscribers_of_a_key_and_of_its_topic_both_get_each_envelope_once(ends: Ends) -> None:
    ends.reader.subscribe(KEY, ends.note("key"))
    end_topic = ends.reader.subscribe_topic("topic", ends.note("topic"))
    await ends.settle()
    ends.publish(KEY, 1)
    await ends.settle()
    assert sorted(ends.heard) == [("key", 1), ("topic", KEY, 1)]
    end_topic()
    ends.publish(KEY, 2)
    await ends.settle()
    assert ends.heard[2:] == [("key", 2)]


async def test_clause_9_local_subscribers_of_one_key_share_one_subscription_on_the_bus(ends: Ends) -> None:
    async def subscriptions() -> list[str]:
        await ends.settle()
        if ends.server is None:
            return []
        page = await monitored(ends.server, "connz?subs=1")
        return sorted(subject for client in page["connections"] for subject in client.get("subscriptions_list", []))

    ended = [ends.reader.subscribe(KEY, print) for _ in range(10)]
    one = [] if ends.server is None else ["synced.topic.state.1"]
    assert await subscriptions() == one
    for end in ended[:-1]:
        end()
    assert await subscriptions() == one
    ended[-1]()
    assert await subscriptions() == []


async def test_clause_9_a_writer_never_blocks_and_what_is_conflated_says_what_it_follows(ends: Ends) -> None:
    arrived: list[Any] = []
    ends.reader.subscribe(KEY, arrived.append)
    await ends.settle()
    for sequence in range(1, 1001):
        ends.publish(KEY, sequence)
    await ends.settle()
    followed = [got.sequence - 1 if got.after is None else got.after for got in arrived]
    assert followed == [0, *[got.sequence for got in arrived[:-1]]], "each follows the one that was sent before it"
    assert arrived[-1].sequence == 1000
    if ends.writer.capabilities.lossless:
        assert len(arrived) == 1000
    else:
        assert len(arrived) == 1000 - ends.writer.stats.conflated


async def test_the_value_arrives_whole(ends: Ends) -> None:
    arrived = []
    ends.reader.subscribe(KEY, arrived.append)
    await ends.settle()
    sent = envelope(7, {"name": "Ada"})
    sent.meta = {"origin": "here"}
    sent.epoch = 3
    ends.writer.publish(KEY, sent)
    await ends.settle()
    [got] = arrived
    assert (got.version, got.schema_version, dict(got.meta)) == (Version(3, 7), "1.0", {"origin": "here"})
    assert (got.value if got.value == sent.value else ends.reader.codec.decode_body(got.value)) == {"name": "Ada"}


async def test_a_delete_arrives_as_one(ends: Ends) -> None:
    arrived = []
    ends.reader.subscribe(KEY, arrived.append)
    await ends.settle()
    gone = envelope(8, ())
    gone.value, gone.kind = None, type(gone.kind).TOMBSTONE
    ends.writer.publish(KEY, gone)
    await ends.settle()
    assert [(got.kind, got.value, got.sequence) for got in arrived] == [(gone.kind, None, 8)]


async def test_an_illegal_key_is_refused_and_nothing_is_subscribed(ends: Ends) -> None:
    for key in ("", ":1", "topic:", "\ud800", "x" * 600):
        for call in (
            lambda key=key: ends.writer.publish(key, envelope(1)),
            lambda key=key: ends.reader.subscribe(key, print),
            lambda key=key: ends.reader.subscribe_topic(key, print),
            lambda key=key: ends.reader.answer_probes(key, print),
        ):
            with pytest.raises(InvalidKeyError):
                call()
        with pytest.raises(InvalidKeyError):
            await ends.writer.ask(key, ListKeys(), 1)
    assert ends.reader.key_count() == 0


async def test_a_coroutine_function_is_no_handler(ends: Ends) -> None:
    async def handler(_: Any) -> None: ...

    with pytest.raises(UsageError, match="plain function"):
        ends.reader.subscribe(KEY, handler)
    assert ends.reader.key_count() == 0


async def test_keys_that_look_like_syntax_of_the_bus_stay_apart(ends: Ends) -> None:
    keys = ["t:a.b", "t:a", "t:*", "t:>", "t:a b", "t:\x00\x0b\r\n", "t:=", "t:ü", "t", "t.x:1", "T:a", "t:A"]
    for key in keys:
        ends.reader.subscribe(key, ends.note(key))
    await ends.settle()
    for number, key in enumerate(keys, 1):
        ends.publish(key, number)
    await ends.settle()
    assert sorted(ends.heard) == sorted((key, number) for number, key in enumerate(keys, 1))


async def test_capabilities_are_what_the_transport_does(ends: Ends) -> None:
    bus = ends.writer
    assert isinstance(bus, SyncTransport)
    assert not bus.closed
    assert isinstance(bus, AskTransport)
    assert isinstance(bus, LimitedTransport)
    assert bus.capabilities.ordered
    assert bus.capabilities.ask
    assert bus.loop is (None if bus.capabilities.threads else asyncio.get_running_loop())
    assert bus.body_bytes_max > 100_000
    failures: list[BaseException] = []

    def elsewhere() -> None:
        for call, what in ((bus.subscribe, print), (bus.publish, envelope(1))):
            try:
                call("elsewhere", what)
            except UsageError as error:
                failures.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert len(failures) == (0 if bus.capabilities.threads else 2)
    if failures:
        assert "from another thread or event loop" in str(failures[0])


async def test_what_is_published_is_seen_before_publish_returns_where_nothing_is_lost(ends: Ends) -> None:
    ends.reader.subscribe(KEY, ends.note("all"))
    await ends.settle()
    ends.publish(KEY, 1)
    assert ends.heard == ([("all", 1)] if ends.writer.capabilities.lossless else [])


async def test_a_closed_transport_refuses_everything_and_delivers_nothing(ends: Ends) -> None:
    bus = ends.reader
    told: list[str] = []
    unsubscribe = bus.subscribe(KEY, ends.note("closed"), told.append)
    bus.subscribe(KEY, print, lambda reason: 1 / 0)  # type: ignore[arg-type, return-value]
    bus.subscribe_topic("topic", print, told.append)
    bus.subscribe(KEY, print, told.append)()
    stop = bus.serve("topic", lambda request: asyncio.sleep(0, Written(Version(1, 1))))
    await ends.settle()
    told.clear()
    await bus.aclose()
    await bus.aclose()
    assert bus.closed
    assert told == ["the transport was closed"] * 2
    for call in (
        lambda: bus.publish(KEY, envelope(1)),
        lambda: bus.subscribe(KEY, print),
        lambda: bus.subscribe_topic("topic", print),
        lambda: bus.serve("topic", print),
        lambda: bus.answer_probes("topic", print),
    ):
        with pytest.raises(ClosedError):
            call()
    with pytest.raises(ClosedError):
        await bus.ask("topic", ListKeys(), 1)
    with pytest.raises(ClosedError):
        await bus.probe(Probe("topic", 1, False, "me"), 1)
    work = asyncio.sleep(0)
    with pytest.raises(ClosedError):
        bus.spawn(work, "work")
    unsubscribe()
    stop()
    if ends.writer is not bus:
        ends.publish(KEY, 1)
        await ends.writer.flush()
    assert (ends.heard, bus.key_count()) == ([], 0)


async def test_background_work_ends_with_the_transport(ends: Ends) -> None:
    began, ended = asyncio.Event(), []

    async def work() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.append(asyncio.current_task())

    task = ends.reader.spawn(work(), "some work")
    await began.wait()
    await ends.reader.aclose()
    assert (ended, task.cancelled(), task.get_name()) == ([task], True, "some work")


async def test_background_work_that_fails_is_reported(ends: Ends, caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise ValueError("the payload")

    await asyncio.wait([ends.reader.spawn(work(), "some work")])
    await asyncio.sleep(0)
    assert "the task 'some work' raised ValueError" in caplog.text
    assert "payload" not in caplog.text


ANSWER = Answer(epoch=4, beat=0, uptime_s=1.5, floor=Version(0, 0), history_epoch=4, outcomes=(SAME,))


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (Ask(4, (KEY,), (None,)), ANSWER),
        (ListKeys("a", "topic:b", 5), KeyPage(4, (KEY,), (Version(4, 1),), False)),
        (Put(KEY, None, "1.0"), Written(Version(4, 9))),
        (Put(KEY, None, "1.0"), Refusal("ConflictError", "it moved on", Version(4, 8))),
    ],
)
async def test_an_ask_is_answered_by_who_serves_the_topic(ends: Ends, asked: Request, answered: Response) -> None:
    requests = []

    async def responder(request: Request) -> Response:
        requests.append(request)
        return answered

    ends.reader.serve("topic", responder)
    await ends.settle()
    assert await ends.writer.ask("topic", asked, DEADLINE_S) == answered
    assert requests == [asked]


async def test_an_ask_after_a_subscribe_is_answered_after_the_subscription_took_effect(ends: Ends) -> None:
    async def responder(request: Request) -> Response:
        ends.writer.publish(KEY, envelope(1))
        return ANSWER

    ends.writer.serve("topic", responder)
    await ends.settle()
    for _ in range(50):
        unsubscribe = ends.reader.subscribe(KEY, ends.note("fresh"))
        await ends.reader.ask("topic", Ask(0, (KEY,), (None,)), DEADLINE_S)
        await ends.settle()
        assert ends.heard == [("fresh", 1)]
        ends.heard.clear()
        unsubscribe()


async def test_nobody_serves(ends: Ends) -> None:
    with pytest.raises(NoAuthorityError, match="nobody serves the topic 'topic'"):
        await ends.writer.ask("topic", ListKeys(), DEADLINE_S)
    stop = ends.reader.serve("topic", lambda request: asyncio.sleep(0, ANSWER))
    stop()
    stop()
    await ends.settle()
    with pytest.raises(NoAuthorityError):
        await ends.writer.ask("topic", ListKeys(), DEADLINE_S)


async def test_an_error_of_parasync_in_a_responder_is_a_refusal(ends: Ends) -> None:
    class OwnError(EncodeError):
        current = Version(3, 4)

    async def responder(_: Request) -> Response:
        raise OwnError("why " * 300)

    ends.reader.serve("topic", responder)
    await ends.settle()
    answer = await ends.writer.ask("topic", ListKeys(), DEADLINE_S)
    assert answer == Refusal("EncodeError", ("why " * 300)[:500], Version(3, 4))


@pytest.mark.parametrize("error", [ValueError("the payload"), asyncio.CancelledError("the payload"), None])
async def test_another_failure_of_a_responder_fails_the_ask_at_once(
    ends: Ends, error: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def responder(_: Request) -> Any:
        if error is not None:
            raise error
        return "no response of the protocol: the payload"

    ends.reader.serve("topic", responder)
    await ends.settle()
    with pytest.raises(TransportError, match="the authority") as caught:
        await ends.writer.ask("topic", ListKeys(), DEADLINE_S)
    assert not isinstance(caught.value, AskTimeoutError | NoAuthorityError)
    assert "payload" not in str(caught.value) + caplog.text


async def test_a_responder_that_is_too_slow_times_the_ask_out_and_works_on(ends: Ends) -> None:
    began, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def responder(_: Request) -> Response:
        began.set()
        await go_on.wait()
        done.set()
        return ANSWER

    ends.reader.serve("topic", responder)
    await ends.settle()
    with pytest.raises(AskTimeoutError, match="no answer from the authority") as caught:
        await ends.writer.ask("topic", ListKeys(), 0.01)
    assert caught.value.timeout_s == 0.01
    await began.wait()
    go_on.set()
    await asyncio.wait_for(done.wait(), DEADLINE_S)


async def test_an_asker_that_is_cancelled_does_not_cancel_the_authority(ends: Ends) -> None:
    began, go_on, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def responder(_: Request) -> Response:
        began.set()
        await go_on.wait()
        done.set()
        return ANSWER

    ends.reader.serve("topic", responder)
    await ends.settle()
    asking = asyncio.create_task(ends.writer.ask("topic", ListKeys(), DEADLINE_S))
    await asyncio.wait_for(began.wait(), DEADLINE_S)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    go_on.set()
    await asyncio.wait_for(done.wait(), DEADLINE_S)


async def test_closing_ends_an_ask_that_is_under_way(ends: Ends) -> None:
    began = asyncio.Event()

    async def responder(_: Request) -> Response:
        began.set()
        await asyncio.Event().wait()
        return ANSWER

    ends.reader.serve("topic", responder)
    await ends.settle()
    asking = asyncio.create_task(ends.writer.ask("topic", ListKeys(), DEADLINE_S))
    await asyncio.wait_for(began.wait(), DEADLINE_S)
    await ends.writer.aclose()
    with pytest.raises(ClosedError):
        await asking


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), "1"])
async def test_a_timeout_must_be_a_time(ends: Ends, timeout_s: Any) -> None:
    with pytest.raises(UsageError, match="timeout_s"):
        await ends.writer.ask("topic", ListKeys(), timeout_s)
    with pytest.raises(UsageError, match="timeout_s"):
        await ends.writer.probe(Probe("topic", 1, False, "me"), timeout_s)


async def test_many_asks_at_once_each_get_their_own_answer(ends: Ends) -> None:
    async def responder(request: Request) -> Response:
        assert isinstance(request, ListKeys)
        await asyncio.sleep(0)
        return KeyPage(request.limit, (), (), False)

    ends.reader.serve("topic", responder)
    await ends.settle()
    asks = [ends.writer.ask("topic", ListKeys(limit=number), DEADLINE_S) for number in range(1, 101)]
    assert [answer.epoch for answer in await asyncio.gather(*asks)] == list(range(1, 101))


async def test_those_who_serve_one_topic_take_turns(ends: Ends) -> None:
    served: set[str] = set()

    def responder(name: str) -> Any:
        async def answer(_: Request) -> Response:
            served.add(name)
            return KeyPage(1, (), (), False)

        return answer

    stops = [ends.reader.serve("topic", responder(name)) for name in ("first", "second")]
    await ends.settle()
    for _ in range(100):
        await ends.writer.ask("topic", ListKeys(), DEADLINE_S)
    assert served == {"first", "second"}
    stops[0]()
    await ends.settle()
    served.clear()
    for _ in range(20):
        await ends.writer.ask("topic", ListKeys(), DEADLINE_S)
    assert served == {"second"}


async def test_a_probe_reaches_everybody_on_the_topic_and_collects_who_replies(ends: Ends) -> None:
    probes = []

    def responder(reply: ProbeReply | None) -> Any:
        def answer(probe: Probe) -> ProbeReply | None:
            probes.append(probe)
            return reply

        return answer

    def bad(_: Probe) -> None:
        raise ValueError("the payload")

    replies = [ProbeReply(7, True), None, ProbeReply(8, False)]
    ends_ = [ends.reader.answer_probes("topic", responder(reply)) for reply in replies]
    ends_.append(ends.reader.answer_probes("topic", bad))
    await ends.settle()
    probe = Probe("topic", 5, True, "me")
    heard = await ends.writer.probe(probe, 0.5)
    assert sorted(heard, key=lambda reply: reply.epoch) == [replies[0], replies[2]]
    assert probes == [probe] * 3
    for end in ends_:
        end()
    await ends.settle()
    assert list(await ends.writer.probe(probe, DEADLINE_S)) == []
