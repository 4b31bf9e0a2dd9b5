"""Checks of what a transport refuses, of its end, and of what it claims beyond the contract (clauses 10 to 13)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from parasync.errors import ClosedError, InvalidKeyError, UsageError
from parasync.protocol import Envelope, ListKeys, Probe
from parasync.testing.conformance._bench import Bench
from parasync.testing.conformance._ends import KEY, KEY_IN_OTHER_TOPIC, TOPIC, envelope, is_marker
from parasync.testing.conformance._run import Checks, broken, closed
from parasync.transports import LimitedTransport

check: Final[Checks[Bench]] = Checks()

_ILLEGAL: Final = ("", ":1", "topic:", "\ud800", "x" * 600)
_LIKE_SYNTAX: Final = ("t:a.b", "t:a", "t:*", "t:>", "t:a b", "t:\x00\x0b\r\n", "t:=", "t:ü", "t", "t.x:1", "T:a", "t:A")
_THREADS: Final = 4
_PUBLISHES: Final = 200


@check(10)
async def keys_that_look_like_syntax_of_the_bus_stay_apart(bench: Bench) -> None:
    for key in _LIKE_SYNTAX:
        bench.reader.subscribe(key, bench.note(key))
    for key in _LIKE_SYNTAX:
        await bench.join(key)
    for number, key in enumerate(_LIKE_SYNTAX, 1):
        await bench.say(key, number)
    await bench.quiet()
    bench.expect(set(bench.heard), {(key, number) for number, key in enumerate(_LIKE_SYNTAX, 1)})


@check(10)
async def what_is_no_key_is_refused(bench: Bench) -> None:
    ignored, before = bench.note("ignored"), bench.reader.key_count()
    for key in _ILLEGAL:
        must_raise(bench, InvalidKeyError, "publish", partial(bench.writer.publish, key, envelope(1)))
        must_raise(bench, InvalidKeyError, "subscribe", partial(bench.reader.subscribe, key, ignored))
    for topic in (*_ILLEGAL, KEY):
        must_raise(bench, InvalidKeyError, "subscribe_topic", partial(bench.reader.subscribe_topic, topic, ignored))
    for pattern in (KEY, TOPIC, f"{KEY_IN_OTHER_TOPIC}:*", "*", ""):
        wanted = partial(bench.reader.subscribe_topic, TOPIC, ignored, pattern=pattern)
        must_raise(bench, InvalidKeyError, "subscribe_topic", wanted)
    bench.expect(bench.reader.key_count(), before)


@check(10)
async def what_is_no_plain_function_is_refused(bench: Bench) -> None:
    async def handler(*_: Any) -> None: ...

    before = bench.reader.key_count()
    must_raise(bench, UsageError, "subscribe", lambda: bench.reader.subscribe(KEY, handler))  # type: ignore[arg-type]
    must_raise(bench, UsageError, "subscribe_topic", lambda: bench.reader.subscribe_topic(TOPIC, handler))  # type: ignore[arg-type]
    bench.expect(bench.reader.key_count(), before)


@check(10, "ask")
async def what_is_no_topic_is_not_asked_and_not_served(bench: Bench) -> None:
    async def responder(_: object) -> Any: ...

    for topic in (*_ILLEGAL, KEY):
        must_raise(bench, InvalidKeyError, "serve", partial(bench.server.serve, topic, responder))
        must_raise(bench, InvalidKeyError, "answer_probes", partial(bench.server.answer_probes, topic, _silent))
        await bench.must_raise(InvalidKeyError, "ask", bench.asker.ask(topic, ListKeys(), bench.patience_s))


@check(7, "close")
async def closing_interrupts_each_live_subscription_once(bench: Bench) -> None:
    told = bench.note("told")
    bench.reader.subscribe(KEY, bench.note("heard"), told)
    bench.reader.subscribe(KEY, bench.note("heard"), told)
    bench.reader.subscribe_topic(TOPIC, bench.note("heard"), told)
    bench.reader.subscribe(KEY, bench.note("heard"), bench.note("gone"))()
    await bench.join(KEY)
    bench.heard.clear()
    await closed(bench.reader)
    await closed(bench.reader)
    await bench.demand(lambda: len(bench.heard) >= 3, lambda: bench.heard, "each of three told")
    bench.expect(bench.heard, [("told",)] * 3)


@check(11, "close")
async def a_closed_transport_refuses_everything_and_delivers_nothing(bench: Bench) -> None:
    bus = bench.reader
    unsubscribe = bus.subscribe(KEY, bench.note("closed"))
    end_topic = bus.subscribe_topic(TOPIC, bench.note("closed"))
    if bench.writer is not bus:
        await bench.join(KEY, end=bench.writer)
    bench.expect(isinstance(bus, LimitedTransport) and bus.closed, False)
    await closed(bus)
    bench.expect(isinstance(bus, LimitedTransport) and not bus.closed, False)
    await closed(bus)
    ignored = bench.note("ignored")
    must_raise(bench, ClosedError, "publish", lambda: bus.publish(KEY, envelope(1)))
    must_raise(bench, ClosedError, "subscribe", lambda: bus.subscribe(KEY, ignored))
    must_raise(bench, ClosedError, "subscribe_topic", lambda: bus.subscribe_topic(TOPIC, ignored))
    if bench.writer is not bus:
        await bench.say(KEY, 1)
        await bench.quiet()
    bench.expect((bench.heard, bus.key_count()), ([], 0))
    unsubscribe()
    end_topic()


@check(11, "close", "ask")
async def a_closed_transport_neither_asks_nor_serves(bench: Bench) -> None:
    async def responder(_: object) -> Any: ...

    bus = bench.server
    stop, end_probes = bus.serve(TOPIC, responder), bus.answer_probes(TOPIC, _silent)
    await closed(bus)
    must_raise(bench, ClosedError, "serve", lambda: bus.serve(TOPIC, responder))
    must_raise(bench, ClosedError, "answer_probes", lambda: bus.answer_probes(TOPIC, _silent))
    must_raise(bench, ClosedError, "spawn", lambda: bus.spawn(asyncio.sleep(0), "too late"))
    await bench.must_raise(ClosedError, "ask", bus.ask(TOPIC, ListKeys(), bench.patience_s))
    await bench.must_raise(ClosedError, "probe", bus.probe(Probe(TOPIC, 1, False, "me"), bench.patience_s))
    stop()
    end_probes()


@check(12, "lossless")
async def each_of_many_is_delivered_before_publish_returns(bench: Bench) -> None:
    bench.reader.subscribe(KEY, bench.note("all"))
    await bench.join(KEY)
    for sequence in range(1, 1001):
        bench.writer.publish(KEY, envelope(sequence))
        bench.expect(bench.heard[-1:], [("all", sequence)])
    bench.expect(list(dict.fromkeys(bench.heard)), [("all", sequence) for sequence in range(1, 1001)])


@check(13, "threads")
async def every_plain_function_works_in_threads_without_a_loop(bench: Bench) -> None:
    before = bench.reader.key_count()
    failures: list[BaseException] = []
    heard: dict[int, list[int]] = {number: [] for number in range(_THREADS)}
    all_ready, may_end = threading.Barrier(_THREADS), threading.Event()

    def work(number: int) -> None:
        def hear(what: Envelope[Any]) -> None:
            if not is_marker(what):
                heard[number].append(what.sequence)
                bench.notice()

        try:
            key = f"thread:{number}"
            unsubscribe = bench.reader.subscribe(key, hear)
            all_ready.wait(bench.patience_s)
            for sequence in range(1, _PUBLISHES + 1):
                bench.writer.publish(key, envelope(sequence))
                bench.reader.subscribe_topic("thread", lambda *_: None)()
            may_end.wait(bench.patience_s)
            unsubscribe()
            bench.reader.key_count()
        except BaseException as error:  # noqa: BLE001 -- whatever it is, the check is told
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    await bench.until(lambda: failures or all(each[-1:] == [_PUBLISHES] for each in heard.values()))
    may_end.set()
    for thread in threads:
        await asyncio.to_thread(thread.join, bench.patience_s)
    bench.expect((failures, [thread.is_alive() for thread in threads]), ([], [False] * _THREADS))
    bench.expect([each[-1:] for each in heard.values()], [[_PUBLISHES]] * _THREADS)
    bench.expect(bench.reader.key_count(), before)


def _silent(_: Probe) -> None:
    """Answers no probe."""


def must_raise(bench: Bench, error: type[Exception], what: str, call: Callable[[], object]) -> None:
    """Demand that something called raises this error."""
    try:
        call()
    except error:
        return
    except Exception as other:
        raise broken(bench.clause, f"{type(other).__name__} from {what}", error.__name__, bench.what) from other
    raise broken(bench.clause, f"no error from {what}", error.__name__, bench.what)
