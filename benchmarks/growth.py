"""What a run costs as the number of blobs grows: time, memory, event rows, table size."""

from benchmarks.growth_plot import GrowthPoint
from benchmarks.result import Result, at_most
from benchmarks.world import Context

NAMES = ("growth_cost_per_blob", "growth_peak_rss", "growth_event_rows", "growth_table_bytes")
PER_BLOBS = 10_000
POINTS = "growth points"
"""Under what name the session keeps what was measured, for the plot."""


def run(context: Context) -> list[Result]:
    """The four curves; the value of each is that at the largest size."""
    sizes = (50, 200, 500) if context.quick else (100, 1_000, 10_000)
    return build_results(context.once(POINTS, lambda: [_measure(context, blobs) for blobs in sizes]))


def build_results(points: list[GrowthPoint]) -> list[Result]:
    """The figures of these points, smallest first."""
    cost = {_size(point): 1000 * point.seconds / point.blobs for point in points}
    memory = {_size(point): point.peak_rss_bytes / 2**20 for point in points}
    rows = {_size(point): float(point.event_rows) for point in points}
    size = {_size(point): sum(point.table_bytes.values()) / point.blobs * PER_BLOBS for point in points}
    before, largest = list(cost.values())[-2:]
    return [
        Result(NAMES[0], largest / before, "ratio of ms/blob, largest to the one before", at_most(1), ours=cost),
        Result(NAMES[1], list(memory.values())[-1], "MiB", at_most(1024), ours=memory),
        Result(NAMES[2], list(rows.values())[-1], "rows", ours=rows),
        Result(NAMES[3], list(size.values())[-1], f"bytes per {PER_BLOBS:,} blobs", ours=size),
    ]


def _size(point: GrowthPoint) -> str:
    return f"{point.blobs:,}"


def _measure(context: Context, blobs: int) -> GrowthPoint:
    container = context.corpus(blobs)
    with context.pipeline(f"az://{container}") as pipeline:
        before = pipeline.databases.table_bytes()
        measured = pipeline.ingest(blobs=blobs, watch_memory=True)
        after = pipeline.databases.table_bytes()
        return GrowthPoint(
            blobs=blobs,
            seconds=measured.seconds,
            peak_rss_bytes=measured.peak_rss_bytes,
            event_rows=pipeline.databases.event_rows(),
            table_bytes={schema: after[schema] - before[schema] for schema in after},
        )
