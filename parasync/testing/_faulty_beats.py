"""Beats over a faulty connection: they get lost, doubled, late and damaged, as envelopes do."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from random import Random
from typing import Any, Final

import attrs

from parasync.codec import Codec
from parasync.errors import DecodeError, EncodeError
from parasync.protocol import EPOCH_BITS, Beat, Version
from parasync.testing._faults import Fates
from parasync.testing._line import Line
from parasync.testing._link import Link
from parasync.testing._spoiling import spoil
from parasync.transports import BeatHandler, BeatMaker, BeatTransport
from parasync.transports._wire_beat import decode_beat, encode_beat

_MALFORMED: Final = "malformed beat"


class FaultyBeats:
    """The beating third of a faulty transport.

    Args:
        inner: the transport below.
        link: what is wrong with the connection.
        fates: makes what strikes a line.
        codec: refuses what was damaged.
        unsent: the keys of which something waits here.
    """

    def __init__(
        self,
        inner: BeatTransport,
        link: Link,
        fates: Callable[[str], Fates],
        codec: Codec,
        unsent: Callable[[], Collection[str]],
    ) -> None:
        self._link = link
        self._fates = fates
        self._spoiler = _BeatSpoiler(codec)
        self._unsent = unsent
        self._out = Line(link, fates("outgoing beats"), "outgoing", self._spoiler, inner.publish_beat, None)

    def publish(self, topic: str, make: BeatMaker) -> None:
        """See `FaultyTransport.publish_beat`."""
        self._out.put(topic, _Made(lambda waiting: make({*waiting, *self._unsent()})))

    def heard(self, topic: str, handler: BeatHandler) -> Line:
        """The line on which the beats of a topic come."""
        fates = self._fates(f"in the beats of {topic}")
        return Line(self._link, fates, "incoming", self._spoiler, lambda _, beat: handler(beat), None)


class _Made:
    """A beat that is made when the first of its copies is sent."""

    def __init__(self, make: BeatMaker) -> None:
        self._make: BeatMaker | None = make
        self._beat: Beat | None = None

    def __call__(self, waiting: Collection[str]) -> Beat | None:
        make, self._make = self._make, None
        if make is not None:
            self._beat = make(waiting)
        return self._beat


class _BeatSpoiler:
    """What becomes of beats, and, on their way out, of those that are not made yet."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def damaged(self, key: str, what: Any, kind: str, chance: Random) -> Any:
        """See `Spoiler`."""
        if isinstance(what, Beat):
            return self._damaged(key, what, kind, chance)
        return _then(what, lambda beat: self._damaged(key, beat, kind, chance))

    def poisoned(self, key: str, what: Any, chance: Random) -> Any:
        """See `Spoiler`."""
        if chance.random() < 0.3:
            return _MALFORMED
        return _poisoned(what, chance) if isinstance(what, Beat) else _then(what, lambda beat: _poisoned(beat, chance))

    def _damaged(self, topic: str, beat: Beat, kind: str, chance: Random) -> Beat | None:
        try:
            data = bytearray(encode_beat(beat, topic, self._codec))
            spoil(data, kind, chance)
            return decode_beat(bytes(data), topic, self._codec, math.inf)
        except (EncodeError, DecodeError):
            return None


def _then(make: BeatMaker, change: Callable[[Beat], Beat | None]) -> BeatMaker:
    def made(waiting: Collection[str]) -> Beat | None:
        beat = make(waiting)
        return None if beat is None else change(beat)

    return made


def _poisoned(beat: Beat, chance: Random) -> Beat:
    """What no authority said, and what nobody may take for a proof: of an earlier life, or naming what never was."""
    kind = int(chance.random() * 3)
    if kind == 0:
        return attrs.evolve(beat, epoch=max(0, beat.epoch - (1 << EPOCH_BITS)), number=beat.number + 1)
    if kind == 1:
        return attrs.evolve(beat, number=beat.number + 1, named={}, since=beat.number + 1)
    checksum = int(chance.random() * 2**32)
    named = {
        key: position._replace(version=Version(position.version.epoch, position.version.sequence + 1), checksum=checksum)
        for key, position in beat.named.items()
    }
    return attrs.evolve(beat, named=named)
