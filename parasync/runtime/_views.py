"""What users are shown of a replica: plain, immutable views."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeAlias, TypeVar

import attrs

from parasync.protocol import ABSENT, TOMBSTONE, Held, Status, Version

T = TypeVar("T")

Cause: TypeAlias = Literal["seed", "live", "answer", "since"]
"""Why a replica shows something else: a seed, a publication, an answer, or (`since`) what a stream began with."""


@attrs.define(slots=True)
class Change(Generic[T]):
    """One step of a replica, from what it showed to what it shows. Treat it as immutable: listeners share it.

    Args:
        old: the value before; None if there was none, or it was deleted.
        new: the value now; None if it was deleted.
        version: of what is shown now.
        cause: why it changed.
        skipped: how many versions lie between the two, those that were refused included; None where that is not known, e.g.
            after a restart of the authority.
        deleted: whether the object is gone.
        meta: what the writer attached to this version.
    """

    old: T | None
    new: T | None
    version: Version
    cause: Cause
    skipped: int | None
    deleted: bool
    meta: Mapping[str, str]


@attrs.frozen
class Snapshot(Generic[T]):
    """Value, version and status that belong together.

    Args:
        value: the value; None if there is none yet, or it was deleted.
        version: None if there is none yet.
        status: what the replica said of this version.
        age_s: seconds since it was surely current, infinite before the first proof.
        deleted: whether the object is known not to exist.
    """

    value: T | None
    version: Version | None
    status: Status
    age_s: float
    deleted: bool


@attrs.frozen
class ReplicaMeta:
    """What is known of the version that a replica shows; all but the status are None before the first.

    Args:
        schema_version: the shape in which its value was written.
        sequence: counts the writes of the object.
        epoch: the life of the authority that wrote it.
        status: what the replica says of it now.
    """

    schema_version: str | None
    sequence: int | None
    epoch: int | None
    status: Status


@attrs.frozen
class Stats:
    """What a replica has counted since it was made.

    Args:
        applied: versions shown.
        ignored_stale: live envelopes that were not newer.
        gaps: times that a version was lost on the way.
        parse_errors: values that the gate refused.
        schema_skews: values of another schema major without an upcast.
        refetches: asks that went out for this replica.
        refetch_failures: asks without a usable answer.
        resets: steps to a version of another life of the authority.
        conflicts: envelopes of the held version with other content.
        handler_errors: exceptions of listeners and cells.
    """

    applied: int
    ignored_stale: int
    gaps: int
    parse_errors: int
    schema_skews: int
    refetches: int
    refetch_failures: int
    resets: int
    conflicts: int
    handler_errors: int


def change_between(old: Held[T] | None, new: Held[Any], cause: Cause) -> Change[T]:
    """The step from one held version to another."""
    skipped: int | None = 0
    value = None
    if old is not None:
        # What never was is of no life, and all that was written came after it.
        comparable = old.epoch == new.epoch or not old.sequence
        skipped = new.sequence - old.sequence - 1 if comparable and new.sequence > old.sequence else None
        value = None if old.kind is TOMBSTONE else old.value
    deleted = new.kind is TOMBSTONE
    return Change(value, None if deleted else new.value, new.version, cause, skipped, deleted, new.meta)


def merge(first: Change[T], second: Change[T]) -> Change[T]:
    """Two steps as one, for a reader that was too slow for both."""
    skipped = None
    if first.skipped is not None and second.skipped is not None:
        epoch, sequence = second.version
        # A mirror forgets what is deleted: what is written later is new to it, and nobody knows what came between.
        if first.version in ((epoch, sequence - second.skipped - 1), ABSENT):
            skipped = first.skipped + second.skipped + 1
    return attrs.evolve(second, old=first.old, skipped=skipped)
