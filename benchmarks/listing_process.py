"""The process that lists: `python -m benchmarks.listing_process ledger|sdk SOURCE`, which prints what it took as JSON.

`ledger` materializes container_listing, as a run does; `sdk` only asks the Azure SDK for the same pages.
"""

import json
import os
import re
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from azure.storage.blob import ContainerClient
from dagster import DagsterInstance, materialize

from geo_assets.assets.container_listing import container_listing
from geo_assets.assets.ops import register_partitions
from geo_assets.resources.database import Database
from geo_assets.resources.sources_file import SourcesFile
from geo_assets.resources.stores import BlobStores


@dataclass(frozen=True, slots=True)
class Listed:
    """What one listing took, without the start of the process."""

    blobs: int
    seconds: float
    peak_rss_bytes: int


def list_into_ledger(source: str) -> int:
    """Materialize container_listing; how many blobs the ledger has then."""
    resources = {
        "sources_file": SourcesFile(),
        "blob_stores": BlobStores(),
        "database": Database(),
    }
    with DagsterInstance.ephemeral() as instance:
        register_partitions(instance, [source])
        materialize([container_listing], partition_key=source, resources=resources, instance=instance)
    return Database().blobs.status(source).blobs


def list_with_sdk(source: str) -> int:
    """Take every page from the SDK and do nothing with it; how many blobs there were."""
    container = SourcesFile().get(source).container
    connection_string = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    with ContainerClient.from_connection_string(connection_string, container) as client:
        return sum(1 for _ in client.list_blobs(results_per_page=5_000))


def peak_rss_bytes() -> int:
    """The most memory this process had.

    On Linux `ru_maxrss` also counts what the parent had when it started us, so /proc is asked first.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)):
        return int(found[1]) * 1024
    in_bytes = sys.platform == "darwin"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if in_bytes else 1024)


def _main(way: str, source: str) -> None:
    began = time.perf_counter()
    blobs = {"ledger": list_into_ledger, "sdk": list_with_sdk}[way](source)
    listed = Listed(blobs, time.perf_counter() - began, peak_rss_bytes())
    sys.stdout.write(json.dumps(asdict(listed)))


if __name__ == "__main__":
    _main(*sys.argv[1:3])
