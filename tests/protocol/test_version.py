from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.errors import InvalidVersionError, UsageError
from parasync.protocol import ABSENT, EPOCH_MAX, SEQUENCE_MAX, SchemaVersion, Version

epochs = st.integers(0, EPOCH_MAX)
sequences = st.integers(0, SEQUENCE_MAX)
numbers = st.integers(0, 999_999)


@given(epochs, sequences, epochs, sequences)
def test_versions_are_compared_as_pairs(epoch: int, sequence: int, other_epoch: int, other_sequence: int) -> None:
    mine, other = Version(epoch, sequence), Version(other_epoch, other_sequence)
    assert (mine < other) == (epoch < other_epoch or (epoch == other_epoch and sequence < other_sequence))
    assert (mine == other) == (epoch == other_epoch and sequence == other_sequence)


def test_a_later_life_is_above_every_sequence_of_an_earlier_one() -> None:
    assert Version(2, 1) > Version(1, SEQUENCE_MAX)


def test_absent_is_below_every_version_that_was_written() -> None:
    assert Version(0, 0) == ABSENT
    assert Version(0, 1) > ABSENT


@given(epochs, sequences)
def test_a_version_survives_its_text(epoch: int, sequence: int) -> None:
    version = Version(epoch, sequence)
    assert Version.parse(str(version)) == version


def test_the_text_of_a_version_is_epoch_dot_sequence() -> None:
    assert str(Version(12, 7)) == "12.7"
    assert Version.parse("12.7") == (12, 7)
    assert Version.parse(f"{EPOCH_MAX}.{SEQUENCE_MAX}") == (EPOCH_MAX, SEQUENCE_MAX)


@pytest.mark.parametrize(
    "text",
    [
        *("", "7", "1.", ".1", "1.2.3", "-1.2", "1.-2", "+1.2", "01.2", "1.02", "1,2", " 1.2", "1.2 ", "1.2\n", "1e3.1", "١.٢"),
        *(f"{EPOCH_MAX + 1}.1", f"1.{SEQUENCE_MAX + 1}", "9" * 17 + ".1", "1." + "9" * 20, "x" * 10_000),
    ],
)
def test_other_texts_are_no_versions(text: str) -> None:
    with pytest.raises(InvalidVersionError, match=r"expected a version like \"0\.7\"") as caught:
        Version.parse(text)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("thing", [None, 1.2, 7, b"1.2", (1, 2), Version(1, 2)])
def test_other_things_are_no_versions(thing: object) -> None:
    with pytest.raises(InvalidVersionError, match="expected a version like"):
        Version.parse(thing)  # type: ignore[arg-type]


@given(numbers, numbers)
def test_a_schema_version_survives_its_text(major: int, minor: int) -> None:
    version = SchemaVersion(major, minor)
    assert SchemaVersion.parse(str(version)) == version


def test_schema_versions_are_compared_as_numbers() -> None:
    assert SchemaVersion.parse("10.0") > SchemaVersion.parse("9.9")
    assert SchemaVersion.parse("2.10") > SchemaVersion.parse("2.9")


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.", ".1", "1.2.3", "-1.0", "01.0", "1.00", "1.x", "v1.0", " 1.0", "1.0\n", "1000000.0", "1.1000000", "١.٢"],
)
def test_other_texts_are_no_schema_versions(text: str) -> None:
    with pytest.raises(InvalidVersionError, match=r"expected a schema version like \"2\.1\""):
        SchemaVersion.parse(text)


@pytest.mark.parametrize("thing", [None, 1.2, b"1.2", (1, 2), ["1.2"], SchemaVersion(1, 2)])
def test_other_things_are_no_schema_versions(thing: object) -> None:
    with pytest.raises(InvalidVersionError, match=rf"got a {type(thing).__name__}, expected a schema version"):
        SchemaVersion.parse(thing)  # type: ignore[arg-type]


def test_a_wrong_version_is_a_usage_error_and_a_value_error() -> None:
    with pytest.raises(UsageError):
        Version.parse("?")
    with pytest.raises(ValueError, match="got '\\?'"):
        SchemaVersion.parse("?")
