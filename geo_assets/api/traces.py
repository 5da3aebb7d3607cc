"""OpenTelemetry traces of requests, where a collector is named: one span a request, under the caller's trace.

Here: the span and where it goes. Not here: log lines and metrics, which are always there.
"""

from collections.abc import Callable, MutableMapping
from typing import Any

from fastapi import FastAPI

from geo_assets.errors import InvalidConfiguration

SERVICE = "geo_assets"
_EXPORT_SECONDS = 3
_NOT_TRACED = "livez,readyz,metrics"
# A query may hold a credential, and what it holds stays for as long as the collector keeps it.
_WITHOUT_QUERY = ("http.url", "http.target", "url.full", "url.query")


def trace_requests(app: FastAPI, collector: str) -> Callable[[], None]:
    """Send a span of each request to the collector's address, by OTLP over HTTP, in the background; what ends it.

    `OTEL_EXPORTER_OTLP_HEADERS` and the like are read as always.
    Raises InvalidConfiguration where the extra `traces` is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InvalidConfiguration(
            "traces are asked for, but their packages are not installed.",
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
