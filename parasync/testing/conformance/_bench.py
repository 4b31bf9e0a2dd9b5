"""Where a transport is checked: its ends, what they have heard, and how to know that nothing more is under way.

Nothing here waits for time to pass. Who says something waits until a *monitor*, a subscription of its own, has heard it; and as
the order of one key is kept, what was said before a *marker* has arrived everywhere when the marker has.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Final, TypeAlias, cast

import attrs

from parasync.errors import NoAuthorityError
from parasync.protocol import EPOCH_BITS, EncodedBody, Envelope, KeyPage, ListKeys, Probe, ProbeReply, Request, Response
from parasync.testing.conformance._clauses import TRANSPORT_CLAUSES, Clause
from parasync.testing.conformance._run import broken, closer
from parasync.transports import AskTransport, Capabilities, SyncTransport, Unsubscribe

TOPIC: Final = "topic"
KEY: Final = "topic:1"
OTHER_KEY: Final = "topic:2"
KEY_IN_OTHER_TOPIC: Final = "other:1"
EPOCH: Final = 1_700_000_000 << EPOCH_BITS
"""Of the size of a real one, and not ahead of any clock."""

Loss: TypeAlias = Callable[[str], Awaitable[None]]
"""Gets a key, and makes the reader lose something that is said of it, or hear what it cannot decode."""

_MARKERS: Final = 1 << 40
_PAUSE_S: Final = 0.001
_LONG_PAUSE_S: Final = 0.05
_WARM_UP: Final = ListKeys(prefix="is anybody there?")
_WARM_UPS: Final = 50
_PROBE_S: Final = 0.05


@attrs.frozen
class Ends:
    """Two ends of one bus, as a factory may yield them.

    Args:
        writer: publishes and asks.
        reader: subscribes and serves; may be the writer itself.
        losses: functions that make the reader lose something that is said of a key, or hear what it cannot decode; such as a
            cut connection, or a malformed message. Without any, clause 7 is not checked on a transport that may lose.
    """

    writer: SyncTransport
    reader: SyncTransport
    losses: tuple[Loss, ...] = ()


def envelope(sequence: int, value: Any = None) -> Envelope[Any]:
    """An envelope whose value nobody looks at."""
    return Envelope({"n": sequence} if value is None else value, "1.0", sequence)


def is_marker(what: object) -> bool:
    """Whether this is one of those that only monitors hear."""
    return isinstance(what, Envelope) and what.sequence >= _MARKERS


@attrs.define(eq=False)
class _Monitor:
    """A subscription that only listens for whether something has arrived."""

    name: str
    topical: bool
    heard: list[int] = attrs.Factory(list)

    def covers(self, key: str) -> bool:
        return key.partition(":")[0] == self.name if self.topical else key == self.name


class Bench:
    """One bus, freshly made, for one check.

    Args:
        ends: the two ends.
        claims: what is demanded of them.
        clause: the one that is checked.
        what: what the check looks for.
        patience_s: how long anything may take that has to happen.
    """

    def __init__(self, ends: Ends, claims: Capabilities, clause: Clause, what: str, patience_s: float) -> None:
        self.writer = ends.writer
        self.reader = ends.reader
        self.losses = ends.losses
        self.claims = claims
        self.clause = clause
        self.what = what
        self.patience_s = patience_s
        self.heard: list[Any] = []
        self._monitors: list[_Monitor] = []
        self._numbers = count(_MARKERS)
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    @property
    def name(self) -> str:
        """What is checked, and what it claims."""
        claimed = [name for name, claims in attrs.asdict(self.claims).items() if claims]
        return f"{type(self.reader).__name__} ({', '.join(claimed) or 'claims nothing'})"

    @property
    def asker(self) -> AskTransport:
        """The writer, as one that can ask."""
        return cast("AskTransport", self.writer)

    @property
    def server(self) -> AskTransport:
        """The reader, as one that can be asked."""
        return cast("AskTransport", self.reader)

    def lacks(self, needs: tuple[str, ...]) -> str:
        """Why a check with these needs is not demanded; "" where it is."""
        for need in needs:
            if need == "losses":
                if not self.losses and not self.claims.lossless:
                    return "the factory names no way to lose anything"
            elif need == "close":
                if closer(self.reader) is None:
                    return "the transport has neither aclose nor close"
            elif not getattr(self.claims, need):
                return f"the transport does not claim {need}"
        return ""

    def expect(self, got: object, expected: object) -> None:
        """Demand that both are equal."""
        if got != expected:
            raise broken(self.clause, got, expected, self.what)

    async def must_raise(self, error: type[Exception], what: str, call: Awaitable[object]) -> None:
        """Demand that something awaited raises this error."""
        try:
            await call
        except error:
            return
        except Exception as other:
            raise broken(self.clause, f"{type(other).__name__} from {what}", error.__name__, self.what) from other
        raise broken(self.clause, f"no error from {what}", error.__name__, self.what)

    def note(self, name: str) -> Callable[..., None]:
        """A handler, or an `interrupted`, that notes who heard which sequences of which keys; reasons are not compared."""

        def handler(*what: Any) -> None:
            if not is_marker(what[-1]):
                sequence = () if isinstance(what[-1], str) else (what[-1].sequence,)
                self.heard.append((name, *what[:-1], *sequence))
                self.notice()

        return handler

    def notice(self) -> None:
        """Something has happened that somebody may wait for; may be called on any thread."""
        if threading.get_ident() == self._thread:
            self._news.set()
        else:
            self._loop.call_soon_threadsafe(self._news.set)

    async def until(self, condition: Callable[[], object], within_s: float | None = None) -> bool:
        """Wait until something noticed makes the condition true; False when that took too long."""
        try:
            async with asyncio.timeout(self.patience_s if within_s is None else within_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return bool(condition())
        return True

    async def demand(self, condition: Callable[[], object], got: Callable[[], object], expected: str) -> None:
        """Wait until something is so that the clause demands."""
        if not await self.until(condition):
            raise broken(self.clause, got(), f"{expected}, within {self.patience_s:g} s", self.what)

    async def join(self, name: str, *, end: SyncTransport | None = None, topical: bool = False) -> None:
        """Wait until all subscriptions of a key (or topic) that an end has made have taken effect; hear there what is said."""
        bus = self.reader if end is None else end
        monitor = _Monitor(name, topical)

        def hear(*what: Any) -> None:
            monitor.heard.append(what[-1].sequence)
            self.notice()

        if topical:
            bus.subscribe_topic(name, hear)
        else:
            bus.subscribe(name, hear)
        self._monitors.append(monitor)
        await self.quiet()

    async def say(self, key: str, *sequences: int, clause: int = 1) -> None:
        """Publish one after the other, each when the one before was heard. `clause` is broken if one is not heard."""
        for sequence in sequences:
            await self.publish(key, envelope(sequence), clause=clause)

    async def publish(self, key: str, what: Envelope[Any], *, clause: int = 1) -> None:
        """Publish, and wait until that was heard wherever somebody listens."""
        since = [(monitor, len(monitor.heard)) for monitor in self._monitors if monitor.covers(key)]
        self.writer.publish(key, what)
        for monitor, length in since:
            if not await self.until(lambda m=monitor, n=length: what.sequence in m.heard[n:]):  # type: ignore[misc]
                self._unheard(monitor, f"the envelope with sequence {what.sequence}", clause)

    async def quiet(self) -> None:
        """Wait until all that was said before has arrived, and every subscription that was made before has taken effect."""
        for monitor in self._monitors:
            first = next(self._numbers)
            pause_s, waited_s = _PAUSE_S, 0.0
            key = f"{monitor.name}:marker" if monitor.topical else monitor.name
            number = first
            while True:
                self.writer.publish(key, envelope(number))
                if await self.until(lambda m=monitor, n=first: any(heard >= n for heard in m.heard), pause_s):  # type: ignore[misc]
                    break
                waited_s += pause_s
                if waited_s > self.patience_s:
                    self._unheard(monitor, "any envelope")
                pause_s = min(2 * pause_s, _LONG_PAUSE_S)
                number = next(self._numbers)

    def _unheard(self, monitor: _Monitor, what: str, clause: int = 1) -> None:
        name = f"{'topic' if monitor.topical else 'key'} {monitor.name!r}"
        due = f"{what} at every subscriber of the {name}, within {self.patience_s:g} s"
        raise broken(TRANSPORT_CLAUSES[clause], "nothing", due, self.what)

    async def serve(self, responder: Callable[[Request], Awaitable[Response]]) -> Unsubscribe:
        """Serve the topic at the reader, and wait until the writer can ask there."""
        reached = False

        async def respond(request: Request) -> Response:
            nonlocal reached
            if request == _WARM_UP:
                reached = True
                return KeyPage(1, (), (), False)
            return await responder(request)

        stop = self.server.serve(TOPIC, respond)
        asked = 0
        try:
            async with asyncio.timeout(self.patience_s):
                while not reached and asked < _WARM_UPS:  # others may answer in its place, for ever
                    try:
                        await self.asker.ask(TOPIC, _WARM_UP, self.patience_s)
                        asked += 1
                    except NoAuthorityError:
                        await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            due = f"an answer to the first request, within {self.patience_s:g} s"
            raise broken(TRANSPORT_CLAUSES[14], "nothing", due, self.what) from None
        return stop

    async def answer_probes(self, *responders: Callable[[Probe], ProbeReply | None]) -> list[Unsubscribe]:
        """Answer probes at the reader with each of them, and wait until the writer reaches all."""
        reached: set[int] = set()

        def answering(number: int, responder: Callable[[Probe], ProbeReply | None]) -> Callable[[Probe], ProbeReply | None]:
            def respond(probe: Probe) -> ProbeReply | None:
                if probe.sender == "warm-up":
                    reached.add(number)
                    return None
                return responder(probe)

            return respond

        stops = [self.server.answer_probes(TOPIC, answering(*each)) for each in enumerate(responders)]
        for _ in range(_WARM_UPS):
            if len(reached) == len(responders):
                break
            await self.asker.probe(Probe(TOPIC, 1, False, "warm-up"), _PROBE_S)
        return stops

    def value_of(self, what: Envelope[Any]) -> Any:
        """The value, decoded where it came as bytes."""
        return self.reader.codec.decode_body(what.value) if isinstance(what.value, EncodedBody) else what.value
