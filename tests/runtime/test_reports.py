"""Replicas tell their authority what they refuse: once for many, now and then, and once more when all is well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from parasync import ABSENT, InProcessTransport, Topic, authority, mirror, synced
from parasync.protocol import Answer, Ask, Noted, Refusing, Report, Request
from parasync.runtime import _census, _hub
from parasync.runtime._mirror_entry import MirrorEntry
from parasync.runtime._refusals import FORGET_AFTER_S
from parasync.runtime._reports import REPORT_DELAY_S, REPORT_INTERVAL_S
from parasync.testing import run
from parasync.transports._identity import identity
from tests.runtime.kit import envelope
from tests.virtual_time import now_s, passing

OLD = Topic("note", str, version="1.0")
NEW = Topic("note", str, version="2.0")
LONG_S = 10 * REPORT_INTERVAL_S


class Post:
    """An authority of which only the requests matter."""

    def __init__(self, bus: InProcessTransport) -> None:
        self.reports: list[tuple[float, Report]] = []
        self.fails = False
        self._begun_s = now_s()
        bus.serve("note", self.answer)

    async def answer(self, request: Request) -> Any:
        if isinstance(request, Report):
            self.reports.append((now_s() - self._begun_s, request))
            if self.fails:
                raise RuntimeError
            return Noted()
        assert isinstance(request, Ask)
        found = [envelope(1, schema_version="2.0") for _ in request.keys]
        return Answer(0, 0, 0.0, ABSENT, 0, tuple(found))

    def told(self) -> Iterator[tuple[Refusing, ...]]:
        return (report.refusals for _, report in self.reports)


def test_many_refusals_are_one_report_now_and_then() -> None:
    async def main() -> None:
        async with InProcessTransport() as bus:
            post = Post(bus)
            replicas = [synced(OLD[str(number)], bus) for number in range(30)]
            await passing(LONG_S)
            assert 10 <= len(post.reports) <= 11
            times_s = [at_s for at_s, _ in post.reports]
            assert times_s[0] <= 2 * REPORT_DELAY_S
            assert set(post.told()) == {(Refusing("2.0", "SchemaSkewError", 30),)}
            assert len({report.sender for _, report in post.reports}) == 1
            assert {(report.who, report.accepts) for _, report in post.reports} == {(identity(), "1.0")}

            for replica in replicas:
                bus.publish(replica.key, envelope(2))
            await passing(LONG_S)
            count = len(post.reports)
            assert count <= 12
            assert post.reports[-1][1].refusals == (), "all is well again"
            for replica in replicas:
                replica.close()

    run(main)


def test_a_report_that_fails_is_followed_by_the_next() -> None:
    async def main() -> None:
        async with InProcessTransport() as bus:
            post = Post(bus)
            post.fails = True
            async with synced(OLD["1"], bus):
                await passing(LONG_S)
            assert len(post.reports) >= 10

    run(main)


def test_who_accepts_something_else_is_told_apart() -> None:
    async def main() -> None:
        async with InProcessTransport() as bus:
            post = Post(bus)
            other = Topic("note", str, version="3.1")
            async with synced(OLD["1"], bus), synced(OLD["1"], bus), synced(other["1"], bus), synced(NEW["1"], bus):
                await passing(REPORT_INTERVAL_S)
            assert [(report.accepts, report.refusals[0].keys) for _, report in post.reports] == [("1.0", 1), ("3.1", 1)]
            assert len({report.sender for _, report in post.reports}) == 2

    run(main)


def test_nobody_reports_who_has_left_or_asks_elsewhere() -> None:
    async def main() -> None:
        async with InProcessTransport() as bus:
            post = Post(bus)
            async with synced(OLD["2"], bus, refetch=lambda: envelope(1, schema_version="2.0")) as elsewhere:
                await passing(LONG_S)
                assert elsewhere.stats.schema_skews
                assert post.reports == []
            replica = synced(OLD["1"], bus)
            await passing(REPORT_INTERVAL_S / 2)
            assert len(post.reports) == 1
            await replica.aclose()
            await passing(LONG_S)
            assert len(post.reports) == 1
            assert id(bus) not in _hub._hubs

    run(main)


def test_the_authority_shows_who_refuses_and_forgets_who_fell_silent() -> None:
    async def main() -> None:
        async with InProcessTransport() as bus, authority(NEW, bus) as owner:
            await owner.put("1", "Ada")
            async with synced(OLD["1"], bus), synced(NEW["1"], bus) as good:
                await good.ready()
                await passing(2 * REPORT_DELAY_S)
                [reported] = owner.refusals
                assert (reported.who, reported.accepts, reported.schema_version) == (identity(), "1.0", "2.0")
                assert (reported.error, reported.keys) == ("SchemaSkewError", 1)
                rows = [row for entry, _ in _census.listed() for row in entry.statuses()]
                assert [row.reports for row in rows if hasattr(row, "reports")] == [(reported,)]
            await passing(FORGET_AFTER_S + REPORT_INTERVAL_S)
            assert owner.refusals == ()
        assert bus not in [transport for _, transport in _census.listed()]

    run(main)


@pytest.mark.parametrize("seed", range(5))
def test_a_transport_that_is_closed_ends_the_reports(seed: int) -> None:
    async def main() -> None:
        bus = InProcessTransport()
        Post(bus)
        replica = synced(OLD["1"], bus)
        await passing(seed * REPORT_DELAY_S / 4)
        await bus.aclose()
        await replica.aclose()

    run(main, seed=seed)


def test_a_mirror_reports_all_that_it_refuses_as_one() -> None:
    async def main() -> None:
        async with InProcessTransport() as bus, authority(NEW, bus) as owner:
            for ident in "abc":
                await owner.put(ident, ident)
            async with mirror(OLD, bus) as notes:
                await notes.ready()
                await passing(2 * REPORT_DELAY_S)
                told = [(each.accepts, each.schema_version, each.error, each.keys) for each in owner.refusals]
                assert told == [("1.0", "2.0", "SchemaSkewError", 3)]
                await owner.delete("a")
                await passing(REPORT_INTERVAL_S)
                assert [each.keys for each in owner.refusals] == [2]
                await owner.delete("b")
                await owner.delete("c")
                await passing(REPORT_INTERVAL_S)
                assert owner.refusals == ()
                [entry] = [entry for entry, on in _census.listed() if on is bus and isinstance(entry, MirrorEntry)]
                [status] = entry.statuses()
                assert (status.statuses, status.objects, status.refusals, status.reason) == ({"ok": 1}, 0, (), "")
                await owner.put("d", "d")
                await passing(2 * REPORT_DELAY_S)
                assert [each.keys for each in owner.refusals] == [1]
            await passing(FORGET_AFTER_S + REPORT_INTERVAL_S)
            assert owner.refusals == (), "who left repeats nothing"

    run(main)
