"""The API by its specification: STAC API as stac-api-validator reads it.

Here: checks that others wrote. Not here: what Schemathesis finds (`test_api_fuzz`), readers of what is
served (`test_api_clients`, `test_api_features`).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rasterio.transform import from_origin

from tests.api_server import served, settings_of
from tests.checkers import run_checker
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.unit.core import schemas

WORLD = '{"type":"Polygon","coordinates":[[[-180,-90],[180,-90],[180,90],[-180,90],[-180,-90]]]}'
# Its checks of fields, sort and query send `collections` as a word where the specification has a list, and that of
# transactions sends an item without `links`: what they are to find out is asked by `test_api_clients` and below.
CLASSES = ("core", "collections", "features", "item-search", "filter")


@pytest.fixture(scope="module")
def api(module_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The API on a catalogue of four rasters, one of them where stac-api-validator looks for one."""
    folder = tmp_path_factory.mktemp("conformance")
    for number in range(3):
        write_raster(folder / "in" / f"scene_{number}.tif", value=number)
    write_raster(folder / "in" / "geographic.tif", crs="EPSG:4326", transform=from_origin(20, 21, 1 / 16, 1 / 16))
    module_pipeline.declare((folder / "in").as_uri(), gsd=30)
    assert module_pipeline.run().success
    settings = settings_of(module_pipeline.database_url, module_pipeline.sources_path, api_requests_a_minute=1_000_000)
    with served(settings) as client:
        yield client


def test_stac_api_validator_finds_nothing(api: httpx.Client, tmp_path: Path) -> None:
    paths = tmp_path / "schemas.json"
    paths.write_text(json.dumps({address: str(path) for address, path in schemas.all_files().items()}))
    options = ["--log-level", "ERROR", "--validate-pagination", "--collection", SOURCE, "--geometry", WORLD]
    options += ["--root-url", f"{api.base_url}/stac/"]
    options += [word for name in CLASSES for word in ("--conformance", name)]
    done = run_checker("tests.peers.offline_stac_api_validator", str(paths), *options, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Warnings: none\nErrors: none\n"), done.stdout + done.stderr
