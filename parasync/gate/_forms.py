"""Texts for the standard values that msgpack lacks: exact both ways, and strict about what they take.

Dates and times are written in ISO 8601, with the name of the time zone behind in brackets where there is one (RFC 9557):
`2026-10-25T02:30:00+01:00[Europe/Berlin]`. Durations are days and seconds (`-P1DT0.5S`), decimals and UUIDs as Python prints
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from parasync.errors import EncodeError

DECIMAL_CHARS_MAX: Final = 10_000
"""The longest text of a decimal; a longer one is refused by writer and reader."""
ZONE_CHARS_MAX: Final = 64
"""The longest name of a time zone; a longer one is refused by writer and reader."""

_CLOCK: Final = r"\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?"
_OFFSET: Final = r"Z|[+-]\d{2}:\d{2}(?::\d{2}(?:\.\d{6})?)?"
_OFFSET_CHARS_PLAIN: Final = len("+00:00:00")
_SUFFIX: Final = rf"(\[[A-Za-z0-9_+/-]{{1,{ZONE_CHARS_MAX}}}\])?(\[fold=1\])?"
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATETIME: Final = re.compile(rf"(\d{{4}}-\d{{2}}-\d{{2}}T{_CLOCK})({_OFFSET})?{_SUFFIX}", re.ASCII)
_TIME: Final = re.compile(rf"({_CLOCK})({_OFFSET})?{_SUFFIX}", re.ASCII)
_DURATION: Final = re.compile(
    r"(-)?P(?!$)(?:(\d{1,9})D)?(?:T(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.(\d{1,6}))?S)?)?", re.ASCII
)
_DECIMAL: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|-?(?:Infinity|s?NaN\d*)", re.ASCII)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


class Form(NamedTuple):
    """How one type is written as text: `write` raises `EncodeError`, `read` raises `ValueError` (or what Python raises)."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


def write_datetime(value: datetime) -> str:
    """The text of a datetime, naive or aware.

    Raises:
        EncodeError: its time zone is neither a fixed offset nor a named `ZoneInfo`.
    """
    return value.isoformat() + _suffix(value.tzinfo, value.fold)


def read_datetime(text: str) -> datetime:
    """The datetime that a text stands for; a `ValueError` if it is none."""
    match = _matched(_DATETIME, text)
    value = datetime.fromisoformat(match[1] + (match[2] or ""))
    if match[2] and len(match[2]) > _OFFSET_CHARS_PLAIN:
        value = value.replace(tzinfo=_exact_offset(match[2]))
    fold = 1 if match[4] else 0
    if match[3] is None:
        return value.replace(fold=1) if fold else value
    if value.tzinfo is None:
        raise ValueError("a named zone needs an offset")
    zone = zone_named(match[3][1:-1])
    local = value.replace(tzinfo=zone, fold=fold)
    # Where this machine knows other rules for the zone than the writer did, the instant is what has to survive.
    return local if local.utcoffset() == value.utcoffset() else value.astimezone(zone)


def write_time(value: time) -> str:
    """The text of a time of day; raises `EncodeError` like `write_datetime`."""
    # A named zone of one offset would print that too, others cannot without a date.
    plain = value.replace(tzinfo=None) if type(value.tzinfo) is ZoneInfo else value
    return plain.isoformat() + _suffix(value.tzinfo, value.fold)


def read_time(text: str) -> time:
    """The time of day that a text stands for; a `ValueError` if it is none."""
    match = _matched(_TIME, text)
    value = time.fromisoformat(match[1] + (match[2] or ""))
    if match[2] and len(match[2]) > _OFFSET_CHARS_PLAIN:
        value = value.replace(tzinfo=_exact_offset(match[2]))
    if match[4]:
        value = value.replace(fold=1)
    if match[3] is None:
        return value
    if value.tzinfo is not None:
        raise ValueError("a time of day has an offset or a zone, not both")
    return value.replace(tzinfo=zone_named(match[3][1:-1]))


def read_date(text: str) -> date:
    """The date that a text stands for; a `ValueError` if it is none."""
    return date.fromisoformat(_matched(_DATE, text)[0])


def write_timedelta(value: timedelta) -> str:
    """The text of a duration."""
    sign = "-" if value < timedelta(0) else ""
    micros = abs((value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds)
    seconds, micros = divmod(micros, 1_000_000)
    days, seconds = divmod(seconds, 86_400)
    clock = f"T{seconds}" + (f".{micros:06}".rstrip("0") if micros else "") + "S"
    return f"{sign}P{days}D" + (clock if seconds or micros or not days else "") if days else f"{sign}P{clock}"


def read_timedelta(text: str) -> timedelta:
    """The duration that a text stands for; a `ValueError` (or `OverflowError`) if it is none."""
    match = _matched(_DURATION, text)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[1:5])
    micros = int((match[6] or "").ljust(6, "0"))
    total = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000_000 + micros
    return timedelta(microseconds=-total if match[1] else total)


def write_decimal(value: Decimal) -> str:
    """The text of a decimal.

    Raises:
        EncodeError: it is longer than `DECIMAL_CHARS_MAX`.
    """
    text = str(value)
    if len(text) > DECIMAL_CHARS_MAX:
        raise EncodeError(f"got a Decimal of {len(text)} characters, expected at most {DECIMAL_CHARS_MAX}")
    return text


def read_decimal(text: str) -> Decimal:
    """The decimal that a text stands for; a `ValueError` (or `ArithmeticError`) if it is none."""
    if len(text) > DECIMAL_CHARS_MAX:
        raise ValueError("too long")
    return Decimal(_matched(_DECIMAL, text)[0])


def read_uuid(text: str) -> UUID:
    """The UUID that a text stands for, in the form with hyphens; a `ValueError` if it is none."""
    return UUID(_matched(_UUID, text)[0])


def zone_named(name: str) -> ZoneInfo:
    """The time zone of this name; a `ValueError` if this machine knows none."""
    zone = _known_zone(name)
    if zone is None:
        raise ValueError("no such time zone on this machine")
    return zone


@lru_cache(maxsize=1024)
def _known_zone(name: str) -> ZoneInfo | None:
    # Unknown names are remembered too: looking one up searches the file system.
    try:
        return ZoneInfo(name)
    except Exception:  # noqa: BLE001  # depends on what the file system holds at that name
        return None


def _exact_offset(text: str) -> timezone:
    """An offset with microseconds; Python 3.11 drops them where all else is zero."""
    hours, minutes, seconds = text[1:].split(":")
    whole, _, micros = seconds.partition(".")
    offset = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(whole), microseconds=int(micros))
    return timezone(-offset if text[0] == "-" else offset)


def _suffix(zone: tzinfo | None, fold: int) -> str:
    mark = "[fold=1]" if fold else ""
    if zone is None or type(zone) is timezone:
        return mark
    name = zone.key if type(zone) is ZoneInfo else None
    if not name or len(name) > ZONE_CHARS_MAX:
        raise EncodeError(f"got a time zone of type {type(zone).__name__}, expected a fixed offset or a ZoneInfo with a key")
    return f"[{name}]{mark}"


def _matched(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError("not of the expected form")
    return match


FORMS: Final[dict[type, Form]] = {
    datetime: Form(write_datetime, read_datetime),
    date: Form(date.isoformat, read_date),
    time: Form(write_time, read_time),
    timedelta: Form(write_timedelta, read_timedelta),
    Decimal: Form(write_decimal, read_decimal),
    UUID: Form(str, read_uuid),
}
"""How each of these types is written as text."""
