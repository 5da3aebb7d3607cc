"""Listings of sources whose events a queue brings: how often they are, and what they find that events did not tell."""

import os
import time
from pathlib import Path

import pytest
import yaml
from dagster import AssetKey

from tests.daemon import Daemon
from tests.ledgers import blob, listed
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster

HOUR = 3600


def serve(pipeline: Pipeline) -> None:
    """Say that a queue brings the source's events."""
    document = yaml.safe_load(pipeline.sources_path.read_text())
    document["queues"] = {"arrivals": {"storage_queue": "blob-events", "sources": [SOURCE]}}
    pipeline.sources_path.write_text(yaml.safe_dump(document))


@pytest.fixture
def served(pipeline: Pipeline, folder: Path) -> Path:
    """The folder as a source whose events a queue brings, listed once."""
    serve(pipeline)
    assert pipeline.run("list_container").success
    return folder


@pytest.fixture
def done(pipeline: Pipeline, served: Path) -> Path:
    """The same, with no work left: items take seconds to make, and the sensor never looks at one."""
    pipeline.execute(
        "UPDATE ledger.blob AS b SET described_etag = etag, described_reading = s.reading_digest, "
        "catalogued_etag = etag, catalogued_rule = s.rule_digest FROM ledger.source AS s WHERE s.source = b.source"
    )
    return served


def write_aged(path: Path, *, value: int, seconds: float = HOUR) -> None:
    """Write a raster that was last modified so long ago."""
    write_raster(path, value=value)
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def age_ledger(pipeline: Pipeline, interval: str = "1 day") -> None:
    """Let so much time pass for what the ledger saw."""
    pipeline.execute(f"UPDATE ledger.listing SET finished_at = finished_at - interval '{interval}'")
    pipeline.execute(f"UPDATE ledger.blob SET etag_seen_at = etag_seen_at - interval '{interval}'")


def listing_metadata(pipeline: Pipeline) -> dict[str, object]:
    """What the latest listing of the source shows in Dagster."""
    event = pipeline.instance.get_latest_materialization_event(AssetKey("container_listing"))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_events_off_for_a_day_are_made_up_for_by_the_listing_alone_and_counted(
    pipeline: Pipeline, served: Path, daemon: Daemon
) -> None:
    write_aged(served / "new.tif", value=7)
    write_aged(served / "scene_0.tif", value=8)
    (served / "scene_1.tif").unlink()
    age_ledger(pipeline)
    assert list(daemon.requested()) == [SOURCE]
    assert pipeline.run().success
    pipeline.check_promise()
    assert set(pipeline.items()) == {"new.tif", "scene_0.tif", "scene_2.tif"}
    shown = listing_metadata(pipeline)
    assert [shown[name] for name in ("new", "changed", "deleted", "repaired_by_listing")] == [1, 1, 1, 3]
    assert pipeline.query("SELECT repaired FROM ledger.listing ORDER BY id") == [(0,), (3,)]
    assert pipeline.run("list_container").success
    assert listing_metadata(pipeline)["repaired_by_listing"] == 0


def test_what_events_told_or_may_still_tell_is_not_counted(pipeline: Pipeline, served: Path) -> None:
    age_ledger(pipeline)
    write_aged(served / "told.tif", value=7)
    pipeline.run("list_container")
    pipeline.execute("UPDATE ledger.listing SET repaired = 0")
    write_raster(served / "on_its_way.tif", value=8)
    (served / "on_its_way_too.tif").write_bytes((served / "told.tif").read_bytes())
    pipeline.run("list_container")
    shown = listing_metadata(pipeline)
    assert (shown["new"], shown["unchanged"], shown["repaired_by_listing"]) == (2, 4, 0)


def test_a_first_listing_and_one_by_other_globs_repair_nothing(pipeline: Pipeline, folder: Path) -> None:
    for path in folder.iterdir():
        write_aged(path, value=3)
    write_aged(folder / "later.tiff", value=4)
    for include in (["*.tif"], ["*.tif", "*.tiff"]):
        pipeline.declare(folder.as_uri(), include=include)
        serve(pipeline)
        assert pipeline.run("list_container").success
    assert pipeline.query("SELECT new, repaired FROM ledger.listing ORDER BY id") == [(3, 0), (1, 0)]


def test_without_a_queue_nothing_is_counted(pipeline: Pipeline) -> None:
    listed(pipeline.database, [blob("a")])
    listed(pipeline.database, [blob("a", "2"), blob("b")])
    assert pipeline.query("SELECT new, changed, repaired FROM ledger.listing ORDER BY id") == [(1, 0, 0), (1, 1, 0)]


def test_a_served_source_is_looked_at_once_an_hour_and_its_known_work_asked_for_each_tick(
    pipeline: Pipeline, done: Path, daemon: Daemon
) -> None:
    write_raster(done / "new.tif", value=9)
    assert "nothing to do; checked again at" in str(daemon.tick().skip_message)
    pipeline.execute("UPDATE ledger.blob SET catalogued_etag = NULL WHERE name = 'scene_0.tif'")
    (known,) = daemon.tick().run_requests or []
    assert (known.job_name, known.partition_key) == ("ingest_observed", SOURCE)
    assert "a run was requested already" in str(daemon.tick().skip_message)
    pipeline.execute("UPDATE ledger.blob SET catalogued_etag = etag")
    age_ledger(pipeline, "61 minutes")
    (found,) = daemon.tick().run_requests or []
    assert (found.job_name, found.partition_key) == ("ingest_rasters", SOURCE)


def test_a_look_that_saw_the_whole_source_counts_as_much_as_a_listing_unless_its_globs_change(
    pipeline: Pipeline, done: Path, daemon: Daemon
) -> None:
    age_ledger(pipeline)
    assert not daemon.requested()
    write_raster(done / "new.tif", value=9)
    assert "checked again" in str(daemon.tick().skip_message)
    pipeline.declare(done.as_uri(), exclude=["scene_0.tif"])
    serve(pipeline)
    assert list(daemon.requested()) == [SOURCE]


def test_the_interval_of_a_source_is_what_its_owner_says(pipeline: Pipeline, done: Path, daemon: Daemon) -> None:
    pipeline.declare(done.as_uri(), relist="2h")
    write_raster(done / "new.tif", value=9)
    age_ledger(pipeline, "119 minutes")
    assert "checked again" in str(daemon.tick().skip_message)
    age_ledger(pipeline, "2 minutes")
    assert list(daemon.requested()) == [SOURCE]
