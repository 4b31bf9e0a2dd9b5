"""How many instructions of the Python interpreter one message of B2 takes, by part: a profile that no busy machine disturbs."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from types import FrameType
from typing import Any, Final, TypeAlias

from benchmarks.bus import OURS, Arrival, bare, on_server, ours
from benchmarks.contest import check
from benchmarks.orders import bodies, order
from parasync.runtime._office import Terms

MESSAGES: Final = 256
PARTS: Final = {
    "the protocol of NATS, the event loop, the sockets": r"nats/(aio|protocol)|_nats_(parser|wire|link|socket)|Outbox\.take"
    r"|asyncio|selectors|queues|sslproto|<string>",
    "gate, and the body": r"parasync/gate|<check of parasync|<cattrs|<attrs generated methods benchmarks|topic\.py"
    r"|_limits|_fast|_body|_pack|_unpack|_(en|de)coded|typed_",
    "the frame and its checksums": r"parasync/codec",
    "checks of the call, the draft, the order of writes": r"runtime/_(authority|pen|checks|office|guard|desk)",
    "the memory store, the version": r"parasync/stores|protocol/_authority",
    "outbox and subject": r"parasync/transports/(nats\.py|_outbox|_nats_session|_subjects)",
    "fan-out, rules, the swap": r"_fanout|_nats_receiver|runtime/|parasync/protocol",
    "making envelopes": r"<attrs generated methods parasync",
}
"""Which functions belong to which part, the first that matches file and name."""
REST: Final = "the rest"

Counts: TypeAlias = Counter[str]
Turn: TypeAlias = Callable[[], Awaitable[None]]
Prepare: TypeAlias = Callable[[], tuple[Turn, Callable[[], None]]]
"""What one turn sends, made before it is counted, and how to check afterwards that it arrived."""


def counted(messages: int = MESSAGES) -> dict[str, Counts]:
    """Instructions a message by contestant and part; each must have delivered every message."""
    turns: dict[str, Prepare] = {}

    async def open_(url: str, stack: AsyncExitStack) -> None:
        for number, (name, codec) in enumerate(OURS.items()):
            turns[name] = await stack.enter_async_context(_ours(url, codec, f"count-{number}", messages))
        for name, direct in {"bare nats-py, callback": False, "bare nats-py, direct": True}.items():
            turns[name] = await stack.enter_async_context(_bare(url, direct, messages))

    with on_server(open_) as (_, runner):
        return {name: runner.run(_traced(turn, messages)) for name, turn in turns.items()}


def table(found: dict[str, Counts]) -> str:
    """The counts in Markdown, with their sum and its ratio to the first bare client."""
    totals = {name: sum(counts.values()) for name, counts in found.items()}
    bare_total = next(total for name, total in totals.items() if name not in OURS)
    rows = [["instructions a message", *found], ["---"] * (len(found) + 1)]
    rows += [[part, *(f"{counts[part]:,}" for counts in found.values())] for part in [*PARTS, REST]]
    rows.append(["**all**", *(f"**{total:,}**" for total in totals.values())])
    rows.append(["bare nats-py, callback / this", *(f"{bare_total / total:.2f}" for total in totals.values())])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


async def _traced(prepare: Prepare, messages: int) -> Counts:
    first, check_first = prepare()
    await first()  # it fills what is remembered
    check_first()
    turn, check_turn = prepare()
    codes: Counter[Any] = Counter()

    def called(frame: FrameType, _: str, __: object) -> Callable[..., object]:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        code = frame.f_code

        def step(_: FrameType, event: str, __: object) -> Callable[..., object]:
            codes[code] += event == "opcode"
            return step

        return step

    task = asyncio.ensure_future(turn())
    sys.settrace(called)
    try:
        await task
    finally:
        sys.settrace(None)
    check_turn()
    counts: Counts = Counter()
    for code, steps in codes.items():
        counts[_part(f"{code.co_filename}:{code.co_qualname}")] += steps
    return Counter({part: round(steps / messages) for part, steps in counts.items()})


def _part(function: str) -> str:
    if __name__ in function or "benchmarks/" in function.replace("\\", "/"):
        return REST
    return next((part for part, pattern in PARTS.items() if re.search(pattern, function.replace("\\", "/"))), REST)


@asynccontextmanager
async def _ours(url: str, codec: Any, prefix: str, messages: int) -> AsyncIterator[Prepare]:
    idents = [str(number) for number in range(messages)]
    # What is counted is written slowly, and would be beaten about much more often than it is.
    seldom = Terms(beat_interval_s=3600.0, beat_min_interval_s=3600.0)
    async with ours(url, codec, idents, prefix, seldom) as bus:
        arrival, put = Arrival(), bus.owner.put
        bus.replicas[-1].subscribe(lambda _: arrival.note())
        starts = count(step=messages)

        def prepare() -> tuple[Turn, Callable[[], None]]:
            start = next(starts)
            sent = [order(start + number) for number in range(messages)]

            async def turn() -> None:
                for ident, value in zip(idents, sent, strict=True):
                    await put(ident, value)
                await arrival.wait()

            shown = "not every replica shows the newest value"
            return turn, lambda: check([replica.value for replica in bus.replicas] == sent, shown)

        yield prepare


@asynccontextmanager
async def _bare(url: str, direct: bool, messages: int) -> AsyncIterator[Prepare]:
    async with bare(url, direct=direct) as bus:
        arrival, got = Arrival(), list[bytes]()
        subject, sent = f"count-{direct}", bodies(messages)

        def received(body: bytes) -> None:
            got.append(body)
            if len(got) == messages:
                arrival.note()

        await bus.subscribe(f"{subject}.*", received)
        await bus.ready()

        async def turn() -> None:
            for number, body in enumerate(sent):
                await bus.publisher.publish(f"{subject}.{number}", body)
            await arrival.wait()

        def prepare() -> tuple[Turn, Callable[[], None]]:
            got.clear()
            return turn, lambda: check(tuple(got) == sent, "not every message arrived in order")

        yield prepare
