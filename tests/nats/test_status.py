"""Onlookers: who answers them, how often, how much, and that nobody is harmed by them."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from parasync import Topic, authority, synced
from parasync.codec import MsgpackCodec
from parasync.errors import TransportError, UsageError
from parasync.protocol import STATUS_ROWS_MAX, AuthorityStatus, ReplicaStatus, StatusQuery
from parasync.transports._nats_process import NatsServer
from parasync.transports._nats_status import STATUS_PER_S_MAX, _ahead_s
from parasync.transports._seal import sealed
from parasync.transports._wire_status import encode_query
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S

pytestmark = pytest.mark.nats

USERS = Topic("user", int, version="1.2")
NOTHING = ReplicaStatus("user", "synced", "1.0", 0, {}, 0, -1, None, "", (), (), {})


async def test_everybody_answers_for_all_that_runs_there(server: NatsServer) -> None:
    async with asyncio.timeout(DEADLINE_S), NatsTransport(server.url) as bus, NatsTransport(server.url) as onlooker:
        assert await onlooker.survey(StatusQuery(), 1.0) == []
        async with authority(USERS, bus) as owner, synced(USERS["1"], bus) as one, synced(USERS["2"], bus):
            version = await owner.put("1", 1)
            await one.ready()
            await one.fresh()
            [heard] = await onlooker.survey(StatusQuery(), 5.0)
            status = heard.status
            assert (status.who.pid, heard.ahead_s, status.left_out) == (os.getpid(), 0.0, 0)
            [author], [replicas] = status.authorities, status.replicas
            assert (author.topic, author.schema_version, author.serving, author.epoch) == ("user", "1.2", True, version.epoch)
            assert (replicas.kind, replicas.accepts, replicas.objects) == ("synced", "1.2", 2)
            assert (sum(replicas.statuses.values()), replicas.epoch) == (2, version.epoch)
            assert replicas.counters["applied"] == 2, "that there is no second one is known too"
            [again] = await onlooker.survey(StatusQuery(("user", "other"), spread_s=0.01), 5.0)
            assert len(again.status.replicas) == 1
            assert await onlooker.survey(StatusQuery(("other",)), 0.2) == []
        assert await onlooker.survey(StatusQuery(), 1.0) == [], "nobody listens any more"


async def test_what_does_not_fit_is_left_out_and_counted() -> None:
    def many() -> Any:
        yield AuthorityStatus("user", "1.0", True, False, 1, 1, 1.0, None)
        for number in range(3 * STATUS_ROWS_MAX):
            yield NOTHING
            if number % 100 == 0:
                yield None

    def broken() -> Any:
        yield NOTHING
        raise ZeroDivisionError

    with NatsServer("max_payload: 4096") as small, NatsServer() as server:
        for url in (small.url, server.url):
            async with asyncio.timeout(DEADLINE_S), NatsTransport(url) as bus, NatsTransport(url) as onlooker:
                ends = [bus.answer_status(many), bus.answer_status(broken)]
                await bus.flush()
                [heard] = await onlooker.survey(StatusQuery(), 5.0)
                told = len(heard.status.authorities) + len(heard.status.replicas)
                assert told + heard.status.left_out == 2 + 3 * STATUS_ROWS_MAX
                assert len(heard.status.authorities) == 1
                assert 0 < told <= STATUS_ROWS_MAX
                assert told == STATUS_ROWS_MAX or url == small.url
                for end in ends * 2:
                    end()


async def test_answers_have_a_rate_and_go_to_inboxes_only(server: NatsServer) -> None:
    asked = 0

    def counting() -> Any:
        nonlocal asked
        asked += 1
        yield NOTHING

    async with asyncio.timeout(DEADLINE_S), NatsTransport(server.url) as bus, NatsTransport(server.url) as onlooker:
        end = bus.answer_status(counting)
        await bus.flush()
        wire = onlooker._session.wire
        query = sealed(encode_query(StatusQuery(), MsgpackCodec()), b"synced-status")
        for data, reply in ((b"nonsense", b"_INBOX.1"), (query[:-1], b"_INBOX.1"), (query, b"synced.user.state"), (query, b"")):
            wire.publish(b"synced-status", data, reply=reply)
        await asyncio.gather(*(onlooker.survey(StatusQuery(), 1.0) for _ in range(5 * STATUS_PER_S_MAX)))
        # The questions may fall into two seconds.
        assert STATUS_PER_S_MAX - 4 <= asked <= 2 * STATUS_PER_S_MAX
        end()


async def test_who_may_not_answer_is_not_disturbed() -> None:
    allowed = 'subscribe: {deny: ["synced-status"]}, publish: {deny: ["synced-status"]}'
    config = f"authorization {{ users = [{{user: a, password: b, permissions: {{{allowed}}}}}] }}"
    with NatsServer(config) as server:
        login = {"user": "a", "password": "b"}
        async with asyncio.timeout(DEADLINE_S), NatsTransport(server.url, **login) as bus, authority(USERS, bus) as owner:
            await owner.put("1", 7)
            assert (await owner.get("1")).value == 7
            await bus.flush()
            assert bus.last_error is None
            with pytest.raises(TransportError, match="synced-status; grant that permission"):
                await bus.survey(StatusQuery(), 5.0)


async def test_a_survey_needs_a_bus(server: NatsServer) -> None:
    bus = NatsTransport(server.url)
    with pytest.raises(UsageError):
        await bus.survey(StatusQuery(), 1.0)
    with pytest.raises(UsageError):
        bus.answer_status(lambda: iter(()))


@pytest.mark.parametrize(("wall_s", "ahead_s"), [(100.5, 0.0), (99.0, -1.0), (103.0, 2.0), (100.0, 0.0), (101.0, 0.0)])
def test_clocks_are_compared_as_surely_as_can_be(wall_s: float, ahead_s: float) -> None:
    assert _ahead_s(wall_s, 100.0, 101.0) == ahead_s
