"""One trace follows a call from the client through the server, and whatever headers carry it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from guqiao_sdk.channel import open_channel
from services.chassis.grpc_tracing import span_interceptors
from services.chassis.settings import TelemetrySettings
from services.chassis.telemetry import (
    JsonLinesSpanExporter,
    Metrics,
    current_trace_id,
    extract,
    inject,
    open_telemetry,
)
from tests.integration.chassis.kit import World, path, send, serving, signed


def traced_channel(world: World, **options: Any) -> Any:
    interceptors = span_interceptors(world.telemetry.tracer)
    return open_channel(world.target, world.signer(), interceptors=interceptors, **options)


BOTH = frozenset({SpanKind.SERVER, SpanKind.CLIENT})


async def spans_by_kind(
    exporter: InMemorySpanExporter, kinds: frozenset[SpanKind] = BOTH
) -> dict[SpanKind, ReadableSpan]:
    """The finished spans: either end may still close its own when the caller has the answer."""
    async with asyncio.timeout(10):
        while True:
            spans = {span.kind: span for span in exporter.get_finished_spans()}
            if kinds <= spans.keys():
                return spans
            await asyncio.sleep(0.01)


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


async def test_client_and_server_spans_form_one_trace() -> None:
    async with serving() as world, traced_channel(world) as channel:
        with world.telemetry.tracer.start_as_current_span("journey") as journey:
            await channel.unary_unary(path("Echo"))(b"body")
        spans = await spans_by_kind(world.spans)
        server, client = spans[SpanKind.SERVER], spans[SpanKind.CLIENT]
        assert ids(server)[0] == ids(client)[0] == journey.get_span_context().trace_id
        assert server.parent is not None
        assert server.parent.span_id == ids(client)[1]
        assert client.parent is not None
        assert client.parent.span_id == journey.get_span_context().span_id
        assert server.name == path("Echo").removeprefix("/")


@pytest.mark.parametrize(
    ("method", "kind"),
    [("Count", "unary_stream"), ("Gather", "stream_unary"), ("Mirror", "stream_stream")],
)
async def test_streams_are_traced_on_both_sides(method: str, kind: str) -> None:
    async with serving() as world:
        async with traced_channel(world, signed_streams=[path("Mirror")]) as channel:
            request: Any = b"2" if kind == "unary_stream" else iter([b"a", b"b"])
            call = getattr(channel, kind)(path(method))(request)
            if kind == "stream_unary":
                await call
            else:
                assert len([item async for item in call]) == 2
        spans = await spans_by_kind(world.spans)
        assert ids(spans[SpanKind.SERVER])[0] == ids(spans[SpanKind.CLIENT])[0]


async def test_a_failed_call_marks_both_spans_and_keeps_its_rich_status() -> None:
    async with serving() as world, traced_channel(world) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(path("Fail"))(b"x")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        spans = await spans_by_kind(world.spans)
        assert spans[SpanKind.SERVER].status.status_code is StatusCode.ERROR
        assert spans[SpanKind.CLIENT].status.status_code is StatusCode.ERROR
        assert dict(spans[SpanKind.SERVER].attributes or {})["guqiao.code"] == "TRANSACTION_UNKNOWN"
        assert not any(span.events for span in world.spans.get_finished_spans())


async def test_a_good_call_marks_no_span_as_failed() -> None:
    async with serving() as world, traced_channel(world) as channel:
        await channel.unary_unary(path("Echo"))(b"x")
        for span in world.spans.get_finished_spans():
            assert span.status.status_code is not StatusCode.ERROR


@pytest.mark.parametrize(
    "traceparent", ["", "00-zz-zz-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
async def test_a_malformed_traceparent_starts_a_new_trace(traceparent: str) -> None:
    async with serving() as world:
        metadata = (*signed(world, path("Echo"), b"x"), ("traceparent", traceparent))
        await send(world.target, path("Echo"), b"x", metadata)
        spans = await spans_by_kind(world.spans, frozenset({SpanKind.SERVER}))
        assert spans[SpanKind.SERVER].parent is None


def test_headers_carry_the_context_to_where_it_is_extracted() -> None:
    telemetry = open_telemetry(TelemetrySettings(), domain="d", service="s")
    assert inject() == {}
    assert current_trace_id() == ""
    with telemetry.tracer.start_as_current_span("publish"):
        headers, trace_id = inject(), current_trace_id()
    assert set(headers) == {"traceparent"}
    carried = trace.get_current_span(extract(headers)).get_span_context()
    assert trace.format_trace_id(carried.trace_id) == trace_id
    assert carried.is_remote


@given(st.dictionaries(st.sampled_from(["traceparent", "tracestate", "x"]), st.text()))
def test_any_headers_give_a_context(headers: dict[str, str]) -> None:
    assert extract(headers) is not None


def test_spans_of_two_processes_meet_in_one_trace_through_their_files(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = []
    headers: dict[str, str] = {}
    for service in ("registry", "reporting"):
        file = tmp_path / f"{service}.jsonl"
        telemetry = open_telemetry(
            TelemetrySettings(trace_file=file), domain="shandong", service=service
        )
        with telemetry.tracer.start_as_current_span(f"{service}.step", context=extract(headers)):
            headers = inject()
        telemetry.shutdown()
        records += [json.loads(line) for line in file.read_text().splitlines()]
    first, second = records
    assert first["trace_id"] == second["trace_id"]
    assert second["parent_span_id"] == first["span_id"]
    assert (first["service"], second["service"]) == ("registry", "reporting")
    assert first["end_unix_nano"] >= first["start_unix_nano"]


def test_the_span_file_is_bounded(tmp_path: Path) -> None:
    path_ = tmp_path / "spans.jsonl"
    exporter = JsonLinesSpanExporter(path_, bytes_max=500)
    telemetry = open_telemetry(TelemetrySettings(), domain="d", service="s", exporters=[exporter])
    for number in range(50):
        telemetry.tracer.start_span(f"step {number}").end()
    assert path_.stat().st_size < 1_500
    assert (tmp_path / "spans.jsonl.1").stat().st_size < 1_500
    assert "step 49" in path_.read_text() + (tmp_path / "spans.jsonl.1").read_text()


def test_a_disk_that_fails_loses_spans_and_nothing_else(tmp_path: Path) -> None:
    exporter = JsonLinesSpanExporter(tmp_path / "no-such-folder" / "spans.jsonl")
    assert exporter.export([]) is SpanExportResult.FAILURE


def test_nothing_is_sampled_at_ratio_zero() -> None:
    exporter = InMemorySpanExporter()
    settings = TelemetrySettings(sample_ratio=0)
    telemetry = open_telemetry(settings, domain="d", service="s", exporters=[exporter])
    telemetry.tracer.start_span("step").end()
    assert exporter.get_finished_spans() == ()


def test_a_metric_asked_for_twice_is_the_same_metric() -> None:
    metrics = Metrics()
    first = metrics.counter("guqiao_trials_total", "Trials", ("result",))
    second = metrics.counter("guqiao_trials_total", "Trials", ("result",))
    first.labels("ok").inc()
    second.labels("ok").inc()
    assert b'guqiao_trials_total{result="ok"} 2.0' in metrics.render()


def test_a_metric_without_the_prefix_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        Metrics().gauge("height", "Height")
    with pytest.raises(AssertionError):
        Metrics().counter("guqiao_trials", "Trials")
    metrics = Metrics()
    metrics.gauge("guqiao_height", "Height").set(7)
    with pytest.raises(AssertionError):
        metrics.histogram("guqiao_height", "Height")
