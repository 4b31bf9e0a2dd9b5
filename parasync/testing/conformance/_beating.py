"""Checks of the part of a transport that carries beats (clauses 21 and 22)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import count
from typing import Any, Final, cast

from parasync.errors import ClosedError, InvalidKeyError, UsageError
from parasync.protocol import Beat, Envelope, Position, Version
from parasync.testing.conformance._bench import Bench
from parasync.testing.conformance._bounds import must_raise
from parasync.testing.conformance._ends import EPOCH, KEY, MARKERS, TOPIC, envelope
from parasync.testing.conformance._run import Checks, broken, closed
from parasync.transports import BeatHandler, BeatMaker, BeatTransport, SyncTransport, Unsubscribe

check: Final[Checks[Bench]] = Checks()

_OTHER_TOPIC: Final = "other"
_PAUSE_S: Final = 0.01
_ROUNDS: Final = 10
_NAMED: Final = {KEY: Position(Version(EPOCH, 3), 17), "topic": Position(Version(EPOCH, 1 << 40), 0)}


@check(21, "beats")
async def each_subscriber_of_the_beats_of_a_topic_gets_each_as_it_was_made(bench: Bench) -> None:
    beats: list[tuple[str, Beat]] = []
    for name, topic in (("first", TOPIC), ("second", TOPIC), ("other", _OTHER_TOPIC)):
        await _listen(bench, topic, lambda beat, name=name: beats.append((name, beat)))  # type: ignore[misc]
    made = [_beat(1), _beat(2, _NAMED), Beat(EPOCH, 3, 0.0, 0.5, Version(EPOCH, 5), EPOCH, None, None, {}, 3)]
    for beat in made:
        _beating(bench.writer).publish_beat(TOPIC, lambda _, beat=beat: beat)  # type: ignore[misc]
        _beating(bench.writer).publish_beat(TOPIC, lambda _: None)
        await _arrived(bench, TOPIC)
    await _arrived(bench, _OTHER_TOPIC)
    heard = [(name, beat) for name, beat in beats if beat.number < MARKERS]
    bench.expect(heard, [(name, beat) for beat in made for name in ("first", "second")])


@check(21, "beats")
async def who_left_hears_no_beat_and_who_raises_keeps_none_from_others(bench: Bench) -> None:
    heard: list[str] = []

    def raises(_: Beat) -> None:
        heard.append("raises")
        raise ValueError

    def stays(_: Beat) -> None:
        heard.append("stays")

    def leaves(_: Beat) -> None:
        heard.append("left")

    end = await _listen(bench, TOPIC, leaves)
    again = await _listen(bench, TOPIC, stays)
    await _listen(bench, TOPIC, raises)
    await _listen(bench, TOPIC, stays)
    end()
    end()
    again()
    await _arrived(bench, TOPIC)
    heard.clear()
    _beating(bench.writer).publish_beat(TOPIC, lambda _: _beat(1))
    await bench.until(lambda: len(heard) >= 2)
    bench.expect(heard[:2], ["raises", "stays"])
    await _arrived(bench, TOPIC)
    bench.expect("left" in heard, False)


@check(21, "beats")
async def what_is_no_topic_or_no_plain_function_gets_no_beats(bench: Bench) -> None:
    async def handler(_: Beat) -> None: ...

    reader = _beating(bench.reader)
    for topic in ("", ":1", KEY):
        must_raise(bench, InvalidKeyError, "publish_beat", lambda topic=topic: reader.publish_beat(topic, _never))  # type: ignore[misc]
        must_raise(bench, InvalidKeyError, "subscribe_beats", lambda topic=topic: reader.subscribe_beats(topic, _nobody))  # type: ignore[misc]
    must_raise(bench, UsageError, "subscribe_beats", lambda: reader.subscribe_beats(TOPIC, handler))  # type: ignore[arg-type]


@check(21, "close", "beats")
async def a_closed_transport_takes_and_delivers_no_beats(bench: Bench) -> None:
    reader = _beating(bench.reader)
    heard: list[Beat] = []
    end = await _listen(bench, TOPIC, heard.append)
    await closed(bench.reader)
    heard.clear()
    must_raise(bench, ClosedError, "publish_beat", lambda: reader.publish_beat(TOPIC, _never))
    must_raise(bench, ClosedError, "subscribe_beats", lambda: reader.subscribe_beats(TOPIC, _nobody))
    if bench.writer is not bench.reader:
        _beating(bench.writer).publish_beat(TOPIC, lambda _: _beat(1))
        await bench.until(lambda: heard, _PAUSE_S)
    bench.expect(heard, [])
    end()


@check(22, "beats")
async def what_was_published_before_a_beat_and_does_not_wait_comes_with_it(bench: Bench) -> None:
    heard: list[int] = []
    waits: dict[int, bool] = {}
    beats: set[int] = set()

    def hear(what: Envelope[Any]) -> None:
        heard.append(what.sequence)
        bench.notice()

    bench.reader.subscribe(KEY, hear)
    await bench.join(KEY)
    await _listen(bench, TOPIC, lambda beat: beats.add(beat.number))
    for number in range(1, _ROUNDS + 1):
        bench.writer.publish(KEY, envelope(number))
        _beating(bench.writer).publish_beat(TOPIC, _noting(waits, number))
        await _until(bench, lambda number=number: number in beats)  # type: ignore[misc]
        # Who hears a beat first has to wait a little for the envelope, but for nothing else.
        came = await bench.until(lambda number=number: number in heard, bench.patience_s / 10)  # type: ignore[misc]
        if number in beats and not waits[number] and not came:
            raise broken(bench.clause, "a beat without what was published before", "that, or its key as waiting", bench.what)


async def _until(bench: Bench, condition: Callable[[], object]) -> None:
    await bench.demand(condition, lambda: "no beat", "a beat")


def _noting(waits: dict[int, bool], number: int) -> BeatMaker:
    def make(waiting: Collection[str]) -> Beat:
        waits[number] = KEY in waiting
        return _beat(number)

    return make


def _beat(number: int, named: dict[str, Position] | None = None) -> Beat:
    return Beat(EPOCH, number, 1.5, 5.0, Version(0, 0), EPOCH, 2, 1 << 100, named or {}, 0)


def _beating(end: SyncTransport) -> BeatTransport:
    return cast("BeatTransport", end)


def _never(_: Collection[str]) -> Beat | None:
    return None


def _nobody(_: Beat) -> None: ...


_numbers: Final = count(MARKERS)


async def _listen(bench: Bench, topic: str, handler: BeatHandler) -> Unsubscribe:
    """Subscribe at the reader, and wait until that has taken effect."""
    heard: list[Any] = []

    def hear(beat: Beat) -> None:
        if beat.number >= MARKERS:
            heard.append(beat)
            bench.notice()
        else:
            bench.notice()
            handler(beat)

    end = _beating(bench.reader).subscribe_beats(topic, hear)
    await _until_heard(bench, topic, heard)
    return end


async def _arrived(bench: Bench, topic: str) -> None:
    """Wait until all beats that were published before have arrived."""
    await _until_heard(bench, topic, [])


async def _until_heard(bench: Bench, topic: str, heard: list[Any]) -> None:
    first = next(_numbers)

    def hear(beat: Beat) -> None:
        if beat.number >= first:
            heard.append(beat)
            bench.notice()

    end = _beating(bench.reader).subscribe_beats(topic, hear)
    waited_s = 0.0
    while not any(beat.number >= first for beat in heard):
        number = next(_numbers)
        _beating(bench.writer).publish_beat(topic, lambda _, number=number: _beat(number))  # type: ignore[misc]
        if await bench.until(lambda: any(beat.number >= first for beat in heard), _PAUSE_S):
            break
        waited_s += _PAUSE_S
        if waited_s > bench.patience_s:
            due = f"a beat at every subscriber of {topic!r}, within {bench.patience_s:g} s"
            raise broken(bench.clause, "nothing", due, bench.what)
    end()
