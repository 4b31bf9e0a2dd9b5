from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from parasync.errors import InvalidKeyError, UsageError
from parasync.protocol import KEY_BYTES_MAX, Key, check_keys, check_topic, escape, parse_key, parse_pattern, scope_of, unescape

texts = st.text(max_size=40)
parts = st.text(st.characters(exclude_characters=":", codec="utf-8"), min_size=1, max_size=20)
idents = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)

A_SUBJECT_TOKEN = re.compile(r"[A-Za-z0-9_=-]+", re.ASCII)


@given(parts, idents)
def test_a_key_splits_at_its_first_colon(topic: str, ident: str) -> None:
    assert parse_key(f"{topic}:{ident}") == (topic, ident)
    assert parse_key(topic) == (topic, None)


LONG = ["é" * 256, "é" * 257, "x" * 512, "x" * 513]


@given(st.lists(st.text(max_size=6) | st.text("a:\n\ud800", max_size=4) | st.sampled_from(LONG)))
def test_many_keys_are_checked_as_each_of_them_is(keys: list[str]) -> None:
    def problem(key: str) -> str:
        try:
            parse_key(key)
        except InvalidKeyError as error:
            return str(error)
        return ""

    problems = [*filter(None, map(problem, keys))]
    if problems:
        with pytest.raises(InvalidKeyError, match=re.escape(problems[0])):
            check_keys(keys)
    else:
        check_keys(keys)


def test_what_is_no_text_is_no_key_among_many() -> None:
    for bad in (b"user:1", 5, None):
        with pytest.raises(InvalidKeyError, match="expected a str"):
            check_keys(["user:1", bad])  # type: ignore[list-item]


@given(parts, idents)
def test_a_key_survives_its_parts(topic: str, ident: str) -> None:
    assert str(parse_key(f"{topic}:{ident}")) == f"{topic}:{ident}"
    assert str(Key(topic, None)) == topic


def test_an_id_may_hold_colons_and_anything_else() -> None:
    assert parse_key("user:eu:123") == ("user", "eu:123")
    assert parse_key("user::") == ("user", ":")
    assert parse_key("a b:*\n\0>") == ("a b", "*\n\0>")


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("", "empty key"),
        (":", "without a topic"),
        (":1", "without a topic"),
        ("user:", "empty id"),
        ("\ud800", "lone surrogate"),
        ("user:\udfff", "lone surrogate"),
        ("x" * (KEY_BYTES_MAX + 1), f"{KEY_BYTES_MAX + 1} bytes, expected at most {KEY_BYTES_MAX}"),
        ("é" * (KEY_BYTES_MAX // 2) + "é", f"{KEY_BYTES_MAX + 2} bytes"),
        (b"user:1", "got a bytes as key"),
        (None, "got a NoneType as key"),
        (7, "got a int as key"),
    ],
)
def test_what_is_no_key_says_why(key: str, problem: str) -> None:
    with pytest.raises(InvalidKeyError, match=problem):
        parse_key(key)


def test_the_longest_key_is_a_key() -> None:
    assert parse_key("t:" + "x" * (KEY_BYTES_MAX - 2)).topic == "t"
    assert parse_key("é" * (KEY_BYTES_MAX // 2)).id is None


def test_an_illegal_key_is_a_usage_error_and_a_value_error_and_is_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        parse_key("secret:")
    assert isinstance(caught.value, ValueError)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("topic", ["user", "a b", "*", "."])
def test_a_topic_is_any_text_without_a_colon(topic: str) -> None:
    assert check_topic(topic) == topic


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("", "empty topic"),
        ("a:b", "with a colon"),
        ("\ud800", "lone surrogate"),
        ("x" * 513, "513 bytes"),
        (3, "got a int as topic"),
    ],
)
def test_what_is_no_topic_says_why(topic: str, problem: str) -> None:
    with pytest.raises(InvalidKeyError, match=problem):
        check_topic(topic)


def test_a_pattern_is_a_topic_and_a_prefix_of_ids() -> None:
    assert parse_pattern("user:*") == ("user", "")
    assert parse_pattern("user:eu:*") == ("user", "eu:")
    assert parse_pattern("user:eu:1:*") == ("user", "eu:1:")
    assert parse_pattern("user:*:*") == ("user", "*:")


@pytest.mark.parametrize(
    "pattern", ["", "*", "user", "user:", "user*", "user:1", "user:e*", ":*", "user::*", "\ud800:*", None, 7, b"user:*"]
)
def test_what_is_no_pattern_says_so(pattern: str) -> None:
    with pytest.raises(InvalidKeyError, match="expected"):
        parse_pattern(pattern)


def test_a_listener_wants_a_topic_or_a_part_of_it() -> None:
    assert scope_of("user") == scope_of("user", "user:*") == "user"
    assert scope_of("user", "user:eu:*") == "user:eu:*"
    for pattern in ("other:eu:*", "user:eu", "user", ""):
        with pytest.raises(InvalidKeyError):
            scope_of("user", pattern)
    for topic in ("user:eu", ""):
        with pytest.raises(InvalidKeyError):
            scope_of(topic)


@given(texts)
@example("")
@example("=")
@example("=41")
@example("A=é\0")
def test_an_escaped_text_comes_back(text: str) -> None:
    assert unescape(escape(text)) == text


@given(texts, texts)
@example("", "=")
@example("=41", "A")
@example("=3D", "=")
def test_two_texts_never_share_a_token(text: str, other: str) -> None:
    assert (escape(text) == escape(other)) == (text == other)


@given(texts)
@example("*")
@example("a.b >\r\n\0")
def test_a_token_can_neither_match_nor_split_nor_break_a_subject(text: str) -> None:
    assert A_SUBJECT_TOKEN.fullmatch(escape(text))


def test_plain_texts_are_their_own_tokens() -> None:
    assert escape("user-1_A") == "user-1_A"
    assert escape("a.b") == "a=2Eb"
    assert escape("é") == "=C3=A9"
    assert escape("") == "="


def test_the_longest_key_is_three_times_as_long_at_the_most() -> None:
    assert len(escape("." * KEY_BYTES_MAX)) == 3 * KEY_BYTES_MAX


@pytest.mark.parametrize(
    "token",
    ["", "==", "a=", "a=4", "=2e", "=GG", "=41", "=5F", "a=2D", "=C3", "=FF", "=ED=A0=80", "é", "a.b", "a b", "*", ">", "a\n"],
)
def test_what_no_text_makes_is_no_token(token: str) -> None:
    with pytest.raises(InvalidKeyError, match="not the escape of a text"):
        unescape(token)


@given(st.text("=0123456789ABCDEFabcxyz_-.", max_size=12))
def test_a_token_is_accepted_only_as_it_is_made(token: str) -> None:
    try:
        text = unescape(token)
    except InvalidKeyError:
        return
    assert escape(text) == token
