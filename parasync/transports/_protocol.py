"""The contract of transports: they carry envelopes, and decide nothing.

`parasync.testing.check_transport` checks what `SyncTransport` promises, clause by clause:

1. `publish` delivers once to every current subscriber of the key, in the order of subscription; to nobody, it does nothing.
2. A subscriber gets all that is published after it subscribed, and nothing older; nothing is validated or deduplicated.
3. The order of one publisher is kept for each key. What a handler publishes is delivered after that, to everyone.
4. `unsubscribe` is idempotent and takes effect at once, also in the middle of a delivery; a call that another thread began may
   finish. The same handler subscribed twice is two subscriptions, and each ends alone.
5. A handler that raises, `CancelledError` included, is reported and skipped; the others are served.
6. `key_count()` is the number of keys with a live subscriber.
7. `interrupted(reason)` is called in order with the envelopes whenever some may have been lost or could not be decoded, and
   once more when the transport is closed.
8. `subscribe_topic` delivers all objects of a topic, with a pattern at least those of the pattern, in one order.
9. An envelope arrives as it was published; only its `after` may be lower, where older ones of its key were left out on purpose.
10. Keys stay apart whatever they are made of. What is no key, no topic or no plain function is refused and leaves no trace.
11. Once a transport was closed, its functions raise `ClosedError` and no handler is called any more.
12. A transport that claims to be `lossless` delivers every envelope before `publish` returns.
13. The plain functions of one that claims `threads` may be called from any thread, and without an event loop.

Those that claim to `ask` promise with `AskTransport`:

14. A request reaches one of those who serve the topic, once, and the response reaches its asker; both arrive as they were sent.
15. Where nobody serves the topic, to ask is a `NoAuthorityError`; serving ends at once, and ending it again does nothing.
16. An error of parasync in a responder is answered as a `Refusal`; any other failure is a `TransportError` without its text.
17. Without an answer in time, to ask is an `AskTimeoutError`. An asker who waits no more does not stop the responder.
18. What an end asks after it subscribed is answered after the subscription took effect.
19. A probe reaches everybody who answers probes of the topic; who has nothing to say, or raises, is left out of the replies.
20. What was spawned, and asks that are under way, end with the transport at the latest.

Those that claim `beats` promise with `BeatTransport`:

21. A beat reaches all who subscribed to those of its topic, as it was made; what they do and where they end is as above.
22. A beat is made when it is sent: everything that was published before and is not named as waiting was sent before it.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, MutableMapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast, runtime_checkable
from weakref import WeakKeyDictionary

import attrs

from parasync.codec import Codec
from parasync.errors import UsageError
from parasync.protocol import AuthorityStatus, Beat, Envelope, Probe, ProbeReply, ReplicaStatus, Request, Response

Handler: TypeAlias = Callable[[Envelope[Any]], None]
"""Gets each envelope of one key. Runs on the publishing thread in process, in the loop of the bus otherwise; must not block."""
TopicHandler: TypeAlias = Callable[[str, Envelope[Any]], None]
"""Gets the key and the envelope of each object of one topic."""
Interrupted: TypeAlias = Callable[[str], None]
"""Gets the reason why envelopes may have been lost."""
Unsubscribe: TypeAlias = Callable[[], None]
"""Ends one subscription; may be called again."""
Responder: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Answers the requests of one topic; what it raises becomes a `Refusal` (an error of parasync) or a failed ask (any other)."""
ProbeResponder: TypeAlias = Callable[[Probe], ProbeReply | None]
"""Answers a probe, or has nothing to say; must not block."""

BeatHandler: TypeAlias = Callable[[Beat], None]
"""Gets each beat of one topic, where and as a `Handler` gets envelopes."""
BeatMaker: TypeAlias = Callable[[Collection[str]], Beat | None]
"""Makes a beat when it is its turn to be sent, or None for none. Gets the keys of which something still waits to be sent."""

StatusSource: TypeAlias = Callable[[], Iterator[AuthorityStatus | ReplicaStatus | None]]
"""Says how what a process serves or holds does; yields None now and then in between, where others may run meanwhile."""


@attrs.frozen
class Capabilities:
    """What a transport can promise beyond the contract.

    Args:
        lossless: every envelope reaches every subscriber, always, before `publish` returns.
        ordered: envelopes of one publisher arrive in its order.
        threads: every plain function may be called from any thread, and without an event loop.
        ask: it implements `AskTransport`.
        beats: it implements `BeatTransport`. Where nothing is ever lost, nobody beats, whatever this says.
    """

    lossless: bool
    ordered: bool
    threads: bool
    ask: bool
    beats: bool = False


def check_transport(transport: object) -> None:
    """Raise unless this can be a transport: the URL of a bus is none.

    Raises:
        UsageError: it has no capabilities.
    """
    if not isinstance(getattr(transport, "capabilities", None), Capabilities):
        got = "a class" if isinstance(transport, type) else f"a {type(transport).__name__}"
        raise UsageError(f"got {got} as transport, expected a bus: what connect(url) returns, or an InProcessTransport()")


@runtime_checkable
class SyncTransport(Protocol):
    """Carries envelopes from publishers to subscribers of a key. All methods are plain functions and never block."""

    @property
    def capabilities(self) -> Capabilities:
        """What this transport promises beyond the contract."""

    @property
    def codec(self) -> Codec:
        """Encodes and decodes bodies; what publishers and subscribers of one bus share."""

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        """Hand an envelope to every current subscriber of the key.

        Args:
            key: `topic` or `topic:id`.
            envelope: one version of the object.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            EncodeError: the envelope cannot be put on this bus; nothing was sent.
            ClosedError: the transport was closed.
            UsageError: called from another thread or loop than this transport allows.
        """

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        """Call `handler` with every envelope that is published for the key from now on.

        Args:
            key: `topic` or `topic:id`.
            handler: a plain function that gets each envelope; it must not block.
            interrupted: a plain function that gets a reason whenever messages may have been lost, in order with the envelopes.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: called from another thread or loop than this transport allows.
        """

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        """Call `handler` with every envelope of every object of the topic, all in one order.

        Args:
            topic: the name of the topic.
            handler: a plain function that gets key and envelope; it must not block.
            interrupted: as for `subscribe`.
            pattern: only the objects of this are wanted, e.g. `"user:eu:*"`; others may be delivered all the same.

        Raises:
            InvalidKeyError: the topic does not follow the grammar, or the pattern is not one of this topic.
            ClosedError: the transport was closed.
            UsageError: called from another thread or loop than this transport allows.
        """

    def key_count(self) -> int:
        """The number of keys (and topics) with at least one live subscriber."""


@runtime_checkable
class LimitedTransport(Protocol):
    """What a transport can tell before a write is stored, so that nothing is stored that cannot be sent. Optional."""

    @property
    def closed(self) -> bool:
        """Whether publishing would raise `ClosedError`."""

    @property
    def body_bytes_max(self) -> int:
        """The largest encoded value that fits into a message of this bus."""


@runtime_checkable
class AskTransport(Protocol):
    """The optional second half of a transport: replicas ask, authorities answer."""

    @property
    def loop(self) -> AbstractEventLoop | None:
        """The loop to which this transport is bound; None where any will do."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> Task[None]:
        """Run background work that ends with the transport at the latest. Called in the event loop of the transport.

        Args:
            work: the coroutine to run.
            name: of the task, for whoever looks at the tasks of a program.
        """

    def serve(self, topic: str, responder: Responder) -> Unsubscribe:
        """Answer the requests for a topic until the returned function is called. Called in an event loop.

        Args:
            topic: the name of the topic.
            responder: an async function from requests to responses.
        """

    def answer_probes(self, topic: str, responder: ProbeResponder) -> Unsubscribe:
        """Answer probes for a topic until the returned function is called.

        Args:
            topic: the name of the topic.
            responder: a plain function from probes to replies.
        """

    async def ask(self, topic: str, request: Request, timeout_s: float) -> Response:
        """Ask the authority of a topic.

        Args:
            topic: the name of the topic.
            request: what to ask.
            timeout_s: how long to wait for the answer, in seconds.

        Raises:
            NoAuthorityError: nobody serves the topic.
            AskTimeoutError: no answer within `timeout_s` seconds.
            DecodeError: what came back is not an answer.
            TransportError: the bus is not there.
            ClosedError: the transport was closed.
        """

    async def probe(self, probe: Probe, timeout_s: float) -> Sequence[ProbeReply]:
        """Ask everybody on the topic; collects for up to `timeout_s` seconds, returns early where all have answered.

        Args:
            probe: what to ask; it names the topic.
            timeout_s: how long to collect replies, in seconds.
        """


@runtime_checkable
class BeatTransport(Protocol):
    """The optional third part of a transport that may lose: authorities beat, so that replicas notice what was lost.

    Beats may get lost like envelopes, and nobody is told: the next one tells more. What cannot be decoded counts as lost.
    """

    def publish_beat(self, topic: str, make: BeatMaker) -> None:
        """Send a beat to everybody who listens to those of the topic, after what was published before.

        Where that has to wait, it is made when its turn has come; while there is no connection it may be left out.

        Args:
            topic: the name of the topic.
            make: makes the beat; a plain function that must not block.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: called from another thread or loop than this transport allows.
        """

    def subscribe_beats(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        """Call `handler` with every beat of the topic from now on.

        Args:
            topic: the name of the topic.
            handler: a plain function that gets each beat; it must not block.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: called from another thread or loop than this transport allows.
        """


def asks_over(transport: SyncTransport) -> AskTransport | None:
    """The transport, if it asks."""
    return bus_of(transport) if transport.capabilities.ask else None


def bus_of(transport: SyncTransport) -> AskTransport | None:
    """The transport, if it has what asking takes, e.g. a loop; whether it does ask, its capabilities say."""
    # To look at all members of a protocol takes long, and every replica asks this.
    kind = type(transport)
    asks = _asking.get(kind)
    if asks is None:
        asks = _asking[kind] = isinstance(transport, AskTransport)
    return cast("AskTransport", transport) if asks else None


_asking: Final[MutableMapping[type, bool]] = WeakKeyDictionary()
@runtime_checkable
class StatusTransport(Protocol):
    """The optional fourth part of a transport: processes tell an onlooker who they are, and how they do."""

    def answer_status(self, source: StatusSource) -> Unsubscribe:
        """Tell whoever asks, now and then, what this source says, until the returned function is called.

        Args:
            source: makes a new iterator each time.
        """


def beats_over(transport: SyncTransport) -> BeatTransport | None:
    """The transport, if authorities beat over it: it can carry beats, and may lose what it carries."""
    can = transport.capabilities.beats and not transport.capabilities.lossless
    return transport if can and isinstance(transport, BeatTransport) else None
