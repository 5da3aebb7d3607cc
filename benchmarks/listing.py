"""A million blobs into the ledger: the rate, and the most memory the listing process had."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from benchmarks.result import BenchmarkFailed, Result, at_least, at_most
from benchmarks.world import SOURCE, Context
from tests.peers.virtual_container import CONTAINER
from tests.services import PROJECT

NAMES = ("listing_1m", "listing_1m_peak_rss")
"""The names tell the full size; a quick run lists a tenth of it."""


def run(context: Context) -> list[Result]:
    """Both figures of one listing; the peer is the SDK's listing with nothing done to it."""
    # The SDK takes minutes for a million, at the same rate as for a part of it.
    peer_rate, peer_bytes = _listed(context, "sdk", context.size(100_000, quick=20_000))
    rate, peak_bytes = _listed(context, "ledger", context.size(1_000_000, quick=100_000))
    mebibyte = 2**20
    return [
        Result(NAMES[0], rate, "blobs/s", at_least(30_000), ours=rate, peer=peer_rate),
        Result(
            NAMES[1],
            peak_bytes / mebibyte,
            "MiB",
            at_most(512),
            ours=peak_bytes / mebibyte,
            peer=peer_bytes / mebibyte,
        ),
    ]


def _listed(context: Context, way: str, blobs: int) -> tuple[float, int]:
    """(blobs a second, peak memory in bytes) of a listing in a process of its own."""
    with (
        _virtual_container(blobs) as connection_string,
        context.pipeline(f"az://{CONTAINER}") as pipeline,
    ):
        here = replace(pipeline, store_variables={"AZURE_STORAGE_CONNECTION_STRING": connection_string})
        output = here.run_python("-m", "benchmarks.listing_process", way, SOURCE).output
    listed = json.loads(output.splitlines()[-1])
    if listed["blobs"] != blobs:
        raise BenchmarkFailed(f"{listed['blobs']:,} blobs of {blobs:,} were listed")
    return blobs / listed["seconds"], listed["peak_rss_bytes"]


@contextmanager
def _virtual_container(blobs: int) -> Iterator[str]:
    """Have a container of ``blobs`` served by another process inside the block; its connection string."""
    command = [sys.executable, "-m", "tests.peers.virtual_container", "0", str(blobs)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
