"""A transport behind a bad network: every fault happens, is counted, is told where it has to be, and is healed from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parasync import Capabilities, InProcessTransport, Status, authority, synced
from parasync.errors import (
    AskTimeoutError,
    ClosedError,
    DecodeError,
    InvalidKeyError,
    NoAuthorityError,
    ParasyncError,
    TransportError,
    UsageError,
)
from parasync.protocol import Ask, EncodedBody, KeyPage, ListKeys, Probe, ProbeReply, Request
from parasync.testing import Ends, Faults, FaultyTransport, NatsServer, Trace, check_transport, run
from parasync.transports.nats import NatsTransport
from tests.runtime.kit import KEY, NOTES, A, Author, envelope, pace, terms, turns, until
from tests.virtual_time import in_virtual_time, now_s, passing

pytestmark = pytest.mark.project

KINDS = (
    *("drop", "duplicate", "reorder", "delay", "corrupt", "truncate", "poison", "partition", "disconnect", "slow", "hang"),
)
OUTAGES = ("partition", "disconnect", "slow", "hang")
COUNT = 400
HEARD_OF_ALL = 3.0


def hearing(bus: Any, times_s: list[float] | None = None) -> list[Any]:
    """What comes for a key: sequences, reasons, and "poison" for what is no note."""
    heard: list[Any] = []

    def hear(got: Any) -> None:
        if times_s is not None:
            times_s.append(now_s())
        heard.append("poison" if got.value == EncodedBody(b"\xc1") else got.sequence)

    bus.subscribe(KEY, hear, heard.append)
    return heard


def published(bus: Any, count: int, start: int = 1) -> None:
    for sequence in range(start, start + count):
        bus.publish(KEY, envelope(sequence))


async def course(faults: Faults, count: int = COUNT) -> tuple[list[Any], dict[str, int], list[float]]:
    """What a subscriber heard of a hundred messages a second, what fired, and when each note came."""
    async with InProcessTransport() as bus, FaultyTransport(bus, faults) as ears:
        times_s: list[float] = []
        heard = hearing(ears, times_s)
        for sequence in range(1, count + 1):
            bus.publish(KEY, envelope(sequence))
            await passing(0.01)
        await passing(HEARD_OF_ALL)
        return list(heard), dict(ears.fired), times_s


@in_virtual_time
async def test_without_a_fault_everything_passes_at_once() -> None:
    async with FaultyTransport(InProcessTransport()) as bus:
        heard = hearing(bus)
        published(bus, 3)
        assert heard == [1, 2, 3]
        assert bus.fired == {}
        assert bus.faults == Faults()
    assert heard == [1, 2, 3, "the transport was closed"]


def faults_of(kind: str, seed: int = 7) -> Faults:
    return Faults(seed=seed, outage_s=(0.05, 0.3), queue_max=4, **{kind: 0.02 if kind in OUTAGES else 0.1})


@pytest.mark.parametrize("kind", KINDS)
@in_virtual_time
async def test_each_fault_happens_and_does_what_it_says(kind: str) -> None:
    heard, fired, _ = await course(faults_of(kind))
    hits = fired[kind]
    assert fired == {kind: hits}, "nothing else happens"
    assert 10 <= hits <= COUNT / 2
    sequences = [what for what in heard if isinstance(what, int)]
    told = {what for what in heard if isinstance(what, str)} - {"the transport was closed", "poison"}
    lost = COUNT - len(set(sequences))
    in_order = sequences == sorted(sequences)
    match kind:
        case "drop" | "partition":
            assert (lost, told, in_order) == (hits, set(), True)
        case "duplicate":
            assert (len(sequences), lost, told, in_order) == (COUNT + hits, 0, set(), True)
        case "reorder":
            assert (lost, len(sequences), told, in_order) == (0, COUNT, set(), False)
        case "delay" | "hang":
            assert (sequences, told) == (list(range(1, COUNT + 1)), set())
        case "corrupt" | "truncate":
            assert (lost, told, in_order) == (hits, {"malformed frame"}, True)
            assert heard.count("malformed frame") == hits
        case "poison":
            # A sequence that was never written comes too, and is no note.
            assert (len(set(range(1, COUNT + 1)) - set(sequences)), told) == (0, {"malformed frame"})
            assert heard.count("poison") + heard.count("malformed frame") == hits
        case "disconnect":
            assert (lost, told, in_order) == (hits, {"reconnected"}, True)
        case "slow":
            assert 0 < lost < hits
            assert (told, in_order) == ({"slow consumer"}, True)
        case _:
            raise AssertionError(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_is_one_course_and_another_seed_another(kind: str) -> None:
    def run(seed: int) -> Any:
        found: list[Any] = []

        @in_virtual_time
        async def once() -> None:
            found.append(await course(faults_of(kind, seed)))

        once()
        return found[0]

    assert run(1) == run(1)
    assert run(1) != run(2)


@in_virtual_time
async def test_a_fault_that_is_switched_off_changes_nothing_of_the_others() -> None:
    alone, _, _ = await course(Faults(seed=3, drop=0.2))
    both, fired, _ = await course(Faults(seed=3, drop=0.2, duplicate=0.2))
    assert fired["duplicate"]
    assert sorted(set(both), key=str) == sorted(set(alone), key=str)


@pytest.mark.parametrize("kind", KINDS)
@in_virtual_time
async def test_what_is_published_is_struck_too(kind: str) -> None:
    async with InProcessTransport() as bus:
        heard = hearing(bus)
        async with FaultyTransport(bus, faults_of(kind)) as mouth:
            for sequence in range(1, COUNT + 1):
                mouth.publish(KEY, envelope(sequence))
                await passing(0.01)
            await passing(HEARD_OF_ALL)
            assert set(mouth.fired) == {kind}
        sequences = [what for what in heard if isinstance(what, int)]
        all_of_them = list(range(1, COUNT + 1))
        if kind in ("delay", "hang", "disconnect"):
            assert sequences == all_of_them
        elif kind in ("drop", "corrupt", "truncate", "partition", "slow"):
            assert set(sequences) < set(all_of_them)
        else:
            assert sequences != all_of_them or "poison" in heard
            assert set(sequences) >= set(all_of_them)


@in_virtual_time
async def test_nothing_takes_time_that_does_not_have_to() -> None:
    """Without an event loop too, as long as no fault takes time."""
    heard, fired, _ = await course(Faults(seed=1, drop=0.5, duplicate=0.5, corrupt=0.1))
    bus = FaultyTransport(InProcessTransport(), Faults(seed=1, drop=0.5, duplicate=0.5, corrupt=0.1))
    assert heard
    assert fired
    assert bus.fired == {}


def test_without_an_event_loop_there_are_the_faults_that_take_no_time() -> None:
    bus = FaultyTransport(InProcessTransport(), Faults(seed=1, drop=0.3, duplicate=0.3, truncate=0.1))
    heard = hearing(bus)
    published(bus, 100)
    assert set(bus.fired) == {"drop", "duplicate", "truncate"}
    assert heard
    bus.close()
    slow = FaultyTransport(InProcessTransport(), Faults(delay=1.0))
    with pytest.raises(UsageError, match="without a running event loop"):
        slow.publish(KEY, envelope(1))
    slow.close()


async def test_what_another_thread_publishes_is_struck_too() -> None:
    bus = FaultyTransport(InProcessTransport(), Faults(seed=1, delay=0.3, drop=0.2, delay_s=(0.0, 0.001)))
    heard = hearing(bus)
    await asyncio.to_thread(published, bus, 500)
    await until(lambda: len(heard) + bus.fired["drop"] == 500)
    assert heard == sorted(set(heard))
    assert bus.fired["delay"] > 100
    bus.close()


@pytest.mark.parametrize(
    ("begin", "lost", "told"),
    [
        (lambda bus: bus.partition(), True, []),
        (lambda bus: bus.partition(outgoing=False), True, []),
        (lambda bus: bus.disconnect(), True, ["reconnected"]),
        (lambda bus: bus.hang(), False, []),
    ],
    ids=["partition", "deaf", "disconnect", "hang"],
)
@in_virtual_time
async def test_by_hand_until_it_is_healed(begin: Callable[[FaultyTransport], None], lost: bool, told: list[str]) -> None:
    async with InProcessTransport() as bus, FaultyTransport(bus) as ears:
        heard = hearing(ears)
        begin(ears)
        begin(ears)
        published(bus, 2)
        await passing(3600.0)
        assert heard == []
        ears.heal()
        assert heard == ([] if lost else [1, 2]) + told
        published(bus, 1, start=3)
        assert heard[-1] == 3


@in_virtual_time
async def test_one_way_only_the_other_way_goes_on() -> None:
    async with InProcessTransport() as bus, FaultyTransport(bus) as end:
        others, own = hearing(bus), hearing(end)
        end.partition(incoming=True, outgoing=False)
        end.publish(KEY, envelope(1))
        assert (others, own) == ([1], [])
        end.heal()
        end.partition(incoming=False, outgoing=True)
        end.publish(KEY, envelope(2))
        bus.publish(KEY, envelope(3))
        assert (others, own) == ([1, 3], [3])


@in_virtual_time
async def test_healing_lets_everything_go_that_waits_and_stops_all_faults() -> None:
    async with InProcessTransport() as bus, FaultyTransport(bus, Faults(delay=1.0, delay_s=(100.0, 100.0))) as ears:
        heard = hearing(ears)
        published(bus, 3)
        await passing(1.0)
        assert heard == []
        ears.heal()
        assert heard == [1, 2, 3]
        published(bus, 2, start=4)
        assert heard == [1, 2, 3, 4, 5]
        await passing(200.0)
        assert heard == [1, 2, 3, 4, 5]
        assert ears.fired == {"delay": 3}


@in_virtual_time
async def test_who_unsubscribed_hears_nothing_of_what_waited() -> None:
    async with InProcessTransport() as bus, FaultyTransport(bus, Faults(delay=1.0, delay_s=(1.0, 1.0))) as ears:
        heard: list[Any] = []
        end = ears.subscribe(KEY, heard.append)
        bus.publish(KEY, envelope(1))
        end()
        end()
        await passing(5.0)
        assert (heard, ears.key_count()) == ([], 0)


@in_virtual_time
async def test_a_handler_that_raises_is_reported_and_what_waited_behind_comes(caplog: pytest.LogCaptureFixture) -> None:
    async with InProcessTransport() as bus, FaultyTransport(bus, Faults(delay=1.0, delay_s=(1.0, 1.0))) as ears:
        heard: list[int] = []

        def hear(got: Any) -> None:
            heard.append(got.sequence)
            raise ValueError("the payload")

        ears.subscribe(KEY, hear)
        published(bus, 2)
        await passing(5.0)
        assert heard == [1, 2]
        assert "ValueError" in caplog.text
        assert "payload" not in caplog.text


@in_virtual_time
async def test_what_a_handler_publishes_comes_after_what_it_is_handling() -> None:
    async with FaultyTransport(InProcessTransport(), Faults(hang=0.0)) as bus:
        heard: list[Any] = []

        def hear(got: Any) -> None:
            heard.append(("begin", got.sequence))
            if got.sequence == 1:
                bus.publish(KEY, envelope(2))
            heard.append(("end", got.sequence))

        bus.subscribe(KEY, hear)
        bus.hang()
        bus.publish(KEY, envelope(1))
        bus.heal()
        assert heard == [("begin", 1), ("end", 1), ("begin", 2), ("end", 2)]


@in_virtual_time
async def test_a_topic_is_struck_in_one_order() -> None:
    async with InProcessTransport() as bus, FaultyTransport(bus, Faults(seed=5, delay=0.2, duplicate=0.2)) as ears:
        heard: list[Any] = []
        ears.subscribe_topic("note", lambda key, got: heard.append((key, got.sequence)))
        for sequence in range(1, 51):
            for name in ("note:a", "note:b"):
                bus.publish(name, envelope(sequence))
            await passing(0.01)
        await passing(5.0)
        unique = list(dict.fromkeys(heard))
        assert unique == [(name, sequence) for sequence in range(1, 51) for name in ("note:a", "note:b")]
        assert len(heard) == 100 + ears.fired["duplicate"]


@in_virtual_time
async def test_who_shares_a_bus_leaves_it_alone() -> None:
    bus = InProcessTransport()
    async with FaultyTransport(bus) as first, FaultyTransport(bus) as second:
        heard = hearing(second)
        async with bus:
            other = hearing(first)
        await first.__aexit__(None, None, None)
        assert other == ["the transport was closed"]
        bus.publish(KEY, envelope(1))
        assert (heard, other) == ([1], ["the transport was closed"])
        for call in (lambda: first.publish(KEY, envelope(1)), lambda: first.subscribe(KEY, print)):
            with pytest.raises(ClosedError):
                call()
        with pytest.raises(ClosedError):
            await first.ask("note", ListKeys(), 1.0)
        assert first.closed
        assert not second.closed
        await bus.__aenter__()


@in_virtual_time
async def test_what_cannot_be_is_refused_before_it_is_lost() -> None:
    async with FaultyTransport(InProcessTransport(), Faults(drop=1.0)) as bus:
        with pytest.raises(InvalidKeyError):
            bus.publish("a key:", envelope(1))
        with pytest.raises(UsageError, match="no plain function"):
            bus.subscribe(KEY, asyncio.sleep)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a bus"):
        FaultyTransport("nats://127.0.0.1:1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"drop": 1.1}, {"hang": -0.1}, {"drop": "1"}, {"delay_s": (2, 1)}, {"outage_s": 3}, {"queue_max": 0}]
)
def test_rates_and_times_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        Faults(**options)


class Plain:
    """The least that a transport can be."""

    capabilities = Capabilities(lossless=True, ordered=True, threads=False, ask=False)

    def __init__(self) -> None:
        inner = InProcessTransport()
        self.codec, self.key_count = inner.codec, inner.key_count
        self.publish, self.subscribe, self.subscribe_topic = inner.publish, inner.subscribe, inner.subscribe_topic


@in_virtual_time
async def test_around_a_transport_that_cannot_ask() -> None:
    async with FaultyTransport(Plain()) as bus:
        assert bus.capabilities == Capabilities(lossless=False, ordered=True, threads=False, ask=False)
        with pytest.raises(UsageError, match="that can ask"):
            await bus.ask("note", ListKeys(), 1.0)
        assert (bus.loop, bus.closed, bus.body_bytes_max) == (None, False, bus.codec.frame_bytes_max)
        async with synced(A, bus, refetch=lambda: envelope(3), pace=pace()) as replica:
            assert await replica.ready() == "0.3"
            bus.publish(KEY, envelope(4))
            assert replica.value == "0.4"


ASKING: dict[str, type[ParasyncError]] = {
    "drop": AskTimeoutError,
    "corrupt": DecodeError,
    "truncate": DecodeError,
    "disconnect": TransportError,
    "partition": AskTimeoutError,
}
"""What an ask ends with that a fault strikes for certain."""


@pytest.mark.parametrize("kind", ASKING)
@in_virtual_time
async def test_an_ask_that_is_struck_fails_as_asks_fail(kind: str) -> None:
    async with InProcessTransport() as bus:
        author = Author(bus)
        async with FaultyTransport(bus, Faults(seed=2, outage_s=(9.0, 9.0), **{kind: 1.0})) as asker:
            with pytest.raises(ASKING[kind]):
                await asker.ask("note", Ask(0, (KEY,), (None,)), 1.0)
            assert asker.fired[kind] == 1
            assert now_s() == 1_000.0 + (1.0 if kind in ("drop", "partition") else 0.0)
            asker.heal()
            author.stop()
            with pytest.raises(NoAuthorityError):
                await asker.ask("note", ListKeys(), 1.0)


@in_virtual_time
async def test_requests_come_late_or_twice_and_answers_late() -> None:
    async with InProcessTransport() as bus:
        asked: list[float] = []

        async def respond(request: Request) -> Any:
            asked.append(now_s() - 1_000.0)
            return KeyPage(1, (), (), False)

        bus.serve("note", respond)
        for options, times, end_s in (
            ({"delay": 1.0}, [0.0], 0.5),
            ({"reorder": 1.0}, [1.0], 1.0),
            ({"duplicate": 1.0}, [1.0, 1.0], 1.0),
            ({"hang": 1.0}, [5.0], 5.0),
        ):
            async with FaultyTransport(bus, Faults(delay_s=(0.5, 0.5), outage_s=(4.0, 4.0), **options)) as asker:
                asked.clear()
                await asker.ask("note", ListKeys(), 10.0)
                assert (asked, now_s() - 1_000.0) == (times, end_s)
                assert asker.fired == {next(iter(options)): 1}
            await bus.__aenter__()


@in_virtual_time
async def test_who_serves_is_cut_off_too() -> None:
    async with InProcessTransport() as bus, FaultyTransport(bus) as end:
        author = Author(end)
        end.answer_probes("note", lambda probe: ProbeReply(1, True))
        probe = Probe("note", 1, False, "me")
        assert len(await bus.probe(probe, 1.0)) == 1
        for incoming in (True, False):
            end.partition(incoming=incoming, outgoing=not incoming)
            count = len(author.asks)
            with pytest.raises(AskTimeoutError):
                await bus.ask("note", Ask(0, (KEY,), (None,)), 1.0)
            assert len(author.asks) == count + (not incoming), "what cannot be answered is heard all the same"
            assert await bus.probe(probe, 1.0) == []
            end.heal()
        assert (await bus.ask("note", Ask(0, (KEY,), (None,)), 1.0)).outcomes  # type: ignore[union-attr]
        assert len(await bus.probe(probe, 1.0)) == 1


@in_virtual_time
async def test_a_probe_is_lost_or_fails() -> None:
    async with InProcessTransport() as bus, FaultyTransport(bus) as end:
        bus.answer_probes("note", lambda probe: ProbeReply(1, True))
        probe = Probe("note", 1, False, "me")
        assert len(await end.probe(probe, 1.0)) == 1
        end.partition()
        assert (list(await end.probe(probe, 1.0)), now_s()) == ([], 1_001.0)
        end.heal()
        end.disconnect()
        with pytest.raises(TransportError):
            await end.probe(probe, 1.0)


@in_virtual_time
async def test_closing_ends_an_ask_that_waits_for_nothing() -> None:
    async with InProcessTransport() as bus:
        Author(bus)
        end = FaultyTransport(bus)
        end.partition()
        asking = asyncio.create_task(end.ask("note", ListKeys(), 10.0))
        await turns()
        await end.aclose()
        with pytest.raises(ClosedError):
            await asking


BAD: dict[str, float] = {
    **dict.fromkeys(("drop", "duplicate", "reorder", "delay", "corrupt", "truncate", "poison"), 0.05),
    **dict.fromkeys(("partition", "disconnect", "slow", "hang"), 0.01),
}


@pytest.mark.parametrize("rates", [*[{kind: rate} for kind, rate in BAD.items()], BAD], ids=[*BAD, "all"])
@pytest.mark.parametrize("seed", [10, 22, 30])
@in_virtual_time
async def test_replicas_are_never_wrong_and_all_right_in_the_end(seed: int, rates: dict[str, float]) -> None:
    print(f"seed {seed}")
    await one_course(seed, rates)


async def one_course(seed: int, rates: dict[str, float], count: int = 150) -> None:
    """An authority and three replicas, each behind a bad connection of its own."""
    written: dict[Any, str] = {}
    async with InProcessTransport() as bus:
        ends = [FaultyTransport(bus, Faults(seed=seed + number, **rates)) for number in range(4)]
        pace_ = pace(reconcile_interval_s=5.0, ask_timeout_s=0.5, backoff_max_s=1.0)
        async with authority(NOTES, ends[0], terms=terms()) as owner:
            replicas = [synced(A, end, pace=pace_) for end in ends[1:]]

            shown: list[list[Any]] = [[] for _ in replicas]
            for replica, changes in zip(replicas, shown, strict=True):
                replica.subscribe(changes.append)
            for number in range(count):
                text = f"text {number}"
                written[await owner.put("a", text)] = text
                await passing(0.05)
            assert sum(sum(end.fired.values()) for end in ends), "nothing happened"
            for end in ends:
                end.heal()
            await passing(2 * 5.0 + 2 * 0.5 + 2.0)
            for changes in shown:
                versions = [change.version for change in changes]
                assert versions == sorted(set(versions)), "a replica went back"
                assert [change.new for change in changes] == [written[version] for version in versions]
            assert [replica.value for replica in replicas] == [text] * 3
            assert [(await replica.fresh(timeout_s=2.0), replica.status) for replica in replicas] == [(text, Status.OK)] * 3
            for replica in replicas:
                await replica.aclose()


def test_one_seed_is_one_trace() -> None:
    def digest(seed: int) -> str:
        trace = Trace()
        run(lambda: one_course(seed, BAD, count=40), seed=seed, trace=trace)
        return trace.digest

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


@asynccontextmanager
async def over_nats(server: NatsServer) -> AsyncIterator[Ends]:
    async with FaultyTransport(NatsTransport(server.url)) as writer, FaultyTransport(NatsTransport(server.url)) as reader:
        yield Ends(writer, reader, losses=(lost_by(reader),))


@asynccontextmanager
async def in_process() -> AsyncIterator[Ends]:
    async with FaultyTransport(InProcessTransport()) as bus:
        yield Ends(bus, bus, losses=(lost_by(bus),))


def lost_by(bus: FaultyTransport) -> Callable[[str], Any]:
    async def lose(_: str) -> None:
        bus.disconnect()
        bus.heal()

    return lose


async def test_without_faults_it_keeps_the_contract_that_the_transport_below_keeps() -> None:
    report = await check_transport(in_process)
    assert {finding.clause.number for finding in report.not_claimed} == {12}
    report = await check_transport(lambda: FaultyTransport(InProcessTransport()), claims=InProcessTransport().capabilities)
    assert report.not_claimed == ()


@pytest.mark.nats
async def test_around_nats_too() -> None:
    with NatsServer() as server:
        report = await check_transport(lambda: over_nats(server))
    assert {finding.clause.number for finding in report.not_claimed} == {12, 13}


@pytest.mark.parametrize("key", ["", ":", "\ud800"])
def test_an_illegal_name_is_refused_whatever_the_weather(key: str) -> None:
    bus = FaultyTransport(InProcessTransport(), Faults(seed=1, drop=1.0))
    bus.hang()
    with pytest.raises(InvalidKeyError):
        bus.subscribe(key, print)
    with pytest.raises(InvalidKeyError):
        bus.subscribe_topic(key, print)
