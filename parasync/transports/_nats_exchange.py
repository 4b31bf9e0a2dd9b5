"""Which subscription on the bus brings what: that of a key, of a topic or pattern, or one that many keys share."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from parasync.errors import UsageError
from parasync.protocol import check_topic, scope_of
from parasync.transports._fanout import Fanout, Targets
from parasync.transports._nats_lines import Line
from parasync.transports._nats_receiver import Receiver
from parasync.transports._nats_wire import Wire
from parasync.transports._subjects import SubjectMap, check_subject


class Place(NamedTuple):
    """What is listened to: a key, or, where it is topical, a topic or a pattern of one."""

    topical: bool
    name: str


class Exchange:
    """Opens a subscription on the bus with the first subscriber, and shuts it after the last. Used in one loop only.

    Args:
        wire: where subscriptions are announced.
        fanout: knows the subscribers.
        receiver: takes what comes.
        subjects: which subject carries what.
        wildcards: topics and patterns of which one subscription brings all keys that are listened to.

    Raises:
        InvalidKeyError: one of these is neither a topic nor a pattern.
        UsageError: they are one text, or no server takes the subject of one of them.
    """

    def __init__(
        self, wire: Wire, fanout: Fanout, receiver: Receiver, subjects: SubjectMap, wildcards: Iterable[str]
    ) -> None:
        self._wire = wire
        self._fanout = fanout
        self._receiver = receiver
        self._subjects = subjects
        # Of each wildcard the keys that it brings.
        if isinstance(wildcards, str):
            raise UsageError("got one text as wildcards, expected several, e.g. ['user', 'order:eu:*']")
        self._shared: Final[dict[str, set[str]]] = {_scope(each): set() for each in wildcards}
        for each in self._shared:  # who subscribes to a key later is not the one to hear of it
            self.subject_of(Place(True, each))
        self._lines: dict[Place, Line] = {}
        # Which of them a subject is, in lower case, as the client tells it; keys that differ in case only share an entry.
        self._of_subject: dict[str, tuple[Place, ...]] = {}

    def subject_of(self, place: Place) -> str:
        """The subject that is subscribed to for this.

        Raises:
            InvalidKeyError: the name does not follow the grammar.
            UsageError: no server takes the subject.
        """
        if not place.topical:
            return check_subject(self._subjects.of_key(place.name))
        whole = ":" not in place.name
        subject = self._subjects.of_topic(place.name) if whole else self._subjects.of_pattern(place.name)
        check_subject(subject.removesuffix(".>").removesuffix(".*"))
        return subject

    def joined(self, place: Place) -> None:
        """Somebody listens to this from now on."""
        shared = self._wildcard_of(place)
        if shared is not None:
            self._shared[shared].add(place.name)
            place = Place(True, shared)
        if place not in self._lines:
            subject = self.subject_of(place)
            receiver, name = self._receiver, place.name
            keys: Collection[str] = self._shared.get(name, ())
            sink = receiver.topic_sink(name, keys) if place.topical else receiver.key_sink(name)
            self._lines[place] = self._wire.open(subject, sink)
            self._of_subject[subject.lower()] = (*self._of_subject.get(subject.lower(), ()), place)

    def left(self, place: Place) -> None:
        """Perhaps nobody listens to this any more."""
        if self._listeners(place):
            return
        shared = self._wildcard_of(place)
        if shared is not None:
            self._shared[shared].discard(place.name)
            place = Place(True, shared)
            if self._listeners(place):
                return
        if place.topical and self._shared.get(place.name):
            return
        line = self._lines.pop(place, None)
        if line is not None:
            self._wire.shut(line)
            subject = line.subject.lower()
            others = tuple([other for other in self._of_subject.pop(subject) if other != place])
            if others:
                self._of_subject[subject] = others

    def interrupt(self, subject: str, reason: str) -> None:
        """Tell all who listen to a subject, given in lower case, that they may have missed something."""
        for place in sorted(self._of_subject.get(subject, ())):
            self._fanout.deliver(self._listeners(place), None, reason)
            for key in sorted(self._shared.get(place.name, ()) if place.topical else ()):
                self._fanout.deliver(self._listeners(Place(False, key)), None, reason)

    def _listeners(self, place: Place) -> Targets:
        return (self._fanout.topics if place.topical else self._fanout.keys).get(place.name, ())

    def _wildcard_of(self, place: Place) -> str | None:
        """The first wildcard that brings a key."""
        if place.topical or not self._shared:
            return None
        topic, colon, rest = place.name.partition(":")
        if topic in self._shared:
            return topic
        name = topic
        while colon:
            part, colon, rest = rest.partition(":")
            name = f"{name}:{part}"
            if colon and f"{name}:*" in self._shared:
                return f"{name}:*"
        return None


def _scope(wildcard: str) -> str:
    topic = check_topic(wildcard.partition(":")[0] if isinstance(wildcard, str) else wildcard)
    return scope_of(topic, None if wildcard == topic else wildcard)
