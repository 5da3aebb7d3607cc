"""The job `retention`, daily: delete what time has made worthless, and say how much it was.

Here: the ages and their order. Not here: how things are found and deleted (`geo_assets.ledger.history`).
docs/guides/retention.md says what stays and why.
"""

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from dagster import (
    Config,
    DagsterInstance,
    DagsterRunStatus,
    DefaultScheduleStatus,
    In,
    Nothing,
    OpExecutionContext,
    RunsFilter,
    ScheduleDefinition,
    job,
    op,
)
from pydantic import Field

from geo_assets.assets.failing import clear_failures
from geo_assets.display import one_line
from geo_assets.ledger.cogs import CogLedger
from geo_assets.ledger.history import EventLog, LedgerHistory, Removed
from geo_assets.resources.silver import SilverStore

ENDED = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
IN_PROGRESS = [status for status in DagsterRunStatus if status not in ENDED]
RUNS_A_QUERY = 500


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
    tombstone_days: int = Field(default=180, ge=1, description="Forget blobs that were deleted more than N days ago.")


@op(description="Delete old runs with their events and logs, but those that hold an asset's latest materialization.")
def delete_old_runs(context: OpExecutionContext, config: RunRetention, event_log: EventLog) -> None:
    """Delete run by run: what an interruption leaves is deleted the next day."""
    events, files, runs = Removed(), Removed(), 0
    with clear_failures():
        kept = event_log.runs_of_latest()
        old = context.instance.get_run_ids(RunsFilter(statuses=ENDED, updated_before=_ago(config.days)))
        for run_id in [run_id for run_id in old if run_id not in kept]:
            events += event_log.measure(run_id)
            files += _measure(_run_folder(context.instance, run_id))
            context.instance.compute_log_manager.delete_logs(prefix=[run_id])
            # Dagster would delete the run first: killed after that, it would leave events that no run leads to.
            context.instance.event_log_storage.delete_events(run_id)
            context.instance.delete_run(run_id)
            runs += 1
    context.add_output_metadata(
        {
            "runs": runs,
            "runs_kept_for_their_materializations": len(kept & set(old)),
            "events": events.rows,
            "bytes": events.size_bytes + files.size_bytes,
        }
    )


@op(description="Delete step events and log lines of runs that succeeded; what they materialized stays.")
def delete_step_events(context: OpExecutionContext, config: StepEventRetention, event_log: EventLog) -> None:
    """Slim the event log."""
    with clear_failures():
        _report(context, events=event_log.delete_step_events(before=_ago(config.days)))


@op(description="Delete the values that ended runs left between their steps.")
def delete_step_values(context: OpExecutionContext, config: StepValueRetention, ledger_history: LedgerHistory) -> None:
    """Delete values, but of runs that may still ask for them."""
    in_progress = context.instance.get_run_ids(RunsFilter(statuses=IN_PROGRESS))
    with clear_failures():
        _report(
            context,
            values=ledger_history.delete_step_values(before=_ago(config.days), runs_in_progress=in_progress),
        )


@op(
    ins={"old_runs_deleted": In(Nothing)},
    description="Delete what runs that no longer exist left below DAGSTER_HOME/storage of this host.",
)
def delete_run_files(context: OpExecutionContext) -> None:
    """Delete the folders of runs deleted here, in the UI or by another host."""
    files = Removed()
    for folder in _folders_without_run(context.instance):
        files += _measure(folder)
        shutil.rmtree(folder, ignore_errors=True)
    _report(context, files=files)


@op(description="Delete old failed attempts, records of listings and events, and blobs long gone from the ledger.")
def delete_ledger_history(context: OpExecutionContext, config: LedgerRetention, ledger_history: LedgerHistory) -> None:
    """Slim the ledger; the state of every blob, and the reason why it has no item, stays."""
    with clear_failures():
        _report(
            context,
            failed_attempts=ledger_history.delete_failed_attempts(before=_ago(config.attempt_days)),
            listings=ledger_history.delete_listings(before=_ago(config.listing_days)),
            received_batches=ledger_history.delete_received_batches(before=_ago(config.event_days)),
            messages=ledger_history.delete_messages(before=_ago(config.event_days)),
            tombstones=ledger_history.delete_tombstones(before=_ago(config.tombstone_days)),
        )


@op(description="Remove files that no raster's COG has, also of sources that are no longer declared.")
def remove_orphaned_files(context: OpExecutionContext, cog_ledger: CogLedger, silver_store: SilverStore) -> None:
    """Remove them where the store lets us; what stays is tried again the next day."""
    with clear_failures():
        swept = cog_ledger.sweep(silver_store.remove)
    for place, error in swept.left.items():
        context.log.warning(one_line(f"files without a COG stay in {place}: {error}"))
    context.add_output_metadata({"files": len(swept.removed), "places_not_swept": len(swept.left)})


@job(description="Delete old runs, events, values between steps, files and ledger history, by documented ages.")
def retention() -> None:
    """Runs before their files; the rest in any order."""
    delete_run_files(delete_old_runs())
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


def _folders_without_run(instance: DagsterInstance) -> Iterator[Path]:
    storage = Path(instance.storage_directory())
    folders = sorted(path for path in storage.iterdir() if _is_run_id(path.name)) if storage.is_dir() else []
    for start in range(0, len(folders), RUNS_A_QUERY):
        part = folders[start : start + RUNS_A_QUERY]
        known = set(_existing(instance, [path.name for path in part]))
        yield from (path for path in part if path.name not in known)


def _existing(instance: DagsterInstance, run_ids: Sequence[str]) -> Sequence[str]:
    return instance.get_run_ids(RunsFilter(run_ids=list(run_ids)))


def _is_run_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _measure(folder: Path) -> Removed:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return Removed(len(files), sum(path.stat().st_size for path in files))
