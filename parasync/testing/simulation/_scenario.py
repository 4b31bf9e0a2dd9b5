"""What is simulated: who takes part, what they are about, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, Literal, TypeAlias

import attrs

from parasync.errors import UsageError
from parasync.protocol import GapPolicy
from parasync.runtime._office import Terms
from parasync.runtime._recovery import Pace
from parasync.stores import MemoryStore, Store
from parasync.testing._faults import Faults, StoreFaults
from parasync.topic import Topic
from parasync.transports import SyncTransport
from parasync.transports._inprocess import InProcessTransport

Service: TypeAlias = Callable[[SyncTransport], Coroutine[Any, Any, None]]
"""A program of yours that gets its bus; it is cancelled when the simulation ends, and must not raise before."""

PACE: Final = Pace(reconcile_interval_s=4.0, ask_timeout_s=1.0, backoff_base_s=0.1, backoff_max_s=1.0)
"""How often replicas ask, unless told otherwise: quicker than by default, so that little time shows much."""
TERMS: Final = Terms(
    probe_interval_s=1.0, probe_timeout_s=0.2, takeover_after_s=3.0, beat_interval_s=1.0, beat_min_interval_s=0.2
)
"""The times of authorities, unless told otherwise."""


@attrs.frozen
class Box:
    """What is written where no topic is given."""

    number: int


def number_of(plain: object) -> Box:
    """Parse a `Box`; a negative number is a value that this reader cannot read.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(plain, dict) or not isinstance(number := plain.get("number"), int) or number < 0:
        raise ValueError("expected a number from 0")
    return Box(number)


def unreadable_box(number: int) -> Box:
    """What the readers of boxes refuse."""
    return Box(-number)


BOXES: Final[Topic[Any]] = Topic("box", Box, version="1.3", parse=number_of)
"""What is read where no topic is given; what is written is `ANY_BOXES`, where anything passes that is a `Box`."""
PATTERN: Final = "even:*"
"""Which objects mirrors hold where the topology says so: those of even numbers, whose ids begin so."""
ANY_BOXES: Final[Topic[Any]] = Topic("box", Box, version="1.4")
"""Another build of the same contract, which lets more pass."""


def _positive(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise UsageError(f"got {attribute.name}={value!r}, expected a number above 0")


def _count(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"got {attribute.name}={value!r}, expected an int, 0 or more")


def _one_or_more(_: object, attribute: attrs.Attribute[int], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"got {attribute.name}={value!r}, expected an int, 1 or more")


def _one_of(*names: str) -> Callable[[object, attrs.Attribute[Any], object], None]:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value not in names:
            raise UsageError(f"got {attribute.name}={value!r}, expected {' or '.join(map(repr, names))}")

    return check


@attrs.frozen(kw_only=True)
class Topology:
    """Who takes part, and what they are about.

    Args:
        authorities: how many processes own the topic, at least 1; with several, one serves and the others stand by.
        disks: `"shared"`, so that a restarted or other authority finds what was written, or `"own"`: each has its own.
        readers: how many processes read, each over its own connection.
        replicas: how many replicas each of them has at first.
        keys: how many objects there are, at least 1.
        monolith: all in one process, on a bus that loses nothing; faults of the network do not apply then.
        conflates: an authority sends only the newest version where it writes one object several times at once.
        beats: authorities beat, so that replicas notice what was lost; without, they ask now and then. Not in a monolith,
            which loses nothing.
        gap: what replicas do about a gap, see `synced`.
        topic: what is read.
        writes: the topic as those who write declare it; None for the same.
        value: the n-th value that is written, n from 1; each must be another one.
        unreadable: the n-th value that `topic` refuses and `writes` lets pass; None if there is no such thing. Not
            used in a monolith, where values are not parsed.
        mirrors: how many more processes hold a mirror of all objects, each over a connection of its own.
        pattern: mirrors hold only every other object, those whose ids begin alike.
        answer_bytes: how much fits into one answer of an authority, in bytes, so that several objects take several answers; 0
            for what the transport takes.
        services: programs of yours, each a process with a connection of its own.
        transport: makes the bus below the faults; it must work without a socket, and be able to ask.
        store: makes an empty store.
        pace: of all replicas.
        terms: of all authorities.
        actions: how many writes, joins and the like happen while faults strike.
        safety_s: how long faults strike, in seconds of virtual time.

    Raises:
        UsageError: a count or a time makes no sense, or `writes` is another topic.
    """

    authorities: int = attrs.field(default=1, validator=_one_or_more)
    disks: Literal["shared", "own"] = attrs.field(default="shared", validator=_one_of("shared", "own"))
    readers: int = attrs.field(default=2, validator=_count)
    replicas: int = attrs.field(default=2, validator=_count)
    keys: int = attrs.field(default=2, validator=_one_or_more)
    monolith: bool = False
    conflates: bool = False
    beats: bool = True
    gap: GapPolicy = attrs.field(default="refetch", validator=_one_of("refetch", "apply"))
    topic: Topic[Any] = BOXES
    writes: Topic[Any] | None = ANY_BOXES
    value: Callable[[int], Any] = Box
    unreadable: Callable[[int], Any] | None = attrs.field(default=unreadable_box)
    mirrors: int = attrs.field(default=0, validator=_count)
    pattern: bool = False
    answer_bytes: int = attrs.field(default=0, validator=_count)
    services: tuple[Service, ...] = ()
    transport: Callable[[], SyncTransport] = InProcessTransport
    store: Callable[[], Store] = MemoryStore
    pace: Pace = PACE
    terms: Terms = TERMS
    actions: int = attrs.field(default=30, validator=_count)
    safety_s: float = attrs.field(default=20.0, validator=_positive)

    def __attrs_post_init__(self) -> None:
        if self.writes is not None and self.writes.name != self.topic.name:
            said = f"got writes of the topic {self.writes.name!r}, expected {self.topic.name!r}, which is read"
            raise UsageError(f"{said}: pass writes=None, and unreadable=None where `value` is of a type of yours")


@attrs.frozen(kw_only=True)
class ProcessFaults:
    """What happens to processes while faults strike: how many times each, at moments that the seed decides.

    Args:
        kills: an authority ends at once, also in the middle of a write; it starts again later.
        stops: an authority ends orderly; it starts again later.
        losses: one that starts again finds no data.
        restores: one that starts again finds older data, those of a backup.
        clocks: one that starts again finds its wall clock an hour back.
        rollouts: one that starts again writes another schema major, which readers cannot read; and the next one does not.
        rogues: a frame that no authority wrote, with the version of one that did.
        raises: a listener of a replica raises from then on.
        cancels: somebody who waits for a replica gives up.
        joins: a reader opens one more replica.
        leaves: a reader closes a replica.
        reopens: a mirror is closed, and another one begins, mostly with what was saved of it.

    Raises:
        UsageError: a count is none.
    """

    kills: int = attrs.field(default=0, validator=_count)
    stops: int = attrs.field(default=0, validator=_count)
    losses: int = attrs.field(default=0, validator=_count)
    restores: int = attrs.field(default=0, validator=_count)
    clocks: int = attrs.field(default=0, validator=_count)
    rollouts: int = attrs.field(default=0, validator=_count)
    rogues: int = attrs.field(default=0, validator=_count)
    raises: int = attrs.field(default=0, validator=_count)
    cancels: int = attrs.field(default=0, validator=_count)
    joins: int = attrs.field(default=0, validator=_count)
    leaves: int = attrs.field(default=0, validator=_count)
    reopens: int = attrs.field(default=0, validator=_count)


@attrs.frozen(kw_only=True)
class FaultPlan:
    """All that goes wrong in a simulation. The seeds of the parts are not used: the simulation has its own.

    Args:
        network: what every connection does to messages.
        store: what every store does to calls; `lose`, `go_back` and `claim` must be 0, since data are lost between lives here.
        processes: what happens to processes.

    Raises:
        UsageError: the store is to lose data under a running authority.
    """

    network: Faults = attrs.field(factory=Faults)
    store: StoreFaults = attrs.field(factory=StoreFaults)
    processes: ProcessFaults = attrs.field(factory=ProcessFaults)

    def __attrs_post_init__(self) -> None:
        if self.store.lose or self.store.go_back or self.store.claim:
            raise UsageError("got a store that loses data under a running authority, expected ProcessFaults(losses=…)")
