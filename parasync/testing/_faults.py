"""Which faults strike, how often, and when: decided by a seed alone.

Each kind of fault on each line (a subscription, what is published, the asks of a topic, a method of a store) has a random
stream of its own. What strikes the n-th message of a line depends on the seed, the line and n, and on nothing else: so a
fault that is switched off changes nothing of the others.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from parasync.errors import UsageError

Fault: TypeAlias = Literal[
    "drop", "duplicate", "reorder", "delay", "corrupt", "truncate", "poison", "partition", "disconnect", "slow", "hang"
]
"""What a `FaultyTransport` can do to messages."""
StoreFault: TypeAlias = Literal["before", "after", "slow", "hang", "foreign", "lose", "go_back", "claim"]
"""What a `FaultyStore` can do."""
_KINDS: Final = frozenset((*get_args(Fault), *get_args(StoreFault)))

STRUCK_MAX: Final = 100_000
"""How many strikes a faulty transport or store remembers; older ones are forgotten."""

Span: TypeAlias = tuple[float, float]
"""The shortest and the longest time, in seconds."""
Struck: TypeAlias = tuple[str, int, str]
"""A line, the number of a message on it, from 1, and the kind of fault that struck it."""


def _rate(_: object, attribute: attrs.Attribute[float], rate: object) -> None:
    if not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise UsageError(f"got {attribute.name}={rate!r}, expected a rate from 0 to 1")


def _never() -> float:
    """A field for a rate, which is 0 where nothing else is said."""
    return attrs.field(default=0.0, validator=_rate)


def _span(_: object, attribute: attrs.Attribute[Span], span: Any) -> None:
    times = isinstance(span, tuple) and len(span) == 2 and all(isinstance(time, int | float) for time in span)
    if not times or not 0 <= span[0] <= span[1] < float("inf"):
        raise UsageError(f"got {attribute.name}={span!r}, expected two times in seconds, the shorter one first")


def _count(_: object, attribute: attrs.Attribute[int], count: object) -> None:
    if not isinstance(count, int) or count < 1:
        raise UsageError(f"got {attribute.name}={count!r}, expected an int above 0")


@attrs.frozen(kw_only=True)
class Faults:
    """What a `FaultyTransport` does to messages, and how often: each rate is a probability for each message, 0 to 1.

    Args:
        seed: decides what is struck; the same one always strikes the same.
        drop: a message is lost, and nobody says so. Of an ask, the request or the answer is.
        duplicate: a message comes twice. A request reaches the authority twice.
        reorder: a message comes later, those behind it come first. A request is sent later.
        delay: a message comes later, and those behind it wait. An answer comes later.
        corrupt: some bytes of a message change on the way; what the codec refuses is lost, and the subscriber is told.
        truncate: a message loses its end; likewise.
        poison: a message of nobody comes as well: no frame, or one whose body is none, or of another schema major.
        partition: for a while nothing passes, in one direction or both, and nobody says so.
        disconnect: for a while there is no connection: nothing is heard, asks fail at once, what is published waits; then
            all subscribers are told.
        slow: a subscriber takes nothing for a while; beyond `queue_max` waiting messages are lost, and it is told.
        hang: for a while nothing moves, and then everything comes.
        delay_s: how long what is reordered or delayed takes, in seconds.
        outage_s: how long a partition, a lost connection, a slow subscriber or a hang lasts, in seconds.
        queue_max: how many messages wait for a slow subscriber, above 0.
        only: let these strike, whatever the rates, e.g. what mattered of an earlier `struck`; None goes by the rates.

    Raises:
        UsageError: a rate is not from 0 to 1, or a time or limit makes no sense.
    """

    seed: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))
    drop: float = _never()
    duplicate: float = _never()
    reorder: float = _never()
    delay: float = _never()
    corrupt: float = _never()
    truncate: float = _never()
    poison: float = _never()
    partition: float = _never()
    disconnect: float = _never()
    slow: float = _never()
    hang: float = _never()
    delay_s: Span = attrs.field(default=(0.001, 0.1), validator=_span)
    outage_s: Span = attrs.field(default=(0.1, 2.0), validator=_span)
    queue_max: int = attrs.field(default=16, validator=_count)
    only: frozenset[Struck] | None = None


@attrs.frozen(kw_only=True)
class StoreFaults:
    """What a `FaultyStore` does, and how often: each rate is a probability for each call, 0 to 1.

    Args:
        seed: decides what is struck; the same one always strikes the same.
        before: the call raises `StoreError`, and nothing was done.
        after: the call raises, and it was done: `IndeterminateError` for a write, `StoreError` for others.
        slow: the call takes a while.
        hang: the call takes very long, and is done before that or after it.
        foreign: the call raises an error that is none of parasync's, and nothing was done.
        lose: the store loses all its data.
        go_back: the store goes back to what it held some time ago.
        claim: another epoch claims the topic, as another authority would.
        slow_s: how long a slow call takes, in seconds.
        hang_s: how long one that hangs takes, in seconds.
        only: let these strike, whatever the rates, e.g. what mattered of an earlier `struck`; None goes by the rates.

    Raises:
        UsageError: a rate is not from 0 to 1, or a time makes no sense.
    """

    seed: int = attrs.field(default=0, validator=attrs.validators.instance_of(int))
    before: float = _never()
    after: float = _never()
    slow: float = _never()
    hang: float = _never()
    foreign: float = _never()
    lose: float = _never()
    go_back: float = _never()
    claim: float = _never()
    slow_s: Span = attrs.field(default=(0.01, 0.5), validator=_span)
    hang_s: Span = attrs.field(default=(5.0, 60.0), validator=_span)
    only: frozenset[Struck] | None = None


class Fates:
    """What strikes on one line, message by message.

    Args:
        faults: the rates and the seed.
        line: the name of the line; each has other luck.
        note: is told what strikes.
    """

    __slots__ = ("_line", "_note", "_number", "_only", "_seed", "_streams")

    def __init__(self, faults: Faults | StoreFaults, line: str, note: Callable[[Struck], None]) -> None:
        self._line = line
        self._note = note
        self._number = 0
        self._only = faults.only
        self._seed = faults.seed
        self._streams: dict[str, tuple[float, random.Random]] = {}
        for field in attrs.fields(type(faults)):
            rate = getattr(faults, field.name)
            if field.name in _KINDS and (rate > 0 or self._only is not None):
                # A text seeds alike in every process; a hash would not.
                chance = random.Random(f"{faults.seed} {line} {field.name}")  # noqa: S311
                self._streams[field.name] = (rate, chance)

    def next(self) -> dict[str, random.Random]:
        """The kinds of fault that strike the next message, each with the chance that its details are drawn from."""
        if not self._streams:
            return {}
        self._number += 1
        number = self._number
        if self._only is None:
            kinds = [kind for kind, (rate, chance) in self._streams.items() if chance.random() < rate]
        else:
            kinds = [kind for kind in self._streams if (self._line, number, kind) in self._only]
        for kind in kinds:
            self._note((self._line, number, kind))
        # The details come from elsewhere, since it depends on the message how many of them are needed.
        return {kind: random.Random(f"{self._seed} {self._line} {kind} {number}") for kind in kinds}  # noqa: S311


class Strikes:
    """The last `STRUCK_MAX` strikes of one party, and who wants to be told of each."""

    __slots__ = ("recent", "witness")

    def __init__(self) -> None:
        self.recent: deque[Struck] = deque(maxlen=STRUCK_MAX)
        self.witness: Callable[[Struck], None] | None = None

    def note(self, struck: Struck) -> None:
        """One more."""
        self.recent.append(struck)
        if self.witness is not None:
            self.witness(struck)


class Tally(Counter[str]):
    """How many messages or calls each kind of fault really hit."""

    def hit(self, kind: Fault | StoreFault) -> None:
        """One more."""
        self[kind] += 1
