"""Spans and metrics of a `Telemetry` hook: drawn as a tree, and as plain numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from chat2pay_async.opentelemetry import Telemetry

__all__ = ["Traces", "drawn"]

SAID_ELSEWHERE = (
    *("http.request.method", "url.template", "server.address", "server.port"),
    *("chat2pay.operation", "chat2pay.call_id", "chat2pay.queue.duration"),
)
"""Attributes that a drawn tree leaves out."""
SHORT = {
    "http.response.status_code": "status",
    "http.request.resend_count": "resend",
    "error.type": "error",
}


class Traces:
    """Providers in memory, and a hook that uses them."""

    def __init__(self, *, http: bool = True) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader])
        self.hook = Telemetry(tracer_provider=self.tracers, meter_provider=self.meters, http=http)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that ended, in that order."""
        return self._exporter.get_finished_spans()

    def tree(self) -> str:
        """Draw all spans."""
        return drawn(self.spans)

    def metrics(self) -> dict[str, list[Any]]:
        """Return the points of each metric: attributes, and the value, or the count and the sum."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: [
                (
                    dict(point.attributes or {}),
                    (point.count, round(point.sum, 3))
                    if isinstance(point, HistogramDataPoint)
                    else getattr(point, "value", None),
                )
                for point in metric.data.data_points
            ]
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def bounds(self, name: str) -> tuple[float, ...]:
        """Return the bounds of a histogram."""
        data = self._reader.get_metrics_data()
        (found,) = (
            point.explicit_bounds
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
            if metric.name == name and isinstance(point, HistogramDataPoint)
        )
        return tuple(found)

    def counts(self, name: str, *attributes: str) -> dict[Any, Any]:
        """Return a counter by these attributes."""
        return {
            tuple(given.get(one) for one in attributes): value
            for given, value in self.metrics().get(name, [])
        }


def drawn(spans: Sequence[ReadableSpan]) -> str:
    """Draw spans below their parents, in the order in which they began."""
    lines = list(lines_of(spans, None))
    return "\n".join(
        line if count == 1 else f"{line} x{count}"
        for line, same in groupby(lines)
        for count in (len(list(same)),)
    )


def lines_of(spans: Sequence[ReadableSpan], parent: int | None, indent: str = "") -> Iterator[str]:
    known = {span.context.span_id for span in spans}
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        above = None if span.parent is None else span.parent.span_id
        if (above if above in known else None) == parent:
            yield indent + line_of(span)
            yield from lines_of(spans, span.context.span_id, f"{indent}  ")


def line_of(span: ReadableSpan) -> str:
    """Draw a span: name, kind, attributes, an exclamation mark for a failure, and its events."""
    shown = [
        f"{SHORT.get(name, name).removeprefix('chat2pay.')}={value!s}"
        for name, value in (span.attributes or {}).items()
        if name not in SAID_ELSEWHERE
    ]
    failed = ["!"] * (span.status.status_code is StatusCode.ERROR)
    happened = [f"+{event.name.removeprefix('chat2pay.')}" for event in span.events]
    return " ".join([span.name, span.kind.name, *shown, *failed, *happened])
