"""Pictures of rasters whose values are no shades: seen without asking for a stretch, and alike from tile to tile."""

import io
from collections.abc import Iterator
from typing import Any

import httpx
import numpy
import pytest
import rasterio
from rasterio.transform import from_bounds

from tests.api_server import served, settings_of
from tests.pipeline import SOURCE, Pipeline

ITEM = f"/raster/collections/{SOURCE}/items/heights"


@pytest.fixture(scope="module")
def client(module_pipeline: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The API on one elevation raster: metres rising from west to east, a hole of nodata, one absurd peak."""
    folder = tmp_path_factory.mktemp("stretch")
    heights = numpy.tile(numpy.linspace(3300, 3500, 512, dtype="float32"), (512, 1))
    heights[:40, :40] = -9999
    heights[300, 300] = 1e20
    profile = {"driver": "GTiff", "width": 512, "height": 512, "count": 1, "dtype": "float32", "nodata": -9999}
    place = {"crs": "EPSG:4326", "transform": from_bounds(10, 40, 11, 41, 512, 512), "tiled": True}
    with rasterio.open(folder / "heights.tif", "w", **profile, **place) as dataset:
        dataset.write(heights, 1)
    module_pipeline.declare(folder.as_uri())
    assert module_pipeline.run().success
    with served(settings_of(module_pipeline.database_url, module_pipeline.sources_path)) as client:
        yield client


def picture(
    client: httpx.Client, path: str, **query: str
) -> "numpy.ndarray[tuple[int, int, int], numpy.dtype[numpy.uint8]]":
    answer = client.get(f"{ITEM}/{path}", params={"assets": "data", **query})
    assert answer.status_code == 200, answer.text
    with rasterio.open(io.BytesIO(answer.content)) as dataset:
        pixels: numpy.ndarray[Any, Any] = dataset.read()
    return pixels


def test_heights_are_seen_from_black_to_white_with_the_hole_transparent(client: httpx.Client) -> None:
    shades, mask = picture(client, "preview.png", max_size="128")
    assert shades.dtype == numpy.uint8
    row = shades[100]
    assert row[0] < 10
    assert row[-1] > 245
    assert numpy.all(numpy.diff(row.astype(int)) >= 0), "what rises is brighter"
    assert mask[0, 0] == 0
    assert mask[100, 100] == 255


def test_a_height_has_the_same_shade_in_every_tile(client: httpx.Client) -> None:
    middle = picture(client, "bbox/10.4,40.2,10.6,40.4/64x64.png")[0]
    east = picture(client, "bbox/10.5,40.2,10.7,40.4/64x64.png")[0]
    shared = east[32, :30].astype(int), middle[32, 32:62].astype(int)
    assert numpy.abs(shared[0] - shared[1]).max() <= 2


def test_a_stretch_that_is_asked_for_is_the_one_that_is_used(client: httpx.Client) -> None:
    row = picture(client, "preview.png", max_size="128", rescale="3300,3400")[0][100]
    assert row[0] < 10
    assert numpy.all(row[70:] == 255)


def test_data_are_given_as_they_are(client: httpx.Client) -> None:
    values = picture(client, "preview.tif", max_size="128")[0]
    assert values.dtype == numpy.float32
    assert 3310 < values[100, 10] < 3320
    bands = client.get(f"{ITEM}/statistics", params={"assets": "data"}).json()
    assert [3299 < band["min"] < 3301 for band in bands.values()] == [True], bands
