"""What happens inside a NATS transport: receiving, publishing, and what becomes of both when the connection comes and goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from threading import get_ident
from typing import Any, Final
from weakref import WeakSet

from nats.errors import SlowConsumerError

from parasync.codec import FRAME_OVERHEAD_BYTES_MAX, Codec
from parasync.errors import ClosedError, ConnectError, ParasyncError, TransportError, UsageError
from parasync.protocol import Envelope
from parasync.transports._fanout import Fanout, report
from parasync.transports._nats_asks import NatsAsks
from parasync.transports._nats_beats import NatsBeats
from parasync.transports._nats_diagnosis import denial, diagnosed
from parasync.transports._nats_exchange import Exchange, Place
from parasync.transports._nats_guard import Guard
from parasync.transports._nats_link import DISCARD_TIMEOUT_S, Link, LinkOptions
from parasync.transports._nats_receiver import KEYS_CACHED_MAX, Receiver
from parasync.transports._nats_refusals import Refusals
from parasync.transports._nats_socket import Address
from parasync.transports._nats_stats import NatsStats
from parasync.transports._nats_status import NatsStatus
from parasync.transports._nats_wire import Wire
from parasync.transports._outbox import Outbox
from parasync.transports._protocol import Unsubscribe
from parasync.transports._subjects import SubjectMap, check_subject
from parasync.transports._tasks import current_loop

_log: Final = logging.getLogger("parasync")
_sessions: Final[WeakSet[Session]] = WeakSet()


class Session:
    """Connects the fan-out, the wire and the guard. Used in one loop only.

    Args:
        servers: where to connect.
        options: how to introduce ourselves.
        subjects: which subject carries what.
        codec: how envelopes become frames.
        outbox: what waits to be sent.
        wildcards: topics and patterns of which one subscription brings all keys.
        guard_options: the rest of what `Guard` takes.
    """

    def __init__(
        self,
        servers: Iterable[Address],
        options: LinkOptions,
        subjects: SubjectMap,
        codec: Codec,
        outbox: Outbox,
        wildcards: Iterable[str],
        **guard_options: Any,
    ) -> None:
        self._reconnects = 0
        self.last_error: ParasyncError | None = None
        self.fanout = Fanout(self._emptied)
        self.wire = Wire(outbox)
        self._receiver = Receiver(self.fanout, subjects, codec)
        self._exchange = Exchange(self.wire, self.fanout, self._receiver, subjects, wildcards)
        self.beats = NatsBeats(self.wire, subjects, codec, self.in_loop)
        self.asks = NatsAsks(self.wire, subjects, codec, options.inbox_prefix, self._why_down)
        self.status = NatsStatus(self.wire, self.asks, subjects, codec)
        self._guard = Guard(
            servers, options, up=self._connected, down=self._disconnected, noticed=self._noticed, **guard_options
        )
        self._subjects = subjects
        self._encode = codec.encode_frame
        self._message_bytes_max = codec.frame_bytes_max
        self._outbox = outbox
        self._put = outbox.publish
        self._wake = self.wire.wake
        self._refusals = Refusals(self.wire, self._exchange.interrupt)
        self._payload_bytes_max = 0
        self.body_bytes_max = 0
        """The largest body whose frame the present or last server takes, whatever its key and meta."""
        self._heads = lru_cache(KEYS_CACHED_MAX)(self._head)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._is_running: Callable[[], bool] = bool
        self.closed = False
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            ConnectError: no server took us.
            ClosedError: the transport was closed, before or meanwhile.
        """
        self._check_open("'async with'")
        self.loop = asyncio.get_running_loop()
        self._thread, self._is_running = get_ident(), self.loop.is_running
        _sessions.add(self)
        self._watching = self.loop.create_task(self._guard.start(), name="connect to a bus")
        closed = ClosedError("the transport was closed while it was being connected")
        try:
            await self._watching
            if self.closed:
                raise closed
        except BaseException as error:
            me, was_closed, self.closed = asyncio.current_task(), self.closed, True
            await self._end(closed)
            if was_closed and isinstance(error, asyncio.CancelledError) and not (me and me.cancelling()):
                raise closed from None
            raise
        self._watching = self.loop.create_task(self._guard.run(), name="watch a NATS connection")
        self._watching.add_done_callback(_report)

    def check(self, what: str) -> None:
        """Refuse a call that comes too early, too late, or from elsewhere.

        Raises:
            ClosedError: the transport was closed.
            UsageError: it is not connected yet, or connected in another loop.
        """
        self._check_open(what)
        if self.loop is None:
            raise UsageError(f"got {what} before the transport was connected, expected it inside 'async with'")
        if current_loop() is not self.loop:
            raise UsageError(f"got {what} from another thread or event loop, expected the one in which 'async with' connected")

    def _check_open(self, what: str) -> None:
        if self.closed:
            raise ClosedError(f"got {what} on a closed transport, expected an open one")

    def outlives_its_loop(self) -> bool:
        """Whether the loop of this transport was closed; then the connection ended with it, and nothing can be said any more.

        Raises:
            UsageError: that loop is another one than this, and lives.
        """
        if self.loop is None or self.loop is asyncio.get_running_loop():
            return False
        if not self.loop.is_closed():
            raise UsageError("got aclose from another event loop, expected the one in which 'async with' connected")
        self.closed = True
        self.stop()
        return True

    def stop(self) -> None:
        """End all subscriptions at once and for good, and tell them."""
        self.beats.stop()
        self.fanout.stop()

    async def close(self, error: ParasyncError, flush_s: float) -> None:
        """Send what waits, for `flush_s` seconds at most and no longer than the connection lasts, and end everything."""
        try:
            if self.wire.link is not None:
                await self._flush_over(self.wire.link, flush_s)
        except (TransportError, ClosedError) as failure:
            _log.warning("closed without a confirmation: %s", failure)
        finally:
            await self._end(error)

    async def _flush_over(self, link: Link, flush_s: float) -> None:
        flushing = asyncio.ensure_future(self.wire.flush(flush_s))
        try:
            await asyncio.wait((flushing, link.lost), return_when=asyncio.FIRST_COMPLETED)
            if not flushing.done():
                raise ConnectError(f"the connection was lost: {link.lost.result()}")
            flushing.result()
        finally:
            flushing.cancel()

    async def _end(self, error: ParasyncError) -> None:
        try:
            # A connection that is being made at this moment must not come up after the others went down.
            if self._watching is not None:
                self._watching.cancel()
                await asyncio.wait((self._watching,), timeout=2 * DISCARD_TIMEOUT_S)
        finally:
            self._refusals.close()
            self.wire.detach()
            self.wire.end(error)
            self.asks.fail(error)
            if len(self._outbox):
                _log.warning("closed with %d messages unsent", len(self._outbox))
            await self._guard.close()

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        """See `NatsTransport.publish`."""
        # What `check` does, without asking the operating system for each message.
        if self.closed or get_ident() != self._thread or not self._is_running():
            self.check("publish")
        self._put(key, envelope, self._heads(key), self._encode, self._payload_bytes_max)
        self._wake()

    def listen(self, place: Place, subscribe: Callable[..., Unsubscribe], *args: Any) -> Unsubscribe:
        """Subscribe handlers to a key, topic or pattern, and the bus with the first of them."""
        self._exchange.subject_of(place)
        unsubscribe = subscribe(*args)
        self._exchange.joined(place)
        return unsubscribe

    def in_loop(self, function: Callable[..., None], *args: Any) -> None:
        """Call a function in the loop of this transport: what the garbage collector ends, it may end on any thread."""
        loop = self.loop
        if loop is None or current_loop() is loop:
            function(*args)
        else:
            with contextlib.suppress(RuntimeError):  # the loop was closed, and everything with it
                loop.call_soon_threadsafe(function, *args)

    def counted(self) -> NatsStats:
        """The counters now."""
        outbox = self._outbox
        return NatsStats(self._reconnects, self._receiver.malformed + self.beats.malformed, outbox.conflated, outbox.dropped)

    def _head(self, key: str) -> bytes:
        return b"PUB %b " % check_subject(self._subjects.of_key(key)).encode()

    def _emptied(self, name: str, topical: bool) -> None:
        self.in_loop(self._exchange.left, Place(topical, name))

    def _connected(self, link: Link) -> None:
        again = self._payload_bytes_max > 0
        self._payload_bytes_max = link.payload_bytes_max
        # An answer is a message of the codec too, and a server may take more than that.
        self.body_bytes_max = max(0, min(self._payload_bytes_max, self._message_bytes_max) - FRAME_OVERHEAD_BYTES_MAX)
        self._refusals.connected()
        self.wire.attach(link)
        if again:
            self._reconnects += 1
            _log.info("connected to %s again", link.address)
            self.fanout.deliver(self.fanout.everyone(), None, "reconnected")

    def _disconnected(self, reason: str) -> None:
        self.last_error = TransportError(f"disconnected: {reason}")
        _log.warning("disconnected: %s", reason)
        self.wire.detach()
        self.beats.disconnected()
        self.asks.fail(self._why_down())
        self.fanout.deliver(self.fanout.everyone(), None, f"disconnected: {reason}")

    def _why_down(self) -> TransportError:
        reason = "not connected" if self.last_error is None else str(self.last_error)
        return TransportError(f"there is no connection to the bus now, and it is being looked for: {reason}")

    def _noticed(self, error: Exception) -> None:
        if isinstance(error, ConnectError):
            self.last_error = error
        elif isinstance(error, SlowConsumerError):
            self._overflowed(error)
        elif (denied := denial(error)) is not None and self.status.denied(denied):
            pass
        elif denied is not None:
            self.last_error = TransportError(str(denied))
            self.asks.denied(denied)
            self._refusals.denied(denied)
        else:
            self.last_error = TransportError(diagnosed(error))

    def _overflowed(self, error: SlowConsumerError) -> None:
        self.last_error = TransportError("messages were dropped because this process reads too slowly")
        self._exchange.interrupt(error.sub.subject.lower(), "slow consumer")


def _report(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        report("the task", task.get_name(), error)


def _forked() -> None:
    # A child shares the socket: whatever it said there would be in the middle of what its parent says.
    for session in _sessions:
        session._thread = 0
        if session.wire.link is not None:
            session.wire.link.socket.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
