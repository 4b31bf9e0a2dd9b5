"""No flipped bit, cut or mixed-up message passes for another one."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.errors import DecodeError
from parasync.transports._seal import SEAL_BYTES, sealed, unsealed


@given(st.binary(), st.binary())
def test_what_was_sealed_comes_back(data: bytes, about: bytes) -> None:
    assert unsealed(sealed(data, about), about) == data


def test_the_seal_is_that_of_the_page() -> None:
    assert sealed(b"data", b"subject") == b"data" + zlib.crc32(b"data", zlib.crc32(b"subject")).to_bytes(4, "big")


def test_no_flipped_bit_passes() -> None:
    whole = sealed(b"[1, 2, 'three']", b"synced-ask.user.state")
    for place in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(DecodeError, match="wrong checksum"):
            unsealed(bytes(flipped), b"synced-ask.user.state")


@pytest.mark.parametrize("length", range(SEAL_BYTES + 3))
def test_nothing_shorter_passes(length: int) -> None:
    with pytest.raises(DecodeError):
        unsealed(sealed(b"abc", b"x")[:length], b"x")


def test_what_belongs_to_something_else_does_not_pass() -> None:
    with pytest.raises(DecodeError, match="meant for somebody else"):
        unsealed(sealed(b"abc", b"one"), b"other")
