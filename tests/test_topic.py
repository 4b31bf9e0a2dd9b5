"""Topics and refs: the contract of two services, and what reads and writes by it."""

from __future__ import annotations

import re
import threading
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.codec import MsgpackCodec
from parasync.errors import (
    EncodeError,
    InvalidKeyError,
    InvalidTypeError,
    InvalidVersionError,
    ParasyncError,
    ParseError,
    SchemaSkewError,
    UsageError,
)
from parasync.protocol import EncodedBody, Envelope, Kind
from parasync.topic import CODECS_MAX, Ref, Topic
from tests.gate.kit import ADA, Address, User, plain

CODEC = MsgpackCodec()
MARKER = "xyzzy-7f3a"


@attrs.define
class Person:
    first: str
    last: str


@attrs.define
class OldPerson:
    name: str


def from_major_1(plain: Any) -> Any:
    first, last = plain["name"].split(" ")
    return {"first": first, "last": last}


def from_major_3(plain: Any) -> Person:
    return Person(*plain["names"])


PEOPLE = Topic("person", Person, version="2.1", upcasts={1: from_major_1, 3: from_major_3})
READ = PEOPLE.reader(CODEC)


def envelope(value: Any, version: str = "2.1", kind: Kind = Kind.STATE) -> Envelope[Any]:
    return Envelope(value, version, 1, kind=kind)


def test_a_topic_says_what_it_is() -> None:
    assert (PEOPLE.name, PEOPLE.type, PEOPLE.version, PEOPLE.schema) == ("person", Person, "2.1", (2, 1))
    assert repr(PEOPLE) == "Topic('person', Person, version='2.1')"
    assert Topic("numbers", list[int]).version == "1.0"


def test_refs() -> None:
    ref = PEOPLE["a:b"]
    assert (ref.topic, ref.id, ref.key) == (PEOPLE, "a:b", "person:a:b")
    assert (PEOPLE.ref().id, PEOPLE.ref().key) == (None, "person")
    assert repr(ref) == "<Ref 'person:a:b' of Topic('person', Person, version='2.1')>"


def test_equality_and_hashes() -> None:
    again = Topic("person", Person, version="2.1", upcasts={1: from_major_1, 3: from_major_3})
    assert again == PEOPLE
    assert hash(again) == hash(PEOPLE)
    assert again["x"] == PEOPLE["x"]
    assert {PEOPLE["x"], again["x"], PEOPLE["y"]} == {PEOPLE["x"], PEOPLE["y"]}
    for other in (Topic("person", Person), Topic("person", Person, version="2.1"), Topic("person", Address, version="2.1"), 5):
        assert other != PEOPLE
    assert PEOPLE["x"] != PEOPLE.ref()
    assert PEOPLE["x"] != "person:x"


def test_they_are_immutable() -> None:
    topic, ref = Topic("person", Person), PEOPLE["x"]
    for owner, name in ((topic, "name"), (topic, "version"), (topic, "_gate"), (ref, "key"), (ref, "id")):
        with pytest.raises(AttributeError, match=f"immutable.*{name}"):
            setattr(owner, name, "other")
    with pytest.raises(TypeError):
        topic.upcasts[5] = from_major_1  # type: ignore[index]
    for owner in (topic, ref):
        with pytest.raises(AttributeError, match="immutable"):
            del owner.key
    assert topic.name == "person"


@pytest.mark.parametrize("name", ["", "a:b", "x" * 600, "\ud800", None])
def test_illegal_names(name: Any) -> None:
    with pytest.raises(InvalidKeyError):
        Topic(name, int)


@pytest.mark.parametrize("ident", ["", "x" * 600, "\ud800", None, 5, b"x"])
def test_illegal_ids(ident: Any) -> None:
    with pytest.raises(InvalidKeyError):
        PEOPLE[ident]


@pytest.mark.parametrize("version", ["2", "2.1.0", "v2.1", "", "٢.١", 2.1, None])
def test_illegal_versions(version: Any) -> None:
    with pytest.raises(InvalidVersionError):
        Topic("a", int, version=version)


@pytest.mark.parametrize(
    "upcasts",
    [{2: from_major_1}, {"1": from_major_1}, {True: from_major_1}, {1: "no function"}, {-1: from_major_1}, 5, [from_major_1]],
)
def test_illegal_upcasts(upcasts: Any) -> None:
    with pytest.raises(UsageError, match="upcast"):
        Topic("a", int, version="2.0", upcasts=upcasts)


def test_a_parse_that_cannot_be_called() -> None:
    with pytest.raises(UsageError, match="parse"):
        Topic("a", int, parse=5)  # type: ignore[call-overload]


def test_a_type_without_a_gate() -> None:
    with pytest.raises(UsageError, match="got complex"):
        Topic("a", complex)


def test_in_process_the_object_itself_is_read() -> None:
    ada = Person("Ada", "Lovelace")
    assert READ(envelope(ada)) is ada
    assert READ(envelope({"first": "Ada", "last": "Lovelace"})) == ada


def test_off_a_bus_it_is_decoded() -> None:
    ada = Person("Ada", "Lovelace")
    assert READ(envelope(PEOPLE.encode(ada, CODEC))) == ada
    frame = CODEC.encode_frame("person:x", envelope(ada))
    assert READ(CODEC.decode_frame("person:x", frame)) == ada


def test_tombstones_hold_nothing() -> None:
    assert READ(envelope(None, kind=Kind.TOMBSTONE)) is None
    assert READ(envelope(None, "9.9", kind=Kind.TOMBSTONE)) is None


def test_another_minor_is_read() -> None:
    for minor in ("2.0", "2.7"):
        assert READ(envelope({"first": "A", "last": "L", "added": 1}, minor)) == Person("A", "L")


def test_another_major_is_cast() -> None:
    ada = Person("Ada", "Lovelace")
    assert READ(envelope({"name": "Ada Lovelace"}, "1.4")) == ada
    assert READ(envelope(OldPerson("Ada Lovelace"), "1.4")) == ada
    assert READ(envelope(CODEC.encode_body({"name": "Ada Lovelace"}), "1.4")) == ada
    assert READ(envelope({"names": ["Ada", "Lovelace"]}, "3.0")) == ada


@pytest.mark.parametrize("version", ["4.0", "0.1", "garbage", "", "2", None, 2.1, []])
def test_another_major_without_an_upcast_is_skew(version: Any) -> None:
    with pytest.raises(SchemaSkewError, match="expected"):
        READ(envelope(Person("A", "L"), version))


def test_an_upcast_works_on_data_of_its_own() -> None:
    def greedy(plain: Any) -> Any:
        return plain.pop("old")

    topic = Topic("t", dict[str, int], version="2.0", upcasts={1: greedy})
    shared = {"old": {"a": 1}}
    assert topic.reader(CODEC)(envelope(shared, "1.0")) == {"a": 1}
    assert shared == {"old": {"a": 1}}


class Unfriendly:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(MARKER)


def failing(error: BaseException) -> Callable[[Any], Any]:
    def fail(_: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    "value",
    [None, 5, MARKER, Unfriendly(), Person("A", 5), EncodedBody(b""), EncodedBody(b"\xc1"), EncodedBody(b"\xa1x"), b"\x80"],  # type: ignore[arg-type]
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("version", ["2.1", "1.0"])
def test_whatever_is_wrong_with_a_value_is_a_parse_error(value: Any, version: str) -> None:
    with pytest.raises(ParseError) as refusal:
        READ(envelope(value, version))
    assert MARKER not in str(refusal.value)
    assert refusal.value.__context__ is None


@pytest.mark.parametrize(
    "error",
    [ValueError(MARKER), KeyError(MARKER), RecursionError(), CancelledError(MARKER), ParseError(MARKER), BaseException(MARKER)],
    ids=repr,
)
def test_whatever_users_code_raises_is_a_parse_error(error: BaseException) -> None:
    for topic, version in (
        (Topic("t", int, version="2.0", upcasts={1: failing(error)}), "1.0"),
        (Topic("t", int, version="2.0", parse=failing(error)), "2.0"),
    ):
        for value in (5, CODEC.encode_body(5)):
            with pytest.raises(ParseError) as refusal:
                topic.reader(CODEC)(envelope(value, version))
            assert MARKER not in str(refusal.value)
            assert refusal.value.__context__ is None


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()], ids=repr)
def test_what_must_end_the_program_is_no_refusal(error: BaseException) -> None:
    read = Topic("t", int, version="2.0", parse=failing(error)).reader(CODEC)
    with pytest.raises(type(error)):
        read(envelope(5, "2.0"))


@given(plain(2) | st.binary(), st.text())
def test_readers_raise_nothing_else(value: Any, version: str) -> None:
    for given_value in (value, EncodedBody(value) if isinstance(value, bytes) else CODEC.encode_body(value)):
        try:
            read = READ(envelope(given_value, version or "2.1"))
        except (SchemaSkewError, ParseError):
            continue
        assert isinstance(read, Person)


def test_parse_callables() -> None:
    def positive(plain: Any) -> int:
        if not isinstance(plain, int) or plain < 0:
            raise ValueError
        return plain

    topic = Topic("t", int, version="2.1", parse=positive)
    assert topic.reader(CODEC)(envelope(5)) == 5
    assert topic.reader(CODEC)(envelope(topic.encode(5, CODEC))) == 5
    with pytest.raises(ParseError):
        topic.reader(CODEC)(envelope(-5))
    with pytest.raises(InvalidTypeError):
        topic.encode(-5, CODEC)


def test_writing_checks_first() -> None:
    with pytest.raises(InvalidTypeError, match=re.escape("$.first: expected str, got int")) as refusal:
        PEOPLE.encode(Person(1, "L"), CODEC)  # type: ignore[arg-type]
    assert refusal.value.problems == ("$.first: expected str, got int",)
    with pytest.raises(InvalidTypeError):
        PEOPLE.encode({"first": "A", "last": "L"}, CODEC)  # type: ignore[arg-type]
    with pytest.raises(EncodeError):
        PEOPLE.encode(Person("\ud800", ""), CODEC)
    with pytest.raises(EncodeError):
        PEOPLE.encode(Person("x" * 2_000_000, ""), CODEC)


def test_readers_are_the_same_function_for_the_same_codec() -> None:
    topic, other = Topic("t", User), MsgpackCodec()
    assert topic.reader(CODEC) is topic.reader(CODEC)
    assert topic.reader(other) is not topic.reader(CODEC)
    assert topic.reader(CODEC)(envelope(topic.encode(ADA, CODEC), "1.0")) == ADA


def test_readers_are_the_same_function_for_all_threads() -> None:
    topic = Topic("t", User)
    ready = threading.Barrier(4)
    readers: list[Any] = []

    def work() -> None:
        ready.wait(30)
        readers.append(topic.reader(CODEC))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, readers))) == 1


def test_readers_of_many_codecs_do_not_pile_up() -> None:
    topic = Topic("t", int)
    for _ in range(3 * CODECS_MAX):
        codec = MsgpackCodec()
        assert topic.reader(codec)(envelope(topic.encode(5, codec), "1.0")) == 5
    kept = [value for name in Topic.__slots__ if isinstance(value := getattr(topic, name), dict)]
    assert [len(found) for found in kept] == [CODECS_MAX, CODECS_MAX]


def test_a_ref_needs_a_legal_key() -> None:
    with pytest.raises(InvalidKeyError):
        Ref(PEOPLE, "x" * 510)


def test_errors_are_errors_of_parasync() -> None:
    assert issubclass(SchemaSkewError, ParasyncError)
