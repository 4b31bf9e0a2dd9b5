"""`parasync.threads` where processes fork and end: scripts, and a real gunicorn, over a real server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parasync import threads
from parasync.testing import NatsServer
from tests.http.kit import NOTES, PATIENCE_S, fetch

pytestmark = [pytest.mark.nats, pytest.mark.processes]

ROOT = Path(__file__).parents[2]
END_S = 20.0


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer(monitor=True) as server:
        yield server


@pytest.fixture
def owner(server: NatsServer) -> Iterator[threads.authority[str]]:
    """Serves the note to everybody."""
    with threads.connect(server.url, name="owner") as bus, threads.authority(NOTES, bus) as owner:
        owner.put("a", "first")
        bus.flush()
        yield owner
    threads.shutdown()


def environment(**more: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "COV_", "PARASYNC"))}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | more


def clients(server: NatsServer) -> list[str]:
    """The names of those who are connected to the server now."""
    with urllib.request.urlopen(f"{server.monitor_url}/connz", timeout=PATIENCE_S) as page:
        return sorted(each.get("name", "") for each in json.load(page)["connections"])


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again until it holds."""
    over_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < over_s, "it never came"


def source(text: str, url: str) -> str:
    """A program that knows the topic and the bus."""
    head = f"from parasync import Topic, threads\nNOTES = Topic('note', str, version='1.0')\nURL = {url!r}\n"
    return head + textwrap.dedent(text)


BOTH_LOOPS = pytest.mark.parametrize("fast", [True, False], ids=["uvloop", "asyncio"])


def script(text: str, url: str, *options: str, fast: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program of its own; every warning is shown, but not what asyncio says of a busy machine in its debug mode."""
    program = source(text, url) if fast else "import sys\nsys.modules['uvloop'] = None\n" + source(text, url)
    command = [sys.executable, "-W", "always", *options, "-c", program]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S * 2, check=False
    )


@BOTH_LOOPS
def test_a_script_ends_at_once_with_everything_open(server: NatsServer, owner: threads.authority[str], fast: bool) -> None:
    """Nothing is closed, a stream is being read in another thread, and nobody complains."""
    done = script(
        """
        import threading, time
        bus = threads.connect(URL, name="script")
        note = threads.synced(NOTES["a"], bus)
        other = threads.authority(Topic("other", str, version="1.0"), bus)
        other.put("a", "text")
        changes = note.changes()
        reader = threading.Thread(target=lambda: list(changes), daemon=True)
        reader.start()
        print(note.ready(), time.time())
        """,
        server.url,
        fast=fast,
    )
    text, over_s = done.stdout.split()
    assert (done.returncode, text, done.stderr) == (0, "first", "")
    assert time.time() - float(over_s) < threads.EXIT_TIMEOUT_S
    until(lambda: clients(server) == ["owner"])


@pytest.mark.parametrize("end", ["sys.exit(7)", "raise KeyError"])
def test_a_script_keeps_its_exit_code(server: NatsServer, end: str) -> None:
    done = script(f"import sys\nbus = threads.connect(URL)\n{end}", server.url)
    assert done.returncode == (7 if "7" in end else 1)
    assert done.stderr.count("Traceback") == (0 if "7" in end else 1)
    assert "Warning" not in done.stderr


@pytest.mark.parametrize("end", [NatsServer.kill, NatsServer.freeze])
def test_a_script_ends_though_the_server_is_gone(server: NatsServer, end: Callable[[NatsServer], None]) -> None:
    text = """
        import os, signal, sys, time
        bus = threads.connect(URL)
        note = threads.synced(NOTES["a"], bus)
        print("ready", flush=True)
        sys.stdin.readline()
        """
    process = subprocess.Popen(
        [sys.executable, "-W", "always", "-c", source(text, server.url)],
        cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    end(server)
    _, errors = process.communicate("\n", timeout=END_S)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "Warning" not in errors


def test_ctrl_c_ends_a_script_that_waits(server: NatsServer, owner: threads.authority[str]) -> None:
    text = """
        import signal
        from parasync import Version
        signal.signal(signal.SIGINT, signal.default_int_handler)
        note = threads.synced(NOTES["a"], threads.connect(URL))
        print(note.ready(), flush=True)
        note.at_least(Version(2**52, 1), timeout_s=None)
        """
    process = subprocess.Popen(
        [sys.executable, "-W", "always", "-c", source(text, server.url)],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=END_S)
    assert process.returncode == -signal.SIGINT
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert "Warning" not in errors


FORKED = """
    import gc, os, sys
    from parasync.errors import UsageError
    bus = threads.connect(URL, name="parent")
    note = threads.synced(NOTES["a"], bus)
    changes = note.changes(timeout_s=30)
    own = threads.per_process(lambda: threads.synced(NOTES["a"], threads.connect(URL, name=f"own of {os.getpid()}")))
    other = threads.authority(Topic("other", str, version="1.0"), bus)
    notes = threads.mirror(NOTES, bus)
    one, by_text, steps = notes.one("a"), notes.index(str), notes.changes(timeout_s=30)
    note.ready(), own().ready(), notes.ready()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        calls = {
            "value": lambda: note.value, "peek": note.peek, "get": note.get, "status": lambda: note.status,
            "version": lambda: note.version, "age_s": lambda: note.age_s, "stats": lambda: note.stats,
            "snapshot": note.snapshot, "ready": note.ready, "changes": note.changes, "next": lambda: next(changes),
            "subscribe": lambda: note.subscribe(print), "close": note.close, "put": lambda: other.put("a", "x"),
            "get of it": lambda: other.get("a"), "close of it": other.close, "connected": lambda: bus.connected,
            "flush": bus.flush, "close of bus": bus.close, "on its bus": lambda: threads.synced(NOTES["a"], bus),
            "item": lambda: notes["a"], "len": lambda: len(notes), "in": lambda: "a" in notes, "all": lambda: list(notes),
            "items": lambda: list(notes.items()), "loaded": lambda: notes.loaded, "status of all": lambda: notes.status,
            "version_of": lambda: notes.version_of("a"), "stats of all": lambda: notes.stats, "saved": notes.snapshot,
            "index": lambda: notes.index(str), "by text": lambda: by_text["first"], "all ready": notes.ready,
            "all fresh": notes.fresh, "at_least": lambda: notes.at_least(note.version, "a"), "one": lambda: one.value,
            "find": lambda: notes.find("note:a"), "steps": notes.changes, "step": lambda: next(steps),
            "listen": lambda: notes.subscribe(print), "close of all": notes.close,
        }
        for name, call in calls.items():
            try:
                print("no error from", name, call())
            except UsageError as error:
                assert "forked" in str(error), error
        assert not other.serving
        print(repr(note), repr(notes), repr(bus), repr(other), sep="\\n")
        print(own().ready(), "in the child")
        del bus, note, other, changes, calls, notes, one, by_text, steps
        gc.collect()
        os.write(writing, b"!")
        sys.exit(0)
    os.read(reading, 1)
    assert os.waitpid(child, 0)[1] == 0
    print(note.fresh(), own().fresh(), notes.fresh(), notes["a"], bus.connected, "in the parent")
    """


@BOTH_LOOPS
def test_a_forked_process_shares_nothing(server: NatsServer, owner: threads.authority[str], fast: bool) -> None:
    """What the parent made raises, what the child makes works, and the parent goes on as if nothing had happened."""
    done = script(FORKED, server.url, "-W", "ignore:This process:DeprecationWarning", fast=fast)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *("<synced 'note:a' of another process>", "<mirror 'note:*' of another process>"),
        *("<Bus of another process>", "<authority 'other' of another process>"),
        "first in the child",
        "first first None first True in the parent",
    ]
    assert done.returncode == 0


def test_a_connection_of_the_parent_ends_with_the_parent(server: NatsServer) -> None:
    """A child that lives on would keep it open, if it had a copy."""
    text = """
        import os, sys
        bus = threads.connect(URL, name="parent")
        if not os.fork():
            print(os.getpid(), flush=True)
            sys.stdin.read()
            os._exit(0)
        os.wait()
        """
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", source(text, server.url)],
        cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    child = int(process.stdout.readline())
    assert clients(server) == ["parent"]
    process.kill()
    until(lambda: clients(server) == [])
    os.kill(child, 0)
    process.stdin.close()
    process.wait(END_S)
    process.stdout.close()


class Gunicorn:
    """A real gunicorn that serves `tests.threads.service`."""

    def __init__(self, server: NatsServer, made: str, *options: str) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listening.getsockname()[1]
        command = [sys.executable, "-W", "always", "-m", "gunicorn", "--bind", f"fd://{self.listening.fileno()}"]
        self.process = subprocess.Popen(
            [*command, *options, "--graceful-timeout", "10", "--no-control-socket", "tests.threads.service:app"],
            cwd=ROOT, env=environment(BUS=server.url, MADE=made), pass_fds=[self.listening.fileno()],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.printed = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.printed += line

    def ask(self, versions: str = "") -> tuple[int, str]:
        """The worker that answered, and what it said."""
        answer = fetch(self.port, versions)
        assert answer.status == 200, answer.text
        worker, _, text = answer.text.partition(" ")
        return int(worker), text

    def workers(self, count: int, but: frozenset[int] = frozenset()) -> dict[int, str]:
        """Ask until so many workers have answered."""
        found: dict[int, str] = {}

        def enough() -> bool:
            with ThreadPoolExecutor(8) as pool:
                found.update(answer for answer in pool.map(lambda _: self.ask(), range(8)) if answer[0] not in but)
            return len(found) >= count

        until(enough)
        return found

    def stop(self) -> None:
        """Ask it to end, and look what it has to say."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(END_S) == 0
        self.close()
        # It complains of its own listening socket, with a hint; Python complains of forks of processes that have threads.
        own = f"laddr=('127.0.0.1', {self.port})>", "Enable tracemalloc", "use of fork()"
        said = "".join(line for line in self.printed.splitlines(keepends=True) if not any(text in line for text in own))
        assert not re.search("Warning|Traceback|ERROR|was destroyed", said), said

    def close(self) -> None:
        """End it for sure."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.listening.close()


@contextlib.contextmanager
def gunicorn(server: NatsServer, made: str, *options: str) -> Iterator[Gunicorn]:
    running = Gunicorn(server, made, *options)
    try:
        yield running
    finally:
        running.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


WORKERS = {
    "sync": ("--workers", "2"),
    "threads": ("--workers", "2", "--threads", "4"),
    "preload": ("--workers", "2", "--preload"),
    "preload and threads": ("--workers", "2", "--preload", "--threads", "4"),
}


@pytest.mark.parametrize("options", WORKERS.values(), ids=WORKERS)
def test_workers_have_connections_of_their_own(
    server: NatsServer, owner: threads.authority[str], options: tuple[str, ...]
) -> None:
    """Each serves what is newest; one that is killed is replaced; and the end leaves no process, no client and no warning."""
    with gunicorn(server, "at first use", *options) as running:
        workers = running.workers(2)
        assert set(workers.values()) == {"first"}
        assert clients(server) == sorted(["owner", *(f"service {worker}" for worker in workers)])
        versions = f"note:a@{owner.put('a', 'second')}"
        for _ in range(20):
            assert running.ask(versions)[1] == "second"
        victim = min(workers)
        os.kill(victim, signal.SIGKILL)
        until(lambda: f"service {victim}" not in clients(server))
        after = running.workers(2, frozenset({victim}))
        assert set(after.values()) == {"second"}
        running.printed = ""
        running.stop()
        until(lambda: clients(server) == ["owner"])
        assert all(gone(worker) for worker in (*workers, *after))


@pytest.mark.parametrize("options", [WORKERS["preload"], WORKERS["preload and threads"]], ids=["sync", "threads"])
def test_what_was_made_before_the_fork_says_so(
    server: NatsServer, owner: threads.authority[str], options: tuple[str, ...]
) -> None:
    with gunicorn(server, "at import", *options) as running:
        workers = running.workers(2)
        for text in workers.values():
            assert text.startswith("UsageError: got an object of parasync.threads that was made before this process was forked")
            assert "per_process" in text
        assert clients(server) == ["owner", f"service {running.process.pid}"]
        running.stop()
        until(lambda: clients(server) == ["owner"])
        assert all(gone(worker) for worker in workers)


def test_without_preloading_what_is_made_at_import_is_the_workers_own(
    server: NatsServer, owner: threads.authority[str]
) -> None:
    with gunicorn(server, "at import", *WORKERS["threads"]) as running:
        workers = running.workers(2)
        assert set(workers.values()) == {"first"}
        running.stop()
        until(lambda: clients(server) == ["owner"])
