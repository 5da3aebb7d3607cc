"""Jobs as callers of the API know them, and Dagster's web server, as a program asks it.

Here: which jobs can be submitted, with their parameters; the identity of a job, submitted once, however often, its row
in the ledger, and its state, told from what Dagster says of its runs; launching a run by Dagster's own client, ending
it, and how the runs of a job stand, by GraphQL over HTTP. Not here: the routes (`job_routes`), the jobs themselves
(`geo_assets.assets.jobs`).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from geo_assets.api.problems import InvalidRequest
from geo_assets.assets.retention import JOB_TAG
from geo_assets.errors import DagsterUnavailable, LaunchRefused
from geo_assets.ledger.database import Connection, Connections, read_sql
from geo_assets.postgres.locks import Lock, take_until_end
from geo_assets.settings import Settings

_TIMEOUT_SECONDS = 30
_MOST_RUNS = 50
_MOST_EVENTS = 1000
_RUNS = """
query Runs($tags: [ExecutionTag!], $limit: Int!) {
  runsOrError(filter: {tags: $tags}, limit: $limit) {
    __typename
    ... on Runs {
      results {
        runId status creationTime startTime endTime
        stepStats { stepKey status startTime endTime attempts { startTime } }
      }
    }
    ... on PythonError { message }
  }
}
"""
_LATEST = """
query Latest($limit: Int!) {
  runsOrError(limit: $limit) {
    __typename
    ... on Runs { results { runId jobName status creationTime startTime endTime tags { key value } } }
    ... on PythonError { message }
  }
}
"""
_EVENTS = """
query Failures($run: ID!, $limit: Int!, $after: String) {
  runOrError(runId: $run) {
    ... on Run {
      eventConnection(limit: $limit, afterCursor: $after) {
        events {
          __typename
          ... on ExecutionStepFailureEvent { stepKey error { message cause { message } } }
          ... on RunFailureEvent { message }
        }
        cursor hasMore
      }
    }
  }
}
"""
_TERMINATE = """
mutation Terminate($run: String!, $policy: TerminateRunPolicy!) {
  terminateRun(runId: $run, terminatePolicy: $policy) {
    __typename
    ... on TerminateRunFailure { message }
    ... on UnauthorizedError { message }
    ... on PythonError { message }
  }
}
"""
_HEALTH = """
query Health {
  version
  instance { daemonHealth { allDaemonStatuses { daemonType healthy required } } }
  workspaceOrError { ... on Workspace { locationEntries {
    name loadStatus locationOrLoadError { __typename ... on PythonError { message } }
  } } }
}
"""
EXAMPLES: dict[str, Any] = {
    "hello_world": {"summary": "hello_world", "value": {"n": 3}},
    "ingest_rasters": {"summary": "ingest_rasters", "value": {"source": "landsat"}},
    "compare_paths": {"summary": "compare_paths", "value": {"hours": 24}},
    "again": {"summary": "the same as another job", "value": {"source": "landsat", "label": "2026-11-27"}},
}
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
class StepState:
    """One step of a run; seconds since the epoch, None where it has not come to that."""

    key: str
    status: str | None
    started_at: float | None
    ended_at: float | None
    attempts: int


@dataclass(frozen=True, slots=True)
class RunState:
    """The state of a run, in Dagster's words."""

    run_id: str
    status: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    steps: tuple[StepState, ...]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One of the latest runs, whoever started it; seconds since the epoch."""

    run_id: str
    job: str
    status: str
    created_at: float
    ended_at: float | None
    tags: dict[str, str]


class DagsterServer:
    """Dagster's web server at one address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url.rstrip("/")
        self._client = DagsterGraphQLClient(
            parts.hostname or "127.0.0.1",
            port_number=parts.port,
            use_https=parts.scheme == "https",
            timeout=_TIMEOUT_SECONDS,
            path_prefix=parts.path.rstrip("/"),
        )

    @classmethod
    def of(cls, settings: Settings) -> "DagsterServer":
        """The one that the settings name."""
        return cls(settings.dagster_server)

    def launch(self, job: str, *, run_config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Launch a run as the UI does; its id. Raises DagsterUnavailable, LaunchRefused."""
        with _client_errors():
            run_id: str = self._client.submit_job_execution(job, run_config=dict(run_config), tags=dict(tags))
            return run_id

    def terminate(self, run_id: str, *, at_once: bool = False) -> None:
        """Ask a run to end; ``at_once``, mark it as canceled whether or not its worker answers.

        Raises DagsterUnavailable, and LaunchRefused where Dagster does not: only queued and started runs can be asked.
        """
        policy = "MARK_AS_CANCELED_IMMEDIATELY" if at_once else "SAFE_TERMINATE"
        answer = self._ask(_TERMINATE, run=run_id, policy=policy)["terminateRun"]
        if answer["__typename"] != "TerminateRunSuccess":
            raise LaunchRefused(f"Dagster does not end the run: {answer.get('message', answer['__typename'])[:300]}")

    def runs_of(self, job_id: str) -> list[RunState]:
        """The runs of a job of the API, the latest first; also those that Dagster retried automatically."""
        return [_run(each) for each in self._runs(_RUNS, tags=[{"key": JOB_TAG, "value": job_id}], limit=_MOST_RUNS)]

    def latest_runs(self, *, most: int) -> list[RunSummary]:
        """Up to ``most`` runs of whoever, the latest first. Raises DagsterUnavailable."""
        return [
            RunSummary(
                run_id=each["runId"],
                job=each["jobName"],
                status=each["status"],
                created_at=each["creationTime"],
                ended_at=each["endTime"],
                tags={tag["key"]: tag["value"] for tag in each["tags"]},
            )
            for each in self._runs(_LATEST, limit=most)
        ]

    def failures_of(self, run_id: str) -> list[dict[str, str]]:
        """What the failed steps of a run say, of its first some thousand events."""
        failures: list[dict[str, str]] = []
        after: str | None = None
        for _ in range(5):
            run = self._ask(_EVENTS, run=run_id, limit=_MOST_EVENTS, after=after)["runOrError"]
            if not run:
                return failures
            page = run["eventConnection"]
            failures += [failure for event in page["events"] for failure in _failure(event)]
            after = page["cursor"]
            if not page["hasMore"]:
                break
        return failures

    def health(self) -> dict[str, Any]:
        """Dagster's version, the daemons it needs that are not well, and the code it could not load."""
        answer = self._ask(_HEALTH)
        daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
        entries = (answer["workspaceOrError"] or {}).get("locationEntries", [])
        return {
            "version": answer["version"],
            "unwell": sorted(each["daemonType"] for each in daemons if each["required"] and not each["healthy"]),
            "not_loaded": sorted(
                each["name"]
                for each in entries
                if (each["locationOrLoadError"] or {}).get("__typename") != "RepositoryLocation"
            ),
        }

    def _runs(self, query: str, **variables: Any) -> list[dict[str, Any]]:
        answer = self._ask(query, **variables)["runsOrError"]
        if answer["__typename"] != "Runs":
            raise DagsterUnavailable(f"Dagster cannot tell its runs: {answer.get('message', '')[:300]}")
        results: list[dict[str, Any]] = answer["results"]
        return results

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        try:
            answer = httpx.post(
                f"{self._url}/graphql", json={"query": query, "variables": variables}, timeout=_TIMEOUT_SECONDS
            )
            document = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise DagsterUnavailable(f"Dagster's web server does not answer ({type(error).__name__}).") from error
        if document.get("errors"):
            raise DagsterUnavailable(f"Dagster refuses the question: {document['errors'][0].get('message', '')[:300]}")
        data: dict[str, Any] = document["data"]
        return data


@contextmanager
def _client_errors() -> Iterator[None]:
    """Turn what Dagster's client raises into errors of ours."""
    try:
        yield
    except DagsterGraphQLClientError as error:
        cause = error.__cause__
        if cause is not None:
            raise DagsterUnavailable(f"Dagster's web server does not answer ({type(cause).__name__}).") from error
        words = ": ".join(str(each) for each in error.args)[:500]
        raise LaunchRefused(f"Dagster does not take it: {words}") from error


def _run(answer: Mapping[str, Any]) -> RunState:
    return RunState(
        run_id=answer["runId"],
        status=answer["status"],
        created_at=answer["creationTime"],
        started_at=answer["startTime"],
        ended_at=answer["endTime"],
        steps=tuple(
            StepState(each["stepKey"], each["status"], each["startTime"], each["endTime"], len(each["attempts"]))
            for each in answer["stepStats"]
        ),
    )


def _failure(event: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    if event["__typename"] == "ExecutionStepFailureEvent" and event["error"]:
        error = event["error"]
        said = (error.get("cause") or error)["message"]
        yield {"step": event["stepKey"], "message": str(said).strip()[:2000]}
    elif event["__typename"] == "RunFailureEvent":
        yield {"step": "", "message": str(event["message"]).strip()[:2000]}


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
