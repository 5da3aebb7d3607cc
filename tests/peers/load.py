"""A burst of blobs through one path of the loop that `make up EVENTS=1` runs, and how long each took to be searchable.

`python -m tests.peers.load --path storage_queue --events 1000`. The blobs are copies of one small raster. All are there
before the first event is sent, so that their upload is no part of what is measured; where the path is the listing, it
is, for nothing tells of them. Not here: the loop (`local_loop`), the events (`event_grid`).
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import psycopg
from azure.servicebus import ServiceBusClient
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from psycopg.rows import dict_row

from geo_assets.settings import Settings
from tests.peers.blob_events import BlobChange, make_event
from tests.peers.event_grid import ServiceBusSubscriber, StorageQueueSubscriber, Subscriber
from tests.peers.local_loop import LISTED, LOAD, QUEUE, LoopPlaces
from tests.rasters import raster_bytes

PATHS = ("storage_queue", "service_bus", "listing")
LOOK_SECONDS = 0.5
_SENT_AT_ONCE = 500

_PROGRESS = """
SELECT count(*) AS seen, count(searchable_at) AS searchable, max(searchable_at) AS last_at,
    count(*) FILTER (WHERE permanent) AS refused
FROM ledger.blob WHERE source = %(source)s AND starts_with(name, %(prefix)s)
"""
_LATENCIES = """
SELECT observed_by, count(*) AS blobs,
    percentile_cont(ARRAY[0.5, 0.95, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM searchable_at - event_time)) AS ranks
FROM ledger.blob
WHERE source = %(source)s AND starts_with(name, %(prefix)s) AND searchable_at IS NOT NULL
GROUP BY observed_by ORDER BY blobs DESC
"""
_RECEIVED = """
SELECT path, count(*) AS batches, sum(messages) AS messages, sum(redelivered) AS redelivered, sum(poisoned) AS poisoned,
    max(extract(epoch FROM settled_at - received_at)) AS longest_batch_s
FROM ledger.received_batch WHERE received_at >= %(since)s GROUP BY path ORDER BY path
"""
_ITEMS = "SELECT count(*) AS items FROM pgstac.items WHERE collection = %(source)s AND starts_with(id, %(items)s)"


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from the event to searchable, of the blobs that one path saw first."""

    observed_by: str
    blobs: int
    p50_s: float
    p95_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What one burst came to; ``seconds`` from its first event (or upload) to its last searchable item."""

    path: str
    events: int
    upload_s: float
    send_s: float
    seconds: float
    throughput: float
    searchable: int
    items: int
    refused: int
    latencies: tuple[Latency, ...]
    received: tuple[dict[str, Any], ...]


def run_load(places: LoopPlaces, *, path: str, events: int, give_up_seconds: float) -> LoadReport:
    """Send the burst through the loop, and wait until each blob is searchable or refused, or the time is over."""
    variables = places.read_environment()
    started = datetime.now(UTC)
    stem = f"{path}-{started:%Y%m%dT%H%M%S}"
    names = [f"{stem}/{number:06d}.tif" for number in range(events)]
    source = LISTED if path == "listing" else LOAD
    uploaded = _upload(names, source, variables["AZURE_STORAGE_CONNECTION_STRING"])
    all_there = datetime.now(UTC)
    if path != "listing":
        _send(uploaded, path, variables)
    all_sent = datetime.now(UTC)
    first_event = started if path == "listing" else all_there
    with psycopg.connect(variables["GEO_ASSETS_DATABASE_URL"], autocommit=True, row_factory=dict_row) as connection:
        values = {"source": source, "prefix": f"{stem}/", "items": f"{stem}--", "since": started}
        progress = _wait(connection, values, events, give_up_seconds)
        seconds = ((progress["last_at"] or datetime.now(UTC)) - first_event).total_seconds()
        latencies = connection.execute(_LATENCIES, values).fetchall()
        return LoadReport(
            path=path,
            events=events,
            upload_s=(all_there - started).total_seconds(),
            send_s=(all_sent - all_there).total_seconds(),
            seconds=seconds,
            throughput=progress["searchable"] / seconds,
            searchable=progress["searchable"],
            items=connection.execute(_ITEMS, values).fetchall()[0]["items"],
            refused=progress["refused"],
            latencies=tuple(Latency(row["observed_by"], row["blobs"], *row["ranks"]) for row in latencies),
            received=tuple(connection.execute(_RECEIVED, values).fetchall()),
        )


def _upload(names: Sequence[str], container_name: str, connection_string: str) -> list[BlobChange]:
    """Upload every blob; the changes to tell of, with the etags they got."""
    content = raster_bytes()
    with (
        ContainerClient.from_connection_string(connection_string, container_name) as container,
        ThreadPoolExecutor(max_workers=8) as pool,
    ):

        def upload(name: str) -> BlobChange:
            answer = container.get_blob_client(name).upload_blob(content)
            return BlobChange("created", name, str(answer["etag"]).strip('"'), len(content))

        return list(pool.map(upload, names))


def _send(uploaded: Sequence[BlobChange], path: str, variables: dict[str, str]) -> None:
    """Tell of every blob, as if it came at the moment its event is sent."""
    account_url = _account_url(variables)
    left = iter(uploaded)
    with _subscriber(path, variables) as subscriber:
        while some := list(islice(left, _SENT_AT_ONCE)):
            changes = [replace(change, at=datetime.now(UTC)) for change in some]
            subscriber.send([make_event(change, container=LOAD, account_url=account_url) for change in changes])


@contextmanager
def _subscriber(path: str, variables: dict[str, str]) -> Iterator[Subscriber]:
    if path == "storage_queue":
        with QueueClient.from_connection_string(variables["AZURE_STORAGE_CONNECTION_STRING"], QUEUE) as queue:
            yield StorageQueueSubscriber(queue)
    else:
        with (
            ServiceBusClient.from_connection_string(variables["AZURE_SERVICEBUS_CONNECTION_STRING"]) as service_bus,
            service_bus.get_queue_sender(QUEUE) as sender,
        ):
            yield ServiceBusSubscriber(sender)


def _account_url(variables: dict[str, str]) -> str:
    with ContainerClient.from_connection_string(variables["AZURE_STORAGE_CONNECTION_STRING"], LOAD) as container:
        return str(container.url).rsplit("/", 1)[0]


def _wait(
    connection: psycopg.Connection[dict[str, Any]], values: dict[str, Any], events: int, give_up_seconds: float
) -> dict[str, Any]:
    deadline = time.monotonic() + give_up_seconds
    shown = 0.0
    while True:
        progress = connection.execute(_PROGRESS, values).fetchall()[0]
        if progress["searchable"] + progress["refused"] >= events or time.monotonic() > deadline:
            return progress
        if time.monotonic() > shown + 5:
            shown = time.monotonic()
            print(f"{progress['seen']:,} seen, {progress['searchable']:,} searchable", file=sys.stderr)  # noqa: T201
        time.sleep(LOOK_SECONDS)


def _text(report: LoadReport) -> str:
    lines = [
        f"{report.path}: {report.searchable:,} of {report.events:,} searchable after {report.seconds:.1f} s "
        f"({report.throughput:.0f}/s), {report.items:,} items, {report.refused:,} refused",
        f"uploaded in {report.upload_s:.1f} s, events sent in {report.send_s:.1f} s",
        *(
            f"seen first by {each.observed_by}: {each.blobs:,} blobs, from event to searchable "
            f"p50 {each.p50_s:.1f} s, p95 {each.p95_s:.1f} s, max {each.max_s:.1f} s"
            for each in report.latencies
        ),
        *(
            f"received from {each['path']}: {each['messages']:,} messages in {each['batches']:,} batches, "
            f"{each['redelivered']:,} redelivered, {each['poisoned']:,} given up, "
            f"the longest batch {each['longest_batch_s']:.1f} s"
            for each in report.received
        ),
    ]
    return "\n".join(lines)


def main() -> int:
    """Run one burst and print what came of it; 0 where every blob became searchable."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers.load", description=__doc__.splitlines()[0])
    parser.add_argument("--path", choices=PATHS, required=True)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--give-up", type=float, default=1800, metavar="SECONDS")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")
    options = parser.parse_args()
    places = LoopPlaces(Settings().state_folder)
    report = run_load(places, path=options.path, events=options.events, give_up_seconds=options.give_up)
    print(json.dumps(asdict(report), default=float) if options.json else _text(report))  # noqa: T201
    return 0 if report.searchable == report.items == report.events else 1


if __name__ == "__main__":
    sys.exit(main())
