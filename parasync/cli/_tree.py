"""Which file holds which object: the rule, and a walk through a folder that never follows a loop or waits for a pipe.

The first folder below the root is the topic; the folders below it and the name of the file without its suffix, with `:`
between, are the id. A file directly in the root is the one object of a topic without ids.

    config/db.toml      config:db
    config/eu/db.json   config:eu:db
    limits.yaml         limits
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final, NamedTuple

import attrs

from parasync.cli._formats import SUFFIXES
from parasync.errors import InvalidKeyError
from parasync.protocol import parse_key

FILES_MAX: Final = 100_000
"""The most files of a folder that are served; what is found beyond is reported."""
FOLDERS_DEEP_MAX: Final = 64
"""How many folders deep files are looked for; what lies deeper is reported."""


class Signature(NamedTuple):
    """What tells two contents of a file apart without reading it."""

    device: int
    inode: int
    size: int
    modified_ns: int


class Claim(NamedTuple):
    """A file that holds an object; the path is relative to the root, with `/` between."""

    path: str
    signature: Signature


@attrs.define
class Scan:
    """What a walk found.

    Args:
        claims: for each key the files that claim it, sorted by path.
        problems: what cannot be served, and why, by path.
        blind: the beginnings of paths that could not be read; nothing is known of what lies there.
    """

    claims: dict[str, list[Claim]] = attrs.Factory(dict)
    problems: dict[str, str] = attrs.Factory(dict)
    blind: list[str] = attrs.Factory(list)


def key_of(path: str) -> str:
    """The key of the file at a relative path.

    Raises:
        InvalidKeyError: no object can lie there.
    """
    *folders, name = path.split("/")
    stem, _, suffix = name.rpartition(".")
    if not stem or f".{suffix.lower()}" not in SUFFIXES or any(part.startswith(".") or not part for part in (*folders, name)):
        raise InvalidKeyError("not a file that is served")
    parts = [*folders, stem]
    if parse_key(":".join(parts)).topic != parts[0]:
        raise InvalidKeyError("got a topic with a colon, expected none: it is the first folder, or the name of the file")
    return ":".join(parts)


def path_of(key: str, suffix: str = ".json") -> str:
    """Where a new object belongs.

    Raises:
        InvalidKeyError: there is no file name for it.
    """
    path = key.replace(":", "/") + suffix
    try:
        found = key_of(path)
    except InvalidKeyError:
        found = ""
    # The way back must lead to the same key, which no name with a slash, a dot in front or an empty part does.
    if found != key or any(ord(character) < 32 or character in '\\<>"|?*\x7f' for character in path):
        raise InvalidKeyError("got a key that makes no file name, expected parts without slashes, dots in front or empty parts")
    return path


def scan(root: Path) -> Scan:
    """Walk through a folder; symbolic links are followed, hidden files and folders are left alone.

    Raises:
        OSError: the root itself cannot be read.
    """
    found = Scan()
    count = 0
    for path, facts in _files(root, found):
        if not stat.S_ISREG(facts.st_mode):
            found.problems[path] = "not a regular file"
            continue
        count += 1
        if count > FILES_MAX:
            found.problems[path] = f"more than {FILES_MAX:,} files"
            break
        try:
            key = key_of(path)
        except InvalidKeyError as error:
            found.problems[path] = str(error)
            continue
        signature = Signature(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        found.claims.setdefault(key, []).append(Claim(path, signature))
    for claims in found.claims.values():
        claims.sort()
    return found


def _files(root: Path, found: Scan) -> Iterator[tuple[str, os.stat_result]]:
    """The files that may be served, with what is at the end of their links."""
    facts = root.stat()
    pending: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ((facts.st_dev, facts.st_ino),))]
    while pending:
        folder, above = pending.pop()
        if len(above) > FOLDERS_DEEP_MAX:
            found.problems[folder] = f"more than {FOLDERS_DEEP_MAX} folders deep"
            continue
        try:
            with os.scandir(root / folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except FileNotFoundError:
            if not folder:
                raise
            continue
        except OSError as error:
            if not folder:
                raise
            found.problems[folder] = f"the folder cannot be read ({error.strerror})"
            found.blind.append(f"{folder}/")
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            served = PurePath(entry.name).suffix.lower() in SUFFIXES
            if entry.name.startswith("."):
                continue
            try:
                facts = entry.stat()
            except FileNotFoundError:
                # It vanished meanwhile, or is a link that leads nowhere.
                continue
            except OSError as error:
                if served or entry.is_dir(follow_symlinks=False):
                    found.problems[path] = f"cannot be read ({error.strerror})"
                    found.blind.append(path)
                continue
            if stat.S_ISDIR(facts.st_mode):
                identity = (facts.st_dev, facts.st_ino)
                if identity not in above:
                    pending.append((path, (*above, identity)))
            elif served:
                yield path, facts
