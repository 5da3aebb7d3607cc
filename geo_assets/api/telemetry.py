"""What operators see of the API: log lines as JSON, OpenTelemetry traces, and the metrics that Prometheus asks for.

Here: formats, the span of a request, the metrics and their collection. Not here: what is logged (queries and headers
never are: they may hold credentials), and what is alerted to (`geo_assets.alerts`, deploy/prometheus).
"""

import logging
import math
import sys
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from geo_assets.errors import GeoAssetsError, InvalidConfiguration
from geo_assets.ledger.blobs import SourceStatus
from geo_assets.ledger.events import StandingPoison

_SHARED: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


def configure_logs() -> None:
    """Have every logger of this process write such lines to standard error."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for quiet in ("httpx", "httpcore", "rasterio", "rio_tiler", "gql", "azure", "titiler", "stac_fastapi.api.errors"):
        logging.getLogger(quiet).setLevel(logging.WARNING)


SERVICE = "geo_assets"
_EXPORT_SECONDS = 3
_NOT_TRACED = "livez,readyz,metrics"
# A query may hold a credential, and what it holds stays for as long as the collector keeps it.
_WITHOUT_QUERY = ("http.url", "http.target", "url.full", "url.query")


def trace_requests(app: FastAPI, collector: str) -> Callable[[], None]:
    """Send a span of each request to the collector's address, by OTLP over HTTP, in the background; what ends it.

    `OTEL_EXPORTER_OTLP_HEADERS` and the like are read as always.
    Raises InvalidConfiguration where the extra `telemetry` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InvalidConfiguration(
            "Traces are asked for, but their packages are not installed.",
            remedy="pip install 'geo_assets[traces]', or unset GEO_ASSETS_API_TRACES.",
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    exporter = OTLPSpanExporter(endpoint=f"{collector.rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    app.add_middleware(
        OpenTelemetryMiddleware,
        tracer_provider=provider,
        excluded_urls=_NOT_TRACED,
        exclude_spans=["receive", "send"],
        server_request_hook=_describe,
    )
    end: Callable[[], None] = provider.shutdown
    return end


def _describe(span: Any, scope: MutableMapping[str, Any]) -> None:
    """Add what the log has, so that either leads to the other, and leave out what it leaves out."""
    span.set_attribute("geo_assets.correlation_id", str(scope.get("state", {}).get("correlation_id", "")))
    for name in _WITHOUT_QUERY:
        if name in (span.attributes or {}):
            span.set_attribute(name, scope["path"])


AREAS = ("stac", "raster", "features", "api", "static")
STATES = ("described", "catalogued", "pending", "waiting", "quarantined", "deleted")


class Known(Protocol):
    """What the ledger knows."""

    def statuses(self) -> Sequence[SourceStatus]:
        """The state of each source."""

    def listed_at(self) -> Mapping[str, datetime | None]:
        """When each source was last listed whole; None where it never was."""

    def poison(self) -> Sequence[StandingPoison]:
        """The dead letters of queues that wait for a person."""


class Metrics:
    """The metrics of one application."""

    def __init__(self, known: Known) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "geo_assets_requests", "Requests that were answered.", ("area", "method", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "geo_assets_request_seconds", "Seconds until an answer was sent.", ("area",), registry=self.registry
        )
        self.registry.register(_LedgerCollector(known))

    def observe(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""
        first = path.lstrip("/").partition("/")[0]
        area = first if first in AREAS else "other"
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
        self._requests.labels(area, known, str(status)).inc()
        self._seconds.labels(area).observe(seconds)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _LedgerCollector(Collector):
    """Asks the ledger when it is asked itself; says nothing of sources while the database does not answer."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering it must not ask the database."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The counts of each source, the age of its backlog, and whether the ledger answers."""
        answers = GaugeMetricFamily("geo_assets_ledger_up", "Whether the ledger answers.")
        try:
            statuses, listed, poison = self._known.statuses(), self._known.listed_at(), self._known.poison()
        except GeoAssetsError:
            answers.add_metric([], 0)
            return [answers]
        answers.add_metric([], 1)
        blobs = GaugeMetricFamily("geo_assets_blobs", "Blobs of a source by state.", labels=["source", "state"])
        size = GaugeMetricFamily("geo_assets_bytes", "Bytes of a source's live blobs.", labels=["source"])
        age = GaugeMetricFamily(
            "geo_assets_backlog_seconds", "How long the pending blob waits that waits longest.", labels=["source"]
        )
        listing = GaugeMetricFamily(
            "geo_assets_listed_seconds",
            "How long ago the source was last listed whole; +Inf: never.",
            labels=["source"],
        )
        letters = GaugeMetricFamily(
            "geo_assets_dead_letters", "Dead letters of a queue that wait for a person.", labels=["path", "queue"]
        )
        now = datetime.now(UTC)
        for status in statuses:
            for state in STATES:
                blobs.add_metric([status.source, state], getattr(status, state))
            size.add_metric([status.source], status.size_bytes)
            waiting = (now - status.pending_since).total_seconds() if status.pending_since else 0
            age.add_metric([status.source], waiting)
        for source, moment in listed.items():
            listing.add_metric([source], (now - moment).total_seconds() if moment else math.inf)
        for each in poison:
            letters.add_metric([each.path, each.queue], each.messages)
        return [answers, blobs, size, age, listing, letters]
