"""The digest, against a second computation from the words of its page, and against values that never change."""

from __future__ import annotations

import binascii
import random
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.protocol import (
    BUCKETS,
    DIGEST_BYTES,
    EPOCH_MAX,
    SEQUENCE_MAX,
    TOMBSTONE_CHECKSUM,
    Digest,
    Position,
    Version,
)
from tests.protocol.kit import element

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
positions = st.builds(
    Position,
    st.builds(Version, st.integers(0, EPOCH_MAX), st.integers(0, SEQUENCE_MAX)),
    st.integers(0, 2**32 - 1),
)
sets = st.dictionaries(keys, positions, max_size=6)


def bucket(key: str) -> int:
    return binascii.crc32(key.encode()) & 0xFF


def at(epoch: int, sequence: int, checksum: int | None) -> Position:
    return Position(Version(epoch, sequence), checksum)


def digest_of(objects: Iterable[tuple[str, Position]]) -> Digest:
    digest = Digest()
    for key, position in objects:
        digest.add(key, position)
    return digest


def facts(digest: Digest) -> tuple[int, int, list[int]]:
    return digest.count, digest.total, digest.buckets


@given(st.dictionaries(keys, positions | st.builds(at, st.integers(0, 9), st.integers(1, 9), st.none())), sets)
def test_many_that_come_at_once_count_like_each_of_them(objects: dict[str, Position], before: dict[str, Position]) -> None:
    before = {key: position for key, position in before.items() if key not in objects}
    digest = digest_of(before.items())
    digest.add_all([(key, *position.version, position.checksum) for key, position in objects.items()])
    assert facts(digest) == facts(digest_of([*before.items(), *objects.items()]))


@given(sets)
def test_it_is_the_sum_of_the_elements(objects: dict[str, Position]) -> None:
    digest = digest_of(objects.items())
    assert digest.count == len(objects)
    assert digest.total == sum(element(key, position) for key, position in objects.items()) % 2**128
    assert digest.buckets == [
        sum(element(key, position) for key, position in objects.items() if bucket(key) == number) % 2**128
        for number in range(256)
    ]
    assert sum(digest.buckets) % 2**128 == digest.total


@given(sets, sets, st.randoms(use_true_random=False))
def test_the_way_leaves_no_trace(before: dict[str, Position], after: dict[str, Position], draw: random.Random) -> None:
    digest = digest_of(before.items())
    touched = [*{**before, **after}]
    draw.shuffle(touched)
    for key in touched:
        digest.replace(key, before.get(key), after.get(key))
    assert facts(digest) == facts(digest_of(after.items()))
    for key, position in after.items():
        digest.remove(key, position)
    assert facts(digest) == (0, 0, [0] * BUCKETS)


@given(sets, keys, positions)
def test_a_copy_is_changed_apart(objects: dict[str, Position], key: str, position: Position) -> None:
    digest = digest_of(objects.items())
    before = facts(digest.copy())
    copied = digest.copy()
    copied.replace(key, objects.get(key), position)
    assert facts(digest) == before
    assert facts(copied) == facts(digest_of({**objects, key: position}.items()))


POSITION = at(5, 7, 99)


@pytest.mark.parametrize(
    "other",
    [
        {"k": at(5, 8, 99)},
        {"k": at(6, 7, 99)},
        {"k": at(7, 5, 99)},
        {"k": at(5, 7, 98)},
        {"k": at(5, 7, TOMBSTONE_CHECKSUM)},
        {"k": at(5, 7, None)},
        {"l": POSITION},
        {},
        {"k": POSITION, "l": POSITION},
    ],
)
def test_what_differs_has_another_digest(other: dict[str, Position]) -> None:
    assert digest_of(other.items()).total != digest_of([("k", POSITION)]).total


@pytest.mark.parametrize(
    ("objects", "hexadecimal", "buckets"),
    [
        ({}, "00000000000000000000000000000000", []),
        ({"user:7": at(5, 12, 0xDEADBEEF)}, "130ce56aad538e9645f346c29031d6fd", [183]),
        ({"user:7": at(5, 13, TOMBSTONE_CHECKSUM)}, "0d835bb731ae6a2f2863f96d12a98129", [183]),
        ({"größe": at(EPOCH_MAX, SEQUENCE_MAX, 2**32 - 1)}, "cbb90a976110d073386f8e4ec8daf72e", [137]),
        ({"user:7": at(5, 12, 0xDEADBEEF), "user:8": at(5, 1, 1)}, "7eb6fbe5a17136c927402029a5e6bc39", [38, 183]),
    ],
)
def test_known_values(objects: dict[str, Position], hexadecimal: str, buckets: list[int]) -> None:
    """Made with `b2sum -l 128`: another release, or another language, must come to the same."""
    digest = digest_of(objects.items())
    assert digest.total.to_bytes(DIGEST_BYTES, "big").hex() == hexadecimal
    assert [number for number, part in enumerate(digest.buckets) if part] == buckets
