"""Traces and metrics: one set-up a process, W3C trace context in every carrier, metric names with
one prefix.

Spans go to an OTLP collector, to a JSON-lines file for development (so that one trace can be
followed across processes without a collector), or nowhere. Nothing here is global: a `Telemetry`
is opened once and passed on.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from services.chassis.settings import TelemetrySettings

METRIC_PREFIX: Final = "guqiao_"
TRACE_FILE_BYTES_MAX: Final = 64 * 1024 * 1024
LATENCY_BUCKETS_SECONDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip

_PROPAGATOR: Final = TraceContextTextMapPropagator()

M = TypeVar("M", bound=MetricWrapperBase)


def inject(context: Context | None = None) -> dict[str, str]:
    """The current trace context as headers (`traceparent`, `tracestate`); empty outside a span."""
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers, context)
    return headers


def extract(headers: Mapping[str, str]) -> Context:
    """The trace context that gRPC metadata, bus headers or an envelope carry; malformed ones count
    as none.
    """
    carrier = {
        name: value
        for name, value in headers.items()
        if name in _PROPAGATOR.fields and isinstance(value, str)
    }
    return _PROPAGATOR.extract(carrier, Context())


def current_trace_id() -> str:
    """The trace id of the current span in hex, or "" outside one."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


class Metrics:
    """The process's metrics. Every name starts with `guqiao_`; asking twice for one name gives the
    same metric.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._by_name: dict[str, MetricWrapperBase] = {}

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A count that only grows; the name ends in `_total`."""
        assert name.endswith("_total"), "a counter's name ends in _total"
        return self._once(Counter, name, text, labels)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """A value that goes up and down."""
        return self._once(Gauge, name, text, labels)

    def histogram(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = LATENCY_BUCKETS_SECONDS,
    ) -> Histogram:
        """A distribution; durations are in seconds and say so in the name."""
        return self._once(Histogram, name, text, labels, buckets=tuple(buckets))

    def render(self) -> bytes:
        """All metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def _once(
        self, kind: type[M], name: str, text: str, labels: Sequence[str], **options: Any
    ) -> M:
        assert name.startswith(METRIC_PREFIX), f"metric names start with {METRIC_PREFIX}"
        metric = self._by_name.get(name)
        if metric is None:
            metric = kind(name, text, tuple(labels), registry=self.registry, **options)
            self._by_name[name] = metric
        assert isinstance(metric, kind), f"{name} is used as two kinds of metric"
        return metric


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a process measures with."""

    tracer: trace.Tracer
    metrics: Metrics
    provider: TracerProvider

    def shutdown(self) -> None:
        """Send what is buffered and stop. Blocks for at most some seconds."""
        self.provider.shutdown()


def open_telemetry(
    settings: TelemetrySettings,
    *,
    domain: str,
    service: str,
    exporters: Sequence[SpanExporter] = (),
) -> Telemetry:
    """Set up traces and metrics for one process. `exporters` are further ones, such as a test's
    in-memory exporter.
    """
    provider = TracerProvider(
        resource=Resource.create({"service.name": service, "service.namespace": domain}),
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        shutdown_on_exit=False,
    )
    if settings.otlp_endpoint is not None:
        # Loaded only where it is used: it brings gRPC and protobuf along.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        insecure = settings.otlp_endpoint.startswith("http://")
        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=insecure)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    if settings.trace_file is not None:
        provider.add_span_processor(
            BatchSpanProcessor(
                JsonLinesSpanExporter(settings.trace_file), schedule_delay_millis=500
            )
        )
    for extra in exporters:
        provider.add_span_processor(SimpleSpanProcessor(extra))
    return Telemetry(provider.get_tracer("guqiao"), Metrics(), provider)


class JsonLinesSpanExporter(SpanExporter):
    """Writes one span a line. At `TRACE_FILE_BYTES_MAX` the file becomes `<name>.1` and a new one
    begins.
    """

    def __init__(self, path: Path, bytes_max: int = TRACE_FILE_BYTES_MAX) -> None:
        self._path = path
        self._bytes_max = bytes_max
        self._lock = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Append the spans; a full or missing disk loses spans, never a call."""
        text = "".join(json.dumps(_span_record(span), ensure_ascii=False) + "\n" for span in spans)
        try:
            with self._lock:
                if self._path.exists() and self._path.stat().st_size >= self._bytes_max:
                    self._path.replace(self._path.with_name(f"{self._path.name}.1"))
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(text)
        except OSError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS


def _span_record(span: ReadableSpan) -> dict[str, object]:
    context = span.get_span_context()
    assert context is not None, "an ended span has its context"
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
        "parent_span_id": trace.format_span_id(span.parent.span_id) if span.parent else None,
        "name": span.name,
        "kind": span.kind.name,
        "service": span.resource.attributes.get("service.name"),
        "domain": span.resource.attributes.get("service.namespace"),
        "start_unix_nano": span.start_time,
        "end_unix_nano": span.end_time,
        "status": span.status.status_code.name,
        "attributes": dict(span.attributes or {}),
        "links": [trace.format_trace_id(link.context.trace_id) for link in span.links],
    }
