"""What processes say of themselves, as bytes: sealed like probes, strict and bounded like reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from parasync.codec import Codec
from parasync.errors import DecodeError
from parasync.protocol import (
    COUNTERS_MAX,
    EPOCH_MAX,
    NAME_CHARS_MAX,
    NOTE_CHARS_MAX,
    STATUS_KEYS_MAX,
    STATUS_REPORTS_MAX,
    STATUS_ROWS_MAX,
    AuthorityStatus,
    ProcessStatus,
    ReplicaStatus,
    Reported,
    Status,
    StatusQuery,
    check_topic,
)
from parasync.transports._wire_fields import (
    COUNT_MAX,
    WIRE_FORMAT,
    fields_of,
    flag,
    integer,
    items,
    keys_of,
    label,
    optional,
    read,
    seconds,
    written,
)
from parasync.transports._wire_report import (
    error_of,
    exactly,
    identity_fields,
    identity_of,
    refusals_fields,
    refusals_of,
    schema_of,
)

STATUS_SPREAD_S_MAX: Final = 60.0
"""The longest time in seconds over which an asker may spread the answers; who demands more gets none."""
STATUS_TOPICS_MAX: Final = 256
"""The most topics that one question about status may name."""

_STATUSES: Final = frozenset(status.value for status in Status)


def encode_query(query: StatusQuery, codec: Codec) -> bytes:
    """The bytes of a question.

    Raises:
        EncodeError: a field is out of range.
    """
    return written(lambda: [WIRE_FORMAT, list(query.topics), float(query.spread_s)], _query, codec)


def decode_query(data: bytes, codec: Codec) -> StatusQuery:
    """The question that came in.

    Raises:
        DecodeError: it is none.
    """
    return read(data, _query, codec)


def encode_status(status: ProcessStatus, codec: Codec) -> bytes:
    """The bytes of an answer.

    Raises:
        EncodeError: a field is out of range.
    """
    return written(lambda: _fields(status), _status, codec)


def decode_status(data: bytes, codec: Codec) -> ProcessStatus:
    """The answer that came in.

    Raises:
        DecodeError: it is none.
    """
    return read(data, _status, codec)


def _fields(status: ProcessStatus) -> list[Any]:
    authorities = [_authority_fields(each) for each in status.authorities]
    replicas = [_replica_fields(each) for each in status.replicas]
    return [WIRE_FORMAT, identity_fields(status.who), float(status.wall_s), authorities, replicas, status.left_out]


def _authority_fields(status: AuthorityStatus) -> list[Any]:
    reports = [
        [identity_fields(each.who), each.accepts, each.schema_version, each.error, each.keys, float(each.since)]
        for each in status.reports
    ]
    life = [status.serving, status.loading, status.epoch, status.beat, float(status.uptime_s)]
    return [status.topic, status.schema_version, *life, status.objects, reports, status.reports_left_out]


def _replica_fields(status: ReplicaStatus) -> list[Any]:
    age_s = None if status.age_s is None else float(status.age_s)
    place = [status.epoch, status.beat, age_s, status.reason, list(status.keys)]
    told = [dict(status.statuses), *place, refusals_fields(status.refusals), dict(status.counters)]
    return [status.topic, status.kind, status.accepts, status.objects, *told]


def _query(fields: Any) -> StatusQuery:
    topics, spread_s = fields_of(fields, 2)
    named = tuple(map(check_topic, items(topics, STATUS_TOPICS_MAX)))
    if seconds(spread_s) > STATUS_SPREAD_S_MAX:
        raise DecodeError(f"got a spread of more than {STATUS_SPREAD_S_MAX:g} s")
    return StatusQuery(named, spread_s)


def _status(fields: Any) -> ProcessStatus:
    who, wall_s, authorities, replicas, left_out = fields_of(fields, 5)
    if len(items(authorities, STATUS_ROWS_MAX)) + len(items(replicas, STATUS_ROWS_MAX)) > STATUS_ROWS_MAX:
        raise DecodeError(f"got more than {STATUS_ROWS_MAX} authorities and replicas")
    return ProcessStatus(
        identity_of(who),
        seconds(wall_s),
        tuple(_authority(*exactly(each, 10)) for each in authorities),
        tuple(_replica(*exactly(each, 12)) for each in replicas),
        integer(left_out, COUNT_MAX),
    )


def _authority(topic: Any, schema: Any, serving: Any, loading: Any, epoch: Any, *rest: Any) -> AuthorityStatus:
    beat, uptime_s, objects, reports, left_out = rest
    return AuthorityStatus(
        check_topic(topic),
        schema_of(schema),
        flag(serving),
        flag(loading),
        integer(epoch, EPOCH_MAX),
        integer(beat, COUNT_MAX),
        seconds(uptime_s),
        optional(objects, lambda count: integer(count, COUNT_MAX)),
        tuple(_reported(*exactly(each, 6)) for each in items(reports, STATUS_REPORTS_MAX)),
        integer(left_out, COUNT_MAX),
    )


def _reported(who: Any, accepts: Any, schema: Any, error: Any, keys: Any, since: Any) -> Reported:
    about = identity_of(who), schema_of(accepts), schema_of(schema), error_of(error)
    return Reported(*about, integer(keys, COUNT_MAX, 1), seconds(since))


def _replica(topic: Any, kind: Any, accepts: Any, objects: Any, statuses: Any, *rest: Any) -> ReplicaStatus:
    epoch, beat, age_s, reason, keys, refusals, counters = rest
    counted = _counts(statuses, len(_STATUSES))
    if not counted.keys() <= _STATUSES:
        raise DecodeError("got a status that does not exist")
    return ReplicaStatus(
        check_topic(topic),
        label(kind, NAME_CHARS_MAX),
        schema_of(accepts),
        integer(objects, COUNT_MAX),
        counted,
        integer(epoch, EPOCH_MAX),
        integer(beat, COUNT_MAX, -1),
        optional(age_s, seconds),
        label(reason, NOTE_CHARS_MAX),
        keys_of(keys, STATUS_KEYS_MAX),
        refusals_of(refusals),
        _counts(counters, COUNTERS_MAX),
    )


def _counts(value: Any, count_max: int) -> Mapping[str, int]:
    if type(value) is not dict or len(value) > count_max:
        raise DecodeError(f"got something else than at most {count_max} counts by name")
    return {label(name, NAME_CHARS_MAX): integer(count, COUNT_MAX) for name, count in value.items()}
