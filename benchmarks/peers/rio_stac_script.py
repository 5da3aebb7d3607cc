"""The tuned script one would write without Dagster: list, rio-stac over /vsiaz/ in 8 threads, one pypgstac load.

It keeps no ledger, checks nothing, and has no answer to a bad file; it is here to be fast.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from azure.storage.blob import ContainerClient
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods
from rio_stac import create_stac_item

from benchmarks.corpus import blob_datetime

THREADS = 8
COLLECTION: dict[str, Any] = {
    "type": "Collection",
    "id": "corpus",
    "stac_version": "1.1.0",
    "description": "Synthetic rasters for benchmarks",
    "license": "other",
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    "links": [],
}
# No listing of siblings, no HEAD, and enough at the first request for most headers.
GDAL_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "CPL_VSIL_CURL_USE_HEAD": "NO",
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",
}


def main(container: str, database_url: str, *, with_statistics: bool) -> int:
    """Catalogue the container; how many items."""
    os.environ.update(GDAL_OPTIONS)
    with ContainerClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"], container) as client:
        names = [name for name in client.list_blob_names() if name.endswith(".tif")]

    def build(name: str) -> dict[str, Any]:
        item = create_stac_item(
            f"/vsiaz/{container}/{name}",
            input_datetime=blob_datetime(name),
            collection=COLLECTION["id"],
            id=name.removesuffix(".tif").replace("/", "-"),
            with_proj=True,
            with_raster=with_statistics,
        )
        document: dict[str, Any] = item.to_dict()
        return document

    with ThreadPoolExecutor(THREADS) as pool:
        items = list(pool.map(build, names))
    loader = Loader(PgstacDB(dsn=database_url))
    loader.load_collections(iter([COLLECTION]), Methods.upsert)
    loader.load_items(iter(items), Methods.insert)
    return len(items)


if __name__ == "__main__":
    sys.stdout.write(f"{main(sys.argv[1], sys.argv[2], with_statistics='--statistics' in sys.argv)}\n")
