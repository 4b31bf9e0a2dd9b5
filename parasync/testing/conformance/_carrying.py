"""Checks of how a transport carries envelopes: who hears what, how often, in which order (clauses 1 to 9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from parasync.errors import EncodeError
from parasync.protocol import Envelope, Kind
from parasync.testing.conformance._bench import Bench
from parasync.testing.conformance._ends import EPOCH, KEY, KEY_IN_OTHER_TOPIC, OTHER_KEY, TOPIC, envelope, is_marker
from parasync.testing.conformance._run import Checks

check: Final[Checks[Bench]] = Checks()


@check(1)
async def every_subscriber_hears_it_once_in_the_order_of_subscription(bench: Bench) -> None:
    for name in ("first", "second", "third"):
        bench.reader.subscribe(KEY, bench.note(name))
    bench.reader.subscribe(OTHER_KEY, bench.note("of another key"))
    await bench.join(OTHER_KEY)
    await bench.join(KEY)
    await bench.say(KEY, 1)
    await bench.quiet()
    bench.expect(bench.heard, [("first", 1), ("second", 1), ("third", 1)])


@check(1)
async def both_ends_hear_it_and_the_last_of_many_too(bench: Bench) -> None:
    bench.reader.subscribe(KEY, bench.note("reader"))
    bench.writer.subscribe(KEY, bench.note("writer"))
    await bench.join(KEY)
    await bench.join(KEY, end=bench.writer)
    for sequence in range(1, 20):
        bench.writer.publish(KEY, envelope(sequence))
    await bench.say(KEY, 20)
    await bench.quiet()
    bench.expect([bench.heard.count(("reader", 20)), bench.heard.count(("writer", 20))], [1, 1])


@check(1)
async def publishing_to_nobody_does_nothing(bench: Bench) -> None:
    bench.writer.publish(KEY, envelope(1))
    await bench.join(KEY)


@check(2)
async def what_was_published_before_is_not_delivered(bench: Bench) -> None:
    await bench.join(KEY, end=bench.writer)
    await bench.say(KEY, 1)
    bench.writer.subscribe(KEY, bench.note("late at the writer"))
    bench.reader.subscribe(KEY, bench.note("late at the reader"))
    bench.reader.subscribe_topic(TOPIC, bench.note("late in the topic"))
    await bench.join(KEY)
    await bench.join(TOPIC, topical=True)
    await bench.say(KEY, 2)
    await bench.quiet()
    heard = {("late at the reader", 2), ("late at the writer", 2), ("late in the topic", KEY, 2)}
    bench.expect(set(bench.heard), heard)


@check(2)
async def the_same_and_the_older_are_delivered_too(bench: Bench) -> None:
    bench.reader.subscribe(KEY, bench.note("all"))
    await bench.join(KEY)
    await bench.say(KEY, 5, 5, 3, clause=2)
    await bench.quiet()
    bench.expect(list(dict.fromkeys(bench.heard)), [("all", 5), ("all", 3)])


@check(3, "ordered")
async def what_one_publisher_says_of_a_key_arrives_in_its_order(bench: Bench) -> None:
    bench.reader.subscribe(KEY, bench.note("all"))
    await bench.join(KEY)
    for sequence in range(1, 300):
        bench.writer.publish(KEY, envelope(sequence))
        if sequence % 3 == 0:
            await asyncio.sleep(0)
    await bench.say(KEY, 300)
    await bench.quiet()
    bench.expect(bench.heard, sorted(bench.heard))


@check(3, "ordered")
async def what_a_handler_publishes_is_delivered_after_that_to_everyone(bench: Bench) -> None:
    def first(what: Envelope[Any]) -> None:
        if not is_marker(what):
            bench.heard.append(("first", what.sequence))
            if what.sequence == 1:
                bench.reader.publish(KEY, envelope(2))

    bench.reader.subscribe(KEY, first)
    bench.reader.subscribe(KEY, bench.note("second"))
    await bench.join(KEY)
    await bench.say(KEY, 1)
    await bench.demand(lambda: ("second", 2) in bench.heard, lambda: bench.heard, "what the handler published, at everyone")
    await bench.quiet()
    bench.expect(list(dict.fromkeys(bench.heard)), [("first", 1), ("second", 1), ("first", 2), ("second", 2)])


@check(4)
async def who_is_unsubscribed_in_the_middle_of_a_delivery_is_not_called(bench: Bench) -> None:
    bench.reader.subscribe(KEY, lambda what: None if is_marker(what) else end_second())
    end_second = bench.reader.subscribe(KEY, bench.note("second"))
    bench.reader.subscribe(KEY, bench.note("third"))
    await bench.join(KEY)
    await bench.say(KEY, 1)
    await bench.quiet()
    bench.expect(set(bench.heard), {("third", 1)})


@check(4)
async def who_was_unsubscribed_is_not_called_by_what_is_under_way(bench: Bench) -> None:
    unsubscribe = bench.reader.subscribe(KEY, bench.note("gone"))
    end_topic = bench.reader.subscribe_topic(TOPIC, bench.note("gone from the topic"))
    await bench.join(KEY)
    await bench.join(TOPIC, topical=True)
    bench.writer.publish(KEY, envelope(1))
    unsubscribe()
    end_topic()
    heard_before = list(bench.heard)
    await bench.quiet()
    await bench.say(KEY, 2)
    await bench.quiet()
    bench.expect(bench.heard, heard_before)


@check(4)
async def the_same_handler_twice_is_two_subscriptions_and_each_ends_alone(bench: Bench) -> None:
    handler = bench.note("both")
    end_first = bench.reader.subscribe(KEY, handler)
    end_second = bench.reader.subscribe(KEY, handler)
    await bench.join(KEY)
    await bench.say(KEY, 1)
    await bench.quiet()
    twice = bench.heard.count(("both", 1))
    bench.expect((twice >= 2, twice % 2), (True, 0))
    end_first()
    end_first()
    await bench.say(KEY, 2)
    await bench.quiet()
    bench.expect(bench.heard.count(("both", 2)), twice // 2)
    end_second()
    bench.reader.subscribe(KEY, handler)
    end_first()
    end_second()
    await bench.join(KEY)
    await bench.say(KEY, 3)
    await bench.quiet()
    bench.expect(bench.heard.count(("both", 3)), twice // 2)


@check(5)
async def who_raises_is_skipped_and_the_others_are_served(bench: Bench) -> None:
    def raising(error: BaseException) -> Callable[..., None]:
        def handler(*what: Any) -> None:
            if not is_marker(what[-1]):
                raise error

        return handler

    for error in (ValueError("raised on purpose"), asyncio.CancelledError()):
        bench.reader.subscribe(KEY, raising(error))
        bench.reader.subscribe_topic(TOPIC, raising(error))
    bench.reader.subscribe(KEY, bench.note("good"))
    bench.reader.subscribe_topic(TOPIC, bench.note("good in the topic"))
    await bench.join(KEY)
    await bench.join(TOPIC, topical=True)
    await bench.say(KEY, 1, 2, clause=5)
    await bench.quiet()
    expected = {(*who, sequence) for who in (("good",), ("good in the topic", KEY)) for sequence in (1, 2)}
    bench.expect(set(bench.heard), expected)


@check(6)
async def the_count_of_keys_returns_to_its_old_value(bench: Bench) -> None:
    bus = bench.reader
    before = bus.key_count()
    ended = [bus.subscribe(key, bench.note("ignored")) for key in (KEY, KEY, OTHER_KEY)]
    ended.append(bus.subscribe_topic("other", bench.note("ignored")))
    counts = [bus.key_count() - before]
    for end in ended:
        end()
        end()
        counts.append(bus.key_count() - before)
    bench.expect(counts, [3, 3, 2, 1, 0])


@check(7, "losses")
async def every_loss_interrupts_in_order_with_the_envelopes(bench: Bench) -> None:
    if bench.claims.lossless:
        bench.reader.subscribe(KEY, bench.note("heard"), bench.note("interrupted"))
        await bench.join(KEY)
        await bench.say(KEY, 1, 2)
        await bench.quiet()
        bench.expect(list(dict.fromkeys(bench.heard)), [("heard", 1), ("heard", 2)])
    for number, lose in enumerate(bench.losses):
        key = f"{TOPIC}:loss-{number}"
        bench.reader.subscribe(key, bench.note("heard"), bench.note("interrupted"))
        bench.reader.subscribe(key, bench.note("ignored"), bench.note("gone"))()
        end_topic = bench.reader.subscribe_topic(TOPIC, lambda *_: None, bench.note("topic interrupted"))
        await bench.join(key)
        await bench.join(TOPIC, topical=True)
        await bench.say(key, 1)
        bench.heard.clear()
        await bench.suffer(lose, key)
        bench.expect(set(bench.heard), {("interrupted",), ("topic interrupted",)})
        end_topic()
        await bench.say(key, 2)
        bench.expect([what for what in bench.heard if len(what) > 1], [("heard", 2)])


@check(8)
async def a_topic_is_heard_whole_and_in_one_order(bench: Bench) -> None:
    bench.reader.subscribe_topic(TOPIC, bench.note("mirror"))
    await bench.join(TOPIC, topical=True)
    await bench.join(KEY_IN_OTHER_TOPIC)
    keys = [TOPIC, *(f"{TOPIC}:{number}" for number in range(20)), f"{TOPIC}:a.*.>:ü"]
    await _all_heard_in_order(bench, keys, [KEY_IN_OTHER_TOPIC], at_will=False)


@check(8)
async def of_a_pattern_nothing_is_left_out(bench: Bench) -> None:
    within = f"{TOPIC}:eu:"
    bench.reader.subscribe_topic(TOPIC, bench.note("mirror"), pattern=f"{within}*")
    await bench.join(TOPIC, topical=True)
    keys = [f"{within}{ident}" for ident in ("1", "a.*.>:ü", ":", "1:2:3", "=30")]
    await _all_heard_in_order(bench, keys, [f"{TOPIC}:eu", TOPIC], at_will=True)


async def _all_heard_in_order(bench: Bench, keys: list[str], others: list[str], *, at_will: bool) -> None:
    for sequence, key in enumerate([*keys, *others], 1):
        bench.writer.publish(key, envelope(sequence))
    expected = [("mirror", key, sequence) for sequence, key in enumerate(keys, 1)]
    await bench.demand(lambda: set(expected) <= set(bench.heard), lambda: bench.heard, f"{expected}, in whatever order")
    await bench.quiet()
    heard = [what for what in dict.fromkeys(bench.heard) if not (at_will and what[1] in others)]
    bench.expect(heard if bench.claims.ordered else sorted(heard, key=lambda what: what[-1]), expected)


@check(8)
async def subscribers_of_a_key_and_of_its_topic_hear_it_alike(bench: Bench) -> None:
    bench.reader.subscribe(KEY, bench.note("key"))
    end_topic = bench.reader.subscribe_topic(TOPIC, bench.note("topic"))
    await bench.join(KEY)
    await bench.join(TOPIC, topical=True)
    await bench.say(KEY, 1)
    await bench.quiet()
    bench.expect(set(bench.heard), {("key", 1), ("topic", KEY, 1)})
    end_topic()
    await bench.say(KEY, 2)
    await bench.quiet()
    bench.expect(set(bench.heard) - {("key", 1), ("topic", KEY, 1)}, {("key", 2)})


def _states(bench: Bench) -> list[Envelope[Any]]:
    value = {"name": "Ada", "tags": ["a", "ü"], "none": None, "large": 2**80, "small": -1.5}
    return [
        Envelope(value, "2.17", 7, 3, 5, meta={"origin": "here", "ü": ""}),
        Envelope(value, "1.0", 8, EPOCH, body=bench.writer.codec.encode_body(value)),
        Envelope(None, "1.0", 9, EPOCH, kind=Kind.TOMBSTONE),
    ]


@check(9)
async def an_envelope_arrives_whole_and_the_published_one_stays_as_it_was(bench: Bench) -> None:
    arrived: list[Envelope[Any]] = []
    bench.reader.subscribe(KEY, lambda what: None if is_marker(what) else arrived.append(what))
    await bench.join(KEY)
    for sent, same in zip(_states(bench), _states(bench), strict=True):
        arrived.clear()
        await bench.publish(KEY, sent, clause=9)
        bench.expect(sent, same)
        bench.expect(arrived != [], True)
        got = arrived[0]
        bench.expect(
            (got.version, got.kind, got.schema_version, dict(got.meta), bench.value_of(got)),
            (same.version, same.kind, same.schema_version, dict(same.meta), same.value),
        )
        followed = [each.sequence - 1 if each.after is None else each.after for each in (got, same)]
        bench.expect(followed[0] <= followed[1], True)


@check(9)
async def what_cannot_be_encoded_is_refused_or_arrives_and_stops_nothing(bench: Bench) -> None:
    bench.reader.subscribe(KEY, bench.note("heard"))
    await bench.join(KEY)
    arrives = {("heard", 1)}
    try:
        bench.writer.publish(KEY, Envelope(object(), "1.0", 1))
    except EncodeError:
        arrives = set()
    await bench.quiet()
    bench.expect(set(bench.heard), arrives)
    await bench.say(KEY, 2)
    await bench.quiet()
    bench.expect(set(bench.heard), arrives | {("heard", 2)})
