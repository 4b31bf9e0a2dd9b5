"""B3: how long a write takes over NATS until the replica shows it."""

from __future__ import annotations

import asyncio
import statistics
from array import array
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter
from typing import Any, Final, TypeAlias

from benchmarks.bus import OURS, Arrival, bare, key_values, on_server, ours
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.orders import Order, bodies, orders

Send: TypeAlias = Callable[[int], Awaitable[object]]
Turn: TypeAlias = Callable[[], Coroutine[Any, Any, dict[str, float]]]

IDLE_MESSAGES: Final = 1_000
"""How many messages one idle turn sends, each after the one before has arrived."""
LOAD_PER_S: Final = 30_000
LOAD_S: Final = 0.5
"""How long one turn under load lasts."""
OBJECTS: Final = 1_000
"""How many objects are written in turns: one that waits to be sent for 30 ms is written again, and then conflated."""
TICK_S: Final = 0.001
"""What is due is sent about so often."""
METRICS: Final = (Metric("p50", "µs", "lower"), Metric("p99", "µs", "lower"))
BARE: Final = "bare nats-py, callback"
DIRECT: Final = "bare nats-py, direct"
KV: Final = "JetStream KV"
KV_ABSENT: Final = "a put waits for its acknowledgement, and 30,000 of them a second are more than the server takes"


class Course:
    """Sends numbered messages and notes when each arrives.

    Args:
        send: sends the message of this number.
        objects: how many objects are written in turns.
    """

    def __init__(self, send: Send, objects: int) -> None:
        self._send = send
        self._objects = objects
        self._sent = array("d")
        self._came = array("d")
        self._arrival = Arrival()
        self._left = 0

    def received(self, number: int) -> None:
        """A message is there, and what it shows is not older than what those before it of the same object showed."""
        now_s = perf_counter()
        while number >= 0 and not self._came[number]:
            self._came[number] = now_s
            self._left -= 1
            number -= self._objects
        if self._left <= 0:
            self._arrival.note()

    def _start(self, count: int) -> None:
        self._sent, self._came, self._left = array("d", bytes(8 * count)), array("d", bytes(8 * count)), count

    async def idle(self, count: int) -> dict[str, float]:
        """One message at a time."""
        self._start(count)
        for number in range(count):
            self._left = 1
            self._sent[number] = perf_counter()
            await self._send(number)
            await self._arrival.wait()
        return self._figures()

    async def loaded(self, count: int) -> dict[str, float]:
        """So many a second, whether those before have arrived or not."""
        self._start(count)
        start, number = perf_counter(), 0
        while number < count:
            due = min(count, int((perf_counter() - start) * LOAD_PER_S) + 1)
            while number < due:
                self._sent[number] = perf_counter()
                await self._send(number)
                number += 1
            await asyncio.sleep(TICK_S)
        await self._arrival.wait()
        return self._figures()

    def _figures(self) -> dict[str, float]:
        check(all(self._came), "not every message arrived")
        taken = [came - sent for sent, came in zip(self._sent, self._came, strict=True)]
        return {"p50": statistics.median(taken) * 1e6, "p99": statistics.quantiles(taken, n=100)[98] * 1e6}


def _turn(course: Course, messages: int, *, loaded: bool) -> Turn:
    return lambda: course.loaded(messages) if loaded else course.idle(messages)


async def _open(url: str, stack: AsyncExitStack, messages: int, *, loaded: bool) -> dict[str, Turn]:
    turns: dict[str, Turn] = {}
    case = "load" if loaded else "idle"
    objects = min(OBJECTS, messages)
    idents = [str(number) for number in range(objects)]
    values, plain = orders(messages), [number.to_bytes(8, "big") + body[8:] for number, body in enumerate(bodies(messages))]

    for name, codec in OURS.items():
        bus = await stack.enter_async_context(ours(url, codec, idents, f"{case}-{len(turns)}"))

        def put(number: int, put: Callable[[str, Order], Awaitable[object]] = bus.owner.put) -> Awaitable[object]:
            return put(idents[number % objects], values[number])

        course = Course(put, objects)
        for replica in bus.replicas:
            replica.subscribe(lambda change, course=course: course.received(change.new.number))  # type: ignore[misc]
        turns[name] = _turn(course, messages, loaded=loaded)

    for name, direct in {BARE: False, DIRECT: True}.items():
        wire = await stack.enter_async_context(bare(url, direct=direct))
        prefix = f"{case}-{len(turns)}"
        subjects = [f"{prefix}.order.{ident}" for ident in idents]

        def publish(
            number: int, publish: Callable[..., Awaitable[None]] = wire.publisher.publish, to: list[str] = subjects
        ) -> Awaitable[None]:
            return publish(to[number % objects], plain[number])

        course = Course(publish, objects)
        await wire.subscribe(f"{prefix}.order.*", lambda body, course=course: course.received(_number(body)))  # type: ignore[misc]
        await wire.ready()
        turns[name] = _turn(course, messages, loaded=loaded)

    if not loaded:
        bucket = await stack.enter_async_context(key_values(url, "latency"))

        def put_value(number: int) -> Awaitable[int]:
            return bucket.writer.put(f"order.{number % objects}", plain[number])

        kv_course = Course(put_value, objects)
        await bucket.watch(lambda body: kv_course.received(_number(body)))
        turns[KV] = _turn(kv_course, messages, loaded=loaded)
    return turns


def _number(body: bytes) -> int:
    return int.from_bytes(body[:8], "big")


def _case(title: str, turns: dict[str, Turn], runner: asyncio.Runner, targets: tuple[Target, ...], **absent: str) -> Case:
    contestants = [
        Contestant(name, lambda turn=turn: runner.run(turn()), ours=name in OURS)  # type: ignore[misc]
        for name, turn in turns.items()
    ]
    return Case(title, METRICS, tuple(contestants), targets, absent)


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    async def open_(url: str, stack: AsyncExitStack) -> list[dict[str, Turn]]:
        idle, load = size.of(IDLE_MESSAGES, least=10), size.of(int(LOAD_PER_S * LOAD_S), least=100)
        return [await _open(url, stack, idle, loaded=False), await _open(url, stack, load, loaded=True)]

    with on_server(open_) as ((idle, loaded), runner):
        yield [
            _case("idle: one at a time", idle, runner, IDLE_TARGETS),
            _case(f"at {LOAD_PER_S:,} messages a second", loaded, runner, LOAD_TARGETS, **{KV: KV_ABSENT}),
        ]


IDLE_TARGETS: Final = (Target("parasync", BARE, "p50", 1.25), Target("parasync", BARE, "p99", 1.5))
LOAD_TARGETS: Final = (Target("parasync", BARE, "p50", 1.0), Target("parasync", BARE, "p99", 1.0))

SCENARIO: Final = Scenario(
    "B3",
    "Over NATS: latency from put to visible",
    "From the call of `put` until a listener of the replica has the new value; for the bare peers, from the call of `publish`"
    " until the callback has the bytes; for KV, until the watcher has them. Each message of a turn is measured.",
    _cases,
)
