"""The job retention, on real runs and rows: what is old goes, what still means something stays."""

import dataclasses
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
import yaml
from dagster import (
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    DefaultScheduleStatus,
    ExecuteInProcessResult,
    ScheduleDefinition,
    job,
    op,
)
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster_postgres import PostgresEventLogStorage

from geo_assets.definitions import build_definitions, defs
from tests.ledgers import SOURCE as LANDSAT
from tests.ledgers import blob, describe, fail, listed
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.services import PROJECT

REPOSITORY = ".dagster/repository"


@pytest.fixture
def durable(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """The pipeline on an instance as dagster.yaml declares it, in the catalogue's database, with one raster."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    monkeypatch.setenv("GEO_ASSETS_DATABASE_URL", pipeline.database_url)
    write_raster(tmp_path / "container" / "a.tif", value=1)
    pipeline.declare((tmp_path / "container").as_uri())
    with DagsterInstance.from_config(str(home)) as instance:
        yield dataclasses.replace(pipeline, instance=instance)


def execute(pipeline: Pipeline, statement: str, **values: Any) -> None:
    with psycopg.connect(pipeline.database_url, autocommit=True) as connection:
        connection.execute(statement, values)


def age_runs(pipeline: Pipeline, days: int) -> None:
    """Make all runs of the instance so old."""
    storage = pipeline.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    moment = (datetime.now(UTC) - timedelta(days=days)).replace(tzinfo=None)
    with storage.connect() as connection:
        connection.execute(sqlalchemy.update(RunsTable).values(update_timestamp=moment))


def retain(pipeline: Pipeline, **tags: str) -> dict[str, dict[str, Any]]:
    """Run the job with its defaults; the metadata of each op's output."""
    result: ExecuteInProcessResult = (
        build_definitions(pipeline.resources())
        .resolve_job_def("retention")
        .execute_in_process(instance=pipeline.instance, tags=tags)
    )
    events = [event for event in result.all_events if event.is_successful_output]
    return {
        str(event.step_key): {name: value.value for name, value in event.step_output_data.metadata.items()}
        for event in events
    }


def events_of(pipeline: Pipeline, run_id: str) -> set[str]:
    return {kind for (kind,) in pipeline.query(f"SELECT dagster_event_type FROM event_logs WHERE run_id = '{run_id}'")}


def test_old_runs_go_but_for_the_latest_materialization_of_each_source(durable: Pipeline, tmp_path: Path) -> None:
    write_raster(tmp_path / "other" / "b.tif", value=2)
    durable.declare((tmp_path / "other").as_uri(), name="idle")
    idle = durable.run(source="idle").run_id
    first, latest = durable.run().run_id, durable.run().run_id
    age_runs(durable, 31)
    young = durable.run("list_container").run_id
    report = retain(durable)["delete_old_runs"]
    left = {run.run_id for run in durable.instance.get_runs()}
    assert {idle, latest, young} <= left
    assert first not in left
    assert report["runs"] == 1
    assert report["runs_kept_for_their_materializations"] == 2
    assert report["events"] > 50
    assert report["bytes"] > 10_000
    assert events_of(durable, first) == set()
    for name in ("container_listing", "raster_metadata", "stac_collections", "stac_items"):
        assert durable.instance.get_materialized_partitions(AssetKey(name)) == {SOURCE, "idle"}
    durable.check_promise()


def test_a_run_in_progress_stays_however_old(durable: Pipeline) -> None:
    hello = build_definitions(durable.resources()).resolve_job_def("hello_world")
    run = durable.instance.create_run_for_job(hello, tags=dict(hello.tags))
    durable.instance.report_run_failed(durable.instance.create_run_for_job(hello, tags=dict(hello.tags)))
    age_runs(durable, 400)
    assert retain(durable)["delete_old_runs"]["runs"] == 1
    assert durable.instance.has_run(run.run_id)


def test_a_success_loses_its_timeline_and_keeps_what_it_materialized(durable: Pipeline) -> None:
    success = durable.run().run_id
    age_runs(durable, 8)
    recent = durable.run("list_container").run_id
    report = retain(durable)["delete_step_events"]
    assert report["events"] > 50
    assert report["bytes"] > 10_000
    assert events_of(durable, success) >= {"ASSET_MATERIALIZATION", "PIPELINE_START", "PIPELINE_SUCCESS"}
    assert not events_of(durable, success) & {"STEP_START", "STEP_SUCCESS", None}
    assert "STEP_SUCCESS" in events_of(durable, recent)
    event = durable.instance.get_latest_materialization_event(AssetKey("stac_items"))
    assert event is not None
    assert event.run_id == success
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["catalogued"].value == 1


def test_a_failure_keeps_its_timeline(durable: Pipeline) -> None:
    durable.declare("file:///no/such/folder")
    failed = durable.run().run_id
    age_runs(durable, 29)
    retain(durable)
    assert {"STEP_START", "STEP_FAILURE"} <= events_of(durable, failed)


def test_values_between_steps_go_after_a_week_unless_their_run_goes_on(durable: Pipeline) -> None:
    durable.run()
    assert durable.query("SELECT count(*) FROM ledger.step_value")[0][0] > 2
    assert retain(durable)["delete_step_values"]["values"] == 0
    execute(durable, "UPDATE ledger.step_value SET stored_at = now() - interval '8 days'")
    hello = build_definitions(durable.resources()).resolve_job_def("hello_world")
    going_on = durable.instance.create_run_for_job(hello, tags=dict(hello.tags)).run_id
    execute(
        durable,
        "INSERT INTO ledger.step_value VALUES (%(run)s, 's', 'o', '', '1', now() - interval '8 days')",
        run=going_on,
    )
    report = retain(durable)["delete_step_values"]
    assert report["values"] > 2
    assert report["bytes"] > 100
    assert durable.query("SELECT run_id FROM ledger.step_value") == [(going_on,)]


def test_files_of_deleted_runs_go_and_nothing_else(durable: Pipeline) -> None:
    old, latest = durable.run().run_id, durable.run().run_id
    age_runs(durable, 31)
    storage = Path(durable.instance.storage_directory())
    unknown = "00000000-0000-4000-8000-000000000000"
    for name in (old, latest, unknown, "mine"):
        folder = storage / name / "x"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "x.out").write_text("12345")
    retain(durable)
    assert not (storage / old).exists()
    for name in (latest, unknown, "mine"):
        assert (storage / name / "x" / "x.out").exists()


@op
def stranger() -> None:
    """Does nothing."""


@job
def nightly_of_another_project() -> None:
    """A job of a code location that shares the instance."""
    stranger()


def test_runs_of_other_projects_stay_with_their_events_and_files(durable: Pipeline) -> None:
    instance = durable.instance
    done = nightly_of_another_project.execute_in_process(instance=instance).run_id
    failed = instance.create_run_for_job(nightly_of_another_project, tags={REPOSITORY: "__repository__@another"})
    instance.report_run_failed(failed)
    events = events_of(durable, done)
    folder = Path(instance.storage_directory()) / done
    folder.mkdir(parents=True, exist_ok=True)
    own = durable.run("list_container").run_id
    durable.run("list_container")
    age_runs(durable, 400)
    report = retain(durable, **{REPOSITORY: "__repository__@geo_assets.definitions"})
    assert report["delete_old_runs"]["runs"] == 1
    assert not instance.has_run(own)
    assert instance.has_run(done)
    assert instance.has_run(failed.run_id)
    assert events_of(durable, done) == events
    assert "STEP_START" in events
    assert folder.exists()


def test_what_was_materialized_in_the_ui_goes_by_the_code_location_that_dagster_tags_it_with(
    durable: Pipeline,
) -> None:
    mine = {REPOSITORY: "__repository__@geo_assets.definitions"}
    run = durable.instance.create_run_for_job(nightly_of_another_project, tags=mine)
    durable.instance.report_run_failed(run)
    age_runs(durable, 31)
    assert retain(durable)["delete_old_runs"]["runs"] == 0
    assert retain(durable, **mine)["delete_old_runs"]["runs"] == 1


@pytest.fixture(params=["postgres", "sqlite"])
def elsewhere(
    request: pytest.FixtureRequest, durable: Pipeline, database_url: str, tmp_path: Path
) -> Iterator[Pipeline]:
    """The same pipeline on an instance whose storage is not the one of our settings."""
    home = tmp_path / "elsewhere"
    home.mkdir()
    if request.param == "postgres":
        storage = {"storage": {"postgres": {"postgres_url": database_url}}}
        (home / "dagster.yaml").write_text(yaml.safe_dump(storage))
    else:
        (home / "dagster.yaml").touch()
    with DagsterInstance.from_config(str(home)) as instance:
        yield dataclasses.replace(durable, instance=instance)


def test_with_another_storage_the_latest_materializations_stay_too(elsewhere: Pipeline) -> None:
    first, latest = elsewhere.run().run_id, elsewhere.run().run_id
    age_runs(elsewhere, 31)
    report = retain(elsewhere)
    assert not elsewhere.instance.has_run(first)
    assert elsewhere.instance.has_run(latest)
    assert (report["delete_old_runs"]["runs"], report["delete_old_runs"]["events"] > 50) == (1, True)
    event = elsewhere.instance.get_latest_materialization_event(AssetKey("stac_items"))
    assert event is not None
    assert event.run_id == latest
    slimmed = isinstance(elsewhere.instance.event_log_storage, PostgresEventLogStorage)
    kinds = {entry.dagster_event_type for entry in elsewhere.instance.all_logs(latest)}
    assert (DagsterEventType.STEP_START in kinds) is not slimmed


def test_ledger_history_goes_by_age_and_states_stay(durable: Pipeline) -> None:
    database = durable.database
    listed(database, [blob("kept"), blob("bad"), blob("gone"), blob("gone_lately")])
    describe(database, blob("kept"))
    fail(database, blob("bad"))
    listed(database, [blob("kept"), blob("bad")])
    listed(database, [blob("kept")], complete=False)
    fail(database, blob("kept"), stage="catalogue", permanent=False)
    before = database.blobs.status(LANDSAT.name)
    execute(durable, "UPDATE ledger.failed_attempt SET failed_at = now() - interval '91 days' WHERE name = 'bad'")
    execute(durable, "UPDATE ledger.listing SET started_at = now() - interval '91 days'")
    execute(durable, "UPDATE ledger.blob SET deleted_at = now() - interval '181 days' WHERE name = 'gone'")
    generation = database.blobs.outstanding(LANDSAT.name).generation
    report = retain(durable)["delete_ledger_history"]
    assert (report["failed_attempts"], report["listings"], report["tombstones"]) == (1, 1, 1)
    assert report["bytes"] > 100
    assert durable.query("SELECT name FROM ledger.blob ORDER BY name") == [("bad",), ("gone_lately",), ("kept",)]
    assert durable.query("SELECT name FROM ledger.failed_attempt") == [("kept",)]
    assert dataclasses.replace(database.blobs.status(LANDSAT.name), deleted=before.deleted) == before
    assert database.blobs.outstanding(LANDSAT.name).generation == generation
    assert {failure.name for failure in database.blobs.failures(LANDSAT.name)} == {"bad", "kept"}


def test_history_of_events_goes_by_age_but_for_messages_that_somebody_must_still_see_to(durable: Pipeline) -> None:
    for age in (91, 89):
        batch = f"'storage_queue', 'q', now() - interval '{age} days', 1, 1, 0, 0, 0, 1, 0, 0, 0"
        columns = "messages, events, new, changed, deleted, unchanged, redelivered, abandoned, poisoned"
        execute(durable, f"INSERT INTO ledger.received_batch (path, queue, received_at, {columns}) VALUES ({batch})")
        for state in ("to_dead_letter", "dead_letter", "replayed", "dropped"):
            execute(
                durable,
                "INSERT INTO ledger.message (path, queue, message_id, delivery_count, error_code, error_message, "
                "body_start, state, changed_at) VALUES ('service_bus', 'q', %(id)s, 1, 'malformed_message', 'm', 'b', "
                "%(state)s, now() - make_interval(days => %(age)s))",
                id=f"{state} {age}",
                state=state,
                age=age,
            )
    report = retain(durable)["delete_ledger_history"]
    assert (report["received_batches"], report["messages"]) == (1, 2)
    assert durable.query("SELECT count(*) FROM ledger.received_batch") == [(1,)]
    left = {name for (name,) in durable.query("SELECT message_id FROM ledger.message")}
    old = {"to_dead_letter 91", "dead_letter 91"}
    assert left == old | {f"{state} 89" for state in ("to_dead_letter", "dead_letter", "replayed", "dropped")}


def test_jobs_and_writes_of_the_api_go_by_age_but_never_a_job_that_has_not_ended(durable: Pipeline) -> None:
    hello = build_definitions(durable.resources()).resolve_job_def("hello_world")
    ids = {
        name: f"{number:064x}" for number, name in enumerate(["old", "young", "going_on", "ended_lately", "forgotten"])
    }
    for name, job_id in ids.items():
        age = 1 if name == "young" else 91
        execute(
            durable,
            "INSERT INTO ledger.api_job (job_id, job_type, parameters, state, submitted_by, correlation_id, "
            "submitted_at, seen_at) VALUES (%(id)s, 'hello_world', '{}', 'queued', 'x', 'y', %(at)s, %(at)s)",
            id=job_id,
            at=datetime.now(UTC) - timedelta(days=age),
        )
    runs = {
        name: durable.instance.create_run_for_job(hello, tags={"geo_assets/job_id": ids[name]})
        for name in ("old", "young", "going_on", "ended_lately")
    }
    durable.instance.report_run_failed(runs["old"])
    age_runs(durable, 91)
    durable.instance.report_run_failed(runs["ended_lately"])
    for age in (366, 364):
        execute(
            durable,
            "INSERT INTO ledger.api_write (written_by, method, path, correlation_id, written_at) "
            "VALUES (%(who)s, 'PUT', '/', 'y', now() - make_interval(days => %(age)s))",
            who=str(age),
            age=age,
        )
    report = retain(durable)["delete_ledger_history"]
    assert (report["api_jobs"], report["api_writes"]) == (2, 1)
    left = {job_id for (job_id,) in durable.query("SELECT job_id FROM ledger.api_job")}
    assert left == {ids["young"], ids["going_on"], ids["ended_lately"]}
    assert durable.query("SELECT written_by FROM ledger.api_write") == [("364",)]


def test_a_tombstone_whose_item_is_not_withdrawn_stays(durable: Pipeline) -> None:
    durable.run()
    execute(durable, "UPDATE ledger.blob SET deleted_at = now() - interval '400 days'")
    assert retain(durable)["delete_ledger_history"]["tombstones"] == 0


def test_retention_is_scheduled_every_day_and_on_by_default() -> None:
    (schedule,) = [each for each in defs.schedules or [] if each.name == "daily_retention"]
    assert isinstance(schedule, ScheduleDefinition)
    assert schedule.cron_schedule == "17 3 * * *"
    assert schedule.default_status is DefaultScheduleStatus.RUNNING
