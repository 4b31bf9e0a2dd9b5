"""Asking over a faulty connection: requests and answers get lost, doubled, late and damaged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from random import Random

import attrs

from parasync.errors import AskTimeoutError, DecodeError, ParasyncError, TransportError
from parasync.protocol import Answer, Envelope, Probe, ProbeReply, Request, Response
from parasync.testing._faults import Fates
from parasync.testing._link import Direction, Link, between
from parasync.testing._spoiling import poisoned
from parasync.transports import AskTransport, ProbeResponder, Responder
from parasync.transports._tasks import check_timeout


class FaultyAsks:
    """The asking half of a faulty transport.

    Args:
        inner: the transport below.
        link: what is wrong with the connection.
    """

    def __init__(self, inner: AskTransport, link: Link) -> None:
        self._inner = inner
        self._link = link
        self._fates: dict[str, Fates] = {}

    def serving(self, responder: Responder) -> Responder:
        """The responder, whom not every request reaches, and not each of whose answers reaches anybody."""
        link = self._link

        async def respond(request: Request) -> Response:
            await link.flowing()
            await self._lost_if("incoming")
            response = await responder(request)
            await link.flowing()
            await self._lost_if("outgoing")
            return response

        return respond

    def probed(self, responder: ProbeResponder) -> ProbeResponder:
        """The responder, who hears nothing and is not heard while the connection is out of order."""
        link = self._link

        def respond(probe: Probe) -> ProbeReply | None:
            if link.troubled("incoming", "disconnect", "hang"):
                return None
            reply = responder(probe)
            return None if link.troubled("outgoing") else reply

        return respond

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """See `FaultyTransport.ask`."""
        link = self._link
        struck = self._struck(f"ask {topic}")
        if not struck and link.quiet:
            return await self._inner.ask(topic, request, timeout_s)
        check_timeout(timeout_s)
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                return await self._asked(topic, request, timeout_s, struck)
        except TimeoutError:
            if not deadline.expired():
                raise
        raise AskTimeoutError(f"got no answer from the authority of {topic!r} within {timeout_s:g} s: faults", timeout_s)

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        """See `FaultyTransport.probe`."""
        link = self._link
        struck = self._struck(f"probe {probe.topic}")
        if link.troubled("disconnect"):
            raise _down(link)
        if "drop" in struck or link.troubled("incoming", "outgoing", "hang"):
            link.tally.hit("drop" if "drop" in struck else "hang" if link.troubled("hang") else "partition")
            check_timeout(timeout_s)
            await asyncio.sleep(timeout_s)
            return ()
        return await self._inner.probe(probe, timeout_s)

    def _struck(self, line: str) -> dict[str, Random]:
        fates = self._fates.get(line)
        if fates is None:
            fates = self._fates[line] = Fates(self._link.faults, line, self._link.strikes.note)
        struck = {} if self._link.calm else fates.next()
        self._link.strike(struck)
        return struck

    async def _asked(self, topic: str, request: Request, timeout_s: float, struck: dict[str, Random]) -> Response:
        link, tally = self._link, self._link.tally
        if link.troubled("disconnect"):
            raise _down(link)
        await link.flowing()
        await self._lost_if("outgoing")
        request_is_lost = "drop" in struck and struck["drop"].random() < 0.5
        if request_is_lost:
            tally.hit("drop")
            await link.nothing()
        if "reorder" in struck:
            tally.hit("reorder")
            await asyncio.sleep(between(link.faults.delay_s, struck["reorder"]))
        response = await self._inner.ask(topic, request, timeout_s)
        if "duplicate" in struck:
            tally.hit("duplicate")
            with contextlib.suppress(ParasyncError):
                await self._inner.ask(topic, request, timeout_s)
        if "delay" in struck:
            tally.hit("delay")
            await asyncio.sleep(between(link.faults.delay_s, struck["delay"]))
        await link.flowing()
        await self._lost_if("incoming")
        if "drop" in struck:
            tally.hit("drop")
            await link.nothing()
        if link.troubled("disconnect"):
            raise _down(link)
        return self._answered(response, struck)

    def _answered(self, response: Response, struck: dict[str, Random]) -> Response:
        tally = self._link.tally
        for kind in ("corrupt", "truncate"):
            if kind in struck:
                tally.hit("corrupt" if kind == "corrupt" else "truncate")
                raise DecodeError("got an answer that changed on the way: a fault")
        if "poison" in struck and isinstance(response, Answer):
            bad = [_poisoned(each, struck["poison"]) if isinstance(each, Envelope) else each for each in response.outcomes]
            if any(isinstance(each, Envelope) for each in bad):
                tally.hit("poison")
                return attrs.evolve(response, outcomes=tuple(bad))
        return response

    async def _lost_if(self, trouble: Direction) -> None:
        link = self._link
        if link.troubled(trouble):
            link.tally.hit("partition")
            await link.nothing()


def _poisoned(envelope: Envelope[object], chance: Random) -> Envelope[object]:
    """Like `poisoned`, but of the version that was answered: an authority that cannot encode it sends no other."""
    bad = poisoned(envelope, chance)
    return envelope if isinstance(bad, str) else attrs.evolve(bad, sequence=envelope.sequence)


def _down(link: Link) -> TransportError:
    link.tally.hit("disconnect")
    return TransportError("there is no connection to the bus now: a fault cut it")
