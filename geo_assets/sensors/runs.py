"""What the sensors that ask for runs of a source share: for which of them one is under way.

Here: looking runs up. Not here: whether a source needs one (`geo_assets.sensors.change`).
"""

from collections.abc import Sequence

from dagster import DagsterRunStatus, RunsFilter, SensorEvaluationContext

from geo_assets.assets.jobs import INGEST_JOBS
from geo_assets.display import one_line
from geo_assets.ledger.blobs import Ledger
from geo_assets.sensors.abandoned_runs import PARTITION_TAG, fail_if_abandoned

_IN_PROGRESS = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def run_in_progress(context: SensorEvaluationContext, source: str, *, ledger: Ledger) -> bool:
    """Whether a run is queued or under way for ``source``; one without a worker is failed."""
    return source in sources_with_runs(context, ledger=ledger, source=source)


def sources_with_runs(
    context: SensorEvaluationContext, *, ledger: Ledger, jobs: Sequence[str] = INGEST_JOBS, source: str | None = None
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
        if fail_if_abandoned(context.instance, run, ledger=ledger):
            context.log.warning(one_line(f"{name}: run {run.run_id} had lost its worker and was reported as failed"))
        else:
            busy.add(name)
    return busy
