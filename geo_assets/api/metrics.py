"""What Prometheus may ask: requests and their seconds, and the ledger's counts and ages by source.

Here: the metrics and their collection. Not here: what is alerted to (`geo_assets.alerts.alerts`, deploy/prometheus).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from geo_assets.errors import GeoAssetsError
from geo_assets.ledger.blobs import Poison, SourceStatus

AREAS = ("stac", "raster", "features", "api", "static")
STATES = ("described", "catalogued", "pending", "waiting", "quarantined", "deleted")


class Known(Protocol):
    """What the ledger knows."""

    def statuses(self) -> Sequence[SourceStatus]:
        """How each source stands."""

    def listed_at(self) -> Mapping[str, datetime | None]:
        """When each source was last listed whole; None where it never was."""

    def poison(self) -> Sequence[Poison]:
        """The messages of queues that were given up and await a person."""


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
            "geo_assets_dead_letters", "Messages of a queue that were given up.", labels=["path", "queue"]
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
