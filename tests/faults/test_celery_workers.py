"""Celery: steps on workers that share no file system with the run, and workers killed in the middle."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from azure.storage.blob import ContainerClient
from dagster import DagsterInstance, DagsterRunStatus
from redis import Redis

from geo_assets.postgres.dagster_storage import create_dagster_tables
from geo_assets.sensors import runs
from geo_assets.sensors.runs import fail_if_abandoned
from tests.celery_hosts import CeleryHosts
from tests.dagster_cli import DagsterCli
from tests.networks import separate_networks
from tests.pipeline import Pipeline
from tests.rasters import raster_bytes
from tests.services import Azurite, running_redis
from tests.waiting import wait_until


@pytest.fixture
def hosts(pipeline: Pipeline, azurite: Azurite, tmp_path: Path) -> Iterator[CeleryHosts]:
    """The host of a run, with a Redis of this test's own; workers are up to the test."""
    create_dagster_tables(pipeline.database_url)
    with running_redis(tmp_path) as port, ExitStack() as stack:
        variables = {
            **azurite.environment,
            "GEO_ASSETS_CELERY_BROKER": f"redis://127.0.0.1:{port}/0",
            "GEO_ASSETS_WORKERS": "1",
        }
        module = "geo_assets.celery.definitions"
        cli = DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, variables, module=module)
        hosts = CeleryHosts(cli)
        stack.callback(hosts.stop)
        yield hosts


def fill(container: ContainerClient, pipeline: Pipeline, blobs: int) -> None:
    """Declare a source of so many good rasters and two bad ones."""
    for number in range(blobs):
        container.upload_blob(f"{number // 100}/scene_{number:04d}.tif", raster_bytes(value=number % 200))
    container.upload_blob("bad_1.tif", b"no raster")
    container.upload_blob("bad_2.tif", b"no raster either")
    pipeline.declare(f"az://{container.container_name}")


def check_after_a_kill(hosts: CeleryHosts, pipeline: Pipeline, *, blobs: int, step: str) -> None:
    """Run on two workers, kill -9 one amid a step: the run succeeds, with nothing lost or done twice."""
    hosts.start_worker("one")
    hosts.start_worker("two")
    run = hosts.cli.start_job("ingest_rasters")
    killed = hosts.kill_amid(step, run=run)
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    assert (pipeline.status().catalogued, pipeline.status().quarantined) == (blobs, 2)
    pipeline.check_promise()
    (survivor,) = {"one", "two"} - {killed}
    assert "succeeded" in hosts.log(survivor)
    ((steps,),) = pipeline.query("SELECT array_agg(step_key) FROM event_logs WHERE event LIKE '%is sent again%'")
    assert len(steps) == 1
    assert step in steps[0]
    files = [path for path in (hosts.cli.home / "storage").rglob("*") if path.is_file()]
    assert all("compute_logs" in path.parts for path in files), "a value went through a file of one host"


def test_a_worker_killed_amid_a_step_costs_the_run_nothing(
    hosts: CeleryHosts, pipeline: Pipeline, container: ContainerClient
) -> None:
    fill(container, pipeline, 200)
    check_after_a_kill(hosts, pipeline, blobs=200, step="describe_batch")


@pytest.mark.soak
@pytest.mark.parametrize("step", ["describe_batch", "catalogue_batch"])
def test_of_two_workers_in_networks_of_their_own_one_is_killed_amid_1000_blobs(
    hosts: CeleryHosts, pipeline: Pipeline, azurite: Azurite, container: ContainerClient, step: str
) -> None:
    fill(container, pipeline, 998)
    urls = [hosts.cli.variables["GEO_ASSETS_CELERY_BROKER"], pipeline.database_url, azurite.account_url]
    with separate_networks(2, ports=[urlsplit(url).port or 0 for url in urls]) as hosts.networks:
        check_after_a_kill(hosts, pipeline, blobs=998, step=step)
        hosts.stop()


@pytest.mark.soak
def test_steps_that_redis_forgot_are_sent_again(
    hosts: CeleryHosts, pipeline: Pipeline, container: ContainerClient
) -> None:
    fill(container, pipeline, 20)
    run = hosts.cli.start_job("ingest_rasters")
    with Redis.from_url(hosts.cli.variables["GEO_ASSETS_CELERY_BROKER"]) as redis:
        wait_until(lambda: bool(redis.keys("dagster*")), "with steps in the queue")
        redis.flushall()
    hosts.start_worker("one")
    output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    assert (pipeline.status().catalogued, pipeline.status().quarantined) == (20, 2)
    pipeline.check_promise()


@pytest.mark.soak
def test_a_run_that_waits_for_workers_is_alive_until_its_own_process_dies(
    hosts: CeleryHosts, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    monkeypatch.setattr(runs, "SILENT_SECONDS", 0.0)
    (tmp_path / "container").mkdir()
    pipeline.declare((tmp_path / "container").as_uri())
    run = hosts.cli.start_job("ingest_rasters")
    submitted = "SELECT count(*) FROM event_logs WHERE event LIKE '%Submitting celery task%'"
    wait_until(lambda: pipeline.query(submitted)[0][0] > 0, "with steps in the queue")
    with DagsterInstance.from_config(str(hosts.cli.home)) as instance:

        def fail_abandoned() -> list[str]:
            database = pipeline.database
            return [each.run_id for each in instance.get_runs() if fail_if_abandoned(instance, each, database=database)]

        assert fail_abandoned() == []
        run.kill()
        run.communicate()
        wait_until(lambda: fail_abandoned() != [], "when it is reported as failed")
        (record,) = instance.get_runs()
        assert record.status is DagsterRunStatus.FAILURE
