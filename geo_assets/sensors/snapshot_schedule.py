"""snapshot_schedule: a snapshot of every source's collection each night; off until you turn it on."""

from collections.abc import Iterator

from dagster import DefaultScheduleStatus, RunRequest, ScheduleEvaluationContext, schedule

from geo_assets.assets.jobs import snapshot
from geo_assets.assets.partitions import register_partitions
from geo_assets.resources.sources_file import SourcesFile


@schedule(
    job=snapshot,
    cron_schedule="41 4 * * *",
    default_status=DefaultScheduleStatus.STOPPED,
    description="Writes the snapshot of every source, every night at 4:41 UTC.",
)
def snapshot_schedule(context: ScheduleEvaluationContext, sources_file: SourcesFile) -> Iterator[RunRequest]:
    """One run a source."""
    names = list(sources_file.all())
    register_partitions(context.instance, names)
    for name in names:
        yield RunRequest(partition_key=name, run_key=f"{context.scheduled_execution_time.isoformat()} {name}")
