"""What is said on a bus, in the order in which it was said: subscriptions, publishes and requests, across connections."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import Any, Final

from parasync.errors import AskTimeoutError, ParasyncError
from parasync.transports._nats_lines import End, Line, callback_of
from parasync.transports._nats_link import Link
from parasync.transports._nats_parser import Sink
from parasync.transports._outbox import Outbox, Turn

BATCH_BYTES: Final = 64 * 1024
"""How much is written at a time, in bytes; then the network decides when to go on, and what waits meanwhile conflates."""
VOID_COMMANDS_MAX: Final = 1024
"""How many commands that lost their meaning may wait before they are swept out; a server may be away for long."""


class Wire:
    """Sends in order while there is a connection, and subscribes anew on each. Used in one loop only.

    Args:
        outbox: what waits to be sent.
    """

    def __init__(self, outbox: Outbox) -> None:
        self.link: Link | None = None
        self._outbox = outbox
        self._lines: dict[int, Line] = {}
        self._sids = count(1)
        self._wake = asyncio.Event()
        # Whether what comes is written at the end of this turn of the event loop, and whether it waits for the network.
        self._in_turn = False
        self._sending = False
        self._sender: asyncio.Task[None] | None = None
        self._void = 0
        self._ended: ParasyncError | None = None
        self._flushing: set[asyncio.Future[Link]] = set()
        # The subscriptions of the client, where it receives by its callbacks.
        self._subscribed: dict[int, Any] = {}

    @property
    def lines(self) -> tuple[Line, ...]:
        """All open subscriptions."""
        return tuple(self._lines.values())

    def attach(self, link: Link) -> None:
        """Use a new connection: subscribe everything that was subscribed on the last one, then go on sending."""
        self.link = link
        again = [line for line in self._lines.values() if not line.waiting]
        for line in again:
            line.waiting = True
        self._outbox.lead(again)
        self._wake.set()
        self._sender = asyncio.get_running_loop().create_task(self._send(link), name="send to a NATS server")

    def detach(self) -> None:
        """The connection is gone: requests and answers that waited go with it, publishes stay."""
        self.link = None
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        self._sending = False
        self._subscribed.clear()
        self._outbox.discard(bytes)
        self._outbox.discard(End)
        self._outbox.discard(Turn)

    def end(self, error: ParasyncError) -> None:
        """Nothing will be sent any more: who waits for that hears why."""
        self._ended = error
        for sent in self._flushing:
            if not sent.done():
                sent.set_exception(error)

    def open(self, subject: str, sink: Sink, queue: str = "") -> Line:
        """Subscribe; the server learns it before anything that is sent from now on."""
        line = Line(next(self._sids), subject, queue, sink)
        self._lines[line.sid] = line
        self._outbox.command(line)
        self.wake()
        return line

    def shut(self, line: Line) -> None:
        """Unsubscribe; nothing reaches the sink from now on. Idempotent."""
        line.open = False
        if self._lines.pop(line.sid, None) is None:
            return
        if line.waiting:
            self._abandon()
        if self.link is not None:
            self.link.sinks.pop(line.sid, None)
            if not line.waiting:
                self._outbox.command(End(line.sid))
                self.wake()

    def again(self, line: Line) -> None:
        """Subscribe once more, after the server refused it."""
        if line.open and not line.waiting:
            line.waiting = True
            self._outbox.command(End(line.sid))
            self._outbox.command(line)
            self.wake()

    def publish(self, subject: bytes, data: bytes, reply: bytes = b"", headers: bytes = b"") -> bool:
        """Send a message that must not be conflated; False where there is no connection for it, or too much waits already."""
        if self.link is None or (headers and not self.link.takes_headers):
            return False
        if headers:
            message = b"HPUB %b %b%d %d\r\n%b%b\r\n" % (
                subject,
                reply + b" " if reply else b"",
                len(headers),
                len(headers) + len(data),
                headers,
                data,
            )
        else:
            message = b"PUB %b %b%d\r\n%b\r\n" % (subject, reply + b" " if reply else b"", len(data), data)
        if not self._outbox.message(message):
            return False
        self.wake()
        return True

    def say(self, turn: Turn) -> None:
        """Send what is made when its turn has come; not at all if the connection is lost before."""
        self._outbox.command(turn)
        self.wake()

    def wake(self) -> None:
        """Send what was put into the outbox: at once after a pause, else with all else of this turn of the event loop."""
        if self._in_turn:
            return
        link = self.link
        if link is None or self._sending or not link.direct:
            self._wake.set()
            return
        self._in_turn = True
        asyncio.get_running_loop().call_soon(self._end_turn)
        self._write_some(link)

    async def flush(self, timeout_s: float) -> None:
        """Wait until the server has processed everything that was put into the outbox before.

        Raises:
            AskTimeoutError: that took longer than `timeout_s` seconds.
            ParasyncError: what `end` was told.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    if self._ended is not None:
                        raise self._ended
                    sent: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
                    self._flushing.add(sent)
                    self._outbox.command(sent)
                    self.wake()
                    try:
                        link = await sent
                    finally:
                        self._flushing.discard(sent)
                        if sent.cancelled():
                            self._abandon()
                    if await link.ping():
                        return
        except TimeoutError:
            raise AskTimeoutError(f"the server did not confirm what was published within {timeout_s:g} s", timeout_s) from None

    def _abandon(self) -> None:
        """A command that may still wait means nothing any more."""
        self._void += 1
        if self._void >= VOID_COMMANDS_MAX and 2 * self._void > len(self._outbox):
            self._void = 0
            self._outbox.prune(_is_void)

    def _end_turn(self) -> None:
        link = self.link
        if link is None or link.gone or self._sending or not len(self._outbox):
            self._in_turn = False
            return
        # There was more, and more may follow: each write takes a hundred times as long as to put a message into the outbox.
        asyncio.get_running_loop().call_soon(self._end_turn)
        self._write_some(link)

    def _write_some(self, link: Link) -> None:
        if link.gone:
            return
        try:
            self._write(link, self._outbox.take(BATCH_BYTES, link.payload_bytes_max))
            if len(self._outbox) or link.socket.is_full():
                self._sending = True
                self._wake.set()
        except Exception as error:  # noqa: BLE001 -- whatever it is, this connection cannot be trusted any more
            link.lose(f"sending failed ({type(error).__name__})")

    async def _send(self, link: Link) -> None:
        """Go on with what did not fit at once, as fast as the network takes it."""
        outbox = self._outbox
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._sending = True
                await link.socket.drain()  # type: ignore[no-untyped-call]
                while not link.gone and (batch := outbox.take(BATCH_BYTES, link.payload_bytes_max)):
                    if link.direct:
                        self._write(link, batch)
                    else:
                        await self._write_by_callbacks(link, batch)
                    await link.socket.drain()  # type: ignore[no-untyped-call]
                self._sending = False
        except Exception as error:  # noqa: BLE001 -- as above
            link.lose(f"sending failed ({type(error).__name__})")

    def _write(self, link: Link, batch: list[Any]) -> None:
        parts: list[bytes] = []
        sent: list[asyncio.Future[Link]] = []
        for item in batch:
            if type(item) is bytes:
                parts.append(item)
            elif type(item) is Line:
                item.waiting = False
                if item.open:
                    link.sinks[item.sid] = item.sink
                    parts.append(f"SUB {item.subject} {item.queue} {item.sid}\r\n".encode())
            elif type(item) is End:
                parts.append(b"UNSUB %d\r\n" % item.sid)
            else:
                sent.append(item)
        link.socket.write(b"".join(parts))
        for future in sent:
            if not future.done():
                future.set_result(link)

    async def _write_by_callbacks(self, link: Link, batch: list[Any]) -> None:
        rest = deque(batch)
        try:
            while rest:
                await self._say_by_callbacks(link, rest[0])
                rest.popleft()
        finally:
            # Cut short: what was not said here is said first on the next connection.
            self._outbox.lead([item for item in rest if type(item) not in {bytes, End}])

    async def _say_by_callbacks(self, link: Link, item: Any) -> None:
        if type(item) is Line:
            if item.open:
                self._subscribed[item.sid] = await link.client.subscribe(item.subject, item.queue, callback_of(item))
        elif type(item) is End:
            await self._unsubscribe(item.sid)
        else:
            self._write(link, [item])
            return
        # The client writes its commands later than we do; what follows must not overtake them.
        while link.client.pending_data_size and await link.ping():
            pass
        if type(item) is Line:
            item.waiting = False
            if not item.open:  # it was shut while we waited
                await self._unsubscribe(item.sid)

    async def _unsubscribe(self, sid: int) -> None:
        subscription = self._subscribed.pop(sid, None)
        if subscription is not None:
            await subscription.unsubscribe()


def _is_void(command: Any) -> bool:
    return not command.open if type(command) is Line else isinstance(command, asyncio.Future) and command.done()
