"""Against one Dagster step a file under the default executor, which starts a process for each."""

from benchmarks.ingest import ingest_rates
from benchmarks.result import BenchmarkFailed, Result, at_least, ratio
from benchmarks.world import Context

NAMES = ("vs_step_per_file",)
FILES = 20


def run(context: Context) -> list[Result]:
    """Our end-to-end rate over the naive job's, of which only the mapped steps count, not Dagster's start."""
    ours = ingest_rates(context).ours
    container = context.corpus(context.size(100, quick=50))
    config = {"ops": {"list_files": {"config": {"container": container, "files": FILES}}}}
    with context.pipeline(f"az://{container}") as pipeline:
        pipeline.run_job("step_per_file", module="benchmarks.peers.step_per_file_job", config=config)
        steps, seconds = pipeline.databases.mapped_steps("describe_file")
    if steps != FILES:
        raise BenchmarkFailed(f"{steps} of {FILES} steps succeeded")
    return [ratio(NAMES[0], ours=ours, peer=steps / seconds, unit="blobs/s", target=at_least(500))]
