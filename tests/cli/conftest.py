"""A real server for a module, and a shell for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parasync.transports._nats_process import NatsServer
from tests.cli.kit import Shell


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell that knows of no server."""
    return Shell(tmp_path)


@pytest.fixture
def bus_shell(tmp_path: Path, server: NatsServer, request: pytest.FixtureRequest) -> Shell:
    """A shell whose commands use the server of the module, on subjects of their own."""
    return Shell(tmp_path, PARASYNC_URL=server.url, PARASYNC_PREFIX=f"t{abs(hash(request.node.name))}")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A folder with three objects."""
    folder = tmp_path / "conf"
    (folder / "config" / "eu").mkdir(parents=True)
    (folder / "config" / "db.json").write_text('{"host": "db1"}')
    (folder / "config" / "eu" / "web.toml").write_text("replicas = 3\n")
    (folder / "limits.yaml").write_text("a: [1, 2]\n")
    return folder
