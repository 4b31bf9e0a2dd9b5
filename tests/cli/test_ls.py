"""`parasync ls`: topics by asking everybody, objects page by page."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from parasync import MemoryStore, Topic, authority
from parasync.cli._asks import Asker
from parasync.protocol import PAGE_KEYS_MAX
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport, PrefixedSubjects
from tests.cli.kit import DEADLINE_S, Shell

pytestmark = [pytest.mark.nats, pytest.mark.processes]


def test_topics_and_objects_are_listed(bus_shell: Shell, conf: Path) -> None:
    with bus_shell.running("serve", "conf") as serving:
        serving.wait_for("serving 3 objects", "err")
        bus_shell.out("put", "config:db", "1")
        topics = bus_shell.out("ls").splitlines()
        assert [line.split()[0] for line in topics] == ["topic", "config", "limits"]
        assert topics[1].split()[2:] == ["1", "0", "1", "0"], "one ask, for the schema, and one write"

        assert bus_shell.out("ls", "config").splitlines()[0].split() == ["key", "version"]
        objects = [json.loads(line) for line in bus_shell.out("ls", "config", "--json").splitlines()]
        assert [found["key"] for found in objects] == ["config:db", "config:eu:web"]
        assert objects[0]["version"].endswith(".2")
        assert "config:eu:web" in bus_shell.out("ls", "config:eu:*")
        assert "config:db" not in bus_shell.out("ls", "config:eu:*")
        assert "1 object\n" in bus_shell.run("ls", "limits").err

        facts = [json.loads(line) for line in bus_shell.out("ls", "--json").splitlines()]
        assert [found["topic"] for found in facts] == ["config", "limits"]
        assert set(facts[0]) == {"topic", "service", "started", "asks", "lists", "puts", "failures"}


def test_a_bus_without_topics_is_told(bus_shell: Shell) -> None:
    done = bus_shell.run("ls")
    assert (done.code, done.out) == (0, "")
    assert "no topic is served" in done.err


async def test_a_long_listing_has_many_pages(server: NatsServer) -> None:
    subjects = PrefixedSubjects("pages")
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url, subjects=subjects) as bus,
        authority(Topic("many", int), bus, store=MemoryStore()) as owner,
    ):
        names = [f"{number:05}" for number in range(2 * PAGE_KEYS_MAX + 1)]
        for name in names:
            await owner.put(name, 1)
        asker = Asker(bus, 10.0)
        assert [key async for key, _ in asker.keys("many")] == [f"many:{name}" for name in names]
        assert [key async for key, _ in asker.keys("many", "0000")] == [f"many:{name}" for name in names[:10]]
