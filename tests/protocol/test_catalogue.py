"""Where all objects stand, and which of them lie in a range: against a plain map, and lists that are sorted anew each time."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.errors import InvalidKeyError, UsageError
from parasync.protocol import (
    ABSENT,
    BUCKETS,
    EPOCH_MAX,
    SCAN_KEYS_MAX,
    SEQUENCE_MAX,
    TOMBSTONE_CHECKSUM,
    Catalogue,
    Digest,
    Position,
    Scan,
    Version,
    bucket_of,
    check_scan,
    is_in_range,
)

KEYS = [f"{topic}:{number}" for topic in ("t", "u") for number in range(300)]
"""More than there are buckets, so that some share one."""
IN_BUCKET = {bucket_of(key): [other for other in KEYS if bucket_of(other) == bucket_of(key)] for key in KEYS}
keys = st.sampled_from(KEYS)
versions = st.builds(Version, st.integers(0, EPOCH_MAX), st.integers(0, SEQUENCE_MAX))
positions = st.builds(Position, versions, st.none() | st.integers(0, 2**32 - 1))


def at(sequence: int) -> Position:
    return Position(Version(1, sequence), sequence)


def whole(**changes: Any) -> Scan:
    return attrs.evolve(Scan(0, ABSENT, "", tuple(range(BUCKETS))), **changes)


def facts(digest: Digest) -> tuple[int, int, list[int]]:
    return digest.count, digest.total, digest.buckets


near = st.builds(Position, st.builds(Version, st.integers(0, 2), st.integers(0, 2)), st.sampled_from([0, 0, 1]))
"""Few positions, so that tombstones are often at a floor."""
moved = st.tuples(st.sampled_from(KEYS[:9]) | keys, st.none() | positions | near)
changes = moved | near.map(lambda position: position.version)


@given(st.dictionaries(keys, positions, max_size=5), near, st.lists(changes, max_size=30))
def test_it_is_a_map_with_a_digest_and_a_floor(
    begun: dict[str, Position], lowest: Position, moves: list[tuple[str, Position | None] | Version]
) -> None:
    floor = lowest.version
    catalogue, model = Catalogue(begun.items(), floor=floor), dict(begun)

    def drop() -> None:
        for key in [key for key, held in model.items() if held.checksum == TOMBSTONE_CHECKSUM and held.version <= floor]:
            del model[key]

    drop()
    for change in moves:
        if isinstance(change, Version):
            catalogue.raise_floor(change)
            floor = max(floor, change)
        else:
            key, position = change
            catalogue.move(key, position)
            model.pop(key, None)
            model |= {} if position is None else {key: position}
        drop()
        assert catalogue.floor == floor
    assert {key: catalogue.get(key) for key in KEYS} == {key: model.get(key) for key in KEYS}
    assert len(catalogue) == len(model)
    digest = Digest()
    for key, position in model.items():
        digest.add(key, position)
    assert facts(catalogue.digest) == facts(digest)
    assert sorted(catalogue.keys_of(whole())) == sorted(model)


def order(key: str) -> tuple[int, str]:
    return bucket_of(key), key


def expected(scan: Scan, held: set[str]) -> list[str]:
    """The range, in the plainest way."""
    begin = (scan.buckets[0], scan.after)
    found = [key for key in held if bucket_of(key) in scan.buckets and order(key) > begin and key.startswith(scan.prefix)]
    end = (scan.buckets[-1], scan.upto)
    return sorted((key for key in found if not scan.upto or order(key) <= end), key=order)


@st.composite
def ranges(draw: st.DrawFn) -> Scan:
    buckets = draw(st.lists(keys.map(bucket_of) | st.integers(0, BUCKETS - 1), min_size=1, max_size=8, unique=True).map(sorted))
    ends = [["", *IN_BUCKET.get(bucket, ())] for bucket in (buckets[0], buckets[-1])]
    after, upto = draw(st.sampled_from(ends[0])), draw(st.sampled_from(ends[1]))
    return whole(prefix=draw(st.sampled_from(["", "t:", "t:1", "u:29", "v"])), buckets=tuple(buckets), after=after, upto=upto)


@given(ranges(), st.sets(keys), st.lists(keys), st.integers(1, 20))
def test_the_keys_of_a_range_are_in_its_order(scan: Scan, held: set[str], others: list[str], limit: int) -> None:
    catalogue = Catalogue((key, at(1)) for key in held)
    found = expected(scan, held | set(others))
    assert catalogue.keys_of(scan, others) == found
    assert catalogue.keys_of(scan, others, limit=limit) == found[:limit]
    assert {key for key in KEYS if is_in_range(scan, key)} == set(expected(scan, set(KEYS)))
    check_scan(attrs.evolve(scan, keys=tuple(found), positions=(None,) * len(found)))


SEVEN = bucket_of("t:7")
ELSEWHERE = (SEVEN + 1) % BUCKETS


@pytest.mark.parametrize(
    "changes",
    [
        {"buckets": ()},
        {"buckets": (3, 2)},
        {"buckets": (2, 2)},
        {"buckets": (2, 1, 3)},
        {"buckets": (-1, 2)},
        {"buckets": (2, BUCKETS)},
        {"buckets": (ELSEWHERE,), "after": "t:7"},
        {"buckets": (ELSEWHERE,), "upto": "t:7"},
        {"keys": ("t:7",)},
        {"positions": (None,)},
        {"keys": tuple(f"t:{number}" for number in range(SCAN_KEYS_MAX + 1)), "positions": (None,) * (SCAN_KEYS_MAX + 1)},
        {"keys": ("t:7", "t:7"), "positions": (None, None)},
        {"keys": ("t:7",), "positions": (None,), "prefix": "t:8"},
        {"keys": ("t:7",), "positions": (None,), "buckets": (ELSEWHERE,)},
        {"keys": ("t:7",), "positions": (None,), "buckets": (SEVEN,), "after": "t:7"},
    ],
)
def test_what_is_no_range_or_names_what_lies_outside_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"got .* expected"):
        check_scan(whole(**changes))


@pytest.mark.parametrize("changes", [{"after": "t:"}, {"upto": "\ud800"}, {"keys": ("",), "positions": (None,)}])
def test_what_is_no_key_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidKeyError):
        check_scan(whole(**changes))
