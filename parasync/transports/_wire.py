"""Requests and answers as bytes: arrays that begin with a format number, read back strictly.

Every field has a type and a range, and writers are held to the same as readers. Envelopes inside an answer travel as frames, so
that their own checksums cover them; the place in the answer stands for the key there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from parasync.codec import HEADER_BYTES_MAX, Codec, meta_bytes
from parasync.errors import DecodeError
from parasync.protocol import (
    ABSENT_OBJECT,
    ASK_KEYS_MAX,
    EPOCH_MAX,
    NAME_CHARS_MAX,
    PAGE_KEYS_MAX,
    REASON_CHARS_MAX,
    SAME,
    UNANSWERED,
    Absent,
    Answer,
    Ask,
    Compare,
    Digests,
    EncodedBody,
    Envelope,
    KeyPage,
    Kind,
    ListKeys,
    Noted,
    Outcome,
    Put,
    Refusal,
    Report,
    Request,
    Response,
    Same,
    Scan,
    Scanned,
    SchemaVersion,
    Unanswered,
    Written,
    parse_key,
)
from parasync.transports._wire_fields import (
    COUNT_MAX,
    WIRE_FORMAT,
    body_of,
    fields_of,
    flag,
    integer,
    items,
    keys_of,
    meta_of,
    optional,
    position_of,
    read,
    seconds,
    text,
    version_of,
    written,
)
from parasync.transports._wire_report import NOTED, noted_of, report_fields, report_of
from parasync.transports._wire_scan import (
    COMPARED,
    SCANNED,
    compare_fields,
    digests_fields,
    read_compare,
    read_digests,
    read_scan,
    read_scanned,
    read_scanned_head,
    scan_fields,
    scanned_fields,
)

ANSWER_BYTES: Final = 80
"""What an answer takes at most beside its outcomes, in bytes."""
IDEMPOTENCY_CHARS_MAX: Final = 256
"""The longest idempotency key; a longer one is refused by writer and reader."""

_REFUSED, _ANSWERED, _LISTED, _WRITTEN = range(4)
_OUTCOMES: Final[dict[int, Outcome]] = {0: SAME, 1: ABSENT_OBJECT, 2: UNANSWERED}
_CODES: Final = {Same: 0, Absent: 1, Unanswered: 2}


def encode_request(request: Request, codec: Codec) -> bytes:
    """The bytes of a request, to be sent under its `verb`.

    Raises:
        EncodeError: a field is out of range, or the request is too large.
    """
    return written(lambda: _request_fields(request), partial(_request, request.verb), codec)


def decode_request(verb: str, data: bytes, codec: Codec) -> Request:
    """The request that came under a verb.

    Raises:
        DecodeError: it is none.
    """
    return read(data, partial(_request, verb), codec)


def encode_response(response: Response, codec: Codec) -> bytes:
    """The bytes of an answer.

    Raises:
        EncodeError: a field is out of range, or the answer is too large.
    """
    # Frames were checked when they were written.
    heads: dict[type[Any], Callable[[Any], object]] = {Answer: _answer_head, Scanned: read_scanned_head}
    check = heads.get(type(response), partial(_response, codec, None))
    return written(lambda: _response_fields(response, codec), check, codec)


def decode_response(request: Request, data: bytes, codec: Codec) -> Response:
    """The answer to a request.

    Raises:
        DecodeError: it is none, or one to another kind of request.
    """
    return read(data, partial(_response, codec, request), codec)


def outcome_bytes(outcome: Outcome, codec: Codec) -> int:
    """How many bytes an outcome adds to an answer, at most; the rest takes `ANSWER_BYTES`, all `codec.frame_bytes_max`.

    Raises:
        EncodeError: an envelope cannot be encoded.
    """
    if not isinstance(outcome, Envelope):
        return 1
    body = outcome.value if isinstance(outcome.value, EncodedBody) else outcome.body
    if body is None and outcome.kind is Kind.STATE:
        return len(codec.encode_frame("", outcome)) + 5
    return HEADER_BYTES_MAX + len(body or b"") + meta_bytes(outcome.meta) + 5


def _request_fields(request: Request) -> list[Any]:
    if isinstance(request, Ask):
        positions = [None if held is None else [*held.version, held.checksum] for held in request.positions]
        return [WIRE_FORMAT, request.epoch, list(request.keys), positions]
    if isinstance(request, ListKeys):
        return [WIRE_FORMAT, request.prefix, request.after, request.limit]
    if isinstance(request, Compare):
        return compare_fields(request)
    if isinstance(request, Scan):
        return scan_fields(request)
    if isinstance(request, Report):
        return report_fields(request)
    body = None if request.body is None else bytes(request.body)
    expected = None if request.expected is None else [*request.expected]
    meta = dict(request.meta)
    return [WIRE_FORMAT, request.key, body, request.schema_version, expected, request.idempotency_key, meta]


def _response_fields(response: Response, codec: Codec) -> list[Any]:
    if isinstance(response, Answer):
        outcomes = [_outcome(index, outcome, codec) for index, outcome in enumerate(response.outcomes)]
        head = [response.epoch, response.beat, float(response.uptime_s), [*response.floor], response.history_epoch]
        return [WIRE_FORMAT, _ANSWERED, *head, outcomes]
    if isinstance(response, KeyPage):
        versions = [[*held] for held in response.versions]
        return [WIRE_FORMAT, _LISTED, response.epoch, list(response.keys), versions, response.more]
    if isinstance(response, Written):
        return [WIRE_FORMAT, _WRITTEN, [*response.version]]
    if isinstance(response, Digests):
        return digests_fields(response)
    if isinstance(response, Scanned):
        return scanned_fields(response, codec)
    if isinstance(response, Noted):
        return [WIRE_FORMAT, NOTED]
    current = None if response.current is None else [*response.current]
    return [WIRE_FORMAT, _REFUSED, response.error, response.reason[:REASON_CHARS_MAX], current]


def _outcome(index: int, outcome: Outcome, codec: Codec) -> int | bytes:
    return codec.encode_frame(str(index), outcome) if isinstance(outcome, Envelope) else _CODES[type(outcome)]


def _request(verb: str, fields: Any) -> Request:
    if verb == Ask.verb:
        epoch, keys, positions = fields_of(fields, 3)
        asked = keys_of(keys, ASK_KEYS_MAX)
        at = tuple(optional(held, position_of) for held in items(positions, ASK_KEYS_MAX))
        if len(asked) != len(at):
            raise DecodeError("got an ask with other than one position for each key")
        return Ask(integer(epoch, EPOCH_MAX), asked, at)
    if verb == ListKeys.verb:
        prefix, after, limit = fields_of(fields, 3)
        return ListKeys(text(prefix), text(after), integer(limit, PAGE_KEYS_MAX, 1))
    if verb == Put.verb:
        key, body, schema_version, expected, idempotency_key, meta = fields_of(fields, 6)
        parse_key(key)
        SchemaVersion.parse(schema_version)
        idempotent = optional(idempotency_key, lambda named: text(named, IDEMPOTENCY_CHARS_MAX))
        return Put(key, optional(body, body_of), schema_version, optional(expected, version_of), idempotent, meta_of(meta))
    if verb == Compare.verb:
        return read_compare(fields)
    if verb == Scan.verb:
        return read_scan(fields)
    if verb == Report.verb:
        return report_of(fields)
    raise DecodeError("got a request of an unknown kind")


def _response(codec: Codec, request: Request | None, fields: Any) -> Response:
    if fields[1] == NOTED and (request is None or isinstance(request, Report)):
        return noted_of(fields)
    kind = integer(fields[1], SCANNED)
    if kind == _REFUSED:
        _, error, reason, current = fields_of(fields, 4)
        return Refusal(text(error, NAME_CHARS_MAX), text(reason, REASON_CHARS_MAX), optional(current, version_of))
    if kind == _ANSWERED and isinstance(request, Ask):
        answer = _answer_head(fields)
        answer.outcomes = tuple(_found(index, outcome, codec) for index, outcome in enumerate(fields[-1]))
        if len(answer.outcomes) != len(request.keys):
            raise DecodeError("got an answer with other than one outcome for each key")
        return answer
    if kind == _LISTED and (request is None or isinstance(request, ListKeys)):
        _, epoch, keys, versions, more = fields_of(fields, 5)
        listed = keys_of(keys, PAGE_KEYS_MAX)
        held = tuple(map(version_of, items(versions, PAGE_KEYS_MAX)))
        if len(listed) != len(held):
            raise DecodeError("got a page with other than one version for each key")
        return KeyPage(integer(epoch, EPOCH_MAX), listed, held, flag(more))
    if kind == _WRITTEN and (request is None or isinstance(request, Put)):
        _, version = fields_of(fields, 2)
        return Written(version_of(version))
    if kind == COMPARED and (request is None or isinstance(request, Compare)):
        return read_digests(fields)
    if kind == SCANNED and isinstance(request, Scan):
        return read_scanned(fields, codec)
    raise DecodeError("got an answer to another kind of request")


def _answer_head(fields: Any) -> Answer:
    """An answer without its outcomes."""
    _, epoch, beat, uptime_s, floor, history_epoch, outcomes = fields_of(fields, 7)
    items(outcomes, ASK_KEYS_MAX)
    epochs = integer(epoch, EPOCH_MAX), integer(history_epoch, EPOCH_MAX)
    return Answer(epochs[0], integer(beat, COUNT_MAX), seconds(uptime_s), version_of(floor), epochs[1], ())


def _found(index: int, outcome: Any, codec: Codec) -> Outcome:
    if type(outcome) is bytes:
        try:
            return codec.decode_frame(str(index), outcome)
        except DecodeError as error:
            # One object that cannot be read must not keep those from their answers that were asked for with it.
            return Unanswered(str(error))
    return _OUTCOMES[integer(outcome, len(_OUTCOMES) - 1)]
