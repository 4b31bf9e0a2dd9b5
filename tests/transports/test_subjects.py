"""Keys and subjects are two writings of the same: no two keys meet, and no key can say more than it should."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.errors import InvalidKeyError, UsageError
from parasync.protocol import parse_key, unescape
from parasync.transports._subjects import PREFIX_CHARS_MAX, PrefixedSubjects, SubjectMap

MAP = PrefixedSubjects()
SAFE = re.compile(r"[A-Za-z0-9_=-]+(?:\.[A-Za-z0-9_=-]+)*", re.ASCII)

characters = st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(list(".*>: =\r\n\x00\t")))
texts = st.text(characters, min_size=1, max_size=20)
topics = texts.map(lambda text: text.replace(":", ".") or "t")
keys = st.one_of(topics, st.builds(lambda topic, ident: f"{topic}:{ident}", topics, texts))


@given(keys)
def test_a_key_comes_back_from_a_subject_that_every_server_takes(key: str) -> None:
    subject = MAP.of_key(key)
    assert SAFE.fullmatch(subject)
    assert MAP.key_of(subject) == key


@given(st.lists(keys, min_size=2, max_size=8, unique=True), st.lists(topics, min_size=2, max_size=4, unique=True))
def test_no_two_things_have_one_subject(some_keys: list[str], some_topics: list[str]) -> None:
    subjects = [MAP.of_key(key) for key in some_keys]
    for topic in some_topics:
        subjects += [MAP.of_beat(topic), MAP.of_probe(topic), MAP.of_ask(topic, "state"), MAP.of_ask(topic, "list")]
    assert len(set(subjects)) == len(subjects)


def matches(pattern: str, subject: str) -> bool:
    """As a server does it."""
    wanted, given_ = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        return len(given_) >= len(wanted) and all(w in ("*", g) for w, g in zip(wanted[:-1], given_, strict=False))
    return len(given_) == len(wanted) and all(w in ("*", g) for w, g in zip(wanted, given_, strict=True))


@given(keys, topics)
def test_the_wildcard_of_a_topic_matches_its_keys_and_its_beat_and_nothing_else(key: str, topic: str) -> None:
    own = parse_key(key).topic
    assert matches(MAP.of_topic(own), MAP.of_key(key))
    assert matches(MAP.of_topic(own), MAP.of_beat(own))
    assert matches(MAP.of_topic(topic), MAP.of_key(key)) == (own == topic)
    for other in (MAP.of_ask(own, "state"), MAP.of_probe(own)):
        assert not matches(MAP.of_topic(own), other)
        assert not matches("synced.>", other)


@given(topics, texts, texts)
def test_the_wildcard_of_a_pattern_matches_what_the_pattern_does(topic: str, prefix: str, rest: str) -> None:
    subject = MAP.of_key(f"{topic}:{prefix}:{rest}")
    assert matches(MAP.of_pattern(f"{topic}:{prefix}:*"), subject)
    assert matches(MAP.of_pattern(f"{topic}:*"), subject)
    assert not matches(MAP.of_pattern(f"{topic}:*"), MAP.of_beat(topic))


@given(topics, st.sampled_from(["a", "a:", "a:b", "b", ":", "a:b:c", "*", ">"]), st.sampled_from(["a", "a:", "a:b", ":", "*"]))
def test_the_wildcard_of_a_pattern_matches_nothing_else(topic: str, ident: str, prefix: str) -> None:
    pattern = MAP.of_pattern(f"{topic}:{prefix}:*")
    assert matches(pattern, MAP.of_key(f"{topic}:{ident}")) == ident.startswith(f"{prefix}:")
    assert not matches(pattern, MAP.of_beat(topic))
    assert not matches(pattern, MAP.of_key(topic))


@given(st.one_of(st.text(max_size=40), st.from_regex(r"synced\.[a=0-9F.]{0,9}\.?state\.?[a=0-9F.]{0,9}", fullmatch=True)))
def test_a_subject_is_a_key_or_not_but_nothing_else(subject: str) -> None:
    try:
        key = MAP.key_of(subject)
    except InvalidKeyError:
        return
    if key is None:
        assert subject.startswith("synced.")
    else:
        assert MAP.of_key(key) == subject


@pytest.mark.parametrize("subject", ["synced.user.beat", "synced.user.beat.1", "synced.user.later.news", "synced.user."])
def test_what_is_no_state_has_no_key(subject: str) -> None:
    assert MAP.key_of(subject) is None


@pytest.mark.parametrize(
    "subject",
    [
        *("", "synced", "synced.", "synced.user", "other.user.state.1", "xsynced.user.state.1", "synced-ask.user.state"),
        *("synced.user.state.", "synced.us er.state.1", "synced.=.state.1", "synced.user.state.="),
        *("synced.user.state.1..2", "synced.user.state.1=3A2", "synced.user.state.1.", "synced.user.state.=.=3A"),
        *("synced.=3A.state", "synced.=41.state"),
    ],
)
def test_what_no_key_makes_is_refused(subject: str) -> None:
    with pytest.raises(InvalidKeyError):
        MAP.key_of(subject)


def test_the_default_is_as_documented() -> None:
    assert isinstance(MAP, SubjectMap)
    assert MAP.of_key("user") == "synced.user.state"
    assert MAP.of_key("user:1:a b") == "synced.user.state.1.a=20b"
    assert MAP.of_topic("user") == "synced.user.>"
    assert MAP.of_pattern("user:eu:*") == "synced.user.state.eu.>"
    assert MAP.of_pattern("user:*") == "synced.user.state.>"
    assert MAP.of_beat("user") == "synced.user.beat"
    assert MAP.of_ask("user", "state") == "synced-ask.user.state"
    assert MAP.of_probe("user") == "synced-probe.user"
    assert unescape("=20") == " "


def test_the_longest_key_fits() -> None:
    subject = PrefixedSubjects("p" * PREFIX_CHARS_MAX).of_key("ü" * 100 + ":" + "*" * 311)
    assert len(subject) < 4000


@pytest.mark.parametrize(
    "prefix", ["", ".", "a.", ".a", "a..b", "a b", "*", ">", "a.>", "ü", "a" * (PREFIX_CHARS_MAX + 1), None, 5]
)
def test_a_prefix_must_be_tokens(prefix: str) -> None:
    with pytest.raises(UsageError, match="expected tokens"):
        PrefixedSubjects(prefix)


@pytest.mark.parametrize("call", [MAP.of_topic, MAP.of_beat, MAP.of_probe, lambda topic: MAP.of_ask(topic, "state")])
def test_a_topic_must_be_one(call: object) -> None:
    for topic in ("", "a:b", "\ud800"):
        with pytest.raises(InvalidKeyError):
            call(topic)  # type: ignore[operator]
    with pytest.raises(InvalidKeyError):
        MAP.of_pattern("user")
