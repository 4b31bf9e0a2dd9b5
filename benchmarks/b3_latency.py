"""B3: how long a write takes to be visible over NATS, with nothing else going on and under load."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from time import perf_counter
from typing import Any, Final

from benchmarks.bus import OURS, PATIENCE_S, Bare, KeyValues, Ours, bare, key_values, on_server, ours
from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.orders import bodies, order, orders
from parasync import Change

SAMPLES: Final = 1_000
KV_SAMPLES: Final = 400
OBJECTS: Final = 256
"""How many objects the load is spread over."""
LOAD: Final = 30_000
"""Messages a second under load, in bursts of one a millisecond; the sample is the last of its burst."""
TICK_S: Final = 0.001
MEDIAN: Final = Metric("p50", "µs", "lower")
TAIL: Final = Metric("p99", "µs", "lower")
METRICS: Final = (MEDIAN, TAIL)
BARE: Final = "bare nats-py, callback"
DIRECT: Final = "bare nats-py, direct"
KV: Final = "JetStream KV"

Turn = Callable[[int, int], Coroutine[Any, Any, dict[str, float]]]
"""Takes how many samples, and how many other messages before each."""


class Stopwatch:
    """Notes when a sample was sent and when it was there."""

    def __init__(self) -> None:
        self._sent_s: list[float] = []
        self._took_s: list[float] = []
        self._there = asyncio.Event()

    def sent(self) -> None:
        """A sample goes out now."""
        self._sent_s.append(perf_counter())

    def there(self) -> None:
        """A sample is visible now; they come in order."""
        self._took_s.append(perf_counter() - self._sent_s[len(self._took_s)])
        self._there.set()

    async def wait(self, samples: int) -> None:
        """Wait until so many are there."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self._took_s) < samples:
                self._there.clear()
                await self._there.wait()

    def figures(self, samples: int) -> dict[str, float]:
        """What the samples came to; forgets them."""
        took_s, self._took_s = self._took_s, []
        self._sent_s.clear()
        check(len(took_s) == samples, "not every sample arrived once")
        hundredths = statistics.quantiles(took_s, n=100)
        return {MEDIAN.name: hundredths[49] * 1e6, TAIL.name: hundredths[98] * 1e6}


async def paced(watch: Stopwatch, samples: int, others: int, send: Callable[[int], Awaitable[object]], other: Any) -> None:
    """Send samples: each when the one before is there, or, between others, one every millisecond."""
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    for number in range(samples):
        for filler in range(number * others, (number + 1) * others):
            await other(filler)
        watch.sent()
        await send(number)
        if others == 0:
            await watch.wait(number + 1)
        else:
            due_s += TICK_S
            tick: asyncio.Future[None] = loop.create_future()
            loop.call_at(due_s, tick.set_result, None)
            await tick
    await watch.wait(samples)


class Writing:
    """parasync: from `put` to the listener of the replica, which shows the value by then."""

    def __init__(self, bus: Ours) -> None:
        self._bus = bus
        self._watch = Stopwatch()
        self._sent = orders(SAMPLES)
        self._idents = [str(number) for number in range(OBJECTS)]
        bus.replicas[0].subscribe(self._shown)

    def _shown(self, change: Change[Any]) -> None:
        check(self._bus.replicas[0].value is change.new, "a listener was called before the value was visible")
        self._watch.there()

    async def turn(self, samples: int, others: int) -> dict[str, float]:
        """The object 0 is the sample, the other objects are the load."""
        put, idents, sent = self._bus.owner.put, self._idents, self._sent
        await paced(
            self._watch,
            samples,
            others,
            lambda number: put("0", sent[number]),
            lambda filler: put(idents[1 + filler % (OBJECTS - 1)], sent[filler % len(sent)]),
        )
        check(self._bus.replicas[0].value == sent[samples - 1], "a wrong value is shown")
        return self._watch.figures(samples)


class Publishing:
    """Bare nats-py: from `publish` to the receiver."""

    def __init__(self, bus: Bare, prefix: str) -> None:
        self._bus = bus
        self._watch = Stopwatch()
        self._sent = bodies(SAMPLES)
        self._prefix = prefix
        self._got: list[bytes] = []

    async def open(self) -> Publishing:
        """Subscribe for the samples and for the load."""
        await self._bus.subscribe(f"{self._prefix}.sample", self._received)
        await self._bus.subscribe(f"{self._prefix}.load.*", lambda _: None)
        await self._bus.ready()
        return self

    def _received(self, body: bytes) -> None:
        self._got.append(body)
        self._watch.there()

    async def turn(self, samples: int, others: int) -> dict[str, float]:
        """Each message on the subject of its object."""
        publish, sent = self._bus.publisher.publish, self._sent
        sample, load = f"{self._prefix}.sample", [f"{self._prefix}.load.{number}" for number in range(OBJECTS)]
        await paced(
            self._watch,
            samples,
            others,
            lambda number: publish(sample, sent[number]),
            lambda filler: publish(load[filler % OBJECTS], sent[filler % len(sent)]),
        )
        check(tuple(self._got) == sent[:samples], "not every sample arrived, in order")
        self._got.clear()
        return self._watch.figures(samples)


class Putting:
    """JetStream KV: from `put` to the watcher."""

    def __init__(self, values: KeyValues) -> None:
        self._values = values
        self._watch = Stopwatch()
        self._got: list[bytes] = []

    async def open(self) -> Putting:
        """Watch."""
        await self._values.watch(self._received)
        return self

    def _received(self, body: bytes) -> None:
        self._got.append(body)
        self._watch.there()

    async def turn(self, samples: int, others: int) -> dict[str, float]:
        """One put after another."""
        samples, sent = min(samples, KV_SAMPLES), bodies(SAMPLES)
        put = self._values.writer.put
        await paced(self._watch, samples, others, lambda number: put("order.0", sent[number]), None)
        check(tuple(self._got) == sent[:samples], "not every sample arrived, in order")
        self._got.clear()
        return self._watch.figures(samples)


async def _open(url: str, stack: AsyncExitStack) -> dict[str, Turn]:
    turns: dict[str, Turn] = {}
    idents = [str(number) for number in range(OBJECTS)]
    for name, codec in OURS.items():
        turns[name] = Writing(await stack.enter_async_context(ours(url, codec, idents, f"ours-{len(turns)}"))).turn
    for name, direct in {BARE: False, DIRECT: True}.items():
        bus = await stack.enter_async_context(bare(url, direct=direct))
        turns[name] = (await Publishing(bus, f"bare-{len(turns)}").open()).turn
    turns[KV] = (await Putting(await stack.enter_async_context(key_values(url, "latency"))).open()).turn
    check(order(0) == orders(1)[0], "orders differ")
    return turns


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    samples = min(SAMPLES, size.of(SAMPLES, least=100))
    with on_server(_open) as (turns, runner):

        def contestants(names: Sequence[str], others: int) -> tuple[Contestant, ...]:
            return tuple(
                Contestant(name, lambda turn=turns[name]: runner.run(turn(samples, others)), ours=name in OURS)  # type: ignore[misc]
                for name in names
            )

        loaded = f"at {LOAD:,} messages/s"
        yield [
            Case("idle", METRICS, contestants(list(turns), 0), IDLE_TARGETS),
            # KV acknowledges each put and stays far below this load one at a time.
            Case(loaded, METRICS, contestants([*OURS, BARE, DIRECT], int(LOAD * TICK_S) - 1), LOADED_TARGETS, {KV: "too slow"}),
        ]


IDLE_TARGETS: Final = (Target("parasync", BARE, MEDIAN.name, 1.25), Target("parasync", BARE, TAIL.name, 1.5))
LOADED_TARGETS: Final = (Target("parasync", BARE, MEDIAN.name, 1.0), Target("parasync[fast]", BARE, MEDIAN.name, 1.0))

SCENARIO: Final = Scenario(
    "B3",
    "Over NATS: how long from put to visible",
    "Idle: one write after another, each when the one before is visible. Under load: 30 messages every millisecond, of which"
    " the last is the sample; the sender waits for nobody.",
    _cases,
)
