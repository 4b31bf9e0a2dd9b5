"""What `doctor` makes of what it hears, also of what is hard to bring about."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from parasync.cli._diagnosis import code_of, diagnose
from parasync.cli._exits import Exit
from parasync.protocol import AuthorityStatus, Identity, ProcessStatus, Refusing, ReplicaStatus, Reported
from parasync.transports._nats_status import Heard

OWNER = AuthorityStatus("user", "1.0", True, False, 5, 1, 2.0, None)
REPLICA = ReplicaStatus("user", "synced", "1.0", 1, {"ok": 1}, 5, 1, 0.5, "", (), (), {"applied": 1})
SKEW = Refusing("2.0", "SchemaSkewError", 2)


def who(number: int, library: str = "0.1.0") -> Identity:
    return Identity("host", "program", number, library)


def heard(*rows: Any, number: int = 1, ahead_s: float = 0.0, library: str = "0.1.0", left_out: int = 0) -> Heard:
    authorities = tuple(row for row in rows if isinstance(row, AuthorityStatus))
    replicas = tuple(row for row in rows if isinstance(row, ReplicaStatus))
    return Heard(ProcessStatus(who(number, library), 0.0, authorities, replicas, left_out), ahead_s)


def found(*processes: Heard, topics: tuple[str, ...] = ()) -> tuple[Exit, list[tuple[str, str, str]]]:
    findings = diagnose(list(processes), topics)
    return code_of(findings), [(each.kind, each.process, each.text) for each in findings]


def test_two_that_serve_are_a_conflict() -> None:
    code, findings = found(heard(OWNER, number=1), heard(OWNER, REPLICA, number=2))
    assert code is Exit.CONFLICT
    assert [process for _, process, _ in findings] == ["program[1]@host", "program[2]@host"]
    assert findings[0][2] == "2 authorities serve it; this one since 2.0s, epoch 5"


def test_one_that_stands_by_is_none() -> None:
    fenced = attrs.evolve(OWNER, serving=False)
    assert found(heard(OWNER), heard(fenced, number=2)) == (Exit.OK, [])
    code, [(kind, _, text)] = found(heard(fenced, REPLICA))
    assert (code, kind, text) == (Exit.UNANSWERED, "silent", "its authority is fenced, and no other one serves")


def test_the_worst_comes_first_and_decides() -> None:
    stale = attrs.evolve(REPLICA, statuses={"stale": 2, "ok": 1}, age_s=None, reason="no answer", keys=("user:1",))
    torn = attrs.evolve(REPLICA, counters={"conflicts": 2, "handler_errors": 3})
    refusing = attrs.evolve(REPLICA, refusals=(SKEW,))
    other = attrs.evolve(REPLICA, topic="alone", age_s=None)
    code, findings = found(heard(OWNER, stale), heard(torn, number=2), heard(refusing, number=3), heard(other, number=4))
    assert code is Exit.CONFLICT
    assert [kind for kind, _, _ in findings] == ["conflict", "refused", "silent", "stale", "note"]
    texts = [text for _, _, text in findings]
    assert texts == [
        "2 times it saw one version with two contents, since it began",
        "refuses 2 objects of schema 2.0 (another schema major); it takes 1.0",
        "no authority answers: none runs, or it hangs; no replica was ever proven",
        "2 of 3 replicas are stale, never proven; user:1: no answer",
        "listeners or cells raised 3 times",
    ]


def test_what_an_authority_heard_is_said_once() -> None:
    told = [Reported(who(number), "1.0", "2.0", "ParseError", 1, 0.0) for number in (2, 3)]
    owner = attrs.evolve(OWNER, reports=tuple(told), reports_left_out=5)
    code, findings = found(heard(owner), heard(attrs.evolve(REPLICA, refusals=(SKEW,)), number=2))
    assert code is Exit.REFUSED
    assert [(process, text.partition(";")[0]) for _, process, text in findings] == [
        ("program[1]@host", "5 more reports of refusals are not shown"),
        ("program[2]@host", "refuses 2 objects of schema 2.0 (another schema major)"),
        (
            "program[3]@host",
            "refuses 1 object of schema 2.0 (the value does not fit its type) of what program[1]@host writes",
        ),
    ]


@pytest.mark.parametrize(
    ("process", "text"),
    [
        (heard(OWNER, ahead_s=2.5), "its clock is 2.5s ahead of the one here"),
        (heard(OWNER, ahead_s=-86400.0), "its clock is 24h behind the one here"),
        (heard(OWNER, left_out=7), "7 authorities and topics were left out of the answers: name the topics"),
        (heard(attrs.evolve(OWNER, loading=True)), "the authority is loading, for 2.0s"),
    ],
)
def test_a_note_changes_no_exit_code(process: Heard, text: str) -> None:
    code, [(kind, _, said)] = found(process)
    assert (code, kind, said) == (Exit.OK, "note", text)


def test_several_versions_of_the_library_are_worth_a_note() -> None:
    code, [(_, _, text)] = found(heard(OWNER), heard(REPLICA, number=2, library="0.2.0"))
    assert (code, text) == (Exit.OK, "several versions of parasync are there: 0.1.0, 0.2.0")


def test_topics_that_were_named_must_be_there() -> None:
    assert found(topics=("user",))[1] == [("silent", "", "nobody serves or reads it")]
    assert found(heard(OWNER), topics=("user",)) == (Exit.OK, [])
    assert found()[0] is Exit.UNANSWERED
