"""Puts a replica into every state, gives it every input, and writes down what comes of it: the tables of `reference/states.md`.

`python -m tests.states` writes the page anew; `tests/test_docs.py` fails where the page and the code disagree. What is right in
each cell is judged by `tests/protocol`; this module only reports.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from parasync.errors import ParseError
from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    SAME,
    Beat,
    Envelope,
    Outcome,
    Position,
    Replica,
    Status,
    Version,
    age_of,
    prepare_reading,
    status_of,
)

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "states.md"
STALE_AFTER_S = 60.0
EPOCH = 5
HELD = 10
FLOOR = Version(EPOCH, HELD + 9)
NOW_S = 1000.0
SERVES_SINCE_S = 900.0
BEAT = 20
BAD = "bad"
WORDS = {"applied": "applied", "ignored_stale": "dropped", "gaps": "gap", "parse_errors": "refused", "conflicts": "conflict"}
"""What the counters of a replica are called in the tables."""

Act: TypeAlias = Callable[[Replica[Any]], None]


def read(envelope: Envelope[Any]) -> object:
    """A gate that refuses one value."""
    if envelope.value == BAD:
        raise ParseError("refused")
    return envelope.value


def envelope(sequence: int, value: object = None, *, epoch: int = EPOCH, after: int | None = None) -> Envelope[Any]:
    checksum = zlib.crc32(repr((sequence, value)).encode())
    return Envelope(sequence if value is None else value, "1.0", sequence, epoch, after, checksum=checksum)


def live(make: Callable[[int], Envelope[Any]]) -> Act:
    """An envelope by subscription; `make` is told the newest sequence that the replica knows."""

    def act(replica: Replica[Any]) -> None:
        sent = make(newest_of(replica))
        replica.live_received(sent, prepare_reading(replica, sent))

    return act


def answer(make: Callable[[int], Outcome], *, epoch: int = EPOCH) -> Act:
    """An ask that goes out now, and what comes back."""

    def act(replica: Replica[Any]) -> None:
        asked = replica.asked()
        outcome = make(newest_of(replica))
        reading = prepare_reading(replica, outcome) if isinstance(outcome, Envelope) else None
        replica.answer_received(asked, outcome, reading, epoch=epoch, floor=FLOOR, asked_s=NOW_S)

    return act


def beat(*, ahead: int | None = None, number: int = BEAT + 1, epoch: int = EPOCH) -> Act:
    """A beat of this moment, which names nothing, or a version so far above the newest that the replica knows."""

    def act(replica: Replica[Any]) -> None:
        said = Beat(epoch, number, NOW_S - SERVES_SINCE_S, 5.0, ABSENT, epoch, 1, 0, {}, max(0, number - 3))
        named = None if ahead is None else Position.of(envelope(newest_of(replica) + ahead))
        replica.beat_received(said, named, now_s=NOW_S)

    return act


def newest_of(replica: Replica[Any]) -> int:
    refused = replica.refused.position.version.sequence if replica.refused is not None else 0
    return max(refused, replica.held.sequence if replica.held is not None else HELD - 1)


def prove(replica: Replica[Any]) -> None:
    """An answer of a moment ago that brought the held version."""
    asked = replica.asked()
    sent = envelope(HELD)
    reading = prepare_reading(replica, sent)
    uptime_s = NOW_S - 1 - SERVES_SINCE_S
    replica.answer_received(asked, sent, reading, epoch=EPOCH, beat=BEAT, uptime_s=uptime_s, asked_s=NOW_S - 1)


def prove_long_ago(replica: Replica[Any]) -> None:
    prove(replica)
    replica.footing.proven_s = NOW_S - STALE_AFTER_S - 1


def seed(replica: Replica[Any]) -> None:
    sent = envelope(HELD)
    replica.current_epoch = EPOCH
    replica.seed_received(sent, prepare_reading(replica, sent))


def then(*acts: Act) -> Act:
    def act(replica: Replica[Any]) -> None:
        for one in acts:
            one(replica)

    return act


def interrupt(replica: Replica[Any]) -> None:
    replica.need_raised("interrupted")


def fail(replica: Replica[Any]) -> None:
    replica.asked()
    replica.ask_failed("no answer")


def refuse_next(replica: Replica[Any]) -> None:
    live(lambda newest: envelope(newest + 1, BAD))(replica)


def meet(replica: Replica[Any]) -> None:
    """The authority has been heard, though nothing is held."""
    replica.current_epoch = EPOCH


INPUTS: dict[str, Act] = {
    "live: the next version": live(lambda newest: envelope(newest + 1)),
    "live: newer, one was lost before it": live(lambda newest: envelope(newest + 3)),
    "live: newer, a gate refuses it": live(lambda newest: envelope(newest + 1, BAD)),
    "live: the held version again": live(lambda _: envelope(HELD)),
    "live: the held version, other content": live(lambda _: envelope(HELD, "other")),
    "live: from an earlier life of the authority": live(lambda newest: envelope(newest + 1, epoch=EPOCH - 1)),
    "live: from a later life of the authority": live(lambda _: envelope(1, epoch=EPOCH + 1)),
    "answer: you hold the newest": answer(lambda _: SAME),
    "answer: a newer version": answer(lambda newest: envelope(newest + 1)),
    "answer: a newer version, a gate refuses it": answer(lambda newest: envelope(newest + 1, BAD)),
    "answer: an older version of this life": answer(lambda _: envelope(HELD - 2)),
    "answer: there is no such object": answer(lambda _: ABSENT_OBJECT),
    "answer: of an earlier life of the authority": answer(lambda _: envelope(HELD, epoch=EPOCH - 1), epoch=EPOCH - 1),
    "beat: nothing else was sent": beat(),
    "beat: a newer version was sent": beat(ahead=1),
    "beat: too many before it were missed": beat(number=BEAT + 4),
    "beat: of a later life of the authority": beat(number=1, epoch=EPOCH + 1),
    "the ask failed": fail,
    "envelopes may have been lost": interrupt,
    "`stale_after_s` passes": lambda replica: setattr(replica.footing, "proven_s", replica.proven_s - STALE_AFTER_S),
    "`close()`": lambda replica: replica.close(),
}

OVER_A_BUS: dict[str, Act] = {
    "joining": meet,
    "unheard": then(meet, fail),
    "seeded": seed,
    "current": prove,
    "asking": then(prove, interrupt),
    "old": prove_long_ago,
    "failing": then(prove, interrupt, fail),
    "refused": then(prove, refuse_next),
    "closed": then(prove, lambda replica: replica.close()),
}

IN_PROCESS: dict[str, Act] = {
    "joining": meet,
    "unheard": then(meet, fail),
    "seeded": seed,
    "alone": then(seed, fail),
    "current": prove,
    "asking": then(prove, interrupt),
    "failing": then(prove, interrupt, fail),
    "refused": then(prove, refuse_next),
    "closed": then(prove, lambda replica: replica.close()),
}


def replica_over(*, bus: bool) -> Replica[Any]:
    return Replica(read, lossless=not bus, askable=True, stale_after_s=STALE_AFTER_S)


def outcome_of(situation: Act, act: Act, *, bus: bool) -> tuple[Status, str]:
    """The status after an input, and what the replica did with it."""
    replica = replica_over(bus=bus)
    situation(replica)
    before = {name: getattr(replica, name) for name in WORDS}
    failures, proven_s, held, needs = replica.refetch_failures, replica.proven_s, replica.held, replica.needs_raised
    act(replica)
    effects = [WORDS[name] for name, count in before.items() if getattr(replica, name) > count]
    if replica.held is not held and "applied" not in effects:
        effects.append("proven as it is")
    if replica.proven_s > proven_s:
        effects.append("proven")
    if replica.refetch_failures > failures:
        effects.append("failure")
    if replica.needs_raised > needs:
        effects.append("need")
    status = status_of(replica, NOW_S)
    return status, "" if status is Status.CLOSED else ", ".join(effects)


def table(situations: dict[str, Act], inputs: dict[str, Act], *, bus: bool) -> str:
    """Inputs as rows, states as columns."""
    start = {}
    for name, situation in situations.items():
        replica = replica_over(bus=bus)
        situation(replica)
        start[name] = status_of(replica, NOW_S)
        assert age_of(replica, NOW_S) >= 0
    lines = [
        "| | " + " | ".join(f"*{name}*<br>`{status.name}`" for name, status in start.items()) + " |",
        "| --- |" + " --- |" * len(start),
    ]
    for title, act in inputs.items():
        cells = [outcome_of(situation, act, bus=bus) for situation in situations.values()]
        texts = [f"`{status.name}`" + (f"<br>{did}" if did else "") for status, did in cells]
        lines.append(f"| {title} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """The text between each pair of marks of the page."""
    # Where nothing is lost, no proof grows old and beats have nothing to tell.
    lossless = {title: act for title, act in INPUTS.items() if "stale_after_s" not in title and "beat:" not in title}
    return {
        "over a bus": table(OVER_A_BUS, INPUTS, bus=True),
        "in process": table(IN_PROCESS, lossless, bus=False),
    }


def between(text: str, name: str, rows: str) -> str:
    """A page with these rows between the marks of one table; without the marks, as it is."""
    before, mark, rest = text.partition(f"<!-- table: {name} -->\n")
    _, end, after = rest.partition("<!-- end -->")
    return f"{before}{mark}\n{rows}\n\n{end}{after}" if end else text


def filled(text: str) -> str:
    """A page with its tables as the code has them."""
    for name, rows in tables().items():
        text = between(text, name, rows)
    return text


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
