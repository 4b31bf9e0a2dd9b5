"""Transports that are broken in one way each, and the two good ones that they are made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from inspect import iscoroutinefunction
from threading import get_ident
from typing import Any

import attrs

from parasync import Capabilities, Envelope, InProcessTransport
from parasync.errors import AskTimeoutError, ClosedError, InvalidKeyError, NoAuthorityError, TransportError, UsageError
from parasync.protocol import Beat, Probe, ProbeReply, Request, Response, check_topic
from parasync.testing import Ends
from parasync.transports import (
    BeatHandler,
    BeatMaker,
    Handler,
    Interrupted,
    ProbeResponder,
    Responder,
    TopicHandler,
    Unsubscribe,
)


class QueuedTransport(InProcessTransport):
    """A good transport that is neither lossless nor of use in threads: it delivers later, and may be made to lose."""

    capabilities = Capabilities(lossless=False, ordered=True, threads=False, ask=True)

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[str, Callable[[], None]]] = []

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        self._fanout.merge(key)  # refuses what cannot be published
        self.later(key, partial(super().publish, key, envelope))

    def later(self, key: str, deliver: Callable[[], None]) -> None:
        if not self.waiting:
            asyncio.get_running_loop().call_soon(self.deliver)
        self.waiting.append((key, deliver))

    def deliver(self) -> None:
        waiting = list(self.waiting)
        self.waiting.clear()
        for _, deliver in self.order(waiting):
            if not self.closed:
                deliver()

    def order(self, waiting: list[tuple[str, Callable[[], None]]]) -> list[tuple[str, Callable[[], None]]]:
        return waiting

    def interrupt(self, reason: str) -> None:
        self._fanout.deliver(self._fanout.everyone(), None, reason)

    async def malformed(self, key: str) -> None:
        self.later(key, lambda: self.interrupt("malformed"))

    async def reconnect(self, key: str) -> None:
        self.waiting.clear()
        self.later(key, lambda: self.interrupt("reconnected"))


def lossy(cls: type[QueuedTransport]) -> Callable[[], Any]:
    """The factory for a queued transport."""

    @asynccontextmanager
    async def ends() -> Any:
        async with cls() as bus:
            yield Ends(bus, bus, losses=(bus.malformed, bus.reconnect))

    return ends


class LinkedTransport(InProcessTransport):
    """A good transport of which several ends are one bus, and which cannot be asked."""

    capabilities = Capabilities(lossless=True, ordered=True, threads=True, ask=False)

    def __init__(self, others: list[LinkedTransport] | None = None) -> None:
        super().__init__()
        self.shut = False
        self.ends = [] if others is None else others
        self.ends.append(self)

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        self.check()
        return super().subscribe(key, handler, interrupted)

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        self.check()
        return super().subscribe_topic(topic, handler, interrupted, pattern=pattern)

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        self.check()
        for end in self.ends:
            if not end.closed:
                InProcessTransport.publish(end, key, envelope)

    def check(self) -> None:
        if self.shut or self.closed:
            raise ClosedError("closed")


def linked(cls: type[LinkedTransport]) -> Callable[[], Any]:
    """The factory for two ends of a linked transport."""

    def ends() -> tuple[LinkedTransport, LinkedTransport]:
        writer = cls()
        return writer, cls(writer.ends)

    return ends


class DropsTheLast(InProcessTransport):
    """Clause 1: what is published is kept until something follows."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[str, Envelope[Any]] = {}

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        super().publish(key, self.kept.pop(key, envelope))
        self.kept[key] = envelope


class DeliversTwice(InProcessTransport):
    """Clause 1."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        super().publish(key, envelope)
        super().publish(key, envelope)


class ServesTheLastFirst(InProcessTransport):
    """Clause 1: in the reverse order of subscription."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        self._fanout.deliver(tuple(reversed(self._fanout.merge(key))), key, envelope)


class Retains(InProcessTransport):
    """Clause 2: a new subscriber hears the last envelope of its key."""

    def __init__(self) -> None:
        super().__init__()
        self.last: dict[str, Envelope[Any]] = {}

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        self.last[key] = envelope
        super().publish(key, envelope)

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        unsubscribe = super().subscribe(key, handler, interrupted)
        if key in self.last:
            handler(self.last[key])
        return unsubscribe


class DropsWhatIsNotNewer(InProcessTransport):
    """Clause 2: it dedupes."""

    def __init__(self) -> None:
        super().__init__()
        self.newest: dict[str, int] = {}

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        if envelope.sequence > self.newest.get(key, 0):
            self.newest[key] = envelope.sequence if envelope.sequence < 1 << 40 else 0
            super().publish(key, envelope)


class Reorders(QueuedTransport):
    """Clause 3: what waits for the same key arrives the other way round."""

    def order(self, waiting: list[tuple[str, Callable[[], None]]]) -> list[tuple[str, Callable[[], None]]]:
        turned = {key: [deliver for other, deliver in waiting if other == key] for key, _ in waiting}
        return [(key, turned[key].pop()) for key, _ in waiting]


class DeliversInTheMiddle(InProcessTransport):
    """Clause 3: what a handler publishes overtakes the delivery that is under way."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        for sub in self._fanout.merge(key):
            if sub.handler is not None:
                with suppress(BaseException):
                    sub.handler(*((key, envelope) if sub.topical else (envelope,)))


class CallsWhoHasLeft(InProcessTransport):
    """Clause 4: in the middle of a delivery, who was unsubscribed is still called."""

    def __init__(self) -> None:
        super().__init__()
        self.leaving: list[Unsubscribe] = []

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        super().publish(key, envelope)
        if get_ident() not in self._fanout._turns:
            while self.leaving:
                self.leaving.pop()()

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        end = super().subscribe(key, handler, interrupted)
        return lambda: self.leaving.append(end) if get_ident() in self._fanout._turns else end()


class LosesTheSecondOfTwo(InProcessTransport):
    """Clause 4: the same handler twice is one subscription."""

    def __init__(self) -> None:
        super().__init__()
        self.subscribed: dict[tuple[str, Handler], Unsubscribe] = {}

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        known = self.subscribed.get((key, handler))
        if known is not None:
            return known
        end = super().subscribe(key, handler, interrupted)
        self.subscribed[key, handler] = end

        def unsubscribe() -> None:
            self.subscribed.pop((key, handler), None)
            end()

        return unsubscribe


class EndsALaterOne(InProcessTransport):
    """Clause 4: to unsubscribe again removes the next subscription of the handler."""

    def __init__(self) -> None:
        super().__init__()
        self.subscribed: dict[tuple[str, Handler], list[Unsubscribe]] = {}

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        ends = self.subscribed.setdefault((key, handler), [])
        ends.append(super().subscribe(key, handler, interrupted))
        return lambda: ends.pop(0)() if ends else None


class StopsAtWhoRaises(InProcessTransport):
    """Clause 5: who comes after a handler that raises is not served."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        stopped = False

        def guarded(handler: Callable[..., None], *what: Any) -> None:
            nonlocal stopped
            if not stopped:
                try:
                    handler(*what)
                except BaseException:
                    stopped = True

        targets = self._fanout.merge(key)
        proxies = []
        for sub in targets:
            proxy = type(sub)(sub.name, lambda *what, s=sub: s.handler and guarded(s.handler, *what), None, sub.topical)
            proxies.append(proxy)
        self._fanout.deliver(tuple(proxies), key, envelope)


class LetsAHandlerRaise(InProcessTransport):
    """Clause 5: what a handler raises comes out of `publish`."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        raised: list[BaseException] = []

        def guarded(sub: Any, *what: Any) -> None:
            try:
                if sub.handler is not None:
                    sub.handler(*what)
            except BaseException as error:
                raised.append(error)

        subs = [sub for sub in self._fanout.merge(key) if sub.handler is not None]
        self._fanout.deliver(tuple(type(sub)(key, partial(guarded, sub), None, sub.topical) for sub in subs), key, envelope)
        if raised:
            raise raised[-1]


class CountsSubscriptions(InProcessTransport):
    """Clause 6: counts subscribers instead of keys."""

    def key_count(self) -> int:
        return len(self._fanout.everyone())


class NeverForgetsAKey(InProcessTransport):
    """Clause 6: the count does not return."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        end = super().subscribe(key, handler, interrupted)
        self.seen.add(key)
        return end

    def key_count(self) -> int:
        return 0 if self.closed else len(self.seen | set(self._fanout.keys)) + len(self._fanout.topics)


class HidesMalformed(QueuedTransport):
    """Clause 7: never interrupts for what it could not decode."""

    async def malformed(self, key: str) -> None:
        assert key


class HidesReconnects(QueuedTransport):
    """Clause 7: never interrupts for a connection that was lost."""

    async def reconnect(self, key: str) -> None:
        self.waiting.clear()


class InterruptsTooLate(QueuedTransport):
    """Clause 7: what was said after a loss arrives before the news of it."""

    async def malformed(self, key: str) -> None:
        asyncio.get_running_loop().call_later(0.01, self.interrupt, "malformed")


class InterruptsWhoHasLeft(QueuedTransport):
    """Clause 7: tells those too who were unsubscribed."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Interrupted] = []

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        self.told += [interrupted] if interrupted is not None else []
        return super().subscribe(key, handler)

    def interrupt(self, reason: str) -> None:
        super().interrupt(reason)
        for interrupted in self.told:
            interrupted(reason)

    def close(self) -> None:
        if not self.closed:
            self.interrupt("closed")
        super().close()


class InterruptsAtRandom(InProcessTransport):
    """Clause 7: claims to lose nothing, and says that it may have."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        super().publish(key, envelope)
        self._fanout.deliver(self._fanout.everyone(), None, "who knows")


class ClosesSilently(InProcessTransport):
    """Clause 7: nobody is told of the end."""

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        return super().subscribe(key, handler)


class TurnsTopicsRound(QueuedTransport):
    """Clause 8: the order of the objects of a topic is not that of the publisher."""

    def order(self, waiting: list[tuple[str, Callable[[], None]]]) -> list[tuple[str, Callable[[], None]]]:
        keys = list(dict.fromkeys(key for key, _ in waiting))
        return [each for key in reversed(keys) for each in waiting if each[0] == key]


class ForgetsTheOneObject(InProcessTransport):
    """Clause 8: the object of a topic that has no id is missing."""

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        def hear(key: str, what: Envelope[Any]) -> None:
            if key != topic:
                handler(key, what)

        heard = hear if not iscoroutinefunction(handler) else handler
        return super().subscribe_topic(topic, heard, interrupted, pattern=pattern)


class TakesPatternsTooLiterally(InProcessTransport):
    """Clause 8: of a pattern, it leaves out what lies deeper."""

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        def hear(key: str, what: Envelope[Any]) -> None:
            if pattern is None or key.count(":") == pattern.count(":"):
                handler(key, what)

        heard = hear if not iscoroutinefunction(handler) else handler
        return super().subscribe_topic(topic, heard, interrupted, pattern=pattern)


class BelievesAnyPattern(InProcessTransport):
    """Clause 10: it takes a pattern of another topic."""

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        return super().subscribe_topic(topic, handler, interrupted)


class ChangesWhatIsPublished(InProcessTransport):
    """Clause 9: it signs the envelopes of its users."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        envelope.meta = {**envelope.meta, "sent_by": "me"}
        super().publish(key, envelope)


class LosesMeta(InProcessTransport):
    """Clause 9: what rides along gets lost."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        super().publish(key, attrs.evolve(envelope, meta={}))


class IgnoresCase(InProcessTransport):
    """Clause 10: two keys are one."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        super().publish(key.lower(), envelope)

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        return super().subscribe(key.lower(), handler, interrupted)


class TakesAnyKey(InProcessTransport):
    """Clause 10: nothing is refused."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        try:
            super().publish(key, envelope)
        except InvalidKeyError:
            return


class SwallowsClosed(InProcessTransport):
    """Clause 11: publishes into the void."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        try:
            super().publish(key, envelope)
        except ClosedError:
            return


class DeliversAfterTheEnd(LinkedTransport):
    """Clause 11: an end that was closed goes on hearing what the others say."""

    def close(self) -> None:
        if not self.shut:
            self.shut = True
            self._fanout.deliver(self._fanout.everyone(), None, "closed")

    async def aclose(self) -> None:
        self.close()


class ClaimsTooMuch(QueuedTransport):
    """Clause 12: delivers later, and claims to be lossless."""

    capabilities = Capabilities(lossless=True, ordered=True, threads=False, ask=True)


class NeedsItsLoop(QueuedTransport):
    """Clause 13: claims threads, and needs a loop."""

    capabilities = Capabilities(lossless=False, ordered=True, threads=True, ask=True)


class AsksEverybody(InProcessTransport):
    """Clause 14: a request is made twice."""

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        await super().ask(topic, request, timeout_s)
        return await super().ask(topic, request, timeout_s)


class MixesAnswersUp(InProcessTransport):
    """Clause 14: of askers at the same time, each gets the answer of another."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Response] = []
        self.under_way = 0

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        self.under_way += 1
        try:
            self.answers.append(await super().ask(topic, request, timeout_s))
            for _ in range(5 if self.under_way > 1 else 0):
                await asyncio.sleep(0)
            return self.answers.pop()
        finally:
            self.under_way -= 1


class WaitsForNobody(InProcessTransport):
    """Clause 15: where nobody serves, it times out."""

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        try:
            return await super().ask(topic, request, timeout_s)
        except NoAuthorityError:
            raise AskTimeoutError("got no answer", timeout_s) from None


class ServesForEver(InProcessTransport):
    """Clause 15: serving does not end."""

    def serve(self, topic: str, responder: Responder) -> Unsubscribe:
        super().serve(topic, responder)
        return lambda: None


class RaisesWhatTheAuthorityRaised(InProcessTransport):
    """Clause 16: the error of a responder comes out at its asker as it is."""

    def serve(self, topic: str, responder: Responder) -> Unsubscribe:
        self.failure: BaseException | None = None

        async def respond(request: Request) -> Response:
            try:
                return await responder(request)
            except BaseException as error:
                self.failure = error
                raise

        return super().serve(topic, respond)

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        answer = await super().ask(topic, request, timeout_s)
        if self.failure is not None:
            raise self.failure
        return answer


class StopsTheResponder(InProcessTransport):
    """Clause 17: the responder is cancelled with its asker."""

    def serve(self, topic: str, responder: Responder) -> Unsubscribe:
        self.responding: set[asyncio.Task[Any]] = set()

        async def respond(request: Request) -> Response:
            task = asyncio.current_task()
            assert task is not None
            self.responding.add(task)
            try:
                return await responder(request)
            finally:
                self.responding.discard(task)

        return super().serve(topic, respond)

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        try:
            return await super().ask(topic, request, timeout_s)
        except (asyncio.CancelledError, AskTimeoutError):
            for task in self.responding:
                task.cancel()
            raise


class SubscribesLater(InProcessTransport):
    """Clause 18: a subscription takes effect some time after it was made."""

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        effective = False

        def begin(turns: int) -> None:
            nonlocal effective
            if turns:
                asyncio.get_running_loop().call_soon(begin, turns - 1)
            else:
                effective = True

        try:
            begin(50)
        except RuntimeError:
            effective = True
        def hear(what: Envelope[Any]) -> None:
            if effective:
                handler(what)

        return super().subscribe(key, hear if not iscoroutinefunction(handler) else handler, interrupted)


class HearsOneReply(InProcessTransport):
    """Clause 19: the first reply to a probe is the only one."""

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        return list(await super().probe(probe, timeout_s))[:1]


class ProbesOne(InProcessTransport):
    """Clause 19: the last who answers probes is the only one who is probed."""

    def answer_probes(self, topic: str, responder: ProbeResponder) -> Unsubscribe:
        self._asks._probers.pop(topic, None)
        return super().answer_probes(topic, responder)


class LeavesWorkBehind(InProcessTransport):
    """Clause 20: what was spawned outlives the transport."""

    def spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        if self.closed:
            work.close()
            raise ClosedError("closed")
        return asyncio.create_task(work, name=name)


class LeavesAsksWaiting(InProcessTransport):
    """Clause 20: who asks when the transport is closed, waits on."""

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        began_open = not self.closed
        try:
            return await super().ask(topic, request, timeout_s)
        except ClosedError:
            if began_open:
                await asyncio.Event().wait()
            raise


class NeedsAnAudience(InProcessTransport):
    """Clause 1: refuses to publish to nobody."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        if not self._fanout.merge(key):
            raise LookupError("nobody listens")
        super().publish(key, envelope)


class RemembersWhoListened(QueuedTransport):
    """Clause 4: delivers to those who were there when it was published, whoever has left since."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        for sub in self._fanout.merge(key):
            what = (key, envelope) if sub.topical else (envelope,)
            self.later(key, partial(guarded, sub.handler, *what))


def guarded(handler: Callable[..., None], *what: Any) -> None:
    with suppress(BaseException):
        handler(*what)


class EndsAKeyWithItsTopic(InProcessTransport):
    """Clause 8: who leaves a topic takes a subscriber of one of its keys along."""

    def __init__(self) -> None:
        super().__init__()
        self.subscribed: list[tuple[str, Unsubscribe]] = []

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        end = super().subscribe(key, handler, interrupted)
        self.subscribed.append((key, end))
        return end

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        end = super().subscribe_topic(topic, handler, interrupted, pattern=pattern)

        def unsubscribe() -> None:
            end()
            for key, end_key in self.subscribed[:1]:
                if key.startswith(f"{topic}:"):
                    end_key()

        return unsubscribe


class TakesCoroutines(InProcessTransport):
    """Clause 10: takes a coroutine function as handler, and never awaits it."""

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        return super().subscribe(key, lambda envelope: handler(envelope), interrupted)  # noqa: PLW0108


class AsksAnyTopic(InProcessTransport):
    """Clause 10: what is no topic is one that nobody serves."""

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        try:
            return await super().ask(topic, request, timeout_s)
        except InvalidKeyError:
            raise NoAuthorityError("nobody serves that") from None


class AsksAfterTheEnd(InProcessTransport):
    """Clause 11: closed, it finds nobody instead of saying so."""

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        if self.closed:
            raise NoAuthorityError("nobody serves that")
        return await super().ask(topic, request, timeout_s)


class TellsEverything(InProcessTransport):
    """Clause 16: the text of the error of a responder reaches its asker."""

    text = ""

    def serve(self, topic: str, responder: Responder) -> Unsubscribe:
        async def respond(request: Request) -> Response:
            try:
                return await responder(request)
            except Exception as error:
                self.text = str(error)
                raise

        return super().serve(topic, respond)

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        try:
            return await super().ask(topic, request, timeout_s)
        except TransportError as error:
            raise type(error)(f"{error}: {self.text}") from None


class TakesAnyTimeout(InProcessTransport):
    """Clause 17: what is no time has passed at once."""

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        try:
            return await super().ask(topic, request, timeout_s)
        except InvalidKeyError:
            raise
        except UsageError as error:
            raise error if self.closed else AskTimeoutError("too late") from None


class ChokesOnObjects(InProcessTransport):
    """Clause 9: what cannot be encoded is an error of its encoder."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        if type(envelope.value) is object:
            raise TypeError("cannot serialize")
        super().publish(key, envelope)


class LooksOpen(LinkedTransport):
    """Clause 11: closed, it says that it is not."""

    @property
    def closed(self) -> bool:
        return False


class BeatsToOne(InProcessTransport):
    """Clause 21: of all who listen to the beats of a topic, the last hears them."""

    def subscribe_beats(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        self._beats._fanout.keys.pop(topic, None)
        return super().subscribe_beats(topic, handler)


class MixesTopicsOfBeats(InProcessTransport):
    """Clause 21: whoever listens to any beats hears those of all topics."""

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        self._beats.check(topic)
        beat = make(())
        for each in list(self._beats._fanout.keys) if beat is not None else []:
            super().publish_beat(each, lambda _: beat)


class ChangesBeats(InProcessTransport):
    """Clause 21: what a beat names is lost."""

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        def made(waiting: Any) -> Beat | None:
            beat = make(waiting)
            return None if beat is None else attrs.evolve(beat, named={})

        super().publish_beat(topic, made)


class BeatsToWhoHasLeft(InProcessTransport):
    """Clause 21: the beats of a topic are heard for ever."""

    def subscribe_beats(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        super().subscribe_beats(topic, handler)
        return lambda: None


class StopsAtWhoRaisesAtABeat(InProcessTransport):
    """Clause 21: those behind a handler that raises hear no beat."""

    def subscribe_beats(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        def hear(beat: Beat) -> None:
            if not self.raised:
                try:
                    handler(beat)
                except ValueError:
                    self.raised = True

        return super().subscribe_beats(topic, hear) if iscoroutinefunction(handler) is False else self.refuse()

    raised = False

    def refuse(self) -> Unsubscribe:
        raise UsageError("got a coroutine function")


class TakesAnyBeat(InProcessTransport):
    """Clause 21: the beats of what is no topic are taken."""

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        with suppress(InvalidKeyError):
            super().publish_beat(topic, make)


class TakesBeatsAfterTheEnd(InProcessTransport):
    """Clause 21: a closed transport takes beats."""

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        check_topic(topic)
        with suppress(ClosedError):
            super().publish_beat(topic, make)


class BeatsTooEarly(QueuedTransport):
    """Clause 22: a beat overtakes what was published before, which then waits for long, and nobody says so."""

    capabilities = Capabilities(lossless=False, ordered=True, threads=False, ask=True, beats=True)
    late = False

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        super().publish_beat(topic, make)
        self.late = True

    def deliver(self) -> None:
        if self.late and self.waiting:
            self.late = False
            asyncio.get_running_loop().call_later(2.0, self.deliver)
        else:
            super().deliver()
