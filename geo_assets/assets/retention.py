"""The job `retention`, daily: delete what time has made worthless, and say how much it was; and which runs are ours.

Here: the ages and their order; the runs of this project among all that a Dagster instance has, and asking the instance
(never our own database) what they hold. Not here: how things are found and deleted in our database
(`geo_assets.ledger.history`). docs/guides/retention.md says what stays and why.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import sqlalchemy
from dagster import (
    AssetKey,
    AssetRecordsFilter,
    Config,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultScheduleStatus,
    EventRecordsResult,
    OpExecutionContext,
    RunsFilter,
    ScheduleDefinition,
    job,
    op,
)
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster_postgres import PostgresEventLogStorage
from pydantic import Field

from geo_assets.assets.ops import clear_failures
from geo_assets.display import one_line
from geo_assets.ledger.history import Removed
from geo_assets.resources.database import Database
from geo_assets.resources.stores import SilverStore

T = TypeVar("T")

OWN_TAG = {"geo_assets/run": "true"}
"""The tag of every job of ours, and so of its runs."""
JOB_TAG = "geo_assets/job_id"
"""The tag of a run that was launched for a job of the API: that job's id."""
_REPOSITORY_TAG = ".dagster/repository"
_OF_ASSETS = (DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_OBSERVATION)
_IDS_A_QUERY = 500

# Events that only the timeline of a run shows. Not LOGS_CAPTURED, by which the UI finds what a step printed.
STEP_EVENT_TYPES = [
    "ENGINE_EVENT",
    "HANDLED_OUTPUT",
    "LOADED_INPUT",
    "OBJECT_STORE_OPERATION",
    "RESOURCE_INIT_STARTED",
    "RESOURCE_INIT_SUCCESS",
    "STEP_INPUT",
    "STEP_OUTPUT",
    "STEP_RESTARTED",
    "STEP_START",
    "STEP_SUCCESS",
    "STEP_UP_FOR_RETRY",
    "STEP_WORKER_STARTED",
    "STEP_WORKER_STARTING",
]


def own_runs(
    instance: DagsterInstance, asking: DagsterRun, *, statuses: Sequence[DagsterRunStatus], before: datetime
) -> list[str]:
    """Return the ids of our runs that were last updated before then.

    Ours are the runs with our tag, and those of the code location and repository that the run ``asking`` is of:
    Dagster writes both into a tag of what is launched in the UI, also where assets are materialized without a job.
    """
    tags = [OWN_TAG]
    if label := asking.tags.get(_REPOSITORY_TAG):
        tags.append({_REPOSITORY_TAG: label})
    found: dict[str, None] = {}
    for tag in tags:
        filters = RunsFilter(statuses=list(statuses), updated_before=before, tags=tag)
        found |= dict.fromkeys(instance.get_run_ids(filters))
    return list(found)


def runs_of_latest(instance: DagsterInstance, run_ids: Iterable[str]) -> set[str]:
    """Return those of the runs that hold the latest materialization or observation of an asset or a partition."""
    asked = set(run_ids)
    keys = {key for run_id in asked for key in _assets_of(instance, run_id)}
    return {run_id for key in keys for run_id in _holders(instance, key)} & asked


def api_jobs_in_use(instance: DagsterInstance, job_ids: Sequence[str], *, since: datetime) -> set[str]:
    """Return those of the API's jobs that have a run in progress, or one that was updated since then."""
    in_use: set[str] = set()
    for part in _parts(job_ids):
        for record in instance.get_run_records(RunsFilter(tags={JOB_TAG: list(part)})):
            if not record.dagster_run.is_finished or record.update_timestamp.replace(tzinfo=UTC) >= since:
                in_use.add(record.dagster_run.tags[JOB_TAG])
    return in_use


def measure_events(instance: DagsterInstance, run_id: str) -> Removed:
    """Return how many events a run has, and their bytes where PostgreSQL keeps them."""
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return Removed(rows=len(instance.all_logs(run_id)))
    size = sqlalchemy.func.coalesce(sqlalchemy.func.sum(sqlalchemy.func.octet_length(Events.c.event)), 0)
    count = sqlalchemy.select(sqlalchemy.func.count(), size).where(Events.c.run_id == run_id)
    with storage.index_connection() as connection:
        rows, size_bytes = connection.execute(count).one()
    return Removed(rows, size_bytes)


def purge_step_events(instance: DagsterInstance, run_ids: Sequence[str]) -> Removed | None:
    """Delete the step events and log lines of the runs; None where the instance keeps events outside PostgreSQL.

    Dagster offers no way to delete some events of a run (dagster#33785), so its table is used.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        return None
    removed = Removed()
    kind = Events.c.dagster_event_type
    for part in _parts(run_ids):
        # Without a type are the lines of a log.
        of_steps = sqlalchemy.or_(kind.is_(None), kind.in_(STEP_EVENT_TYPES))
        statement = (
            sqlalchemy.delete(Events)
            .where(Events.c.run_id.in_(part), of_steps)
            .returning(sqlalchemy.func.octet_length(Events.c.event))
        )
        with storage.index_connection() as connection:
            sizes = connection.execute(statement).scalars().all()
        removed += Removed(len(sizes), sum(sizes))
    return removed


def _assets_of(instance: DagsterInstance, run_id: str) -> Iterator[AssetKey]:
    records = instance.get_records_for_run(run_id, of_type=set(_OF_ASSETS)).records
    for record in records:
        if record.asset_key is not None:
            yield record.asset_key


def _holders(instance: DagsterInstance, key: AssetKey) -> Iterator[str]:
    """The runs of the newest event of each kind about an asset, and about each of its partitions."""
    for kind in _OF_ASSETS:
        yield from _runs_in(_fetch(instance, kind, key, limit=1))
        latest = instance.event_log_storage.get_latest_storage_id_by_partition(key, kind)
        for part in _parts(list(latest.values())):
            found = AssetRecordsFilter(asset_key=key, storage_ids=part)
            yield from _runs_in(_fetch(instance, kind, found, limit=len(part)))


def _fetch(
    instance: DagsterInstance, kind: DagsterEventType, wanted: AssetKey | AssetRecordsFilter, *, limit: int
) -> EventRecordsResult:
    is_made = kind is DagsterEventType.ASSET_MATERIALIZATION
    return (instance.fetch_materializations if is_made else instance.fetch_observations)(wanted, limit=limit)


def _runs_in(found: EventRecordsResult) -> Iterator[str]:
    return (record.run_id for record in found.records)


def _parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    return (values[start : start + _IDS_A_QUERY] for start in range(0, len(values), _IDS_A_QUERY))


ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
IN_PROGRESS = [status for status in DagsterRunStatus if status not in ENDED]


class RunRetention(Config):
    """How long runs stay."""

    days: int = Field(default=30, ge=1, description="Delete runs that ended more than N days ago.")


class StepEventRetention(Config):
    """How long the timeline of a run that succeeded stays."""

    days: int = Field(default=7, ge=1, description="Delete step events of runs that succeeded more than N days ago.")


class StepValueRetention(Config):
    """How long a failed run can be executed again from its failure."""

    days: int = Field(default=7, ge=1, description="Delete step values that are older than N days.")


class LedgerRetention(Config):
    """How long the ledger remembers more than the state of its blobs."""

    attempt_days: int = Field(default=90, ge=1, description="Delete failed attempts that are older than N days.")
    listing_days: int = Field(default=90, ge=1, description="Delete records of listings that are older than N days.")
    event_days: int = Field(default=90, ge=1, description="Delete records of events received more than N days ago.")
    api_job_days: int = Field(default=90, ge=1, description="Delete jobs of the API that ended more than N days ago.")
    api_write_days: int = Field(default=365, ge=1, description="Delete records of API writes older than N days.")
    tombstone_days: int = Field(default=180, ge=1, description="Forget blobs that were deleted more than N days ago.")


@op(
    description="Delete our old runs with their events and logs, but those that hold an asset's latest materialization."
)
def delete_old_runs(context: OpExecutionContext, config: RunRetention) -> None:
    """Delete run by run: what an interruption leaves is deleted the next day."""
    instance = context.instance
    events, files, runs = Removed(), Removed(), 0
    with clear_failures():
        old = own_runs(instance, context.run, statuses=ENDED, before=_ago(config.days))
        kept = runs_of_latest(instance, old)
        for run_id in [run_id for run_id in old if run_id not in kept]:
            events += measure_events(instance, run_id)
            files += _measure(folder := _run_folder(instance, run_id))
            instance.compute_log_manager.delete_logs(prefix=[run_id])
            shutil.rmtree(folder, ignore_errors=True)
            # Dagster would delete the run first: killed after that, it would leave events that no run leads to.
            instance.event_log_storage.delete_events(run_id)
            instance.delete_run(run_id)
            runs += 1
    context.add_output_metadata(
        {
            "runs": runs,
            "runs_kept_for_their_materializations": len(kept),
            "events": events.rows,
            "bytes": events.size_bytes + files.size_bytes,
        }
    )


@op(description="Delete step events and log lines of our runs that succeeded; what they materialized stays.")
def delete_step_events(context: OpExecutionContext, config: StepEventRetention) -> None:
    """Slim the event log."""
    with clear_failures():
        succeeded = own_runs(
            context.instance, context.run, statuses=[DagsterRunStatus.SUCCESS], before=_ago(config.days)
        )
        removed = purge_step_events(context.instance, succeeded)
    if removed is None:
        context.log.info("This instance keeps events outside PostgreSQL: step events go with their runs.")
    _report(context, events=removed or Removed())


@op(description="Delete the values that ended runs left between their steps.")
def delete_step_values(context: OpExecutionContext, config: StepValueRetention, database: Database) -> None:
    """Delete values, but of runs that may still ask for them."""
    in_progress = context.instance.get_run_ids(RunsFilter(statuses=IN_PROGRESS))
    with clear_failures():
        _report(
            context,
            values=database.history.delete_step_values(before=_ago(config.days), runs_in_progress=in_progress),
        )


@op(description="Delete old attempts, listings, events, jobs and writes of the API, and blobs long gone from it.")
def delete_ledger_history(context: OpExecutionContext, config: LedgerRetention, database: Database) -> None:
    """Slim the ledger; the state of every blob, and the reason why it has no item, stays."""
    jobs_before = _ago(config.api_job_days)
    with clear_failures():
        old_jobs = database.history.old_api_jobs(before=jobs_before)
        # Whether a job has ended, its run says: its row has what was last seen, which may be long ago.
        in_use = api_jobs_in_use(context.instance, old_jobs, since=jobs_before)
        _report(
            context,
            api_jobs=database.history.delete_api_jobs(
                [each for each in old_jobs if each not in in_use], before=jobs_before
            ),
            api_writes=database.history.delete_api_writes(before=_ago(config.api_write_days)),
            failed_attempts=database.history.delete_failed_attempts(before=_ago(config.attempt_days)),
            listings=database.history.delete_listings(before=_ago(config.listing_days)),
            received_batches=database.history.delete_received_batches(before=_ago(config.event_days)),
            messages=database.history.delete_messages(before=_ago(config.event_days)),
            tombstones=database.history.delete_tombstones(before=_ago(config.tombstone_days)),
        )


@op(description="Remove files that no raster's COG has, also of sources that are no longer declared.")
def remove_orphaned_files(context: OpExecutionContext, database: Database, silver_store: SilverStore) -> None:
    """Remove them where the store lets us; what stays is tried again the next day."""
    with clear_failures():
        swept = database.cogs.sweep(silver_store.remove)
    for place, error in swept.left.items():
        context.log.warning(one_line(f"files without a COG stay in {place}: {error}"))
    context.add_output_metadata({"files": len(swept.removed), "places_not_swept": len(swept.left)})


@job(
    description="Delete our old runs, events, values between steps, files and ledger history, by documented ages.",
    tags=OWN_TAG,
)
def retention() -> None:
    """In any order."""
    delete_old_runs()
    delete_step_events()
    delete_step_values()
    delete_ledger_history()
    remove_orphaned_files()


retention_schedule = ScheduleDefinition(
    name="daily_retention",
    job=retention,
    cron_schedule="17 3 * * *",
    default_status=DefaultScheduleStatus.RUNNING,
    description="Runs retention every night (UTC) with its default ages.",
)


def _ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


def _report(context: OpExecutionContext, **removed: Removed) -> None:
    counts = {name: part.rows for name, part in removed.items()}
    context.add_output_metadata({**counts, "bytes": sum(part.size_bytes for part in removed.values())})


def _run_folder(instance: DagsterInstance, run_id: str) -> Path:
    return Path(instance.storage_directory()) / run_id


def _measure(folder: Path) -> Removed:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Removed(len(files), sum(path.stat().st_size for path in files))
