"""`get`, `put` and `delete` as a script uses them: what they print, and every exit code."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest

from parasync import Topic, authority
from parasync.cli._formats import FILE_BYTES_MAX
from parasync.protocol import Request, Response
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.cli.kit import DEADLINE_S, Running, Shell, command

pytestmark = [pytest.mark.nats, pytest.mark.processes]


@attrs.frozen
class User:
    name: str
    age: int


USERS = Topic("user", User, version="2.1")
ANYTHING = Topic("thing", object, version="1.0")


class Owners:
    """Two topics that are served in this process, beside the commands."""

    def __init__(self, shell: Shell, bus: NatsTransport, users: authority[User], things: authority[Any]) -> None:
        self.shell = shell
        self.bus = bus
        self.users = users
        self.things = things

    async def run(self, *arguments: str, stdin: str = "") -> Any:
        return await asyncio.to_thread(self.shell.run, *arguments, stdin=stdin)


@pytest.fixture
async def owners(shell: Shell) -> AsyncIterator[Owners]:
    with NatsServer() as server:
        shell.environment["PARASYNC_URL"] = server.url
        async with (
            asyncio.timeout(DEADLINE_S),
            NatsTransport(server.url) as bus,
            authority(USERS, bus, remote_writes=True) as users,
            authority(ANYTHING, bus) as things,
        ):
            await users.put("1", User("Ada", 36))
            await bus.flush()
            yield Owners(shell, bus, users, things)


async def test_get_prints_the_value_and_the_version_apart(owners: Owners) -> None:
    done = await owners.run("get", "user:1")
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert json.loads(done.out) == {"name": "Ada", "age": 36}
    version = (await owners.users.get("1")).version
    assert done.err == f"version {version}\n"
    meta = await owners.run("get", "user:1", "--meta")
    assert json.loads(meta.out) == {
        "key": "user:1",
        "version": str(version),
        "schema": "2.1",
        "meta": {},
        "value": {"name": "Ada", "age": 36},
    }


async def test_get_shows_what_json_lacks_as_text(owners: Owners) -> None:
    await owners.things.put(
        None,
        {
            "when": datetime(2026, 11, 21, 12, tzinfo=UTC),
            "price": Decimal("1.50"),
            "id": UUID(int=1),
            "data": b"\x00\xff",
            "set": {2, 1},
            "tuple": (1, 2),
            "big": 2**100,
            "nan": float("nan"),
            "text": "ä\x1b[31m\u202e",
            5: None,
        },
    )
    done = await owners.run("get", "thing")
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    assert json.loads(done.out) == {
        "when": "2026-11-21T12:00:00+00:00",
        "price": "1.50",
        "id": "00000000-0000-0000-0000-000000000001",
        "data": "AP8=",
        "set": [1, 2],
        "tuple": [1, 2],
        "big": 2**100,
        "nan": "nan",
        "text": "ä\x1b[31m\u202e",
        "5": None,
    }


async def test_what_is_not_there_is_1(owners: Owners) -> None:
    for arguments in (("get", "user:2"), ("delete", "user:2")):
        done = await owners.run(*arguments)
        assert done.code == 1
        assert done.out == ""
        assert "exist" in done.err
    await owners.users.delete("1")
    assert (await owners.run("get", "user:1")).code == 1


async def test_put_writes_with_the_schema_of_the_topic(owners: Owners) -> None:
    done = await owners.run("put", "user:1", '{"name": "Ada L.", "age": 37}')
    found = await owners.users.get("1")
    assert (done.code, done.out) == (0, f"{found.version}\n")
    assert found.value == User("Ada L.", 37)
    # A new object takes the schema of its neighbours.
    assert (await owners.run("put", "user:2", '{"name": "Grace", "age": 1}', "--expected", "absent")).code == 0
    assert (await owners.users.get("2")).value == User("Grace", 1)


async def test_put_reads_files_and_standard_input(owners: Owners) -> None:
    folder = owners.shell.folder
    (folder / "user.toml").write_text('name = "Toml"\nage = 1')
    assert (await owners.run("put", "user:1", "@user.toml")).code == 0
    assert (await owners.users.get("1")).value == User("Toml", 1)
    assert (await owners.run("put", "user:1", "-", stdin='{"name": "Pipe", "age": 2}')).code == 0
    assert (await owners.users.get("1")).value == User("Pipe", 2)
    done = await owners.run("put", "user:1", "-", stdin='{"name": "Long", "age": 3}' + " " * FILE_BYTES_MAX + "and more")
    assert done.code == 2
    assert f"longer than {FILE_BYTES_MAX:,} bytes" in done.err


async def test_a_conflict_is_3_and_shows_what_is_there(owners: Owners) -> None:
    version = (await owners.users.get("1")).version
    done = await owners.run("put", "user:1", '{"name": "X", "age": 1}', "--expected", "0.7")
    assert done.code == 3
    assert f"user:1 is at {version}: {{" in done.err
    assert '"name": "Ada"' in done.err
    assert (await owners.run("delete", "user:1", "--expected", "absent")).code == 3
    assert (await owners.run("put", "user:9", '{"name": "X", "age": 1}', "--expected", str(version))).code == 3
    assert (await owners.users.get("1")).version == version
    assert (await owners.run("delete", "user:1", "--expected", str(version))).code == 0


async def test_a_value_of_the_wrong_type_or_a_closed_topic_is_6(owners: Owners) -> None:
    done = await owners.run("put", "user:1", '{"name": 5, "age": "x"}')
    assert done.code == 6
    assert "$.name: expected str, got int" in done.err
    assert (await owners.run("put", "user:1", "1", "--schema", "7.0")).code == 6
    done = await owners.run("put", "thing:x", "1")
    assert done.code == 6
    assert "takes no writes from others" in done.err


async def test_nobody_there_is_4(owners: Owners) -> None:
    for arguments in (("get", "nobody:1"), ("put", "nobody:1", "1"), ("delete", "nobody:1"), ("ls", "nobody")):
        done = await owners.run(*arguments)
        assert done.code == 4, done
        assert "nobody serves the topic 'nobody'" in done.err


async def silence(_: Request) -> Response:
    await asyncio.get_running_loop().create_future()
    raise AssertionError("unreachable")


async def test_no_answer_in_time_is_4(owners: Owners) -> None:
    stop = owners.bus.serve("silent", silence)
    await owners.bus.flush()
    for arguments in (("get", "silent:1"), ("put", "silent:1", "1", "--schema", "1.0")):
        done = await owners.run(*arguments, "--timeout", "0.3")
        assert done.code == 4, done
        assert "within 0.3 s" in done.err
    stop()


async def test_ctrl_c_before_it_is_done_is_130(owners: Owners) -> None:
    asked = asyncio.Event()

    async def told(request: Request) -> Response:
        asked.set()
        return await silence(request)

    stop = owners.bus.serve("silent", told)
    await owners.bus.flush()
    with owners.shell.running("get", "silent:1", "--timeout", "600") as getting:
        await asked.wait()
        assert await asyncio.to_thread(getting.end) == 130
        assert "Traceback" not in getting.err
    stop()


async def test_a_write_without_an_answer_is_tried_again_and_happens_once(owners: Owners) -> None:
    """The first answer is lost on the way; the second is the outcome of the first try."""
    inner = owners.users
    tries: list[str | None] = []

    async def lose_one(request: Request) -> Response:
        tries.append(getattr(request, "idempotency_key", None))
        response = await inner._put_for(request)
        if len(tries) == 1:
            await silence(request)
        return response

    inner._office._stop()
    stop = owners.bus.serve("user", lose_one)
    inner._office.serving = True
    await owners.bus.flush()
    done = await owners.run("put", "user:1", '{"name": "Once", "age": 1}', "--schema", "2.1", "--timeout", "30")
    assert done.code == 0
    assert len(tries) == 2
    assert tries[0] == tries[1]
    assert (await inner.get("1")).version.sequence == 2
    stop()


def test_no_server_is_5(shell: Shell) -> None:
    with NatsServer() as server:
        url = server.url
    for arguments in (("get", "user:1"), ("put", "user:1", "1"), ("ls",), ("watch", "user:1"), ("serve", ".")):
        done = shell.run(*arguments, "--url", url)
        assert done.code == 5, done
        assert "nobody listens there" in done.err
        assert "Traceback" not in done.err


def test_wrong_credentials_are_5_and_the_right_ones_let_in(shell: Shell) -> None:
    with NatsServer('authorization { users: [{user: "ada", password: "secret"}] }') as server:
        shell.environment["PARASYNC_URL"] = server.url
        assert shell.run("ls").code == 5
        assert "refused the credentials" in shell.run("ls", "--user", "ada", "--password", "wrong").err
        assert shell.run("ls", "--user", "ada", "--password", "secret").code == 0
        shell.environment |= {"PARASYNC_USER": "ada", "PARASYNC_PASSWORD": "secret"}
        assert shell.run("ls").code == 0
    del shell.environment["PARASYNC_USER"], shell.environment["PARASYNC_PASSWORD"]
    with NatsServer('authorization { token: "open sesame" }') as server:
        assert shell.run("ls", "--url", server.url, "--token", "open sesame").code == 0


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("get",), "Missing argument 'KEY'"),
    (("get", ""), "got an empty key"),
    (("get", "a:"), "got a key with an empty id"),
    (("get", "a", "b"), "unexpected extra argument"),
    (("get", "a", "--no-such-thing"), "No such option"),
    (("get", "a", "--timeout", "0"), "--timeout"),
    (("get", "a", "--url", "http://x"), "--url"),
    (("get", "a", "--url", "nats://x:y"), "--url"),
    (("get", "a", "--prefix", "a b"), "--prefix"),
    (("get", "a", "--creds", "none.creds"), "--creds"),
    (("get", "a", "--url", "nats://127.0.0.1:1", "--nkey", "empty"), "holds no nkey seed"),
    (("get", "a", "--url", "nats://127.0.0.1:1", "--tls-ca", "empty"), "the TLS files cannot be used"),
    (("get", "a", "--url", "nats://127.0.0.1:1", "--tls-key", "empty"), "--tls-key needs"),
    (("put", "a", "hello"), "VALUE:1:1: Expecting value; a text needs quotes of its own"),
    (("put", "a", "[1,\n}"), "VALUE:2:1"),
    (("put", "a", "@none.json"), "none.json: cannot be read (No such file"),
    (("put", "a", "@empty"), "expected a file that ends in"),
    (("put", "a", "-"), "VALUE:1:1"),
    (("put", "a", "1", "--expected", "7"), "--expected"),
    (("put", "a", "1", "--schema", "x"), "--schema"),
    (("ls", "a:b"), "a topic with a colon"),
    (("ls", "*"), "pattern"),
    (("watch", "a::*"), ""),
    (("nonsense",), "No such command 'nonsense'"),
]

# All of them in one process: what is wrong is found before anything is connected.
ONE_BY_ONE = """
import contextlib, io, json, sys
from parasync.cli import main
for arguments in json.load(sys.stdin):
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        code = main(arguments)
    print(json.dumps([code, err.getvalue()]))
"""


def test_what_cannot_work_as_written_is_2(shell: Shell) -> None:
    (shell.folder / "empty").write_text("")
    every = json.dumps([words for words, _ in WRONG])
    running = Running([sys.executable, "-c", ONE_BY_ONE], shell.folder, shell.environment, every)
    try:
        assert running.end(None) == 0, running.err
    finally:
        running.kill()
    found = [json.loads(line) for line in running.out.splitlines()]
    assert [(words, code) for (words, _), (code, _) in zip(WRONG, found, strict=True) if code != 2] == []
    for (words, said), (_, err) in zip(WRONG, found, strict=True):
        assert said in " ".join(err.split()), words
        assert "Traceback" not in err


def test_a_closed_pipe_is_141_and_nobody_complains(bus_shell: Shell, conf: Any) -> None:
    with bus_shell.running("serve", "conf") as serving:
        serving.wait_for("serving 3 objects", "err")
        watching = ("watch", "config:*", "--json")
        for arguments in (("get", "config:db"), ("ls",), ("ls", "config"), watching, ("watch", "--help"), ("--help",)):
            process = subprocess.Popen(
                command(*arguments),
                cwd=bus_shell.folder,
                env=bus_shell.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            error = process.stderr.read().decode()
            assert process.wait(DEADLINE_S) == 141, error
            assert "Traceback" not in error
            assert "BrokenPipe" not in error
            process.stderr.close()
        assert serving.end(signal.SIGTERM) == 0
