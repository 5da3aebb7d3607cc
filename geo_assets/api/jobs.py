"""Jobs as callers of the API know them: submitted once, however often, and told from what Dagster says of their runs.

Here: which jobs can be submitted, with their parameters; the identity of a job, its row in the ledger, and its state.
Not here: the jobs themselves (`geo_assets.assets.jobs`), launching (`dagster_server`).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geo_assets.api.dagster_server import RunState
from geo_assets.api.problems import InvalidRequest
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.postgres.locks import Lock, take_until_end


class Parameters(BaseModel):
    """What every job takes: a label, which makes a job of its own of what would else be the same job."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    label: str | None = Field(default=None, max_length=64, description="Makes this another job than the same without.")

    def canonical(self) -> dict[str, Any]:
        """The parameters that make the job's identity: defaults are in it, what is unset is not."""
        return self.model_dump(mode="json", exclude_none=True)

    def run_config(self) -> dict[str, Any]:
        """What Dagster is told beside the partition."""
        return {}


class HelloParameters(Parameters):
    """How many greetings."""

    n: int = Field(default=3, ge=1, le=10_000, description="Number of greetings, and so of replies.")

    def run_config(self) -> dict[str, Any]:
        """The configuration of the op that plans."""
        return {"ops": {"plan_greetings": {"config": {"n": self.n}}}}


class SourceParameters(Parameters):
    """Which source of sources.yaml."""

    source: str = Field(description="The name of a source of sources.yaml.", pattern=r"^[A-Za-z0-9_-]{1,63}$")


class PeriodParameters(Parameters):
    """Which time is compared."""

    hours: float = Field(default=24, gt=0, le=24 * 366, description="Count what arrived in the last N hours.")

    def run_config(self) -> dict[str, Any]:
        """The configuration of the asset."""
        return {"ops": {"event_paths": {"config": {"hours": self.hours}}}}


JOB_TYPES: dict[str, type[Parameters]] = {
    "hello_world": HelloParameters,
    "ingest_rasters": SourceParameters,
    "ingest_observed": SourceParameters,
    "load_vectors": SourceParameters,
    "make_cogs": SourceParameters,
    "reconcile": SourceParameters,
    "list_container": SourceParameters,
    "snapshot": SourceParameters,
    "compare_paths": PeriodParameters,
    "stac_setup": Parameters,
}
EXAMPLES: dict[str, Any] = {
    "hello_world": {"summary": "hello_world", "value": {"n": 3}},
    "ingest_rasters": {"summary": "ingest_rasters", "value": {"source": "landsat"}},
    "compare_paths": {"summary": "compare_paths", "value": {"hours": 24}},
    "again": {"summary": "the same as another job", "value": {"source": "landsat", "label": "2026-11-27"}},
}


def source_of(parameters: dict[str, Any]) -> str | None:
    """The source that a job's parameters name; None where it has none."""
    source = parameters.get("source")
    return source if isinstance(source, str) else None


def job_names() -> str:
    """The names of the jobs, for messages."""
    return ", ".join(sorted(JOB_TYPES))


def parse_parameters(job_type: str, given: dict[str, Any]) -> Parameters:
    """The parameters of a job. Raises InvalidRequest, as pydantic's errors in words."""
    try:
        return JOB_TYPES[job_type].model_validate(given)
    except ValidationError as error:
        words = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors(include_url=False)
        )
        fields = ", ".join(JOB_TYPES[job_type].model_fields)
        raise InvalidRequest(f"{job_type}: {words}", remedy=f"Its parameters are: {fields}.") from error


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
"""States of a job in which a duplicate starts another run."""


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


@dataclass(frozen=True, slots=True)
class ApiJobs:
    """The jobs of the API in the ledger."""

    connections: Connections

    @contextmanager
    def submitting(self, job_id: str) -> Iterator[Connection]:
        """A transaction in which no other process submits this job."""
        with self.connections.connect() as connection, connection.transaction():
            take_until_end(connection, Lock.API_JOB, job_id)
            yield connection

    def find(self, job_id: str) -> ApiJob | None:
        """The job; None where none was submitted under this id."""
        return next((ApiJob(**row) for row in self.connections.rows("select_api_job", job_id=job_id)), None)

    def latest(self, *, most: int) -> list[ApiJob]:
        """Up to ``most`` jobs, the latest submitted first."""
        return [ApiJob(**row) for row in self.connections.rows("select_api_jobs", most=most)]

    def record_seen(self, job: ApiJob, state: JobState, run_ids: Sequence[str]) -> None:
        """Keep what was seen of a job, for when Dagster has forgotten its runs."""
        if state != job.state or set(run_ids) - set(job.run_ids):
            self.connections.rows("store_api_job_seen", job_id=job.job_id, state=state, run_ids=list(run_ids))


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
    """The state of a run, in the words of jobs."""
    return _STATES.get(status, "running")


def state_of(runs: Sequence[RunState], *, last_seen: JobState | None) -> JobState:
    """The state of a job by its ``runs``, the latest first; if Dagster forgot them, as it was last seen to end."""
    if runs:
        return state_of_run(runs[0].status)
    return last_seen if last_seen is not None and last_seen not in UNDER_WAY else "forgotten"
