"""A run worker killed in the middle: its run is found to be dead, and the next ends with blobs = items + reasons."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from dagster import DagsterInstance, DagsterRunStatus

from geo_assets.sensors import runs
from geo_assets.sensors.runs import fail_if_abandoned
from tests.dagster_cli import DagsterCli
from tests.pipeline import Pipeline
from tests.rasters import write_raster
from tests.waiting import wait_until

BLOBS = 400


@pytest.fixture
def cli(pipeline: Pipeline, tmp_path: Path) -> DagsterCli:
    """The command line, with a source of many rasters of which two are bad."""
    folder = tmp_path / "container"
    for number in range(BLOBS):
        write_raster(folder / f"{number // 100}" / f"scene_{number:04d}.tif", value=number)
    (folder / "bad_1.tif").write_text("no raster")
    (folder / "bad_2.tif").write_text("no raster either")
    pipeline.declare(folder.as_uri())
    return DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, {})


@pytest.mark.parametrize(
    ("moment", "reached"),
    [
        pytest.param(
            "while describing", lambda pipeline: 0 < pipeline.status().described < BLOBS, marks=pytest.mark.soak
        ),
        ("while cataloguing", lambda pipeline: 0 < pipeline.status().catalogued < BLOBS),
    ],
)
def test_after_kill_9_the_run_is_reported_as_failed_and_the_next_finishes(
    pipeline: Pipeline,
    cli: DagsterCli,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
    reached: Callable[[Pipeline], bool],
) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setattr(runs, "SILENT_SECONDS", 0.0)
    worker = cli.start_job("ingest_rasters")
    wait_until(lambda: reached(pipeline), moment)
    os.killpg(worker.pid, signal.SIGSTOP)
    with DagsterInstance.from_config(str(cli.home)) as instance:
        assert fail_abandoned(instance, pipeline) == [], "a living worker was taken for dead"
        os.killpg(worker.pid, signal.SIGKILL)
        worker.communicate()
        assert pipeline.status().pending > 0
        (run,) = instance.get_runs()
        assert run.status is DagsterRunStatus.STARTED
        wait_until(lambda: fail_abandoned(instance, pipeline) == [run.run_id], "when the lock is gone", seconds=20)
        (run,) = instance.get_runs()
        assert run.status is DagsterRunStatus.FAILURE
    described_before = described_at(pipeline)
    status, output = cli.run_job("ingest_rasters")
    assert status == 0, output
    assert (pipeline.status().catalogued, pipeline.status().quarantined) == (BLOBS, 2)
    pipeline.check_promise()
    kept = {name: moment for name, moment in described_at(pipeline).items() if name in described_before}
    assert kept == described_before, "a blob was described twice for one version"


def fail_abandoned(instance: DagsterInstance, pipeline: Pipeline) -> list[str]:
    """What the sensor does at each tick."""
    database = pipeline.database
    return [run.run_id for run in instance.get_runs() if fail_if_abandoned(instance, run, database=database)]


def described_at(pipeline: Pipeline) -> dict[str, object]:
    """When each blob was described."""
    return dict(pipeline.query("SELECT name, described_at FROM ledger.raster_metadata"))
