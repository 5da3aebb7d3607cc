"""A run over nothing new, against what it cannot do without: Dagster's start and the bare listing."""

import time

from azure.storage.blob import ContainerClient

from benchmarks.result import Result, at_most
from benchmarks.world import Context, interleaved

NAMES = ("noop_vs_listing",)
HELLO = {"ops": {"plan_greetings": {"config": {"n": 1}}}}


def run(context: Context) -> list[Result]:
    """Seconds of the second run of ingest_rasters over the sum of the two."""
    blobs = context.size(10_000, quick=200)
    container = context.corpus(blobs)

    def list_bare() -> float:
        began = time.perf_counter()
        connection = context.azurite.connection_string
        with ContainerClient.from_connection_string(connection, container) as client:
            listed = sum(1 for _ in client.list_blobs())
        assert listed == blobs
        return time.perf_counter() - began

    with context.pipeline(f"az://{container}") as pipeline:
        pipeline.ingest(blobs=blobs)
        noop, start, listing = interleaved(
            context.size(3, quick=1),
            lambda: pipeline.ingest(blobs=blobs).seconds,
            lambda: pipeline.run_job("hello_world", config=HELLO).seconds,
            list_bare,
        )
    peer = start + listing
    return [Result(NAMES[0], noop / peer, "ratio of s", at_most(1.5), ours=noop, peer=peer)]
