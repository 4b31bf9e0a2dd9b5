"""One subscription on the bus for all objects of a pattern, and for many objects that are followed one by one."""

from __future__ import annotations

import pytest

from parasync import MsgpackCodec, Topic, authority, mirror, synced
from parasync.errors import InvalidKeyError, UsageError
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport, PrefixedSubjects
from tests.nats.kit import DEADLINE_S, Ear, envelope, eventually, raw

pytestmark = pytest.mark.nats

USERS = Topic("user", str, version="1.0")
SELDOM = {"reconnect_max_s": 0.05, "connect_timeout_s": 0.5, "ping_interval_s": 0.2}


class Coarse(PrefixedSubjects):
    """A map for a bus that cannot tell patterns apart."""

    def of_pattern(self, pattern: str) -> str:
        return self.of_topic(pattern.partition(":")[0])


def subjects(bus: NatsTransport) -> list[str]:
    """What is subscribed to, beside replies."""
    return sorted(line.subject for line in bus._session.wire.lines if line.subject.startswith("synced."))


async def say(url: str, key: str, sequence: int, *, harm: bool = False) -> None:
    frame = bytearray(MsgpackCodec().encode_frame(key, envelope(sequence)))
    frame[8] ^= harm
    async with raw(url) as write:
        await write(b"PUB %b %d\r\n%b\r\n" % (PrefixedSubjects().of_key(key).encode(), len(frame), bytes(frame)))


@pytest.mark.parametrize("subject_map", [PrefixedSubjects(), Coarse()], ids=["exact", "coarse"])
async def test_a_pattern_hears_its_own_objects_only(server: NatsServer, subject_map: PrefixedSubjects) -> None:
    europe, all_of_it = Ear(), Ear()
    async with NatsTransport(server.url, subjects=subject_map) as bus:
        bus.subscribe_topic("user", europe.topic, europe.interrupted, pattern="user:eu:*")
        bus.subscribe_topic("user", all_of_it.topic, all_of_it.interrupted, pattern="user:*")
        await bus.flush()
        keys = ("user:eu:1", "user:eu", "user:us:1", "user", "user:eu:a:b", "user:euro:1")
        for number, key in enumerate(keys, 1):
            await say(server.url, key, number)
        await say(server.url, "user:us:1", 1, harm=True)
        await say(server.url, "user:eu:1", 2, harm=True)
        await all_of_it.until(lambda heard: heard.count("malformed frame") == 2)
        await europe.until(lambda heard: "malformed frame" in heard)
        assert europe.heard == [("user:eu:1", 1), ("user:eu:a:b", 5), "malformed frame"]
        assert [what for what in all_of_it.heard if isinstance(what, tuple)] == list(zip(keys, range(1, 7), strict=True))


async def test_a_mirror_of_a_pattern_asks_the_server_for_no_more(server: NatsServer) -> None:
    async with NatsTransport(server.url) as here, NatsTransport(server.url) as there, authority(USERS, here) as owner:
        await owner.put("eu:1", "a")
        async with mirror(USERS, there, pattern="user:eu:*") as users:
            await users.ready(DEADLINE_S)
            await owner.put("us:1", "b")
            version = await owner.put("eu:2", "c")
            assert await users.at_least(version, "eu:2", DEADLINE_S) == "c"
            assert dict(users) == {"eu:1": "a", "eu:2": "c"}
            assert subjects(there) == ["synced.user.beat", "synced.user.state.eu.>"]


async def test_what_is_followed_one_by_one_shares_a_wildcard(server: NatsServer, direct: bool | None) -> None:
    ears = {key: Ear() for key in ("user:1", "user:2", "user", "order:eu:1", "order:us:1")}
    wildcards = ["user:*", "order:eu:*"]
    async with NatsTransport(server.url, direct=direct, wildcards=wildcards) as bus:
        ends = [bus.subscribe(key, ear, ear.interrupted) for key, ear in ears.items()]
        whole = ["synced.order.state.eu.>", "synced.order.state.us.1", "synced.user.>"]
        assert subjects(bus) == whole
        assert bus.key_count() == 5
        await bus.flush()
        for number, key in enumerate([*ears, "user:3", "order:eu:2"], 1):
            await say(server.url, key, number)
        await say(server.url, "user:3", 9, harm=True)
        await say(server.url, "user:2", 9, harm=True)
        await ears["user:2"].until(lambda heard: "malformed frame" in heard)
        await ears["order:us:1"].until(lambda heard: heard)
        assert [ear.heard for ear in ears.values()] == [[1], [2, "malformed frame"], [3], [4], [5]]
        assert bus.stats.malformed == 1, "what nobody follows here was not looked at"
        for end, left in zip(ends, (whole, whole, whole[:2], whole[1:2], []), strict=True):
            end()
            assert subjects(bus) == left
        bus.subscribe("user:1", ears["user:1"])
        await bus.flush()
        await say(server.url, "user:1", 7)
        await ears["user:1"].until(lambda heard: heard == [1, 7])


async def test_a_topic_and_its_keys_are_served_in_the_order_in_which_they_came(server: NatsServer) -> None:
    order: list[str] = []
    async with NatsTransport(server.url, wildcards=["user"]) as bus:
        end_first = bus.subscribe("user:1", lambda _: order.append("first"))
        end_topic = bus.subscribe_topic("user", lambda *_: order.append("topic"))
        end_last = bus.subscribe("user:1", lambda _: order.append("last"))
        assert subjects(bus) == ["synced.user.>"]
        await bus.flush()
        await say(server.url, "user:1", 1)
        await eventually(lambda: len(order) == 3)
        end_topic()
        assert subjects(bus) == ["synced.user.>"]
        await say(server.url, "user:1", 2)
        await eventually(lambda: len(order) == 5)
        assert order == ["first", "topic", "last", "first", "last"]
        end_topic = bus.subscribe_topic("user", lambda *_: order.append("topic"))
        end_first()
        end_last()
        assert subjects(bus) == ["synced.user.>"]
        end_topic()
        assert subjects(bus) == []


async def test_one_wildcard_brings_a_key_where_several_could(server: NatsServer) -> None:
    one, pattern = Ear(), Ear()
    async with NatsTransport(server.url, wildcards=["user", "user:eu:*"]) as bus:
        bus.subscribe_topic("user", pattern.topic, pattern.interrupted, pattern="user:eu:*")
        bus.subscribe("user:eu:1", one, one.interrupted)
        bus.subscribe("user:us:1", one)
        assert subjects(bus) == ["synced.user.>", "synced.user.state.eu.>"]
        await bus.flush()
        await say(server.url, "user:eu:1", 1)
        await say(server.url, "user:eu:1", 2, harm=True)
        await say(server.url, "user:us:1", 3)
        await one.until(lambda heard: 3 in heard)
        assert one.heard == [1, "malformed frame", 3]
        assert pattern.heard == [("user:eu:1", 1), "malformed frame"]


async def test_all_who_share_a_wildcard_hear_what_it_lost(server: NatsServer, direct: bool | None) -> None:
    denied = "permissions: { subscribe: { deny: synced.user.> } }"
    server.config = f"authorization {{ users = [ {{ user: ada, password: x, {denied} }} ] }}"
    server.restart()
    first, second, topic, other = (Ear() for _ in range(4))
    async with NatsTransport(server.url, user="ada", password="x", wildcards=["user"], direct=direct) as bus:
        bus.subscribe("user:1", first, first.interrupted)
        bus.subscribe("user:2", second, second.interrupted)
        bus.subscribe_topic("user", topic.topic, topic.interrupted)
        bus.subscribe("other:1", other, other.interrupted)
        for ear in (first, second, topic):
            await ear.until(lambda heard: heard)
            assert "it denies subscribing to synced.user.>" in ear.heard[0]
        assert other.heard == []


async def test_replicas_that_share_a_wildcard_are_replicas(server: NatsServer) -> None:
    async with (
        NatsTransport(server.url) as here,
        NatsTransport(server.url, wildcards=["user"], **SELDOM) as there,  # type: ignore[arg-type]
        authority(USERS, here) as owner,
    ):
        users = [synced(USERS[str(number)], there) for number in range(50)]
        for number in range(50):
            await owner.put(str(number), f"{number}")
        for number, user in enumerate(users):
            await user.ready(DEADLINE_S)
            assert await user.at_least(await owner.put(str(number), f"new {number}"), DEADLINE_S) == f"new {number}"
        assert subjects(there) == ["synced.user.>", "synced.user.beat"]
        for user in users:
            user.close()
        await eventually(lambda: subjects(there) == [])


@pytest.mark.parametrize("wildcard", ["user:1", "", ":*", "user:", None, 5])
def test_a_wildcard_must_be_a_topic_or_a_pattern(wildcard: str) -> None:
    with pytest.raises(InvalidKeyError):
        NatsTransport("nats://127.0.0.1:4222", wildcards=[wildcard])


def test_a_wildcard_whose_subject_no_server_takes_is_refused_at_once() -> None:
    class Long(PrefixedSubjects):
        def of_pattern(self, pattern: str) -> str:
            return "x" * 4000 + ".>"

    with pytest.raises(UsageError, match="got a subject that no server takes"):
        NatsTransport("nats://127.0.0.1:4222", subjects=Long(), wildcards=["user:eu:*"])


def test_one_text_is_not_several_wildcards() -> None:
    with pytest.raises(UsageError, match="expected several"):
        NatsTransport("nats://127.0.0.1:4222", wildcards="user")
