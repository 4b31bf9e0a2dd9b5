"""NATS keeps what it claims also behind a network that is slow, or that cuts the connection of the reader."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import pytest

from parasync.testing import ChaosProxy, Ends, NatsServer, check_transport
from parasync.testing.conformance._clauses import TRANSPORT_CLAUSES
from parasync.transports.nats import NatsTransport

pytestmark = pytest.mark.nats


def calm(_: ChaosProxy) -> None:
    """Passes everything on."""


def narrow(proxy: ChaosProxy) -> None:
    proxy.throttle(200_000)


def cut_each_third(proxy: ChaosProxy) -> None:
    """Cuts each connection of every third check, over and over; the check is made again, without that."""
    if next(_numbers) % 3 == 0:
        proxy.cut_after(1_200, "to_client")


_numbers = count()


@pytest.mark.parametrize(("weather", "strikes"), [(calm, "reset"), (narrow, "throttle"), (cut_each_third, "cut")])
async def test_nats_behind_a_proxy_keeps_what_it_claims(weather: Callable[[ChaosProxy], None], strikes: str) -> None:
    struck: Counter[str] = Counter()

    @asynccontextmanager
    async def ends() -> AsyncIterator[Ends]:
        async with ChaosProxy(server.url) as proxy, NatsTransport(server.url) as writer, NatsTransport(proxy.url) as reader:

            async def reset(_: str) -> None:
                cut_off = asyncio.Event()
                unsubscribe = reader.subscribe("watch", print, lambda _: cut_off.set())
                proxy.reset()
                await cut_off.wait()
                unsubscribe()

            weather(proxy)
            try:
                yield Ends(writer, reader, losses=(reset,))
            finally:
                struck.update(proxy.fired)

    with NatsServer() as server:
        report = await check_transport(ends, patience_s=5.0)
    assert {clause.number for clause in report.checked} == set(TRANSPORT_CLAUSES) - {12, 13}
    assert struck[strikes] > 0
