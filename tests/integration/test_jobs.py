"""Definitions and jobs as Dagster sees them: loaded from nothing, labelled, and run by the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from dagster import AssetKey, AssetsDefinition, DagsterInstance, DagsterRunStatus, ExecuteInProcessResult

from geo_assets.assets.census import CHECKS
from geo_assets.assets.jobs import all_jobs, hello_world
from geo_assets.assets.ops import SOURCES_PARTITIONS
from geo_assets.definitions import build_definitions
from tests.dagster_cli import DagsterCli
from tests.pipeline import SOURCE, Pipeline, failure_text
from tests.rasters import write_raster
from tests.services import PROJECT

BY_SOURCE = [
    "catalog_snapshot",
    "cogs",
    "container_listing",
    "raster_metadata",
    "stac_collections",
    "stac_items",
    "vector_tables",
]
OF_ALL_SOURCES = ["event_paths", "pgstac_schema"]
ASSETS = sorted(BY_SOURCE + OF_ALL_SOURCES)
LOAD = """
from dagster import Definitions
from geo_assets.definitions import defs
Definitions.validate_loadable(defs)
print(sorted(key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()))
"""


def asset(name: str) -> AssetsDefinition:
    return build_definitions().resolve_assets_def(AssetKey(name))


def greet(n: int) -> ExecuteInProcessResult:
    with DagsterInstance.ephemeral() as instance:
        return hello_world.execute_in_process(
            run_config={"ops": {"plan_greetings": {"config": {"n": n}}}}, instance=instance, raise_on_error=False
        )


def test_n_greetings_get_n_replies_and_the_first_guest_hears_the_second_try() -> None:
    result = greet(5)
    assert result.success
    assert result.output_for_node("count_replies") == 5
    retried = [event.step_key for event in result.all_events if event.is_step_up_for_retry]
    assert retried == ["greet[guest_00001]"]
    replies = result.output_for_node("reply")
    assert len(replies) == 5
    assert replies["guest_00003"] == "Hello, guest 3! Hello to you."


@pytest.mark.parametrize("n", [0, 10_001])
def test_a_number_of_greetings_out_of_bounds_is_refused(n: int) -> None:
    result = greet(n)
    assert not result.success
    assert "or equal to" in failure_text(result)


def test_the_definitions_load_with_an_empty_environment(tmp_path: Path) -> None:
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=PROJECT, env=bare, capture_output=True, text=True, timeout=120
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.strip() == str(ASSETS)


@pytest.mark.parametrize("name", ASSETS)
def test_each_asset_has_group_kinds_owners_and_description(name: str) -> None:
    key, definition = AssetKey(name), asset(name)
    (spec,) = definition.specs
    assert spec.group_name in ("bronze", "catalogue", "silver", "database")
    assert spec.kinds
    assert spec.owners == ["team:geospatial-data-engineering"]
    assert definition.descriptions_by_key[key]


@pytest.mark.parametrize("name", BY_SOURCE)
def test_each_asset_of_a_source_is_partitioned_by_sources(name: str) -> None:
    partitions = asset(name).partitions_def
    assert partitions is not None
    assert getattr(partitions, "name", None) == SOURCES_PARTITIONS


def test_the_schema_is_not_partitioned() -> None:
    assert asset("pgstac_schema").partitions_def is None


def test_the_assets_depend_on_each_other_as_designed() -> None:
    graph = build_definitions().resolve_asset_graph()
    parents = {name: sorted(key.to_user_string() for key in graph.get(AssetKey(name)).parent_keys) for name in ASSETS}
    assert parents == {
        "catalog_snapshot": ["stac_items"],
        "cogs": ["raster_metadata"],
        "container_listing": [],
        "event_paths": [],
        "pgstac_schema": [],
        "raster_metadata": ["container_listing"],
        "stac_collections": ["container_listing"],
        "stac_items": ["cogs", "raster_metadata", "stac_collections"],
        "vector_tables": ["container_listing", "stac_collections"],
    }


def test_every_job_runs_all_its_steps_again_after_a_crash_and_says_what_it_does() -> None:
    definitions = build_definitions()
    assert {job.name for job in all_jobs} == {
        "ingest_rasters",
        "ingest_observed",
        "load_vectors",
        "make_cogs",
        "reconcile",
        "list_container",
        "compare_paths",
        "snapshot",
        "stac_setup",
        "hello_world",
    }
    for job in all_jobs:
        resolved = definitions.resolve_job_def(job.name)
        assert resolved.tags["dagster/retry_strategy"] == "ALL_STEPS"
        assert resolved.description


def test_the_listing_job_lists_and_goes_no_further(pipeline: Pipeline, tmp_path: Path) -> None:
    write_raster(tmp_path / "container" / "a.tif")
    pipeline.declare((tmp_path / "container").as_uri())
    assert pipeline.run("list_container").success
    assert (pipeline.status().blobs, pipeline.status().pending, pipeline.status().described) == (1, 1, 0)


@pytest.fixture
def cli(pipeline: Pipeline, tmp_path: Path) -> DagsterCli:
    """The command line, with a source of one good and one bad file that no instance has met."""
    write_raster(tmp_path / "container" / "a.tif")
    (tmp_path / "container" / "bad.tif").write_text("no raster")
    pipeline.declare((tmp_path / "container").as_uri())
    return DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, {})


def dagster(cli: DagsterCli, *arguments: str) -> tuple[int, str]:
    with cli.popen(*arguments) as process:
        output, _ = process.communicate(timeout=180)
    return process.returncode, output


def partitions(cli: DagsterCli, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that the instance of the command line has registered."""
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", cli.database_url)
    with DagsterInstance.from_config(str(cli.home)) as instance:
        return list(instance.get_dynamic_partitions(SOURCES_PARTITIONS))


def recorded(cli: DagsterCli, monkeypatch: pytest.MonkeyPatch) -> tuple[DagsterRunStatus, str]:
    """The status and the log of the one run the instance knows.

    What a process prints is less sure: while steps run, Dagster hands it on by a `tail` that may be late.
    """
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", cli.database_url)
    with DagsterInstance.from_config(str(cli.home)) as instance:
        (run,) = instance.get_runs()
        return run.status, "\n".join(map(str, instance.all_logs(run.run_id)))


def test_job_execute_runs_hello_world_without_any_source_or_tag(
    cli: DagsterCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = cli.sources_path.with_name("hello.yaml")
    config.write_text("ops: {plan_greetings: {config: {n: 4}}}")
    status, output = dagster(
        cli, *("job", "execute", "-m", "geo_assets.definitions", "-j", "hello_world", "-c", str(config))
    )
    assert status == 0, output
    run_status, log = recorded(cli, monkeypatch)
    assert run_status is DagsterRunStatus.SUCCESS
    assert "4 greetings were answered" in log


def test_job_execute_takes_a_source_not_registered_yet_and_registers_it(
    cli: DagsterCli, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, output = cli.run_job("ingest_rasters")
    assert status == 0, output
    assert (pipeline.status().catalogued, pipeline.status().quarantined) == (1, 1)
    assert partitions(cli, monkeypatch) == [SOURCE]


def test_job_execute_that_fails_has_another_exit_status_than_0_and_records_why(
    cli: DagsterCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, output = cli.run_job("ingest_rasters", source="nosuch")
    assert status != 0, output
    run_status, log = recorded(cli, monkeypatch)
    assert run_status is DagsterRunStatus.FAILURE
    assert f"it has: {SOURCE}" in log


def test_asset_materialize_takes_a_source_not_registered_yet(
    cli: DagsterCli, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = "container_listing,raster_metadata,stac_collections,stac_items"
    status, output = dagster(
        cli,
        *("asset", "materialize", "-m", "geo_assets.definitions", "--select", selection, "--partition", SOURCE),
    )
    assert status == 0, output
    assert (pipeline.status().catalogued, pipeline.status().quarantined) == (1, 1)
    assert partitions(cli, monkeypatch) == [SOURCE]


def test_asset_materialize_refuses_a_source_that_is_not_declared(cli: DagsterCli) -> None:
    status, output = dagster(
        cli,
        *("asset", "materialize", "-m", "geo_assets.definitions", "--select", "container_listing"),
        *("--partition", "nosuch"),
    )
    assert status != 0
    assert "nosuch" in output


def test_the_job_of_events_works_from_the_ledger_alone_and_ends_with_a_census(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    folder = tmp_path / "container"
    write_raster(folder / "a.tif")
    pipeline.declare(folder.as_uri())
    assert pipeline.run("list_container").success
    write_raster(folder / "b.tif")
    result = pipeline.run("ingest_observed", maps=True)
    assert result.success
    assert list(pipeline.items()) == ["a.tif"]
    assert {each.check_name for each in result.get_asset_check_evaluations()} == set(CHECKS)
    materialized = [event.materialization for event in result.get_asset_materialization_events()]
    assert not any("footprints" in each.metadata for each in materialized)
    assert pipeline.query("SELECT count(*) FROM ledger.listing") == [(1,)]
