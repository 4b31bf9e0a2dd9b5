"""Metrics and traces through the API of OpenTelemetry (extra `[otel]`); which exporter gets them is up to its SDK.

Metrics are read from the counters that replicas, authorities and transports keep anyway, when a reader collects them: nothing
is done for them in between. Traces follow a version from its writer to those who are told of it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from parasync.errors import UsageError
from parasync.otel._metrics import Survey
from parasync.otel._traces import Traces, continuing
from parasync.runtime import _census, _tracing
from parasync.transports._identity import identity

__all__ = ["Instrumentation", "continuing", "instrument"]

_active: list[Instrumentation] = []


def instrument(
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
    per_key: bool = False,
) -> Instrumentation:
    """Measure and trace all of parasync in this process, until the returned object is closed.

    Metrics cover what exists already; traces begin with authorities, listeners and streams that are made from now on.

    Args:
        meter_provider: who takes the metrics; by default the global one.
        tracer_provider: who takes the spans; by default the global one.
        per_key: tell objects apart, in metrics and spans; else only topics are told apart. Not for many objects.

    Raises:
        UsageError: the process is instrumented already.
    """
    if _active:
        raise UsageError("got a second instrument() in this process, expected one; close() the first")
    meters, tracers = meter_provider or metrics.get_meter_provider(), tracer_provider or trace.get_tracer_provider()
    return Instrumentation(meters, tracers, per_key)


class Instrumentation:
    """What `instrument` has begun; a context manager that ends it."""

    def __init__(self, meters: MeterProvider, tracers: TracerProvider, per_key: bool) -> None:
        version = identity().library
        self._survey = Survey(meters.get_meter("parasync", version), per_key)
        gone = _census.Gone()
        gone.per_key = per_key
        _census.remember(gone)
        _tracing.trace(Traces(tracers.get_tracer("parasync", version), per_key))
        _active.append(self)
        self._survey.offer()

    def close(self) -> None:
        """Measure and trace no more; may be called again."""
        if self in _active:
            _active.remove(self)
            self._survey.over = True
            _census.remember(None)
            _tracing.trace(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
