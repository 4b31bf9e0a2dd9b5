"""Writes of others into a served folder: the file first, in its own format and at once or not at all, then the bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict
from pathlib import Path
from secrets import token_hex
from typing import Final

from parasync import ABSENT, Topic, Version, authority
from parasync.cli._folder import Folder
from parasync.cli._formats import dump
from parasync.cli._tree import path_of
from parasync.errors import ConflictError, DeletedError, IdempotencyError, InvalidKeyError, RefusedError
from parasync.protocol import EncodedBody, Put

OUTCOMES_MAX: Final = 10_000
"""How many outcomes of writes with an idempotency key are remembered; the oldest are forgotten first."""


class FolderWriter:
    """Takes the writes of others for one topic of a folder.

    Args:
        folder: where the files are.
        topic: the topic.
    """

    def __init__(self, folder: Folder, topic: Topic[object]) -> None:
        self._folder = folder
        self._topic = topic
        self._outcomes: OrderedDict[tuple[str, str], tuple[EncodedBody | None, Version]] = OrderedDict()

    async def __call__(self, ident: str | None, value: object, request: Put) -> Version:
        """Write one object; see `authority(remote_writes=...)`.

        Raises:
            ConflictError: the object is not at the expected version.
            DeletedError: it was to be deleted, and does not exist.
            IdempotencyError: the idempotency key was used for another value.
            RefusedError: no file can hold it, or the file cannot be written.
            ParasyncError: what the authority raises.
        """
        folder = self._folder
        async with folder.turn:
            done = self._done(request)
            if done is not None:
                return done
            # What somebody has just edited is published first, so that nothing is overwritten that the writer did not see.
            await folder.sync_in_turn()
            await self._check_expected(ident, request)
            try:
                version = await (self._delete(ident, request) if request.body is None else self._put(ident, value, request))
            except OSError as error:
                raise RefusedError(f"the file of {request.key!r} cannot be written ({error.strerror})") from None
            self._remember(request, version)
            return version

    async def _put(self, ident: str | None, value: object, request: Put) -> Version:
        folder, key = self._folder, request.key
        path = self._path(key)
        body = folder.encode(key, value)
        data = dump(value, Path(path).suffix)
        await asyncio.to_thread(replace_file, folder.root, path, data)
        version = await self._owner.put(ident, value, expected=request.expected, meta=request.meta)
        folder.was_put(key, path, body, version)
        return version

    async def _delete(self, ident: str | None, request: Put) -> Version:
        folder, key = self._folder, request.key
        claims = folder.claims.get(key, [])
        if len(claims) > 1:
            names = ", ".join(claim.path for claim in claims)
            raise RefusedError(f"{key!r} is claimed by several files ({names}): remove all but one of them first")
        if key in folder.entries:
            await asyncio.to_thread(remove_file, folder.root, folder.entries[key].path)
        version = await self._owner.delete(ident, expected=request.expected)
        folder.was_deleted(key, version)
        return version

    @property
    def _owner(self) -> authority[object]:
        return self._folder.owners[self._topic.name]

    def _path(self, key: str) -> str:
        entry = self._folder.entries.get(key)
        if entry is not None:
            return entry.path
        try:
            return path_of(key)
        except InvalidKeyError as error:
            raise RefusedError(str(error)) from None

    async def _check_expected(self, ident: str | None, request: Put) -> None:
        """Compare before the file is touched; in this turn nobody else writes."""
        if request.expected is None:
            return
        try:
            current = (await self._owner.get(ident)).version
            exists = True
        except DeletedError as error:
            current, exists = error.version, False
        if exists if request.expected == ABSENT else request.expected != current:
            at = f"it is at {current}" if exists else "it does not exist"
            wanted = "no object" if request.expected == ABSENT else f"version {request.expected}"
            raise ConflictError(f"got expected {wanted}, but {at}: read it again, then write", current)

    def _done(self, request: Put) -> Version | None:
        """The outcome of an earlier try."""
        if request.idempotency_key is None:
            return None
        done = self._outcomes.get((request.key, request.idempotency_key))
        if done is not None and done[0] != request.body:
            raise IdempotencyError("got an idempotency key that was used for another value, expected a new one for each write")
        return None if done is None else done[1]

    def _remember(self, request: Put, version: Version) -> None:
        if request.idempotency_key is not None:
            self._outcomes[request.key, request.idempotency_key] = (request.body, version)
            if len(self._outcomes) > OUTCOMES_MAX:
                self._outcomes.popitem(last=False)


def replace_file(root: Path, path: str, data: bytes) -> None:
    """Write a file so that whoever reads it sees the old content or the new one, also after a power cut.

    Raises:
        RefusedError: a symbolic link is in the way, or leads out of the root.
        OSError: it cannot be written; the old content is there.
    """
    target = _inside(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = target.with_name(f".{target.name}.{token_hex(4)}.tmp"[-255:])
    try:
        with written.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            written.chmod(target.stat().st_mode & 0o7777)
        written.replace(target)
    finally:
        written.unlink(missing_ok=True)
    _sync_folder(target.parent)


def remove_file(root: Path, path: str) -> None:
    """Remove a file; one that is gone already is no error.

    Raises:
        RefusedError: a symbolic link is in the way, or leads out of the root.
        OSError: it cannot be removed.
    """
    _inside(root, path).unlink(missing_ok=True)


def _inside(root: Path, path: str) -> Path:
    target = root / path
    if target.is_symlink() or not target.parent.resolve().is_relative_to(root.resolve()):
        raise RefusedError(f"{path} is, or lies behind, a symbolic link: it is served, and written by nobody but its owner")
    return target


def _sync_folder(folder: Path) -> None:
    """Make the new name durable, where folders can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
