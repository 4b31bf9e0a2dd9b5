"""What orders (`Version`) and what shapes (`SchemaVersion`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, NamedTuple, cast

from parasync.errors import InvalidVersionError

EPOCH_MAX: Final = 2**53 - 1
"""The largest epoch: JavaScript still holds it exactly."""
SEQUENCE_MAX: Final = 2**63 - 1
"""The largest sequence: SQL integers hold it."""
SCHEMA_NUMBER_MAX: Final = 999_999
"""The largest major or minor number of a schema version."""

_VERSION: Final = re.compile(r"(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,18})", re.ASCII)
_SCHEMA: Final = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})", re.ASCII)


class Version(NamedTuple):
    """The position of one object: compared as the pair `(epoch, sequence)`.

    `epoch` is the life of the authority that wrote it (0 to `EPOCH_MAX`), `sequence` counts the writes of the object
    (1 to `SEQUENCE_MAX`; 0 stands below the first).
    """

    epoch: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.sequence}"

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read the text form `"epoch.sequence"`, e.g. from an HTTP header.

        Args:
            text: two decimal numbers with a dot between.

        Raises:
            InvalidVersionError: the text is something else.
        """
        if not isinstance(text, str):
            raise InvalidVersionError(f'got a {type(text).__name__}, expected a version like "0.7"')
        match = _VERSION.fullmatch(text)
        if match is None or int(match[1]) > EPOCH_MAX or int(match[2]) > SEQUENCE_MAX:
            raise InvalidVersionError(f'got {text[:40]!r}, expected a version like "0.7": epoch, dot, sequence')
        return cls(int(match[1]), int(match[2]))


version_of: Final = partial(cast("Callable[[type[Version], tuple[int, int]], Version]", tuple.__new__), Version)
"""The version of a pair `(epoch, sequence)`: what a `NamedTuple` does when it is called, in a third of the time."""

ABSENT: Final = Version(0, 0)
"""The position of an object that was never written; as `expected=` it demands that the object does not exist."""


class SchemaVersion(NamedTuple):
    """The shape of a value: minors of one major are compatible, another major is another shape."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"

    @classmethod
    def parse(cls, text: str) -> SchemaVersion:
        """Read the text form `"major.minor"`, each 0 to `SCHEMA_NUMBER_MAX`.

        Args:
            text: two decimal numbers with a dot between.

        Raises:
            InvalidVersionError: the text is something else.
        """
        if not isinstance(text, str):
            raise InvalidVersionError(f'got a {type(text).__name__}, expected a schema version like "2.1"')
        return _parse_schema(text)


@lru_cache(maxsize=256)
def _parse_schema(text: str) -> SchemaVersion:
    match = _SCHEMA.fullmatch(text)
    if match is None:
        raise InvalidVersionError(f'got {text[:40]!r}, expected a schema version like "2.1": major, dot, minor')
    return SchemaVersion(int(match[1]), int(match[2]))
