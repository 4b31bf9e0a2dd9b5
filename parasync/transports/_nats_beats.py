"""Beats over a bus: one subscription a topic, however many listen; and on their way out each is made when its turn has come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

import attrs

from parasync.codec import Codec
from parasync.errors import EncodeError
from parasync.protocol import Beat
from parasync.transports._beats import Beats
from parasync.transports._fanout import report
from parasync.transports._nats_lines import Line
from parasync.transports._nats_wire import Wire
from parasync.transports._outbox import Turn
from parasync.transports._protocol import BeatHandler, BeatMaker, Unsubscribe
from parasync.transports._subjects import SubjectMap, check_subject
from parasync.transports._wire_beat import decode_beat, encode_beat

BEATS_WAITING_MAX: Final = 128
"""How many beats of a topic wait to be sent, enough for those that name all that an outbox keeps; one more is left out."""


class NatsBeats:
    """Sends and hears the beats of a connection. Used in one loop only.

    Args:
        wire: what carries them.
        subjects: on which subjects.
        codec: how they are encoded.
        in_loop: calls a function in the loop of the connection, from any thread.
    """

    def __init__(self, wire: Wire, subjects: SubjectMap, codec: Codec, in_loop: Callable[..., None]) -> None:
        self._wire = wire
        self._subjects = subjects
        self._codec = codec
        self._beats = Beats(lambda topic: in_loop(self._hush, topic))
        self._lines: dict[str, Line] = {}
        self._waiting: Counter[str] = Counter()
        self.malformed = 0

    def publish(self, topic: str, make: BeatMaker) -> None:
        """See `NatsTransport.publish_beat`."""
        if self._wire.link is None:
            return
        if self._waiting[topic] >= BEATS_WAITING_MAX:
            return
        subject = check_subject(self._subjects.of_beat(topic))
        self._waiting[topic] += 1
        self._wire.say(Turn(lambda unsent: self._message(topic, subject, make, unsent)))

    def subscribe(self, topic: str, handler: BeatHandler) -> Unsubscribe:
        """See `NatsTransport.subscribe_beats`."""
        subject = check_subject(self._subjects.of_beat(topic))
        unsubscribe = self._beats.subscribe(topic, handler)
        if topic not in self._lines:
            self._lines[topic] = self._wire.open(subject, self._sink(topic, subject))
        return unsubscribe

    def disconnected(self) -> None:
        """What waited is not sent any more: it would prove little by then."""
        self._waiting.clear()

    def stop(self) -> None:
        """End all subscriptions at once and for good."""
        self._beats.stop()

    def _sink(self, topic: str, subject: str) -> Callable[[bytes, bytes, bytes, bytes | None], None]:
        def received(_: bytes, __: bytes, data: bytes, ___: bytes | None) -> None:
            try:
                beat = decode_beat(data, subject, self._codec, time.time())
            except Exception:  # noqa: BLE001 -- whatever a codec makes of foreign bytes, this connection has to go on
                self.malformed += 1
                return
            self._beats.deliver(topic, beat)

        return received

    def _message(self, topic: str, subject: str, make: BeatMaker, unsent: Collection[str]) -> bytes | None:
        self._waiting[topic] -= 1
        link = self._wire.link
        if link is None:
            return None
        try:
            beat = make(unsent)
            data = None if beat is None else self._encoded(beat, subject, link.payload_bytes_max)
        except Exception as error:  # noqa: BLE001 -- the beat is somebody else's, and what else waits is to be sent
            report("the beat of", topic, error)
            return None
        return None if data is None else b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(data), data)

    def _encoded(self, beat: Beat, subject: str, size_bytes_max: int) -> bytes | None:
        """The bytes of a beat that fits; one that names too much for this bus says that it names none."""
        for told in (beat, attrs.evolve(beat, named={}, since=beat.number)):
            try:
                data = encode_beat(told, subject, self._codec)
            except EncodeError:
                continue
            if len(data) <= size_bytes_max:
                return data
        return None

    def _hush(self, topic: str) -> None:
        if not self._beats.listens(topic):
            line = self._lines.pop(topic, None)
            if line is not None:
                self._wire.shut(line)
