"""What the sensors that ask for runs of a source share: whether one is under way.

Here: looking runs up. Not here: whether a source needs one (`geo_assets.core.change`).
"""

from collections.abc import Sequence

from dagster import DagsterRunStatus, RunsFilter, SensorEvaluationContext

from geo_assets.core.display import one_line
from geo_assets.jobs import INGEST_JOBS
from geo_assets.resources.ledger import Ledger
from geo_assets.sensors.abandoned_runs import PARTITION_TAG, fail_abandoned_runs

_IN_PROGRESS = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def run_in_progress(
    context: SensorEvaluationContext, source: str, *, ledger: Ledger, jobs: Sequence[str] = INGEST_JOBS
) -> bool:
    """Whether a run of any of ``jobs`` is queued or under way for ``source``; one without a worker is failed."""
    instance = context.instance
    under_way = False
    for job_name in jobs:
        for run_id in fail_abandoned_runs(instance, job_name=job_name, source=source, ledger=ledger):
            context.log.warning(one_line(f"{source}: run {run_id} had lost its worker and was reported as failed"))
        filters = RunsFilter(job_name=job_name, statuses=_IN_PROGRESS, tags={PARTITION_TAG: source})
        under_way = under_way or bool(instance.get_runs(filters=filters, limit=1))
    return under_way
