"""Depth and number of elements, counted before anything is allocated for them.

A few bytes of msgpack can claim huge arrays inside each other, and a decoder that believes the headers allocates for all of
them. What is small or flat cannot: that is told by counting the bytes that could be headers at all, at the speed of C. Only
what remains is walked, header by header, without decoding it.
"""

from __future__ import annotations

from typing import Final

from parasync.errors import DecodeError

_CONTAINERS: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_SMALL_BYTES: Final = 4096
_CLAIMS_MAX: Final = 1_000_000
_SCALAR: Final = -1
_TRANSPARENT: Final = -2

_CONSTANTS: Final = {0xC0: 1, 0xC2: 1, 0xC3: 1}
_NUMBERS: Final = {0xCA: 5, 0xCB: 9, 0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
_FIXED: Final = {**_CONSTANTS, **_NUMBERS}
_FIXED_EXT: Final = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_SIZED: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_SIZED_EXT: Final = {0xC7: 1, 0xC8: 2, 0xC9: 4}
_HEADERS: Final = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


def _step(code: int) -> int:
    """The bytes of a token that needs no look at its length; 0 for all others."""
    if code < 0x80 or code >= 0xE0:
        return 1
    if 0xA0 <= code < 0xC0:
        return code - 0xA0 + 1
    return _FIXED.get(code, 0)


_STEPS: Final = tuple(map(_step, range(256)))


def check_limits(data: bytes, depth_max: int, elements_max: int, nested: frozenset[int]) -> None:
    """Return if the data can be decoded without harm.

    Args:
        data: one msgpack value; it need not be well-formed, a decoder will find that out.
        depth_max: the most containers inside each other.
        elements_max: the most values, those in containers included.
        nested: the codes of extension types that hold msgpack values themselves.

    Raises:
        DecodeError: it is deeper, holds more, or claims more than its bytes can hold.
    """
    size = len(data)
    if size <= depth_max:
        return
    flat = size <= elements_max and size - len(data.translate(None, _CONTAINERS)) <= depth_max
    # Each array allocates for what its header claims, at most for one item a byte.
    if flat and (size <= _SMALL_BYTES or (data.count(b"\xdc") + data.count(b"\xdd")) * size <= _CLAIMS_MAX):
        return
    try:
        _walk(data, depth_max, elements_max, nested)
    except IndexError:
        pass
    else:
        return
    raise DecodeError("got truncated data, expected one whole value")


def _walk(data: bytes, depth_max: int, elements_max: int, nested: frozenset[int]) -> None:
    steps, size = _STEPS, len(data)
    position, left, elements = 0, 1, 1
    open_counts: list[int] = []
    while True:
        while left:
            code = data[position]
            step = steps[code]
            if step:
                position += step
                left -= 1
                continue
            claimed, position = _opened(data, position, code, nested)
            if claimed == _TRANSPARENT:
                continue
            left -= 1
            if claimed >= 0:
                elements += claimed
                if elements > elements_max or claimed > size - position:
                    raise DecodeError(f"got more than {elements_max} elements, or more than the data can hold")
                open_counts.append(left)
                left = claimed
                if len(open_counts) > depth_max:
                    raise DecodeError(f"got values nested more than {depth_max} deep")
        if not open_counts:
            return
        left = open_counts.pop()


def _opened(data: bytes, position: int, code: int, nested: frozenset[int]) -> tuple[int, int]:
    """The number of values that a container claims, and where the next token begins.

    The value inside a nested extension type takes its place: its own header is the one that counts.
    """
    if 0x80 <= code < 0xA0:
        return ((code & 0x0F) * 2 if code < 0x90 else code & 0x0F), position + 1
    if code in _HEADERS:
        width, each = _HEADERS[code]
        return _number(data, position + 1, width) * each, position + 1 + width
    if code in _SIZED:
        width = _SIZED[code]
        return _SCALAR, position + 1 + width + _number(data, position + 1, width)
    if code in _FIXED_EXT or code in _SIZED_EXT:
        width = _SIZED_EXT.get(code, 0)
        length = _number(data, position + 1, width) if width else _FIXED_EXT[code]
        start = position + 1 + width
        return (_TRANSPARENT, start + 1) if data[start] in nested else (_SCALAR, start + 1 + length)
    raise DecodeError("got a byte that begins no value")


def _number(data: bytes, position: int, width: int) -> int:
    if position + width > len(data):
        raise IndexError
    return int.from_bytes(data[position : position + width], "big")
