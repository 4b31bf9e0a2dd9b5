"""Checks of the half of a transport that asks and answers (clauses 14 to 20)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from parasync.errors import AskTimeoutError, ClosedError, EncodeError, NoAuthorityError, TransportError, UsageError
from parasync.protocol import (
    REASON_CHARS_MAX,
    SAME,
    Answer,
    Ask,
    KeyPage,
    ListKeys,
    Position,
    Probe,
    ProbeReply,
    Put,
    Refusal,
    Request,
    Response,
    Version,
    Written,
)
from parasync.testing.conformance._bench import Bench
from parasync.testing.conformance._ends import EPOCH, KEY, RECONCILING, TOPIC, envelope
from parasync.testing.conformance._run import Checks, closed
from parasync.transports import AskTransport

check: Final[Checks[Bench]] = Checks()

_ANSWER: Final = Answer(epoch=4, beat=0, uptime_s=1.5, floor=Version(0, 0), history_epoch=4, outcomes=(SAME,))
_PAGE: Final = KeyPage(1, (), (), False)
_SECRET: Final = "a secret of the responder"  # noqa: S105 -- a word to look for
_SOON_S: Final = 0.01
_GATHER_S: Final = 0.5


@check(14, "ask")
async def requests_and_responses_arrive_as_they_were_sent(bench: Bench) -> None:
    body = bench.writer.codec.encode_body({"name": "Ada"})
    exchanges: list[tuple[Request, Response]] = [
        (Ask(4, (KEY,), (None,)), _ANSWER),
        (Ask(EPOCH, (KEY,), (Position(Version(EPOCH, 9), 2**32 - 1),)), _ANSWER),
        (ListKeys("a", "topic:ü", 5), KeyPage(4, (KEY,), (Version(4, 1),), False)),
        *RECONCILING,
        (Put(KEY, None, "1.0"), Written(Version(4, 9))),
        (Put(KEY, body, "2.17", Version(4, 8), "once", {"by": "ü"}), Refusal("ConflictError", "no", Version(4, 8))),
    ]
    requests: list[Request] = []
    responses = iter([response for _, response in exchanges])

    async def responder(request: Request) -> Response:
        requests.append(request)
        return next(responses)

    await bench.serve(responder)
    for number, (request, response) in enumerate(exchanges, 1):
        bench.expect(await bench.asker.ask(TOPIC, request, bench.patience_s), response)
        bench.expect(requests[number - 1 :], [request])


@check(14, "ask")
async def of_many_at_once_each_gets_its_own_answer(bench: Bench) -> None:
    asked: list[int] = []

    def responder_of(turns: int) -> Callable[[Request], Awaitable[Response]]:
        async def responder(request: Request) -> Response:
            limit = getattr(request, "limit", 0)
            asked.append(limit)
            for _ in range(limit % turns):
                await asyncio.sleep(0)
            return KeyPage(limit, (), (), False)

        return responder

    await bench.serve(responder_of(3))
    await bench.serve(responder_of(5))
    asks = [bench.asker.ask(TOPIC, ListKeys(limit=number), bench.patience_s) for number in range(1, 51)]
    answers = await asyncio.gather(*asks)
    bench.expect([getattr(answer, "epoch", answer) for answer in answers], list(range(1, 51)))
    bench.expect(sorted(asked), list(range(1, 51)))


@check(15, "ask")
async def where_nobody_serves_to_ask_says_so(bench: Bench) -> None:
    try:
        got: object = await bench.asker.ask(TOPIC, ListKeys(), bench.patience_s)
    except TransportError as error:
        got = type(error).__name__
    bench.expect(got, "NoAuthorityError")


@check(15, "ask")
async def serving_ends_at_once(bench: Bench) -> None:
    asked: list[Request] = []

    async def responder(request: Request) -> Response:
        asked.append(request)
        return _PAGE

    stop = await bench.serve(responder)
    stop()
    stop()
    await _expect_nobody(bench)
    bench.expect(asked, [])
    await bench.serve(responder)
    stop()
    bench.expect(await bench.asker.ask(TOPIC, ListKeys(), bench.patience_s), _PAGE)


async def _expect_nobody(bench: Bench) -> None:
    """Ask until it is known that nobody serves; a bus may need a moment to learn that somebody has left."""
    got: object = "nothing"
    for _ in range(math.ceil(bench.patience_s / _SOON_S)):
        try:
            got = await bench.asker.ask(TOPIC, ListKeys(), _SOON_S)
            break
        except NoAuthorityError:
            return
        except TransportError as error:
            got = type(error).__name__
            await asyncio.sleep(0)
    bench.expect(got, "NoAuthorityError")


@check(16, "ask")
async def an_error_of_parasync_is_a_refusal(bench: Bench) -> None:
    class _OwnError(EncodeError):
        current = Version(3, 4)

    async def responder(_: Request) -> Response:
        raise _OwnError("why " * REASON_CHARS_MAX)

    await bench.serve(responder)
    answer = await bench.asker.ask(TOPIC, ListKeys(), bench.patience_s)
    bench.expect(answer, Refusal("EncodeError", ("why " * REASON_CHARS_MAX)[:REASON_CHARS_MAX], Version(3, 4)))


@check(16, "ask")
async def any_other_failure_fails_the_ask_and_keeps_its_text(bench: Bench) -> None:
    failures: list[BaseException | None] = [ValueError(_SECRET), asyncio.CancelledError(_SECRET), None]
    failing = iter(failures)

    async def responder(_: Request) -> Any:
        error = next(failing)
        if error is not None:
            raise error
        return _SECRET

    await bench.serve(responder)
    for _ in failures:
        try:
            got: object = await bench.asker.ask(TOPIC, ListKeys(), bench.patience_s)
        except (AskTimeoutError, NoAuthorityError) as error:
            got = type(error).__name__
        except TransportError as error:
            got = f"TransportError with the text {_SECRET!r}" if _SECRET in str(error) else ""
        bench.expect(got or "TransportError", "TransportError")


@check(17, "ask")
async def an_asker_who_waits_no_more_does_not_stop_the_responder(bench: Bench) -> None:
    began, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def responder(_: Request) -> Response:
        began.set()
        await go_on.wait()
        ended.set()
        return _PAGE

    await bench.serve(responder)
    try:
        got: object = await bench.asker.ask(TOPIC, ListKeys(), _SOON_S)
    except TransportError as error:
        got = type(error).__name__
    bench.expect(got, "AskTimeoutError")
    await _expect_end(bench, began, go_on, ended)
    for event in (began, go_on, ended):
        event.clear()
    asking = asyncio.ensure_future(bench.asker.ask(TOPIC, ListKeys(), bench.patience_s))
    await asyncio.wait_for(began.wait(), bench.patience_s)
    asking.cancel()
    await asyncio.wait((asking,), timeout=bench.patience_s)
    bench.expect(asking.done() and asking.cancelled(), True)
    await _expect_end(bench, began, go_on, ended)


async def _expect_end(bench: Bench, began: asyncio.Event, go_on: asyncio.Event, ended: asyncio.Event) -> None:
    await asyncio.wait_for(began.wait(), bench.patience_s)
    go_on.set()
    with suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), bench.patience_s)
    bench.expect("a responder that went on" if ended.is_set() else "one that was stopped", "a responder that went on")


@check(17, "ask")
async def a_timeout_that_is_no_time_is_refused(bench: Bench) -> None:
    timeouts: list[Any] = [0, -1, math.nan, math.inf, "1"]
    for timeout_s in timeouts:
        await bench.must_raise(UsageError, "ask", bench.asker.ask(TOPIC, ListKeys(), timeout_s))
        await bench.must_raise(UsageError, "probe", bench.asker.probe(Probe(TOPIC, 1, False, "me"), timeout_s))


@check(18, "ask")
async def what_is_published_while_answering_is_heard_by_who_subscribed_before_asking(bench: Bench) -> None:
    async def responder(request: Request) -> Response:
        bench.reader.publish(KEY, envelope(getattr(request, "limit", 0)))
        return _PAGE

    await bench.serve(responder)
    for number in range(1, 21):
        unsubscribe = bench.writer.subscribe(KEY, bench.note("fresh"))
        await bench.asker.ask(TOPIC, ListKeys(limit=number), bench.patience_s)
        heard = ("fresh", number)
        await bench.demand(partial(bench.has_heard, heard), lambda: bench.heard[-1:], repr(heard))
        unsubscribe()


@check(19, "ask")
async def a_probe_reaches_everybody_and_collects_who_replies(bench: Bench) -> None:
    probes: list[Probe] = []

    def replying(reply: ProbeReply | None) -> Callable[[Probe], ProbeReply | None]:
        def responder(probe: Probe) -> ProbeReply | None:
            probes.append(probe)
            return reply

        return responder

    def raising(probe: Probe) -> None:
        probes.append(probe)
        raise ValueError(_SECRET)

    replies = (ProbeReply(7, True), None, ProbeReply(EPOCH, False))
    ends = await bench.answer_probes(*map(replying, replies), raising)
    probe = Probe(TOPIC, 5, True, "me")
    heard = await bench.asker.probe(probe, _GATHER_S)
    bench.expect(sorted(heard, key=lambda reply: reply.epoch), [replies[0], replies[2]])
    bench.expect(probes, [probe] * 4)
    for end in ends:
        end()
        end()
    bench.expect(list(await bench.asker.probe(probe, _GATHER_S)), [])
    bench.expect(probes, [probe] * 4)


@check(20, "ask", "close")
async def what_was_spawned_ends_with_the_transport(bench: Bench) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    bus = bench.server
    bench.expect((isinstance(bus, AskTransport), bus.loop in (None, asyncio.get_running_loop())), (True, True))
    task = bus.spawn(work(), "some work")
    try:
        await asyncio.wait_for(began.wait(), bench.patience_s)
        await closed(bus)
        await asyncio.wait((task,), timeout=bench.patience_s)
        bench.expect((ended.is_set(), task.get_name()), (True, "some work"))
    finally:
        task.cancel()
        await asyncio.wait((task,), timeout=bench.patience_s)


@check(20, "ask", "close")
async def an_ask_that_is_under_way_ends_with_the_transport(bench: Bench) -> None:
    began = asyncio.Event()

    async def responder(_: Request) -> Response:
        began.set()
        await asyncio.Event().wait()
        return _PAGE

    await bench.serve(responder)
    asking = asyncio.ensure_future(bench.asker.ask(TOPIC, ListKeys(), 10 * bench.patience_s))
    try:
        await asyncio.wait_for(began.wait(), bench.patience_s)
        await closed(bench.asker)
        await asyncio.wait((asking,), timeout=bench.patience_s)
        got = type(asking.exception()).__name__ if asking.done() and not asking.cancelled() else "no end"
        bench.expect(got, ClosedError.__name__)
    finally:
        asking.cancel()
        await asyncio.wait((asking,), timeout=bench.patience_s)
