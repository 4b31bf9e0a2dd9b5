"""Who listens to beats in one process."""

from __future__ import annotations

import pytest

from parasync import InProcessTransport
from parasync.errors import ClosedError, InvalidKeyError, UsageError
from parasync.protocol import ABSENT, Beat
from parasync.transports import BeatTransport
from parasync.transports._beats import Beats
from parasync.transports._protocol import beats_over
from tests.beating import BeatingTransport
from tests.lossy import LossyTransport


def beat(number: int) -> Beat:
    return Beat(7, number, 0.0, 5.0, ABSENT, 7, None, None, {}, 0)


def test_beats_reach_those_who_listen_to_their_topic_until_they_leave() -> None:
    emptied: list[str] = []
    beats, heard = Beats(emptied.append), list[tuple[str, int]]()
    first = beats.subscribe("user", lambda beat: heard.append(("first", beat.number)))
    second = beats.subscribe("user", lambda beat: heard.append(("second", beat.number)))
    beats.subscribe("other", lambda beat: heard.append(("other", beat.number)))
    beats.deliver("user", beat(1))
    first()
    first()
    beats.deliver("user", beat(2))
    assert emptied == []
    assert beats.listens("user")
    second()
    beats.deliver("user", beat(3))
    assert heard == [("first", 1), ("second", 1), ("second", 2)]
    assert (emptied, beats.listens("user"), beats.listens("other")) == (["user"], False, True)


def test_beats_are_counted_among_no_keys_and_meet_no_envelopes() -> None:
    bus, heard = InProcessTransport(), list[object]()
    bus.subscribe_beats("user", heard.append)
    bus.subscribe("user", lambda _: heard.append("an envelope"))
    bus.subscribe_topic("user", lambda *_: heard.append("an envelope"))
    bus.publish_beat("user", lambda waiting: beat(len(list(waiting))) if not waiting else None)
    assert heard == [beat(0)]
    assert bus.key_count() == 2


def test_what_is_no_topic_or_comes_too_late_is_refused_before_anything_is_made() -> None:
    bus, made = InProcessTransport(), list[int]()
    for topic in ("", "user:1", "\ud800"):
        with pytest.raises(InvalidKeyError):
            bus.publish_beat(topic, lambda _: made.append(1))
        with pytest.raises(InvalidKeyError):
            bus.subscribe_beats(topic, print)
    with pytest.raises(UsageError):
        bus.subscribe_beats("user", "no function")  # type: ignore[arg-type]
    heard: list[Beat] = []
    end = bus.subscribe_beats("user", heard.append)
    bus.close()
    with pytest.raises(ClosedError):
        bus.publish_beat("user", lambda _: made.append(1))
    with pytest.raises(ClosedError):
        bus.subscribe_beats("user", print)
    end()
    assert (made, heard) == ([], [])


def test_authorities_beat_over_what_carries_beats_and_may_lose() -> None:
    lossless, beating = InProcessTransport(), BeatingTransport()
    assert isinstance(lossless, BeatTransport)
    assert lossless.capabilities.beats
    assert beats_over(lossless) is None
    assert beats_over(beating) is beating
    assert beats_over(LossyTransport(lossless)) is None
