"""For which sources a run is under way, was asked for or is abandoned; and cog_sensor, which asks for runs of COGs.

Here: looking runs up, that one sensor of all asks, runs whose worker is gone without a word, and a run of make_cogs if
COGs are to be made or removed and no other run works on the source. Not here: whether a source needs a run
(`geo_assets.sensors.change`), and which rasters await a COG (`geo_assets.ledger.cogs`).

Dagster's default launcher cannot tell a killed process or a machine that went away (it has no health check, and knows
nothing of a run started by `dagster job execute`), so such a run stays STARTED for ever and keeps its source's only
place in the queue. The ledger can: a worker holds a lock in PostgreSQL for as long as it lives.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dagster import (
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    sensor,
)
from pydantic import TypeAdapter, ValidationError

from geo_assets.assets.jobs import INGEST_JOBS, make_cogs
from geo_assets.display import one_line
from geo_assets.models import AskedRun, Request
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.sensors.change import Decision, Observation, change_digest, decide, latest_request

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


LAUNCHED_WITHIN = timedelta(minutes=1)
"""Dagster makes the run once the sensor's tick has ended. If none is there by then, the tick died."""
_RUN_KEY_TAG = "dagster/run_key"
_IN_PROGRESS = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


class RunRequests:
    """The runs that sensors ask for, seen by one of them: whoever asks first for a source's work, the others do not.

    Read it before looking at what there is to do, and ask afterwards: what another sensor asked for meanwhile shows.
    """

    def __init__(
        self, context: SensorEvaluationContext, sensor: str, *, database: Database, source: str | None = None
    ) -> None:
        self._instance, self._sensor, self._database = context.instance, sensor, database
        self._asked = database.sources.run_requests(source)

    def last(self, source: str, own: Request | None) -> Request | None:
        """The last request of ``source``, of which this sensor remembers its ``own``."""
        return latest_request(own, self._asked.get(source), sensor=self._sensor)

    def on_their_way(self) -> set[str]:
        """The sources of which another sensor asked for a run that Dagster has not made yet."""
        oldest = datetime.now(UTC) - LAUNCHED_WITHIN
        return {
            source
            for source, asked in self._asked.items()
            if asked.sensor != self._sensor and asked.request.at > oldest and not self._is_made(asked)
        }

    def ask(self, source: str, decision: Decision) -> Decision:
        """The decision, if it launches a run and no other sensor did meanwhile; else one that says so."""
        if decision.request is None or decision.run_key is None:
            return decision
        asked = AskedRun(self._sensor, decision.run_key, decision.request)
        if self._database.sources.record_run_request(source, asked, after=self._asked.get(source)):
            return decision
        return Decision(f"{source}: another sensor has just launched a run")

    def _is_made(self, asked: AskedRun) -> bool:
        return bool(self._instance.get_run_ids(RunsFilter(tags={_RUN_KEY_TAG: asked.run_key}), limit=1))


def run_in_progress(context: SensorEvaluationContext, source: str, *, database: Database) -> bool:
    """Whether a run is queued or under way for ``source``; one without a worker is failed."""
    return source in sources_with_runs(context, database=database, source=source)


def sources_with_runs(
    context: SensorEvaluationContext,
    *,
    database: Database,
    jobs: Sequence[str] = INGEST_JOBS,
    source: str | None = None,
) -> set[str]:
    """The sources, or the one ``source``, for which a run of any of ``jobs`` is queued or under way.

    A run without a worker is failed. One query, however many sources there are.
    """
    filters = RunsFilter(statuses=_IN_PROGRESS, tags={} if source is None else {PARTITION_TAG: source})
    busy = set()
    for run in context.instance.get_runs(filters=filters):
        name = run.tags.get(PARTITION_TAG)
        if name is None or run.job_name not in jobs:
            continue
        if fail_if_abandoned(context.instance, run, database=database):
            context.log.warning(one_line(f"{name}: run {run.run_id} had lost its worker and was reported as failed"))
        else:
            busy.add(name)
    return busy


_CURSOR = TypeAdapter(dict[str, Request])


@sensor(
    job=make_cogs,
    minimum_interval_seconds=30,
    default_status=DefaultSensorStatus.RUNNING,
    description="Launches one run of each source whose rasters await their COG, or which has files without a raster.",
)
def cog_sensor(
    context: SensorEvaluationContext,
    sources_file: SourcesFile,
    database: Database,
) -> SensorResult:
    """Ask once for the same work, and again after a pause where a run left it."""
    requests = _read_cursor(context.cursor)
    run_requests, reasons = [], []
    busy = sources_with_runs(context, database=database, jobs=[*INGEST_JOBS, make_cogs.name])
    troubles = database.sources.troubles()
    for name, source in sources_file.all().items():
        waiting = database.cogs.to_make(source, most=source.cogs.max_per_run) if source.cogs else []
        removable = [cog.name for cog in database.cogs.to_remove(source)]
        removable += [f"{file.place} {file.name_in_place}" for file in database.cogs.orphans(name)]
        if not waiting and not removable:
            requests.pop(name, None)
            continue
        names = [f"{raster.name} {raster.etag}" for raster in waiting] + removable
        observed = Observation(
            new=0,
            changed=0,
            deleted=0,
            pending=len(waiting),
            to_withdraw=len(removable),
            digest=change_digest(source.cogs.digest if source.cogs else "", *names),
            generation=0,
        )
        decision = decide(
            name,
            observed=observed,
            last=requests.get(name),
            run_in_progress=name in busy,
            trouble=troubles.get(name),
            now=datetime.now(UTC),
        )
        reasons.append(decision.reason)
        if decision.request is not None:
            requests[name] = decision.request
            # Of the same work at another time there may be a run already, so the moment is in the key.
            key = f"cogs {decision.run_key} {decision.request.at.isoformat()}"
            run_requests.append(RunRequest(run_key=key, partition_key=name))
    return SensorResult(
        run_requests=run_requests,
        skip_reason=None if run_requests else "; ".join(reasons) or "no COGs to make or to remove",
        cursor=_CURSOR.dump_json(requests).decode(),
    )


def _read_cursor(cursor: str | None) -> dict[str, Request]:
    """What earlier ticks asked for; nothing where another release wrote it."""
    try:
        return _CURSOR.validate_json(cursor or "{}")
    except ValidationError:
        return {}
