"""The transport over NATS: a fan-out fed by a connection that heals itself, and an outbox that never blocks a writer."""

from __future__ import annotations

import asyncio
import math
import ssl
from asyncio import AbstractEventLoop
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, Self

from parasync.codec import Codec, MsgpackCodec
from parasync.errors import ClosedError, ParasyncError, UsageError
from parasync.protocol import Envelope, scope_of
from parasync.transports._nats_conversation import Conversation
from parasync.transports._nats_exchange import Place
from parasync.transports._nats_link import Credential, LinkOptions
from parasync.transports._nats_session import Session
from parasync.transports._nats_socket import parse_address
from parasync.transports._nats_stats import NatsStats
from parasync.transports._outbox import OUTBOX_BYTES_MAX, OUTBOX_KEYS_MAX, Outbox
from parasync.transports._protocol import Capabilities, Handler, Interrupted, TopicHandler, Unsubscribe
from parasync.transports._subjects import PrefixedSubjects, SubjectMap
from parasync.transports._tasks import CLOSE_TIMEOUT_S, Tasks

__all__ = ["NatsStats", "NatsTransport", "PrefixedSubjects", "SubjectMap"]

_CAPABILITIES: Final = Capabilities(lossless=False, ordered=True, threads=False, ask=True, beats=True)


class NatsTransport(Conversation):
    """Carries envelopes over NATS: never blocks a writer, reconnects for ever, and says when something may have been lost.

    `async with` connects and closes; everything is called in that event loop. While there is no connection, publishes wait in
    the outbox, which keeps the newest envelope of each key.

    Args:
        url: `nats://host:port` or `tls://host:port`, or several of one cluster. `tls://` never talks to a server in clear.
        name: how this connection is called in the server's monitoring.
        codec: turns envelopes into frames; all parties on a bus use the same.
        subjects: which subject carries what; all parties on a bus use the same.
        user: with `password`: how to log in; each may be a function that is called at every connect and does not block.
        password: see `user`.
        token: the shared secret of a server with token authentication, or a function that returns it.
        nkey_seed: the text of an nkey seed, `SU...`.
        creds: the path of a credentials file, which is read at every connect.
        tls: the authorities to trust and the client certificate to show; a context here demands TLS, whatever the URL says.
        tls_hostname: the name that the server's certificate must have, where it is not that of the URL.
        tls_handshake_first: the server speaks TLS from the first byte (its option `handshake_first`).
        inbox_prefix: where replies arrive; a name of one's own keeps other users of the bus from reading them.
        outbox_keys_max: the most keys that wait to be sent; beyond it the one that waited longest is dropped and counted.
        outbox_bytes_max: the most bytes that wait to be sent; beyond it likewise.
        ping_interval_s: how often the server is asked for a sign of life, and how long it may stay silent, in seconds.
        connect_timeout_s: how long one server may take to connect and authenticate, in seconds.
        reconnect_max_s: the longest wait before an attempt to connect again, in seconds.
        direct: receive without the client's queues; None where the installed client allows it, False never.
        wildcards: topics and patterns like `"user:eu:*"` of which one subscription brings all objects that are followed here.
            Lighter for the process and the server where it follows a good part of them one by one; it receives the others too,
            and drops them unread.

    Raises:
        ConnectError: a URL cannot be read.
        UsageError: an option is out of range, or no server takes the subject of a wildcard.
        InvalidKeyError: one of the wildcards is neither a topic nor a pattern.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        name: str | None = None,
        codec: Codec | None = None,
        subjects: SubjectMap | None = None,
        user: Credential | None = None,
        password: Credential | None = None,
        token: Credential | None = None,
        nkey_seed: str | None = None,
        creds: str | Path | None = None,
        tls: ssl.SSLContext | None = None,
        tls_hostname: str | None = None,
        tls_handshake_first: bool = False,
        inbox_prefix: str = "_INBOX",
        outbox_keys_max: int = OUTBOX_KEYS_MAX,
        outbox_bytes_max: int = OUTBOX_BYTES_MAX,
        ping_interval_s: float = 5.0,
        connect_timeout_s: float = 5.0,
        reconnect_max_s: float = 5.0,
        direct: bool | None = None,
        wildcards: Collection[str] = (),
    ) -> None:
        several = isinstance(url, Sequence) and not isinstance(url, str)
        servers = [parse_address(each) for each in (url if several else [url])]  # type: ignore[arg-type]
        options = LinkOptions(
            name=name, user=user, password=password, token=token, nkey_seed=nkey_seed, creds=creds,
            tls=tls, tls_hostname=tls_hostname, tls_handshake_first=tls_handshake_first,
            connect_timeout_s=connect_timeout_s, inbox_prefix=PrefixedSubjects(inbox_prefix).prefix,
        )  # fmt: skip
        limits = outbox_keys_max, outbox_bytes_max, ping_interval_s, connect_timeout_s, reconnect_max_s
        if not servers or not all(isinstance(limit, int | float) and 0 < limit < math.inf for limit in limits):
            raise UsageError("got no server, or a limit or time that is not above 0, expected a server and positive numbers")
        self._codec: Codec = MsgpackCodec() if codec is None else codec
        self._subjects: SubjectMap = PrefixedSubjects() if subjects is None else subjects
        self._session = Session(
            servers, options, self._subjects, self._codec, Outbox(outbox_keys_max, outbox_bytes_max),
            wildcards, ping_interval_s=ping_interval_s, reconnect_max_s=reconnect_max_s, direct=direct,
        )  # fmt: skip
        self._servers = servers
        self._tasks = Tasks()
        self._closing: asyncio.Task[None] | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Ordered, able to ask and to beat; not lossless, and bound to one loop."""
        return _CAPABILITIES

    @property
    def codec(self) -> Codec:
        """Encodes and decodes bodies and frames; what publishers and subscribers of one bus share."""
        return self._codec

    @property
    def loop(self) -> AbstractEventLoop | None:
        """The loop in which `async with` connected; None before."""
        return self._session.loop

    @property
    def closed(self) -> bool:
        """Whether the transport was closed."""
        return self._session.closed

    @property
    def connected(self) -> bool:
        """Whether there is a connection now, as far as anybody can know."""
        return self._session.wire.link is not None

    @property
    def last_error(self) -> ParasyncError | None:
        """What went wrong last: a lost connection, a vain attempt, a missing permission; None if nothing ever did."""
        return self._session.last_error

    @property
    def stats(self) -> NatsStats:
        """The counters of this transport now."""
        return self._session.counted()

    @property
    def body_bytes_max(self) -> int:
        """The largest encoded value that fits into a message of this bus."""
        return self._session.body_bytes_max

    def publish(self, key: str, envelope: Envelope[Any]) -> None:
        """Put an envelope into the outbox; it is sent when the connection allows, unless a newer one of the key replaces it.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            EncodeError: the envelope cannot be encoded, or is larger than the server's limit; nothing was sent.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with`, or from another thread or loop.
        """
        self._session.publish(key, envelope)

    def subscribe(self, key: str, handler: Handler, interrupted: Interrupted | None = None) -> Unsubscribe:
        """Call `handler` in the loop of this transport with every envelope that is published for the key from now on.

        The subscribers of one key share one subscription on the bus, so that one who joins others may still get what was
        published just before. What this transport asks after it subscribed, is answered after the subscription took effect.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with` or from another thread or loop, or the handler is no plain function.
        """
        self._session.check("subscribe")
        return self._session.listen(Place(False, key), self._session.fanout.subscribe, key, handler, interrupted)

    def subscribe_topic(
        self, topic: str, handler: TopicHandler, interrupted: Interrupted | None = None, *, pattern: str | None = None
    ) -> Unsubscribe:
        """Call `handler` in the loop of this transport with key and envelope of every object of the topic from now on.

        With a pattern such as `"user:eu:*"`, the server sends no others than those of the pattern.

        Raises:
            InvalidKeyError: the topic does not follow the grammar, or the pattern is not one of this topic.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with` or from another thread or loop, or the handler is no plain function.
        """
        self._session.check("subscribe")
        place = Place(True, scope_of(topic, pattern))
        return self._session.listen(place, self._session.fanout.subscribe_topic, topic, handler, interrupted, pattern)

    def key_count(self) -> int:
        """The number of keys (and topics) with at least one live subscriber."""
        return self._session.fanout.key_count()

    async def flush(self, timeout_s: float = 10.0) -> None:
        """Wait until the server has everything that was published before, and has processed every subscription.

        Raises:
            AskTimeoutError: that took longer than `timeout_s` seconds; the outbox goes on trying.
            ClosedError: the transport was closed.
            UsageError: called outside of `async with`, or from another loop.
        """
        self._session.check("flush")
        await self._session.wire.flush(timeout_s)

    async def aclose(self) -> None:
        """End all subscriptions at once, send what waits for up to `CLOSE_TIMEOUT_S`, end the background work, disconnect.

        Raises:
            UsageError: called in another loop than the one of this transport, and that one lives.
        """
        if self._session.outlives_its_loop():
            return
        if self._closing is None:
            self._session.closed = True
            self._closing = asyncio.get_running_loop().create_task(self._close(), name="close a NATS transport")
        await asyncio.shield(self._closing)

    async def __aenter__(self) -> Self:
        if self._session.loop is not None:
            raise UsageError("got a second 'async with' on the same NatsTransport, expected a new one each time")
        await self._session.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __enter__(self) -> NoReturn:
        raise UsageError("got 'with' on a bus that needs an event loop, expected 'async with'")

    def __exit__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        state = "closed" if self.closed else "connected" if self.connected else "not connected"
        return f"<NatsTransport to {', '.join(str(server) for server in self._servers)}, {state}>"

    async def _close(self) -> None:
        self._session.stop()
        self._tasks.cancel()
        await self._tasks.join()
        await self._session.close(ClosedError("the transport was closed"), CLOSE_TIMEOUT_S)
