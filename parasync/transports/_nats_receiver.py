"""From a message on the bus to the handlers of its key: decoded once, however many listen, and malformed is said in order."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from operator import attrgetter
from typing import Final

from parasync.codec import Codec
from parasync.transports._fanout import Fanout, Targets
from parasync.transports._nats_parser import Sink
from parasync.transports._subjects import SubjectMap

KEYS_CACHED_MAX: Final = 65_536
"""How many mappings between keys and subjects are remembered; others are made again."""

_NO_KEY: Final = ""


class Receiver:
    """Makes the sinks of subscriptions. They raise nothing, whatever comes in.

    Args:
        fanout: where envelopes go.
        subjects: tells the key of a subject.
        codec: decodes frames.
    """

    def __init__(self, fanout: Fanout, subjects: SubjectMap, codec: Codec) -> None:
        self.malformed = 0
        self._fanout = fanout
        self._subjects = subjects
        self._codec = codec
        self._keys = lru_cache(KEYS_CACHED_MAX)(self._key)

    def key_sink(self, key: str) -> Sink:
        """The sink of the subscription of one key."""
        decode, subscribers, deliver = self._codec.decode_frame, self._fanout.keys.get, self._fanout.deliver

        def received(_: bytes, __: bytes, frame: bytes, ___: bytes | None) -> None:
            try:
                envelope = decode(key, frame)
            except Exception:  # noqa: BLE001 -- whatever a codec makes of foreign bytes, this connection has to go on
                self._interrupt(subscribers(key))
                return
            targets = subscribers(key)
            if targets is not None:
                deliver(targets, key, envelope)

        return received

    def topic_sink(self, name: str, keys: Collection[str]) -> Sink:
        """The sink of the subscription of a topic or a pattern.

        Args:
            name: the topic or the pattern.
            keys: those that have no subscription but this; may change.
        """
        decode, subscribers, deliver = self._codec.decode_frame, self._fanout.topics.get, self._fanout.deliver
        beginning = name.removesuffix("*") if ":" in name else ""
        of_keys = self._fanout.keys.get

        def listeners(key: str) -> Targets:
            own, others = of_keys(key, ()) if key in keys else (), subscribers(name, ())
            return tuple(sorted((*own, *others), key=attrgetter("number"))) if own and others else own or others

        def received(subject: bytes, _: bytes, frame: bytes, __: bytes | None) -> None:
            key = self._keys(subject)
            if not key:
                if key is not None:
                    self._interrupt(subscribers(name))
                return
            # What nobody wants is not even decoded.
            if not key.startswith(beginning) or not listeners(key):
                return
            try:
                envelope = decode(key, frame)
            except Exception:  # noqa: BLE001 -- as above
                self._interrupt(listeners(key))
                return
            deliver(listeners(key), key, envelope)

        return received

    def _interrupt(self, targets: Targets | None) -> None:
        self.malformed += 1
        if targets is not None:
            self._fanout.deliver(targets, None, "malformed frame")

    def _key(self, subject: bytes) -> str | None:
        try:
            return self._subjects.key_of(subject.decode())
        except Exception:  # noqa: BLE001 -- as above, and whatever a map makes of foreign subjects
            return _NO_KEY
