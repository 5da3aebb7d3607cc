"""A store or database that goes away: the run fails with a clear message, the next one finishes the rest."""

import time
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient
from dagster import AssetKey

from geo_assets.postgres.databases import CATALOGUE_DATABASE
from geo_assets.postgres.embedded import EmbeddedPostgres
from geo_assets.postgres.logins import PIPELINE_LOGIN
from geo_assets.raster.reader import STORE_IS_DOWN_AFTER
from tests.dagster_cli import DagsterCli
from tests.peers.virtual_container import CONTAINER, VirtualContainer
from tests.pipeline import Pipeline, as_user, failure_text, migrate_as_owner, open_pipeline
from tests.rasters import raster_bytes, write_raster
from tests.services import Azurite, free_port, running_azurite

BLOBS = 60


def fill(azurite: Azurite) -> None:
    """Put rasters into a new container `bronze`."""
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        container = service.create_container("bronze")
        for number in range(BLOBS):
            container.upload_blob(f"scene_{number:03d}.tif", raster_bytes(value=number))


def test_a_store_that_goes_away_after_the_listing_fails_the_run_and_quarantines_nothing(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.declare("az://bronze")
    port = free_port()
    with running_azurite(tmp_path, port=port, persistent=True) as azurite:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
        fill(azurite)
        assert pipeline.run("list_container").success
    failed = pipeline.run(asset_selection=[AssetKey("raster_metadata")])
    assert not failed.success
    assert "storage_unavailable" in failure_text(failed)
    assert (pipeline.status().pending, pipeline.status().quarantined) == (BLOBS, 0)

    with running_azurite(tmp_path, port=port, persistent=True):
        finished = pipeline.run()
        assert finished.success
        assert pipeline.status().catalogued == BLOBS
        pipeline.check_promise()
    log = [entry.user_message for entry in pipeline.instance.all_logs(finished.run_id)]
    assert any("is available again" in message for message in log)


def test_a_store_that_is_down_is_asked_by_one_batch_and_once_by_each_of_the_others(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_WORKERS", "2")
    with VirtualContainer(10_000) as container:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", container.connection_string)
        pipeline.declare(f"az://{CONTAINER}")
        assert pipeline.run("list_container").success
        container.down = True
        failed = pipeline.run(asset_selection=[AssetKey("raster_metadata")])
    assert not failed.success
    steps = [str(event.step_failure_data.error) for event in failed.get_step_failure_events()]
    assert all("storage_unavailable" in step for step in steps)
    untried = len([step for step in steps if "this batch was skipped" in step])
    assert (len(steps), untried) == (10, 9)
    assert (pipeline.status().pending, pipeline.status().quarantined) == (10_000, 0)
    probes = len([path for path in container.refused if "comp=list" in path])
    chunks, attempts, at_once = 4, 4, 4
    assert probes == untried
    assert len(container.refused) - probes <= chunks * attempts * (STORE_IS_DOWN_AFTER + at_once)


def test_a_store_that_is_away_at_the_listing_deletes_nothing(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.declare("az://bronze")
    with running_azurite(tmp_path) as azurite:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
        fill(azurite)
        assert pipeline.run().success
    failed = pipeline.run()
    assert not failed.success
    assert "storage_unavailable" in failure_text(failed)
    assert (pipeline.status().catalogued, pipeline.status().deleted) == (BLOBS, 0)


def test_a_refused_credential_is_said_so(pipeline: Pipeline, azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_URL", azurite.account_url)
    monkeypatch.setenv("AZURE_STORAGE_KEY", "d3Jvbmcga2V5")
    pipeline.declare("az://bronze")
    failed = pipeline.run("list_container")
    assert not failed.success
    assert "unauthorized" in failure_text(failed)
    assert "AZURE_STORAGE_" in failure_text(failed)


def test_a_container_that_does_not_exist_is_said_so(
    pipeline: Pipeline, azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.connection_string)
    pipeline.declare("az://no-such-container")
    failed = pipeline.run("list_container")
    assert not failed.success
    assert "container no-such-container does not exist" in failure_text(failed)


def test_a_catalogue_that_stops_during_a_run_fails_it_and_the_next_run_finishes(
    database_url: str, tmp_path: Path
) -> None:
    variables = {"DAGSTER_POSTGRES_URL": database_url}
    cluster = EmbeddedPostgres(tmp_path / "state", durable=False)
    folder = tmp_path / "container"
    for number in range(200):
        write_raster(folder / f"scene_{number:03d}.tif", value=number)
    try:
        url = prepared(cluster)
        with open_pipeline(url, tmp_path) as pipeline:
            pipeline.declare(folder.as_uri())
            cli = DagsterCli(tmp_path / "home", url, pipeline.sources_path, variables)
            worker = cli.start_job("ingest_rasters")
            deadline = time.monotonic() + 120
            while pipeline.status().described == 0:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            cluster.stop()
            output, _ = worker.communicate(timeout=120)
            assert worker.returncode != 0
            assert "database_unavailable" in output
        url = prepared(cluster)
        with open_pipeline(url, tmp_path) as pipeline:
            cli = DagsterCli(tmp_path / "home", url, pipeline.sources_path, variables)
            status, output = cli.run_job("ingest_rasters")
            assert status == 0, output
            assert pipeline.status().catalogued == 200
            pipeline.check_promise()
    finally:
        cluster.destroy()


def test_a_database_that_is_not_migrated_says_how_to(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "container").mkdir()
    with open_pipeline(database_url, tmp_path) as pipeline:
        pipeline.declare((tmp_path / "container").as_uri())
        failed = pipeline.run()
    assert not failed.success
    assert "geo-assets db migrate" in failure_text(failed)


def prepared(cluster: EmbeddedPostgres) -> str:
    """Start the cluster and migrate the catalogue in it; its URL, which has another port at each start."""
    cluster.start()
    cluster.ensure_databases(CATALOGUE_DATABASE)
    url = cluster.url(CATALOGUE_DATABASE)
    migrate_as_owner(url)
    return as_user(url, PIPELINE_LOGIN)
