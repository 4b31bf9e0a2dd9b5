"""B1: a publish in one process, until every replica shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import count
from operator import attrgetter
from time import perf_counter
from typing import Any, Final, TypeAlias

import blinker
import psygnal
import pyee
import reactivex
from reactivex.subject import Subject

from benchmarks.contest import Case, Contestant, Metric, Scenario, Size, Target, check
from benchmarks.orders import ORDERS, Order, orders
from parasync import Envelope, InProcessTransport, synced

Receiver: TypeAlias = Callable[[Any], None]
Publish: TypeAlias = Callable[[Order], object]
Wire: TypeAlias = Callable[[Sequence[Receiver]], AbstractContextManager[Publish]]
"""Connects receivers with what publishes to them."""

DELIVERIES: Final = 20_000
"""How many calls of a receiver one turn makes, about."""
PUBLISHES_MIN: Final = 40
"""How many orders one turn publishes at the least."""
UNTIMED: Final = 5
"""How many orders are published before the clock starts: the set-up of all contestants is behind them then."""
KEY: Final = ORDERS["1"].key
METRIC: Final = Metric("cost", "ns a receiver", "lower")
REPLICAS: Final = "parasync"
LISTENERS: Final = "parasync, a listener each"


@contextmanager
def replicas(count_: int, listeners: Sequence[Receiver] = ()) -> Iterator[tuple[Publish, list[synced[Order]]]]:
    """Replicas of one object on one in-process transport, without an event loop."""
    with InProcessTransport() as bus:
        seed = Envelope(orders(1)[0], ORDERS.version, 1)
        opened = [synced(ORDERS["1"], bus, seed=seed) for _ in range(count_)]
        for replica, listener in zip(opened, listeners, strict=False):
            replica.subscribe(listener)
        sequences, version, send = count(2), ORDERS.version, bus.publish

        def publish(order: Order) -> None:
            send(KEY, Envelope(order, version, next(sequences)))

        try:
            yield publish, opened
        finally:
            for replica in opened:
                replica.close()


@contextmanager
def bare_loop(receivers: Sequence[Receiver]) -> Iterator[Publish]:
    """What nobody can beat: a loop over the receivers."""

    def publish(order: Order) -> None:
        for receiver in receivers:
            receiver(order)

    yield publish


@contextmanager
def blinker_signal(receivers: Sequence[Receiver]) -> Iterator[Publish]:
    """The order is the sender, which is the cheapest way to hand one over."""
    signal = blinker.Signal()
    for receiver in receivers:
        signal.connect(receiver, weak=False)
    yield signal.send


class _Emitter:
    changed = psygnal.Signal(object)


@contextmanager
def psygnal_signal(receivers: Sequence[Receiver]) -> Iterator[Publish]:
    """A signal of an instance."""
    changed = _Emitter().changed
    for receiver in receivers:
        changed.connect(receiver)
    yield changed.emit


@contextmanager
def pyee_emitter(receivers: Sequence[Receiver]) -> Iterator[Publish]:
    """One event of an emitter."""
    emitter = pyee.EventEmitter()
    for receiver in receivers:
        emitter.add_listener("changed", receiver)
    yield lambda order: emitter.emit("changed", order)


@contextmanager
def reactivex_subject(receivers: Sequence[Receiver]) -> Iterator[Publish]:
    """A subject with observers."""
    subject: Subject[Order] = reactivex.Subject()
    for receiver in receivers:
        subject.subscribe(receiver)
    yield subject.on_next


PEERS: Final[dict[str, Wire]] = {
    "bare loop": bare_loop,
    "blinker": blinker_signal,
    "psygnal": psygnal_signal,
    "pyee": pyee_emitter,
    "reactivex": reactivex_subject,
}


def noop() -> Receiver:
    """A receiver that does nothing; a new one each time, since some libraries count equal ones once."""
    return lambda _: None


def _recorder(got: list[Any], of: Callable[[Any], Any] = lambda received: received) -> Receiver:
    return lambda received: got.append(of(received))


def turn_of_peer(wire: Wire, receivers: int, publishes: int) -> dict[str, float]:
    """Each receiver must get every order, in order, before the same set-up with receivers that do nothing is timed."""
    sent = orders(publishes)
    got: list[list[Order]] = [[] for _ in range(receivers)]
    with wire([_recorder(each) for each in got]) as publish:
        for order in sent[:UNTIMED]:
            publish(order)
    check(all(tuple(each) == sent[:UNTIMED] for each in got), "not every receiver got every order")
    with wire([noop() for _ in range(receivers)]) as publish:
        return {METRIC.name: _timed(publish, sent) / receivers}


def turn_of_ours(receivers: int, publishes: int, *, listening: bool) -> dict[str, float]:
    """Each replica must show the last order, and have applied every one."""
    sent = orders(publishes)
    if listening:
        _check_listeners(receivers, sent[:UNTIMED])
    with replicas(receivers, [noop() for _ in range(receivers)] if listening else ()) as (publish, opened):
        cost_ns = _timed(publish, sent)
        check(all(replica.value is sent[-1] for replica in opened), "not every replica shows the last order")
        check(all(replica.stats.applied == len(sent) for replica in opened), "not every order was applied")
    return {METRIC.name: cost_ns / receivers}


def _check_listeners(receivers: int, sent: Sequence[Order]) -> None:
    got: list[list[Order]] = [[] for _ in range(receivers)]
    with replicas(receivers, [_recorder(each, attrgetter("new")) for each in got]) as (publish, _):
        for order in sent:
            publish(order)
    check(all(tuple(each) == tuple(sent) for each in got), "not every listener got every change")


def _timed(publish: Publish, sent: Sequence[Order]) -> float:
    for order in sent[:UNTIMED]:
        publish(order)
    timed = sent[UNTIMED:]
    start = perf_counter()
    for order in timed:
        publish(order)
    return (perf_counter() - start) / len(timed) * 1e9


def _case(receivers: int, size: Size) -> Case:
    publishes = UNTIMED + size.of(max(DELIVERIES // receivers, PUBLISHES_MIN), least=3)
    contestants = [
        Contestant(REPLICAS, lambda: turn_of_ours(receivers, publishes, listening=False), ours=True),
        Contestant(LISTENERS, lambda: turn_of_ours(receivers, publishes, listening=True), ours=True),
    ]
    for name, wire in PEERS.items():
        contestants.append(Contestant(name, partial(turn_of_peer, wire, receivers, publishes)))
    return Case(f"{receivers:,} replica{'s' * (receivers > 1)}", (METRIC,), tuple(contestants), TARGETS.get(receivers, ()))


TARGETS: Final = {
    1: (Target(REPLICAS, "blinker", METRIC.name, 1.2),),
    100: (
        Target(REPLICAS, "bare loop", METRIC.name, 4.0),
        Target(LISTENERS, "bare loop", METRIC.name, 6.0),
        Target(REPLICAS, "blinker", METRIC.name, 0.3),
    ),
}


@contextmanager
def _cases(size: Size) -> Iterator[list[Case]]:
    yield [_case(receivers, size) for receivers in (1, 10, 100, 1_000)]


SCENARIO: Final = Scenario(
    "B1",
    "In process: publish, gate, apply, visible",
    "An envelope is made and published; the gate checks the order deeply; when `publish` returns, every replica shows it."
    " The peers call receivers that do nothing with the order as it is.",
    _cases,
)
