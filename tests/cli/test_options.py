"""Ways into a bus: each option of the command line opens a server that asks for it, and none opens it without."""

from __future__ import annotations

from pathlib import Path

import click
import nkeys
import pytest

from parasync.cli._options import BusOptions
from parasync.errors import ConnectError
from parasync.transports._nats_process import NatsServer
from tests.cli.kit import Shell
from tests.nats.kit import Certificates, Nkey, creds_and_config

pytestmark = [pytest.mark.nats, pytest.mark.processes]


async def opens(options: BusOptions, url: str) -> bool:
    try:
        async with options.transport(url, "a test"):
            return True
    except ConnectError:
        return False


async def test_an_nkey_seed_may_stand_among_comments(tmp_path: Path) -> None:
    key = Nkey(nkeys.PREFIX_BYTE_USER)
    seed = tmp_path / "user.nk"
    seed.write_text(f"# a comment\n{key.seed}\n")
    with NatsServer(f"authorization {{ users = [ {{ nkey: {key.public} }} ] }}") as server:
        assert await opens(BusOptions(nkey=seed), server.url)
        assert not await opens(BusOptions(), server.url)
    seed.write_text(key.public)
    with pytest.raises(click.BadParameter, match="holds no nkey seed"):
        BusOptions(nkey=seed).transport("nats://127.0.0.1:1", "x")


async def test_a_credentials_file(tmp_path: Path) -> None:
    creds, config = creds_and_config(tmp_path / "user.creds")
    with NatsServer(config) as server:
        assert await opens(BusOptions(creds=creds), server.url)
        assert not await opens(BusOptions(), server.url)


def certificates(folder: Path) -> tuple[Certificates, Path, Path]:
    made = Certificates(folder)
    shown = made.authority.issue_cert("client@example.org")
    shown.cert_chain_pems[0].write_to_path(folder / "client.pem")
    shown.private_key_pem.write_to_path(folder / "client.key")
    return made, folder / "client.pem", folder / "client.key"


async def test_mutual_tls(tmp_path: Path) -> None:
    made, certificate, key = certificates(tmp_path)
    with NatsServer(made.server_config(verify=True)) as server:
        authority = tmp_path / "authority.pem"
        assert await opens(BusOptions(tls_ca=authority, tls_cert=certificate, tls_key=key), server.url)
        assert not await opens(BusOptions(tls_ca=authority), server.url), "a certificate is asked for"
        assert not await opens(BusOptions(tls_cert=certificate, tls_key=key), server.url), "the server is not trusted"
        assert not await opens(BusOptions(), server.url)


async def test_tls_from_the_first_byte_and_another_name(tmp_path: Path) -> None:
    made, _, _ = certificates(tmp_path)
    with NatsServer(made.server_config(first=True, name="bus.example.org")) as server:
        authority = tmp_path / "authority.pem"
        assert await opens(BusOptions(tls_ca=authority, tls_first=True, tls_hostname="bus.example.org"), server.url)
        assert not await opens(BusOptions(tls_ca=authority, tls_first=True), server.url)


@pytest.mark.parametrize("prefix", ["mine", "a.b"])
def test_a_prefix_keeps_buses_on_one_server_apart(shell: Shell, conf: Path, prefix: str) -> None:
    with NatsServer() as server:
        shell.environment |= {"PARASYNC_URL": f"{server.url},{server.url}"}
        with shell.running("serve", "conf", "--prefix", prefix) as serving:
            serving.wait_for("serving 3 objects", "err")
            assert shell.run("get", "config:db").code == 4
            assert shell.run("get", "config:db", "--prefix", prefix).code == 0


def test_the_environment_opens_as_well(shell: Shell, conf: Path) -> None:
    made, certificate, key = certificates(shell.folder)
    with NatsServer(made.server_config(verify=True)) as server:
        shell.environment |= {
            "PARASYNC_URL": server.url.replace("nats://", "tls://"),
            "PARASYNC_TLS_CA": str(shell.folder / "authority.pem"),
            "PARASYNC_TLS_CERT": str(certificate),
            "PARASYNC_TLS_KEY": str(key),
        }
        with shell.running("serve", "conf") as serving:
            serving.wait_for("serving 3 objects", "err")
            assert shell.out("get", "config:db") == '{"host": "db1"}'
        del shell.environment["PARASYNC_TLS_CA"]
        done = shell.run("get", "config:db")
        assert done.code == 5
        assert "certificate is not trusted" in done.err
