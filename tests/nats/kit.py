"""What the tests of the NATS transport share: ears with deadlines, keys and certificates, and peers that misbehave."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import ssl
import threading
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nkeys
import trustme

from parasync import Envelope, Kind
from parasync.protocol import EncodedBody
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport

DEADLINE_S = 30.0
INFO = {"server_id": "fake", "version": "2.11.0", "max_payload": 1_048_576, "headers": True, "proto": 1}


def envelope(sequence: int, value: Any = "x", epoch: int = 0) -> Envelope[Any]:
    return Envelope(value, "1.0", sequence, epoch)


def big(sequence: int, size: int) -> Envelope[Any]:
    """An envelope whose body has this many bytes, encoded already."""
    body = EncodedBody(b"\xc5" + (size - 3).to_bytes(2, "big") + bytes(size - 3))
    return Envelope(None, "1.0", sequence, kind=Kind.STATE, body=body)


@dataclass
class Ear:
    """Hears sequences and reasons in the order in which they come, and can be waited on."""

    heard: list[Any] = field(default_factory=list)
    envelopes: list[Envelope[Any]] = field(default_factory=list)
    _new: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, got: Envelope[Any]) -> None:
        self.envelopes.append(got)
        self._hear(got.sequence)

    def topic(self, key: str, got: Envelope[Any]) -> None:
        self.envelopes.append(got)
        self._hear((key, got.sequence))

    def interrupted(self, reason: str) -> None:
        self._hear(reason)

    def _hear(self, what: Any) -> None:
        self.heard.append(what)
        self._new.set()

    @property
    def reasons(self) -> list[str]:
        return [what for what in self.heard if isinstance(what, str)]

    @property
    def sequences(self) -> list[int]:
        return [what for what in self.heard if isinstance(what, int)]

    async def until(self, condition: Callable[[list[Any]], object]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self.heard):
                self._new.clear()
                await self._new.wait()

    async def reconnected(self, times: int = 1) -> None:
        await self.until(lambda heard: heard.count("reconnected") >= times)


async def eventually(condition: Callable[[], object]) -> None:
    """Let the loop run until the condition holds, up to a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 -- what is waited for is no event of ours
            await asyncio.sleep(0)


@asynccontextmanager
async def raw(url: str, handler: Callable[[bytes], None] | None = None) -> AsyncIterator[Callable[[bytes], Any]]:
    """A connection that says exactly the bytes that it is given, and waits until the server has processed them."""
    host, _, port = url.removeprefix("nats://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await reader.readline()

    async def say(data: bytes) -> None:
        writer.write(data + b"PING\r\n")
        async with asyncio.timeout(DEADLINE_S):
            while (line := await reader.readline()) != b"PONG\r\n":
                assert line, "the server closed the connection"
                if handler is not None:
                    handler(line)

    await say(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
    try:
        yield say
    finally:
        writer.close()
        await writer.wait_closed()


@dataclass
class Fake:
    """A server that greets as it is told, and keeps what clients say."""

    greeting: bytes
    said: bytearray = field(default_factory=bytearray)
    clients: int = 0
    port: int = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def fake_server(greeting: bytes | None = None, *, port: int = 0, hang_up: bool = False) -> AsyncIterator[Fake]:
    fake = Fake(b"INFO " + json.dumps(INFO).encode() + b"\r\n" if greeting is None else greeting, port=port)
    writers: list[asyncio.StreamWriter] = []
    over = False

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fake.clients += 1
        writers.append(writer)
        writer.write(fake.greeting)
        if hang_up or over:
            writer.close()
        try:
            while data := await reader.read(65_536):
                fake.said += data
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        over = True
        server.close()
        for _ in range(5):  # those who were accepted a moment ago are still on their way to `serve`
            await asyncio.sleep(0)
        for writer in writers:
            writer.close()
        await asyncio.gather(*[writer.wait_closed() for writer in writers], return_exceptions=True)


@dataclass
class Line:
    """A way to a server that can swallow what is said in either direction, or hold back what is said to the server."""

    port: int
    to_server: bool = True
    to_client: bool = True
    flows: asyncio.Event = field(default_factory=asyncio.Event)
    pumps: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Line]:
    line = Line(0)
    line.flows.set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        try:
            while data := await reader.read(65_536):
                if direction == "to_server":
                    await line.flows.wait()
                if getattr(line, direction):
                    writer.write(data)
                    await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(server_writer)
        for work in (pump(reader, server_writer, "to_server"), pump(server_reader, writer, "to_client")):
            line.pumps.add(asyncio.create_task(work))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*line.pumps, return_exceptions=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Certificates:
    """An authority and what it signed, as files for the server and as contexts for clients."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def server_config(self, *, verify: bool = False, first: bool = False, name: str = "127.0.0.1") -> str:
        certificate = self.authority.issue_cert(name)
        self.authority.cert_pem.write_to_path(self.folder / "authority.pem")
        certificate.cert_chain_pems[0].write_to_path(self.folder / "server.pem")
        certificate.private_key_pem.write_to_path(self.folder / "server.key")
        lines = [f'cert_file: "{self.folder}/server.pem"', f'key_file: "{self.folder}/server.key"']
        lines += [f'ca_file: "{self.folder}/authority.pem"', "verify: true"] if verify else []
        lines += ["handshake_first: true"] if first else []
        return "tls { " + "\n".join(lines) + " }\n"

    def client(self, *, certificate: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certificate:
            self.authority.issue_cert("client@example.org").configure_cert(context)
        return context


class Nkey:
    """A key pair as text."""

    def __init__(self, kind: int) -> None:
        self.seed = nkeys.encode_seed(os.urandom(32), kind).decode()
        self._pair = nkeys.from_seed(bytearray(self.seed.encode()))
        self.public = self._pair.public_key.decode()

    def claim(self, subject: str, nats: dict[str, Any]) -> str:
        """A signed statement about a subject, as operators and accounts make them."""
        header = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {"jti": os.urandom(16).hex(), "iat": 1_700_000_000, "iss": self.public, "sub": subject} | {"nats": nats}
        parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (header, body)]
        signed = b".".join(parts)
        return (signed + b"." + base64.urlsafe_b64encode(self._pair.sign(signed)).rstrip(b"=")).decode()


def creds_and_config(path: Path) -> tuple[Path, str]:
    """A credentials file for one user, and the configuration of a server that knows the operator of that user's account."""
    operator, account, user = Nkey(nkeys.PREFIX_BYTE_OPERATOR), Nkey(nkeys.PREFIX_BYTE_ACCOUNT), Nkey(nkeys.PREFIX_BYTE_USER)
    unlimited = {"subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1, "wildcards": True}
    operator_claim = operator.claim(operator.public, {"type": "operator", "version": 2})
    account_claim = operator.claim(account.public, {"type": "account", "version": 2, "limits": unlimited})
    user_claim = account.claim(user.public, {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1})
    dashes = "-" * 5
    path.write_text(
        f"{dashes}BEGIN NATS USER JWT{dashes}\n{user_claim}\n------END NATS USER JWT------\n\n"
        f"{dashes}BEGIN USER NKEY SEED{dashes}\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    preload = f'{{ {account.public}: "{account_claim}" }}'
    return path, f'operator: "{operator_claim}"\nresolver: MEMORY\nresolver_preload: {preload}\n'


async def monitored(server: NatsServer, page: str) -> Any:
    """A page of the server's monitoring."""
    url = f"{server.monitor_url}/{page}"
    return await asyncio.to_thread(lambda: json.load(urllib.request.urlopen(url, timeout=DEADLINE_S)))


async def round_trip(bus: NatsTransport, key: str = "check:1") -> None:
    """Prove that what is published on this bus comes back."""
    ear = Ear()
    end = bus.subscribe(key, ear)
    bus.publish(key, envelope(1))
    await ear.until(lambda heard: 1 in heard)
    end()


def in_thread(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread
