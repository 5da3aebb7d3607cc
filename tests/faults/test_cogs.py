"""Making COGs, killed, out of disk and overwritten meanwhile: nothing half-published, and the next run finishes."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rio_cogeo.cogeo import cog_validate

from geo_assets.errors import BlobChanged
from geo_assets.models import BlobRef
from geo_assets.storage.blob_store import RANGE_BYTES, download
from geo_assets.storage.local_blob_store import LocalBlobStore
from tests.dagster_cli import DagsterCli
from tests.pipeline import SOURCE, Pipeline
from tests.small_disks import files_of_at_most
from tests.waiting import wait_until

SIDE = 4000


def write_noise(path: Path) -> None:
    """A raster that takes seconds to compress."""
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(1).integers(0, 60_000, (SIDE, SIDE), dtype="uint16")
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 1, "width": SIDE, "height": SIDE, "crs": "EPSG:32633"}
    with rasterio.open(path, "w", transform=from_origin(5e5, 5e6, 10, 10), **profile) as raster:
        raster.write(noise, 1)


@pytest.fixture
def cli(pipeline: Pipeline, tmp_path: Path) -> DagsterCli:
    """A source of one large raster that is in the catalogue, and the command line that makes its COG."""
    write_noise(tmp_path / "in" / "large.tif")
    pipeline.declare((tmp_path / "in").as_uri(), cogs={})
    assert pipeline.run().success
    environment = {
        "GEO_ASSETS_SILVER": (tmp_path / "silver").as_uri(),
        "GEO_ASSETS_SCRATCH": str(tmp_path / "scratch"),
    }
    return DagsterCli(tmp_path / "home", pipeline.database_url, pipeline.sources_path, environment)


def assert_nothing_is_published(pipeline: Pipeline, tmp_path: Path) -> None:
    assert [path for path in (tmp_path / "silver").rglob("*") if path.is_file()] == []
    assert set(pipeline.items()["large.tif"]["assets"]) == {"data"}


def assert_the_next_run_finishes(pipeline: Pipeline, cli: DagsterCli, tmp_path: Path) -> None:
    status, output = cli.run_job("make_cogs")
    assert status == 0, output
    cog = tmp_path / "silver" / "cogs" / SOURCE / "large.tif"
    assert cog_validate(cog, strict=True, quiet=True)[0]
    assert pipeline.items()["large.tif"]["assets"]["cog"]["href"] == cog.as_uri()
    assert list((tmp_path / "scratch").iterdir()) == [], "what the first run left is cleared"


@pytest.mark.soak
def test_after_kill_9_amid_a_cog_nothing_is_published_and_the_next_run_finishes(
    pipeline: Pipeline, cli: DagsterCli, tmp_path: Path
) -> None:
    worker = cli.start_job("make_cogs")
    wait_until(lambda: any((tmp_path / "scratch").glob("*/*/cog.tif*")), "while GDAL writes")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.communicate()
    assert_nothing_is_published(pipeline, tmp_path)
    assert_the_next_run_finishes(pipeline, cli, tmp_path)


def test_a_full_disk_amid_a_cog_is_a_reason_that_passes(pipeline: Pipeline, cli: DagsterCli, tmp_path: Path) -> None:
    size_bytes = (tmp_path / "in" / "large.tif").stat().st_size
    with files_of_at_most(size_bytes + 5_000_000):
        worker = cli.start_job("make_cogs")
    output, _ = worker.communicate()
    assert worker.returncode != 0, output
    (cog,) = pipeline.database.cogs.standing(SOURCE)
    assert (cog.error_code, cog.permanent) == ("scratch_full", False), cog.error_message
    assert_nothing_is_published(pipeline, tmp_path)
    assert_the_next_run_finishes(pipeline, cli, tmp_path)


def test_a_raster_that_is_overwritten_while_it_is_fetched_is_not_mixed(tmp_path: Path) -> None:
    write_noise(tmp_path / "in" / "large.tif")
    store = _Overwriting(tmp_path / "in")
    blob = store.head("large.tif")
    assert blob is not None
    with pytest.raises(BlobChanged):
        download(store, blob, tmp_path / "fetched")


class _Overwriting(LocalBlobStore):
    """A folder in which somebody writes the raster anew before its fourth range is read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._raster = folder / "large.tif"

    def read_range(self, blob: BlobRef, offset: int, length: int) -> bytes:
        if offset == 3 * RANGE_BYTES:
            write_noise(self._raster)
        return super().read_range(blob, offset, length)
