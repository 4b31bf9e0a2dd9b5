"""Metrics and traces, with the real SDK of OpenTelemetry."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, get_current_span

from parasync import InProcessTransport, Status, Topic, authority, mirror, synced
from parasync.codec import META_ENTRIES_MAX
from parasync.errors import ConflictError, ParseError, UsageError
from parasync.otel import continuing, instrument
from parasync.protocol import Envelope
from parasync.transports._nats_process import NatsServer
from parasync.transports.nats import NatsTransport

USERS = Topic("measured", int, version="1.0")
NAMES = Topic("measured", str, version="1.0")
"""What a program of another opinion takes the same objects for."""
DEADLINE_S = 30.0


class Sink:
    """Where spans and metrics go."""

    def __init__(self, *, per_key: bool = False) -> None:
        self.reader = InMemoryMetricReader()
        self.exporter = InMemorySpanExporter()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = tracers.get_tracer("test")
        self.instrumentation = instrument(
            meter_provider=MeterProvider([self.reader]), tracer_provider=tracers, per_key=per_key
        )

    def metric(self, name: str) -> dict[tuple[str, ...], float]:
        """The amounts of a metric by the values of its attributes."""
        data = self.reader.get_metrics_data()
        return {
            tuple(str(value) for value in point.attributes.values()): point.value
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
            # What another test left to the garbage collector is still there.
            if point.attributes.get("parasync.topic", "measured") == "measured"
        }

    def spans(self, name: str) -> list[Any]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    with sink.instrumentation:
        yield sink


async def test_metrics_are_the_statistics(sink: Sink) -> None:
    async with InProcessTransport() as bus, authority(USERS, bus) as owner:
        seed = Envelope("Ada", "1.0", 1)
        async with synced(USERS["1"], bus) as one, synced(NAMES["2"], bus, seed=seed) as two:
            await owner.put("1", 1)
            await owner.put("2", 2)
            await one.fresh(timeout_s=DEADLINE_S)
            with pytest.raises(ParseError):
                await two.fresh(timeout_s=DEADLINE_S)
            for name in attrs.asdict(one.stats):
                total = getattr(one.stats, name) + getattr(two.stats, name)
                assert sink.metric(f"parasync.replica.{name}") == {("measured",): total}, name
            assert two.stats.parse_errors > 0
            assert (one.status, two.status) == (Status.OK, Status.SKEW)
            assert sink.metric("parasync.replica.count") == {("measured", "ok"): 1, ("measured", "skew"): 1}
            assert sink.metric("parasync.replica.refused") == {("measured", "1.0", "ParseError"): 1}
            assert sink.metric("parasync.authority.count") == {("measured", "serving"): 1}
            assert sink.metric("parasync.replica.age")["measured",] >= 0
            applied = one.stats.applied + two.stats.applied
        assert sink.metric("parasync.replica.applied") == {("measured",): applied}, "what is gone still counts"
        assert sink.metric("parasync.replica.count") == {}
    assert sink.metric("parasync.authority.count") == {}


@pytest.mark.parametrize("per_key", [False, True])
async def test_a_mirror_is_measured_like_a_replica(per_key: bool) -> None:
    """All of its objects together, also where objects are told apart."""
    sink = Sink(per_key=per_key)
    async with InProcessTransport() as bus, authority(NAMES, bus) as owner:
        with sink.instrumentation:
            await owner.put("0", "Ada")
            async with mirror(USERS, bus) as users, mirror(NAMES, bus) as names:
                users.subscribe(lambda _: None)
                await users.ready(DEADLINE_S)
                await names.ready(DEADLINE_S)
                await owner.put("1", "Grace")
                assert (users.status, names.status) == (Status.SKEW, Status.OK)
                for name in attrs.asdict(users.stats):
                    total = getattr(users.stats, name) + getattr(names.stats, name)
                    assert sink.metric(f"parasync.replica.{name}") == {("measured",): total}, name
                assert (users.stats.parse_errors, names.stats.applied) == (2, 2)
                assert sink.metric("parasync.replica.count") == {("measured", "ok"): 1, ("measured", "skew"): 1}
                assert sink.metric("parasync.replica.refused") == {("measured", "1.0", "ParseError"): 2}
                await owner.delete("0")
                assert sink.metric("parasync.replica.refused") == {("measured", "1.0", "ParseError"): 1}
                applied = users.stats.applied + names.stats.applied
            assert sink.metric("parasync.replica.applied") == {("measured",): applied}, "what is gone still counts"
            assert sink.metric("parasync.replica.count") == {}


async def test_objects_are_told_apart_if_wanted() -> None:
    sink = Sink(per_key=True)
    with sink.instrumentation:
        async with InProcessTransport() as bus, authority(USERS, bus) as owner:
            async with synced(USERS["1"], bus), synced(USERS["2"], bus):
                await owner.put("2", 2)
                assert sink.metric("parasync.replica.applied") == {("measured", "measured:1"): 0, ("measured", "measured:2"): 1}
                assert sink.metric("parasync.authority.count") == {("measured", "serving"): 1}
            assert sink.metric("parasync.replica.applied") == {("measured", "measured:1"): 0, ("measured", "measured:2"): 1}
        assert sink.spans("put measured")[0].attributes["parasync.key"] == "measured:2"


@pytest.mark.nats
async def test_a_trace_goes_from_the_writer_to_the_replica_over_nats(sink: Sink) -> None:
    with NatsServer() as server:
        buses = NatsTransport(server.url), NatsTransport(server.url)
        async with asyncio.timeout(DEADLINE_S), buses[0] as near, buses[1] as far, authority(USERS, near) as owner:
            replica = synced(USERS["1"], far)
            await traced(sink, owner, replica)
            assert sink.metric("parasync.transport.dropped") == {(): 0}
            server.restart()
            await replica.fresh()
            assert sink.metric("parasync.transport.reconnects") == {(): near.stats.reconnects + far.stats.reconnects}
            assert far.stats.reconnects
            await replica.aclose()


async def test_a_trace_goes_from_the_writer_to_the_replica_in_process(sink: Sink) -> None:
    async with InProcessTransport() as bus, authority(USERS, bus) as owner, synced(USERS["1"], bus) as replica:
        await traced(sink, owner, replica)


async def test_a_trace_goes_from_the_writer_to_the_mirror(sink: Sink) -> None:
    async with InProcessTransport() as bus, authority(USERS, bus) as owner, mirror(USERS, bus) as users:
        await users.ready(DEADLINE_S)
        await traced(sink, owner, users)


async def traced(sink: Sink, owner: authority[int], replica: synced[int] | mirror[int]) -> None:
    """Write within a trace; listeners and streams belong to it."""
    inside: list[int] = []
    replica.subscribe(lambda change: inside.append(get_current_span().get_span_context().trace_id))
    async with replica.changes() as changes:
        with sink.tracer.start_as_current_span("request") as request:
            version = await owner.put("1", 7, meta={"origin": "here"})
        change = await anext(changes)
        with continuing(change):
            continued = get_current_span().get_span_context().trace_id
    trace_id = request.get_span_context().trace_id
    assert inside == [trace_id]
    assert continued == trace_id
    assert change.meta["origin"] == "here"
    assert f"{trace_id:032x}" in change.meta["traceparent"]
    [put] = sink.spans("put measured")
    applied = sink.spans("apply measured")
    assert len(applied) == 2, "of the listener and of the stream"
    assert {span.context.trace_id for span in (put, *applied)} == {trace_id}
    assert put.parent.span_id == request.get_span_context().span_id
    assert {span.parent.span_id for span in applied} == {put.context.span_id}
    assert (put.kind, applied[0].kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert put.attributes["messaging.destination.name"] == "measured"
    assert put.attributes["parasync.version"] == str(version) == applied[0].attributes["parasync.version"]
    assert "parasync.key" not in put.attributes


async def test_meta_of_the_writer_stays_whole(sink: Sink) -> None:
    full = {f"name{number}": "x" for number in range(META_ENTRIES_MAX)}
    async with InProcessTransport() as bus, authority(USERS, bus) as owner, synced(USERS["1"], bus) as replica:
        changes = replica.changes()
        for meta in (full, {"traceparent": "mine"}):
            await owner.put("1", 1, meta=meta)
            change = await anext(changes)
            assert dict(change.meta) == meta
            with continuing(change):
                assert not get_current_span().get_span_context().is_valid
    assert sink.spans("apply measured") == [], "there is no trace to continue"


async def test_deletions_and_failures_are_traced(sink: Sink) -> None:
    async with InProcessTransport() as bus, authority(USERS, bus) as owner, synced(USERS["1"], bus) as replica:
        version = await owner.put("1", 1)

        def listener(change: Any) -> None:
            raise ValueError(change.new)

        replica.subscribe(listener)
        await owner.delete("1")
        with pytest.raises(ConflictError):
            await owner.put("1", 2, expected=version)
    failed = sink.spans("put measured")[-1]
    assert failed.attributes["error.type"] == "ConflictError"
    assert failed.events == ()
    assert {span.attributes["error.type"] for span in sink.spans("apply measured")} == {"ValueError"}
    assert replica.stats.handler_errors == 1


async def test_one_process_is_instrumented_once_and_can_be_again(sink: Sink) -> None:
    with pytest.raises(UsageError, match="second instrument"):
        instrument()
    async with InProcessTransport() as bus, authority(USERS, bus) as owner, synced(USERS["1"], bus) as replica:
        heard: list[int | None] = []
        replica.subscribe(lambda change: heard.append(change.new))
        async with replica.changes() as changes:
            sink.instrumentation.close()
            sink.instrumentation.close()
            await owner.put("1", 1)
            assert (await anext(changes)).new == 1
        assert heard == [1]
    assert sink.spans("put measured") == []
    assert sink.metric("parasync.replica.applied") == {}
    with Sink().instrumentation:
        pass
