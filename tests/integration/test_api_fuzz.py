"""What is asked by chance: no part of the API fails of it.

Here: Schemathesis on the descriptions of all parts, with filters by chance, on data that is there. Not here: what was
found so, which has a test of its own where it belongs.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.api_server import served_by_command
from tests.checkers import run_checker
from tests.pipeline import SOURCE, Pipeline
from tests.places import TABLES
from tests.rasters import write_raster

EXAMPLES = 2
PARTS = {"/api/openapi.json": "", "/stac/api": "/stac", "/raster/api": "/raster", "/features/api": "/features"}


@pytest.fixture(scope="module")
def api(module_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The API on a catalogue of two rasters, and two tables."""
    folder = tmp_path_factory.mktemp("fuzz")
    for number in range(2):
        write_raster(folder / "in" / f"scene_{number}.tif", value=number)
    module_pipeline.declare((folder / "in").as_uri(), gsd=30)
    assert module_pipeline.run().success
    with psycopg.connect(module_pipeline.database_url) as connection:
        connection.execute(TABLES)
    often = {"GEO_ASSETS_API_REQUESTS_A_MINUTE": "1000000"}
    with served_by_command(module_pipeline.database_url, module_pipeline.sources_path, **often) as client:
        yield client


def test_no_part_fails_whatever_it_is_asked(api: httpx.Client, tmp_path: Path) -> None:
    """No 5xx but the 503 that says that Dagster, which is not there, does not answer."""
    known = {
        "collection_id": [SOURCE],
        "item_id": ["scene_0", "scene_1"],
        "search_id": [api.post("/raster/searches/register", json={"collections": [SOURCE]}).json()["id"]],
        "collectionId": ["vectors.places", "vectors.grid"],
        "itemId": ["9007199254740991"],
        "tileMatrixSetId": ["WebMercatorQuad"],
        **{axis: ["0", "3"] for axis in "zxy"},
    }
    addresses = [f"{api.base_url}{address}" for part in PARTS.items() for address in part]
    done = run_checker("tests.peers.fuzz_openapi", str(EXAMPLES), json.dumps(known), *addresses, folder=tmp_path)
    assert done.returncode == 0, done.stderr[-20_000:]
    asked = set(done.stdout.splitlines())
    assert {"POST /api/jobs/submit/{job_type}", "GET /search", "GET /collections/{collectionId}/items"} <= asked
