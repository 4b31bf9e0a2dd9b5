"""Who serves what on a bus, as the micro services that authorities are say about themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import datetime
from secrets import token_hex
from typing import Any, Final

import attrs

from parasync.errors import InvalidKeyError
from parasync.protocol import Ask, ListKeys, Put
from parasync.transports.nats import NatsTransport

DISCOVERED_MAX: Final = 10_000
"""The most services that are listed; what answers beyond is ignored."""

QUIET_S: Final = 0.3
"""How long nobody must have answered for the list to be taken as complete, in seconds."""

_EVERYBODY: Final = b"$SRV.STATS"
_NO_RESPONDERS: Final = b"NATS/1.0 503"


@attrs.frozen
class Served:
    """One authority that serves a topic.

    Args:
        topic: what it serves.
        service: its identity, as the `nats` tool shows it.
        started: when it began to serve, as ISO 8601 text.
        asks: how many reading requests it has answered.
        lists: how many pages of keys.
        puts: how many writes of others.
        failures: how many of these it failed to answer.
    """

    topic: str
    service: str
    started: str
    asks: int
    lists: int
    puts: int
    failures: int

    @property
    def started_s(self) -> float:
        """When it began to serve, in seconds since 1970."""
        return datetime.fromisoformat(self.started).timestamp()


async def discover(bus: NatsTransport, timeout_s: float) -> list[Served]:
    """Ask all authorities on the bus who they are; returns as soon as no more answers come.

    Args:
        bus: an entered transport; topics below another prefix of subjects are left out.
        timeout_s: how long to collect at most, in seconds.

    Raises:
        TransportError: there is no connection now.
    """
    session = bus._session
    if session.wire.link is None:
        raise session._why_down()
    found: list[Served] = []
    heard = asyncio.Event()
    over = False

    def received(_: bytes, __: bytes, data: bytes, headers: bytes | None) -> None:
        nonlocal over
        over = over or (headers is not None and headers.startswith(_NO_RESPONDERS))
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError, InvalidKeyError):
            if len(found) < DISCOVERED_MAX and (served := _served(json.loads(data), bus)) is not None:
                found.append(served)
        heard.set()

    inbox = f"{session.asks._inbox.rpartition('.')[0]}.{token_hex(11)}"
    line = session.wire.open(inbox, received)
    try:
        session.wire.publish(_EVERYBODY, b"", reply=inbox.encode())
        async with asyncio.timeout(timeout_s):
            while not over:
                heard.clear()
                async with asyncio.timeout(QUIET_S if found else timeout_s):
                    await heard.wait()
    except TimeoutError:
        pass
    finally:
        session.wire.shut(line)
    return sorted(found, key=lambda served: (served.topic, served.started, served.service))


def _served(about: dict[str, Any], bus: NatsTransport) -> Served | None:
    """What one service says, if it is an authority on our subjects."""
    topic = about["metadata"]["topic"]
    subjects = {verb: bus._subjects.of_ask(topic, verb) for verb in (Ask.verb, ListKeys.verb, Put.verb)}
    counts = {endpoint["subject"]: endpoint for endpoint in about["endpoints"]}
    if any(subject not in counts for subject in subjects.values()):
        return None
    requests = {verb: int(counts[subject]["num_requests"]) for verb, subject in subjects.items()}
    failures = sum(int(counts[subject]["num_errors"]) for subject in subjects.values())
    started = datetime.fromisoformat(about["started"]).isoformat(timespec="seconds")
    return Served(
        topic, str(about["id"]), started, requests[Ask.verb], requests[ListKeys.verb], requests[Put.verb], failures
    )
