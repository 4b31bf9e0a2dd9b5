"""What a reader of metrics collects: one look at everything that serves and listens in the process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from parasync.protocol import AuthorityStatus, ReplicaStatus
from parasync.runtime import _census
from parasync.runtime._tally import COUNTERS

Attributes: TypeAlias = dict[str, str]
Observed: TypeAlias = Iterator[tuple[float, Attributes]]

_TRANSPORT_COUNTERS: Final = ("reconnects", "malformed", "conflated", "dropped")
_UNITS: Final = {"applied": "version", "ignored_stale": "envelope", "gaps": "gap", "refetches": "request"}


class Survey:
    """One look at everything for all metrics that are collected at a time.

    Args:
        meter: what makes the metrics.
        per_key: whether objects are told apart.
    """

    def __init__(self, meter: Meter, per_key: bool) -> None:
        self.over = False
        self._per_key = per_key
        self._meter = meter
        self._served: set[object] = set()
        self._rows: list[_census.Row] = []
        self._carried: Counter[str] = Counter()
        self._seen: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def offer(self) -> None:
        """Make the metrics."""
        for name in COUNTERS:
            self._counter(f"parasync.replica.{name}", f"{{{_UNITS.get(name, 'event')}}}", self._counted(name))
        for name in _TRANSPORT_COUNTERS:
            self._counter(f"parasync.transport.{name}", "{event}", self._carried_by(name))
        up_down = self._meter.create_observable_up_down_counter
        up_down("parasync.replica.count", [self._asked(_counts)], "{replica}", "Replicas by status.")
        up_down("parasync.authority.count", [self._asked(_authorities)], "{authority}", "Authorities by what they do.")
        gauge = self._meter.create_observable_gauge
        gauge("parasync.replica.age", [self._asked(_ages)], "s", "Since when the oldest replica is not surely current.")
        gauge("parasync.replica.refused", [self._asked(_refused)], "{object}", "Objects whose newest version is refused here.")
        gauge("parasync.authority.refused", [self._asked(_reported)], "{object}", "Objects that replicas elsewhere refuse.")
        gauge("parasync.authority.uptime", [self._asked(_uptimes)], "s", "How long an authority serves.")

    def _counter(self, name: str, unit: str, callback: Callable[[CallbackOptions], Iterable[Observation]]) -> None:
        self._meter.create_observable_counter(name, [callback], unit, f"`{name.rpartition('.')[2]}` of the statistics.")

    def _asked(self, read: Callable[[list[_census.Row]], Observed]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """What a metric observes."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [] if self.over else [Observation(amount, about) for amount, about in read(self._look(read))]

        return observe

    def _counted(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """A counter of replicas, those included that are no more."""

        def read(rows: list[_census.Row]) -> Observed:
            totals: Counter[_census.Place] = Counter()
            for row in rows:
                if isinstance(row, ReplicaStatus):
                    totals[row.topic, row.keys[0] if self._per_key and row.keys else ""] += row.counters.get(name, 0)
            for place, counters in (_census.gone.counted() if _census.gone is not None else {}).items():
                totals[place] += counters[name]
            for (topic, key), total in totals.items():
                yield total, _about(topic) | ({"parasync.key": key} if key else {})

        return self._asked(read)

    def _carried_by(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """A counter of all transports."""

        def read(_: list[_census.Row]) -> Observed:
            yield self._carried[name], {}

        return self._asked(read)

    def _look(self, who: object) -> list[_census.Row]:
        # Whoever asks a second time collects anew.
        if not self._served or who in self._served:
            self._served.clear()
            listed = _census.listed()
            found = (entry.by_key() if self._per_key else entry.statuses() for entry, _ in listed)
            self._rows = [row for rows in found for row in rows if row is not None]
            if self._per_key:
                self._rows += [row for entry, _ in listed for row in entry.statuses() if isinstance(row, AuthorityStatus)]
            for transport in {id(transport): transport for _, transport in listed}.values():
                self._add(transport)
        self._served.add(who)
        return self._rows

    def _add(self, transport: Any) -> None:
        stats = getattr(transport, "stats", None)
        if stats is not None:
            try:
                before = self._seen.get(transport)
                self._seen[transport] = stats
            except TypeError:  # what cannot be known again cannot be summed up
                return
            for name in _TRANSPORT_COUNTERS:
                self._carried[name] += getattr(stats, name, 0) - getattr(before, name, 0)


def _about(topic: str) -> Attributes:
    return {"parasync.topic": topic}


def _counts(rows: list[_census.Row]) -> Observed:
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for status, count in row.statuses.items() if isinstance(row, ReplicaStatus) else ():
            counts[row.topic, status] += count
    for (topic, status), count in counts.items():
        yield count, _about(topic) | {"parasync.replica.status": status}


def _authorities(rows: list[_census.Row]) -> Observed:
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if isinstance(row, AuthorityStatus):
            counts[row.topic, "fenced" if not row.serving else "loading" if row.loading else "serving"] += 1
    for (topic, state), count in counts.items():
        yield count, _about(topic) | {"parasync.authority.state": state}


def _ages(rows: list[_census.Row]) -> Observed:
    ages: dict[str, float] = {}
    for row in rows:
        if isinstance(row, ReplicaStatus) and row.age_s is not None:
            ages[row.topic] = max(row.age_s, ages.get(row.topic, 0.0))
    for topic, age_s in ages.items():
        yield age_s, _about(topic)


def _uptimes(rows: list[_census.Row]) -> Observed:
    for row in rows:
        if isinstance(row, AuthorityStatus) and row.serving:
            yield row.uptime_s, _about(row.topic)


def _refused(rows: list[_census.Row]) -> Observed:
    every = [(row.topic, each) for row in rows if isinstance(row, ReplicaStatus) for each in row.refusals]
    return _refusals(Counter(), [(topic, each.schema_version, each.error, each.keys) for topic, each in every])


def _reported(rows: list[_census.Row]) -> Observed:
    every = [(row.topic, each) for row in rows if isinstance(row, AuthorityStatus) for each in row.reports]
    return _refusals(Counter(), [(topic, each.schema_version, each.error, each.keys) for topic, each in every])


def _refusals(totals: Counter[tuple[str, str, str]], every: list[tuple[str, str, str, int]]) -> Observed:
    for topic, schema, error, keys in every:
        totals[topic, schema, error] += keys
    for (topic, schema, error), keys in totals.items():
        yield keys, _about(topic) | {"parasync.schema_version": schema, "error.type": error}
