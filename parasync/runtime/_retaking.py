"""Lets the rules of a replica take a recorded input again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from parasync.errors import ParseError, SchemaSkewError
from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    OTHER_CONTENT,
    SAME,
    UNREAD,
    Asked,
    Beat,
    EncodedBody,
    Envelope,
    Kind,
    Outcome,
    Position,
    Replica,
    Unanswered,
    Unreadable,
    Version,
)
from parasync.runtime._records import Record, Shown, read_envelope


def take_again(replica: Replica[Any], kind: str, facts: Record, *, anew: bool) -> tuple[dict[str, Any], bool]:
    """Take an input; returns what there is to say of it, and whether another version is held.

    Args:
        replica: it stands where the recorded one stood, or where the inputs before have led it.
        kind: of the input.
        facts: what was recorded of it.
        anew: whether its own gate reads the values; else what the gate said then is believed.

    Raises:
        Exception: whatever facts that no recorder wrote lead to.
    """
    if kind in ("live", "seed"):
        envelope, reading, told = _read(replica, facts[0], facts[1], anew)
        if kind == "seed" and not isinstance(reading, Shown | None):
            if anew and isinstance(reading, Unreadable):
                return {"outcome": envelope, "told": told}, False
            raise TypeError  # what no gate let pass is no seed
        changed = replica.seed_received(envelope, reading) if kind == "seed" else replica.live_received(envelope, reading)
        return {"outcome": envelope, "told": told}, bool(changed)
    if kind == "answer":
        given, (word, *plain), said, epoch, floor, asked_s, beat, uptime_s = facts
        asked, reading, told = read_asked(given), None, ""
        outcome: Outcome = SAME if word == "same" else Unanswered(*plain) if word == "unanswered" else ABSENT_OBJECT
        if word == "envelope":
            outcome, reading, told = _read(replica, plain, said, anew)
        changed = replica.answer_received(
            asked, outcome, reading, epoch=epoch, floor=Version(*floor), asked_s=asked_s, beat=beat, uptime_s=uptime_s
        )
        return {"asked": asked, "outcome": outcome, "told": told}, bool(changed)
    if kind == "beat":
        epoch, number, uptime_s, interval_s, since, place, now_s, grace_s = facts
        beat = Beat(epoch, number, uptime_s, interval_s, ABSENT, 0, None, None, {}, since)
        named = None if place is None else Position(Version(*place[:2]), place[2])
        replica.beat_received(beat, named, now_s=now_s, grace_s=grace_s)
        names = "" if named is None else f", which names {named.version}"
        return {"reason": f"beat {number} of {epoch}{names}"}, False
    if kind == "asked":
        return {"asked": replica.asked()}, False
    rules: dict[str, Callable[..., None]] = {
        "failed": replica.ask_failed, "need": replica.need_raised, "noticed": replica.noticed, "closed": replica.close,
        "passed": replica.time_passed,
    }  # fmt: skip
    if kind in ("failed", "need") and not isinstance(facts[0], str):
        raise TypeError
    rules[kind](*facts)
    return {"reason": facts[0]} if kind in ("failed", "need") else {}, False


def read_asked(plain: Any) -> Asked:
    """What a replica knew when it asked, as it was written."""
    needs, position = plain
    return Asked(needs, None if position is None else Position(Version(*position[:2]), position[2]))


def read_never(_envelope: Envelope[Any]) -> NoReturn:
    """The gate of a replica that is told what the gate said."""
    raise NotImplementedError


def _read(replica: Replica[Any], plain: Record, said: Any, anew: bool) -> tuple[Envelope[Shown], object, str]:
    """An envelope, what the gate makes of it, and that in a word."""
    envelope = read_envelope(plain)
    told, *why = said if isinstance(said, list) else [said]
    shown: Shown | None = None if envelope.kind is Kind.TOMBSTONE else envelope.value
    error: ParseError | SchemaSkewError | None = None
    if why:
        error = (SchemaSkewError if told == "skew" else ParseError)(*why)
    if anew and shown is not None and shown.body is not None and told != "other":
        told, error = _judged(replica, envelope, shown.body) if replica.would_read(envelope) else ("unread", None)
    if error is not None:
        return envelope, Unreadable(error), told
    held = getattr(replica.held, "value", None)
    readings = {"unread": UNREAD, "other": OTHER_CONTENT, "same": held, "good": shown}
    return envelope, readings[told], told


def _judged(replica: Replica[Any], envelope: Envelope[Shown], body: bytes) -> tuple[str, ParseError | SchemaSkewError | None]:
    """What the gate says now; where versions are the same, content is by checksum."""
    try:
        replica.read(Envelope(EncodedBody(body), envelope.schema_version, envelope.sequence, envelope.epoch))
    except (ParseError, SchemaSkewError) as error:
        return "skew" if isinstance(error, SchemaSkewError) else "parse", error
    held = replica.held
    same = held is not None and held.version == envelope.version and held.checksum == envelope.checksum
    return "same" if same else "good", None
