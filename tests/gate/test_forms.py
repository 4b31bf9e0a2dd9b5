"""The texts of standard values."""

from __future__ import annotations

import io
import struct
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.errors import EncodeError
from parasync.gate import DECIMAL_CHARS_MAX, ZONE_CHARS_MAX
from parasync.gate._forms import FORMS, read_datetime, read_timedelta, write_datetime, write_time, write_timedelta
from tests.gate.kit import STANDARD, same

BERLIN = ZoneInfo("Europe/Berlin")


class Moving(tzinfo):
    """A zone of a third party."""

    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(hours=1)


@pytest.mark.parametrize("type_", list(STANDARD), ids=lambda type_: type_.__name__)
@given(data=st.data())
def test_round_trips(type_: type, data: st.DataObject) -> None:
    form = FORMS[type_]
    value = data.draw(STANDARD[type_])
    assert same(form.read(form.write(value)), value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN), "2026-10-25T02:30:00+02:00[Europe/Berlin]"),
        (datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), "2026-10-25T02:30:00+01:00[Europe/Berlin][fold=1]"),
        (datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN), "2026-03-29T02:30:00+01:00[Europe/Berlin]"),
        (datetime(2026, 3, 29, 2, 30, tzinfo=BERLIN, fold=1), "2026-03-29T02:30:00+02:00[Europe/Berlin][fold=1]"),
        (datetime(2026, 1, 1, tzinfo=ZoneInfo("UTC")), "2026-01-01T00:00:00+00:00[UTC]"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
        (datetime(2026, 1, 1, fold=1), "2026-01-01T00:00:00[fold=1]"),  # noqa: DTZ001
        (datetime(1, 1, 1), "0001-01-01T00:00:00"),  # noqa: DTZ001
        (datetime(2026, 1, 1, tzinfo=timezone(timedelta(microseconds=-1))), "2026-01-01T00:00:00-00:00:00.000001"),
        (time(2, 30, tzinfo=BERLIN), "02:30:00[Europe/Berlin]"),
        (time(2, 30, tzinfo=UTC, fold=1), "02:30:00+00:00[fold=1]"),
        (timedelta(0), "PT0S"),
        (timedelta(days=-1, microseconds=500_000), "-PT86399.5S"),
        (timedelta(days=3), "P3D"),
        (timedelta.max, "P999999999DT86399.999999S"),
        (timedelta.min, "-P999999999D"),
        (Decimal("1E+3"), "1E+3"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ],
    ids=str,
)
def test_texts(value: object, text: str) -> None:
    form = FORMS[type(value)]
    assert form.write(value) == text
    assert same(form.read(text), value)


def test_where_zones_have_other_rules_the_instant_survives() -> None:
    """The writer's tables said that Berlin is at +05:00 then."""
    read = read_datetime("2026-07-01T12:00:00+05:00[Europe/Berlin]")
    assert read.utctimetuple() == datetime(2026, 7, 1, 7, tzinfo=UTC).utctimetuple()
    assert read.tzinfo == BERLIN


def a_zone_without_a_name() -> ZoneInfo:
    """UTC, from the bytes of a time zone file (RFC 8536) with one type and no transitions."""
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    return ZoneInfo.from_file(io.BytesIO(b"TZif" + bytes(16) + counts + bytes(6) + b"UTC\0"))


@pytest.mark.parametrize("zone", [Moving(), a_zone_without_a_name()], ids=["of a third party", "from a file"])
def test_zones_that_cannot_be_named_are_refused(zone: tzinfo) -> None:
    with pytest.raises(EncodeError, match="time zone"):
        write_datetime(datetime(2026, 1, 1, tzinfo=zone))
    with pytest.raises(EncodeError, match="time zone"):
        write_time(time(1, tzinfo=zone))


@pytest.mark.parametrize("name", ["../../etc/passwd", "Europe", "x" * ZONE_CHARS_MAX, "/etc/localtime", "Nowhere/City", "-"])
def test_no_zone_by_that_name(name: str) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match=r"zone|form"):
            read_datetime(f"2026-01-01T00:00:00+00:00[{name}]")


@given(st.text("0123456789PTDHMS.-", max_size=16))
def test_texts_that_are_no_durations(text: str) -> None:
    try:
        value = read_timedelta(text)
    except (ValueError, OverflowError):
        return
    assert read_timedelta(write_timedelta(value)) == value


def test_decimals_are_limited() -> None:
    long = Decimal("1" * (DECIMAL_CHARS_MAX + 1))
    with pytest.raises(EncodeError, match="characters"):
        FORMS[Decimal].write(long)
    with pytest.raises(ValueError, match="long"):
        FORMS[Decimal].read(str(long))
    fits = Decimal("1" * DECIMAL_CHARS_MAX)
    assert FORMS[Decimal].read(FORMS[Decimal].write(fits)) == fits
