"""Getting in: every way to log in works on a real server, every failure says what to do, and no secret leaves in clear."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

import nkeys
import pytest

from parasync import connect
from parasync.errors import ConnectError, ParasyncError, UsageError
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport
from tests.nats.kit import (
    DEADLINE_S,
    INFO,
    Certificates,
    Ear,
    Nkey,
    creds_and_config,
    envelope,
    eventually,
    fake_server,
    free_port,
    monitored,
    round_trip,
)

pytestmark = pytest.mark.nats

USERS = 'authorization { users = [ { user: "ada", password: "p@ss:w/rd" } ] }'
TOKEN = 'authorization { token: "t0ken" }'


async def works(url: str, **options: Any) -> None:
    async with NatsTransport(url, **options) as bus:
        await round_trip(bus)


async def fails(url: str | list[str], **options: Any) -> str:
    """The text of the one error that a failed connection may raise."""
    with pytest.raises(ConnectError) as caught:
        async with NatsTransport(url, **{"connect_timeout_s": 5.0, **options}):
            pass
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


async def test_user_and_password() -> None:
    with NatsServer(USERS) as server:
        await works(server.url, user="ada", password="p@ss:w/rd")
        await works(server.url, user=lambda: "ada", password=lambda: "p@ss:w/rd")
        await works(server.url.replace("//", "//ada:p%40ss%3Aw%2Frd@"))
        for options in ({"user": "ada", "password": "wrong-secret"}, {}, {"token": "wrong-secret"}):
            text = await fails(server.url, **options)
            assert "the server refused the credentials" in text
            assert "check user and password" in text
            assert "secret" not in text


async def test_token() -> None:
    with NatsServer(TOKEN) as server:
        await works(server.url, token="t0ken")
        await works(server.url, token=lambda: "t0ken")
        await works(server.url.replace("//", "//t0ken@"))
        assert "refused the credentials" in await fails(server.url, token="wrong")


async def test_nkey() -> None:
    key = Nkey(nkeys.PREFIX_BYTE_USER)
    with NatsServer(f"authorization {{ users = [ {{ nkey: {key.public} }} ] }}") as server:
        await works(server.url, nkey_seed=key.seed)
        assert "refused the credentials" in await fails(server.url, nkey_seed=Nkey(nkeys.PREFIX_BYTE_USER).seed)
        text = await fails(server.url, nkey_seed="SUNOSEED")
        assert "the nkey seed or credentials file cannot be used" in text
        assert "SUNOSEED" not in text
        for bad in ("", key.public):
            with pytest.raises(UsageError, match="begins with SU"):
                NatsTransport(server.url, nkey_seed=bad)


async def test_credentials_file(tmp_path: Path) -> None:
    creds, config = creds_and_config(tmp_path / "user.creds")
    with NatsServer(config) as server:
        await works(server.url, creds=creds)
        await works(server.url, creds=str(creds))
        assert "refused the credentials" in await fails(server.url)
        assert "cannot be read (FileNotFoundError)" in await fails(server.url, creds=tmp_path / "nowhere")
        dashes = "-" * 5
        for text in ("nothing of use", f"{dashes}BEGIN USER NKEY SEED", f"{dashes}BEGIN NATS USER JWT"):
            creds.write_text(text)
            assert "without a JWT and a seed" in await fails(server.url, creds=creds)


async def test_a_credentials_file_is_read_again_at_each_connect(tmp_path: Path) -> None:
    creds, config = creds_and_config(tmp_path / "user.creds")
    ear = Ear()
    with NatsServer(config) as server:
        async with NatsTransport(server.url, creds=creds, reconnect_max_s=0.05) as bus:
            bus.subscribe("check:1", ear, ear.interrupted)
            server.stop()
            server.config = creds_and_config(creds)[1]
            server.start()
            await ear.reconnected()
            await round_trip(bus)


async def test_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with NatsServer(certificates.server_config() + TOKEN) as server:
        secure = server.url.replace("nats://", "tls://")
        await works(secure, tls=certificates.client(), token="t0ken")
        await works(server.url, tls=certificates.client(), token="t0ken")
        text = await fails(secure, token="t0ken")
        assert "the server's certificate is not trusted (" in text
        assert "tls=" in text
        assert "not trusted" in await fails(secure, tls=certificates.client(), tls_hostname="example.org", token="t0ken")


async def test_tls_with_a_name_of_its_own(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with NatsServer(certificates.server_config(name="bus.example.org")) as server:
        await works(server.url, tls=certificates.client(), tls_hostname="bus.example.org")
        assert "not trusted" in await fails(server.url, tls=certificates.client())


async def test_mutual_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with NatsServer(certificates.server_config(verify=True)) as server:
        await works(server.url, tls=certificates.client(certificate=True))
        text = await fails(server.url, tls=certificates.client())
        assert "a client certificate may be missing" in text or "check the credentials and TLS settings" in text


async def test_tls_from_the_first_byte(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with NatsServer(certificates.server_config(first=True)) as server:
        await works(server.url, tls=certificates.client(), tls_handshake_first=True)
    with NatsServer() as clear:
        assert "TLS failed" in await fails(clear.url, tls=certificates.client(), tls_handshake_first=True)


@pytest.mark.parametrize("demand", ["by the URL", "by the context"])
@pytest.mark.parametrize(
    "secret",
    [{"user": "ada", "password": "s3cret"}, {"token": "s3cret"}, {"nkey_seed": Nkey(nkeys.PREFIX_BYTE_USER).seed}, {}],
    ids=lambda secret: "+".join(secret) or "none",
)
async def test_a_server_without_tls_learns_nothing_where_tls_was_demanded(demand: str, secret: dict[str, str]) -> None:
    async with fake_server() as fake:
        by_url = demand == "by the URL"
        text = await fails(
            f"{'tls' if by_url else 'nats'}://{fake.address}", tls=None if by_url else ssl.create_default_context(), **secret
        )
        assert "the server does not offer TLS, so nothing was sent to it" in text
        assert (fake.clients, bytes(fake.said)) == (1, b"")


async def test_credentials_in_a_tls_url_do_not_leave_in_clear_either() -> None:
    async with fake_server() as fake:
        assert "does not offer TLS" in await fails(f"tls://ada:s3cret@{fake.address}")
        assert bytes(fake.said) == b""


async def test_a_server_that_lost_its_tls_learns_nothing_from_those_who_come_back(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    ear = Ear()
    with NatsServer(certificates.server_config() + TOKEN) as server:
        async with NatsTransport(server.url, tls=certificates.client(), token="t0ken", reconnect_max_s=0.05) as bus:
            bus.subscribe("check:1", ear, ear.interrupted)
            await round_trip(bus)
            server.kill()
            async with fake_server(port=server.port) as fake:
                await eventually(lambda: fake.clients >= 3)
                assert bytes(fake.said) == b""
                assert "does not offer TLS" in str(bus.last_error)
            server.start()
            await ear.reconnected()
            await round_trip(bus)


async def test_a_server_that_offers_tls_without_demanding_it_is_spoken_to_in_tls_where_we_demand_it(
    tmp_path: Path, direct: bool | None
) -> None:
    certificates = Certificates(tmp_path)
    with NatsServer(certificates.server_config() + TOKEN + "\nallow_non_tls: true", monitor=True) as server:
        secure = server.url.replace("nats://", "tls://")
        for url in (secure, server.url):
            async with NatsTransport(url, tls=certificates.client(), token="t0ken", direct=direct) as bus:
                await round_trip(bus)
                [client] = (await monitored(server, "connz"))["connections"]
                assert client["tls_version"]
        assert "not trusted" in await fails(secure, token="t0ken")
        await works(server.url, token="t0ken")


async def test_nobody_listens() -> None:
    text = await fails(f"nats://127.0.0.1:{free_port()}")
    assert "nobody listens there; start a NATS server, or check host and port" in text


async def test_the_name_is_unknown() -> None:
    assert "the host name cannot be resolved" in await fails("nats://no-such-host.invalid")


@pytest.mark.parametrize(
    ("greeting", "hang_up", "text"),
    [
        (b"", False, "no answer within 0.2 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "the server said: empty response from server"),
        (b"INFO {not json}\r\n", False, "the server said: info message, json parse error"),
        (b"INFO {}\r\n", True, "the connection was closed by the server"),
        (b"", True, "the server said: empty response"),
        (b"x" * 200_000, False, "the handshake failed (ValueError)"),
        (b"INFO {}\r\n-ERR 'maximum connections exceeded'\r\n", False, "the server said: maximum connections exceeded"),
    ],
)
async def test_what_answers_is_no_server_that_wants_us(greeting: bytes, hang_up: bool, text: str) -> None:
    async with fake_server(greeting, hang_up=hang_up) as fake:
        assert text in await fails(f"nats://{fake.address}", connect_timeout_s=0.2)


@pytest.mark.parametrize(
    "url", ["", "nats://", "http://127.0.0.1", "nats://host:port", "nats://host:99999", "nats://host/path", "127.0.0.1:4222", 5]
)
def test_a_url_that_cannot_be_read(url: Any) -> None:
    for given in ([url], url):
        with pytest.raises(ConnectError, match=r"expected one like nats://127\.0\.0\.1:4222"):
            NatsTransport(given)


def test_no_secret_is_in_what_a_debugger_shows() -> None:
    bus = NatsTransport("nats://t0p-s3cret@127.0.0.1", password="s3cret", token="s3cret", nkey_seed="SUs3cret")
    guard = bus._session._guard
    assert "s3cret" not in repr([guard._options, guard._servers, bus])


@pytest.mark.parametrize(
    "options",
    [
        {"outbox_keys_max": 0}, {"ping_interval_s": -1}, {"connect_timeout_s": 0}, {"inbox_prefix": "a b"},
        {"inbox_prefix": ">"}, {"ping_interval_s": float("nan")}, {"reconnect_max_s": float("inf")}, {"connect_timeout_s": "5"},
        {"nkey_seed": 5},
    ],
)  # fmt: skip
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        NatsTransport("nats://127.0.0.1", **options)


def test_no_server_at_all() -> None:
    with pytest.raises(UsageError, match="got no server"):
        NatsTransport([])


async def test_of_several_servers_one_that_works_is_used() -> None:
    with NatsServer() as server:
        for _ in range(5):
            async with NatsTransport([f"nats://127.0.0.1:{free_port()}", server.url, f"nats://127.0.0.1:{free_port()}"]) as bus:
                await round_trip(bus)
        dead = [f"nats://127.0.0.1:{free_port()}" for _ in range(2)]
        text = await fails(dead)
        assert all(url.removeprefix("nats://") in text for url in dead)


def clustered(own: int, ports: list[int]) -> str:
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    return f'cluster {{ name: "c", listen: "127.0.0.1:{ports[own]}", routes: [{routes}] }}\n'


async def test_servers_of_a_cluster_with_certificates_for_one_name_are_used(tmp_path: Path) -> None:
    """They tell of each other by IP address; what their certificates are for is the name that was asked for first."""
    ports, ear, certificates = [free_port(), free_port()], Ear(), Certificates(tmp_path)
    config = certificates.server_config(name="localhost") + 'authorization { token: "t0ken" }\n'
    with NatsServer(config + clustered(0, ports)) as first, NatsServer(config + clustered(1, ports)) as second:
        url = f"tls://t0ken@localhost:{first.port}"
        async with NatsTransport(url, tls=certificates.client(), reconnect_max_s=0.05, ping_interval_s=0.2) as bus:
            bus.subscribe("check:1", ear, ear.interrupted)
            await eventually(lambda: second.port in {server.port for server in bus._session._guard.servers})
            first.kill()
            await ear.reconnected()
            await round_trip(bus)
            assert bus._session.wire.link.address.port == second.port


async def test_servers_of_a_cluster_are_found_and_used() -> None:
    ports, ear = [free_port(), free_port()], Ear()
    with NatsServer(clustered(0, ports)) as first, NatsServer(clustered(1, ports)) as second:
        options = {"reconnect_max_s": 0.05, "ping_interval_s": 0.2}
        async with NatsTransport(first.url, **options) as bus, NatsTransport(second.url) as other:
            bus.subscribe("check:1", ear, ear.interrupted)
            await bus.flush()
            await eventually(lambda: len(bus._session._guard.servers) == 2)
            first.kill()
            await ear.reconnected()
            await bus.flush()
            other.publish("check:1", envelope(5))
            await ear.until(lambda heard: 5 in heard)


async def test_what_a_server_tells_of_others_may_be_nonsense() -> None:
    urls = ["h:99999", "h", "", ":4222", "h:x", "good:4222"]
    greeting = json.dumps({**INFO, "connect_urls": urls}).encode()
    async with fake_server(b"INFO " + greeting + b"\r\nPONG\r\n") as fake, NatsTransport(f"nats://{fake.address}") as bus:
        assert [str(server) for server in bus._session._guard.servers] == [fake.address, "good:4222"]


async def test_servers_of_which_nobody_tells_any_more_are_not_tried_for_ever() -> None:
    def greeting(*urls: str) -> bytes:
        return b"INFO " + json.dumps({**INFO, "connect_urls": urls}).encode() + b"\r\nPONG\r\n"

    async with (
        fake_server(greeting("127.0.0.1:1", "127.0.0.1:2")) as fake,
        NatsTransport(f"nats://{fake.address}", reconnect_max_s=0.05) as bus,
    ):
        assert len(bus._session._guard.servers) == 3
        for number in range(3, 9):
            fake.greeting = greeting(f"127.0.0.1:{number}")
            bus._session.wire.link.lose("for the test")
            await eventually(lambda number=number: number in {server.port for server in bus._session._guard.servers})
        assert len(bus._session._guard.servers) == 2


async def test_the_server_shows_the_name_of_the_connection() -> None:
    with NatsServer(monitor=True) as server:
        async with NatsTransport(server.url, name="the orders service"):
            page = await monitored(server, "connz")
            assert [client["name"] for client in page["connections"]] == ["the orders service"]


async def test_a_transport_is_used_once_and_inside_async_with() -> None:
    with NatsServer() as server:
        bus = connect(server.url)
        assert isinstance(bus, NatsTransport)
        for call in (lambda: bus.publish("check:1", envelope(1)), lambda: bus.subscribe("check:1", print), bus.__enter__):
            with pytest.raises(UsageError, match="async with"):
                call()
        with pytest.raises(UsageError, match="async with"):
            await bus.flush()
        async with bus:
            assert repr(bus) == f"<NatsTransport to 127.0.0.1:{server.port}, connected>"
            assert bus.connected
            with pytest.raises(UsageError, match="a second 'async with'"):
                await bus.__aenter__()
        assert repr(bus) == f"<NatsTransport to 127.0.0.1:{server.port}, closed>"
        with pytest.raises(ParasyncError):
            await bus.__aenter__()


async def test_connecting_can_be_cancelled() -> None:
    async with fake_server(b"") as fake:
        bus = NatsTransport(f"nats://{fake.address}", connect_timeout_s=DEADLINE_S)
        entering = asyncio.create_task(bus.__aenter__())
        await eventually(lambda: fake.clients == 1)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        await bus.aclose()
