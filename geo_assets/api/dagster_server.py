"""Dagster's web server, as a program asks it: launch a run, end it, and how the runs of a job stand.

Here: GraphQL over HTTP, launching by Dagster's own client. Not here: what a job of the API is (`api.jobs`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

from geo_assets.assets.retention import JOB_TAG
from geo_assets.errors import DagsterUnavailable, LaunchRefused
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
