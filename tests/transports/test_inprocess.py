"""The transport inside one process, from threads and loops that the conformance kit does not have."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from parasync import Envelope, InProcessTransport
from parasync.errors import AskTimeoutError, ClosedError, NoAuthorityError, TransportError, UsageError
from parasync.protocol import KeyPage, ListKeys, Probe, ProbeReply, Request, Response

DEADLINE_S = 20.0
PAGE = KeyPage(1, (), (), False)
PROBE = Probe("user", 1, False, "me")


def envelope(sequence: int) -> Envelope[str]:
    return Envelope("value", "1.0", sequence)


@contextmanager
def loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in another thread for as long as the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(DEADLINE_S)
        loop.close()


def run_in(loop: asyncio.AbstractEventLoop, function: Callable[[], Any]) -> Any:
    async def call() -> Any:
        return function()

    return asyncio.run_coroutine_threadsafe(call(), loop).result(DEADLINE_S)


def test_it_needs_no_event_loop() -> None:
    heard = []
    with InProcessTransport() as bus:
        bus.subscribe("user:1", heard.append)
        bus.subscribe_topic("user", lambda key, got: heard.append((key, got)))
        bus.publish("user:1", envelope(1))
        assert heard == [envelope(1), ("user:1", envelope(1))]
        assert repr(bus) == "<InProcessTransport: 2 keys>"
    assert repr(bus) == "<InProcessTransport closed: 0 keys>"
    with pytest.raises(ClosedError):
        bus.publish("user:1", envelope(2))
    with pytest.raises(ClosedError), bus:
        pass


def test_the_value_is_passed_on_and_not_copied() -> None:
    heard: list[Envelope[Any]] = []
    bus = InProcessTransport()
    bus.subscribe("user:1", heard.append)
    sent = Envelope({"a": [1]}, "1.0", 1)
    bus.publish("user:1", sent)
    assert heard[0] is sent


def test_what_needs_a_loop_says_so() -> None:
    bus = InProcessTransport()
    with pytest.raises(UsageError, match="without a running event loop"):
        bus.serve("user", lambda _: asyncio.sleep(0, PAGE))
    work = asyncio.sleep(0)
    with pytest.raises(UsageError, match="without a running event loop"):
        bus.spawn(work, "work")


def test_all_in_process_transports_share_a_codec_unless_told_otherwise() -> None:
    first, second = InProcessTransport(), InProcessTransport()
    assert first.codec is second.codec
    assert InProcessTransport(codec=first.codec).codec is first.codec


async def test_it_closes_when_the_last_of_those_who_entered_leaves() -> None:
    bus = InProcessTransport()
    async with bus:
        with bus:
            assert not bus.closed
        assert not bus.closed
        bus.publish("user:1", envelope(1))
    assert bus.closed


async def test_an_authority_in_another_loop_answers_there() -> None:
    bus = InProcessTransport()
    with loop_in_thread() as other:
        answered_in = []

        async def responder(_: Request) -> Response:
            answered_in.append(asyncio.get_running_loop())
            return PAGE

        stop = run_in(other, lambda: bus.serve("user", responder))
        assert await bus.ask("user", ListKeys(), DEADLINE_S) == PAGE
        assert answered_in == [other]
        stop()
        with pytest.raises(NoAuthorityError):
            await bus.ask("user", ListKeys(), DEADLINE_S)


async def test_a_thread_without_a_loop_asks_and_waits() -> None:
    bus = InProcessTransport()
    bus.serve("user", lambda _: asyncio.sleep(0, PAGE))
    assert await asyncio.to_thread(bus.ask_blocking, "user", ListKeys(), DEADLINE_S) == PAGE
    with pytest.raises(NoAuthorityError):
        bus.ask_blocking("other", ListKeys(), DEADLINE_S)
    with pytest.raises(UsageError, match="on the thread that has to answer, expected 'await ask'"):
        bus.ask_blocking("user", ListKeys(), DEADLINE_S)
    await bus.aclose()
    with pytest.raises(ClosedError):
        bus.ask_blocking("user", ListKeys(), DEADLINE_S)


async def test_a_thread_does_not_wait_for_ever() -> None:
    bus, began = InProcessTransport(), asyncio.Event()

    async def responder(_: Request) -> Response:
        began.set()
        await asyncio.Event().wait()
        return PAGE

    bus.serve("user", responder)
    with pytest.raises(AskTimeoutError, match="got no answer"):
        await asyncio.to_thread(bus.ask_blocking, "user", ListKeys(), 0.01)
    began.clear()
    waiting = asyncio.create_task(asyncio.to_thread(bus.ask_blocking, "user", ListKeys(), DEADLINE_S))
    await began.wait()
    await bus.aclose()
    with pytest.raises(ClosedError):
        await waiting


async def test_an_authority_whose_loop_is_gone_serves_no_more() -> None:
    bus = InProcessTransport()
    with loop_in_thread() as other:
        run_in(other, lambda: bus.serve("user", lambda _: asyncio.sleep(0, PAGE)))
        run_in(other, lambda: bus.answer_probes("user", lambda _: ProbeReply(1, True)))
    with pytest.raises(NoAuthorityError, match="the event loop of the authority of 'user' was closed"):
        await bus.ask("user", ListKeys(), DEADLINE_S)
    assert list(await bus.probe(PROBE, DEADLINE_S)) == []


async def test_an_authority_whose_loop_ends_while_it_answers_fails_the_ask() -> None:
    bus, began = InProcessTransport(), threading.Event()
    with loop_in_thread() as other:

        async def responder(_: Request) -> Response:
            began.set()
            await asyncio.Event().wait()
            return PAGE

        run_in(other, lambda: bus.serve("user", responder))
        asking = asyncio.create_task(bus.ask("user", ListKeys(), DEADLINE_S))
        assert await asyncio.to_thread(began.wait, DEADLINE_S)
        run_in(other, lambda: [task.cancel() for task in asyncio.all_tasks() if task is not asyncio.current_task()])
        with pytest.raises(TransportError, match="the authority stopped before it answered"):
            await asking


async def test_an_answer_cancelled_before_it_began_fails_the_ask_and_does_not_cancel_the_asker() -> None:
    bus = InProcessTransport()
    bus.serve("user", lambda _: asyncio.sleep(0, PAGE))
    asking = asyncio.create_task(bus.ask("user", ListKeys(), DEADLINE_S))
    await asyncio.sleep(0)
    for task in bus._tasks._tasks:
        task.cancel()
    with pytest.raises(TransportError, match="the authority stopped"):
        await asking


async def test_probes_are_answered_in_the_loop_in_which_they_were_promised() -> None:
    bus = InProcessTransport()
    answered_in = []

    def responder(_: Probe) -> ProbeReply:
        answered_in.append(threading.get_ident())
        return ProbeReply(len(answered_in), True)

    with loop_in_thread() as other, ThreadPoolExecutor(1) as pool:
        thread = run_in(other, threading.get_ident)
        bus.answer_probes("user", responder)
        run_in(other, lambda: bus.answer_probes("user", responder))
        pool.submit(bus.answer_probes, "user", responder).result(DEADLINE_S)
        assert len(await bus.probe(PROBE, DEADLINE_S)) == 3
        here = threading.get_ident()
        assert sorted(answered_in) == sorted([here, thread, here])


async def test_a_loop_that_hangs_costs_a_probe_its_timeout_and_no_more() -> None:
    bus, go_on = InProcessTransport(), threading.Event()
    with loop_in_thread() as other:
        run_in(other, lambda: bus.answer_probes("user", lambda _: ProbeReply(1, True)))
        bus.answer_probes("user", lambda _: ProbeReply(2, False))
        other.call_soon_threadsafe(go_on.wait, DEADLINE_S)
        assert list(await bus.probe(PROBE, 0.01)) == [ProbeReply(2, False)]
        go_on.set()


async def test_closing_cancels_and_awaits_the_work_in_every_loop() -> None:
    bus, ended = InProcessTransport(), []

    async def work(name: str, began: threading.Event) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    with loop_in_thread() as other:
        began = {"here": threading.Event(), "there": threading.Event()}
        bus.spawn(work("here", began["here"]), "here")
        run_in(other, lambda: bus.spawn(work("there", began["there"]), "there"))
        for event in began.values():
            assert await asyncio.to_thread(event.wait, DEADLINE_S)
        await bus.aclose()
        assert sorted(ended) == ["here", "there"]


async def test_work_that_closes_its_own_transport_ends_in_peace() -> None:
    bus = InProcessTransport()

    async def work() -> None:
        await bus.aclose()

    task = bus.spawn(work(), "the closer")
    await task
    assert bus.closed


def test_work_in_a_loop_that_is_closed_does_not_hold_up_closing() -> None:
    bus = InProcessTransport()
    loop = asyncio.new_event_loop()

    async def begin() -> None:
        bus.spawn(asyncio.Event().wait(), "never ends")  # type: ignore[arg-type]

    loop.run_until_complete(begin())
    tasks = asyncio.all_tasks(loop)
    loop.close()
    bus.close()
    asyncio.run(bus.aclose())
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]


async def test_a_request_that_arrives_after_closing_is_not_worked_on() -> None:
    bus, hold, held = InProcessTransport(), threading.Event(), threading.Event()
    with loop_in_thread() as other:
        run_in(other, lambda: bus.serve("user", lambda _: asyncio.sleep(0, PAGE)))
        other.call_soon_threadsafe(lambda: (held.set(), hold.wait(DEADLINE_S)))
        assert await asyncio.to_thread(held.wait, DEADLINE_S)
        asking = asyncio.create_task(bus.ask("user", ListKeys(), DEADLINE_S))
        await asyncio.sleep(0)
        bus.close()
        hold.set()
        with pytest.raises(ClosedError):
            await asking
