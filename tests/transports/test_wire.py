"""Requests, answers and probes as bytes: exact both ways, strict, and limited."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.codec import META_BYTES_MAX, META_ENTRIES_MAX, MsgpackCodec
from parasync.errors import DecodeError, EncodeError
from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    ASK_KEYS_MAX,
    BEAT_NAMES_MAX,
    BUCKETS,
    EPOCH_BITS,
    EPOCH_MAX,
    NAME_CHARS_MAX,
    NO_META,
    PAGE_KEYS_MAX,
    REASON_CHARS_MAX,
    SAME,
    SCAN_KEYS_MAX,
    SEQUENCE_MAX,
    UNANSWERED,
    Answer,
    Ask,
    Beat,
    Compare,
    Digests,
    EncodedBody,
    Envelope,
    KeyPage,
    Kind,
    ListKeys,
    Position,
    Probe,
    ProbeReply,
    Put,
    Refusal,
    Request,
    Response,
    Scan,
    Scanned,
    Unanswered,
    Version,
    Written,
    bucket_of,
)
from parasync.transports._seal import sealed, unsealed
from parasync.transports._wire import (
    ANSWER_BYTES,
    IDEMPOTENCY_CHARS_MAX,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    outcome_bytes,
)
from parasync.transports._wire_beat import decode_beat, encode_beat
from parasync.transports._wire_probe import decode_probe, decode_probe_reply, encode_probe, encode_probe_reply

WALL_S = 2.0**40
CODEC = MsgpackCodec(wall_clock=lambda: WALL_S)
SUBJECT = "synced.user.beat"

texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text(st.characters(codec="utf-8", exclude_characters=":"), min_size=1, max_size=8)
idents = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
keys = names | st.builds(lambda topic, ident: f"{topic}:{ident}", names, idents)
epochs = st.integers(0, EPOCH_MAX)
versions = st.builds(Version, epochs, st.integers(0, SEQUENCE_MAX))
positions = st.builds(Position, versions, st.none() | st.integers(0, 2**32 - 1))
bodies = st.binary(min_size=1, max_size=50).map(EncodedBody)
metas = st.dictionaries(texts, texts, max_size=3)

asks = st.builds(
    lambda epoch, held: Ask(epoch, tuple(key for key, _ in held), tuple(position for _, position in held)),
    epochs,
    st.lists(st.tuples(keys, st.none() | positions), max_size=5),
)
listings = st.builds(ListKeys, texts, texts, st.integers(1, PAGE_KEYS_MAX))
puts = st.builds(
    Put,
    keys,
    st.none() | bodies,
    st.sampled_from(["1.0", "2.17"]),
    st.none() | versions,
    st.none() | st.text(st.characters(codec="utf-8"), max_size=IDEMPOTENCY_CHARS_MAX),
    metas,
)
compares = st.builds(Compare, epochs)


def ordered(found: Any) -> list[Any]:
    return sorted(found, key=lambda key: (bucket_of(key), key))


def a_scan(epoch: int, floor: Version, held: dict[str, Position | None], begins: int, ends: int) -> Scan:
    """One whose range begins with the first of some keys, and ends with the last, or a bit before and behind."""
    found = ordered(held)
    if not found:
        return Scan(epoch, floor, "", tuple(range(begins, BUCKETS, ends + 1)))
    first, *others = found
    buckets = tuple(sorted({bucket_of(key) for key in found}))
    after, upto = first if begins % 2 else "", found[-1] if ends % 2 else ""
    named = others if after else found
    return Scan(epoch, floor, "", buckets, after, upto, tuple(named), tuple(held[key] for key in named))


scans = st.builds(
    a_scan,
    epochs,
    versions,
    st.dictionaries(keys, st.none() | positions, max_size=5),
    st.integers(0, BUCKETS - 1),
    st.integers(0, BUCKETS - 1),
)
requests = asks | listings | puts | compares | scans


def an_envelope(body: EncodedBody | None, sequence: int, epoch: int, meta: dict[str, str]) -> Envelope[Any]:
    kind = Kind.TOMBSTONE if body is None else Kind.STATE
    return Envelope(body, "2.1", sequence, epoch, kind=kind, meta=meta or NO_META)


outcomes = st.sampled_from([SAME, ABSENT_OBJECT, UNANSWERED]) | st.builds(
    an_envelope, st.none() | bodies, st.integers(1, SEQUENCE_MAX), epochs, metas
)
answers = st.builds(
    Answer,
    epochs,
    st.integers(0, 2**63 - 1),
    st.floats(0, 1e12),
    versions,
    epochs,
    st.lists(outcomes, max_size=5).map(tuple),
)
pages = st.lists(st.tuples(keys, versions), max_size=5).flatmap(
    lambda held: st.builds(
        KeyPage,
        epochs,
        st.just(tuple(key for key, _ in held)),
        st.just(tuple(version for _, version in held)),
        st.booleans(),
    )
)
heads = st.tuples(epochs, st.integers(0, 2**63 - 1), st.floats(0, 1e12), versions, epochs, st.floats(0, 1e12))
digests = st.lists(st.integers(0, 2**128 - 1), min_size=BUCKETS, max_size=BUCKETS).map(tuple)
compared = st.builds(lambda head, count, found: Digests(*head, count, found), heads, st.integers(0, 2**63 - 1), digests)
told = outcomes.filter(lambda outcome: outcome is not SAME)
scanned = st.builds(
    lambda head, count, covered, found: Scanned(*head, count, covered, tuple(ordered(found)), tuple(found.values())),
    heads,
    st.integers(0, 2**63 - 1),
    st.none() | keys,
    st.dictionaries(keys, told, max_size=5),
)
refusals = st.builds(Refusal, st.sampled_from(["ConflictError", "RefusedError"]), texts, st.none() | versions)
probes = st.builds(Probe, names, epochs, st.booleans(), st.text(st.characters(codec="utf-8"), max_size=NAME_CHARS_MAX))
replies = st.builds(ProbeReply, epochs, st.booleans())
names_of_beats = st.dictionaries(keys, st.builds(Position, versions, st.integers(0, 2**32 - 1)), max_size=5)
beats = st.builds(
    lambda named, number, since, epoch, *fields: Beat(
        epoch, number, *fields, named if since < number else {}, min(since, number)
    ),
    names_of_beats,
    st.integers(1, 2**63 - 1),
    st.integers(0, 2**63 - 1),
    epochs,
    st.floats(0, 1e12),
    st.floats(0, 1e12, exclude_min=True),
    versions,
    epochs,
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**128 - 1),
)


def asked(count: int) -> Ask:
    return Ask(0, tuple(f"t:{number}" for number in range(count)), (None,) * count)


EVERYTHING = Scan(0, ABSENT, "", tuple(range(BUCKETS)))


def without_checksums(answer: Response) -> Response:
    if isinstance(answer, Answer | Scanned):
        answer.outcomes = tuple(answer.outcomes)
        for outcome in answer.outcomes:
            if isinstance(outcome, Envelope):
                assert outcome.checksum is not None
                outcome.checksum = None
    return answer


@given(requests)
def test_requests_come_back(request: Request) -> None:
    assert decode_request(request.verb, encode_request(request, CODEC), CODEC) == request


@given(answers)
def test_answers_come_back(answer: Answer) -> None:
    request = asked(len(answer.outcomes))
    assert without_checksums(decode_response(request, encode_response(answer, CODEC), CODEC)) == answer


@given(scanned)
def test_answers_to_scans_come_back(answer: Scanned) -> None:
    assert without_checksums(decode_response(EVERYTHING, encode_response(answer, CODEC), CODEC)) == answer


@given(compared)
def test_digests_come_back(answer: Digests) -> None:
    assert decode_response(Compare(0), encode_response(answer, CODEC), CODEC) == answer


@given(pages | refusals)
def test_pages_and_refusals_come_back(response: Response) -> None:
    assert decode_response(ListKeys(), encode_response(response, CODEC), CODEC) == response


@given(versions, st.booleans())
def test_written_versions_come_back(version: Version, delete: bool) -> None:
    put = Put("t:1", None if delete else EncodedBody(b"x"), "1.0")
    assert decode_response(put, encode_response(Written(version), CODEC), CODEC) == Written(version)


@given(probes, replies)
def test_probes_and_replies_come_back(probe: Probe, reply: ProbeReply) -> None:
    assert decode_probe(encode_probe(probe, CODEC), CODEC) == probe
    assert decode_probe_reply(encode_probe_reply(reply, CODEC), CODEC) == reply


@given(beats)
def test_beats_come_back(beat: Beat) -> None:
    assert decode_beat(encode_beat(beat, SUBJECT, CODEC), SUBJECT, CODEC, WALL_S) == beat


@given(answers)
def test_the_size_of_an_answer_is_known_beforehand(answer: Answer) -> None:
    size = ANSWER_BYTES + sum(outcome_bytes(outcome, CODEC) for outcome in answer.outcomes)
    assert len(encode_response(answer, CODEC)) <= size


def test_the_size_of_an_envelope_that_is_not_encoded_yet() -> None:
    envelope: Envelope[Any] = Envelope({"a": [1, 2, 3]}, "2.1", 7, 5)
    encoded = Envelope({"a": [1, 2, 3]}, "2.1", 7, 5, body=CODEC.encode_body({"a": [1, 2, 3]}))
    grown = len(encode_response(Answer(1, 0, 0.0, ABSENT, 0, (envelope,)), CODEC)) - len(
        encode_response(Answer(1, 0, 0.0, ABSENT, 0, ()), CODEC)
    )
    assert grown <= outcome_bytes(envelope, CODEC) <= outcome_bytes(encoded, CODEC)
    with pytest.raises(EncodeError):
        outcome_bytes(Envelope(object(), "2.1", 7, 5), CODEC)


def test_the_largest_envelope_fits_into_an_answer_and_into_a_put() -> None:
    meta = {str(index).zfill(100): "" for index in range(META_ENTRIES_MAX - 1)}
    meta["x"] = "y" * (META_BYTES_MAX - 100 * len(meta) - 1)
    body = EncodedBody(b"x" * CODEC.body_bytes_max)
    envelope = Envelope(body, "999999.999999", SEQUENCE_MAX, EPOCH_MAX, 0, meta=meta)
    answer = Answer(EPOCH_MAX, 2**63 - 1, 1e9, Version(EPOCH_MAX, SEQUENCE_MAX), EPOCH_MAX, (envelope,))
    assert ANSWER_BYTES + outcome_bytes(envelope, CODEC) <= CODEC.frame_bytes_max
    assert without_checksums(decode_response(asked(1), encode_response(answer, CODEC), CODEC)) == answer
    put = Put("k" * 512, body, "999999.999999", Version(EPOCH_MAX, SEQUENCE_MAX), "\U0001f600" * IDEMPOTENCY_CHARS_MAX, meta)
    assert decode_request("put", encode_request(put, CODEC), CODEC) == put


def test_an_answer_to_another_number_of_keys() -> None:
    data = encode_response(Answer(1, 0, 0.0, ABSENT, 0, (SAME, SAME)), CODEC)
    for count in (1, 3):
        with pytest.raises(DecodeError, match="one outcome for each key"):
            decode_response(asked(count), data, CODEC)


def test_envelopes_of_an_answer_keep_their_places() -> None:
    held = [an_envelope(EncodedBody(body), 1, 1, {}) for body in (b"a", b"b")]
    fields = msgpack.unpackb(encode_response(Answer(1, 0, 0.0, ABSENT, 0, tuple(held)), CODEC))
    fields[-1].reverse()
    outcomes = decode_response(asked(2), msgpack.packb(fields), CODEC).outcomes  # type: ignore[union-attr]
    assert all(isinstance(outcome, Unanswered) and "checksum" in outcome.reason for outcome in outcomes)


def test_an_envelope_that_cannot_be_read_keeps_no_other_from_its_answer() -> None:
    held = [an_envelope(EncodedBody(body), 1, 1, {}) for body in (b"a", b"b")]
    fields = msgpack.unpackb(encode_response(Answer(1, 0, 0.0, ABSENT, 0, (*held, SAME)), CODEC))
    fields[-1][0] = fields[-1][0][:-1]
    broken, whole, same = decode_response(asked(3), msgpack.packb(fields), CODEC).outcomes  # type: ignore[union-attr]
    assert isinstance(broken, Unanswered)
    assert broken.reason
    assert isinstance(whole, Envelope)
    assert (whole.value, same) == (b"b", SAME)


def told_of(*outcomes: Any, epoch: int = 5) -> Scanned:
    told = tuple(f"t:{number}" for number in range(len(outcomes)))
    return Scanned(epoch, 0, 0.0, ABSENT, 0, 0.0, 3, None, told, outcomes)


def read_again(answer: Scanned, change: Callable[[list[Any]], None]) -> list[Any]:
    """The outcomes of an answer whose fields were changed on the way."""
    fields = msgpack.unpackb(encode_response(answer, CODEC))
    change(fields)
    return list(decode_response(EVERYTHING, msgpack.packb(fields), CODEC).outcomes)  # type: ignore[union-attr]


def test_what_is_told_of_a_range_stays_with_its_key() -> None:
    held = [an_envelope(EncodedBody(body), 1, 1, {"trace": "1"}) for body in (b"a", b"b", b"c")]

    def swap(fields: list[Any]) -> None:
        one, two, three = fields[OUTCOMES]
        fields[OUTCOMES] = [two, one, three]

    *swapped, whole = read_again(told_of(*held), swap)
    assert all(isinstance(outcome, Unanswered) and "checksum" in outcome.reason for outcome in swapped)
    assert whole.value == b"c"


OUTCOMES, SHAPE, ROWS, BODIES = range(11, 15)
ROW_BYTES = 20
PLAIN = [an_envelope(EncodedBody(body), sequence, 5, {}) for sequence, body in ((1, b"a"), (2, b"bb"), (3, b"ccc"))]


def test_states_of_one_schema_travel_as_rows_and_bodies_and_all_else_as_frames() -> None:
    other = attrs.evolve(PLAIN[0], schema_version="1.9")
    later = attrs.evolve(PLAIN[0], epoch=6)
    with_meta = an_envelope(EncodedBody(b"m"), 1, 5, {"trace": "1"})
    gone = Envelope(None, "1.0", 4, 5, kind=Kind.TOMBSTONE)
    fields = msgpack.unpackb(encode_response(told_of(*PLAIN, gone, other, later, with_meta, ABSENT_OBJECT, UNANSWERED), CODEC))
    *plain, dead, shaped, ahead, traced, absent, unanswered = fields[OUTCOMES]
    assert plain == [0, 0, 0]
    assert all(type(frame) is bytes for frame in (dead, shaped, ahead, traced))
    assert (absent, unanswered) == (1, 2)
    assert (fields[SHAPE], len(fields[ROWS]), fields[BODIES]) == (PLAIN[0].schema_version, 3 * ROW_BYTES, b"abbccc")
    frames = [CODEC.decode_frame("t:1", CODEC.encode_frame("t:1", each)) for each in PLAIN]
    assert read_again(told_of(*PLAIN), lambda _: None) == frames, "they have the same checksums"


@pytest.mark.parametrize(("begin", "number"), [(0, 6), (8, 0), (8, 2**63)])
def test_a_row_out_of_range_keeps_no_other_from_its_answer(begin: int, number: int) -> None:
    def spoil(fields: list[Any]) -> None:
        rows = bytearray(fields[ROWS])
        rows[ROW_BYTES + begin : ROW_BYTES + begin + 8] = number.to_bytes(8, "big")
        fields[ROWS] = bytes(rows)

    one, two, three = read_again(told_of(*PLAIN), spoil)
    assert (one.value, three.value) == (b"a", b"ccc")
    assert isinstance(two, Unanswered)
    assert "out of range" in two.reason


def test_an_empty_body_keeps_no_other_from_its_answer() -> None:
    def spoil(fields: list[Any]) -> None:
        fields[ROWS] = fields[ROWS][: ROW_BYTES - 4] + bytes(4) + fields[ROWS][ROW_BYTES:]
        fields[BODIES] = fields[BODIES][1:]

    one, *others = read_again(told_of(*PLAIN), spoil)
    assert isinstance(one, Unanswered)
    assert [other.value for other in others] == [b"bb", b"ccc"]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (ROWS, b""),
        (ROWS, bytes(ROW_BYTES - 1)),
        (ROWS, "text"),
        (BODIES, b"abbcc"),
        (BODIES, b"abbcccc"),
        (BODIES, "abbccc"),
        (OUTCOMES, [0, 0, 1]),
        (OUTCOMES, [0, 0, 0, 0]),
        (OUTCOMES, [0, 0, False]),
        (SHAPE, "one"),
        (SHAPE, 1),
    ],
)
def test_rows_that_do_not_fit_to_the_rest_are_no_answer(place: int, value: object) -> None:
    with pytest.raises(DecodeError):
        read_again(told_of(*PLAIN), lambda fields: fields.__setitem__(place, value))


def test_rows_of_an_epoch_too_far_ahead_are_no_answer() -> None:
    codec = MsgpackCodec(wall_clock=lambda: 1000.0)
    data = encode_response(told_of(PLAIN[0], epoch=200_000 << 20), CODEC)
    with pytest.raises(DecodeError, match="check the clocks"):
        decode_response(EVERYTHING, data, codec)


def test_what_no_reader_takes_is_not_sent() -> None:
    for bad in ({"schema_version": "one"}, {"sequence": 0}, {"epoch": -1}, {"sequence": 2**63}):
        with pytest.raises(EncodeError):
            encode_response(told_of(attrs.evolve(PLAIN[0], **bad)), CODEC)


def test_the_largest_answer_to_a_scan_has_no_more_than_its_parts() -> None:
    """What the parts take is known beforehand; the rest is small."""
    most = 2**63 - 1
    told = tuple(f"{number}:".ljust(400, "x") for number in range(SCAN_KEYS_MAX))
    floor, outcomes = Version(EPOCH_MAX, most), (ABSENT_OBJECT,) * len(told)
    answer = Scanned(EPOCH_MAX, most, 1e9, floor, EPOCH_MAX, 1e9, most, told[-1], told, outcomes)
    assert len(encode_response(answer, CODEC)) < 520 + 100 + len(told) * (400 + 4)


def test_an_answer_to_another_kind_of_request() -> None:
    answered: list[tuple[Request, Response]] = [
        (asked(0), Answer(1, 0, 0.0, ABSENT, 0, ())),
        (ListKeys(), KeyPage(1, (), (), more=False)),
        (Put("t", None, "1.0"), Written(Version(1, 1))),
        (Compare(0), Digests(1, 0, 0.0, ABSENT, 0, 0.0, 0, (0,) * BUCKETS)),
        (EVERYTHING, Scanned(1, 0, 0.0, ABSENT, 0, 0.0, 0, None, (), ())),
    ]
    for request, _ in answered:
        for other, response in answered:
            if other is not request:
                with pytest.raises(DecodeError, match="another kind of request"):
                    decode_response(request, encode_response(response, CODEC), CODEC)
        refusal = Refusal("RefusedError", "no")
        assert decode_response(request, encode_response(refusal, CODEC), CODEC) == refusal


def test_long_reasons_are_cut() -> None:
    read = decode_response(asked(0), encode_response(Refusal("RefusedError", "x" * 10_000), CODEC), CODEC)
    assert read == Refusal("RefusedError", "x" * REASON_CHARS_MAX)


MANY = tuple(f"t:{number}" for number in range(PAGE_KEYS_MAX + 1))
NAMED = {"t": Position(Version(1, 2), 3), "t:1": Position(Version(1, 1), 0)}
A_BEAT = Beat(1, 2, 3.0, 5.0, Version(1, 1), 1, 9, 2**100, NAMED, 1)
A_SCAN = Scan(1, Version(1, 1), "t", (bucket_of("t:1"),), "", "t:1", ("t:1",), (Position(Version(1, 2), 3),))
DIGESTS = Digests(1, 2, 3.0, Version(1, 1), 1, 0.5, 9, tuple(range(BUCKETS)))
TOLD = (an_envelope(EncodedBody(b"x"), 1, 1, {}), ABSENT_OBJECT, UNANSWERED)
A_RANGE = Scanned(1, 2, 3.0, Version(1, 1), 1, 0.5, 9, "t:1", ("t", "t:1", "t:2"), TOLD)
OUT_OF_RANGE: list[Callable[[], object]] = [
    lambda: encode_request(Ask(-1, (), ()), CODEC),
    lambda: encode_request(Ask(EPOCH_MAX + 1, (), ()), CODEC),
    lambda: encode_request(Ask(0, ("t",), ()), CODEC),
    lambda: encode_request(Ask(0, ("",), (None,)), CODEC),
    lambda: encode_request(Ask(0, (5,), (None,)), CODEC),  # type: ignore[arg-type]
    lambda: encode_request(Ask(0, MANY[: ASK_KEYS_MAX + 1], (None,) * (ASK_KEYS_MAX + 1)), CODEC),
    lambda: encode_request(Ask(0, ("t",), (Position(Version(0, -1), None),)), CODEC),
    lambda: encode_request(Ask(0, ("t",), (Position(Version(0, 1), 2**32),)), CODEC),
    lambda: encode_request(Ask(0, ("t",), ("here",)), CODEC),  # type: ignore[arg-type]
    lambda: encode_request(ListKeys(limit=0), CODEC),
    lambda: encode_request(ListKeys(limit=PAGE_KEYS_MAX + 1), CODEC),
    lambda: encode_request(ListKeys(prefix="x" * 600), CODEC),
    lambda: encode_request(ListKeys(prefix="\ud800"), CODEC),
    lambda: encode_request(Put("t:", None, "1.0"), CODEC),
    lambda: encode_request(Put("t", EncodedBody(b""), "1.0"), CODEC),
    lambda: encode_request(Put("t", None, "one"), CODEC),
    lambda: encode_request(Put("t", None, "1.0", idempotency_key="x" * (IDEMPOTENCY_CHARS_MAX + 1)), CODEC),
    lambda: encode_request(Put("t", None, "1.0", meta={"a": 1}), CODEC),  # type: ignore[dict-item]
    lambda: encode_request(Put("t", EncodedBody(b"x" * 1_000_001), "1.0"), CODEC),
    *(
        lambda changes=changes: encode_request(attrs.evolve(A_SCAN, **changes), CODEC)
        for changes in (
            {"epoch": EPOCH_MAX + 1},
            {"floor": Version(0, -1)},
            {"prefix": 5},
            {"prefix": "\ud800", "keys": (), "positions": ()},
            {"buckets": ()},
            {"buckets": (BUCKETS,)},
            {"buckets": (bucket_of("t:1"),) * 2},
            {"after": "t:2"},
            {"upto": "t:2"},
            {"keys": ("t:2",)},
            {"keys": ("t:1", "t:1"), "positions": (None, None)},
            {"positions": ()},
            {"positions": (Position(Version(1, 2), -1),)},
        )
    ),
    lambda: encode_request(Compare(-1), CODEC),
    *(
        lambda changes=changes: encode_response(attrs.evolve(DIGESTS, **changes), CODEC)
        for changes in ({"lag_s": -1.0}, {"count": -1}, {"buckets": (0,) * (BUCKETS - 1)}, {"buckets": (2**128,) * BUCKETS})
    ),
    *(
        lambda changes=changes: encode_response(attrs.evolve(A_RANGE, **changes), CODEC)
        for changes in (
            {"uptime_s": math.nan},
            {"covered": ""},
            {"keys": ("t", "t", "t:1")},
            {"keys": ("t", "t:1")},
            {"outcomes": (SAME, SAME, SAME)},
            {"keys": MANY * 2, "outcomes": (ABSENT_OBJECT,) * len(MANY * 2)},
        )
    ),
    lambda: encode_response(Answer(-1, 0, 0.0, ABSENT, 0, ()), CODEC),
    lambda: encode_response(Answer(0, -1, 0.0, ABSENT, 0, ()), CODEC),
    lambda: encode_response(Answer(0, 0, -1.0, ABSENT, 0, ()), CODEC),
    lambda: encode_response(Answer(0, 0, math.nan, ABSENT, 0, ()), CODEC),
    lambda: encode_response(Answer(0, 0, 0.0, Version(0, -1), 0, ()), CODEC),
    lambda: encode_response(Answer(0, 0, 0.0, ABSENT, 0, (SAME,) * (ASK_KEYS_MAX + 1)), CODEC),
    lambda: encode_response(Answer(0, 0, 0.0, ABSENT, 0, (Envelope(object(), "1.0", 1),)), CODEC),
    lambda: encode_response(KeyPage(0, MANY, (ABSENT,) * len(MANY), more=False), CODEC),
    lambda: encode_response(KeyPage(0, ("t",), (), more=False), CODEC),
    lambda: encode_response(KeyPage(0, (), (), more=1), CODEC),  # type: ignore[arg-type]
    lambda: encode_response(Written(Version(0, 2**63)), CODEC),
    lambda: encode_response(Refusal("x" * (NAME_CHARS_MAX + 1), "no"), CODEC),
    lambda: encode_probe(Probe("a:b", 0, False, "me"), CODEC),
    lambda: encode_probe(Probe("a", 0, 1, "me"), CODEC),  # type: ignore[arg-type]
    lambda: encode_probe(Probe("a", 0, False, "x" * (NAME_CHARS_MAX + 1)), CODEC),
    lambda: encode_probe_reply(ProbeReply(True, True), CODEC),
    *(
        lambda changes=changes: encode_beat(attrs.evolve(A_BEAT, **changes), SUBJECT, CODEC)
        for changes in (
            {"epoch": EPOCH_MAX + 1},
            {"number": 0},
            {"uptime_s": -1.0},
            {"interval_s": 0.0},
            {"interval_s": math.inf},
            {"floor": Version(0, -1)},
            {"count": -1},
            {"digest": -1},
            {"digest": 2**128},
            {"named": {"": Position(Version(1, 1), 1)}},
            {"named": {"t": Position(Version(1, 1), None)}},
            {"named": dict.fromkeys(MANY[: BEAT_NAMES_MAX + 1], Position(Version(1, 1), 1))},
            {"since": True},
            {"since": -1},
            {"since": 1.0},
            {"since": None},
            {"since": 2},
            {"since": 3, "named": {}},
        )
    ),
]


@pytest.mark.parametrize("write", OUT_OF_RANGE, ids=range(len(OUT_OF_RANGE)))
def test_what_a_reader_would_refuse_is_not_written(write: Callable[[], object]) -> None:
    with pytest.raises(EncodeError) as refusal:
        write()
    assert refusal.value.__context__ is None


AN_ASK = Ask(1, ("t", "t:1"), (None, Position(Version(1, 2), 3)))
AN_ANSWER = Answer(1, 2, 3.0, Version(1, 1), 1, (SAME, ABSENT_OBJECT, an_envelope(EncodedBody(b"x"), 1, 1, {})))
A_PAGE = KeyPage(1, ("t:1",), (Version(1, 1),), more=True)
A_REFUSAL = Refusal("ConflictError", "moved", Version(1, 1))
READERS: list[tuple[Callable[[bytes], object], bytes]] = [
    (lambda data: decode_request("state", data, CODEC), encode_request(AN_ASK, CODEC)),
    (lambda data: decode_request("list", data, CODEC), encode_request(ListKeys("a", "b", 5), CODEC)),
    (
        lambda data: decode_request("put", data, CODEC),
        encode_request(Put("t:1", EncodedBody(b"x"), "1.0", Version(1, 1), "key", {"a": "b"}), CODEC),
    ),
    (lambda data: decode_response(asked(3), data, CODEC), encode_response(AN_ANSWER, CODEC)),
    (lambda data: decode_response(ListKeys(), data, CODEC), encode_response(A_PAGE, CODEC)),
    (lambda data: decode_response(Put("t", None, "1.0"), data, CODEC), encode_response(Written(Version(1, 1)), CODEC)),
    (lambda data: decode_response(asked(0), data, CODEC), encode_response(A_REFUSAL, CODEC)),
    (lambda data: decode_request("compare", data, CODEC), encode_request(Compare(1), CODEC)),
    (lambda data: decode_request("scan", data, CODEC), encode_request(A_SCAN, CODEC)),
    (lambda data: decode_response(Compare(1), data, CODEC), encode_response(DIGESTS, CODEC)),
    (lambda data: decode_response(EVERYTHING, data, CODEC), encode_response(A_RANGE, CODEC)),
    (lambda data: decode_probe(data, CODEC), encode_probe(Probe("t", 1, True, "me"), CODEC)),
    (lambda data: decode_probe_reply(data, CODEC), encode_probe_reply(ProbeReply(1, True), CODEC)),
    (
        lambda data: decode_beat(sealed(data, SUBJECT.encode()), SUBJECT, CODEC, WALL_S),
        unsealed(encode_beat(A_BEAT, SUBJECT, CODEC), SUBJECT.encode()),
    ),
]


def places(value: Any, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    parts = enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for index, part in parts for place in places(part, (*path, index)))]


def put_at(value: Any, path: tuple[int, ...], new: Any) -> Any:
    if not path:
        return new
    return [put_at(part, path[1:], new) if index == path[0] else part for index, part in enumerate(value)]


ODD: list[Any] = [None, True, -1, 2**63, 1.5, "", "x" * 2_000, b"", b"x", [], [1], {}, {"a": 1}, {1: "a"}, [None] * 2_000]


@pytest.mark.parametrize("index", range(len(READERS)))
def test_every_field_is_checked(index: int) -> None:
    """Each field in turn is replaced by odd values: it is refused, or it means something in that place."""
    read, data = READERS[index]
    fields = msgpack.unpackb(data)
    for path in places(fields):
        refused = 0
        for odd in ODD:
            try:
                read(CODEC.encode_message(put_at(fields, path, odd)))
            except DecodeError as error:
                refused += error.__context__ is None
        # A text in place of a text, an integer in place of an integer, nil or nothing where that may stand.
        assert refused >= len(ODD) - 5, path


@pytest.mark.parametrize("index", range(len(READERS)))
def test_noise_raises_nothing_else(index: int) -> None:
    read, data = READERS[index]
    rng = random.Random(index)
    for _ in range(2_000):
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        for noise in (bytes(changed), bytes(changed[: rng.randrange(len(changed))]), rng.randbytes(rng.randrange(40))):
            try:
                read(noise)
            except DecodeError as error:
                refusal = error
                assert "malformed" in str(refusal) or "got" in str(refusal)


@pytest.mark.parametrize("format_number", [0, 2, True, "1", None])
def test_another_format(format_number: Any) -> None:
    for read, data in READERS:
        with pytest.raises(DecodeError):
            read(CODEC.encode_message([format_number, *msgpack.unpackb(data)[1:]]))
        with pytest.raises(DecodeError):
            read(CODEC.encode_message([*msgpack.unpackb(data), None]))


def test_unknown_verbs() -> None:
    with pytest.raises(DecodeError, match="unknown kind"):
        decode_request("erase", encode_request(ListKeys(), CODEC), CODEC)


def test_the_largest_beat_fits_into_a_message() -> None:
    most = Position(Version(EPOCH_MAX, SEQUENCE_MAX), 2**32 - 1)
    named = {f"{number}:".ljust(512, "x"): most for number in range(BEAT_NAMES_MAX)}
    beat = Beat(EPOCH_MAX, 2**63 - 1, 1e9, 5.0, most.version, EPOCH_MAX, 2**63 - 1, 2**128 - 1, named, 2**63 - 2)
    assert decode_beat(encode_beat(beat, SUBJECT, CODEC), SUBJECT, CODEC, 2.0**60) == beat


def test_no_flipped_bit_of_a_beat_passes_and_none_that_came_elsewhere() -> None:
    data = encode_beat(A_BEAT, SUBJECT, CODEC)
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(DecodeError, match="wrong checksum"):
            decode_beat(bytes(flipped), SUBJECT, CODEC, WALL_S)
    with pytest.raises(DecodeError, match="meant for somebody else"):
        decode_beat(data, "synced.users.beat", CODEC, WALL_S)


def test_a_beat_from_an_epoch_that_begins_more_than_a_day_ahead() -> None:
    wall_s = 1_800_000_000.0
    for ahead_s, passes in ((0, True), (86_400, True), (86_401, False)):
        data = encode_beat(attrs.evolve(A_BEAT, epoch=int(wall_s + ahead_s) << EPOCH_BITS), SUBJECT, CODEC)
        if passes:
            assert decode_beat(data, SUBJECT, CODEC, wall_s).number == A_BEAT.number
        else:
            with pytest.raises(DecodeError, match="a day ahead"):
                decode_beat(data, SUBJECT, CODEC, wall_s)


def test_a_beat_that_contradicts_itself() -> None:
    fields = msgpack.unpackb(unsealed(encode_beat(A_BEAT, SUBJECT, CODEC), SUBJECT.encode()))
    *head, keys, positions, since = fields
    for changed, problem in (
        ([*head, keys, positions[:1], since], "one position for each key"),
        ([*head, keys[:1], positions, since], "one position for each key"),
        ([*head, ["t", "t"], positions, since], "one position for each key"),
        ([*head, keys, positions, 2], "nothing was sent"),
        ([*head, [], [], 3], "an integer from 0 to 2"),
        ([*head, keys, positions, -1], "an integer from 0 to 2"),
        ([*head, keys, positions, True], "an integer from 0 to 2"),
        ([*head, ["t"], [[1, 2, None]], since], "without its checksum"),
    ):
        with pytest.raises(DecodeError, match=problem):
            decode_beat(sealed(CODEC.encode_message(changed), SUBJECT.encode()), SUBJECT, CODEC, WALL_S)


def test_a_beat_that_tells_no_digest_survives() -> None:
    beat = attrs.evolve(A_BEAT, count=None, digest=None)
    assert decode_beat(encode_beat(beat, SUBJECT, CODEC), SUBJECT, CODEC, WALL_S) == beat
