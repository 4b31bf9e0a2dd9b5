"""What Hypothesis can draw for parasync: keys, versions, values of a topic, its envelopes, what a bus makes of them, faults.

Needs `hypothesis`, which the extra `testing` brings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import attrs
from hypothesis import strategies as st
from hypothesis.errors import InvalidArgument, ResolutionFailed

from parasync import Envelope, Kind, MsgpackCodec, Topic, Version
from parasync.errors import EncodeError, InvalidTypeError, UsageError
from parasync.protocol import EPOCH_MAX, KEY_BYTES_MAX, SEQUENCE_MAX, EncodedBody
from parasync.testing._faults import Faults, StoreFaults
from parasync.testing.simulation._scenario import FaultPlan, ProcessFaults, Topology

T = TypeVar("T")

HISTORY_MAX: Final = 12
"""How many versions a drawn history has at the most, unless you say otherwise."""
DELIVERIES_MAX: Final = 3
"""How often each envelope is delivered at the most."""
RATE_MAX: Final = 0.3
"""How often a drawn fault strikes at the most, unless you say otherwise; of what is struck more often, too little is left."""
TIMES_MAX: Final = 3
"""How often each thing happens to processes at the most in a drawn plan."""
SEED_MAX: Final = 2**32 - 1
"""The largest drawn seed."""

_LOSSES: Final = ("lose", "go_back", "claim")
_CODEC: Final = MsgpackCodec(fast=False)


def idents() -> st.SearchStrategy[str]:
    """Ids of objects: any text that a key may have behind its topic, colons, dots, wildcards and odd characters included."""
    characters = st.characters(codec="utf-8")
    odd = st.sampled_from(["*", ">", ".", "a.b", "a:b", "=", " ", "\n", "\x00", "ü", "*:", "'"])
    # One character takes four bytes at the most; the topic has its share of the limit.
    return st.one_of(st.text(characters, min_size=1, max_size=24), odd)


def keys(topic: Topic[Any] | str) -> st.SearchStrategy[str]:
    """Keys of a topic: with an id of any kind, or without.

    Args:
        topic: a topic, or the name of one.
    """
    name = topic if isinstance(topic, str) else topic.name
    room = KEY_BYTES_MAX - len(name.encode()) - 1
    with_ident = idents().filter(lambda ident: len(ident.encode()) <= room).map(lambda ident: f"{name}:{ident}")
    return st.one_of(with_ident, st.just(name))


def versions(*, epoch_max: int = EPOCH_MAX, sequence_max: int = SEQUENCE_MAX) -> st.SearchStrategy[Version]:
    """Versions that were written: epochs from 0, sequences from 1.

    Args:
        epoch_max: the largest epoch, up to `EPOCH_MAX`.
        sequence_max: the largest sequence, up to `SEQUENCE_MAX`.
    """
    return st.builds(Version, st.integers(0, epoch_max), st.integers(1, sequence_max))


def values(topic: Topic[T]) -> st.SearchStrategy[T]:
    """Values of the type of a topic that its gate lets pass, and that a codec can carry.

    Hypothesis draws from the annotations of the type; register a strategy (`hypothesis.strategies.register_type_strategy`) for
    a type that needs more than that.

    Args:
        topic: whose values.

    Raises:
        UsageError: Hypothesis does not know how to make one.
    """
    type_: Any = topic.type
    try:
        drawn: st.SearchStrategy[T] = st.from_type(type_)
        drawn.validate()
    except (InvalidArgument, ResolutionFailed, TypeError) as error:
        raise UsageError(f"got {topic!r}, expected a type that Hypothesis can draw: register a strategy for it") from error
    return drawn.filter(lambda value: passes(topic, value))


def passes(topic: Topic[T], value: T) -> bool:
    """Whether a value passes the gate of a topic, comes back from a body as an equal one, and equals itself.

    Args:
        topic: whose gate.
        value: what is to be written.
    """
    try:
        body = topic.encode(value, _CODEC)
    except (InvalidTypeError, EncodeError):
        return False
    return bool(topic.reader(_CODEC)(Envelope(body, topic.version, 1)) == value)


@st.composite
def histories(
    draw: st.DrawFn, topic: Topic[T], *, max_size: int = HISTORY_MAX, tombstones: bool = True
) -> tuple[Envelope[T | None], ...]:
    """All versions of one object, as authorities write them: each above the one before, through restarts with lost memory.

    Args:
        draw: given by Hypothesis.
        topic: what the values are of.
        max_size: how many versions, 1 or more.
        tombstones: whether the object is deleted now and then.
    """
    steps = draw(st.lists(st.sampled_from(["write", "write", "write", "delete", "restart"]), min_size=1, max_size=max_size))
    made: list[Envelope[T | None]] = []
    epoch, sequence, exists = draw(st.integers(0, 2**40)), 0, False
    for step in steps:
        if step == "restart":
            # A new life begins above the last; whether it kept its sequences depends on its store.
            epoch, sequence = epoch + draw(st.integers(1, 2**20)), draw(st.sampled_from([0, sequence]))
        deletes = step == "delete" and tombstones and exists
        sequence, exists = sequence + 1, not deletes
        if deletes:
            made.append(Envelope(None, topic.version, sequence, epoch, kind=Kind.TOMBSTONE))
        else:
            made.append(Envelope(draw(values(topic)), topic.version, sequence, epoch))
    return tuple(made)


def envelopes(topic: Topic[T]) -> st.SearchStrategy[Envelope[T | None]]:
    """Single envelopes of a topic, as they are published in process.

    Args:
        topic: what the values are of.
    """
    return histories(topic, max_size=3).map(lambda history: history[-1])


def encoded(topic: Topic[T], envelope: Envelope[T | None]) -> Envelope[EncodedBody | None]:
    """The same envelope as it comes off a bus: with a body where it had a value.

    Args:
        topic: whose gate writes the body.
        envelope: one with a value, or a tombstone.

    Raises:
        InvalidTypeError: the value is not of the type of the topic.
        EncodeError: it cannot be encoded.
    """
    frame = _CODEC.encode_frame(topic.name, _with_body(topic, envelope))
    return _CODEC.decode_frame(topic.name, frame)


@st.composite
def deliveries(
    draw: st.DrawFn, history: Sequence[Envelope[T]], *, lossless: bool = False, ordered: bool = False
) -> tuple[Envelope[T], ...]:
    """What arrives of a history: some of it not at all, some repeatedly, some late. Shrinks to everything once, in order.

    Args:
        draw: given by Hypothesis.
        history: what was published, in order.
        lossless: whether each envelope arrives at least once.
        ordered: whether none overtakes another.
    """
    times = st.integers(1 if lossless else 0, DELIVERIES_MAX)
    counts = [draw(st.one_of(st.just(1), times)) for _ in history]
    arriving = [place for place, count in enumerate(counts) for _ in range(count)]
    if not ordered:
        late = [place + draw(st.one_of(st.just(0), st.integers(0, len(history)))) for place in arriving]
        arriving = [place for _, place in sorted(zip(late, arriving, strict=True))]
    return tuple([history[place] for place in arriving])


def seeds() -> st.SearchStrategy[int]:
    """Seeds of simulations, of runs in virtual time, and of faults. Shrinks to 0."""
    return st.integers(0, SEED_MAX)


def faults(*, rate_max: float = RATE_MAX) -> st.SearchStrategy[Faults]:
    """What a `FaultyTransport` does, with its seed. Shrinks to no fault at all.

    Args:
        rate_max: how often each kind of fault strikes at the most, from 0 to 1.
    """
    return st.builds(Faults, seed=seeds(), **_rates(Faults, rate_max))


def store_faults(*, rate_max: float = RATE_MAX, loses: bool = True) -> st.SearchStrategy[StoreFaults]:
    """What a `FaultyStore` does, with its seed. Shrinks to no fault at all.

    Args:
        rate_max: how often each kind of fault strikes at the most, from 0 to 1.
        loses: whether it may lose its data, go back to older ones, and be claimed by others.
    """
    kinds = {kind: rate for kind, rate in _rates(StoreFaults, rate_max).items() if loses or kind not in _LOSSES}
    return st.builds(StoreFaults, seed=seeds(), **kinds)


def fault_plans(*, rate_max: float = RATE_MAX) -> st.SearchStrategy[FaultPlan]:
    """All that goes wrong in a simulation. Shrinks to nothing that does.

    Args:
        rate_max: how often each kind of fault strikes at the most, from 0 to 1.
    """
    times = {field.name: st.integers(0, TIMES_MAX) for field in attrs.fields(ProcessFaults)}
    store = store_faults(rate_max=rate_max, loses=False)
    return st.builds(FaultPlan, network=faults(rate_max=rate_max), store=store, processes=st.builds(ProcessFaults, **times))


def topologies() -> st.SearchStrategy[Topology]:
    """Who takes part in a simulation. Shrinks to one authority, one reader with one replica, and nothing that is done."""
    few = st.integers(1, 3)
    return st.builds(
        Topology,
        authorities=few,
        disks=st.sampled_from(["shared", "own"]),
        readers=few,
        replicas=few,
        keys=few,
        monolith=st.booleans(),
        conflates=st.booleans(),
        gap=st.sampled_from(["refetch", "apply"]),
        actions=st.integers(0, 40),
        mirrors=st.integers(0, 1),
        pattern=st.booleans(),
    ).map(_as_in_a_monolith)


def _as_in_a_monolith(drawn: Topology) -> Topology:
    """One process has one authority, and parses nothing that it did not encode."""
    return attrs.evolve(drawn, authorities=1, conflates=False, unreadable=None) if drawn.monolith else drawn


def _rates(kind: type[Faults | StoreFaults], rate_max: float) -> dict[str, st.SearchStrategy[float]]:
    """A rate for each kind of fault: often none, so that the others are seen alone."""
    # In hundredths, which are drawn and shrunk faster than any float.
    rate = st.one_of(st.just(0.0), st.integers(1, 100).map(lambda hundredths: hundredths / 100 * rate_max))
    return {field.name: rate for field in attrs.fields(kind) if field.type in (float, "float")}


def _with_body(topic: Topic[T], envelope: Envelope[T | None]) -> Envelope[Any]:
    body = None if envelope.kind is Kind.TOMBSTONE else topic.encode(envelope.value, _CODEC)  # type: ignore[arg-type]
    return attrs.evolve(envelope, body=body)
