"""Asking over NATS: micro services that the tools list, permissions that are named, and nobody who waits in vain."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from parasync.errors import AskTimeoutError, DecodeError, EncodeError, NoAuthorityError, TransportError
from parasync.protocol import Ask, EncodedBody, KeyPage, ListKeys, Probe, ProbeReply, Put, Refusal, Request, Response, Version
from parasync.transports._answering import ANSWERS_MAX
from parasync.transports._nats_asks import UNANSWERED_MAX
from parasync.transports._nats_process import NatsServer
from parasync.transports._seal import sealed, unsealed
from parasync.transports._wire import decode_response, encode_request, encode_response
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, Ear, envelope, eventually, raw, round_trip

pytestmark = pytest.mark.nats

QUICK = {"reconnect_max_s": 0.05, "connect_timeout_s": 0.5, "ping_interval_s": 0.2}
PAGE = KeyPage(1, (), (), False)


async def listing(_: Request) -> Response:
    return PAGE


async def request(server: NatsServer, subject: str, data: bytes = b"", inbox: str = "box") -> list[Any]:
    """What everybody answers who hears this, as the `nats` tool asks."""
    lines: list[bytes] = []
    async with raw(server.url, lines.append) as say:
        await say(f"SUB {inbox} 1\r\n".encode())
        await say(f"PUB {subject} {inbox} {len(data)}\r\n".encode() + data + b"\r\n")
        async with asyncio.timeout(DEADLINE_S):
            while len(lines) < 2:
                await say(b"")
    return [json.loads(line) for line in lines if line.startswith(b"{")]


async def test_a_served_topic_is_a_micro_service_with_statistics(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus:
        stop = bus.serve("the.topic", listing)
        await bus.ask("the.topic", ListKeys(), DEADLINE_S)
        await bus.ask("the.topic", ListKeys(), DEADLINE_S)
        [ping] = await request(server, "$SRV.PING")
        assert ServicePing.from_dict(ping).name == "parasync-the_topic"
        [info] = await request(server, f"$SRV.INFO.{ping['name']}")
        assert [(each.name, each.subject) for each in ServiceInfo.from_dict(info).endpoints] == [
            ("state", "synced-ask.the=2Etopic.state"),
            ("list", "synced-ask.the=2Etopic.list"),
            ("put", "synced-ask.the=2Etopic.put"),
            ("compare", "synced-ask.the=2Etopic.compare"),
            ("scan", "synced-ask.the=2Etopic.scan"),
        ]
        [statistics] = await request(server, f"$SRV.STATS.{ping['name']}.{ping['id']}")
        counted = {each.name: each for each in ServiceStats.from_dict(statistics).endpoints}
        assert (counted["list"].num_requests, counted["list"].num_errors, counted["state"].num_requests) == (2, 0, 0)
        assert counted["list"].processing_time >= counted["list"].average_processing_time > 0
        assert statistics["metadata"] == {"topic": "the.topic"}
        stop()
        await bus.flush()
        with pytest.raises(NoAuthorityError):
            await bus.ask("the.topic", ListKeys(), DEADLINE_S)


async def test_a_service_is_there_again_after_the_connection_was_rebuilt_with_its_statistics(
    server: NatsServer, direct: bool | None
) -> None:
    ear = Ear()
    async with NatsTransport(server.url, direct=direct, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        bus.serve("user", listing)
        await bus.ask("user", ListKeys(), DEADLINE_S)
        server.restart()
        await ear.reconnected()
        assert await bus.ask("user", ListKeys(), DEADLINE_S) == PAGE
        [statistics] = await request(server, "$SRV.STATS")
        assert {each["name"]: each["num_requests"] for each in statistics["endpoints"]}["list"] == 2


async def test_a_failure_counts_as_one_and_is_named(server: NatsServer) -> None:
    async def responder(_: Request) -> Response:
        raise ValueError("the payload")

    async with NatsTransport(server.url) as bus:
        bus.serve("user", responder)
        with pytest.raises(TransportError, match="the authority failed with ValueError; its log says where"):
            await bus.ask("user", ListKeys(), DEADLINE_S)
        [statistics] = await request(server, "$SRV.STATS")
        [counted] = [each for each in statistics["endpoints"] if each["name"] == "list"]
        assert (counted["num_requests"], counted["num_errors"]) == (1, 1)
        assert "payload" not in json.dumps(statistics)


async def test_a_failure_that_a_server_without_headers_cannot_carry_costs_the_answer_and_not_the_connection(
    server: NatsServer,
) -> None:
    server.config = "no_header_support: true"
    server.restart()

    async def responder(_: Request) -> Response:
        raise ValueError

    async with NatsTransport(server.url, **QUICK) as bus:
        stop = bus.serve("user", responder)
        with pytest.raises(AskTimeoutError):
            await bus.ask("user", ListKeys(), 0.2)
        stop()
        bus.serve("user", listing)
        assert await bus.ask("user", ListKeys(), DEADLINE_S) == PAGE
        assert bus.stats.reconnects == 0


async def test_an_answer_that_could_not_be_sent_counts_as_a_failure(server: NatsServer) -> None:
    began, go_on, ear = asyncio.Event(), asyncio.Event(), Ear()

    async def responder(_: Request) -> Response:
        began.set()
        await go_on.wait()
        return PAGE

    async with NatsTransport(server.url, **QUICK) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        bus.serve("user", responder)
        asking = asyncio.create_task(bus.ask("user", ListKeys(), DEADLINE_S))
        await began.wait()
        server.kill()
        with pytest.raises(TransportError, match="there is no connection"):
            await asking
        go_on.set()
        server.start()
        await ear.reconnected()
        [statistics] = await request(server, "$SRV.STATS")
        [counted] = [each for each in statistics["endpoints"] if each["name"] == "list"]
        assert (counted["num_requests"], counted["num_errors"]) == (1, 1)
        assert "could not be sent" in counted["last_error"]


async def test_bytes_that_are_no_request_are_refused(server: NatsServer) -> None:
    asked = []

    async def responder(request: Request) -> Response:
        asked.append(request)
        return PAGE

    async with NatsTransport(server.url) as bus, raw(server.url) as say:
        bus.serve("user", responder)
        ear = Ear()
        wire = bus._session.wire
        wire.open("box", lambda subject, reply, data, headers: ear._hear(data))
        await bus.flush()
        await say(b"PUB synced-ask.user.list box 1\r\n\xc1\r\n")
        await ear.until(lambda heard: len(heard) == 1)
        assert b"DecodeError" in ear.heard[0]
        assert asked == []


async def test_bytes_that_are_no_answer_are_an_error_of_the_peer(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus:
        wire = bus._session.wire
        wire.open("synced-ask.user.list", lambda subject, reply, data, headers: wire.publish(reply, b"\xc1"))
        with pytest.raises(DecodeError):
            await bus.ask("user", ListKeys(), DEADLINE_S)


async def test_an_asker_cannot_make_an_authority_publish_a_state(server: NatsServer) -> None:
    """The reply address is the asker's choice; answers go to no subject of ours, nor to patterns."""
    ear = Ear()
    probed = []

    def probes(probe: Probe) -> ProbeReply:
        probed.append(probe)
        return ProbeReply(1, True)

    async with NatsTransport(server.url) as bus, raw(server.url) as say:
        bus.serve("user", listing)
        bus.answer_probes("user", probes)
        bus.subscribe_topic("user", ear.topic, ear.interrupted)
        await bus.probe(Probe("user", 1, False, "me"), 0.05)
        for reply in ("synced.user.state.1", "synced.user.beat", "synced.>", "a.*"):
            for subject in ("synced-ask.user.list", "synced-probe.user", "$SRV.PING"):
                await say(f"PUB {subject} {reply} 0\r\n\r\n".encode())
        await say(b"PUB synced-ask.user.list 0\r\n\r\n")
        bus.publish("user:1", envelope(5))
        await ear.until(lambda heard: ("user:1", 5) in heard)
        await bus.flush()
        assert ear.heard == [("user:1", 5)]
        assert len(probed) == 1


async def test_an_answer_that_is_too_large_fails_the_ask_and_nothing_else(server: NatsServer) -> None:
    server.config = "max_payload: 3000"
    server.restart()
    keys = tuple(f"user:{number:0500}" for number in range(10))

    async def responder(_: Request) -> Response:
        return KeyPage(1, keys, (Version(1, 1),) * 10, False)

    async with NatsTransport(server.url) as bus:
        bus.serve("user", responder)
        with pytest.raises(TransportError, match=r"the answer has \d+ bytes, and the server takes 3000"):
            await bus.ask("user", ListKeys(), DEADLINE_S)
        with pytest.raises(EncodeError, match="expected at most 3000"):
            await bus.ask("user", Put("user:1", EncodedBody(b"\xc5\x1f\x00" + bytes(0x1F00)), "1.0"), DEADLINE_S)
        await round_trip(bus)


async def test_an_answer_that_cannot_be_encoded_fails_the_ask(server: NatsServer) -> None:
    async def responder(_: Request) -> Response:
        return KeyPage(-1, (), (), False)

    async with NatsTransport(server.url) as bus:
        bus.serve("user", responder)
        bus.answer_probes("user", lambda _: ProbeReply(-1, True))
        with pytest.raises(TransportError, match="the answer cannot be encoded"):
            await bus.ask("user", ListKeys(), DEADLINE_S)
        assert list(await bus.probe(Probe("user", 1, False, "me"), 0.05)) == []
        await round_trip(bus)


async def test_a_request_that_cannot_be_encoded_is_refused_before_it_is_sent(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus:
        with pytest.raises(EncodeError):
            await bus.ask("user", Ask(-1, (), ()), DEADLINE_S)
        with pytest.raises(EncodeError):
            await bus.probe(Probe("user", -1, False, "me"), DEADLINE_S)


async def test_an_authority_with_too_much_to_do_says_so(server: NatsServer) -> None:
    go_on = asyncio.Event()

    async def responder(_: Request) -> Response:
        await go_on.wait()
        return PAGE

    async with NatsTransport(server.url) as bus:
        bus.serve("user", responder)
        asks = [asyncio.create_task(bus.ask("user", ListKeys(), DEADLINE_S)) for _ in range(ANSWERS_MAX + 1)]
        done, _ = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
        [failed] = done
        assert isinstance(failed.exception(), TransportError)
        assert "the authority is busy with 1024 requests" in str(failed.exception())
        go_on.set()
        await asyncio.wait(asks)
        assert [ask.exception() for ask in asks].count(None) == ANSWERS_MAX


async def test_an_ask_fails_at_once_where_the_outbox_takes_no_more(server: NatsServer) -> None:
    async with NatsTransport(server.url, outbox_bytes_max=2_000, **QUICK) as bus:
        bus.serve("user", listing)
        await bus.flush()
        large = Put("user:1", EncodedBody(b"\xc5\x09\x00" + bytes(0x900)), "1.0")
        with pytest.raises(TransportError, match="the outbox is full"):
            await bus.ask("user", large, DEADLINE_S)
        assert bus.stats.dropped == 1
        assert await bus.ask("user", ListKeys(), DEADLINE_S) == PAGE


async def test_serving_ends_also_from_another_thread(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus:
        for end in (bus.serve("user", listing), bus.answer_probes("user", lambda _: ProbeReply(1, True))):
            await asyncio.to_thread(end)
        await eventually(lambda: bus._session.wire.lines == ())


def permissions(text: str) -> str:
    ada = f'{{ user: "ada", password: "x", permissions: {{ {text} }} }}'
    return f'authorization {{ users = [ {{ user: "all", password: "x" }}, {ada} ] }}'


async def test_publishing_without_permission_becomes_visible(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    server.config = permissions('publish: { deny: ["synced.>"] }')
    server.restart()
    async with NatsTransport(server.url, user="ada", password="x") as bus:
        for sequence in (1, 2):
            bus.publish("User:1", envelope(sequence))
            await bus.flush()
        await eventually(lambda: bus.last_error)
        text = "it denies publishing to synced.user.state.1; grant that permission"
        assert text in str(bus.last_error)
        assert caplog.text.count(text) == 1
        assert bus.connected


async def test_subscribing_without_permission_interrupts_the_subscriber(server: NatsServer) -> None:
    server.config = permissions('subscribe: { deny: ["synced.user.>"] }')
    server.restart()
    ear, mirror, other = Ear(), Ear(), Ear()
    async with NatsTransport(server.url, user="ada", password="x") as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        bus.subscribe_topic("user", mirror.topic, mirror.interrupted)
        bus.subscribe("other:1", other, other.interrupted)
        await mirror.until(lambda heard: len(heard) == 1)
        assert "it denies subscribing to synced.user.state.1" in ear.heard[0]
        assert "it denies subscribing to synced.user.>" in mirror.heard[0]
        await round_trip(bus)
        assert other.heard == []


async def test_a_permission_that_is_granted_later_is_found(
    server: NatsServer, direct: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parasync.transports._nats_refusals.REFUSED_RETRY_S", 0.05)
    server.config = permissions('subscribe: { deny: ["synced.user.>"] }')
    server.restart()
    ear = Ear()
    async with NatsTransport(server.url, user="ada", password="x", direct=direct) as bus:
        bus.subscribe("user:1", ear, ear.interrupted)
        await ear.until(lambda heard: sum("denies subscribing" in reason for reason in heard) >= 2)
        assert "subscribed again after a refusal" in ear.heard
        server.reload(permissions('subscribe: { allow: [">"] }'))
        sequence = 0
        while not ear.sequences:
            sequence += 1
            bus.publish("user:1", envelope(sequence))
            await bus.flush()
        assert bus.stats.reconnects == 0


async def test_asking_without_permission_fails_at_once_and_names_it(server: NatsServer) -> None:
    server.config = permissions('publish: { deny: ["synced-ask.>", "synced-probe.>"] }')
    server.restart()
    async with NatsTransport(server.url, user="ada", password="x") as bus:
        with pytest.raises(TransportError, match=r"it denies publishing to synced-ask\.user\.list"):
            await bus.ask("user", ListKeys(), DEADLINE_S)
        with pytest.raises(TransportError, match=r"it denies publishing to synced-probe\.user"):
            await bus.probe(Probe("user", 1, False, "me"), DEADLINE_S)


async def test_an_inbox_without_permission_fails_asks_at_once_and_one_of_ones_own_works(server: NatsServer) -> None:
    server.config = permissions('subscribe: { deny: ["_INBOX.>"] }')
    server.restart()
    async with (
        NatsTransport(server.url, user="all", password="x") as authority,
        NatsTransport(server.url, user="ada", password="x", inbox_prefix="_INBOX_ada", **QUICK) as own,
        NatsTransport(server.url, user="ada", password="x", **QUICK) as bus,
    ):
        authority.serve("user", listing)
        await authority.flush()
        for _ in range(2):
            with pytest.raises(TransportError, match=r"it denies subscribing to _inbox\.[0-9a-f]+\.\*"):
                await bus.ask("user", ListKeys(), DEADLINE_S)
        assert await own.ask("user", ListKeys(), DEADLINE_S) == PAGE
        server.reload(permissions('subscribe: { allow: [">"] }'))
        assert await bus.ask("user", ListKeys(), DEADLINE_S) == PAGE


async def test_serving_without_permission_becomes_visible(server: NatsServer) -> None:
    server.config = permissions('subscribe: { deny: ["synced-ask.>"] }')
    server.restart()
    async with NatsTransport(server.url, user="ada", password="x") as bus:
        bus.serve("user", listing)
        await bus.flush()
        await eventually(lambda: "it denies subscribing to synced-ask.user." in str(bus.last_error))


async def test_a_refusal_travels_as_one(server: NatsServer) -> None:
    async def responder(_: Request) -> Response:
        return Refusal("RefusedError", "no remote writes", None)

    async with NatsTransport(server.url) as bus:
        bus.serve("user", responder)
        assert await bus.ask("user", Put("user:1", None, "1.0"), DEADLINE_S) == Refusal("RefusedError", "no remote writes")


async def test_a_probe_to_nobody_returns_at_once_and_noise_is_no_reply(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus:
        async with asyncio.timeout(DEADLINE_S):
            assert list(await bus.probe(Probe("user", 1, False, "me"), 10 * DEADLINE_S)) == []
        wire = bus._session.wire
        wire.open("synced-probe.user", lambda subject, reply, data, headers: wire.publish(reply, b"\xc1"))
        bus.answer_probes("user", lambda _: ProbeReply(4, False))
        assert list(await bus.probe(Probe("user", 1, False, "me"), 0.1)) == [ProbeReply(4, False)]


async def test_no_flipped_bit_makes_another_question_or_another_answer(server: NatsServer) -> None:
    heard: list[Request] = []

    async def listen(request: Request) -> Response:
        heard.append(request)
        return PAGE

    subject = b"synced-ask.user.state"
    ask = Ask(3, ("user:1",), (None,))
    async with NatsTransport(server.url) as bus:
        bus.serve("user", listen)
        whole = sealed(encode_request(ask, bus.codec), subject)
        wire = bus._session.wire
        answers: list[bytes] = []
        wire.open("spy", lambda _, __, data, ___: answers.append(data))
        for place in range(len(whole) * 8):
            flipped = bytearray(whole)
            flipped[place // 8] ^= 1 << place % 8
            wire.publish(subject, bytes(flipped), reply=b"spy")
        await eventually(lambda: len(answers) == len(whole) * 8)
        assert heard == []
        refused = decode_response(ask, unsealed(answers[-1], bytes(flipped)), bus.codec)
        assert isinstance(refused, Refusal)
        with pytest.raises(DecodeError):
            unsealed(answers[0], bytes(flipped))


async def test_an_inbox_that_the_server_has_lost_is_subscribed_to_anew(server: NatsServer) -> None:
    async with NatsTransport(server.url) as bus, NatsTransport(server.url) as owner:
        owner.serve("user", listing)
        await owner.flush()
        assert await bus.ask("user", ListKeys(), DEADLINE_S) == PAGE
        line, link = bus._session.asks._line, bus._session.wire.link
        assert line is not None
        assert link is not None
        link.socket.write(b"UNSUB %d\r\n" % line.sid)
        for _ in range(UNANSWERED_MAX):
            with pytest.raises(AskTimeoutError):
                await bus.ask("user", ListKeys(), 0.05)
        assert await bus.ask("user", ListKeys(), DEADLINE_S) == PAGE


async def test_replies_that_come_too_late_or_twice_are_passed_over(server: NatsServer) -> None:
    replies: list[bytes] = []
    async with NatsTransport(server.url) as bus:
        wire, page = bus._session.wire, b""

        def twice(_: bytes, reply: bytes, data: bytes, __: bytes | None) -> None:
            nonlocal page
            replies.append(reply)
            page = sealed(encode_response(PAGE, bus.codec), data)
            wire.publish(reply, page)
            wire.publish(reply, page)

        wire.open("synced-ask.user.list", twice)
        assert await bus.ask("user", ListKeys(), DEADLINE_S) == PAGE
        wire.publish(replies[0], page)
        await bus.flush()
        assert await bus.ask("user", ListKeys(), DEADLINE_S) == PAGE
