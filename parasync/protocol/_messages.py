"""What replicas and authorities say to each other besides envelopes: plain data, carried by any transport that can ask.

A request goes to the authority of a topic under its `verb` and is answered by the type in the comment, or by a `Refusal`.
A `Probe` goes to every authority and replica of a topic; those who have something to say answer with a `ProbeReply`. A `Beat`
goes to everybody who listens to a topic, and is not answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, TypeAlias

import attrs

from parasync.protocol._envelope import NO_META, EncodedBody, Kind
from parasync.protocol._positions import Outcome, Position
from parasync.protocol._presence import Noted, Report
from parasync.protocol._scans import Compare, Digests, Scan, Scanned
from parasync.protocol._version import Version

ASK_KEYS_MAX: Final = 512
"""The most positions in one ask; what is over waits for the next."""
PAGE_KEYS_MAX: Final = 1024
"""The most keys in one page of a listing."""
REASON_CHARS_MAX: Final = 500
"""The longest reason of a refusal."""
BEAT_NAMES_MAX: Final = 1024
"""The most objects that one beat names; once so many were sent, the next beat goes out."""
BEAT_INTERVALS_MAX: Final = 3
"""A beat names what was sent in so many intervals, if that is not too much; whoever misses so many beats in a row asks."""


@attrs.define(slots=True)
class Ask:
    """"Here is what I hold; what is newer?" Answered by `Answer`.

    Args:
        epoch: the highest epoch that the asker has heard, so that an authority below it notices.
        keys: the full keys asked for, at most `ASK_KEYS_MAX`; a key may stand here more than once.
        positions: for each key where the asker stands, None for nothing (or an unproven seed).
    """

    verb: ClassVar[str] = "state"
    epoch: int
    keys: tuple[str, ...]
    positions: tuple[Position | None, ...]


@attrs.define(slots=True)
class Answer:
    """What an authority knows of the keys it was asked for.

    Args:
        epoch: the life of the authority that answers.
        beat: the number of its last beat before the answer, 0 before the first.
        uptime_s: seconds since it started to serve, on its own monotonic clock.
        floor: the version at and below which tombstones were dropped.
        history_epoch: the epoch since which no version was lost; versions of lower epochs may be.
        outcomes: one for each key of the ask, in its order.
    """

    epoch: int
    beat: int
    uptime_s: float
    floor: Version
    history_epoch: int
    outcomes: tuple[Outcome, ...]


@attrs.define(slots=True)
class ListKeys:
    """"Which objects are there?" Answered by `KeyPage`.

    Args:
        prefix: only ids that begin so.
        after: only keys above this one, in the order of code points; "" for the first page.
        limit: at most this many, 1 to `PAGE_KEYS_MAX`.
    """

    verb: ClassVar[str] = "list"
    prefix: str = ""
    after: str = ""
    limit: int = PAGE_KEYS_MAX


@attrs.define(slots=True)
class KeyPage:
    """One page of the live objects of a topic, without tombstones; `more` tells whether another page follows."""

    epoch: int
    keys: tuple[str, ...]
    versions: tuple[Version, ...]
    more: bool


@attrs.define(slots=True)
class Put:
    """"Write this for me." Answered by `Written`, or refused by authorities that take no remote writes.

    Args:
        key: the full key.
        body: the encoded value, None to delete.
        schema_version: the shape of the value.
        expected: write only if the object is there; `ABSENT` demands that it does not exist.
        idempotency_key: a retry with the same key returns the first outcome.
        meta: rides along with the version.
    """

    verb: ClassVar[str] = "put"
    key: str
    body: EncodedBody | None
    schema_version: str
    expected: Version | None = None
    idempotency_key: str | None = None
    meta: Mapping[str, str] = NO_META

    @property
    def kind(self) -> Kind:
        """What the write makes of the object."""
        return Kind.TOMBSTONE if self.body is None else Kind.STATE


@attrs.define(slots=True)
class Written:
    """The version that a write made, or had made when it was first tried."""

    version: Version


@attrs.define(slots=True)
class Refusal:
    """"I will not, and this is why."

    Args:
        error: the name of an error class in `parasync.errors`, e.g. `ConflictError`.
        reason: a sentence for a person, without payload text.
        current: where the object is, for a conflict.
    """

    error: str
    reason: str
    current: Version | None = None


@attrs.define(slots=True)
class Probe:
    """"Who is there with an epoch above this one, or serving?"

    Args:
        topic: the topic it is about.
        epoch: the epoch that the sender has, or would take.
        serving: whether the sender serves with this epoch: then lower authorities step down.
        sender: a random identity, so that nobody hears itself.
    """

    topic: str
    epoch: int
    serving: bool
    sender: str


@attrs.define(slots=True)
class ProbeReply:
    """"I have heard of this epoch"; `serving` from an authority that serves with it."""

    epoch: int
    serving: bool


@attrs.define(slots=True)
class Beat:
    """"I live, and this is what I have sent." Whoever has an answer can tell from the next beats whether it missed anything.

    Args:
        epoch: the life of the authority that beats.
        number: counts the beats of this life, from 1 on.
        uptime_s: up to when all that was stored had been sent, in seconds since it started to serve, on its own monotonic
            clock as in its answers.
        interval_s: seconds until the next beat at the latest.
        floor: the version at and below which tombstones were dropped.
        history_epoch: the epoch since which no version was lost; versions of lower epochs may be.
        count: how many objects there are, tombstones included; None where the authority does not tell.
        digest: the digest of all objects, as they were last sent; None likewise.
        named: where each object is that was sent after the beat number `since`, at most `BEAT_NAMES_MAX`.
        since: the number of an earlier beat of this life, 0 for its beginning; its own number if it names nothing.
    """

    epoch: int
    number: int
    uptime_s: float
    interval_s: float
    floor: Version
    history_epoch: int
    count: int | None
    digest: int | None
    named: Mapping[str, Position]
    since: int


Request: TypeAlias = Ask | Compare | Scan | ListKeys | Put | Report
Response: TypeAlias = Answer | Digests | Scanned | KeyPage | Written | Noted | Refusal
