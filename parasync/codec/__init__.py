"""Bytes on a bus and in a store: bodies (values), frames (envelopes) and messages (all else)."""

from __future__ import annotations

from parasync.codec._frame import (
    FORMAT,
    HEADER_BYTES_MAX,
    META_BYTES_MAX,
    META_ENTRIES_MAX,
    body_checksum,
    meta_bytes,
    meta_fits,
)
from parasync.codec._msgpack import (
    DEPTH_MAX,
    ELEMENTS_MAX,
    EPOCH_AHEAD_MAX_S,
    FRAME_BYTES_MAX,
    FRAME_OVERHEAD_BYTES_MAX,
    MsgpackCodec,
)
from parasync.codec._protocol import Codec
from parasync.codec._tags import INTEGER_BYTES_MAX

__all__ = [
    "DEPTH_MAX",
    "ELEMENTS_MAX",
    "EPOCH_AHEAD_MAX_S",
    "FORMAT",
    "FRAME_BYTES_MAX",
    "FRAME_OVERHEAD_BYTES_MAX",
    "HEADER_BYTES_MAX",
    "INTEGER_BYTES_MAX",
    "META_BYTES_MAX",
    "META_ENTRIES_MAX",
    "Codec",
    "MsgpackCodec",
    "body_checksum",
    "meta_bytes",
    "meta_fits",
]
