"""What an object costs a mirror beyond its value and its key."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, Final

from parasync import Envelope, MsgpackCodec, Topic
from parasync.protocol import Mirror

COUNT: Final = 20_000
OVERHEAD_BYTES_MAX: Final = 300
EPOCH: Final = 1_700_000_000 << 20
NUMBERS: Final = Topic("number", dict[str, int])


def received(frames: list[tuple[str, bytes]]) -> Iterator[tuple[str, Envelope[Any]]]:
    """As from a bus: nothing in an envelope is shared with another one, nor with what was sent."""
    codec = MsgpackCodec()
    for key, frame in frames:
        yield "".join(key), codec.decode_frame(key, frame)


def bytes_of(fill: Callable[[], object]) -> int:
    """How much more memory is in use while what this makes is kept."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = fill()
        gc.collect()
        used, _ = tracemalloc.get_traced_memory()
        del kept
        return used
    finally:
        tracemalloc.stop()


def test_an_object_costs_little_beyond_its_value() -> None:
    codec = MsgpackCodec()
    read = NUMBERS.reader(codec)
    keys = [f"number:{number:08}" for number in range(COUNT)]
    frames = [
        (key, codec.encode_frame(key, Envelope({"a": number}, "1.0", 1000 + number, EPOCH))) for number, key in enumerate(keys)
    ]

    def mirrored() -> Mirror[Any]:
        mirror: Mirror[Any] = Mirror("number", read)
        mirror.rules.current_epoch = EPOCH
        for key, envelope in received(frames):
            mirror.live_received(key, envelope, mirror.prepare(key, envelope))
        mirror._unconfirmed = set()
        return mirror

    def bare() -> list[object]:
        return [read(envelope) for _, envelope in received(frames)]

    places = COUNT * 8
    overhead = (bytes_of(mirrored) - bytes_of(bare) + places) / COUNT
    assert overhead < OVERHEAD_BYTES_MAX, f"{overhead:.0f} bytes"
