"""Where a transport is checked: its ends, what they have heard, and how to know that nothing more is under way.

Nothing is believed because some time has passed. Who says something waits until a *monitor*, a subscription of its own, has
heard it; and as the order of one key is kept, what was said before a *marker* has arrived everywhere when the marker has.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from typing import Any, Final, cast

import attrs

from parasync.errors import NoAuthorityError
from parasync.protocol import EncodedBody, Envelope, KeyPage, ListKeys, Probe, ProbeReply, Request, Response
from parasync.testing.conformance._clauses import TRANSPORT_CLAUSES, Clause
from parasync.testing.conformance._ends import MARKERS, TOPIC, Ends, Loss, envelope, is_marker
from parasync.testing.conformance._run import Check, broken, closer
from parasync.transports import AskTransport, Capabilities, SyncTransport, Unsubscribe

_WATCH: Final = "conformance:watch"
_PAUSE_S: Final = 0.001
_EXCUSED_S: Final = 0.5
_LONG_PAUSE_S: Final = 0.05
_WARM_UP: Final = ListKeys(prefix="is anybody there?")
_WARM_UPS: Final = 50
_PROBE_S: Final = 0.05


@attrs.define(eq=False)
class _Monitor:
    """A subscription that only listens for whether something has arrived."""

    name: str
    topical: bool
    heard: list[int] = attrs.Factory(list)

    def covers(self, key: str) -> bool:
        return key.partition(":")[0] == self.name if self.topical else key == self.name

    def heard_since(self, length: int, sequence: int) -> bool:
        return sequence in self.heard[length:]

    def heard_from(self, sequence: int) -> bool:
        return any(heard >= sequence for heard in self.heard)


class Bench:
    """One bus, freshly made, for one check.

    Args:
        ends: the two ends.
        claims: what is demanded of them.
        clause: the one that is checked.
        check: the check that is made.
        patience_s: how long anything may take that has to happen.
    """

    def __init__(self, ends: Ends, claims: Capabilities, clause: Clause, check: Check[Bench], patience_s: float) -> None:
        self.writer = ends.writer
        self.reader = ends.reader
        self.losses = ends.losses
        self.claims = claims
        self.clause = clause
        self.what = check.what
        self.patience_s = patience_s
        self.heard: list[Any] = []
        self._monitors: list[_Monitor] = []
        self._numbers = count(MARKERS)
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._disturbed = False
        self._excusable = "close" not in check.needs

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

    def begin(self) -> None:
        """Listen for losses that the check will not have made."""
        if not self.claims.lossless:
            for end in (self.writer, self.reader):
                end.subscribe(_WATCH, lambda _: None, self._interrupted)

    @property
    def excused(self) -> bool:
        """Whether the check may have failed since the bus has lost something in the midst of it, and has said so."""
        return self._disturbed and self._excusable

    async def suffer(self, lose: Loss, key: str) -> None:
        """Lose something on purpose, and wait until what is said after that arrives again."""
        self._excusable = False
        await lose(key)
        await self.quiet()
        self._excusable, self._disturbed = True, False

    def _interrupted(self, _: str) -> None:
        self._disturbed = True
        self.notice()

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

    def has_heard(self, what: tuple[Any, ...]) -> bool:
        """Whether somebody has noted this."""
        return what in self.heard

    def notice(self) -> None:
        """Something has happened that somebody may wait for; may be called on any thread."""
        if threading.get_ident() == self._thread:
            self._news.set()
        else:
            self._loop.call_soon_threadsafe(self._news.set)

    async def until(self, condition: Callable[[], object], within_s: float | None = None) -> bool:
        """Wait until something noticed makes the condition true; False when that took too long."""
        try:
            async with asyncio.timeout(self.patience_s if within_s is None else within_s) as deadline:
                while not condition():
                    if self.excused:  # what was lost does not come any more
                        deadline.reschedule(min(deadline.when() or 0.0, self._loop.time() + _EXCUSED_S))
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
            bus.subscribe_topic(name, hear, self._interrupted)
        else:
            bus.subscribe(name, hear, self._interrupted)
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
            if not await self.until(partial(monitor.heard_since, length, what.sequence)):
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
                if await self.until(partial(monitor.heard_from, first), pause_s):
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
