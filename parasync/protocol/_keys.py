"""The grammar of keys and patterns, and an injective escape that any bus can carry.

A key is `topic` or `topic:id`. The topic holds no colon, the id may; both are any text of at least one character that UTF-8
can encode. A pattern is `topic:*` (every object of the topic) or `topic:prefix:*` (every object below the prefix).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from parasync.errors import InvalidKeyError

KEY_BYTES_MAX: Final = 512
"""The longest key in UTF-8 bytes; escaped three to one it still fits below the subject limit of a NATS server."""

_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_ESCAPES: Final = tuple(chr(byte) if byte in _PLAIN else f"={byte:02X}" for byte in range(256))
_TOKEN: Final = re.compile(r"(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+", re.ASCII)
_EMPTY: Final = "="
# A key that matches and has no more characters than this is legal; others may be.
_LEGAL: Final = re.compile(r"[^:\ud800-\udfff]+(?::[^\ud800-\udfff]+)?")
_LEGAL_CHARS_MAX: Final = KEY_BYTES_MAX // 4


class Key(NamedTuple):
    """The two parts of a key; `id` is None for the one object of a topic without ids."""

    topic: str
    id: str | None

    def __str__(self) -> str:
        return self.topic if self.id is None else f"{self.topic}:{self.id}"


def check_topic(topic: str) -> str:
    """Return the topic if it is legal.

    Raises:
        InvalidKeyError: not a text, empty, with a colon, not encodable, or longer than `KEY_BYTES_MAX`.
    """
    _check_text(topic, "topic")
    if ":" in topic:
        raise InvalidKeyError("got a topic with a colon, expected none: the colon ends the topic in a key")
    return topic


def split_key(key: str) -> Key:
    """Split a key into topic and id, and remember nothing of it: for keys that strangers send.

    Raises:
        InvalidKeyError: the key is empty, lacks a part, is not encodable, or is longer than `KEY_BYTES_MAX`.
    """
    _check_text(key, "key")
    topic, colon, ident = key.partition(":")
    if not topic:
        raise InvalidKeyError("got a key without a topic, expected 'topic' or 'topic:id'")
    if colon and not ident:
        raise InvalidKeyError("got a key with an empty id, expected 'topic' or 'topic:id'")
    return Key(topic, ident if colon else None)


def check_keys(keys: Iterable[str]) -> None:
    """Return if all keys are legal, and remember nothing of them.

    Raises:
        InvalidKeyError: as for `split_key`.
    """
    matches, chars_max = _LEGAL.fullmatch, _LEGAL_CHARS_MAX
    for key in keys:
        if type(key) is not str or len(key) > chars_max or matches(key) is None:
            split_key(key)


@lru_cache(maxsize=65_536)
def parse_key(key: str) -> Key:
    """Split a key into topic and id.

    Raises:
        InvalidKeyError: as for `split_key`.
    """
    return split_key(key)


def parse_pattern(pattern: str) -> tuple[str, str]:
    """Split a pattern into its topic and the prefix that the ids of its objects have ("" matches all).

    Raises:
        InvalidKeyError: the text does not end in `:*`, or what stands before is not a key.
    """
    if not isinstance(pattern, str) or not pattern.endswith(":*"):
        raise InvalidKeyError("got a pattern that does not end in ':*', expected 'topic:*' or 'topic:prefix:*'")
    topic, ident = parse_key(pattern[:-2])
    return topic, "" if ident is None else f"{ident}:"


def scope_of(topic: str, pattern: str | None = None) -> str:
    """What a listener to a topic wants: the pattern, or the topic where there is none or where it says the same.

    Args:
        topic: the name of the topic.
        pattern: of it, e.g. `"user:eu:*"`; None for all.

    Raises:
        InvalidKeyError: the topic or the pattern does not follow the grammar, or they do not belong together.
    """
    check_topic(topic)
    if pattern is None:
        return topic
    of_topic, prefix = parse_pattern(pattern)
    if of_topic != topic:
        raise InvalidKeyError(f"got the pattern {pattern!r}, expected one of the topic {topic!r}")
    return pattern if prefix else topic


def escape(text: str) -> str:
    """One subject token for a text: every byte outside `[A-Za-z0-9_-]` becomes `=XX`, the empty text `=`."""
    return "".join([_ESCAPES[byte] for byte in text.encode()]) or _EMPTY


def unescape(token: str) -> str:
    """The text that `escape` made this token of.

    Raises:
        InvalidKeyError: no text makes this token.
    """
    if token == _EMPTY:
        return ""
    if _TOKEN.fullmatch(token):
        plain, *escaped = token.split("=")
        data = plain.encode() + b"".join(bytes([int(part[:2], 16)]) + part[2:].encode() for part in escaped)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = None
        if text is not None and escape(text) == token:
            return text
    raise InvalidKeyError("got a subject token that is not the escape of a text")


def _check_text(text: str, what: str) -> None:
    if not isinstance(text, str):
        raise InvalidKeyError(f"got a {type(text).__name__} as {what}, expected a str")
    if not text:
        raise InvalidKeyError(f"got an empty {what}, expected at least one character")
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidKeyError(f"got a {what} with a lone surrogate, expected text that UTF-8 can encode") from None
    if size_bytes > KEY_BYTES_MAX:
        raise InvalidKeyError(f"got a {what} of {size_bytes} bytes, expected at most {KEY_BYTES_MAX}")
