"""From URLs to transports."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from parasync import InProcessTransport, connect
from parasync.errors import ConnectError, ParasyncError, UsageError
from parasync.transports.nats import NatsTransport


async def test_a_name_is_one_transport_in_the_process_until_the_last_has_left() -> None:
    first, second = connect("inproc://shop"), connect("inproc://shop")
    assert isinstance(first, InProcessTransport)
    assert first is second
    assert connect("inproc://other") is not first
    async with first:
        async with second:
            pass
        assert not first.closed
    assert first.closed
    again = connect("inproc://shop")
    assert again is not first
    assert not again.closed


def test_a_name_that_nobody_uses_is_forgotten() -> None:
    number = id(connect("inproc://passing"))
    gc.collect()
    keep = [connect("inproc://another")]
    assert connect("inproc://passing") is not keep[0]
    assert number


@pytest.mark.parametrize("url", ["nats://127.0.0.1", "tls://127.0.0.1:4222"])
def test_a_bus(url: str) -> None:
    bus = connect(url, name="orders", ping_interval_s=1.0)
    assert isinstance(bus, NatsTransport)
    assert not bus.connected


@pytest.mark.parametrize("url", ["", "http://x", "nats:x", "inproc:x", "redis://x", None, 5])
def test_another_scheme(url: Any) -> None:
    with pytest.raises(UsageError, match="expected nats://host:port, tls://host:port or inproc://name"):
        connect(url)


def test_a_name_is_needed() -> None:
    with pytest.raises(UsageError, match="without a name"):
        connect("inproc://")


def test_the_rest_of_a_url_must_be_right() -> None:
    with pytest.raises(ConnectError):
        connect("nats://host:port")


@pytest.mark.parametrize("url", ["nats://127.0.0.1", "inproc://with-options"])
def test_options_that_nobody_knows(url: str) -> None:
    with pytest.raises(UsageError, match=r"does not take: colour"):
        connect(url, colour="red")


def test_options_belong_to_the_first_who_uses_a_name() -> None:
    bus = connect("inproc://mine", codec=InProcessTransport().codec)
    with pytest.raises(UsageError, match="which exists already"):
        connect("inproc://mine", codec=bus.codec)


@pytest.mark.parametrize("url", ["ada:s3cret@127.0.0.1:4222", "s3cret@127.0.0.1", "nats:/ada:s3cret@host", "s3cret:x@host"])
@pytest.mark.parametrize("make", [connect, NatsTransport])
def test_a_secret_in_a_url_without_a_scheme_is_not_repeated(make: Any, url: str) -> None:
    with pytest.raises(ParasyncError, match=r"without a scheme|without a host") as caught:
        make(url)
    assert "s3cret" not in str(caught.value)
