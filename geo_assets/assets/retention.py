"""The job `retention`, daily: delete what time has made worthless, and say how much it was.

Here: the ages and their order. Not here: how things are found and deleted (`geo_assets.ledger.history`).
docs/guides/retention.md says what stays and why.
"""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dagster import (
    Config,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    OpExecutionContext,
    RunsFilter,
    ScheduleDefinition,
    job,
    op,
)
from pydantic import Field

from geo_assets.assets.failing import clear_failures
from geo_assets.assets.own_runs import OWN_TAG, api_jobs_in_use, measure_events, own_runs, runs_of_latest
from geo_assets.assets.own_runs import delete_step_events as remove_step_events
from geo_assets.display import one_line
from geo_assets.ledger.history import Removed
from geo_assets.resources.database import Database
from geo_assets.resources.silver import SilverStore

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
        removed = remove_step_events(context.instance, succeeded)
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
