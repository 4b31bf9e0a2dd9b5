"""`check_transport` passes what is good, and names the one clause that something broken breaks."""

from __future__ import annotations

import asyncio
import pickle
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parasync import Capabilities, InProcessTransport
from parasync.errors import ConformanceError, UsageError
from parasync.testing import Ends, Report, check_transport, run
from parasync.testing.conformance import _asking, _beating, _bounds, _carrying
from parasync.testing.conformance._clauses import TRANSPORT_CLAUSES
from parasync.testing.conformance._run import Check
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import raw
from tests.testing import broken_transports
from tests.testing.broken import broken_clause, fails_one
from tests.testing.broken_transports import LinkedTransport, QueuedTransport, linked, lossy

pytestmark = pytest.mark.project

GOOD = {InProcessTransport, LinkedTransport, QueuedTransport}
BROKEN = {
    name: item
    for name, item in vars(broken_transports).items()
    if isinstance(item, type) and issubclass(item, InProcessTransport) and item not in GOOD
}
ECHOES = {
    # What loses the last envelope has little to show for the other clauses: each check that waits for one names clause 1, or
    # its own where that is about what gets through at all.
    "DropsTheLast": {2, 3, 4, 5, 7, 8, 9, 10, 12, 13, 18, 22},
    "ServesTheLastFirst": {3, 4},
    "NeverForgetsAKey": {13},
    "EndsAKeyWithItsTopic": {13},
    "BeatsToOne": {22},
}
"""The clauses whose checks see more of a broken transport than the clause that it breaks."""
IMPATIENT_S = 0.2
NEEDS_THREADS = 13


def factory_of(transport: type[Any]) -> Callable[[], Any]:
    if issubclass(transport, QueuedTransport):
        return lossy(transport)
    return linked(transport) if issubclass(transport, LinkedTransport) else transport


def check_all(factory: Callable[[], Any], *, threads: bool = False, seed: int = 0) -> Report:
    """Check in virtual time, where patience costs nothing; or in real time and the clause too that needs real threads."""
    if threads:
        return asyncio.run(check_transport(factory))
    return run(lambda: check_transport(factory, clauses=set(TRANSPORT_CLAUSES) - {NEEDS_THREADS}), seed=seed)


def nats_ends(server: NatsServer, direct: bool | None, wildcards: tuple[str, ...] = ()) -> Callable[[], Any]:
    async def malformed(key: str) -> None:
        async with raw(server.url) as say:
            await say(b"PUB synced.topic.state.%b 1\r\n?\r\n" % key.partition(":")[2].encode())

    async def reconnect(_: str) -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    @asynccontextmanager
    async def ends() -> AsyncIterator[Ends]:
        async with (
            NatsTransport(server.url, direct=direct) as writer,
            NatsTransport(server.url, direct=direct, wildcards=wildcards) as reader,
        ):
            yield Ends(writer, reader, losses=(malformed, reconnect))

    return ends


async def test_the_transport_in_process_keeps_every_clause() -> None:
    report = await check_transport(InProcessTransport)
    assert [clause.number for clause in report.checked] == list(TRANSPORT_CLAUSES)
    assert report.not_claimed == ()


@pytest.mark.nats
@pytest.mark.parametrize(
    ("direct", "wildcards"),
    [(None, ()), (False, ()), (None, ("topic", "other:*"))],
    ids=["direct", "by callbacks", "wildcards"],
)
async def test_the_transport_over_nats_keeps_every_clause_that_it_claims(
    direct: bool | None, wildcards: tuple[str, ...]
) -> None:
    with NatsServer() as server:
        report = await check_transport(nats_ends(server, direct, wildcards), patience_s=30.0)
    assert {clause.number for clause in report.checked} == set(TRANSPORT_CLAUSES) - {12, 13}
    assert [finding.clause.number for finding in report.not_claimed] == [12, 13]
    assert [finding.not_claimed for finding in report.not_claimed] == [
        "the transport does not claim lossless",
        "the transport does not claim threads",
    ]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("factory", [InProcessTransport, lossy(QueuedTransport), linked(LinkedTransport)])
def test_good_transports_keep_their_clauses_whoever_goes_first(factory: Callable[[], Any], seed: int) -> None:
    check_all(factory, seed=seed)


async def test_a_bus_with_two_ends_that_cannot_be_asked_is_checked_up_to_there() -> None:
    report = await check_transport(linked(LinkedTransport))
    assert {clause.number for clause in report.checked} == set(range(1, 14))
    assert {finding.clause.number for finding in report.not_claimed} == {10, 11, *range(14, 23)}


async def test_a_bus_that_delivers_later_and_loses_keeps_what_it_claims() -> None:
    report = await check_transport(lossy(QueuedTransport))
    assert {clause.number for clause in report.checked} == set(TRANSPORT_CLAUSES) - {12, 13, 21, 22}


def test_there_are_broken_transports_for_every_clause() -> None:
    assert {broken_clause(transport) for transport in BROKEN.values()} == set(TRANSPORT_CLAUSES)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_transport_fails_on_the_clause_that_it_breaks(name: str) -> None:
    broken = broken_clause(BROKEN[name])
    with pytest.raises(ConformanceError, match=rf"^clause {broken} is broken: .*\n got: .*\n expected: ") as caught:
        check_all(factory_of(BROKEN[name]), threads=broken == NEEDS_THREADS)
    assert (caught.value.clause, caught.value.text) == (broken, TRANSPORT_CLAUSES[broken].text)
    assert caught.value.got
    assert caught.value.expected
    assert caught.value.check


@pytest.mark.parametrize("name", sorted(BROKEN))
async def test_a_broken_transport_keeps_the_clauses_that_it_does_not_break(name: str) -> None:
    others = set(TRANSPORT_CLAUSES) - {broken_clause(BROKEN[name])} - ECHOES.get(name, set())
    await check_transport(factory_of(BROKEN[name]), clauses=others)


MODULES = (_carrying, _bounds, _asking, _beating)


@pytest.mark.parametrize("check", [check for module in MODULES for check in module.check.found], ids=lambda check: check.what)
async def test_every_check_is_failed_by_a_transport_that_breaks_its_clause(
    check: Check[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def checked(transport: type[Any]) -> None:
        await check_transport(factory_of(transport), patience_s=IMPATIENT_S)

    assert await fails_one(check, MODULES, BROKEN.values(), checked, monkeypatch)


@pytest.mark.parametrize(("name", "clause"), [(name, clause) for name, found in ECHOES.items() for clause in sorted(found)])
async def test_an_echo_is_one(name: str, clause: int) -> None:
    with pytest.raises(ConformanceError):
        await check_transport(factory_of(BROKEN[name]), clauses=[clause], patience_s=IMPATIENT_S)


async def test_the_report_says_what_was_not_demanded_and_why() -> None:
    report = await check_transport(lambda: linked(LinkedTransport)()[0], claims=Capabilities(False, True, False, False))
    lines = str(report).splitlines()
    assert lines[0] == "LinkedTransport (ordered): 11 clauses hold"
    assert lines[1].startswith("    checked  1. `publish` delivers")
    assert "    in part  7. `interrupted(reason)`" in str(report)
    assert "the factory names no way to lose anything" in str(report)
    assert "not claimed  12. " in str(report)
    assert lines[-1].endswith("comes with it: the transport does not claim beats")


async def test_a_transport_that_claims_nothing_need_not_keep_an_order() -> None:
    disordered = lossy(broken_transports.Reorders)
    report = await check_transport(disordered, claims=Capabilities(False, False, False, False))
    assert 3 not in {clause.number for clause in report.checked}


class LosesNowAndThen(QueuedTransport):
    """Loses what waits, now and then, and says so or not."""

    draws = random.Random(0)
    lost = 0
    honest = True
    rate = 0.03

    def deliver(self) -> None:
        if self.draws.random() < self.rate:
            self.waiting.clear()
            type(self).lost += 1
            if self.honest:
                self.interrupt("lost")
        super().deliver()


@pytest.mark.parametrize("seed", range(10))
def test_what_is_lost_is_excused_where_that_is_said(seed: int) -> None:
    class Honest(LosesNowAndThen):
        draws = random.Random(seed)

    checked = {clause.number for clause in check_all(lossy(Honest), seed=seed).checked}
    assert checked == set(TRANSPORT_CLAUSES) - {12, 13, 21, 22}
    assert Honest.lost > 3


@pytest.mark.parametrize("seed", range(10))
def test_what_is_lost_without_a_word_is_not_excused(seed: int) -> None:
    class Dishonest(LosesNowAndThen):
        draws = random.Random(seed)
        honest = False
        rate = 0.3

    with pytest.raises(ConformanceError):
        check_all(lossy(Dishonest), seed=seed)
    assert Dishonest.lost > 0


def test_it_needs_no_loop_of_the_caller_and_no_way_to_be_closed() -> None:
    class Bare:
        def __init__(self) -> None:
            bus = LinkedTransport()
            for name in ("capabilities", "codec", "publish", "subscribe", "subscribe_topic", "key_count"):
                setattr(self, name, getattr(bus, name))

    report = asyncio.run(check_transport(Bare))
    lacking = [finding.not_claimed for finding in report.not_claimed if finding.clause.number in (7, 11)]
    assert lacking == ["the transport has neither aclose nor close"] * 3


async def test_a_factory_may_be_a_coroutine_function() -> None:
    async def made() -> InProcessTransport:
        await asyncio.sleep(0)
        return InProcessTransport()

    assert (await check_transport(made, clauses=[6])).checked == (TRANSPORT_CLAUSES[6],)


@pytest.mark.parametrize("made", [None, (), (InProcessTransport(), "bus"), "bus"])
async def test_what_is_no_transport_is_no_failure_of_one(made: Any) -> None:
    with pytest.raises(UsageError, match=r"from the factory, expected a SyncTransport") as caught:
        await check_transport(lambda: made)
    assert not isinstance(caught.value, ConformanceError)


async def test_what_is_no_clause_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got clauses \[0, 99\], expected some of 1 to 22"):
        await check_transport(InProcessTransport, clauses=[0, 1, 99])


async def test_what_the_factory_raises_comes_out_as_it_is() -> None:
    def factory() -> InProcessTransport:
        raise LookupError("no server")

    with pytest.raises(LookupError, match="no server"):
        await check_transport(factory)


async def test_a_transport_that_hangs_is_not_hung_on() -> None:
    class Hangs(InProcessTransport):
        async def ask(self, *_: Any) -> Any:
            await asyncio.Event().wait()

    with pytest.raises(ConformanceError, match=r"no end within 0\.25 s") as caught:
        await check_transport(Hangs, clauses=[15], patience_s=0.05)
    assert caught.value.clause == 15


async def test_a_responder_that_is_never_asked_is_not_waited_for() -> None:
    class ServesNobody(InProcessTransport):
        def serve(self, *_: Any) -> Any:
            return lambda: None

    with pytest.raises(ConformanceError, match=r"an answer to the first request, within 0\.05 s") as caught:
        await check_transport(ServesNobody, clauses=[19, 20], patience_s=0.05)
    assert caught.value.clause == 14


async def test_a_transport_that_cannot_do_what_it_claims_breaks_that_clause() -> None:
    class CannotAsk(LinkedTransport):
        capabilities = Capabilities(lossless=True, ordered=True, threads=True, ask=True)
        serve = ask = property(lambda self: self.nothing)  # type: ignore[assignment]

    with pytest.raises(ConformanceError, match="AttributeError") as caught:
        await check_transport(CannotAsk, clauses=[14])
    assert isinstance(caught.value.__cause__, AttributeError)


async def test_whoever_cancels_a_run_is_obeyed() -> None:
    class Hangs(InProcessTransport):
        async def ask(self, *_: Any) -> Any:
            began.set()
            await asyncio.Event().wait()

    began = asyncio.Event()
    running = asyncio.create_task(check_transport(Hangs, clauses=[15]))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_failure_keeps_its_facts_across_processes() -> None:
    with pytest.raises(ConformanceError) as caught:
        await check_transport(broken_transports.CountsSubscriptions)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.clause, again.got, again.expected, str(again)) == (6, "[4, 3, 2, 1, 0]", "[3, 3, 2, 1, 0]", str(caught.value))
    assert isinstance(again, AssertionError)
