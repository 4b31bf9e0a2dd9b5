from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.protocol import (
    ABSENT,
    EPOCH_BITS,
    EPOCH_MAX,
    TOMBSTONE_CHECKSUM,
    Ask,
    Plan,
    Position,
    Version,
    is_same,
    next_epoch,
    next_version,
    plan_answer,
)

LIFE = 1 << EPOCH_BITS
WALL_S = 1_800_000_000
epochs = st.integers(0, (1 << 32) * LIFE)
walls_s = st.floats(0, 1 << 32)


def at(epoch: int, sequence: int, checksum: int | None = 1) -> Position:
    return Position(Version(epoch, sequence), checksum)


def ask(*positions: Position | None, epoch: int = 0) -> Ask:
    return Ask(epoch, ("k",) * len(positions), positions)


# Epochs


@given(epochs, epochs, walls_s, st.integers(0, 1 << 64))
def test_a_new_epoch_is_above_all_that_is_stored_heard_or_past(stored: int, heard: int, wall_s: float, bits: int) -> None:
    epoch = next_epoch(stored=stored, heard=heard, wall_s=wall_s, random_bits=bits)
    assert epoch > max(stored, heard)
    assert epoch > int(wall_s) * LIFE
    assert epoch <= EPOCH_MAX


@given(epochs, epochs, walls_s, st.integers(0, LIFE - 1), st.integers(0, LIFE - 1))
def test_two_authorities_that_know_the_same_differ_by_their_random_bits(
    stored: int, heard: int, wall_s: float, bits: int, other_bits: int
) -> None:
    mine = next_epoch(stored=stored, heard=heard, wall_s=wall_s, random_bits=bits)
    other = next_epoch(stored=stored, heard=heard, wall_s=wall_s, random_bits=other_bits)
    assert (mine == other) == (bits == other_bits)


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    first = next_epoch(stored=0, heard=0, wall_s=WALL_S, random_bits=5)
    assert first == (WALL_S + 1) * LIFE + 5
    assert next_epoch(stored=first, heard=0, wall_s=0.0, random_bits=0) == (WALL_S + 2) * LIFE
    assert next_epoch(stored=0, heard=first, wall_s=-1.0, random_bits=0) == (WALL_S + 2) * LIFE


def test_the_last_epoch_is_the_last() -> None:
    assert next_epoch(stored=EPOCH_MAX, heard=0, wall_s=WALL_S, random_bits=0) == EPOCH_MAX


def test_epochs_of_our_century_fit_into_a_javascript_number() -> None:
    assert next_epoch(stored=0, heard=0, wall_s=4_102_444_800.0, random_bits=-1) < EPOCH_MAX


# Versions


@pytest.mark.parametrize(
    ("current", "epoch", "floor", "deletes", "expected"),
    [
        (None, 2, ABSENT, False, "2.1"),
        (None, 2, ABSENT, True, "2.1"),
        ("2.7", 2, ABSENT, False, "2.8"),
        ("2.7", 2, ABSENT, True, "2.8"),
        # Sequences go on across lives.
        ("1.7", 2, ABSENT, False, "2.8"),
        # What comes after a dropped tombstone of this life is above it, and so is a deletion.
        (None, 2, Version(2, 9), False, "2.10"),
        (None, 2, Version(2, 9), True, "2.10"),
        ("2.7", 2, Version(2, 9), True, "2.10"),
        ("2.12", 2, Version(2, 9), True, "2.13"),
        # An object that exists was never dropped.
        ("2.7", 2, Version(2, 9), False, "2.8"),
        # A floor of an earlier life is below everything.
        (None, 2, Version(1, 9), False, "2.1"),
        ("1.3", 2, Version(1, 9), True, "2.4"),
    ],
)
def test_the_version_of_a_write(current: str | None, epoch: int, floor: Version, deletes: bool, expected: str) -> None:
    below = None if current is None else Version.parse(current)
    assert next_version(below, epoch=epoch, floor=floor, deletes=deletes) == Version.parse(expected)


@given(st.lists(st.tuples(st.sampled_from(["write", "delete", "floor", "life"]), st.integers(0, 3)), max_size=30))
def test_versions_of_a_key_strictly_increase_also_after_its_tombstones_were_dropped(steps: list[tuple[str, int]]) -> None:
    """Four keys, one floor: whatever is dropped in between, a replica of a key never hears of a version twice."""
    epoch, floor = 1, ABSENT
    objects: dict[int, tuple[Version, bool]] = {}
    highest: dict[int, Version] = {}
    for step, key in steps:
        if step == "life":
            epoch += 1
        elif step == "floor":
            deleted = [version for version, gone in objects.values() if gone and version.epoch == epoch]
            floor = max([floor, *deleted])
            objects = {k: (version, gone) for k, (version, gone) in objects.items() if not gone or version > floor}
        else:
            deletes = step == "delete"
            version = next_version(objects[key][0] if key in objects else None, epoch=epoch, floor=floor, deletes=deletes)
            assert version > highest.get(key, ABSENT)
            assert not deletes or version > floor
            objects[key] = version, deletes
            highest[key] = version


# Answers


@pytest.mark.parametrize(
    ("held", "plan"),
    [
        (None, Plan(None, False, ())),
        (at(2, 6), Plan(None, False, ())),
        (at(1, 99), Plan(None, False, ())),
        (at(2, 7), Plan(None, False, ())),
        (at(2, 7, None), Plan(None, False, ())),
        # The asker holds what is not here: history was lost.
        (at(2, 7, 2), Plan(None, False, ("k",))),
        (at(2, 8), Plan(None, True, ("k",))),
        (at(3, 1), Plan(3, False, ("k",))),
    ],
)
def test_what_is_owed_to_an_asker(held: Position | None, plan: Plan) -> None:
    assert plan_answer(ask(held), {"k": at(2, 7)}, epoch=2) == plan


@pytest.mark.parametrize(
    ("held", "plan"),
    [
        (None, Plan(None, False, ())),
        (at(2, 4), Plan(None, False, ())),
        (at(2, 5, TOMBSTONE_CHECKSUM), Plan(None, False, ())),
        (at(2, 5), Plan(None, False, ("k",))),
        (at(2, 6), Plan(None, True, ("k",))),
        (at(1, 9), Plan(None, False, ())),
    ],
)
def test_an_absent_object_is_a_tombstone_at_the_floor(held: Position | None, plan: Plan) -> None:
    assert plan_answer(ask(held), {}, epoch=2, floor=Version(2, 5)) == plan


def test_history_of_an_earlier_life_needs_no_new_epoch() -> None:
    assert plan_answer(ask(at(1, 9)), {"k": at(1, 5)}, epoch=2) == Plan(None, False, ("k",))
    assert plan_answer(ask(at(1, 9)), {}, epoch=2) == Plan(None, False, ("k",))


def test_an_epoch_above_may_have_been_heard_without_a_position() -> None:
    assert plan_answer(ask(None, epoch=3), {}, epoch=2) == Plan(3, False, ())
    assert plan_answer(ask(at(2, 7), epoch=2), {"k": at(2, 7)}, epoch=2) == Plan(None, False, ())


def test_an_epoch_above_makes_another_new_epoch_needless() -> None:
    assert plan_answer(ask(at(2, 8), epoch=3), {"k": at(2, 7)}, epoch=2) == Plan(3, False, ("k",))
    assert plan_answer(ask(at(2, 8), at(4, 1)), {"k": at(2, 7)}, epoch=2) == Plan(4, False, ("k",))


def test_a_key_that_stands_twice_is_written_anew_once() -> None:
    assert plan_answer(ask(at(2, 8), None, at(2, 9), at(2, 7)), {"k": at(2, 7)}, epoch=2) == Plan(None, True, ("k",))


def test_every_key_is_judged_by_itself() -> None:
    several = Ask(0, ("a", "b", "c", "d"), (at(2, 8), at(2, 1), at(2, 3, 9), None))
    stored = {"a": at(2, 7), "b": at(2, 5), "c": at(2, 3), "d": at(2, 1)}
    assert plan_answer(several, stored, epoch=2) == Plan(None, True, ("a", "c"))


def test_an_ask_without_a_position_for_each_key_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        plan_answer(Ask(0, ("a", "b"), (None,)), {}, epoch=2)


@pytest.mark.parametrize(
    ("position", "other", "same"),
    [
        (at(2, 7), at(2, 7), True),
        (at(2, 7), at(2, 7, 2), False),
        (at(2, 7), at(2, 8), False),
        (at(2, 7), at(3, 7), False),
        # What was never encoded has no checksum, and cannot be told apart; but it is no tombstone.
        (at(2, 7, None), at(2, 7), True),
        (at(2, 7, None), at(2, 7, None), True),
        (at(2, 7, None), at(2, 8), False),
        (at(2, 7, None), at(2, 7, TOMBSTONE_CHECKSUM), False),
        (at(2, 7, TOMBSTONE_CHECKSUM), at(2, 7, TOMBSTONE_CHECKSUM), True),
    ],
)
def test_two_positions_are_the_same_as_far_as_checksums_tell(position: Position, other: Position, same: bool) -> None:
    assert is_same(position, other) is same
    assert is_same(other, position) is same
