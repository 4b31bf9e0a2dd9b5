"""`parasync mirror`: loads a topic with a bar on a terminal, says how it does, and saves it for a typed mirror."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from parasync import InProcessTransport, MirrorSnapshot, Topic, authority, mirror
from parasync.transports.nats import NatsTransport, PrefixedSubjects
from tests.cli.kit import DEADLINE_S, Running, Shell, terminal

pytestmark = [pytest.mark.nats, pytest.mark.processes]

LINE = r"(\d+) objects?, ok, proven \S+s ago, position …\d{6} #\d+\n"


@attrs.frozen
class Database:
    host: str


@contextmanager
def serving(shell: Shell) -> Iterator[Running]:
    with shell.running("serve", "conf") as running:
        running.wait_for("serving 3 objects", "err")
        yield running


def test_it_says_what_it_loaded(bus_shell: Shell, conf: Path) -> None:
    with serving(bus_shell):
        assert bus_shell.out("mirror", "config", "--once").startswith("2 objects, ok, proven 0.")
        assert bus_shell.out("mirror", "config:eu:*", "--once").startswith("1 object, ok, ")
        assert bus_shell.out("mirror", "limits", "--once").startswith("1 object, ok, ")
        assert bus_shell.run("mirror", "config", "--once").err == "", "no bar where nobody looks"


def test_what_it_saves_begins_a_typed_mirror(bus_shell: Shell, tmp_path: Path) -> None:
    """With the schemas in which it was written, so that upcasts and refusals are those of the service."""
    facts = bus_shell.environment
    databases = Topic("db", Database, version="2.1")

    async def served() -> None:
        bus = NatsTransport(facts["PARASYNC_URL"], subjects=PrefixedSubjects(facts["PARASYNC_PREFIX"]))
        async with bus, authority(databases, bus) as owner:
            await owner.put("1", Database("here"))
            await owner.put("2", Database("there"))
            await owner.delete("2")
            done = await asyncio.to_thread(bus_shell.run, "mirror", "db", "--once", "--save", "db.mirror")
            assert done.code == 0, done
            assert done.err == "saved 1 object to db.mirror\n"
            async with mirror(databases, bus, warm=tmp_path / "db.mirror") as warm:
                assert dict(warm) == {"1": Database("here")}
                await warm.fresh(timeout_s=DEADLINE_S)
                assert warm.stats.applied == warm.stats.conflicts == 0, "nothing differs"

    asyncio.run(served())

    async def offline() -> None:
        old = Topic("db", Database, version="1.0", upcasts={2: lambda data: Database(f"old {data['host']}")})
        async with InProcessTransport() as bus, mirror(old, bus, warm=tmp_path / "db.mirror") as warm:
            assert dict(warm) == {"1": Database("old here")}

    asyncio.run(offline())


def test_it_goes_on_and_saves_again_at_the_end(bus_shell: Shell, conf: Path, tmp_path: Path) -> None:
    anything = Topic("config", object, version="1.0")
    with serving(bus_shell), bus_shell.running("mirror", "config", "--save", "saved") as running:
        assert running.wait_for(LINE)[1] == "2"
        running.wait_for("saved 2 objects", "err")
        assert set(MirrorSnapshot.load(tmp_path / "saved", anything)) == {"db", "eu:web"}
        (conf / "config" / "new.json").write_text("3")
        assert running.wait_for(LINE)[1] == "3"
        assert running.end() == 0
        running.wait_for("saved 3 objects", "err")
    assert MirrorSnapshot.load(tmp_path / "saved", anything)["new"] == 3


def test_a_status_that_changes_is_said(bus_shell: Shell, conf: Path) -> None:
    with bus_shell.running("mirror", "config", "--timeout", "60") as running:
        with serving(bus_shell) as owner:
            running.wait_for(LINE)
            owner.end()
        running.wait_for(r"2 objects, (refetching|stale), proven .*: ")


def test_a_bar_shows_the_load(bus_shell: Shell, conf: Path) -> None:
    with serving(bus_shell), terminal(bus_shell, "mirror", "config") as drawn:
        drawn.wait_for("loading config")
        drawn.wait_for(LINE.replace(r"\n", r"\r\n"))
        drawn.process.send_signal(signal.SIGINT)
        assert drawn.process.wait(DEADLINE_S) == 0
    with terminal(bus_shell, "mirror", "config", "--once", kind="dumb") as drawn:
        drawn.wait_for("nobody serves")
        assert "loading" not in drawn.text
        assert drawn.process.wait(DEADLINE_S) == 4


def test_how_it_ends(bus_shell: Shell, shell: Shell, conf: Path) -> None:
    done = bus_shell.run("mirror", "config", "--once", "--timeout", "0.5")
    assert done.code == 4
    assert "the first load of 'config:*': " in done.err
    assert bus_shell.run("mirror", "config:db").code == 2
    assert bus_shell.run("mirror", "config:d*").code == 2
    assert bus_shell.run("mirror").code == 2
    done = bus_shell.run("mirror", "config", "--save", "nowhere/file")
    assert (done.code, "there is no folder nowhere" in done.err) == (2, True)
    done = shell.run("mirror", "config", "--url", "nats://127.0.0.1:1")
    assert (done.code, "nobody listens there" in done.err) == (5, True)
    with bus_shell.running("mirror", "config", "--once", "--timeout", "60") as running, serving(bus_shell):
        assert running.end(None) == 0
    with serving(bus_shell):
        done = bus_shell.run("mirror", "config", "--once", "--save", "/proc/config.mirror")
        assert (done.code, "cannot be written" in done.err) == (74, True)
