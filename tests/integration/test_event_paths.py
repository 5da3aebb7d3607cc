"""The comparison of the paths, on a ledger whose figures are known."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from dagster import TableMetadataValue

from geo_assets.cli.source_commands import paths_command
from geo_assets.ledger.history import PathFigures
from tests.pipeline import Pipeline
from tests.rasters import write_raster

BLOBS = """
INSERT INTO ledger.blob (
    source, name, etag, size_bytes, last_modified, etag_seen_at, observed_by, event_time, searchable_at, deleted_at
)
SELECT
    'rasters', path || n, 'e', 1, now(), now() - age, path, now() - interval '100 s',
    CASE WHEN n > 0 THEN now() - interval '100 s' + n * step END, gone
FROM (VALUES
    ('storage_queue', interval '1 h', interval '1 s', NULL),
    ('service_bus', interval '1 h', interval '0.5 s', NULL),
    ('listing', interval '2 days', interval '1 s', NULL::timestamptz)
) AS paths (path, age, step, gone)
CROSS JOIN generate_series(0, 100) AS n
"""
BATCHES = """
INSERT INTO ledger.received_batch (
    path, queue, received_at, settled_at, messages, events, new, changed, deleted, unchanged, dropped,
    redelivered, abandoned, poisoned
)
SELECT 'storage_queue', 'q', now() - age, now() - age + interval '2 s', 100, 101, 50, 0, 0, 50,
    '{"wrong_account": 1, "sidecar": 2}', 3, 4, 5
FROM unnest(ARRAY[interval '1 h', interval '2 h', interval '3 days']) AS age
"""


@pytest.fixture
def known(pipeline: Pipeline) -> Pipeline:
    """Two queues that brought blobs an hour ago, and a listing of two days ago."""
    pipeline.declare("file:///nowhere")
    pipeline.database.sources.register(next(iter(pipeline.resources()["sources_file"].all().values())))
    pipeline.execute(BLOBS)
    pipeline.execute(BATCHES)
    return pipeline


def test_each_path_has_the_figures_of_its_time(known: Pipeline) -> None:
    comparison = known.database.path_comparison
    listing, queue, bus = comparison.compare(since=datetime.now(UTC) - timedelta(hours=24))
    assert (listing.path, listing.blobs, listing.latencies) == ("listing", 0, ())
    assert (queue.batches, queue.messages, queue.dropped) == (2, 200, 6)
    assert (queue.redelivered, queue.abandoned, queue.poisoned) == (6, 8, 10)
    assert queue.seconds_a_thousand == pytest.approx(20, rel=1e-3)
    assert queue.messages_a_second == pytest.approx(50, rel=1e-3)
    assert (queue.blobs, queue.searchable) == (101, 100)
    assert queue.latency(0.5) == pytest.approx(50.5, abs=0.01)
    assert queue.latency(0.95) == pytest.approx(95.05, abs=0.01)
    assert bus.latency(1.0) == pytest.approx(50, abs=0.01)
    assert (bus.messages, bus.seconds_a_thousand) == (0, None)
    (listing, *_) = comparison.compare(since=datetime.now(UTC) - timedelta(days=7))
    assert (listing.path, listing.blobs, listing.searchable) == ("listing", 101, 100)


def test_only_what_came_after_a_complete_listing_has_a_latency_by_listing(pipeline: Pipeline, tmp_path: Path) -> None:
    def old(name: str) -> None:
        path = write_raster(tmp_path / "archive" / name)
        os.utime(path, (at := time.time() - 20 * 86400, at))

    def listing() -> PathFigures:
        comparison = pipeline.database.path_comparison
        return comparison.compare(since=datetime.now(UTC) - timedelta(hours=1))[0]

    old("a.tif")
    old("b.tif")
    old("c.tiff")
    pipeline.declare((tmp_path / "archive").as_uri(), include=["*.tif"])
    pipeline.run()
    assert (listing().blobs, listing().searchable, listing().latencies) == (2, 2, ())
    pipeline.declare((tmp_path / "archive").as_uri(), include=["*.tif", "*.tiff"])
    write_raster(tmp_path / "archive" / "beside.tif", value=3)
    pipeline.run()
    assert (listing().searchable, listing().latencies) == (4, ()), "found by the first listing with these globs"
    write_raster(tmp_path / "archive" / "came.tif", value=4)
    pipeline.run()
    figures = listing()
    assert figures.searchable == 5
    assert figures.as_dict()["latency_max"] == pytest.approx(figures.as_dict()["latency_p50"])
    assert 0 < figures.as_dict()["latency_max"] < 600
    pipeline.execute(
        "INSERT INTO ledger.listing (source, shard, rule, run_id) "
        "SELECT source, 'new/', rule, 'x' FROM ledger.listing LIMIT 1"
    )
    assert listing().latencies == (), "a shard has not been listed whole"


def test_people_see_it_in_dagster_and_in_the_terminal(known: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    result = known.run("compare_paths")
    assert result.success
    (made,) = result.get_asset_materialization_events()
    metadata = made.materialization.metadata
    assert "data:image/png" in str(metadata["latency"].value)
    assert isinstance(metadata["paths"], TableMetadataValue)
    assert [row.data["searchable"] for row in metadata["paths"].records] == [0, 100, 100]
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", known.database_url)
    answer = CliRunner().invoke(paths_command, ["--json"])
    assert [path["searchable"] for path in json.loads(answer.output)] == [0, 100, 100]
    assert "latency p95, s" in CliRunner().invoke(paths_command).output
