"""Traces by OpenTelemetry: a request's span, and within it its wait, the iteration that it shared, and its commit.

Nothing here is made, imported or asked for where no traces are wanted.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import ostinato

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

EXPORT_SECONDS = 5
"""How long a collector may take to answer, and the last spans to leave."""

current_span: ContextVar[Any] = ContextVar("ostinato_span", default=None)
"""The span of the request that is being read, for the work that is made of it; None = it is not traced."""


class TraceParent(NamedTuple):
    """Whose part a request is (W3C Trace Context): 32 and 16 hexadecimal digits, and a byte of flags."""

    trace_id: str
    parent_id: str
    flags: int


class Tracer:
    """Makes spans, and sends those that are sampled to a collector, in a thread of its own.

    ``OTEL_SERVICE_NAME``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_TRACES_SAMPLER``, ``OTEL_EXPORTER_OTLP_HEADERS`` and
    the like are heeded as OpenTelemetry has them.

    Args:
        endpoint: of the collector, by OTLP over HTTP: ``http://collector:4318``.
        exporter: where spans go in its place.
    """

    def __init__(self, endpoint: str, *, exporter: SpanExporter | None = None) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        # What the environment says overrides what is said here.
        named = Resource({"service.name": "ostinato", "service.version": ostinato.__version__})
        self._provider = TracerProvider(resource=named.merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("ostinato", ostinato.__version__)
        self._trace = trace
        self._offset_ns = time.time_ns() - time.perf_counter_ns()

    def begin_request(
        self, name: str, parent: TraceParent | None, arrived_at: float, attributes: dict[str, Any]
    ) -> Span | None:
        """The span of a request, which is part of ``parent``'s trace where there is one; None = it is not sampled.

        Args:
            arrived_at: seconds of ``perf_counter``, as all times here.
        """
        trace = self._trace
        context = None
        if parent is not None:
            ids = int(parent.trace_id, 16), int(parent.parent_id, 16)
            remote = trace.SpanContext(*ids, is_remote=True, trace_flags=trace.TraceFlags(parent.flags))
            context = trace.set_span_in_context(trace.NonRecordingSpan(remote))
        span = self._tracer.start_span(
            name,
            context,
            trace.SpanKind.SERVER,
            attributes,
            start_time=self._ns(arrived_at),
        )
        return span if span.is_recording() else None

    def end_request(self, span: Span, status: int, code: str, ended_at: float) -> None:
        """End a request's span; ``code``: the word of its error, empty = there was none."""
        span.set_attribute("http.response.status_code", status)
        if code:
            span.set_attribute("error.type", code)
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(self._ns(ended_at))

    def iteration(
        self,
        waits: Iterable[tuple[Span, float]],
        began_at: float,
        ended_at: float,
        attributes: dict[str, Any],
    ) -> None:
        """An iteration, as a span within the first request that shared it, with links to all that did and from them.

        Args:
            waits: the requests' spans, and since when their work was in the line; each gets a span of that wait.
        """
        trace = self._trace
        spans = []
        for span, since in waits:
            spans.append(span)
            if since:
                self._child("queue", span, since, began_at)
        run = self._tracer.start_span(
            "iteration",
            trace.set_span_in_context(spans[0]),
            attributes=attributes,
            links=[trace.Link(span.get_span_context()) for span in spans],
            start_time=self._ns(began_at),
        )
        for span in spans[1:]:
            if span.is_recording():  # or its client has gone
                span.add_link(run.get_span_context())
        run.end(self._ns(ended_at))

    def output(self, span: Span, since: float, began_at: float, ended_at: float, attributes: dict[str, Any]) -> None:
        """An output that was generated, as a span within its request, and its wait, ``since`` then.

        It shares an iteration with others at each of its steps, too short and too many to be told.
        """
        self._child("queue", span, since, began_at)
        self._child("decode", span, began_at, ended_at, attributes)

    def commit(self, spans: Iterable[Span], began_at: float, ended_at: float) -> None:
        """The commit of what an iteration finished, within each of its requests."""
        for span in spans:
            self._child("commit", span, began_at, ended_at)

    def close(self) -> None:
        """Send what is left, as far as that goes within ``EXPORT_SECONDS``: a collector that hangs holds no end up."""
        ending = threading.Thread(target=self._provider.shutdown, name="ostinato-traces", daemon=True)
        ending.start()
        ending.join(EXPORT_SECONDS)

    def _child(
        self, name: str, span: Span, began_at: float, ended_at: float, attributes: dict[str, Any] | None = None
    ) -> None:
        context = self._trace.set_span_in_context(span)
        child = self._tracer.start_span(name, context, attributes=attributes, start_time=self._ns(began_at))
        child.end(self._ns(ended_at))

    def _ns(self, seconds: float) -> int:
        return int(seconds * 1e9) + self._offset_ns
