"""blob_sensor over real parts: a folder, a ledger, a Dagster instance; each tick as the daemon evaluates it."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterRunStatus, DefaultSensorStatus

from geo_assets.assets.ops import SOURCES_PARTITIONS
from geo_assets.definitions import build_definitions
from geo_assets.postgres.locks import Lock, take
from geo_assets.sensors import blob as sensor_module
from geo_assets.storage import azure_blob_store
from tests.daemon import Daemon, a_run, observe_one_page
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import raster_bytes, write_raster
from tests.services import free_port


@pytest.fixture
def folder(pipeline: Pipeline, tmp_path: Path) -> Path:
    """A folder declared as the source, with two good rasters."""
    folder = tmp_path / "container"
    for number in range(2):
        write_raster(folder / f"scene_{number}.tif", value=number)
    pipeline.declare(folder.as_uri())
    return folder


def overwrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    later = path.stat().st_mtime_ns + 1_000_000
    os.utime(path, ns=(later, later))


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name an Azure account that nobody listens for, and do not wait for it."""
    text = f"AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:{free_port()}/a;"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    monkeypatch.setattr(azure_blob_store, "ATTEMPTS", 1)


def test_the_sensor_runs_by_default_and_asks_for_the_main_job() -> None:
    sensor = build_definitions().resolve_sensor_def("blob_sensor")
    assert sensor.default_status is DefaultSensorStatus.RUNNING
    assert [target.job_name for target in sensor.targets] == ["ingest_rasters", "ingest_observed", "load_vectors"]
    assert sensor.description


def test_each_source_becomes_a_partition(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    pipeline.declare(folder.as_uri(), name="other")
    daemon.tick()
    assert set(pipeline.instance.get_dynamic_partitions(SOURCES_PARTITIONS)) == {SOURCE, "other"}


def test_new_blobs_are_one_request_whose_key_holds_the_digest(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    (request,) = daemon.tick().run_requests or []
    assert request.partition_key == SOURCE
    source, digest, _, attempt = str(request.run_key).split(":")
    assert (source, attempt) == (SOURCE, "1")
    assert f'"digest":"{digest}"' in str(daemon.cursor)
    assert request.tags["dagster/partition"] == SOURCE


def test_the_sensor_looks_and_does_not_list_into_the_ledger(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    daemon.tick()
    assert pipeline.status().blobs == 0
    assert pipeline.query("SELECT * FROM ledger.listing") == []


def test_what_was_asked_for_is_not_asked_for_again_at_once(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    assert daemon.requested()
    again = daemon.tick()
    assert not again.run_requests
    assert "a run was requested already" in str(again.skip_message)


def test_after_the_run_there_is_nothing_to_ask_for(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    daemon.tick()
    assert pipeline.run().success
    after = daemon.tick()
    assert not after.run_requests
    assert "nothing to do" in str(after.skip_message)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: overwrite(folder / "scene_1.tif", raster_bytes(value=7)), "0 new, 1 changed, 0 deleted"),
        (lambda folder: (folder / "scene_1.tif").unlink(), "0 new, 0 changed, 1 deleted"),
        (lambda folder: write_raster(folder / "x" / "scene_9.tif", value=9), "1 new, 0 changed, 0 deleted"),
    ],
    ids=["overwritten", "deleted", "new"],
)
def test_a_change_after_the_run_is_asked_for(
    pipeline: Pipeline, folder: Path, daemon: Daemon, change: Callable[[Path], Any], reason: str
) -> None:
    first = daemon.requested()
    pipeline.run()
    change(folder)
    second = daemon.requested()
    assert list(second) == [SOURCE]
    assert second != first


def test_the_same_change_back_and_forth_is_asked_for_each_time(
    pipeline: Pipeline, folder: Path, daemon: Daemon
) -> None:
    pipeline.run()
    path, hidden, keys = folder / "scene_1.tif", folder / "scene_1.hidden", []
    for is_there in (False, True, False):
        if is_there:
            hidden.rename(path)
        else:
            path.rename(hidden)
        keys.append(daemon.requested()[SOURCE])
        pipeline.run()
    assert len(set(keys)) == 3


@pytest.mark.parametrize("job", ["ingest_rasters", "ingest_observed", "load_vectors"])
def test_a_run_that_is_starting_is_waited_for(pipeline: Pipeline, folder: Path, daemon: Daemon, job: str) -> None:
    a_run(pipeline, DagsterRunStatus.STARTING, job=job)
    data = daemon.tick()
    assert not data.run_requests
    assert "a run is in progress" in str(data.skip_message)


def test_a_run_of_another_source_or_job_is_not_waited_for(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    a_run(pipeline, DagsterRunStatus.STARTING, source="other")
    a_run(pipeline, DagsterRunStatus.STARTING, job="list_container")
    a_run(pipeline, DagsterRunStatus.FAILURE)
    assert list(daemon.requested()) == [SOURCE]


def test_a_started_run_is_waited_for_while_it_has_a_worker(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    run = a_run(pipeline, DagsterRunStatus.STARTED)
    with pipeline.database.connections.connect() as worker:
        take(worker, Lock.WORK, run.run_id, shared=True)
        assert "a run is in progress" in str(daemon.tick().skip_message)
    assert list(daemon.requested()) == [SOURCE]
    failed = pipeline.instance.get_run_by_id(run.run_id)
    assert failed is not None
    assert failed.status is DagsterRunStatus.FAILURE


def test_the_only_source_that_cannot_be_listed_is_an_error_of_the_tick_and_deletes_nothing(
    pipeline: Pipeline, folder: Path, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensor_module, "FIRST_PAUSE", timedelta(0))
    pipeline.run()
    folder.rename(folder.with_name("elsewhere"))
    error = daemon.error()
    assert SOURCE in error
    assert "is not a folder" in error
    assert (pipeline.status().catalogued, pipeline.status().deleted) == (2, 0)
    folder.with_name("elsewhere").rename(folder)
    assert daemon.requested() == {}


def test_a_store_that_is_away_is_an_error_of_the_tick(
    pipeline: Pipeline, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    unreachable(monkeypatch)
    pipeline.declare("az://bronze")
    assert "storage_unavailable" in daemon.error()


def test_a_failing_source_keeps_no_other_from_its_run_and_is_named_in_each_tick_without_one(
    pipeline: Pipeline, folder: Path, daemon: Daemon, tmp_path: Path
) -> None:
    pipeline.declare((tmp_path / "nosuch").as_uri(), name="away")
    assert list(daemon.requested()) == [SOURCE]
    for _ in range(2):
        assert "away: invalid_configuration: " in str(daemon.tick().skip_message)
        pipeline.run()


def test_a_broken_sources_file_is_an_error_of_the_tick(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    pipeline.sources_path.write_text("sources:\n  rasters: [")
    assert "line 2" in daemon.error()


def test_a_file_without_sources_is_skipped_with_a_word(pipeline: Pipeline, daemon: Daemon) -> None:
    pipeline.sources_path.write_text("sources: {}")
    assert "no sources" in str(daemon.tick().skip_message)


def test_a_database_that_is_away_is_an_error_of_the_tick(pipeline: Pipeline, folder: Path, tmp_path: Path) -> None:
    away = Pipeline("postgresql://me@127.0.0.1:1/none", pipeline.sources_path, pipeline.instance)
    assert "database_unavailable" in Daemon(away).error()


def test_work_that_a_failed_run_left_is_asked_for_again(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    first = daemon.requested()[SOURCE]
    assert pipeline.run("list_container").success
    assert pipeline.run(asset_selection=[AssetKey("raster_metadata")]).success
    assert pipeline.status().pending == 2
    second = daemon.requested()[SOURCE]
    assert second != first


def test_a_source_that_is_declared_no_more_leaves_the_cursor(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    daemon.tick()
    assert SOURCE in str(daemon.cursor)
    pipeline.sources_path.write_text("sources: {}")
    daemon.tick()
    assert daemon.cursor == "{}"


@pytest.fixture
def one_page_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time at all, and a blob a page: a tick then looks at one blob."""
    monkeypatch.setattr(sensor_module, "TICK_BUDGET_SECONDS", -1.0)
    monkeypatch.setattr("geo_assets.storage.local_blob_store.PAGE_SIZE", 1)


def test_a_look_that_is_out_of_time_takes_nothing_for_deleted_and_goes_on_in_the_next_tick(
    pipeline: Pipeline, folder: Path, daemon: Daemon, one_page_a_tick: None
) -> None:
    pipeline.run()
    said = []
    for seen in (1, 2, None):
        tick = daemon.tick()
        assert not tick.run_requests
        assert daemon.looked_at() == seen
        said.append(str(tick.skip_message))
    assert "1 blobs checked so far" in said[0]
    assert "nothing to do" in said[2]


def test_a_listing_in_between_makes_the_look_start_over(
    pipeline: Pipeline, folder: Path, daemon: Daemon, one_page_a_tick: None
) -> None:
    pipeline.run()
    daemon.tick()
    daemon.tick()
    assert daemon.looked_at() == 2
    pipeline.run()
    daemon.tick()
    assert daemon.looked_at() == 1


def test_a_look_goes_on_though_another_source_fails(
    pipeline: Pipeline, folder: Path, daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.run()
    pipeline.declare((tmp_path / "nosuch").as_uri(), name="away")
    monkeypatch.setattr("geo_assets.storage.local_blob_store.PAGE_SIZE", 1)
    monkeypatch.setattr(sensor_module, "observe", observe_one_page)
    assert "away" in str(daemon.tick().skip_message)
    assert daemon.looked_at() == 1


def test_no_time_is_shared_by_taking_turns(
    pipeline: Pipeline, folder: Path, daemon: Daemon, one_page_a_tick: None
) -> None:
    pipeline.declare(folder.as_uri(), name="other")
    pipeline.run()
    pipeline.run(source="other")
    for _ in range(4):
        daemon.tick()
    assert (daemon.looked_at(), daemon.looked_at("other")) == (2, 2)


def test_a_cursor_of_another_release_is_no_error(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    daemon.cursor = '{"rasters": {"digest": "d", "attempt": 1, "at": "2024-01-01T00:00:00Z"}, "x": 7}'
    assert list(daemon.requested()) == [SOURCE]


def test_a_source_that_was_never_asked_for_is_looked_at_first(pipeline: Pipeline, folder: Path, daemon: Daemon) -> None:
    daemon.tick()
    pipeline.declare(folder.as_uri(), name="newcomer")
    reasons = str(daemon.tick().run_requests)
    assert "newcomer" in reasons
    assert SOURCE not in reasons.replace("ingest_rasters", "")
