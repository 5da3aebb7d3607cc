"""Jobs as callers of the API know them: submitted once, however often, and told from what Dagster says of their runs.

Here: the identity of a job, its row in the ledger, and how it stands. Not here: which jobs there are
(`geo_assets.api.job_types`), launching (`dagster_server`).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from geo_assets.api.dagster_server import RunState
from geo_assets.ledger.database import Connection, DatabaseResource
from geo_assets.ledger.statements import read_sql

JobState = Literal["queued", "running", "canceling", "completed", "failed", "canceled", "forgotten"]
_STATES: dict[str, JobState] = {
    "NOT_STARTED": "queued",
    "QUEUED": "queued",
    "STARTING": "queued",
    "MANAGED": "queued",
    "STARTED": "running",
    "CANCELING": "canceling",
    "SUCCESS": "completed",
    "FAILURE": "failed",
    "CANCELED": "canceled",
}
UNDER_WAY: tuple[JobState, ...] = ("queued", "running", "canceling")
TO_SUBMIT_AGAIN: tuple[JobState, ...] = ("failed", "canceled", "forgotten")
"""States of a job of which a duplicate starts a run anew."""


@dataclass(frozen=True, slots=True)
class ApiJob:
    """A job's row: what was submitted, and what was last seen of it."""

    job_id: str
    job_type: str
    parameters: dict[str, Any]
    state: JobState
    run_ids: list[str]
    submitted_by: str
    correlation_id: str
    submitted_at: datetime
    seen_at: datetime


class ApiJobs(DatabaseResource):
    """The jobs of the API in the ledger."""

    @contextmanager
    def submitting(self, job_id: str) -> Iterator[Connection]:
        """A transaction in which nobody else submits this job."""
        with self.connect() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 4))", (job_id,))
            yield connection

    def find(self, job_id: str) -> ApiJob | None:
        """The job; None where none was submitted under this id."""
        return next((ApiJob(**row) for row in self.rows("select_api_job", job_id=job_id)), None)

    def latest(self, *, most: int) -> list[ApiJob]:
        """Up to ``most`` jobs, the latest submitted first."""
        return [ApiJob(**row) for row in self.rows("select_api_jobs", most=most)]

    def record_seen(self, job: ApiJob, state: JobState, run_ids: Sequence[str]) -> None:
        """Keep what was seen of a job, for when Dagster has forgotten its runs."""
        if state != job.state or set(run_ids) - set(job.run_ids):
            self.rows("store_api_job_seen", job_id=job.job_id, state=state, run_ids=list(run_ids))


def store(
    connection: Connection,
    *,
    job_id: str,
    job_type: str,
    parameters: Mapping[str, Any],
    run_ids: Sequence[str],
    submitted_by: str,
    correlation_id: str,
) -> None:
    """Write the job with its runs, the latest last."""
    connection.execute(
        read_sql("store_api_job"),
        {
            "job_id": job_id,
            "job_type": job_type,
            "parameters": Jsonb(dict(parameters)),
            "run_ids": list(run_ids),
            "submitted_by": submitted_by,
            "correlation_id": correlation_id,
        },
    )


def job_id_of(job_type: str, parameters: Mapping[str, Any]) -> str:
    """The SHA-256 of a job's type and its parameters in canonical JSON: sorted keys, no spaces."""
    canonical = json.dumps(parameters, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{job_type}:{canonical}".encode()).hexdigest()


def state_of_run(status: str) -> JobState:
    """How a run stands, in the words of jobs."""
    return _STATES.get(status, "running")


def state_of(runs: Sequence[RunState], *, last_seen: JobState | None) -> JobState:
    """How a job stands by its ``runs``, the latest first; where Dagster forgot them, as it was last seen to end."""
    if runs:
        return state_of_run(runs[0].status)
    return last_seen if last_seen is not None and last_seen not in UNDER_WAY else "forgotten"
