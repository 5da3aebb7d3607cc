"""The API by its specifications: STAC API as stac-api-validator reads it, and OpenAPI as Schemathesis does.

Here: checks that others wrote. Not here: readers of what is served (`test_api_clients`, `test_api_features`).
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rasterio.transform import from_origin

from tests.api_server import served, settings_of
from tests.pipeline import SOURCE, Pipeline
from tests.rasters import write_raster
from tests.services import PROJECT
from tests.unit.core import schemas

CHECKERS = PROJECT / ".venv" / "checkers"
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


def test_schemathesis_finds_no_failure_of_the_server(api: httpx.Client, tmp_path: Path) -> None:
    """Whatever is asked of /api: no 5xx but the 503 that says that Dagster, which is not there, does not answer."""
    done = run_checker("tests.peers.fuzz_openapi", f"{api.base_url}/api/openapi.json", folder=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert {"POST /api/jobs/submit/{job_type}", "GET /api/db/tasks/{job_id}"} <= set(done.stdout.splitlines())


def run_checker(module: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one of the programs that have packages of their own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(CHECKERS), str(PROJECT)))}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
