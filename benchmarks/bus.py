"""What the benchmarks over NATS share: a real server, one loop, and connections of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import nats
from nats.aio.client import Client
from nats.js.api import KeyValueConfig, StorageType
from nats.js.kv import KeyValue

from benchmarks.orders import CODEC, FAST_CODEC, ORDERS, Order, order
from parasync import MsgpackCodec, authority, synced
from parasync.runtime._office import Terms
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport, PrefixedSubjects

T = TypeVar("T")

PATIENCE_S: Final = 60.0
"""How long a turn may take before the benchmark gives up."""
OURS: Final = {"parasync": CODEC, "parasync[fast]": FAST_CODEC}
Receive: TypeAlias = Callable[[bytes], None]


Opened: TypeAlias = Callable[[str, AsyncExitStack], Coroutine[Any, Any, T]]
"""Opens connections to a server, to be closed with the stack."""


@contextmanager
def on_server(open_: Opened[T]) -> Iterator[tuple[T, asyncio.Runner]]:
    """A nats-server process with JetStream, one loop for all contestants, and what is opened there."""
    with TemporaryDirectory() as folder, NatsServer(jetstream_dir=folder) as server, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(open_(server.url, stack)), runner
        finally:
            runner.run(stack.aclose())


class Arrival:
    """Wakes the one coroutine that waits for the last message of a turn."""

    def __init__(self) -> None:
        self._done = asyncio.Event()

    def note(self) -> None:
        """The last one is there."""
        self._done.set()

    async def wait(self) -> None:
        """Wait for it, and get ready for the next turn."""
        async with asyncio.timeout(PATIENCE_S):
            await self._done.wait()
        self._done.clear()


class SinkClient(Client):
    """The fastest way that nats-py allows, and that of parasync: messages go to their receiver without queue and task."""

    receivers: dict[int, Receive]

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        receive = self.receivers.get(sid)
        if receive is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            receive(data)


@attrs.define
class Bare:
    """Publisher and subscriber of bare nats-py, on two connections."""

    publisher: Client
    subscriber: Client

    async def subscribe(self, subject: str, receive: Receive) -> None:
        """By callback, or directly where the subscriber can."""
        if isinstance(self.subscriber, SinkClient):
            subscription = await self.subscriber.subscribe(subject, future=asyncio.get_running_loop().create_future())
            self.subscriber.receivers[subscription._id] = receive
        else:

            async def callback(message: Any) -> None:
                receive(message.data)

            await self.subscriber.subscribe(subject, cb=callback)

    async def ready(self) -> None:
        """Wait until the server knows the subscriptions."""
        await asyncio.sleep(0)
        await self.subscriber.flush()


@asynccontextmanager
async def bare(url: str, *, direct: bool) -> AsyncIterator[Bare]:
    """Two connections of bare nats-py."""
    publisher = await nats.connect(url)
    subscriber: Client = SinkClient() if direct else Client()
    if isinstance(subscriber, SinkClient):
        subscriber.receivers = {}
    await subscriber.connect(url)
    try:
        yield Bare(publisher, subscriber)
    finally:
        await subscriber.close()
        await publisher.close()


@attrs.define
class KeyValues:
    """A JetStream KV bucket in memory, and a watcher on another connection."""

    writer: KeyValue
    reader: KeyValue
    watcher: asyncio.Task[None] | None = None

    async def watch(self, receive: Callable[[bytes], None]) -> None:
        """Give every later value to `receive`."""
        updates = await self.reader.watchall()

        async def read() -> None:
            async for entry in updates:
                if entry is not None and entry.value is not None:
                    receive(entry.value)

        self.watcher = asyncio.create_task(read())


@asynccontextmanager
async def key_values(url: str, bucket: str) -> AsyncIterator[KeyValues]:
    """A bucket of its own; it keeps what it holds in memory, as the store of the authority beside it does."""
    writing, reading = await nats.connect(url), await nats.connect(url)
    writer = await writing.jetstream().create_key_value(KeyValueConfig(bucket, storage=StorageType.MEMORY))
    values = KeyValues(writer, await reading.jetstream().key_value(bucket))
    try:
        yield values
    finally:
        if values.watcher is not None:
            values.watcher.cancel()
        await reading.close()
        await writing.close()


@attrs.define
class Ours:
    """An authority and the replicas of its objects, on two connections."""

    owner: authority[Order]
    replicas: list[synced[Order]]
    reader: NatsTransport

    @property
    def applied(self) -> int:
        """How many versions the replicas have applied together."""
        return sum(replica.stats.applied for replica in self.replicas)


@asynccontextmanager
async def ours(
    url: str, codec: MsgpackCodec, idents: list[str], prefix: str, terms: Terms | None = None
) -> AsyncIterator[Ours]:
    """One replica for each id, which holds its first value."""
    async with AsyncExitStack() as stack:
        subjects = PrefixedSubjects(prefix)
        writer = await stack.enter_async_context(NatsTransport(url, codec=codec, subjects=subjects))
        reader = await stack.enter_async_context(NatsTransport(url, codec=codec, subjects=subjects))
        owner = await stack.enter_async_context(authority(ORDERS, writer, terms=terms))
        for ident in dict.fromkeys(idents):
            await owner.put(ident, order(0))
        replicas = [synced(ORDERS[ident], reader) for ident in idents]
        for replica in replicas:
            stack.push_async_exit(replica)
        for replica in replicas:
            await replica.ready(PATIENCE_S)
            await replica.when_idle(PATIENCE_S)
        yield Ours(owner, replicas, reader)
