"""What it costs to have many readers: `python -m benchmarks.scaling` counts it, and fills the page of the documentation.

Small worlds are counted on a real server, each reader with a connection of its own as if it were a process; large ones in
virtual time, where ten thousand readers take no machines. Each count stands beside what the formula of the page says. What a
beat takes in a process that follows many objects is timed.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import urllib.request
from collections import Counter
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import nats

from benchmarks.bus import PATIENCE_S
from benchmarks.contest import check
from benchmarks.orders import ORDERS, order
from benchmarks.report import between
from parasync import InProcessTransport, MemoryStore, Pace, Status, authority, synced
from parasync.protocol import Beat, Request, Response
from parasync.runtime._office import Terms
from parasync.testing import FaultyTransport, run
from parasync.transports import BeatHandler, Unsubscribe
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport, PrefixedSubjects

PAGE: Final = Path(__file__).parents[1] / "docs" / "explanation" / "scaling.md"
READERS: Final = (1, 5, 25)
OBJECTS: Final = 20
"""How many objects each of the readers follows on the real server."""
CROWDS: Final = ((100, 0.05), (1_000, 0.05), (10_000, 0.05), (10_000, 2.0))
"""How many readers of one object there are in virtual time, and how long they put off their asks at the most."""
BEAT_S: Final = 0.2
BEATS: Final = 20
WRITES: Final = 50
PAUSE_S: Final = 0.01
FOLLOWED: Final = (100, 1_000, 10_000)
"""How many objects a process follows one by one, where its time for a beat is taken."""
NAMED: Final = (0, 10, 100)
"""How many of these such a beat names."""


class Counted:
    """What a server has sent and taken since the last look, as its monitoring says."""

    def __init__(self, server: NatsServer) -> None:
        self._server = server
        self._last: dict[str, int] = {}

    async def look(self) -> dict[str, int]:
        """The counts since the last look; of subscriptions, all that there are."""
        found = await asyncio.to_thread(self._read)
        last, self._last = self._last, found
        return {name: value - last.get(name, 0) for name, value in found.items()} | {"subscriptions": found["subscriptions"]}

    def _read(self) -> dict[str, int]:
        with urllib.request.urlopen(f"{self._server.monitor_url}/varz", timeout=PATIENCE_S) as page:
            facts: dict[str, Any] = json.load(page)
        return {name: facts[name] for name in ("in_msgs", "out_msgs", "out_bytes", "subscriptions")}


async def on_a_server(readers: int) -> dict[str, float]:
    """Counts of a real server with so many readers of the same objects."""
    with NatsServer(monitor=True) as server:
        async with AsyncExitStack() as stack:
            subjects = PrefixedSubjects("scaling")
            writer = await stack.enter_async_context(NatsTransport(server.url, subjects=subjects))
            terms = Terms(beat_interval_s=BEAT_S, beat_min_interval_s=BEAT_S, probe_interval_s=3600.0)
            store = MemoryStore()
            counted = Counted(server)
            async with authority(ORDERS, writer, store=store, terms=terms) as owner:
                for number in range(OBJECTS):
                    await owner.put(str(number), order(number))
                empty = (await counted.look())["subscriptions"]
                buses = [await stack.enter_async_context(NatsTransport(server.url, subjects=subjects)) for _ in range(readers)]
                followed = [(ORDERS[str(number)], bus) for bus in buses for number in range(OBJECTS)]
                replicas = [await stack.enter_async_context(synced(*each)) for each in followed]
                await _current(replicas)
                await asyncio.sleep(5 * BEAT_S)
                subscriptions = (await counted.look())["subscriptions"] - empty
                await asyncio.sleep(BEATS * BEAT_S)
                idle = await counted.look()
                for number in range(WRITES):
                    await owner.put("0", order(OBJECTS + number))
                    await asyncio.sleep(PAUSE_S)
                await asyncio.sleep(4 * BEAT_S)
                wrote = await counted.look()
            asked = await _asks(server.url, stack)
            async with authority(ORDERS, writer, store=store, terms=terms):
                await asyncio.sleep(4 * BEAT_S)
                await _current(replicas)
            check(all(replica.value.number >= OBJECTS for replica in replicas[::OBJECTS]), "a reader missed what was written")
            beaten = (readers + 1) * (WRITES * PAUSE_S + 4 * BEAT_S) / BEAT_S
            return {
                "subscriptions": subscriptions,
                "messages a beat": idle["out_msgs"] / BEATS,
                "bytes a beat": idle["out_bytes"] / BEATS,
                "messages a write": (wrote["out_msgs"] - beaten) / WRITES,
                "asks after a restart": len(asked),
            }


async def _asks(url: str, stack: AsyncExitStack) -> list[str]:
    connection = await nats.connect(url)
    stack.push_async_callback(connection.close)
    asked: list[str] = []

    async def heard(message: Any) -> None:
        asked.append(message.subject)

    await connection.subscribe("scaling-ask.>", cb=heard)
    await connection.flush()
    return asked


async def _current(replicas: list[synced[Any]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        for replica in replicas:
            await replica.ready()
            await replica.when_idle()


class Bus(InProcessTransport):
    """A bus that notes when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """Note it, and pass it on."""
        self.asked.append(asyncio.get_running_loop().time())
        return await super().ask(topic, request, timeout_s)


class Wave(NamedTuple):
    """Asks that have one cause: how many, how many of them within 10 ms, and when the last was sent."""

    asks: int
    busiest: int
    last_s: float


async def _crowd(readers: int, jitter_max_s: float) -> tuple[Wave, Wave, Wave]:
    bus, store = Bus(), MemoryStore()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bus)
        line = await stack.enter_async_context(FaultyTransport(bus))
        async with authority(ORDERS, line, store=store) as owner:
            await owner.put("1", order(1))
            buses = [FaultyTransport(bus) for _ in range(readers)]
            pace = Pace(jitter_max_s=jitter_max_s)
            replicas = [await stack.enter_async_context(synced(ORDERS["1"], each, pace=pace)) for each in buses]
            joined = await _settled(bus, replicas)
        # Another life, of whose first write nobody hears.
        async with authority(ORDERS, line, store=MemoryStore()) as owner:
            again = await _settled(bus, replicas)
            line.partition(incoming=False)
            await owner.put("1", order(2))
            line.heal()
            lost = await _settled(bus, replicas, value=2)
    return joined, again, lost


async def _settled(bus: Bus, replicas: list[synced[Any]], value: int | None = None) -> Wave:
    """Wait until everybody is current."""
    clock, before = asyncio.get_running_loop().time, len(bus.asked)
    start = clock()
    await asyncio.sleep(20)
    check(all(replica.status is Status.OK for replica in replicas), "a reader is not current")
    check(value is None or all(replica.value.number == value for replica in replicas), "a reader missed what was written")
    asked = [at - start for at in bus.asked[before:]]
    busiest = max(Counter(int(at * 100) for at in asked).values(), default=0)
    return Wave(len(asked), busiest, max(asked, default=0.0))


class Timed(FaultyTransport):
    """Takes the time that replicas need for a beat."""

    def __init__(self, bus: InProcessTransport) -> None:
        super().__init__(bus)
        self.took: list[tuple[int, float]] = []
        """For each beat, how many objects it named, and the seconds that it took."""

    def subscribe_beats(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        """Pass it on, and look at the clock before and after."""

        def timed(beat: Beat) -> None:
            begin_s = time.perf_counter()
            handler(beat)
            self.took.append((len(beat.named), time.perf_counter() - begin_s))

        return super().subscribe_beats(topic, timed)


async def _beats(count: int) -> list[float]:
    """The seconds that a beat takes a process which follows so many objects one by one, for each of `NAMED`."""
    bus = InProcessTransport()
    terms = Terms(beat_interval_s=BEAT_S, beat_min_interval_s=BEAT_S, probe_interval_s=3600.0)
    found = []
    async with AsyncExitStack() as stack:
        for part in (bus, line := FaultyTransport(bus), timed := Timed(bus)):
            await stack.enter_async_context(part)
        owner = await stack.enter_async_context(authority(ORDERS, line, store=MemoryStore(), terms=terms))
        for number in range(count):
            await owner.put(str(number), order(number))
        replicas = [await stack.enter_async_context(synced(ORDERS[str(number)], timed)) for number in range(count)]
        await _current(replicas)
        for named in NAMED:
            await asyncio.sleep(5 * BEAT_S)
            timed.took.clear()
            for number in range(named):
                await owner.put(str(number), order(count + number))
            await asyncio.sleep(BEATS * BEAT_S)
            took = [seconds for names, seconds in timed.took if names == named]
            check(bool(took), f"no beat named {named} objects")
            # The first of those that name the same: the others bring no news.
            found.append(took[0] if named else statistics.median(took))
        check(all(replica.status is Status.OK for replica in replicas), "a replica is not current")
    return found


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Count all, and write it down."""
    small = {readers: asyncio.run(on_a_server(readers)) for readers in READERS}
    formulas = {
        "subscriptions": lambda readers: readers * (OBJECTS + 3),
        "messages a beat": lambda readers: readers + 1,
        "messages a write": lambda readers: readers,
        "asks after a restart": lambda readers: readers,
    }
    names = list(next(iter(small.values())))
    rows = []
    for name in names:
        formula = formulas.get(name)
        cells = [f"{found[name]:,.0f}" + (f" ({formula(readers):,})" if formula else "") for readers, found in small.items()]
        rows.append([name, *cells])
    measured = _table(["counted (by the formula)", *(f"{readers} readers" for readers in READERS)], rows)
    large = {each: run(partial(_crowd, *each), steps_max=10**9) for each in CROWDS}
    waves = {each: [f"{asks:,} asks, {busiest:,} in 10 ms, {last_s:.2f} s" for asks, busiest, last_s in found]
             for each, found in large.items()}  # fmt: skip
    rows = [[f"{readers:,}", f"{jitter_s:g} s", *found] for (readers, jitter_s), found in waves.items()]
    head = ["readers", "`jitter_max_s`", "all join at once", "the authority starts anew", "a last message is lost"]
    simulated = _table(head, rows)
    times = {count: asyncio.run(_beats(count)) for count in FOLLOWED}
    rows = [[f"{count:,}", *(f"{seconds * 1e3:.2f} ms" for seconds in found)] for count, found in times.items()]
    beats = _table(["objects followed", "none named", *(f"{named} named" for named in NAMED[1:])], rows)
    print(measured, simulated, beats, sep="\n\n")
    if PAGE.exists():
        page = PAGE.read_text()
        for name, table in (("measured", measured), ("simulated", simulated), ("beats", beats)):
            page = between(page, name, table)
        PAGE.write_text(page)


if __name__ == "__main__":
    main()
