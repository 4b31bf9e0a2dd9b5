"""What processes say of themselves, and what replicas report, as bytes: exact both ways, strict, and limited."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.codec import MsgpackCodec
from parasync.errors import DecodeError, EncodeError
from parasync.protocol import (
    EPOCH_MAX,
    NAME_CHARS_MAX,
    NOTE_CHARS_MAX,
    REFUSALS_MAX,
    STATUS_KEYS_MAX,
    STATUS_REPORTS_MAX,
    STATUS_ROWS_MAX,
    Ask,
    AuthorityStatus,
    Identity,
    Noted,
    ProcessStatus,
    Refusing,
    ReplicaStatus,
    Report,
    Reported,
    StatusQuery,
)
from parasync.transports._wire import decode_request, decode_response, encode_request, encode_response
from parasync.transports._wire_status import decode_query, decode_status, encode_query, encode_status

CODEC = MsgpackCodec()
WHO = Identity("host", "program", 7, "0.1.0")

names = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=NAME_CHARS_MAX)
topics = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8)
keys = st.builds("{}:{}".format, topics, topics)
schemas = st.sampled_from(["1.0", "2.17"])
counts = st.integers(0, 2**63 - 1)
seconds = st.floats(0, 1e12)
processes = st.builds(Identity, names, names, counts, names)
errors = st.sampled_from(["SchemaSkewError", "ParseError"])
refusing = st.builds(Refusing, schemas, errors, st.integers(1, 2**63 - 1))
several = st.lists(refusing, max_size=3).map(tuple)
reports = st.builds(Report, names, processes, schemas, several)
reported = st.builds(Reported, processes, schemas, schemas, errors, st.integers(1, 2**63 - 1), seconds)
authorities = st.builds(
    AuthorityStatus,
    topics,
    schemas,
    st.booleans(),
    st.booleans(),
    st.integers(0, EPOCH_MAX),
    counts,
    seconds,
    st.none() | counts,
    st.lists(reported, max_size=2).map(tuple),
    counts,
)
replicas = st.builds(
    ReplicaStatus,
    topics,
    names,
    schemas,
    counts,
    st.dictionaries(st.sampled_from(["ok", "stale", "skew", "refetching", "closed"]), counts),
    st.integers(0, EPOCH_MAX),
    st.integers(-1, 2**63 - 1),
    st.none() | seconds,
    names,
    st.lists(keys, max_size=STATUS_KEYS_MAX).map(tuple),
    several,
    st.dictionaries(names, counts, max_size=3),
)
statuses = st.builds(
    ProcessStatus,
    processes,
    seconds,
    st.lists(authorities, max_size=2).map(tuple),
    st.lists(replicas, max_size=2).map(tuple),
    counts,
)
queries = st.builds(StatusQuery, st.lists(topics, max_size=3).map(tuple), st.floats(0, 60))


@given(reports)
def test_a_report_arrives_as_it_was_sent(report: Report) -> None:
    assert decode_request(Report.verb, encode_request(report, CODEC), CODEC) == report


@given(statuses)
def test_a_status_arrives_as_it_was_sent(status: ProcessStatus) -> None:
    assert decode_status(encode_status(status, CODEC), CODEC) == status


@given(queries)
def test_a_question_arrives_as_it_was_sent(query: StatusQuery) -> None:
    assert decode_query(encode_query(query, CODEC), CODEC) == query


def test_a_report_is_answered_by_no_more_than_that() -> None:
    data = encode_response(Noted(), CODEC)
    report = Report("me", WHO, "1.0", ())
    assert decode_response(report, data, CODEC) == Noted()
    with pytest.raises(DecodeError):
        decode_response(Ask(0, (), ()), data, CODEC)
    with pytest.raises(DecodeError):
        decode_response(report, CODEC.encode_message([1, 15.0]), CODEC)
    with pytest.raises(DecodeError):
        decode_response(report, CODEC.encode_message([1, 15, 0]), CODEC)


AUTHORITY = AuthorityStatus("user", "1.0", True, False, 5, 1, 2.0, None)
REPLICA = ReplicaStatus("user", "synced", "1.0", 1, {"ok": 1}, 5, 1, 0.5, "", (), (), {"applied": 1})
REFUSAL = Refusing("1.0", "ParseError", 1)
REPORTED = Reported(WHO, "1.0", "1.0", "ParseError", 1, 0.0)
EVOLVED: dict[str, tuple[Any, dict[str, Any]]] = {
    "a long name": (WHO, {"host": "x" * (NAME_CHARS_MAX + 1)}),
    "a name that moves the cursor": (WHO, {"program": "\x1b[2J"}),
    "a name of two lines": (WHO, {"library": "1\n2"}),
    "a negative process": (WHO, {"pid": -1}),
    "a truth as process": (WHO, {"pid": True}),
    "a schema that is none": (REFUSAL, {"schema_version": "two"}),
    "an error that is none": (REFUSAL, {"error": "KeyError"}),
    "no object": (REFUSAL, {"keys": 0}),
    "a topic that is none": (AUTHORITY, {"topic": "a:b"}),
    "an epoch beyond": (AUTHORITY, {"epoch": EPOCH_MAX + 1}),
    "endless reports": (AUTHORITY, {"reports": (REPORTED,) * (STATUS_REPORTS_MAX + 1)}),
    "no time": (AUTHORITY, {"uptime_s": float("nan")}),
    "a long reason": (REPLICA, {"reason": "x" * (NOTE_CHARS_MAX + 1)}),
    "many keys": (REPLICA, {"keys": ("user:1",) * (STATUS_KEYS_MAX + 1)}),
    "a key that is none": (REPLICA, {"keys": ("",)}),
    "many refusals": (REPLICA, {"refusals": (REFUSAL,) * (REFUSALS_MAX + 1)}),
    "an unknown status": (REPLICA, {"statuses": {"fine": 1}}),
    "many counters": (REPLICA, {"counters": {str(number): 1 for number in range(33)}}),
    "a counter below nothing": (REPLICA, {"counters": {"applied": -1}}),
}


def whole(part: Any) -> ProcessStatus:
    """A status in which a part stands."""
    if isinstance(part, Identity):
        return ProcessStatus(part, 0.0, (), ())
    if isinstance(part, Refusing):
        return ProcessStatus(WHO, 0.0, (), (attrs.evolve(REPLICA, refusals=(part,)),))
    return ProcessStatus(WHO, 0.0, *(((part,), ()) if isinstance(part, AuthorityStatus) else ((), (part,))))


@pytest.mark.parametrize(("part", "change"), EVOLVED.values(), ids=EVOLVED)
def test_what_is_out_of_range_is_neither_written_nor_read(part: Any, change: dict[str, Any]) -> None:
    encode_status(whole(part), CODEC)
    with pytest.raises(EncodeError):
        encode_status(whole(attrs.evolve(part, **change)), CODEC)


def test_a_status_has_a_bounded_size() -> None:
    most = ProcessStatus(WHO, 0.0, (), (REPLICA,) * STATUS_ROWS_MAX)
    assert decode_status(encode_status(most, CODEC), CODEC) == most
    with pytest.raises(EncodeError):
        encode_status(attrs.evolve(most, authorities=(AUTHORITY,)), CODEC)
    long = attrs.evolve(
        REPLICA,
        topic="t" * 50,
        reason="r" * NOTE_CHARS_MAX,
        keys=("k" * 100,) * STATUS_KEYS_MAX,
        refusals=(REFUSAL,) * REFUSALS_MAX,
        counters={f"counter number {number}": 2**40 for number in range(10)},
    )
    assert len(encode_status(attrs.evolve(most, replicas=(long,) * STATUS_ROWS_MAX), CODEC)) < 1_000_000


@pytest.mark.parametrize("fields", [[1, []], [1, [], 61.0], [1, ["a:b"], 0.0], [1, ["t"] * 257, 0.0], [2, [], 0.0], 7])
def test_a_question_that_is_none_is_refused(fields: Any) -> None:
    with pytest.raises(DecodeError):
        decode_query(CODEC.encode_message(fields if isinstance(fields, list) else [fields]), CODEC)
