"""What somebody has seen or written, as one short text that travels with a request: a version for each of some objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from parasync.errors import InvalidKeyError, InvalidVersionError
from parasync.protocol._keys import check_topic, escape, split_key, unescape
from parasync.protocol._version import Version

SEEN_KEYS_MAX: Final = 64
"""How many objects one `Seen` remembers; beyond it the one that was noted longest ago is forgotten, and counted."""
SEEN_CHARS_MAX: Final = 4_096
"""The longest text of a `Seen`, well below what HTTP servers take as headers; beyond it objects are forgotten likewise."""

_EXPECTED: Final = 'expected versions by key, like "user:1@0.7,user:2@0.9"'


class Seen:
    """The versions that somebody has seen or written, the newest of each object; its text fits into an HTTP header.

    The text is `key@version`, joined by commas, with keys escaped as in subjects. It is bounded: where more is noted than
    `SEEN_KEYS_MAX` objects or `SEEN_CHARS_MAX` characters hold, what was noted longest ago is forgotten, and `forgotten` counts
    it: nobody waits for the version of a forgotten object any more. One thread at a time may note.
    """

    __slots__ = ("_chars", "_versions", "forgotten")

    def __init__(self) -> None:
        self._versions: dict[str, Version] = {}
        self._chars = 0
        self.forgotten = 0
        """How many objects were forgotten at the limit."""

    @classmethod
    def parse(cls, text: str) -> Seen:
        """Read the text form; "" is nothing seen. Spaces around commas are allowed, since proxies that join headers add them.

        Args:
            text: e.g. `"user:1@0.7,user:2@0.9"`; of an object that is named twice, the higher version counts.

        Raises:
            InvalidVersionError: the text is something else, or longer than any `Seen` makes it.
        """
        if not isinstance(text, str):
            raise InvalidVersionError(f"got a {type(text).__name__}, {_EXPECTED}")
        if len(text) > SEEN_CHARS_MAX or text.count(",") >= SEEN_KEYS_MAX:
            limits = f"expected at most {SEEN_KEYS_MAX} objects in {SEEN_CHARS_MAX}"
            raise InvalidVersionError(f"got {text.count(',') + 1} versions in {len(text)} characters, {limits}")
        seen = cls()
        for entry in text.split(",") if text.strip(" \t") else ():
            name, _, version = entry.strip(" \t").rpartition("@")
            seen.note(_key_of(name), Version.parse(version))
        return seen

    def note(self, key: str, version: Version) -> None:
        """The object was seen at this version, or written; an older one than is known changes nothing.

        Args:
            key: e.g. `"user:1"`.
            version: e.g. what `put` returned.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
            InvalidVersionError: `version` is no version.
        """
        split_key(key)
        if not isinstance(version, Version):
            raise InvalidVersionError(f"got a {type(version).__name__}, expected a Version")
        known = self._versions.get(key)
        if known is not None:
            self.drop(key)
            version = max(version, known)
        # What was noted last stands last, and is forgotten last.
        self._versions[key] = version
        self._chars += _chars_of(key, version)
        while len(self._versions) > SEEN_KEYS_MAX or self._chars > SEEN_CHARS_MAX:
            self.drop(next(iter(self._versions)))
            self.forgotten += 1

    def merge(self, other: Seen) -> None:
        """Note all that the other holds.

        Args:
            other: what somebody else has seen.
        """
        for key, version in other.items():
            self.note(key, version)

    def drop(self, key: str) -> None:
        """Let go of one object, e.g. since the version that was seen has been lost; one that is not held is no error.

        Args:
            key: e.g. `"user:1"`.
        """
        version = self._versions.pop(key, None)
        if version is not None:
            self._chars -= _chars_of(key, version)

    def get(self, key: str) -> Version | None:
        """The version of one object, None where nothing is known of it.

        Args:
            key: e.g. `"user:1"`.
        """
        return self._versions.get(key)

    def items(self) -> tuple[tuple[str, Version], ...]:
        """All keys with their versions, the one that was noted last at the end."""
        return tuple(self._versions.items())

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._versions))

    def __len__(self) -> int:
        return len(self._versions)

    def __eq__(self, other: object) -> bool:
        return self._versions == other._versions if isinstance(other, Seen) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __str__(self) -> str:
        return ",".join([f"{_name_of(key)}@{version}" for key, version in self._versions.items()])

    def __repr__(self) -> str:
        return f"<Seen {str(self) or 'nothing'}>"


def _name_of(key: str) -> str:
    topic, ident = split_key(key)
    return escape(topic) if ident is None else f"{escape(topic)}:{escape(ident)}"


def _chars_of(key: str, version: Version) -> int:
    return len(_name_of(key)) + len(str(version)) + 2


def _key_of(name: str) -> str:
    """The key that was escaped to this."""
    topic, colon, ident = name.partition(":")
    try:
        key = check_topic(unescape(topic)) + (f":{unescape(ident)}" if colon else "")
        split_key(key)
    except InvalidKeyError as error:
        raise InvalidVersionError(f"got versions with a key that is none ({error}), {_EXPECTED}") from None
    return key
