"""/api/jobs and /api/db/tasks: submit, look, cancel, retry, and the result of each file.

Here: the routes and what they answer. Not here: which jobs there are (`jobs`), their rows (`api.jobs`).
"""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Query, Request, Response

from geo_assets.api.jobs import (
    EXAMPLES,
    JOB_TYPES,
    TO_SUBMIT_AGAIN,
    UNDER_WAY,
    ApiJob,
    JobState,
    Parameters,
    RunState,
    RunSummary,
    StepState,
    job_id_of,
    job_names,
    parse_parameters,
    source_of,
    state_of,
    state_of_run,
    store,
)
from geo_assets.api.parts import Parts, parts_of, principal_of
from geo_assets.api.problems import Conflict, InvalidRequest, NotFound, correlation_id_of
from geo_assets.assets.retention import JOB_TAG
from geo_assets.errors import DagsterUnavailable, LaunchRefused
from geo_assets.sensors.queues import CORRELATION_TAG
from geo_assets.sensors.runs import PARTITION_TAG

router = APIRouter(prefix="/api", tags=["Jobs"])
START_SECONDS = 15.0
"""How long a run may take to start before its end is no longer waited for."""
STARTING = ("NOT_STARTED", "STARTING", "MANAGED")
"""States of a run in Dagster in which it cannot be asked to end."""
JobId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="The job's id: 64 hexadecimal digits.")]


@router.get("/jobs", summary="The jobs there are, those submitted last, and Dagster's latest runs")
async def list_jobs(request: Request, most: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
    """Each type of job with the JSON schema of its parameters, the jobs submitted here, and the runs of whoever.

    `runs` has what sensors, schedules and people started in Dagster too; it is null while Dagster does not answer.
    """
    parts = parts_of(request)
    jobs = await parts.work(lambda: parts.jobs.latest(most=most))
    try:
        runs = await parts.work(lambda: parts.dagster.latest_runs(most=most))
    except DagsterUnavailable:
        runs = None
    return {
        "job_types": {name: kind.model_json_schema() for name, kind in JOB_TYPES.items()},
        "jobs": [_summary(job) for job in jobs],
        "runs": None if runs is None else [_run_summary(parts, run) for run in runs],
    }


@router.post("/jobs/submit/{job_type}", status_code=202, summary="Submit a job; the same again is the same job")
async def submit(
    request: Request,
    response: Response,
    job_type: Annotated[str, Path(description="One of the types that GET /api/jobs lists.", max_length=100)],
    parameters: Annotated[dict[str, Any] | None, Body(openapi_examples=EXAMPLES)] = None,
) -> dict[str, Any]:
    """Start a job. Its id is the SHA-256 of its type and parameters: submitted twice it is one job, and runs once.

    A job that failed or was canceled is started again. A job that is done is not: retry it, or use another `label`.
    """
    if job_type not in JOB_TYPES:
        raise NotFound(f"Unknown job type `{job_type[:100]}`.", remedy=f"Use one of: {job_names()}.")
    wanted = parse_parameters(job_type, parameters or {})
    parts = parts_of(request)
    _require_source(parts, wanted)
    job, state, is_new = await parts.work(_submit, parts, request, job_type, wanted)
    response.status_code = 202 if is_new else 200
    return {
        "job_id": job.job_id,
        "job_type": job.job_type,
        "status": state,
        "is_duplicate": not is_new,
        "parameters": job.parameters,
        "run_id": job.run_ids[-1],
        "links": _links(parts, job.job_id, job.run_ids[-1]),
    }


@router.get("/jobs/status/{job_id}", summary="The state of a job")
async def status(request: Request, job_id: JobId) -> dict[str, Any]:
    """Its stages with the counts of their steps, its files by state, and what failed."""
    parts = parts_of(request)
    return await parts.work(_status, parts, job_id)


@router.post("/jobs/{job_id}/cancel", status_code=202, summary="End a job's run")
async def cancel(request: Request, response: Response, job_id: JobId) -> dict[str, Any]:
    """Ask Dagster to end the run, in whatever state it is; what it has done stays done.

    202 while it ends; 200 with how it ended if it has ended. A run that is starting cannot be asked: it is waited for a
    few seconds, then marked as canceled, upon which its worker does not begin.
    """
    parts = parts_of(request)
    job = await parts.work(_find, parts, job_id)
    deadline = time.monotonic() + START_SECONDS
    while True:
        is_late = time.monotonic() > deadline
        state, run_id, is_asked = await parts.work(_ask_to_end, parts, job, is_late)
        if is_asked:
            break
        await asyncio.sleep(0.5)
    response.status_code = 202 if state in UNDER_WAY else 200
    return {"job_id": job_id, "status": "canceling" if state in UNDER_WAY else state, "run_id": run_id}


@router.post("/jobs/{job_id}/retry", status_code=202, summary="Run a job again: only what is left is done")
async def retry(request: Request, job_id: JobId) -> dict[str, Any]:
    """Start another run of the job. By the ledger it does what is left, and what has come since."""
    parts = parts_of(request)

    def work() -> dict[str, Any]:
        with parts.jobs.submitting(job_id) as connection:
            job = _find(parts, job_id)
            runs = parts.dagster.runs_of(job_id)
            state = state_of(runs, last_seen=job.state)
            if state in UNDER_WAY:
                raise Conflict(f"The job is {state}.", remedy="Wait for its end, or cancel it first.")
            run_id = _launch(parts, request, job_id, job.job_type, parse_parameters(job.job_type, job.parameters))
            run_ids = _known_runs(job, runs, run_id)
            _store(connection, request, job_id, job.job_type, job.parameters, run_ids)
        return {"job_id": job_id, "status": "queued", "run_id": run_id, "links": _links(parts, job_id, run_id)}

    return await parts.work(work)


@router.get("/db/tasks/{job_id}", summary="The result of each file of a job")
async def tasks(
    request: Request,
    job_id: JobId,
    state: Annotated[str | None, Query(pattern="^[a-z_]{1,32}$", description="Only files in this state.")] = None,
    code: Annotated[str | None, Query(pattern="^[a-z_]{1,64}$", description="Only files with this reason.")] = None,
    prefix: Annotated[str, Query(max_length=1024, description="Only files whose names start so.")] = "",
    every: Annotated[bool, Query(description="All files of the source, not only those this job was last at.")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str, Query(max_length=1024, description="The name that the last page ended with.")] = "",
) -> dict[str, Any]:
    """Of a job on a source: its files from the ledger, page by page. Of any other: its steps from Dagster."""
    parts = parts_of(request)
    if "\0" in prefix + after:
        raise InvalidRequest("The name contains NUL.")
    filters = {"state": state, "code": code, "prefix": prefix, "every": every, "after": after}
    return await parts.work(_tasks, parts, job_id, filters, limit)


def _submit(parts: Parts, request: Request, job_type: str, wanted: Parameters) -> tuple[ApiJob, JobState, bool]:
    """The job, its state, and whether a run was started for it."""
    parameters = wanted.canonical()
    job_id = job_id_of(job_type, parameters)
    with parts.jobs.submitting(job_id) as connection:
        known = parts.jobs.find(job_id)
        # Asked of Dagster, not of the row: had a server died between launch and row, there would be a run.
        runs = parts.dagster.runs_of(job_id)
        state = state_of(runs, last_seen=known.state if known else None)
        is_new = state in TO_SUBMIT_AGAIN
        if known is not None and not is_new:
            return known, state, False
        launched = _launch(parts, request, job_id, job_type, wanted) if is_new else None
        _store(connection, request, job_id, job_type, parameters, _known_runs(known, runs, launched))
    return _find(parts, job_id), "queued" if is_new else state, is_new


def _ask_to_end(parts: Parts, job: ApiJob, is_late: bool) -> tuple[JobState, str, bool]:
    """The state of the job, its latest run, and whether there is no more to ask of Dagster."""
    state, runs = _seen(parts, job)
    run_id = runs[0].run_id if runs else job.run_ids[-1]
    if state not in ("queued", "running"):
        return state, run_id, True
    is_starting = runs[0].status in STARTING
    if is_starting and not is_late:
        return state, run_id, False
    try:
        parts.dagster.terminate(run_id, at_once=is_starting)
    except LaunchRefused:
        # It went on meanwhile, or its worker does not answer; in the latter case Dagster has noted that it is to end.
        state, _ = _seen(parts, job)
        if is_late and state in ("queued", "running"):
            raise
        return state, run_id, state not in ("queued", "running")
    state, _ = _seen(parts, job)
    # A worker that had begun while its run was marked as canceled goes on: it is asked again.
    return state, run_id, not is_starting or state != "running"


def _seen(parts: Parts, job: ApiJob) -> tuple[JobState, list[RunState]]:
    """The state of the job now, which its row keeps, and its runs, the latest first."""
    runs = parts.dagster.runs_of(job.job_id)
    state = state_of(runs, last_seen=job.state)
    parts.jobs.record_seen(job, state, _known_runs(job, runs, None))
    return state, runs


def _status(parts: Parts, job_id: str) -> dict[str, Any]:
    job = _find(parts, job_id)
    state, runs = _seen(parts, job)
    run_ids = _known_runs(job, runs, None)
    latest = runs[0] if runs else None
    source = source_of(job.parameters)
    counts: dict[str, int] = {}
    if source is not None:
        rows = parts.database.connections.rows("count_job_files", source=source, run_ids=run_ids, every=False)
        counts = {row["state"]: row["files"] for row in rows}
    failed = latest is not None and state == "failed"
    return {
        **_summary(job),
        "status": state,
        "run_ids": run_ids,
        "started_at": _moment(latest.started_at if latest else None),
        "ended_at": _moment(latest.ended_at if latest else None),
        "stages": _stages(latest),
        "files": counts,
        "errors": parts.dagster.failures_of(latest.run_id) if failed and latest else [],
        "links": _links(parts, job_id, run_ids[-1]),
    }


def _tasks(parts: Parts, job_id: str, filters: dict[str, Any], limit: int) -> dict[str, Any]:
    job = _find(parts, job_id)
    runs = parts.dagster.runs_of(job_id)
    source = source_of(job.parameters)
    if source is None:
        steps = [_step_task(step) for step in runs[0].steps] if runs else []
        page = [
            step for step in steps if step["task"] > filters["after"] and step["task"].startswith(filters["prefix"])
        ]
        page = [step for step in page if filters["state"] in (None, step["state"])]
        page.sort(key=lambda step: str(step["task"]))
        return _page(job, "step", page[: limit + 1], limit)
    run_ids = _known_runs(job, runs, None)
    rows = parts.database.connections.rows(
        "select_job_files", source=source, run_ids=run_ids, most=limit + 1, **filters
    )
    return _page(job, "file", [{"task": row.pop("name"), **row} for row in rows], limit)


def _page(job: ApiJob, kind: str, rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    page = rows[:limit]
    return {
        "job_id": job.job_id,
        "kind": kind,
        "tasks": page,
        "returned": len(page),
        "next_after": page[-1]["task"] if len(rows) > limit else None,
    }


def _launch(parts: Parts, request: Request, job_id: str, job_type: str, wanted: Parameters) -> str:
    source = source_of(wanted.canonical())
    tags = {
        JOB_TAG: job_id,
        CORRELATION_TAG: correlation_id_of(request),
        **({PARTITION_TAG: source} if source else {}),
    }
    return parts.dagster.launch(job_type, run_config=wanted.run_config(), tags=tags)


def _store(
    connection: Any, request: Request, job_id: str, job_type: str, parameters: dict[str, Any], run_ids: list[str]
) -> None:
    store(
        connection,
        job_id=job_id,
        job_type=job_type,
        parameters=parameters,
        run_ids=run_ids,
        submitted_by=principal_of(request).name,
        correlation_id=correlation_id_of(request),
    )


def _known_runs(job: ApiJob | None, runs: list[RunState], launched: str | None) -> list[str]:
    """The ids of a job's runs, the latest last: of the ledger, of Dagster, and the one just launched."""
    seen = [run.run_id for run in reversed(runs)]
    known = job.run_ids if job else []
    return [*known, *(each for each in [*seen, *([launched] if launched else [])] if each not in known)]


def _find(parts: Parts, job_id: str) -> ApiJob:
    job = parts.jobs.find(job_id)
    if job is None:
        raise NotFound("No job was submitted under this id.", remedy="List the jobs with `GET /api/jobs`.")
    return job


def _require_source(parts: Parts, wanted: Parameters) -> None:
    source = source_of(wanted.canonical())
    if source is not None and source not in (names := parts.sources()):
        raise InvalidRequest(f"Unknown source `{source}`.", remedy=f"Use one of: {', '.join(names) or 'none yet'}.")


def _stages(run: RunState | None) -> list[dict[str, Any]]:
    """The steps of a run by what they are of: a mapped step counts with its like."""
    stages: dict[str, Counter[str]] = {}
    for step in run.steps if run else ():
        stages.setdefault(step.key.partition("[")[0], Counter())[_step_state(step)] += 1
    return [{"stage": name, "steps": sum(counts.values()), **counts} for name, counts in stages.items()]


def _step_state(step: StepState) -> str:
    known = {"SUCCESS": "completed", "FAILURE": "failed", "SKIPPED": "skipped", "IN_PROGRESS": "running"}
    return known.get(step.status or "", "queued")


def _step_task(step: StepState) -> dict[str, Any]:
    return {
        "task": step.key,
        "state": _step_state(step),
        "started_at": _moment(step.started_at),
        "ended_at": _moment(step.ended_at),
        "attempts": step.attempts,
    }


def _summary(job: ApiJob) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "job_type": job.job_type,
        "status": job.state,
        "parameters": job.parameters,
        "submitted_at": job.submitted_at,
        "submitted_by": job.submitted_by,
        "correlation_id": job.correlation_id,
    }


def _run_summary(parts: Parts, run: RunSummary) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "job_type": run.job,
        "source": run.tags.get(PARTITION_TAG),
        "job_id": run.tags.get(JOB_TAG),
        "status": state_of_run(run.status),
        "created_at": _moment(run.created_at),
        "ended_at": _moment(run.ended_at),
        "links": {"dagster": f"{parts.dagster_address}/runs/{run.run_id}"},
    }


def _links(parts: Parts, job_id: str, run_id: str) -> dict[str, str]:
    return {
        "status": f"/api/jobs/status/{job_id}",
        "tasks": f"/api/db/tasks/{job_id}",
        "dagster": f"{parts.dagster_address}/runs/{run_id}",
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
