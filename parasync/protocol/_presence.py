"""Who is there, and how it does: what processes say of themselves when somebody looks, and what replicas say that they refuse.

Nothing of this decides anything. There is no payload in it, and no key but a few of those that are not as they should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import attrs

NAME_CHARS_MAX: Final = 64
"""The longest name of a host, a program, an error or a sender; a longer one is cut off by its writer and refused by readers."""
NOTE_CHARS_MAX: Final = 200
"""The longest reason in what a process says of itself; what is over is cut off."""
REFUSALS_MAX: Final = 16
"""The most kinds of refusals that a process tells of for one topic, those of the most objects first."""
STATUS_ROWS_MAX: Final = 256
"""The most authorities and topics that one process tells of; it says how many it left out."""
STATUS_KEYS_MAX: Final = 3
"""The most keys that a process names of the replicas of one topic that are not as they should be."""
STATUS_REPORTS_MAX: Final = 16
"""The most reports of replicas that an authority passes on when it says how it does; it says how many there are."""
COUNTERS_MAX: Final = 32
"""The most counters that stand behind the replicas of one topic."""


@attrs.frozen
class Identity:
    """Which process this is.

    Args:
        host: the name of its machine.
        program: what was started there.
        pid: the number of the process.
        library: the version of parasync in it.
    """

    host: str
    program: str
    pid: int
    library: str

    def __str__(self) -> str:
        return f"{self.program}[{self.pid}]@{self.host}"


@attrs.frozen
class Refusing:
    """Some replicas of a topic refuse the newest version of their objects.

    Args:
        schema_version: of what they refuse.
        error: why, as the name of an error class: `SchemaSkewError` or `ParseError`.
        keys: how many objects.
    """

    schema_version: str
    error: str
    keys: int


@attrs.define(slots=True)
class Report:
    """"We refuse what you write." From all replicas of a topic on one connection; answered by `Noted`.

    Args:
        sender: a random identity of the connection: a later report takes the place of an earlier one.
        who: the process.
        accepts: the schema version that it takes.
        refusals: what it refuses now, at most `REFUSALS_MAX`; empty when all is well again.
    """

    verb: ClassVar[str] = "report"
    sender: str
    who: Identity
    accepts: str
    refusals: tuple[Refusing, ...]


@attrs.define(slots=True)
class Noted:
    """"I have taken note." The answer to a `Report`."""


@attrs.frozen
class Reported:
    """What replicas elsewhere refuse, as their authority was told.

    Args:
        who: the process that refuses.
        accepts: the schema version that it takes.
        schema_version: of what it refuses.
        error: why, as the name of an error class: `SchemaSkewError` or `ParseError`.
        keys: how many objects.
        since: when it first said so, in seconds since 1970.
    """

    who: Identity
    accepts: str
    schema_version: str
    error: str
    keys: int
    since: float


@attrs.frozen
class StatusQuery:
    """"Who is there, and how do you do?" To every process on a bus.

    Args:
        topics: only these; empty for all.
        spread_s: answers come within so many seconds, each at a moment of its own, so that they do not come all at once.
    """

    topics: tuple[str, ...] = ()
    spread_s: float = 0.0


@attrs.frozen
class AuthorityStatus:
    """How an authority does.

    Args:
        topic: what it owns.
        schema_version: the shape in which it writes.
        serving: whether it may write.
        loading: whether its first objects are still being put.
        epoch: its life.
        beat: the number of its last beat, 0 for none.
        uptime_s: seconds since this life began.
        objects: how many there are, tombstones included; None where that is not known.
        reports: what replicas refuse, at most `STATUS_REPORTS_MAX`.
        reports_left_out: how many more there are.
    """

    topic: str
    schema_version: str
    serving: bool
    loading: bool
    epoch: int
    beat: int
    uptime_s: float
    objects: int | None
    reports: tuple[Reported, ...] = ()
    reports_left_out: int = 0


@attrs.frozen
class ReplicaStatus:
    """How the replicas of one topic do that a process holds on one transport.

    Args:
        topic: the topic.
        kind: `synced` or `mirror`.
        accepts: the schema version that they take.
        objects: of how many objects they are copies.
        statuses: how many of them are in each status, by its value; a mirror is one.
        epoch: the highest epoch that they heard.
        beat: the number of the last beat of that epoch that proved one of them; -1 for none.
        age_s: seconds since the oldest of them was surely current; None for never.
        reason: why one of them is not as it should be, without payload text.
        keys: a few of those that are not, at most `STATUS_KEYS_MAX`.
        refusals: what they refuse, at most `REFUSALS_MAX`.
        counters: what they counted, by name, summed.
    """

    topic: str
    kind: str
    accepts: str
    objects: int
    statuses: Mapping[str, int]
    epoch: int
    beat: int
    age_s: float | None
    reason: str
    keys: tuple[str, ...]
    refusals: tuple[Refusing, ...]
    counters: Mapping[str, int]


@attrs.frozen
class ProcessStatus:
    """How a process does: what it serves and holds over one connection.

    Args:
        who: the process.
        wall_s: its clock, in seconds since 1970.
        authorities: those that it runs.
        replicas: one for each mirror, and for the others one for each topic and schema version.
        left_out: how many of both were left out, beyond `STATUS_ROWS_MAX`.
    """

    who: Identity
    wall_s: float
    authorities: tuple[AuthorityStatus, ...]
    replicas: tuple[ReplicaStatus, ...]
    left_out: int = 0
