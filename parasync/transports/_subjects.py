"""Which subject of a bus carries what: keys, topics, beats, asks, probes, status; mapped so that no two of them ever meet."""

from __future__ import annotations

import re
from typing import Final, Protocol, runtime_checkable

import attrs

from parasync.errors import InvalidKeyError, UsageError
from parasync.protocol import Key, check_topic, escape, parse_key, parse_pattern, unescape

SUBJECT_BYTES_MAX: Final = 3800
"""The longest subject that a `SubjectMap` may make, in UTF-8; a server ends the connection of those who use longer ones."""
PREFIX_CHARS_MAX: Final = 100
"""The longest prefix; with the longest key it stays far below the limit of a server's control line."""

_SUBJECT: Final = re.compile(r"[^\s.*>\x00-\x20\x7f\ud800-\udfff]+(?:\.[^\s.*>\x00-\x20\x7f\ud800-\udfff]+)*")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)


@runtime_checkable
class SubjectMap(Protocol):
    """Maps what parasync says to the subjects of a bus, injectively, and keys back. Pure functions of their arguments.

    A subject is tokens with dots between, without white space, control characters and, but where it says so, wildcards.
    """

    def of_key(self, key: str) -> str:
        """The subject on which the envelopes of one object travel.

        Raises:
            InvalidKeyError: the key does not follow the grammar.
        """

    def of_topic(self, topic: str) -> str:
        """The wildcard that matches the envelopes and the beats of a topic, and nothing else.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
        """

    def of_pattern(self, pattern: str) -> str:
        """The wildcard that matches at least the objects of a pattern like `topic:eu:*`, and at most all of its topic.

        Raises:
            InvalidKeyError: the pattern does not follow the grammar.
        """

    def of_beat(self, topic: str) -> str:
        """The subject on which the authority of a topic beats.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
        """

    def of_ask(self, topic: str, verb: str) -> str:
        """The subject on which the authority of a topic answers requests of a verb.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
        """

    def of_probe(self, topic: str) -> str:
        """The subject on which everybody on a topic answers probes.

        Raises:
            InvalidKeyError: the topic does not follow the grammar.
        """

    def of_status(self) -> str:
        """The subject on which every process answers who it is and how it does."""

    def key_of(self, subject: str) -> str | None:
        """The key whose subject this is; None for a subject that carries no envelopes, e.g. a beat.

        Raises:
            InvalidKeyError: no key has this subject.
        """


@attrs.frozen
class PrefixedSubjects:
    """The default: `synced.<topic>.state[.<id>]`, `synced.<topic>.beat`, `synced-ask.<topic>.<verb>`, `synced-probe.<topic>`,
    and `synced-status`.

    A topic is one token, an id one for each part between colons, escaped byte by byte; so a pattern is one subscription, and
    a bus can allow publishing below `synced.>` to authorities only.

    Args:
        prefix: stands for `synced`; letters, digits, `_`, `-` and single dots, at most `PREFIX_CHARS_MAX` characters.
    """

    prefix: str = attrs.field(default="synced")

    @prefix.validator
    def _check_prefix(self, _: object, prefix: str) -> None:
        if not isinstance(prefix, str) or len(prefix) > PREFIX_CHARS_MAX or not _PREFIX.fullmatch(prefix):
            raise UsageError(f"got the prefix {prefix!r}, expected tokens of A-Z a-z 0-9 _ - with single dots between")

    def of_key(self, key: str) -> str:
        """`synced.<topic>.state`, and `.<id>` where the key has one."""
        topic, ident = parse_key(key)
        subject = f"{self.prefix}.{escape(topic)}.state"
        return subject if ident is None else f"{subject}.{_tokens(ident)}"

    def of_topic(self, topic: str) -> str:
        """`synced.<topic>.>`."""
        return f"{self.prefix}.{escape(check_topic(topic))}.>"

    def of_pattern(self, pattern: str) -> str:
        """`synced.<topic>.state.<prefix>.>`; `synced.<topic>.state.>` for all objects that have an id."""
        topic, prefix = parse_pattern(pattern)
        within = f"{_tokens(prefix[:-1])}." if prefix else ""
        return f"{self.prefix}.{escape(topic)}.state.{within}>"

    def of_beat(self, topic: str) -> str:
        """`synced.<topic>.beat`."""
        return f"{self.prefix}.{escape(check_topic(topic))}.beat"

    def of_ask(self, topic: str, verb: str) -> str:
        """`synced-ask.<topic>.<verb>`."""
        return f"{self.prefix}-ask.{escape(check_topic(topic))}.{escape(verb)}"

    def of_probe(self, topic: str) -> str:
        """`synced-probe.<topic>`."""
        return f"{self.prefix}-probe.{escape(check_topic(topic))}"

    def of_status(self) -> str:
        """`synced-status`."""
        return f"{self.prefix}-status"

    def key_of(self, subject: str) -> str | None:
        """The reverse of `of_key`; None for anything else below a topic."""
        head, dot, rest = subject.partition(f"{self.prefix}.")
        topic, *tokens = rest.split(".")
        if head or not dot or not tokens:
            raise InvalidKeyError("got a subject that is not of this map")
        if tokens[0] != "state":
            return None
        parts = [unescape(token) for token in tokens[1:]]
        if any(":" in part for part in parts):
            raise InvalidKeyError("got a subject with a colon in a token, expected a token for each part")
        key = str(Key(check_topic(unescape(topic)), ":".join(parts) if parts else None))
        parse_key(key)
        return key


def _tokens(ident: str) -> str:
    return ".".join(map(escape, ident.split(":"))) if ":" in ident else escape(ident)


def check_subject(subject: str) -> str:
    """Return the subject if a server takes it and it says nothing but itself.

    Raises:
        UsageError: it is too long, or has wildcards, white space, control characters or empty tokens.
    """
    if not _SUBJECT.fullmatch(subject) or len(subject.encode()) > SUBJECT_BYTES_MAX:
        raise UsageError(f"got a subject that no server takes, expected at most {SUBJECT_BYTES_MAX} bytes")
    return subject
