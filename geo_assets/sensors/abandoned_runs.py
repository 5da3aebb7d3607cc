"""Runs whose worker is gone without a word: a killed process, a machine that went away.

Dagster's default launcher cannot tell (it has no health check, and knows nothing of a run started by
`dagster job execute`), so such a run stays STARTED for ever and keeps its source's only place in the
queue. The ledger can: a worker holds a lock in PostgreSQL for as long as it lives.
"""

import time

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus

from geo_assets.resources.database import Database

# A worker between two steps, or one whose database just restarted, holds no lock for a moment.
SILENT_SECONDS = 120.0
PARTITION_TAG = "dagster/partition"


def fail_if_abandoned(instance: DagsterInstance, run: DagsterRun, *, database: Database) -> bool:
    """Report the run as failed where it has started, has no worker and has been silent; whether it was so."""
    if run.status is not DagsterRunStatus.STARTED:
        return False
    if _silent_seconds(instance, run.run_id) <= SILENT_SECONDS or database.has_worker(run.run_id):
        return False
    instance.report_run_failed(run, "The run's worker is gone. What it recorded is kept; the next run continues.")
    return True


def _silent_seconds(instance: DagsterInstance, run_id: str) -> float:
    latest = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    return time.time() - latest[0].timestamp if latest else float("inf")
