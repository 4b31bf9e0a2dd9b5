"""Servers for the tests of the NATS transport."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from parasync.transports._nats_process import NatsServer


@pytest.fixture
def server() -> Iterator[NatsServer]:
    """A server for one test, which may do to it what it likes."""
    with NatsServer(monitor=True) as server:
        yield server


@pytest.fixture(params=[None, False], ids=["direct", "by callbacks"])
def direct(request: pytest.FixtureRequest) -> bool | None:
    """Both ways of receiving."""
    return request.param
