"""Authorities on a real bus: one at a time serves, whoever restarts is followed, whatever its clock and memory say."""

from __future__ import annotations

import asyncio
import time

import pytest

from parasync import MemoryStore, Pace, Terms, Topic, Version, authority, synced
from parasync.errors import FencedError
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import DEADLINE_S, eventually

pytestmark = pytest.mark.nats

QUICK = {"reconnect_max_s": 0.05, "connect_timeout_s": 0.5, "ping_interval_s": 0.2}
NOTES = Topic("note", str)
PACE = Pace(reconcile_interval_s=0.5, ask_timeout_s=1.0, backoff_max_s=0.2)
TERMS = Terms(probe_interval_s=0.1, probe_timeout_s=0.1, takeover_after_s=0.3)


async def test_the_second_authority_fences_the_first_which_takes_over_again_when_it_is_gone(server: NatsServer) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url) as one,
        NatsTransport(server.url) as two,
        NatsTransport(server.url) as third,
        authority(NOTES, one, terms=TERMS) as first,
        synced(NOTES["1"], third, pace=PACE) as replica,
    ):
        await first.put("1", "from the first")
        assert await replica.ready() == "from the first"
        async with authority(NOTES, two, terms=TERMS) as second:
            assert second.epoch > first.epoch
            await eventually(lambda: not first.serving)
            with pytest.raises(FencedError):
                await first.put("1", "from a zombie")
            version = await second.put("1", "from the second")
            await replica.at_least(version)
            assert replica.value == "from the second"
        await eventually(lambda: first.serving)
        version = await first.put("1", "from the first again")
        assert version.epoch > second.epoch
        await replica.at_least(version)
        assert replica.value == "from the first again"


@pytest.mark.parametrize("back_s", [0.0, 86_400.0 * 400], ids=["", "clock set back"])
async def test_an_authority_that_lost_its_memory_is_followed(server: NatsServer, back_s: float) -> None:
    shown: list[tuple[Version, str | None]] = []
    async with (
        asyncio.timeout(DEADLINE_S),
        NatsTransport(server.url) as bus,
        NatsTransport(server.url) as other,
        synced(NOTES["1"], other, pace=PACE) as replica,
        synced(NOTES["2"], other, pace=PACE) as gone,
    ):
        replica.subscribe(lambda change: shown.append((change.version, change.new)))
        async with authority(NOTES, bus, terms=TERMS) as owner:
            await owner.put("1", "before")
            await owner.put("2", "lost")
            assert await replica.ready() == "before"
            assert await gone.ready() == "lost"
        terms = Terms(probe_interval_s=0.1, probe_timeout_s=0.1, wall_clock=lambda: time.time() - back_s)
        async with authority(NOTES, bus, store=MemoryStore(), terms=terms) as owner:
            version = await owner.put("1", "after")
            await replica.at_least(version)
            await eventually(lambda: gone.peek() is None)
            assert replica.value == "after"
        assert [version for version, _ in shown] == sorted({version for version, _ in shown})


async def test_an_authority_that_was_cut_off_hears_that_it_was_replaced(server: NatsServer) -> None:
    """Its server froze, and it found another one, on which somebody serves by now."""
    with NatsServer() as second:
        async with (
            asyncio.timeout(DEADLINE_S),
            NatsTransport(server.url, **QUICK) as one,
            NatsTransport(second.url, **QUICK) as two,
            authority(NOTES, one, terms=TERMS) as zombie,
            authority(NOTES, two, terms=TERMS) as owner,
        ):
            one._session._guard._servers += two._servers
            above = owner if owner.epoch > zombie.epoch else zombie
            below = zombie if above is owner else owner
            server.freeze()
            await eventually(lambda: not below.serving)
            assert above.serving
            with pytest.raises(FencedError):
                await below.put("1", "too late")
            server.kill()
