from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parasync.errors import InvalidKeyError, InvalidVersionError
from parasync.protocol import ABSENT, EPOCH_MAX, KEY_BYTES_MAX, SEEN_CHARS_MAX, SEEN_KEYS_MAX, SEQUENCE_MAX, Seen, Version

topics = st.text(st.characters(codec="utf-8", exclude_characters=":"), min_size=1, max_size=20)
idents = st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
keys = st.builds(lambda topic, ident: topic if ident is None else f"{topic}:{ident}", topics, idents)
versions = st.builds(Version, st.integers(0, EPOCH_MAX), st.integers(0, SEQUENCE_MAX))
notes = st.lists(st.tuples(keys, versions), max_size=30)


def seen_of(*notes: tuple[str, Version]) -> Seen:
    seen = Seen()
    for key, version in notes:
        seen.note(key, version)
    return seen


def test_the_text_is_short_and_stable() -> None:
    seen = seen_of(("user:1", Version(0, 7)), ("user:eu:2", Version(3, 9)), ("settings", Version(1, 1)))
    assert str(seen) == "user:1@0.7,user:eu=3A2@3.9,settings@1.1"
    assert Seen.parse(str(seen)) == seen
    assert repr(seen) == f"<Seen {seen}>"
    assert repr(Seen()) == "<Seen nothing>"


@given(notes)
def test_what_was_noted_survives_its_text(notes: list[tuple[str, Version]]) -> None:
    """A header takes it as it is, and of each object the highest version counts."""
    seen = seen_of(*notes)
    text = str(seen)
    assert len(text) <= SEEN_CHARS_MAX
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text
    assert Seen.parse(text) == seen
    assert str(Seen.parse(text)) == text
    if not seen.forgotten:
        assert dict(seen.items()) == {key: max(version for other, version in notes if other == key) for key, _ in notes}
        assert list(seen) == [key for key, _ in seen.items()]
        assert len(seen) == len({key for key, _ in notes})


def test_nothing_seen_is_the_empty_text() -> None:
    assert str(Seen()) == ""
    assert len(Seen.parse("")) == len(Seen.parse(" \t")) == 0


def test_headers_that_a_proxy_has_joined_are_read() -> None:
    assert Seen.parse("user:1@0.7, user:1@0.8 ,\tuser:1@0.5") == seen_of(("user:1", Version(0, 8)))


@pytest.mark.parametrize(
    "text",
    [
        *("user:1", "user:1@", "@0.7", "user:1@0.7,", ",user:1@0.7", "user:1@0.7;user:2@0.7", "user:1@7", "user:1@00.7"),
        *("user:1@-1.7", "us er:1@0.7", "user:@0.7", ":1@0.7", "user:=@0.7", "=@0.7", "user:1:2@0.7", "a=3Ab:1@0.7", "ü@0.7"),
        *("user:=C3@0.7", "user:1@0.7\n", "user:1@0.7\x00", "user:1@٠.7", f"user:1@{EPOCH_MAX + 1}.1", "*"),
        "user:1@0.7 user:2@0.7",
        f"a:{'x' * KEY_BYTES_MAX}@0.7",
        ",".join(["user:1@0.7"] * (SEEN_KEYS_MAX + 1)),
        " " * (SEEN_CHARS_MAX + 1),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidVersionError, match="expected"):
        Seen.parse(text)


@given(st.text(st.sampled_from("user:1=3A@0.7,* \t\x00é"), max_size=40))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    try:
        seen = Seen.parse(text)
    except InvalidVersionError:
        pass
    else:
        assert Seen.parse(str(seen)) == seen


def test_what_is_no_text_no_key_or_no_version_is_refused() -> None:
    with pytest.raises(InvalidVersionError, match="got a bytes"):
        Seen.parse(b"user:1@0.7")  # type: ignore[arg-type]
    with pytest.raises(InvalidKeyError):
        Seen().note("user:", Version(0, 7))
    with pytest.raises(InvalidVersionError, match="got a tuple"):
        Seen().note("user:1", (0, 7))  # type: ignore[arg-type]


def test_an_older_version_changes_nothing_but_is_fresh_in_memory() -> None:
    seen = seen_of(("user:1", Version(0, 7)), ("user:2", ABSENT), ("user:1", Version(0, 6)))
    assert seen.items() == (("user:2", ABSENT), ("user:1", Version(0, 7)))
    assert seen.get("user:1") == Version(0, 7)
    assert seen.get("user:3") is None


def test_what_was_noted_longest_ago_is_forgotten_first() -> None:
    seen = seen_of(*[(f"user:{number}", Version(0, 1)) for number in range(SEEN_KEYS_MAX)])
    seen.note("user:0", Version(0, 2))
    assert seen.forgotten == 0
    seen.note("user:new", Version(0, 1))
    assert (seen.forgotten, len(seen)) == (1, SEEN_KEYS_MAX)
    assert seen.get("user:1") is None
    assert seen.get("user:0") == Version(0, 2)


def test_long_keys_are_forgotten_before_the_text_becomes_too_long() -> None:
    """Even the longest key there is fits by itself."""
    longest = f"a:{'é' * ((KEY_BYTES_MAX - 2) // 2)}"
    seen = seen_of((longest, Version(EPOCH_MAX, SEQUENCE_MAX)))
    assert seen.forgotten == 0
    seen.merge(seen_of(*[(f"{longest[:-1]}{number}", Version(1, 1)) for number in range(3)]))
    assert seen.forgotten == 1
    assert len(str(seen)) <= SEEN_CHARS_MAX
    assert list(seen) == [f"{longest[:-1]}{number}" for number in (1, 2)]
    assert Seen.parse(str(seen)) == seen


def test_what_is_dropped_makes_room() -> None:
    seen = seen_of(*[(f"user:{number}", Version(0, 1)) for number in range(SEEN_KEYS_MAX)])
    seen.drop("user:5")
    seen.drop("user:5")
    seen.note("user:new", Version(0, 1))
    assert seen.forgotten == 0


def test_it_equals_what_holds_the_same() -> None:
    assert seen_of(("user:1", Version(0, 7))) != Seen()
    assert Seen() != ""
    with pytest.raises(TypeError, match="unhashable"):
        hash(Seen())
