"""Spans of writes, and of the changes that they come to elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Final

import attrs
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from parasync.codec import meta_fits
from parasync.protocol import Version, parse_key
from parasync.runtime._views import Change
from parasync.stores import Draft

_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Traces:
    """Follows versions from their writer to who is told of them."""

    def __init__(self, tracer: trace.Tracer, per_key: bool) -> None:
        self._tracer = tracer
        self._per_key = per_key

    async def write(self, draft: Draft, write: Callable[[Draft], Awaitable[Version]]) -> Version:
        """Write within a span, and let its context travel in `meta`."""
        with self._span("put", draft.key, SpanKind.PRODUCER, None) as span:
            version = await write(attrs.evolve(draft, meta=_with_context(draft.meta)))
            span.set_attribute("parasync.version", str(version))
            return version

    def told(self, key: str, change: Change[Any], listener: Callable[[Change[Any]], None] | None) -> None:
        """Continue the trace of the writer while a listener runs; nothing to continue: nothing but the call."""
        if not _traced(change):
            if listener is not None:
                listener(change)
            return
        with self._span("apply", key, SpanKind.CONSUMER, change) as span:
            span.set_attribute("parasync.version", str(change.version))
            if listener is not None:
                listener(change)

    @contextlib.contextmanager
    def _span(self, name: str, key: str, kind: SpanKind, change: Change[Any] | None) -> Iterator[Span]:
        """A span about an object; what is raised in it is named, but not with its text, which may hold keys."""
        topic = parse_key(key).topic
        about = {"messaging.system": "parasync", "messaging.destination.name": topic, "messaging.operation.name": name}
        if self._per_key:
            about["parasync.key"] = key
        context = None if change is None else _PROPAGATOR.extract(change.meta)
        with self._tracer.start_as_current_span(
            f"{name} {topic}", context, kind, about, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise


@contextlib.contextmanager
def continuing(change: Change[Any]) -> Iterator[None]:
    """Let spans that are begun inside belong to the trace in which this change was written.

    For readers of `changes()`: a listener runs within that trace anyway.

    Args:
        change: as it was received; one without a trace changes nothing.
    """
    if not _traced(change):
        yield
        return
    span = trace.get_current_span(_PROPAGATOR.extract(change.meta))
    with trace.use_span(span, end_on_exit=False, record_exception=False, set_status_on_exception=False):
        yield


def _traced(change: Change[Any]) -> bool:
    return "traceparent" in change.meta and trace.get_current_span(_PROPAGATOR.extract(change.meta)).get_span_context().is_valid


def _with_context(meta: Mapping[str, str]) -> Mapping[str, str]:
    """With the current context, as much of it as fits; what the writer put there himself stays."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    for more in (carrier, {name: text for name, text in carrier.items() if name == "traceparent"}):
        whole = {**more, **meta}
        if more and "traceparent" not in meta and meta_fits(whole):
            return whole
    return meta
