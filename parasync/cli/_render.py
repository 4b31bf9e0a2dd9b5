"""Values as JSON and as short text that is safe to show on a terminal."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, Final

SHORT_CHARS_MAX: Final = 200
"""The most characters of a value that a table gets to see; a terminal shows fewer."""


def can_draw() -> bool:
    """Whether standard output is a terminal that can be drawn upon again and again, which a dumb one cannot."""
    return sys.stdout.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def plain(value: object) -> Any:
    """What JSON can hold: dates, decimals and UUIDs become text, bytes Base64, sets and tuples arrays, and keys text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_name(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((plain(item) for item in value), key=json.dumps)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value.total_seconds() if isinstance(value, timedelta) else str(value)


def _name(name: object) -> str:
    return name if isinstance(name, str) else json.dumps(plain(name))


def to_json(value: object, *, indent: int | None = None) -> str:
    """A value as JSON, on one line unless indented; control characters are always escaped."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=indent)
    return _escaped(text, keep="\n" if indent is not None else "")


def short(value: object, chars_max: int = SHORT_CHARS_MAX) -> str:
    """The beginning of a value as JSON."""
    text = to_json(value)
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"


def printable(text: str) -> str:
    """A text without what a terminal would obey: control characters and the like are shown as escapes."""
    return _escaped(text, keep="")


def _escaped(text: str, keep: str) -> str:
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() or each in keep else _escape(each) for each in text])


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def age(seconds: float) -> str:
    """An age in few characters: `0.4s`, `12s`, `3m`, `2h`, `5d`; `-` for one that is not known."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    for limit, unit, size in ((100, "s", 1), (6000, "m", 60), (360_000, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86_400:.0f}d" if math.isfinite(seconds) else "-"
