"""Traces of requests at a collector: one span a request, under the caller's trace, and nothing of its query."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.api_server import served, settings_of
from tests.pipeline import Pipeline

TRACE = "0af7651916cd43dd8448eb211c80319c"


@contextmanager
def collecting() -> Iterator[tuple[str, list[bytes]]]:
    """A collector of OTLP over HTTP: its address, and what it was sent."""
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()


def test_a_request_is_a_span_of_the_callers_trace_without_its_query(pipeline: Pipeline) -> None:
    with collecting() as (collector, bodies):
        settings = settings_of(pipeline.database_url, pipeline.sources_path, api_traces=collector)
        with served(settings) as client:
            caller = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            answer = client.get("/stac/search?limit=1&ids=a-secret-of-the-query", headers=caller)
            assert answer.status_code == 200
            assert client.get("/livez").status_code == 200
        requests = [ExportTraceServiceRequest.FromString(body) for body in bodies]
    spans = [
        span
        for each in requests
        for resource in each.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    (span,) = spans
    assert span.trace_id.hex() == TRACE
    attributes = {each.key: each.value.string_value or each.value.int_value for each in span.attributes}
    assert attributes["geo_assets.correlation_id"] == answer.headers["x-correlation-id"]
    assert 200 in attributes.values()
    assert b"a-secret-of-the-query" not in b"".join(bodies)


def test_a_collector_that_is_away_is_nobodys_trouble(pipeline: Pipeline) -> None:
    settings = settings_of(pipeline.database_url, pipeline.sources_path, api_traces="http://127.0.0.1:9")
    with served(settings) as client:
        assert client.get("/stac/").status_code == 200
