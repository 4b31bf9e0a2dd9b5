"""Counting depth and elements without decoding, against counting them in the value itself."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.codec._limits import check_limits
from parasync.errors import DecodeError

NESTED = frozenset({2, 3})

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.integers(-40, 300),
    st.floats(),
    st.sampled_from([0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536]).map(lambda size: "x" * size),
    st.sampled_from([0, 1, 255, 256, 65_535, 65_536]).map(lambda size: b"\x91" * size),
    st.sampled_from([0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 255, 256, 65_536]).map(lambda size: msgpack.ExtType(9, b"\x91" * size)),
)


class Tagged:
    """A value inside an extension type that holds msgpack itself."""

    def __init__(self, value: list[Any]) -> None:
        self.value = value


values = st.recursive(
    scalars,
    lambda below: st.one_of(
        st.lists(below, max_size=20),
        st.lists(below, max_size=20).map(Tagged),
        st.dictionaries(st.integers(-(2**63), 2**64 - 1) | st.text(max_size=2), below, max_size=20),
    ),
    max_leaves=40,
)


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(value, default=lambda tag: msgpack.ExtType(2, packed(tag.value)))
    return data


def measured(value: Any) -> tuple[int, int]:
    """Depth and number of elements."""
    if isinstance(value, Tagged):
        return measured(value.value)
    if isinstance(value, list | dict):
        parts = value if isinstance(value, list) else [*value, *value.values()]
        below = [measured(part) for part in parts]
        return 1 + max((depth for depth, _ in below), default=0), 1 + sum(count for _, count in below)
    return 0, 1


def passes(data: bytes, depth_max: int, elements_max: int) -> bool:
    try:
        check_limits(data, depth_max, elements_max, NESTED)
    except DecodeError:
        return False
    return True


@given(values)
def test_limits_are_exact(value: Any) -> None:
    data = packed(value)
    depth, elements = measured(value)
    assert passes(data, max(depth, 1), elements)
    assert passes(data, 100, 1_000_000)
    if depth > 1:
        assert not passes(data, depth - 1, 1_000_000)
    if elements > 1 and len(data) > 1:
        assert not passes(data, 1, elements - 1)


@pytest.mark.parametrize("size", [15, 16, 65_535, 65_536])
@pytest.mark.parametrize("kind", [list, dict])
def test_containers_of_all_sizes(kind: type, size: int) -> None:
    value: Any = [None] * size if kind is list else dict.fromkeys(range(size))
    elements = 1 + size * (1 if kind is list else 2)
    assert passes(packed(value), 1, elements)
    assert not passes(packed(value), 1, elements - 1)
    assert passes(packed([value, value]), 2, 2 * elements + 1)
    assert not passes(packed([value, value]), 1, 2 * elements + 1)


@given(values, st.data())
def test_what_is_cut_off_never_crashes(value: Any, data: st.DataObject) -> None:
    whole = packed(value)
    passes(whole[: data.draw(st.integers(0, len(whole)))], 1, data.draw(st.integers(1, 100)))


@pytest.mark.parametrize("header", [b"\xdc\x00\x60", b"\xdd\x00\x00\x00\x60", b"\xde\x00\x30", b"\xdf\x00\x00\x00\x30"])
def test_claims_beyond_the_data_are_refused(header: bytes) -> None:
    """Each claims 96 values; the empty maps among them are too many for the shortcut, so that all is counted."""
    crowded = b"\x80" * 40
    assert passes(header + crowded + b"\x00" * 56, 1, 1_000) is False
    assert passes(header + crowded + b"\x00" * 56, 2, 1_000)
    assert not passes(header + crowded + b"\x00" * 55, 2, 1_000)
