"""End to end: geo_assets' main job against a script of rio-stac and pypgstac, each a process, its start included."""

from dataclasses import dataclass

from benchmarks.result import BenchmarkFailed, NotAvailable, Result, at_least, ratio
from benchmarks.world import Context, interleaved
from geo_assets.sources.source import Source

NAMES = ("ingest_vs_rio_stac", "ingest_stats_vs_rio_stac")


@dataclass(frozen=True, slots=True)
class Rates:
    """Items a second, end to end."""

    ours: float
    peer: float


def run(context: Context) -> list[Result]:
    """Both figures."""
    plain = ingest_rates(context)
    unit, stats_target = "items/s", at_least(3)
    results = [ratio(NAMES[0], ours=plain.ours, peer=plain.peer, unit=unit, target=at_least(1.5))]
    try:
        rates = _measure(context, with_statistics=True)
        results.append(ratio(NAMES[1], ours=rates.ours, peer=rates.peer, unit=unit, target=stats_target))
    except NotAvailable as reason:
        results.append(Result(NAMES[1], None, f"ratio of {unit}", stats_target, note=str(reason)))
    return results


def ingest_rates(context: Context) -> Rates:
    """The rates without statistics, measured once a session."""
    return context.once("ingest", lambda: _measure(context, with_statistics=False))


def _measure(context: Context, *, with_statistics: bool) -> Rates:
    if with_statistics and "statistics" not in Source.model_fields:
        raise NotAvailable("not available: no key `statistics` in sources.yaml")
    blobs = context.size(10_000, quick=500)
    container = context.corpus(blobs)
    keys = {"statistics": True} if with_statistics else {}

    def ours() -> float:
        with context.pipeline(f"az://{container}", **keys) as pipeline:
            return pipeline.ingest(blobs=blobs).seconds

    def peer() -> float:
        options = ["--statistics"] if with_statistics else []
        with context.pipeline(f"az://{container}") as pipeline:
            url = pipeline.databases.owner_url
            measured = pipeline.run_python("-m", "benchmarks.peers.rio_stac_script", container, url, *options)
        if int(measured.output) != blobs:
            raise BenchmarkFailed(f"the script made {measured.output.strip()} items of {blobs}")
        return measured.seconds

    seconds = interleaved(context.size(2, quick=1), ours, peer)
    return Rates(ours=blobs / seconds[0], peer=blobs / seconds[1])
