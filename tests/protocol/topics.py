"""A whole topic for a mirror: an authority, and a network between them that is a bag of messages.

What the authority answers is written here once more, from the words of the messages: what must be so is judged by what it had
and sent, and by no rule of the mirror.
"""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from parasync.errors import ParseError, RemoteError, SchemaSkewError
from parasync.protocol import (
    ABSENT,
    ABSENT_OBJECT,
    TOMBSTONE_CHECKSUM,
    UNANSWERED,
    Beat,
    Compare,
    Digests,
    Envelope,
    Face,
    Kind,
    Mirror,
    Outcome,
    Position,
    Round,
    Scan,
    Scanned,
    Status,
    Version,
    is_same,
    next_version,
)
from tests.protocol import kit
from tests.protocol.kit import Text

KEYS: Final = ("t", "t:a", "t:b", "t:x:c", "t:x:d")


class Taste(NamedTuple):
    """What an authority and its mirror are like."""

    prefix: str = ""
    tells_digest: bool = True
    names_max: int = 100
    page_max: int = 100
    lag: int = 0
    forgetful: float = 0.0
    """How often an outcome is left for the next ask."""


class Told(NamedTuple):
    """What the authority had at some moment."""

    epoch: int
    moment: int
    floor: Version
    objects: dict[str, Text]
    late: frozenset[str] = frozenset()
    """What it had, and may not have told of."""


def place(key: str) -> tuple[int, str]:
    """Where an object stands in the order of the messages."""
    return zlib.crc32(key.encode()) % 256, key


class Topic:
    """See the module."""

    def __init__(self, draw: random.Random, taste: Taste) -> None:
        self.draw = draw
        self.aside = random.Random()
        self.aside.setstate(draw.getstate())
        self.taste = taste
        self.moment = 0
        self.epoch = 0
        self.floor = ABSENT
        self.objects: dict[str, Text] = {}
        self.public: dict[str, Text] = {}
        self.first: dict[str, int] = {}
        self.sent: list[tuple[int, str, Version]] = []
        self.mirror: Mirror[str] = Mirror("t", kit.read, prefix=taste.prefix, stale_after_s=1e9)
        self.network: list[tuple[Any, ...]] = []
        self.waits: Compare | Scan | None = None
        self.told: Told | None = None
        self.collected: Told | None = None
        self.highest: dict[str, Version] = {}
        self.restart()

    # The authority

    def restart(self) -> None:
        self.moment += 1
        self.epoch += 1
        self.started = self.moment
        self.number = 0
        self.outbox: dict[str, Text] = {}
        self.public = dict(self.objects)
        self.intervals: list[dict[str, Position]] = [{}, {}, {}]

    def write(self, key: str, value: str | None) -> None:
        self.moment += 1
        held = self.objects.get(key)
        version = next_version(
            None if held is None else held.version, epoch=self.epoch, floor=self.floor, deletes=value is None
        )
        kind = Kind.TOMBSTONE if value is None else Kind.STATE
        checksum = zlib.crc32(f"{value}".encode())
        if held is None:
            self.first[key] = self.moment
        self.objects[key] = Envelope(value, "1.0", version.sequence, version.epoch, kind=kind, checksum=checksum)
        self.outbox.pop(key, None)
        self.outbox[key] = self.objects[key]

    def send(self) -> None:
        self.moment += 1
        key = next(iter(self.outbox))
        envelope = self.outbox.pop(key)
        self.public[key] = envelope
        self.intervals[-1][key] = Position.of(envelope)
        self.sent.append((self.moment, key, envelope.version))
        self.network.append(("live", key, envelope))

    def beat(self) -> None:
        self.moment += 1
        self.number += 1
        named: dict[str, Position] = {}
        since = self.number
        for sent in self.intervals[::-1][: self.number]:
            if len({*named, *sent}) > self.taste.names_max:
                break
            named, since = {**sent, **named}, since - 1
        count, digest = len(self.public), self.digest_of(self.public)
        if not self.taste.tells_digest:
            count = digest = None  # type: ignore[assignment]
        self.intervals = [*self.intervals[1:], {}]
        uptime_s = float(self.moment - self.started)
        beat = Beat(
            self.epoch, self.number, uptime_s, 5.0, self.floor, 0, count, digest, named, since
        )
        self.network.append(("beat", beat, Told(self.epoch, self.moment, self.floor, dict(self.public))))

    def purge(self, key: str) -> None:
        self.moment += 1
        self.floor = max(self.floor, self.objects[key].version)
        for gone, envelope in list(self.objects.items()):
            if envelope.kind is Kind.TOMBSTONE and envelope.version <= self.floor:
                del self.objects[gone], self.public[gone]

    def answer(self, request: Compare | Scan) -> Digests | Scanned:
        """What the page of the messages says."""
        uptime_s = float(self.moment - self.started)
        head = (self.epoch, self.number, uptime_s, self.floor, 0, float(self.taste.lag))
        late = {key for key in self.objects if self.first[key] > self.moment - self.taste.lag and self.draw.random() < 0.5}
        seen = {key: envelope for key, envelope in self.objects.items() if key not in late}
        if isinstance(request, Compare):
            buckets = [0] * 256
            for key, envelope in seen.items():
                number = place(key)[0]
                buckets[number] = (buckets[number] + kit.element(key, Position.of(envelope))) % 2**128
            return Digests(*head, len(seen), tuple(buckets))
        begin = (request.buckets[0], request.after)
        end = (request.buckets[-1], request.upto or "\U0010ffff" * 9)
        named = dict(zip(request.keys, request.positions, strict=True))
        assert list(named) == sorted(named, key=place)
        keys = sorted({key for key in seen if key.startswith(request.prefix)} | set(named), key=place)
        keys = [key for key in keys if begin < place(key) <= end and place(key)[0] in request.buckets]
        assert set(named) <= set(keys), "what is named is in the range"
        found: dict[str, Outcome] = {}
        covered = None
        for index, key in enumerate(keys):
            outcome = self.outcome(self.objects.get(key) if key in named else seen.get(key), named.get(key), key in named)
            if outcome is not None:
                found[key] = UNANSWERED if self.draw.random() < self.taste.forgetful else outcome
            if len(found) == self.taste.page_max and index + 1 < len(keys):
                covered = key
                break
        return Scanned(*head, len(seen), covered, tuple(found), tuple(found.values()))

    def outcome(self, envelope: Text | None, asked: Position | None, named: bool) -> Outcome | None:
        """What is said of one object; None for nothing."""
        if envelope is None:
            return ABSENT_OBJECT if named else None
        return None if asked is not None and is_same(asked, Position.of(envelope)) else envelope

    def digest_of(self, objects: dict[str, Text]) -> int:
        return sum(kit.element(key, Position.of(envelope)) for key, envelope in objects.items()) % 2**128

    # The mirror

    def ask(self) -> None:
        self.moment += 1
        mirror = self.mirror
        asking = mirror.round or mirror.asked(float(self.moment))
        plan(mirror, asking)
        self.waits = mirror.request(float(self.moment), 1_000_000)
        self.network.append(("ask", self.waits, asking))

    def give_up(self) -> None:
        """No answer came in time."""
        if self.waits is not None:
            self.mirror.ask_failed("no answer")
        self.waits = None

    def deliver(self, index: int) -> None:
        kind, *rest = self.network.pop(index)
        getattr(self, f"_{kind}")(*rest)
        self.check()

    def _live(self, key: str, envelope: Text) -> None:
        if self.mirror.concerns(key):
            assert self.mirror.live_received(key, envelope, self.mirror.prepare(key, envelope)) is not None

    def _beat(self, beat: Beat, told: Told) -> None:
        mirror = self.mirror
        unjudged = mirror.round is not None and (mirror.base.epoch != beat.epoch or not self.compares)
        mirror.beat_received(beat, now_s=float(self.moment))
        if not unjudged:
            self.learn(told)
        elif not self.compares and (self.collected is None or told[:2] > self.collected[:2]):
            self.collected = told

    @property
    def compares(self) -> bool:
        return self.taste.tells_digest and not self.taste.prefix

    def _ask(self, request: Compare | Scan, asking: Round) -> None:
        answer = self.answer(request)
        late = frozenset(key for key in self.objects if self.first[key] > self.moment - self.taste.lag)
        told = Told(self.epoch, self.moment, self.floor, dict(self.objects), late)
        self.network.append(("answer", request, asking, answer, told))

    def _answer(self, request: Compare | Scan, asking: Round, answer: Digests | Scanned, told: Told) -> None:
        mirror = self.mirror
        if request is not self.waits or mirror.round is not asking:
            return
        self.waits = None
        begins = asking.epoch == -1
        try:
            meanwhile = self._meanwhile if self.aside.random() < 0.3 else None
            take(mirror, request, answer, shortly=self.draw.random() < 0.5, meanwhile=meanwhile)
        except RemoteError as error:
            mirror.ask_failed(str(error))
            return
        if begins:
            self.learn(told)
        if mirror.round is None and self.collected is not None:
            if self.collected.epoch == mirror.base.epoch:
                self.learn(self.collected)
            self.collected = None

    def _meanwhile(self) -> None:
        """The next ask goes out, and things happen, before an answer is learned."""
        self.moment += 1
        self.waits = self.mirror.request(float(self.moment), 1_000_000)
        self.network.append(("ask", self.waits, self.mirror.round))
        for _ in range(self.aside.randrange(5)):
            places = [place for place, (kind, *_) in enumerate(self.network) if kind != "answer"]
            if places:
                kind, *rest = self.network.pop(self.aside.choice(places))
                getattr(self, f"_{kind}")(*rest)

    # What must be so

    def learn(self, told: Told) -> None:
        if self.told is None or told[:2] > self.told[:2]:
            self.told = told

    def check(self) -> None:
        mirror = self.mirror
        for key, held in mirror.held.items():
            highest = self.highest.get(key, Version(-1, -1))
            assert held.version >= highest, f"P1: {key}"
            self.highest[key] = held.version
        known = {*mirror.held, *mirror.refused}
        if mirror.digest is not None:
            total = sum(kit.element(key, mirror._position(key)) for key in known) % 2**128
            assert (mirror.digest.count, mirror.digest.total) == (len(known), total)
        assert mirror.shown == sum(held.kind is Kind.STATE for held in mirror.held.values())
        for moment, key, version in self.sent:
            forgotten = key not in known and version <= self.floor
            if moment <= mirror.rules.proven_s and mirror.concerns(key) and not forgotten:
                assert mirror._position(key).version >= version, f"proven as of a moment when {key} was sent at {version}"
        if Face(mirror).status(0.0) is Status.OK:
            assert self.told is not None
            for key in KEYS:
                if mirror.concerns(key) and key not in self.told.late:
                    self.check_ok(key, self.told)

    def check_ok(self, key: str, told: Told) -> None:
        """P6: what is held is what the authority had, or something that it or a later one wrote since."""
        mirror, truth = self.mirror, told.objects.get(key)
        held = mirror._position(key)
        if truth is None or truth.kind is Kind.TOMBSTONE:
            fits = held.checksum == TOMBSTONE_CHECKSUM
        else:
            fits = held == Position.of(truth)
        later = held.version > (told.floor if truth is None else truth.version) and held.version.epoch >= told.epoch
        assert fits or later, f"P6: {key} at {held}, and the authority had {truth}"

    def settle(self) -> None:
        """P5: faults stop."""
        self.network.clear()
        self.give_up()
        self.taste = self.taste._replace(names_max=100, forgetful=0.0)
        for number in range(6):
            while self.outbox:
                self.send()
            self.beat()
            self.drain()
            assert number < 5 or not self.mirror.rules.need_open, self.mirror.rules.need_reason
            self.reconcile()
        assert self.mirror.base.number > 0, "beats prove it"
        assert Face(self.mirror).status(0.0) in (Status.OK, Status.SKEW)
        self.check_content()

    def check_content(self) -> None:
        mirror = self.mirror
        mine = {key: envelope for key, envelope in self.objects.items() if mirror.concerns(key)}
        states = {key: envelope for key, envelope in mine.items() if envelope.kind is Kind.STATE}
        good = {key: envelope.value for key, envelope in states.items() if not str(envelope.value).startswith("bad")}
        shown = {key: held.value for key, held in mirror.held.items() if held.kind is Kind.STATE}
        assert {key: value for key, value in shown.items() if key not in mirror.refused} == good
        assert set(mirror.refused) == set(states) - set(good)
        if mirror.digest is not None:
            assert (mirror.digest.count, mirror.digest.total) == (len(mine), self.digest_of(mine))

    def drain(self) -> None:
        while self.network:
            self.deliver(0)

    def reconcile(self) -> None:
        for _ in range(300):
            if self.mirror.rules.need_open:
                self.ask()
                self.drain()

    def keep_busy(self) -> None:
        """Under steady writes every answer is older than what has come live: needs end all the same."""
        self.mirror.rules.need_raised("interrupted")
        for number in range(80):
            if not self.mirror.rules.need_open:
                return
            self.ask()
            self.deliver(0)
            answer = self.network.pop()
            for key in KEYS:
                self.write(key, f"busy{number}")
                self.send()
            self.drain()
            self.network.append(answer)
            self.drain()
        raise AssertionError("P5: under steady writes a need never ends")


def plan(mirror: Mirror[str], asking: Round) -> None:
    """What a driver does before it asks."""
    if asking.unplanned:
        asking.plan(asking.spread(mirror.known()))


def take(
    mirror: Mirror[str],
    request: Compare | Scan,
    answer: Digests | Scanned,
    *,
    shortly: bool = True,
    meanwhile: Callable[[], None] | None = None,
) -> None:
    """What a driver does with an answer.

    Args:
        mirror: that has asked.
        request: what it has asked.
        answer: what came.
        shortly: take in what a first load is made of the short way.
        meanwhile: ask on before the answer is learned, if that is possible.

    Raises:
        RemoteError: it cannot be used.
    """
    if isinstance(answer, Digests):
        mirror.digests_received(answer)
        return
    assert isinstance(request, Scan)
    page = mirror.scanned(request, answer)
    if meanwhile is not None and mirror.ahead(page):
        meanwhile()
    firsts = {}
    for key, envelope in mirror.firsts(page, page.outcomes()) if shortly else ():
        with contextlib.suppress(ParseError, SchemaSkewError):
            firsts[key] = envelope, mirror.rules.read(envelope)
    assert mirror.learn_firsts(page, firsts) == [*firsts]
    assert mirror.learn_firsts(page, dict.fromkeys(firsts, (kit.state("9.9"), "it is known"))) == []
    for key, outcome in page.outcomes():
        if key in firsts:
            continue
        reading = mirror.prepare(key, outcome) if isinstance(outcome, Envelope) else None
        assert mirror.learn(page, key, outcome, reading) is not None
    mirror.page_read(page)


def step(topic: Topic, kind: str) -> None:
    """Something happens."""
    draw, network, key = topic.draw, topic.network, topic.draw.choice(KEYS)
    topic.moment += 1
    if kind == "write":
        topic.write(key, f"{draw.choice(('', '', '', 'bad '))}{key}{topic.moment}")
    elif kind == "delete" and key in topic.objects:
        topic.write(key, None)
    elif kind == "purge" and not topic.outbox:
        gone = [key for key, envelope in topic.objects.items() if envelope.kind is Kind.TOMBSTONE]
        if gone and all(topic.objects[key].epoch == topic.epoch for key in gone):
            topic.purge(draw.choice(gone))
    elif kind == "send" and topic.outbox:
        topic.send()
    elif kind == "ask" and topic.mirror.rules.need_open and topic.waits is None:
        topic.ask()
    elif kind in ("deliver", "lose", "duplicate") and network:
        index = draw.randrange(len(network))
        if kind == "deliver":
            topic.deliver(index)
        elif kind == "lose":
            del network[index]
        else:
            network.append(network[index])
    elif kind in ("beat", "restart", "give_up"):
        getattr(topic, kind)()
    elif kind == "interrupt":
        topic.mirror.rules.need_raised("interrupted")
    topic.check()


WEIGHTS: Final = {"deliver": 10, "write": 3, "send": 4, "beat": 3, "ask": 3, "delete": 2} | dict.fromkeys(
    ("purge", "lose", "duplicate", "restart", "give_up", "interrupt"), 1
)


def a_taste(draw: random.Random) -> Taste:
    """One of many."""
    return Taste(
        prefix=draw.choice(("", "", "t:x:", "t:")),
        tells_digest=draw.random() < 0.7,
        names_max=draw.choice((2, 100)),
        page_max=draw.choice((1, 2, 100)),
        lag=draw.choice((0, 0, 0, 4)),
        forgetful=draw.choice((0.0, 0.0, 0.3)),
    )


def live_through(seed: int) -> None:
    """One history from its beginning to its end."""
    draw = random.Random(seed)
    topic = Topic(draw, a_taste(draw))
    try:
        weights = {kind: weight * draw.choice((0.2, 1, 1, 3)) for kind, weight in WEIGHTS.items()}
        for kind in draw.choices(list(weights), list(weights.values()), k=draw.randrange(120)):
            step(topic, kind)
        topic.settle()
        topic.keep_busy()
        topic.settle()
    except Exception as error:
        raise AssertionError(f"seed {seed}, {topic.taste}: {error!r}") from error


