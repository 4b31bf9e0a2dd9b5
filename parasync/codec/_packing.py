"""How msgpack packs: with packers that are kept for the next value."""

from __future__ import annotations

from collections.abc import Callable

from msgpack import Packer


def packing(*, default: Callable[[object], object] | None = None, strict_types: bool = False) -> Callable[[object], bytes]:
    """A function that packs values, for any number of callers and threads.

    Args:
        default: makes something that can be packed of what cannot.
        strict_types: whether a value of a subclass goes to `default`, too.
    """
    # A packer works for one caller at a time, and a tuple inside a value is packed while its owner is: so there is a pool of
    # them.
    idle: list[Packer] = []

    def pack(plain: object) -> bytes:
        try:
            packer = idle.pop()
        except IndexError:
            packer = Packer(default=default, strict_types=strict_types, buf_size=16_384)
        data: bytes = packer.pack(plain)
        idle.append(packer)
        return data

    return pack
