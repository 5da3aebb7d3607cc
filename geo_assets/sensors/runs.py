"""What the sensors that ask for runs of a source share: for which of them one is under way or was asked for.

Here: looking runs up, and that one sensor of all asks. Not here: whether a source needs one (`sensors.change`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dagster import DagsterRunStatus, RunsFilter, SensorEvaluationContext

from geo_assets.assets.jobs import INGEST_JOBS
from geo_assets.display import one_line
from geo_assets.models import AskedRun, Request
from geo_assets.resources.database import Database
from geo_assets.sensors.abandoned_runs import PARTITION_TAG, fail_if_abandoned
from geo_assets.sensors.change import Decision, latest_request

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
