"""The transports that the contract is checked on, each as two ends of one bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest

from parasync import InProcessTransport
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.conformance.kit import Ends


@pytest.fixture(scope="session")
def shared_server() -> Iterator[NatsServer]:
    with NatsServer(monitor=True) as server:
        yield server


@pytest.fixture(
    params=[
        "in process",
        pytest.param("nats", marks=pytest.mark.nats),
        pytest.param("nats by callbacks", marks=pytest.mark.nats),
    ]
)
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    if request.param == "in process":
        async with InProcessTransport() as bus:
            yield Ends(bus, bus, lambda: bus)
        return
    server: NatsServer = request.getfixturevalue("shared_server")
    direct = None if request.param == "nats" else False

    def opened() -> NatsTransport:
        return NatsTransport(server.url, direct=direct)

    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(opened())
        reader = await stack.enter_async_context(opened())
        yield Ends(writer, reader, opened, server)
